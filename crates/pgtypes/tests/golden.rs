//! Compares with the answers of a PostgreSQL 15 server, recorded in `golden/*.txt` by
//! `golden/generate.py`, which also describes the form of a case.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use pgtypes::datetime::zone::TimeZone;
use pgtypes::registry::{Resolved, resolve_aggregate, resolve_function, resolve_operator};
use pgtypes::{
    Datum, EvalEnv, PgType, TypeError, TypeId, cast, parse_binary, parse_text, text_of, to_binary,
    typmod,
};

fn type_named(name: &str) -> PgType {
    match name {
        "qchar" => PgType::new(TypeId::Char),
        "unknown" => PgType::UNKNOWN,
        _ => typmod::parse_type(name).unwrap_or_else(|| panic!("no type {name}")),
    }
}

fn value(text: &str, ty: PgType, env: &EvalEnv) -> Result<Datum, TypeError> {
    if text == "<NULL>" {
        return Ok(Datum::Null);
    }
    cast::apply_typmod(parse_text(text, ty, env)?, ty, true)
}

fn signature(text: &str) -> (&str, Vec<PgType>) {
    let open = text.rfind('(').expect("a signature");
    let types = text[open + 1..text.len() - 1].split(',').map(str::trim);
    (text[..open].trim(), types.filter(|t| !t.is_empty()).map(type_named).collect())
}

fn call(
    function: &Resolved,
    args: &[&str],
    types: &[PgType],
    env: &EvalEnv,
) -> Result<String, TypeError> {
    let mut values = Vec::new();
    for ((arg, from), to) in args.iter().zip(types).zip(&function.args) {
        if from.is_unknown() {
            values.push(value(arg, *to, env)?);
            continue;
        }
        let datum = value(arg, *from, env)?;
        let cast = cast::lookup(*from, *to).expect("resolution promised a cast");
        values.push(cast.apply(env, datum, *from, *to, false)?);
    }
    Ok(show(&function.call(env, &values)?, function.result, env))
}

fn show(datum: &Datum, ty: PgType, env: &EvalEnv) -> String {
    if datum.is_null() { "<NULL>".to_owned() } else { text_of(datum, ty, env) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        write!(out, "{b:02x}").expect("writing to a string");
        out
    })
}

fn aggregate(rest: &str, rows: &str, env: &EvalEnv) -> Result<String, TypeError> {
    let (name, types) = signature(rest);
    let aggregate = resolve_aggregate(name, &types)?;
    let env = Arc::new(env.clone());
    let mut whole = aggregate.accumulator(&env);
    let mut halves = [aggregate.accumulator(&env), aggregate.accumulator(&env)];
    let rows: Vec<&str> = rows.split(" ; ").collect();
    for (i, row) in rows.iter().enumerate() {
        let mut args = Vec::new();
        for ((arg, from), to) in row.split(" | ").zip(&types).zip(&aggregate.args) {
            let datum = value(arg, *from, &env)?;
            let cast = cast::lookup(*from, *to).expect("resolution promised a cast");
            args.push(cast.apply(&env, datum, *from, *to, false)?);
        }
        aggregate.update(whole.as_mut(), &args)?;
        aggregate.update(halves[i * 2 / rows.len()].as_mut(), &args)?;
    }
    let [mut first, second] = halves;
    first.merge(&second.state())?;
    let result = show(&whole.finish()?, aggregate.result, &env);
    let merged = show(&first.finish()?, aggregate.result, &env);
    let close = result == merged
        || match (result.parse::<f64>(), merged.parse::<f64>()) {
            (Ok(a), Ok(b)) => (a - b).abs() <= a.abs() * 1e-12,
            _ => false,
        };
    assert!(close, "{name} in two parts: {merged}, at once: {result}");
    Ok(result)
}

