//! Every function and operator on the extremes of its types: a result or an error, never a panic.

use pgtypes::registry::{
    FunctionInfo, functions, operators, resolve_function, resolve_operator, resolve_set_function,
};
use pgtypes::{Datum, EvalEnv, PgType, TypeId, parse_text, typmod};

/// Texts of values at the edges of a type.
fn edges(ty: PgType) -> Vec<&'static str> {
    if ty.array {
        return match ty.id {
            TypeId::Text => vec!["{}", "{a,NULL,\"b c\"}", "[-5:-4]={x,y}", "{{a},{b}}"],
            TypeId::Int4 => vec!["{}", "{1,NULL,2147483647}", "{-2147483648}", "{{1,2},{3,4}}"],
            _ => vec!["{}"],
        };
    }
    match ty.id {
        TypeId::Bool => vec!["t", "f"],
        TypeId::Int2 => vec!["0", "1", "-1", "32767", "-32768"],
        TypeId::Int4 => vec!["0", "1", "-1", "2147483647", "-2147483648"],
        TypeId::Int8 => {
            vec!["0", "1", "-1", "9223372036854775807", "-9223372036854775808"]
        }
        TypeId::Float4 => vec!["0", "-1.5", "3.4e38", "1e-45", "NaN", "-Infinity"],
        TypeId::Float8 => vec!["0", "-1.5", "1.7e308", "5e-324", "NaN", "Infinity"],
        TypeId::Numeric => vec![
            "0",
            "-1",
            "0.00000000000000000001",
            "-170141183460469231731687303715884105728",
            "-1701411834604692317.31687303715884105728",
            "1e200",
            "NaN",
            "-Infinity",
        ],
        TypeId::Date => vec!["epoch", "infinity", "4713-11-24 BC", "5874897-12-31"],
        TypeId::Time => vec!["00:00", "24:00", "12:34:56.789"],
        TypeId::Timestamp | TypeId::Timestamptz => {
            vec!["epoch", "-infinity", "4713-11-25 BC", "294276-12-31 12:00"]
        }
        TypeId::Interval => vec![
            "0",
            "178956970 years 7 mons 2147483647 days 2562047788:00:54.775807",
            "-178956970 years -8 mons -2147483648 days -2562047788:00:54.775808",
            "1 mon -1 day",
        ],
        TypeId::Uuid => vec!["00000000-0000-0000-0000-000000000000"],
        TypeId::Json | TypeId::Jsonb => vec!["null", "[]", "{\"a\": [1, {\"b\": \"é\"}]}", "1e5"],
        TypeId::Bytea => vec!["", "\\x00ff80"],
        TypeId::Oid | TypeId::Regtype | TypeId::Regclass => vec!["0", "4294967295"],
        TypeId::Name | TypeId::Text | TypeId::Varchar | TypeId::Bpchar => {
            vec!["", "é%_\\", "YYYY-MM-DD", "(a|b)*", "hour", "9.99", "-1"]
        }
        _ => vec!["", "a"],
    }
}

fn concrete(name: &str) -> Option<PgType> {
    match name {
        "\"any\"" | "anyelement" | "anynonarray" | "anycompatible" => Some(PgType::INT4),
        "anyarray" | "anycompatiblearray" => Some(PgType::array_of(TypeId::Int4)),
        "\"char\"" => Some(PgType::new(TypeId::Char)),
        "record" | "void" => None,
        other => typmod::parse_type(other).map(PgType::base),
    }
}

/// Calls with combinations of edges; the panics.
fn call_all(info: &FunctionInfo, operator: bool, env: &EvalEnv) -> Vec<String> {
    let Some(types) = info.args.iter().map(|name| concrete(name)).collect::<Option<Vec<_>>>()
    else {
        return Vec::new();
    };
    let resolved = if operator {
        resolve_operator(info.name, &types)
    } else if info.is_set {
        resolve_set_function(info.name, &types)
    } else {
        resolve_function(info.name, &types)
    };
    let Ok(resolved) = resolved else { return Vec::new() };
    let pools: Vec<Vec<Datum>> = resolved
        .args
        .iter()
        .map(|ty| {
            let mut pool: Vec<Datum> =
                edges(*ty).iter().filter_map(|text| parse_text(text, *ty, env).ok()).collect();
            pool.push(Datum::Null);
            pool
        })
        .collect();
    let total: usize = pools.iter().map(Vec::len).product();
    let step = total / 400 + 1;
    let mut panics = Vec::new();
    for at in (0..total).step_by(step) {
        let mut rest = at;
        let args: Vec<Datum> = pools
            .iter()
            .map(|pool| {
                let datum = pool[rest % pool.len()].clone();
                rest /= pool.len();
                datum
            })
            .collect();
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            resolved.call(env, &args).map(|datum| pgtypes::text_of(&datum, resolved.result, env))
        }));
        if done.is_err() {
            panics.push(format!("{resolved:?} of {args:?}"));
        }
    }
    panics
}

#[test]
fn kernels_do_not_panic() {
    let env = EvalEnv::default();
    let mut panics = Vec::new();
    for info in functions() {
        panics.extend(call_all(&info, false, &env));
    }
    for info in operators() {
        panics.extend(call_all(&info, true, &env));
    }
    assert!(panics.is_empty(), "{} panics:\n{}", panics.len(), panics.join("\n"));
}
