//! Functions and operators of SQL/JSON paths.

use super::args::{boolean, text};
use super::json::{jsonb, load};
use super::{Registry, set};
use crate::datum::Datum;
use crate::error::{Result, TypeError};
use crate::json::Json;
use crate::json::path::{self, Failure, Query};

/// Runs `of` over target, path, variables and silence; none where silence is kept.
fn query<T>(
    a: &[Datum],
    silent: bool,
    of: impl Fn(&Query<'_>) -> Result<T, Failure>,
) -> Result<Option<T>> {
    let (target, path) = (load(&a[0])?, path::parse(text(&a[1]))?);
    let variables = match a.get(2) {
        Some(variables) => load(variables)?,
        None => Json::Object(Vec::new()),
    };
    let silent = silent || a.get(3).is_some_and(boolean);
    match of(&Query::new(&path, &target, &variables)?) {
        Ok(found) => Ok(Some(found)),
        Err(Failure::Document(_)) if silent => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

fn exists(a: &[Datum], silent: bool) -> Result<Datum> {
    Ok(query(a, silent, |query| query.exists())?.into())
}

fn matches(a: &[Datum], silent: bool) -> Result<Datum> {
    let quiet = silent || a.get(3).is_some_and(boolean);
    match query(a, silent, |query| query.run())?.as_deref() {
        Some([Json::Bool(truth)]) => Ok((*truth).into()),
        Some([Json::Null]) => Ok(Datum::Null),
        _ if quiet => Ok(Datum::Null),
        _ => Err(TypeError::new("22038", "single boolean result is expected")),
    }
}

fn found(a: &[Datum]) -> Result<Vec<Json>> {
    Ok(query(a, false, |query| query.run())?.unwrap_or_default())
}

pub(super) fn register(r: &mut Registry) {
    r.op("@?(jsonb,jsonpath) bool", |_, a| exists(a, true));
    r.op("@@(jsonb,jsonpath) bool", |_, a| matches(a, true));
    macro_rules! each {
        ($($name:literal $result:literal $kernel:expr;)*) => {
            $(
                r.f(concat!($name, "(jsonb,jsonpath) ", $result), $kernel);
                r.f(concat!($name, "(jsonb,jsonpath,jsonb) ", $result), $kernel);
                r.f(concat!($name, "(jsonb,jsonpath,jsonb,bool) ", $result), $kernel);
            )*
        };
    }
    each! {
        "jsonb_path_exists" "bool" |_, a| exists(a, false);
        "jsonb_path_match" "bool" |_, a| matches(a, false);
        "jsonb_path_query_array" "jsonb" |_, a| Ok(jsonb(&Json::Array(found(a)?)));
        "jsonb_path_query_first" "jsonb" |_, a| Ok(found(a)?.first().map(jsonb).into());
    }
    for signature in [
        "jsonb_path_query(jsonb,jsonpath) jsonb",
        "jsonb_path_query(jsonb,jsonpath,jsonb) jsonb",
        "jsonb_path_query(jsonb,jsonpath,jsonb,bool) jsonb",
    ] {
        r.set(signature, "", |_, a| Ok(set::values(found(a)?.iter().map(jsonb))));
    }
}
