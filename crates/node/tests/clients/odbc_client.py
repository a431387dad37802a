"""ODBC by unixODBC and psqlodbc: catalog functions, parameters, types, transactions, errors."""

import datetime
import decimal
import os

import pyodbc

from common import DATABASE, HOST, PORT, USER, check, finish

DRIVER = os.environ.get("ODBC_DRIVER", "/usr/lib/x86_64-linux-gnu/odbc/psqlodbcw.so")
PLACE = f"DRIVER={DRIVER};SERVER={HOST};PORT={PORT};DATABASE={DATABASE};UID={USER};"
if "PGSSLMODE" in os.environ:
    PLACE += f"SSLmode={os.environ['PGSSLMODE']};PWD={os.environ['PGPASSWORD']};"


def statements(connection):
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE od_author (id serial PRIMARY KEY, name varchar(40) NOT NULL UNIQUE, born date)")
    cursor.execute("CREATE TABLE od_book (id bigint PRIMARY KEY, author int REFERENCES od_author ON DELETE CASCADE,"
                   " price numeric(8,2) DEFAULT 1.50, seen timestamp(3), size double precision, sold boolean, cover bytea,"
                   " word text, at time, small smallint, code char(4))")
    cursor.execute("CREATE INDEX od_book_price ON od_book (price, seen DESC)")
    connection.commit()
    cursor.execute("INSERT INTO od_author (name, born) VALUES (?, ?)", "Ann", datetime.date(1970, 2, 3))
    cursor.execute("SELECT id, born FROM od_author WHERE name = ?", "Ann")
    author, born = cursor.fetchone()
    check(born, datetime.date(1970, 2, 3), "a date")
    values = [7, author, decimal.Decimal("12.50"), datetime.datetime(2024, 2, 29, 1, 2, 3, 456000), 0.1, True, b"\0\xff'\\",
              "it's ä\n", datetime.time(23, 59, 59), -5, "ab  "]
    marks = ", ".join("?" * len(values))
    cursor.execute(f"INSERT INTO od_book VALUES ({marks})", values)
    row = list(cursor.execute("SELECT * FROM od_book").fetchone())
    row[5] = row[5] in (True, "1")
    check(row, values, "values")
    cursor.executemany("INSERT INTO od_book (id, author, word) VALUES (?, ?, ?)", [(n, author, None) for n in range(100, 150)])
    check(cursor.execute("SELECT count(*) FROM od_book").fetchval(), 51, "executemany")
    check(cursor.execute("UPDATE od_book SET price = price + ? WHERE id >= ?", decimal.Decimal("1"), 140).rowcount, 10, "rows changed")
    connection.commit()


def catalog(connection):
    cursor = connection.cursor()
    tables = {(row.table_schem, row.table_name, row.table_type) for row in cursor.tables(table="od\\_%")}
    check(tables, {("public", "od_author", "TABLE"), ("public", "od_book", "TABLE")}, "SQLTables")
    columns = [(row.column_name, row.type_name, row.column_size, row.nullable) for row in cursor.columns(table="od_author")]
    check(columns, [("id", "int4", 10, 0), ("name", "varchar", 40, 0), ("born", "date", 10, 1)], "SQLColumns")
    columns = {row.column_name: (row.type_name, row.decimal_digits, row.column_def) for row in cursor.columns(table="od_book")}
    check(columns["price"], ("numeric", 2, "1.50"), "SQLColumns")
    check([(row.column_name, row.key_seq, row.pk_name) for row in cursor.primaryKeys(table="od_book")],
          [("id", 1, "od_book_pkey")], "SQLPrimaryKeys")
    keys = [(row.pktable_name, row.pkcolumn_name, row.fktable_name, row.fkcolumn_name, row.delete_rule)
            for row in cursor.foreignKeys(foreignTable="od_book")]
    check(keys, [("od_author", "id", "od_book", "author", 0)], "SQLForeignKeys")
    keys = [row.fktable_name for row in cursor.foreignKeys(table="od_author")]
    check(keys, ["od_book"], "SQLForeignKeys the other way")
    indexes = [(row.index_name, row.column_name, row.asc_or_desc) for row in cursor.statistics("od_book") if row.index_name]
    check(("od_book_price", "price", "A") in indexes and ("od_book_pkey", "id", "A") in indexes, True, f"SQLStatistics {indexes}")
    cursor.rowIdColumns("od_book").fetchall()
    check(len(cursor.getTypeInfo().fetchall()) > 10, True, "SQLGetTypeInfo")
    cursor.procedures().fetchall()
    check(connection.getinfo(pyodbc.SQL_DBMS_NAME), "PostgreSQL", "SQLGetInfo")


def transactions(connection):
    cursor = connection.cursor()
    cursor.execute("DELETE FROM od_book")
    connection.rollback()
    check(cursor.execute("SELECT count(*) FROM od_book").fetchval(), 51, "rolled back")
    try:
        cursor.execute("INSERT INTO od_author (name) VALUES (?)", "Ann")
        check("no error", "23505", "a duplicate")
    except pyodbc.Error as error:
        check(error.args[0], "23505", "a duplicate")
    connection.rollback()
    try:
        cursor.execute("SELECT * FROM od_nowhere")
        check("no error", "42S02", "a table that is not there")
    except pyodbc.Error as error:
        check(error.args[0] in ("42S02", "42P01"), True, "a table that is not there")
    connection.rollback()


# Statements prepared on the server, then by the driver; then cursors that fetch a few rows at a time.
for more in ("UseServerSidePrepare=1", "UseServerSidePrepare=0", "UseDeclareFetch=1;Fetch=10"):
    connection = pyodbc.connect(PLACE + more)
    for part in (statements, catalog, transactions):
        part(connection)
    connection.cursor().execute("DROP TABLE od_book, od_author")
    connection.commit()
    connection.close()
finish()
