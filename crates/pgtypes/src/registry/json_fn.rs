//! Functions of `json` and `jsonb`: building, looking at, printing.

use super::args::{boolean, text};
use super::json::{jsonb, load};
use super::json_set::{Change, set, set_lax};
use super::{Call, Registry};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};
use crate::json::{Json, escape, json_text, parse, pretty};
use crate::text::text_of;
use crate::ty::{PgType, TypeId};

fn value_text(call: &Call<'_>, datum: &Datum, ty: PgType) -> Result<String> {
    let mut out = String::new();
    json_text(datum, ty, call.env, &mut out)?;
    Ok(out)
}

/// The result as `json` text, or made canonical for `jsonb`.
fn finish(call: &Call<'_>, text: String) -> Result<Datum> {
    if call.result.id == TypeId::Jsonb {
        return Ok(jsonb(&parse(&text, true)?.canonical()));
    }
    Ok(Datum::text(text))
}

fn to_json(call: &Call<'_>, a: &[Datum]) -> Result<Datum> {
    let text = value_text(call, &a[0], call.args[0])?;
    finish(call, text)
}

/// The same, with a line for each element or member if asked for.
fn to_json_lines(call: &Call<'_>, a: &[Datum]) -> Result<Datum> {
    let text = value_text(call, &a[0], call.args[0])?;
    if !boolean(&a[1]) {
        return Ok(Datum::text(text));
    }
    let parts = super::json::verbatim::parts(&text);
    let (open, close) = (&text[..1], &text[text.len() - 1..]);
    Ok(Datum::text(format!("{open}{}{close}", parts.join(",\n "))))
}

fn build_array(call: &Call<'_>, a: &[Datum]) -> Result<Datum> {
    let parts = a
        .iter()
        .zip(call.args)
        .map(|(datum, ty)| value_text(call, datum, *ty))
        .collect::<Result<Vec<_>>>()?;
    finish(call, format!("[{}]", parts.join(", ")))
}

fn build_object(call: &Call<'_>, a: &[Datum]) -> Result<Datum> {
    let binary = call.result.id == TypeId::Jsonb;
    let bad = |message: String| TypeError::new(sqlstate::INVALID_PARAMETER, message);
    if !a.len().is_multiple_of(2) {
        let name = if binary { "jsonb_build_object" } else { "json_build_object" };
        return Err(bad("argument list must have even number of elements".to_owned()).with_hint(
            format!("The arguments of {name}() must consist of alternating keys and values."),
        ));
    }
    let mut out = String::from("{");
    for (i, (pair, types)) in a.chunks(2).zip(call.args.chunks(2)).enumerate() {
        if pair[0].is_null() {
            return Err(bad(format!("argument {}: key must not be null", i * 2 + 1)));
        }
        let container =
            types[0].array || matches!(types[0].id, TypeId::Json | TypeId::Jsonb | TypeId::Record);
        if container {
            return Err(bad("key value must be scalar, not array, composite, or json".to_owned()));
        }
        out.push_str(if i == 0 { "" } else { ", " });
        let key = match &pair[0] {
            Datum::Bool(value) => value.to_string(),
            // `jsonb` writes times into keys as it does into values.
            stamp @ (Datum::Timestamp(_) | Datum::Timestamptz(_)) if binary => {
                value_text(call, stamp, types[0])?.trim_matches('"').to_owned()
            }
            other => text_of(other, types[0], call.env),
        };
        escape(&key, &mut out).expect("writing to a string");
        out.push_str(" : ");
        json_text(&pair[1], types[1], call.env, &mut out)?;
    }
    out.push('}');
    finish(call, out)
}

/// `json_object('{a,1,b,2}')` and `json_object(keys, values)`.
fn object_of_texts(call: &Call<'_>, a: &[Datum]) -> Result<Datum> {
    let bad = |message: &str| TypeError::new(sqlstate::ARRAY_SUBSCRIPT, message);
    let flat = |list: &Datum| super::args::array(list).dims.len() <= 1;
    if a.len() == 2 && !(flat(&a[0]) && flat(&a[1])) {
        return Err(bad("wrong number of array subscripts"));
    }
    let items = &super::args::array(&a[0]).items;
    let pairs: Vec<(&Datum, &Datum)> = match a.get(1) {
        Some(values) => {
            let values = &super::args::array(values).items;
            if values.len() != items.len() {
                return Err(bad("mismatched array dimensions"));
            }
            items.iter().zip(values).collect()
        }
        None => {
            if !items.len().is_multiple_of(2) {
                return Err(bad("array must have even number of elements"));
            }
            items.chunks(2).map(|pair| (&pair[0], &pair[1])).collect()
        }
    };
    let mut out = String::from("{");
    for (i, (key, value)) in pairs.into_iter().enumerate() {
        let Some(key) = key.as_str() else {
            return Err(TypeError::new(
                sqlstate::NULL_NOT_ALLOWED,
                "null value not allowed for object key",
            ));
        };
        out.push_str(if i == 0 { "" } else { ", " });
        escape(key, &mut out).expect("writing to a string");
        out.push_str(" : ");
        match value.as_str() {
            Some(value) => escape(value, &mut out).expect("writing to a string"),
            None => out.push_str("null"),
        }
    }
    out.push('}');
    finish(call, out)
}

