"""What the Python clients share: where the server is, values of every type, checks."""

import datetime
import decimal
import os
import uuid

HOST = os.environ.get("PGHOST", "127.0.0.1")
PORT = int(os.environ["PGPORT"])
USER = "conclave"
DATABASE = "conclave"

ZONE = datetime.timezone.utc

# Name, type and a value of each type.
VALUES = [
    ("a_bool", "boolean", True),
    ("a_small", "smallint", -32768),
    ("an_int", "integer", 2147483647),
    ("a_big", "bigint", -(1 << 63)),
    ("a_real", "real", 1.5),
    ("a_double", "double precision", 0.1),
    ("a_numeric", "numeric(20,5)", decimal.Decimal("-12345678.90000")),
    ("a_text", "text", "it's ä\t\"text\"\n"),
    ("a_varchar", "varchar(20)", "variable"),
    ("a_char", "char(6)", "fixed "),
    ("a_bytea", "bytea", b"\x00\x01\xfe'\\"),
    ("a_date", "date", datetime.date(2024, 2, 29)),
    ("a_time", "time", datetime.time(23, 59, 59, 999999)),
    ("a_timestamp", "timestamp", datetime.datetime(1999, 12, 31, 23, 59, 59, 123456)),
    ("a_timestamptz", "timestamptz", datetime.datetime(2024, 6, 1, 12, 0, 0, 5, tzinfo=ZONE)),
    ("an_interval", "interval", datetime.timedelta(days=3, hours=4, microseconds=7)),
    ("a_uuid", "uuid", uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
    ("a_jsonb", "jsonb", {"a": [1, 2.5, None, "x"], "b": {"c": True}}),
    ("ints", "integer[]", [1, None, -3]),
    ("texts", "text[]", ["a", "b,c", "\"d\"", "", None]),
    ("nothing", "text", None),
]


def table_of_types(name):
    """CREATE TABLE with a column of each type."""
    return f"CREATE TABLE {name} (" + ", ".join(f"{column} {kind}" for column, kind, _ in VALUES) + ")"


def connection_string():
    """As libpq takes it."""
    return f"host={HOST} port={PORT} user={USER} dbname={DATABASE}"


def url(scheme):
    """As SQLAlchemy and others take it."""
    return f"{scheme}://{USER}@{HOST}:{PORT}/{DATABASE}"


def check(got, want, what):
    """Ends the program if the two differ."""
    if got != want:
        raise SystemExit(f"{what}:\n  got  {got!r}\n  want {want!r}")


def finish():
    """The line that the test waits for."""
    print("all is well")
