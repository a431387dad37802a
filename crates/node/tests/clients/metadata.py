"""How long the metadata queries of ORMs and of JDBC take over a thousand tables."""

import time

import psycopg
import sqlalchemy as sa
from django.conf import settings

from common import DATABASE, HOST, PORT, USER, check, connection_string, finish, url

TABLES = 1000
COLUMNS = ", ".join(f"c{n} text" for n in range(6))

with psycopg.connect(connection_string()) as connection:
    for n in range(TABLES):
        reference = f", parent int REFERENCES meta_{n - 1}" if n % 2 else ""
        connection.execute(
            f"CREATE TABLE meta_{n} (id serial PRIMARY KEY, name varchar(40) NOT NULL UNIQUE, {COLUMNS}{reference})")
        if n % 100 == 99:
            connection.commit()


def measured(what, run):
    """The best of three: the first may fill caches."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1000)
    print(f"{what}: first {times[0]:.0f} ms, then {min(times):.0f} ms")


engine = sa.create_engine(url("postgresql+psycopg"))


def of(method):
    """One query over all tables of the schema, as MetaData.reflect() sends it."""
    def run():
        found = getattr(sa.inspect(engine), method)(schema="public")
        check(len([key for key in found if key[1].startswith("meta_")]), TABLES, method)
    return run


with engine.connect():
    pass
measured("SQLAlchemy get_table_names", lambda: sa.inspect(engine).get_table_names())
for method in ("get_multi_columns", "get_multi_pk_constraint", "get_multi_foreign_keys", "get_multi_indexes",
               "get_multi_unique_constraints", "get_multi_check_constraints", "get_multi_table_comment"):
    measured(f"SQLAlchemy {method}", of(method))

settings.configure(DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": DATABASE, "USER": USER, "HOST": HOST, "PORT": PORT}})

import django
from django.db import connection

django.setup()
with connection.cursor() as cursor:
    introspection = connection.introspection
    measured("Django get_table_list", lambda: introspection.get_table_list(cursor))
    measured("Django get_table_description", lambda: introspection.get_table_description(cursor, "meta_500"))
    measured("Django get_relations", lambda: introspection.get_relations(cursor, "meta_501"))
    measured("Django get_constraints", lambda: introspection.get_constraints(cursor, "meta_501"))
    measured("Django get_sequences", lambda: introspection.get_sequences(cursor, "meta_500"))

# DatabaseMetaData.getColumns(null, "public", "%", "%") of pgjdbc 42.5.
GET_COLUMNS = """
SELECT * FROM (SELECT n.nspname, c.relname, a.attname, a.atttypid, a.attnotnull OR (t.typtype = 'd' AND t.typnotnull)
 AS attnotnull, a.atttypmod, a.attlen, t.typtypmod, row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum)
 AS attnum, nullif(a.attidentity, '') as attidentity, nullif(a.attgenerated, '') as attgenerated,
 pg_catalog.pg_get_expr(def.adbin, def.adrelid) AS adsrc, dsc.description, t.typbasetype, t.typtype
 FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON (c.relnamespace = n.oid)
 JOIN pg_catalog.pg_attribute a ON (a.attrelid = c.oid) JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid)
 LEFT JOIN pg_catalog.pg_attrdef def ON (a.attrelid = def.adrelid AND a.attnum = def.adnum)
 LEFT JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid)
 LEFT JOIN pg_catalog.pg_class dc ON (dc.oid = dsc.classoid AND dc.relname = 'pg_class')
 LEFT JOIN pg_catalog.pg_namespace dn ON (dc.relnamespace = dn.oid AND dn.nspname = 'pg_catalog')
 WHERE c.relkind in ('r', 'p', 'v', 'f', 'm') and a.attnum > 0 AND NOT a.attisdropped AND n.nspname LIKE 'public') c
 WHERE true ORDER BY nspname, c.relname, attnum"""
with psycopg.connect(connection_string(), autocommit=True) as plain:
    def columns():
        got = plain.execute(GET_COLUMNS.replace("%", "%%")).fetchall()
        check(len(got) >= 8 * TABLES, True, "getColumns")
    measured("JDBC getColumns", columns)
    measured("psql \\d", lambda: plain.execute(
        "SELECT n.nspname, c.relname, c.relkind, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c"
        " LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam"
        " WHERE c.relkind IN ('r','p','v','m','S','f','') AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_toast'"
        " AND n.nspname <> 'information_schema' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2").fetchall())
    measured("information_schema.columns", lambda: plain.execute(
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY table_name, ordinal_position").fetchall())
    measured("information_schema keys", lambda: plain.execute(
        "SELECT tc.table_name, kcu.column_name, ccu.table_name, ccu.column_name FROM information_schema.table_constraints tc"
        " JOIN information_schema.key_column_usage kcu USING (constraint_schema, constraint_name)"
        " JOIN information_schema.constraint_column_usage ccu USING (constraint_schema, constraint_name)"
        " WHERE tc.constraint_type = 'FOREIGN KEY'").fetchall())
finish()
