"""psycopg 3: text and binary, pipelines, COPY, cursors on the server, savepoints, errors."""

import datetime
import decimal
import uuid

import psycopg
from psycopg import errors, rows, sql
from psycopg.types.json import Jsonb

from common import VALUES, check, connection_string, finish, table_of_types


def types(connection):
    columns = ", ".join(name for name, _, _ in VALUES)
    marks = ", ".join(["%s"] * len(VALUES))
    values = [Jsonb(value) if name == "a_jsonb" else value for name, _, value in VALUES]
    for binary in (False, True):
        with connection.cursor(binary=binary) as cursor:
            cursor.execute("DROP TABLE IF EXISTS py3_types")
            cursor.execute(table_of_types("py3_types"))
            cursor.execute(f"INSERT INTO py3_types ({columns}) VALUES ({marks})", values)
            cursor.execute(f"SELECT {columns} FROM py3_types")
            got = cursor.fetchone()
            for (name, _, want), value in zip(VALUES, got):
                check(value, want, f"{name}, binary {binary}")
            cursor.execute("SELECT %b::int8, %b::text, %b::float8, %b::bytea, %b::uuid, %b::numeric",
                           (1 << 40, "ä", 1.5, b"\0\xff", uuid.UUID(int=7), decimal.Decimal("-1.50")))
            check(cursor.fetchone(), (1 << 40, "ä", 1.5, b"\0\xff", uuid.UUID(int=7),
                                      decimal.Decimal("-1.50")), "binary parameters")
            cursor.execute("SELECT %s::int[], %s::text[], %s::date", ([1, None, 3], ["a,b", '"'], datetime.date(2024, 2, 29)))
            check(cursor.fetchone(), ([1, None, 3], ["a,b", '"'], datetime.date(2024, 2, 29)), "arrays")
            cursor.execute("SELECT id FROM generate_series(1, 5) AS id WHERE id = ANY(%s)", ([2, 4],))
            check(cursor.fetchall(), [(2,), (4,)], "ANY")


def prepared(connection):
    for number in range(8):
        row = connection.execute("SELECT %s::int + 1", (number,), prepare=True).fetchone()
        check(row, (number + 1,), "a prepared statement")
    listed = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0]
    check(listed > 0, True, "pg_prepared_statements")


def batches(connection):
    connection.execute("CREATE TABLE py3_rows (id int PRIMARY KEY, word text)")
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO py3_rows VALUES (%s, %s)", [(n, f"w{n}") for n in range(200)])
        check(cursor.rowcount, 200, "rows of executemany")
        cursor.executemany("INSERT INTO py3_rows VALUES (%s, %s) RETURNING id",
                           [(n, None) for n in range(200, 203)], returning=True)
        ids = []
        while True:
            ids.append(cursor.fetchone()[0])
            if not cursor.nextset():
                break
        check(ids, [200, 201, 202], "RETURNING of executemany")
    with connection.pipeline() as pipeline:
        answers = [connection.execute("SELECT word FROM py3_rows WHERE id = %s", (n,)) for n in range(50)]
        pipeline.sync()
        check([a.fetchone()[0] for a in answers], [f"w{n}" for n in range(50)], "a pipeline")
    try:
        with connection.pipeline():
            connection.execute("SELECT 1")
            connection.execute("SELECT 1 / 0")
            connection.execute("SELECT 2")
        check("no error", "an error", "a pipeline with an error")
    except errors.DivisionByZero:
        connection.rollback()
    check(connection.execute("SELECT 1").fetchone(), (1,), "after the pipeline")


