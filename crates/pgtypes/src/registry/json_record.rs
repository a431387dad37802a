//! JSON as rows of columns that the call names: `json_to_record`, `json_to_recordset`.

use std::sync::Arc;

use super::args::text;
use super::json::verbatim;
use super::{Call, Registry};
use crate::cast;
use crate::datum::{ArrayValue, Datum, Dim};
use crate::env::EvalEnv;
use crate::error::{Result, TypeError, sqlstate};
use crate::json::{Json, parse};
use crate::record;
use crate::ty::{PgType, TypeId};

/// A member's value: `json` keeps its spelling.
struct Value {
    json: Json,
    text: String,
}

fn bad(message: impl Into<String>) -> TypeError {
    TypeError::new(sqlstate::INVALID_PARAMETER, message)
}

/// Objects, each as its members, of a document.
fn objects(call: &Call<'_>, input: &str, set: bool) -> Result<Vec<Vec<(String, Value)>>> {
    let binary = call.args[0].id == TypeId::Jsonb;
    let prefix = if binary { "jsonb" } else { "json" };
    let value = parse(input, binary)?;
    let members = |json: &Json, spelled: &str| -> Option<Vec<(String, Value)>> {
        let Json::Object(members) = json else { return None };
        let mut spelled = verbatim::members(spelled).into_iter();
        Some(
            members
                .iter()
                .map(|(key, json)| {
                    let text = match spelled.next() {
                        Some((_, text)) if !binary => text.to_owned(),
                        _ => json.to_string(),
                    };
                    (key.clone(), Value { json: json.clone(), text })
                })
                .collect(),
        )
    };
    match (set, &value) {
        (false, Json::Array(_)) => Err(bad("cannot call populate_composite on an array")),
        (false, value) => members(value, input)
            .map(|one| vec![one])
            .ok_or_else(|| bad("cannot call populate_composite on a scalar")),
        (true, Json::Array(items)) => {
            let spelled: Vec<&str> =
                verbatim::members(input).into_iter().map(|(_, text)| text).collect();
            let each = items.iter().enumerate().map(|(n, item)| {
                members(item, spelled.get(n).copied().unwrap_or_default()).ok_or_else(|| {
                    bad(format!("argument of {prefix}_to_recordset must be an array of objects"))
                })
            });
            each.collect()
        }
        (true, Json::Object(_)) => {
            Err(bad(format!("cannot call {prefix}_to_recordset on an object")))
        }
        (true, _) => Err(bad(format!("cannot call {prefix}_to_recordset on a scalar"))),
    }
}

/// A value as a column's type has it: strings are read, everything else by its text.
fn populate(value: &Value, ty: PgType, env: &EvalEnv) -> Result<Datum> {
    match (&value.json, ty.id) {
        (Json::Null, _) => return Ok(Datum::Null),
        (Json::Array(_), _) if ty.array => {
            let mut array = ArrayValue::default();
            fill(value, ty.element(), env, 0, &mut array)?;
            if array.items.is_empty() {
                return Ok(Datum::Array(Arc::default()));
            }
            return Ok(Datum::Array(Arc::new(array)));
        }
        (_, TypeId::Json) if !ty.array => return Ok(Datum::text(value.text.as_str())),
        (_, TypeId::Jsonb) if !ty.array => {
            return Ok(Datum::Jsonb(value.json.clone().canonical().to_string().into()));
        }
        (Json::Array(_) | Json::Object(_), TypeId::Record) => {
            return Err(TypeError::not_supported("a row within a row of JSON is not supported"));
        }
        (json, _) if ty.array && !matches!(json, Json::String(_)) => {
            return Err(TypeError::new(sqlstate::INVALID_TEXT, "expected JSON array"));
        }
        _ => {}
    }
    let text = match &value.json {
        Json::String(text) => text.as_str(),
        _ => value.text.as_str(),
    };
    let read = cast::lookup(PgType::UNKNOWN, ty).expect("a literal becomes any type");
    read.apply(env, Datum::text(text), PgType::UNKNOWN, ty, false)
}

/// Appends the elements of an array of arrays, and says how long each dimension is.
fn fill(
    value: &Value,
    element: PgType,
    env: &EvalEnv,
    depth: usize,
    out: &mut ArrayValue,
) -> Result<()> {
    let ragged = || {
        TypeError::new(sqlstate::INVALID_TEXT, "malformed JSON array")
            .with_detail("Multidimensional arrays must have sub-arrays with matching dimensions.")
    };
    let Json::Array(items) = &value.json else { return Err(ragged()) };
    let spelled = verbatim::members(&value.text);
    let len = i32::try_from(items.len()).map_err(|_| super::string::too_large())?;
    match out.dims.get(depth) {
        Some(dim) if dim.len == len => {}
        Some(_) => return Err(ragged()),
        None if depth == 6 => {
            let message = "number of array dimensions (7) exceeds the maximum allowed (6)";
            return Err(TypeError::new(sqlstate::LIMIT_EXCEEDED, message));
        }
        None if !out.items.is_empty() => return Err(ragged()),
        None => out.dims.push(Dim { len, lower: 1 }),
    }
    for (n, item) in items.iter().enumerate() {
        let text = spelled.get(n).map_or_else(|| item.to_string(), |(_, text)| (*text).to_owned());
        let item = Value { json: item.clone(), text };
        match &item.json {
            Json::Array(_) if !matches!(element.id, TypeId::Json | TypeId::Jsonb) => {
                fill(&item, element, env, depth + 1, out)?;
            }
            _ if out.dims.len() > depth + 1 => return Err(ragged()),
            _ => {
                let datum = populate(&item, element, env)?;
                out.items.push(datum);
            }
        }
    }
    Ok(())
}

fn rows(call: &Call<'_>, a: &[Datum], set: bool) -> Result<Datum> {
    let fields = record::fields(call.result).unwrap_or_default();
    let documents = match &a[0] {
        Datum::Null if set => Vec::new(),
        Datum::Null => vec![Vec::new()],
        document => objects(call, text(document), set)?,
    };
    let row = |members: &Vec<(String, Value)>| -> Result<Datum> {
        let field = |(name, ty): &record::Field| {
            // The last of equal keys counts.
            let found = members.iter().rev().find(|(key, _)| **key == **name);
            let value = match found {
                Some((_, value)) => populate(value, *ty, call.env)?,
                None => Datum::Null,
            };
            Ok((*ty, value))
        };
        Ok(Datum::Record(Arc::new(fields.iter().map(field).collect::<Result<_>>()?)))
    };
    Ok(Datum::array(documents.iter().map(row).collect::<Result<_>>()?))
}

pub(super) fn register(r: &mut Registry) {
    for (one, many) in [
        ("json_to_record(json) record", "json_to_recordset(json) record"),
        ("jsonb_to_record(jsonb) record", "jsonb_to_recordset(jsonb) record"),
    ] {
        r.set(one, "", |call, a| rows(call, a, false)).nonstrict().stable();
        r.set(many, "", |call, a| rows(call, a, true)).nonstrict().stable();
    }
}
