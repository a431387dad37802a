#!/usr/bin/env python3
"""Writes the answers of a PostgreSQL 15 server behind the cases in *.txt.

usage: generate.py FILE... -- PSQL-ARGUMENTS

A case is one line; what stands behind ' => ' is the answer and is rewritten:
    in TYPE | text                    text input, then output
    send TYPE | text                  binary output in hex
    cast FROM TO | text               explicit cast
    fn name(TYPE,...) | arg | arg     function; op name(TYPE,...) likewise
    agg name(TYPE,...) | a ; b | ...  aggregate over rows: args by ' | ', rows by ' ; '
    pick op name(TYPE,...)            type of the result (fn name(TYPE,...) likewise), or the error
    set name value                    a setting for the cases below
<NULL> is NULL. An error is '!SQLSTATE message', then ' // detail' and ' ?? hint' where there are any.
"""
import subprocess
import sys

FUNCTION = r"""
set client_min_messages = error;
create or replace function pg_temp.try(q text) returns text language plpgsql as $$
declare r text; m text; d text; h text;
begin
  execute 'select case when v is null then ''<NULL>'' else format(''%s'', v) end from (select '
    || q || ' as v) s' into r;
  return replace(replace(r, E'\\', E'\\\\'), E'\n', E'\\n');
exception when others then
  get stacked diagnostics m = message_text, d = pg_exception_detail, h = pg_exception_hint;
  return replace('!' || sqlstate || ' ' || m || case when d <> '' then ' // ' || d else '' end
    || case when h <> '' then ' ?? ' || h else '' end, E'\n', E'\\n');
end $$;
"""


def quote(text):
    return "NULL" if text == "<NULL>" else "'" + text.replace("'", "''") + "'"


def split_signature(text):
    name, types = text[:text.rindex("(")], text[text.rindex("(") + 1:text.rindex(")")]
    return name.strip(), [t.strip() for t in types.split(",") if t.strip()]


def value(text, ty):
    ty = '"char"' if ty == "qchar" else ty
    return quote(text) if ty == "unknown" else f"{quote(text)}::{ty}"


def expression(case):
    head, *args = case.split(" | ")
    kind, rest = head.split(" ", 1)
    if kind == "pick":
        kind, rest = rest.split(" ", 1)
        types = split_signature(rest)[1]
        call = expression(" | ".join([f"{kind} {rest}"] + ["<NULL>"] * len(types)))
        return f"pg_typeof({call})"
    if kind == "in":
        return value(args[0], rest)
    if kind == "send":
        return f"encode({SEND.get(rest, rest + 'send')}({value(args[0], rest)}), 'hex')"
    if kind == "cast":
        source, target = rest.split(" ", 1)
        target = '"char"' if target == "qchar" else target
        return f"({value(args[0], source)})::{target}"
    name, types = split_signature(rest)
    if kind == "agg":
        rows = " | ".join(args).split(" ; ")
        values = ", ".join(
            "(" + ", ".join(value(a, t) for a, t in zip(row.split(" | "), types)) + ")" for row in rows)
        names = [f"c{i}" for i in range(len(types))]
        return f"(select {name}({', '.join(names)}) from (values {values}) t({', '.join(names)}))"
    values = [value(a, t) for a, t in zip(args, types)]
    if kind == "op":
        if len(values) == 1:
            return f"({name} ({values[0]}))"
        return f"(({values[0]}) {name} ({values[1]}))"
    if name == "extract":
        return f"extract({args[0]} from {values[1]})"
    if name in ("position", "timezone", "overlaps"):
        name = "pg_catalog." + ('"position"' if name == "position" else name)
    if name in ("substring", "overlay"):
        name = f'pg_catalog."{name}"'
    return f"{name}({', '.join(values)})"


SEND = {
    "bool": "boolsend", "int2": "int2send", "numeric": "numeric_send", "date": "date_send",
    "time": "time_send", "timestamp": "timestamp_send", "timestamptz": "timestamptz_send",
    "interval": "interval_send", "uuid": "uuid_send", "json": "json_send", "jsonb": "jsonb_send",
}


def sql(case):
    if case.startswith("set "):
        _, name, setting = case.split(" ", 2)
        return f"set {name} = '{setting}';\nselect '';"
    if case.startswith("send ") and case.split(" | ")[0].endswith("[]"):
        head, arg = case.split(" | ", 1)
        return f"select pg_temp.try($q$encode(array_send({value(arg, head[5:])}), 'hex')$q$);"
    return f"select pg_temp.try($q$({expression(case)})$q$);"


def main():
    at = sys.argv.index("--")
    for path in sys.argv[1:at]:
        lines = open(path).read().split("\n")
        cases = [line.split(" => ")[0] for line in lines]
        active = [c for c in cases if c.strip() and not c.startswith("#")]
        script = FUNCTION + "\n".join(sql(c) for c in active) + "\n"
        done = subprocess.run(["psql", "-AtqX", *sys.argv[at + 1:]], input=script, text=True,
                              capture_output=True, check=True)
        if done.stderr:
            sys.exit(done.stderr)
        answers = iter(done.stdout.split("\n"))
        out = []
        for case in cases:
            if not case.strip() or case.startswith("#"):
                out.append(case)
            else:
                answer = next(answers)
                out.append(case if case.startswith("set ") else f"{case} => {answer}")
        open(path, "w").write("\n".join(out))


main()