def copies(connection):
    connection.execute("CREATE TABLE py3_copy (id int, word text, at timestamptz, price numeric)")
    when = datetime.datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc)
    rows_in = [(n, "tab\there\\ and\nline", when, decimal.Decimal("1.50")) for n in range(100)]
    with connection.cursor() as cursor:
        with cursor.copy("COPY py3_copy FROM STDIN") as copy:
            for row in rows_in:
                copy.write_row(row)
        with cursor.copy("COPY py3_copy FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text", "timestamptz", "numeric"])
            for row in rows_in:
                copy.write_row(row)
        cursor.execute("SELECT count(*), count(DISTINCT word), min(price) FROM py3_copy")
        check(cursor.fetchone(), (200, 1, decimal.Decimal("1.50")), "copied in")
        for form in ("TEXT", "BINARY"):
            with cursor.copy(f"COPY (SELECT * FROM py3_copy ORDER BY id) TO STDOUT (FORMAT {form})") as copy:
                copy.set_types(["int4", "text", "timestamptz", "numeric"])
                got = list(copy.rows())
            check((len(got), got[0]), (200, rows_in[0]), f"copied out as {form}")
        head = b"PGCOPY\n\xff\r\n\0" + bytes(8)
        row = b"\0\x04" + b"\0\0\0\x04\0\0\0\x07" + b"\xff" * 12
        for data, message in [
            (b"garbage", "COPY file signature not recognized"), (head[:14], "invalid COPY file header (missing flags)"),
            (head + row[:9], "unexpected EOF in COPY data"), (head + b"\0\x01", "row field count is 1, expected 4"),
            (head + b"\0\x04\xff\xff\xff\xf0", "invalid field size"),
            (head + row + b"\xff\xff" + b"x", "received copy data after EOF marker"),
            (head + b"\0\x04\0\0\0\x02\0\0" + b"\xff" * 12, "insufficient data left in message"),
        ]:
            try:
                with cursor.copy("COPY py3_copy FROM STDIN (FORMAT binary)") as copy:
                    copy.write(data)
                check("no error", message, "bad binary data")
            except psycopg.DatabaseError as error:
                expected = message if message != "insufficient data left in message" else error.diag.message_primary
                check(error.diag.message_primary, expected, f"bad binary data {data!r}")
        with cursor.copy("COPY py3_copy (id) FROM STDIN (FORMAT binary)") as copy:
            # In pieces of a byte, without a trailer.
            for byte in head + b"\0\x01\0\0\0\x04\0\0\0\x09":
                copy.write(bytes([byte]))
        cursor.execute("SELECT count(*) FROM py3_copy WHERE id = 9 AND word IS NULL")
        check(cursor.fetchone(), (1,), "a row in pieces")


def transactions(connection):
    connection.execute("CREATE TABLE py3_tx (id int PRIMARY KEY)")
    with connection.transaction():
        connection.execute("INSERT INTO py3_tx VALUES (1)")
        try:
            with connection.transaction():
                connection.execute("INSERT INTO py3_tx VALUES (2)")
                connection.execute("INSERT INTO py3_tx VALUES (1)")
        except errors.UniqueViolation as error:
            check(error.diag.constraint_name, "py3_tx_pkey", "the constraint's name")
            check(error.diag.table_name, "py3_tx", "the table's name")
            check(error.diag.schema_name, "public", "the schema's name")
        connection.execute("INSERT INTO py3_tx VALUES (3)")
    check(connection.execute("SELECT array_agg(id ORDER BY id) FROM py3_tx").fetchone()[0], [1, 3], "savepoints")
    with connection.transaction(force_rollback=True):
        connection.execute("DELETE FROM py3_tx")
    check(connection.execute("SELECT count(*) FROM py3_tx").fetchone(), (2,), "rolled back")
    for statement, state in [
        ("SELECT * FROM nowhere", "42P01"), ("SELECT nothing FROM py3_tx", "42703"), ("SELEC", "42601"),
        ("SELECT 'x'::int", "22P02"), ("INSERT INTO py3_tx VALUES (NULL)", "23502"), ("SELECT nofunc(1)", "42883"),
        ("CREATE TABLE py3_tx (a int)", "42P07"),
    ]:
        try:
            connection.execute(statement)
            check("no error", state, statement)
        except psycopg.Error as error:
            check(error.sqlstate, state, statement)


def cursors(connection):
    with connection.transaction():
        with connection.cursor(name="many") as cursor:
            cursor.itersize = 300
            cursor.execute("SELECT n FROM generate_series(1, 1000) AS n")
            check(sum(row[0] for row in cursor), 500500, "a cursor on the server")
        with connection.cursor(name="scrolls", scrollable=True, row_factory=rows.dict_row) as cursor:
            cursor.execute("SELECT n, n * n AS square FROM generate_series(1, 10) AS n")
            cursor.scroll(5)
            check(cursor.fetchone(), {"n": 6, "square": 36}, "a scrolled cursor")
    made = sql.SQL("SELECT {} FROM {}").format(sql.Literal("it's"), sql.Identifier("py3_tx"))
    check(connection.execute(made).fetchone(), ("it's",), "a composed statement")
    check(len(list(connection.cursor().stream("SELECT generate_series(1, 100)"))), 100, "a stream")


def cancel(connection):
    with psycopg.connect(connection_string(), autocommit=True) as other:
        other.execute("SELECT pg_cancel_backend(%s)", (connection.info.backend_pid,))
        check(other.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (connection.info.backend_pid,))
              .fetchone(), (1,), "pg_stat_activity")
        victim = psycopg.connect(connection_string(), autocommit=True)
        pid = victim.info.backend_pid
        check(other.execute("SELECT pg_terminate_backend(%s)", (pid,)).fetchone(), (True,), "pg_terminate_backend")
        try:
            for _ in range(1000):
                victim.execute("SELECT pg_sleep(0.01)")
            check("alive", "ended", "a terminated session")
        except psycopg.OperationalError as error:
            check(error.sqlstate in ("57P01", None), True, "the end of a session")


with psycopg.connect(connection_string(), autocommit=True) as connection:
    for part in (types, prepared, batches, copies, transactions, cursors, cancel):
        part(connection)
finish()