fn array_length(a: &[Datum]) -> Result<Datum> {
    match load(&a[0])? {
        Json::Array(items) => Ok(Datum::Int4(i32::try_from(items.len()).expect("below 1 GB"))),
        Json::Object(_) => Err(TypeError::new(
            sqlstate::INVALID_PARAMETER,
            "cannot get array length of a non-array",
        )),
        _ => {
            Err(TypeError::new(sqlstate::INVALID_PARAMETER, "cannot get array length of a scalar"))
        }
    }
}

fn strip_nulls(value: Json) -> Json {
    match value {
        Json::Object(members) => Json::Object(
            members
                .into_iter()
                .filter(|(_, value)| *value != Json::Null)
                .map(|(key, value)| (key, strip_nulls(value)))
                .collect(),
        ),
        Json::Array(items) => Json::Array(items.into_iter().map(strip_nulls).collect()),
        other => other,
    }
}

/// `json` without the spaces PostgreSQL's `json_strip_nulls` drops.
fn compact(value: &Json, out: &mut String) {
    match value {
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                compact(item, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (i, (key, item)) in members.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                escape(key, out).expect("writing to a string");
                out.push(':');
                compact(item, out);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

pub(super) fn register(r: &mut Registry) {
    r.f("to_json(anyelement) json", to_json).stable();
    r.f("to_jsonb(anyelement) jsonb", to_json).stable();
    r.f("array_to_json(anyarray) json", to_json).stable();
    r.f("array_to_json(anyarray,bool) json", to_json_lines).stable();
    r.f("row_to_json(record,bool) json", to_json_lines).stable();
    r.f("json_build_array() json", build_array).stable();
    r.f("json_build_array(variadic any) json", build_array).nonstrict().stable();
    r.f("jsonb_build_array() jsonb", build_array).stable();
    r.f("jsonb_build_array(variadic any) jsonb", build_array).nonstrict().stable();
    r.f("json_build_object() json", build_object).stable();
    r.f("json_build_object(variadic any) json", build_object).nonstrict().stable();
    r.f("jsonb_build_object() jsonb", build_object).stable();
    r.f("jsonb_build_object(variadic any) jsonb", build_object).nonstrict().stable();
    for name in ["json_object(text[]) json", "jsonb_object(text[]) jsonb"] {
        r.f(name, object_of_texts);
    }
    for name in ["json_object(text[],text[]) json", "jsonb_object(text[],text[]) jsonb"] {
        r.f(name, object_of_texts);
    }
    for name in ["json_typeof(json) text", "jsonb_typeof(jsonb) text"] {
        r.f(name, |_, a| Ok(Datum::text(load(&a[0])?.type_name())));
    }
    for name in ["json_array_length(json) int4", "jsonb_array_length(jsonb) int4"] {
        r.f(name, |_, a| array_length(a));
    }
    r.f("jsonb_pretty(jsonb) text", |_, a| Ok(Datum::text(pretty(&load(&a[0])?))));
    r.f("jsonb_strip_nulls(jsonb) jsonb", |_, a| Ok(jsonb(&strip_nulls(load(&a[0])?))));
    r.f("json_strip_nulls(json) json", |_, a| {
        let mut out = String::new();
        compact(&strip_nulls(load(&a[0])?), &mut out);
        Ok(Datum::text(out))
    });
    r.f("jsonb_set(jsonb,text[],jsonb) jsonb", |_, a| set(a, Change::Set { create: true }));
    r.f("jsonb_set(jsonb,text[],jsonb,bool) jsonb", |_, a| {
        set(a, Change::Set { create: boolean(&a[3]) })
    });
    for signature in [
        "jsonb_set_lax(jsonb,text[],jsonb) jsonb",
        "jsonb_set_lax(jsonb,text[],jsonb,bool) jsonb",
        "jsonb_set_lax(jsonb,text[],jsonb,bool,text) jsonb",
    ] {
        r.f(signature, |_, a| set_lax(a)).nonstrict();
    }
    r.f("jsonb_insert(jsonb,text[],jsonb) jsonb", |_, a| set(a, Change::Insert { after: false }));
    r.f("jsonb_insert(jsonb,text[],jsonb,bool) jsonb", |_, a| {
        set(a, Change::Insert { after: boolean(&a[3]) })
    });
    r.f("jsonb_contains(jsonb,jsonb) bool", |_, a| Ok(load(&a[0])?.contains(&load(&a[1])?).into()));
    r.f("jsonb_exists(jsonb,text) bool", |_, a| {
        Ok(load(&a[0])?.member(text(&a[1])).is_some().into())
    });
}