fn answer(case: &str, env: &EvalEnv) -> Result<String, TypeError> {
    let (head, rest) = case.split_once(" | ").unwrap_or((case, ""));
    let args: Vec<&str> = case.split(" | ").skip(1).collect();
    let (kind, what) = head.split_once(' ').expect("a kind and its object");
    match kind {
        "in" => {
            let ty = type_named(what);
            let datum = value(args[0], ty, env)?;
            let text = show(&datum, ty, env);
            let again = parse_text(&text, ty.base(), env)?;
            assert_eq!(show(&again, ty, env), text, "{case}: text does not round-trip");
            let mut bytes = BytesMut::new();
            to_binary(&datum, ty, &mut bytes);
            let back = parse_binary(Bytes::from(bytes), ty.base())?;
            assert_eq!(show(&back, ty, env), text, "{case}: binary does not round-trip");
            Ok(text)
        }
        "send" => {
            let ty = type_named(what);
            let mut bytes = BytesMut::new();
            to_binary(&value(args[0], ty, env)?, ty, &mut bytes);
            Ok(hex(&bytes))
        }
        "cast" => {
            let (from, to) = what.split_once(' ').expect("two types");
            let (from, to) = (type_named(from), type_named(to));
            let datum = value(args[0], from, env)?;
            let Some(cast) = cast::lookup(from, to) else {
                let message = format!("cannot cast type {} to {}", from.sql_name(), to.sql_name());
                return Err(TypeError::new("42846", message));
            };
            Ok(show(&cast.apply(env, datum, from, to, true)?, to, env))
        }
        "fn" => {
            let (name, types) = signature(what);
            call(&resolve_function(name, &types)?, &args, &types, env)
        }
        "op" => {
            let (name, types) = signature(what);
            call(&resolve_operator(name, &types)?, &args, &types, env)
        }
        "agg" => aggregate(what, rest, env),
        "pick" => {
            let (kind, what) = what.split_once(' ').expect("op or fn");
            let (name, types) = signature(what);
            let picked = match kind {
                "op" => resolve_operator(name, &types)?,
                _ => resolve_function(name, &types)?,
            };
            Ok(picked.result.sql_name())
        }
        other => panic!("no such kind of case: {other}"),
    }
}

fn shown(result: Result<String, TypeError>) -> String {
    match result {
        Ok(text) => text.replace('\\', "\\\\").replace('\n', "\\n"),
        Err(error) => {
            let mut out = format!("!{} {}", error.sqlstate, error.message);
            if let Some(detail) = &error.detail {
                write!(out, " // {detail}").expect("writing to a string");
            }
            if let Some(hint) = &error.hint {
                write!(out, " ?? {hint}").expect("writing to a string");
            }
            out.replace('\n', "\\n")
        }
    }
}

/// Runs a file; the cases that differ.
fn run(path: &Path) -> (usize, Vec<String>) {
    let text = std::fs::read_to_string(path).expect("a golden file");
    let mut env = EvalEnv { time_zone: TimeZone::utc(), ..EvalEnv::default() };
    let (mut count, mut wrong) = (0, Vec::new());
    for line in text.lines() {
        if let Some(setting) = line.strip_prefix("set ") {
            set(&mut env, setting);
            continue;
        }
        let Some((case, expected)) = line.split_once(" => ") else { continue };
        count += 1;
        let got =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shown(answer(case, &env))))
                .unwrap_or_else(|panic| {
                    let text = panic.downcast_ref::<String>().map_or("?", String::as_str);
                    format!("PANIC {text}")
                });
        if got != expected {
            wrong.push(format!("{case}\n   PostgreSQL: {expected}\n   here:       {got}"));
        }
    }
    (count, wrong)
}

fn set(env: &mut EvalEnv, setting: &str) {
    let (name, value) = setting.split_once(' ').expect("name and value");
    match name {
        "timezone" => env.time_zone = TimeZone::parse(value).expect("a time zone"),
        "extra_float_digits" => env.extra_float_digits = value.parse().expect("a number"),
        "intervalstyle" => {
            use pgtypes::env::IntervalStyle as S;
            env.interval_style = match value {
                "postgres" => S::Postgres,
                "postgres_verbose" => S::PostgresVerbose,
                "iso_8601" => S::Iso8601,
                _ => S::SqlStandard,
            };
        }
        "datestyle" => {
            use pgtypes::env::{DateFormat as F, DateOrder as O};
            let lower = value.to_ascii_lowercase();
            let has = |word: &str| lower.contains(word);
            env.date_format = match () {
                () if has("german") => F::German,
                () if has("sql") => F::Sql,
                () if has("postgres") => F::Postgres,
                () => F::Iso,
            };
            env.date_order = match () {
                () if has("dmy") || has("german") => O::Dmy,
                () if has("ymd") => O::Ymd,
                () => O::Mdy,
            };
        }
        "bytea_output" => {
            use pgtypes::env::ByteaOutput as B;
            env.bytea_output = if value == "escape" { B::Escape } else { B::Hex };
        }
        other => panic!("no such setting: {other}"),
    }
}

#[test]
fn answers_are_postgresqls() {
    let folder = Path::new("tests/golden");
    let (mut total, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).expect("the folder of golden files") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let (count, mut bad) = run(&path);
            total += count;
            wrong.append(&mut bad);
        }
    }
    assert!(total > 500, "only {total} cases: are the files there?");
    assert!(wrong.is_empty(), "{} of {total} differ:\n{}", wrong.len(), wrong.join("\n"));
}
