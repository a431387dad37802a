"""asyncpg: binary everything, introspection of types, prepared statements, COPY, cursors."""

import asyncio
import json

import asyncpg

from common import DATABASE, HOST, PORT, USER, VALUES, check, finish, table_of_types


async def types(connection):
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    columns = ", ".join(name for name, _, _ in VALUES)
    marks = ", ".join(f"${n}" for n in range(1, len(VALUES) + 1))
    await connection.execute(table_of_types("apg_types"))
    await connection.execute(f"INSERT INTO apg_types ({columns}) VALUES ({marks})", *[value for _, _, value in VALUES])
    row = await connection.fetchrow(f"SELECT {columns} FROM apg_types")
    for name, _, want in VALUES:
        check(row[name], want, name)
    # Types that asyncpg does not know by heart are looked up with a recursive query.
    check(await connection.fetchval("SELECT $1::regclass::oid > 0", "apg_types"), True, "regclass")
    check(await connection.fetchval("SELECT ARRAY['a','b']::name[]"), ["a", "b"], "name[]")
    check(await connection.fetchval("SELECT ROW(1, 'x'::text)"), (1, "x"), "a record")
    statement = await connection.prepare("SELECT a_varchar, ints FROM apg_types WHERE an_int = $1")
    check([t.name for t in statement.get_parameters()], ["int4"], "parameters")
    check([(a.name, a.type.name) for a in statement.get_attributes()],
          [("a_varchar", "varchar"), ("ints", "int4[]")], "columns")


async def batches(connection):
    await connection.execute("CREATE TABLE apg_rows (id int PRIMARY KEY, word text)")
    await connection.executemany("INSERT INTO apg_rows VALUES ($1, $2)", [(n, f"w{n}") for n in range(100)])
    await connection.copy_records_to_table("apg_rows", records=[(n, None) for n in range(100, 150)])
    check(await connection.fetchval("SELECT count(*) FROM apg_rows"), 150, "rows")
    check(await connection.execute("UPDATE apg_rows SET word = 'x' WHERE id < 3"), "UPDATE 3", "a command's tag")
    rows = await connection.fetch("SELECT id FROM apg_rows WHERE id = ANY($1::int[]) ORDER BY id", [1, 5, 200])
    check([row["id"] for row in rows], [1, 5], "ANY")
    many = await connection.fetchmany("INSERT INTO apg_rows VALUES ($1, 'm') RETURNING id", [(901,), (902,)])
    check([row["id"] for row in many], [901, 902], "fetchmany")


async def transactions(connection):
    async with connection.transaction():
        try:
            async with connection.transaction():
                await connection.execute("INSERT INTO apg_rows VALUES (1)")
        except asyncpg.UniqueViolationError as error:
            check(error.constraint_name, "apg_rows_pkey", "the constraint")
        total = 0
        async for row in connection.cursor("SELECT id FROM apg_rows WHERE id < 150", prefetch=40):
            total += row["id"]
        check(total, 150 * 149 // 2, "a cursor")
    async with connection.transaction(isolation="serializable", readonly=True, deferrable=True):
        check(await connection.fetchval("SHOW transaction_read_only"), "on", "read only")
    try:
        await connection.fetch("SELECT * FROM nowhere")
    except asyncpg.UndefinedTableError as error:
        check(error.sqlstate, "42P01", "an error")
    try:
        await connection.fetch("SELECT pg_sleep(30)", timeout=0.2)
        check("slept", "timed out", "a timeout")
    except asyncio.TimeoutError:
        check(await connection.fetchval("SELECT 1"), 1, "after a timeout")


async def main():
    connection = await asyncpg.connect(host=HOST, port=PORT, user=USER, database=DATABASE)
    for part in (types, batches, transactions):
        await part(connection)
    await connection.reset()
    await connection.close()
    async with asyncpg.create_pool(host=HOST, port=PORT, user=USER, database=DATABASE, min_size=2, max_size=4) as pool:
        answers = await asyncio.gather(*[pool.fetchval("SELECT $1::int", n) for n in range(20)])
        check(answers, list(range(20)), "a pool")


asyncio.run(main())
finish()
