"""psycopg 2: parameters, transactions with savepoints, named cursors, COPY, dictionaries, errors."""

import io

import psycopg2
import psycopg2.extras
from psycopg2 import errors, extensions, sql

from common import VALUES, check, connection_string, finish, table_of_types

psycopg2.extras.register_uuid()
connection = psycopg2.connect(connection_string())
cursor = connection.cursor()

columns = ", ".join(name for name, _, _ in VALUES)
values = [psycopg2.extras.Json(value) if name == "a_jsonb" else value for name, _, value in VALUES]
cursor.execute(table_of_types("py2_types"))
cursor.execute(f"INSERT INTO py2_types ({columns}) VALUES ({', '.join(['%s'] * len(VALUES))})", values)
cursor.execute(f"SELECT {columns} FROM py2_types")
for (name, _, want), value in zip(VALUES, cursor.fetchone()):
    check(bytes(value) if isinstance(value, memoryview) else value, want, name)
described = [column.name for column in cursor.description]
check(described, [name for name, _, _ in VALUES], "the description")
connection.commit()

cursor.execute("CREATE TABLE py2_rows (id serial PRIMARY KEY, word text)")
ids = psycopg2.extras.execute_values(
    cursor, "INSERT INTO py2_rows (word) VALUES %s RETURNING id", [(f"w{n}",) for n in range(250)], fetch=True)
check(len({row[0] for row in ids}), 250, "execute_values")
psycopg2.extras.execute_batch(cursor, "UPDATE py2_rows SET word = %s WHERE word = %s", [("x", "w1"), ("y", "w2")])
connection.commit()

with connection.cursor("named") as named:
    named.itersize = 100
    named.execute("SELECT id FROM py2_rows")
    check(len(list(named)), 250, "a named cursor")
connection.commit()

out = io.StringIO()
cursor.copy_expert("COPY (SELECT word FROM py2_rows ORDER BY word LIMIT 2) TO STDOUT WITH CSV HEADER", out)
check(out.getvalue(), "word\nw0\nw10\n", "copied out")
cursor.copy_from(io.StringIO("a\tb\\tc\n\\N\td\n"), "py2_types", columns=("a_varchar", "a_text"))
cursor.execute("SELECT a_varchar, a_text FROM py2_types WHERE an_int IS NULL ORDER BY a_text")
check(cursor.fetchall(), [("a", "b\tc"), (None, "d")], "copied in")
connection.rollback()

cursor.execute("INSERT INTO py2_rows (id, word) VALUES (1000, 'kept')")
cursor.execute("SAVEPOINT here")
try:
    cursor.execute("INSERT INTO py2_rows (id) VALUES (1000)")
    check("no error", "an error", "a duplicate")
except errors.UniqueViolation as error:
    check((error.pgcode, error.diag.constraint_name), ("23505", "py2_rows_pkey"), "a duplicate")
    check(connection.get_transaction_status(), extensions.TRANSACTION_STATUS_INERROR, "a failed transaction")
cursor.execute("ROLLBACK TO SAVEPOINT here")
connection.commit()
with connection:
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as dictionaries:
        dictionaries.execute(sql.SQL("SELECT {} FROM {} WHERE id = %s").format(
            sql.Identifier("word"), sql.Identifier("py2_rows")), (1000,))
        check(dict(dictionaries.fetchone()), {"word": "kept"}, "a dictionary")

connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
try:
    cursor.execute("DELETE FROM py2_rows")
    check("no error", "25006", "a write in a read-only transaction")
except psycopg2.Error as error:
    check(error.pgcode, "25006", "a write in a read-only transaction")
connection.rollback()
connection.set_session(isolation_level="DEFAULT", readonly=False, autocommit=True)
cursor.execute("SELECT NULL::int[], '{}'::text[], ARRAY[[1,2],[3,4]]")
check(cursor.fetchone(), (None, [], [[1, 2], [3, 4]]), "arrays")
cursor.callproc("abs", (-3,))
check(cursor.fetchone(), (3,), "a called function")
finish()
