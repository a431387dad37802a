//! Functions that return rows: `generate_subscripts`, `json_each`, …
//!
//! Such a function is a kernel that returns all of its rows as one array, of values or, with several
//! columns, of rows; the binder unnests it. (`generate_series` and `unnest` themselves are operators of the
//! executor, because their rows may be many.)

use super::args::{array, boolean, i4, i8, text};
use super::signature::ArgSpec;
use super::{Call, Registry, regex_fn};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};
use crate::json::{self, Json};
use crate::record;
use crate::ty::{PgType, TypeId};
use std::sync::Arc;

/// Rows of one call at most, where arguments are small and results are not.
const ROWS_MAX: usize = 100_000;

/// The result of a function with several columns, its types taken from the call.
fn rows(call: &Call<'_>, rows: Vec<Vec<Datum>>) -> Datum {
    let fields = record::fields(call.result).unwrap_or_default();
    let types = || fields.iter().map(|(_, ty)| *ty);
    let row = |row: Vec<Datum>| Datum::Record(Arc::new(types().zip(row).collect()));
    Datum::array(rows.into_iter().map(row).collect())
}

/// The result of a function with one column.
pub(super) fn values(rows: impl Iterator<Item = Datum>) -> Datum {
    Datum::array(rows.collect())
}

fn subscripts(a: &[Datum]) -> Result<Datum> {
    let dim = usize::try_from(i4(&a[1])).ok().and_then(|n| n.checked_sub(1));
    let Some(dim) = dim.and_then(|n| array(&a[0]).dims.get(n)) else {
        return Ok(Datum::array(Vec::new()));
    };
    let mut all: Vec<Datum> = (dim.lower..dim.lower + dim.len).map(Datum::Int4).collect();
    if a.get(2).is_some_and(boolean) {
        all.reverse();
    }
    Ok(Datum::array(all))
}

/// `option=value`, as reloptions and their kind hold it.
fn options(call: &Call<'_>, a: &[Datum]) -> Datum {
    let pair = |option: &Datum| {
        let option = option.as_str()?;
        Some(match option.split_once('=') {
            Some((name, value)) => vec![Datum::text(name), Datum::text(value)],
            None => vec![Datum::text(option), Datum::Null],
        })
    };
    rows(call, array(&a[0]).items.iter().filter_map(pair).collect())
}

fn series(start: i64, stop: i64, step: i64, made: fn(i64) -> Datum) -> Result<Datum> {
    if step == 0 {
        return Err(TypeError::new(sqlstate::INVALID_PARAMETER, "step size cannot equal zero"));
    }
    let mut all = Vec::new();
    let mut at = Some(start);
    while let Some(value) = at
        && if step > 0 { value <= stop } else { value >= stop }
    {
        if all.len() == ROWS_MAX {
            let message = "generate_series beside another set-returning function has too many rows";
            return Err(TypeError::new(sqlstate::LIMIT_EXCEEDED, message));
        }
        all.push(made(value));
        at = value.checked_add(step);
    }
    Ok(Datum::array(all))
}

fn narrow(value: i64) -> Datum {
    Datum::Int4(i32::try_from(value).expect("between two int4"))
}

/// A value inside of JSON, as its own type or as text.
fn member(call: &Call<'_>, value: &Json, as_text: bool) -> Datum {
    if as_text {
        return match value {
            Json::Null => Datum::Null,
            Json::String(text) => Datum::text(text.as_str()),
            other => Datum::text(other.to_string()),
        };
    }
    match call.args[0].id {
        TypeId::Jsonb => Datum::Jsonb(value.to_string().into()),
        _ => Datum::text(value.to_string()),
    }
}

fn parsed(call: &Call<'_>, a: &[Datum]) -> Result<Json> {
    json::parse(text(&a[0]), call.args[0].id == TypeId::Jsonb)
}

fn elements(call: &Call<'_>, a: &[Datum], as_text: bool) -> Result<Datum> {
    if call.args[0].id == TypeId::Json && matches!(parsed(call, a)?, Json::Array(_)) {
        // Parts of a `json` text keep their spelling.
        let parts = super::json::verbatim::members(text(&a[0]));
        let part = |(_, part): (_, &str)| super::json::json_part(Some(part), as_text);
        return Ok(Datum::array(parts.into_iter().map(part).collect::<Result<_>>()?));
    }
    let Json::Array(items) = parsed(call, a)? else {
        let name = if as_text { "elements_text" } else { "elements" };
        let message = format!("cannot extract {name} from a non-array");
        let message = match parsed(call, a)? {
            Json::Object(_) => "cannot extract elements from an object".to_owned(),
            value if value.is_scalar() => "cannot extract elements from a scalar".to_owned(),
            _ => message,
        };
        return Err(TypeError::new(sqlstate::INVALID_PARAMETER, message));
    };
    Ok(Datum::array(items.iter().map(|item| member(call, item, as_text)).collect()))
}

fn members(call: &Call<'_>, a: &[Datum], function: &str) -> Result<Vec<(String, Json)>> {
    match parsed(call, a)? {
        Json::Object(members) => Ok(members),
        Json::Array(_) => Err(TypeError::new(
            sqlstate::INVALID_PARAMETER,
            format!("cannot call {function} on an array"),
        )),
        _ => Err(TypeError::new(
            sqlstate::INVALID_PARAMETER,
            format!("cannot call {function} on a scalar"),
        )),
    }
}

fn each(call: &Call<'_>, a: &[Datum], as_text: bool) -> Result<Datum> {
    let name = match (call.args[0].id, as_text) {
        (TypeId::Jsonb, false) => "jsonb_each",
        (TypeId::Jsonb, true) => "jsonb_each_text",
        (_, false) => "json_each",
        (_, true) => "json_each_text",
    };
    let all = members(call, a, name)?;
    let row = |(key, value): &(String, Json)| {
        vec![Datum::text(key.as_str()), member(call, value, as_text)]
    };
    Ok(rows(call, all.iter().map(row).collect()))
}

fn keys(call: &Call<'_>, a: &[Datum]) -> Result<Datum> {
    let name =
        if call.args[0].id == TypeId::Jsonb { "jsonb_object_keys" } else { "json_object_keys" };
    let all = members(call, a, name)?;
    Ok(Datum::array(all.into_iter().map(|(key, _)| Datum::text(key)).collect()))
}

fn keywords(call: &Call<'_>) -> Datum {
    let word = |keyword: &super::keywords::Keyword| {
        let category = match keyword.category {
            'U' => "unreserved",
            'C' => "unreserved (cannot be function or type name)",
            'T' => "reserved (can be function or type name)",
            _ => "reserved",
        };
        let label = if keyword.bare_label { "can be bare label" } else { "requires AS" };
        vec![
            Datum::text(keyword.word),
            Datum::text(keyword.category.to_string()),
            Datum::Bool(keyword.bare_label),
            Datum::text(category),
            Datum::text(label),
        ]
    };
    rows(call, super::keywords::keywords().iter().map(word).collect())
}

/// The columns of a function, `x anyelement,n int4`; one column is called like the function.
pub(super) fn columns(
    name: &'static str,
    result: ArgSpec,
    text: &'static str,
) -> Vec<(&'static str, ArgSpec)> {
    if text.is_empty() {
        return vec![(name, result)];
    }
    text.split(',')
        .map(|column| {
            let (name, ty) = column.split_once(' ').expect("a name and a type");
            (name, ArgSpec::parse(ty))
        })
        .collect()
}

/// The type of the array that a function with these columns returns.
pub(super) fn result(columns: &[(&'static str, PgType)]) -> PgType {
    match columns {
        [(_, ty)] if !ty.array => ty.base().to_array(),
        many => {
            let fields: Vec<record::Field> =
                many.iter().map(|(name, ty)| (Arc::from(*name), *ty)).collect();
            record::row_type(&fields).to_array()
        }
    }
}

pub(super) fn register(r: &mut Registry) {
    r.set("generate_subscripts(anyarray,int4) int4", "", |_, a| subscripts(a));
    r.set("generate_subscripts(anyarray,int4,bool) int4", "", |_, a| subscripts(a));
    r.set("_pg_expandarray(anyarray) record", "x anyelement,n int4", |call, a| {
        let items = (1..).zip(&array(&a[0]).items);
        Ok(rows(call, items.map(|(n, item)| vec![item.clone(), Datum::Int4(n)]).collect()))
    });
    r.set("pg_options_to_table(text[]) record", "option_name text,option_value text", |call, a| {
        Ok(options(call, a))
    })
    .stable();
    r.set(
        "pg_get_keywords() record",
        "word text,catcode qchar,barelabel bool,catdesc text,baredesc text",
        |call, _| Ok(keywords(call)),
    )
    .stable();
    r.set("pg_listening_channels() text", "", |_, _| Ok(Datum::array(Vec::new()))).stable();
    // Beside another set-returning function in a select list.
    r.set("generate_series(int4,int4) int4", "", |_, a| {
        series(i4(&a[0]).into(), i4(&a[1]).into(), 1, narrow)
    });
    r.set("generate_series(int4,int4,int4) int4", "", |_, a| {
        series(i4(&a[0]).into(), i4(&a[1]).into(), i4(&a[2]).into(), narrow)
    });
    r.set("generate_series(int8,int8) int8", "", |_, a| {
        series(i8(&a[0]), i8(&a[1]), 1, Datum::Int8)
    });
    r.set("generate_series(int8,int8,int8) int8", "", |_, a| {
        series(i8(&a[0]), i8(&a[1]), i8(&a[2]), Datum::Int8)
    });
    r.set("string_to_table(text,text) text", "", |_, a| super::array::from_string(a)).nonstrict();
    r.set("string_to_table(text,text,text) text", "", |_, a| super::array::from_string(a))
        .nonstrict();
    for signature in
        ["regexp_split_to_table(text,text) text", "regexp_split_to_table(text,text,text) text"]
    {
        r.set(signature, "", |_, a| regex_fn::split(a, "regexp_split_to_table"));
    }
    for signature in ["regexp_matches(text,text) text[]", "regexp_matches(text,text,text) text[]"] {
        r.set(signature, "", |call, a| {
            Ok(rows(call, regex_fn::all_matches(a)?.into_iter().map(|row| vec![row]).collect()))
        });
    }
    for (list, texts) in [
        ("json_array_elements(json) json", "json_array_elements_text(json) text"),
        ("jsonb_array_elements(jsonb) jsonb", "jsonb_array_elements_text(jsonb) text"),
    ] {
        let (value, texts_value) = match list.starts_with("jsonb") {
            true => ("value jsonb", "value text"),
            false => ("value json", "value text"),
        };
        r.set(list, value, |call, a| elements(call, a, false));
        r.set(texts, texts_value, |call, a| elements(call, a, true));
    }
    r.set("json_each(json) record", "key text,value json", |call, a| each(call, a, false));
    r.set("jsonb_each(jsonb) record", "key text,value jsonb", |call, a| each(call, a, false));
    r.set("json_each_text(json) record", "key text,value text", |call, a| each(call, a, true));
    r.set("jsonb_each_text(jsonb) record", "key text,value text", |call, a| each(call, a, true));
    r.set("json_object_keys(json) text", "", keys);
    r.set("jsonb_object_keys(jsonb) text", "", keys);
}
