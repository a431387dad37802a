//! Operators of `json` and `jsonb`: taking apart, containment, change.

use super::args::{array, i4, text};
use super::json_set::{Change, change, is_empty};
use super::{Call, Registry};
use crate::datum::{Datum, Str};
use crate::error::{Result, TypeError, sqlstate};
use crate::json::{Json, parse};
use crate::ty::TypeId;

/// Canonical `jsonb`.
pub(super) fn jsonb(value: &Json) -> Datum {
    Datum::Jsonb(Str::from(value.to_string()))
}

pub(super) fn load(datum: &Datum) -> Result<Json> {
    parse(text(datum), matches!(datum, Datum::Jsonb(_)))
}

/// The text of a value as `->>` gives it: strings bare, null as NULL.
pub(super) fn as_text(value: &Json) -> Datum {
    match value {
        Json::Null => Datum::Null,
        Json::String(text) => Datum::text(text.as_str()),
        other => Datum::text(other.to_string()),
    }
}

/// A part of a `json` text keeps its spelling, so it is found in the text.
pub(super) mod verbatim {
    use crate::json::{Json, parse};

    /// The texts of a container's elements, or of its members with their keys.
    pub(in crate::registry) fn parts(text: &str) -> Vec<&str> {
        let at = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
        let mut from = 1;
        members(text)
            .into_iter()
            .map(|(_, value)| {
                let end = at(value) + value.len();
                let part = text[from..end].trim_start_matches([',', ' ']);
                from = end;
                part
            })
            .collect()
    }

    /// Splits a container's text into its members' keys and texts.
    pub(in crate::registry) fn members(text: &str) -> Vec<(Option<String>, &str)> {
        let bytes = text.as_bytes();
        let trimmed = text.trim_start();
        let is_object = trimmed.starts_with('{');
        if !is_object && !trimmed.starts_with('[') {
            return Vec::new();
        }
        let mut out = Vec::new();
        let (mut depth, mut in_string, mut escaped) = (0, false, false);
        let mut start = 0;
        let mut key = None;
        for (at, &byte) in bytes.iter().enumerate() {
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => {
                    depth += 1;
                    if depth == 1 {
                        start = at + 1;
                    }
                }
                b':' if depth == 1 && is_object && key.is_none() => {
                    if let Ok(Json::String(name)) = parse(&text[start..at], false) {
                        key = Some(name);
                    }
                    start = at + 1;
                }
                b',' if depth == 1 => {
                    out.push((key.take(), text[start..at].trim()));
                    start = at + 1;
                }
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 && !text[start..at].trim().is_empty() {
                        out.push((key.take(), text[start..at].trim()));
                    }
                }
                _ => {}
            }
        }
        out
    }
}

/// One step into a `json` text.
fn json_step<'a>(text: &'a str, step: &str, index: Option<i64>) -> Option<&'a str> {
    let members = verbatim::members(text);
    if text.trim_start().starts_with('{') {
        // The last of equal keys counts.
        return members
            .into_iter()
            .rev()
            .find(|(key, _)| key.as_deref() == Some(step))
            .map(|(_, value)| value);
    }
    let index = index?;
    let at = if index < 0 { i64::try_from(members.len()).ok()? + index } else { index };
    members.get(usize::try_from(at).ok()?).map(|(_, value)| *value)
}

pub(super) fn json_part(value: Option<&str>, bare: bool) -> Result<Datum> {
    let Some(value) = value else { return Ok(Datum::Null) };
    if !bare {
        return Ok(Datum::text(value));
    }
    Ok(match parse(value, false)? {
        Json::Null => Datum::Null,
        Json::String(text) => Datum::text(text),
        _ => Datum::text(value),
    })
}

fn jsonb_part(value: Option<&Json>, bare: bool) -> Datum {
    match value {
        None => Datum::Null,
        Some(value) if bare => as_text(value),
        Some(value) => jsonb(value),
    }
}

/// `-> key` and `-> index`, of either type; `bare` is `->>`.
fn get(call: &Call<'_>, a: &[Datum], bare: bool) -> Result<Datum> {
    let binary = call.args[0].id == TypeId::Jsonb;
    let index = match &a[1] {
        Datum::Int4(index) => Some(i64::from(*index)),
        _ => None,
    };
    if binary {
        let value = load(&a[0])?;
        let found = match index {
            // A scalar counts as an array of itself.
            Some(0 | -1) if value.is_scalar() => Some(&value),
            Some(index) => value.element(index),
            None => value.member(text(&a[1])),
        };
        return Ok(jsonb_part(found, bare));
    }
    let input = text(&a[0]);
    let is_object = input.trim_start().starts_with('{');
    let found = match index {
        Some(index) if !is_object => json_step(input, "", Some(index)),
        Some(_) => None,
        None if is_object => json_step(input, text(&a[1]), None),
        None => None,
    };
    json_part(found, bare)
}

pub(super) fn path_steps(datum: &Datum) -> Option<Vec<String>> {
    array(datum).items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

fn walk<'a>(value: &'a Json, steps: &[String]) -> Option<&'a Json> {
    steps.iter().try_fold(value, |value, step| match value {
        Json::Object(_) => value.member(step),
        Json::Array(_) => value.element(step.trim().parse().ok()?),
        _ => None,
    })
}

/// `#>` and `#>>`.
fn get_path(call: &Call<'_>, a: &[Datum], bare: bool) -> Result<Datum> {
    let Some(steps) = path_steps(&a[1]) else { return Ok(Datum::Null) };
    if call.args[0].id == TypeId::Jsonb {
        let value = load(&a[0])?;
        return Ok(jsonb_part(walk(&value, &steps), bare));
    }
    let found = steps
        .iter()
        .try_fold(text(&a[0]), |value, step| json_step(value, step, step.trim().parse().ok()));
    json_part(found, bare)
}

/// `?`: a key of an object, or a string of an array.
fn has(value: &Json, key: &str) -> bool {
    match value {
        Json::Object(_) => value.member(key).is_some(),
        Json::Array(items) => {
            items.iter().any(|item| matches!(item, Json::String(text) if text == key))
        }
        Json::String(text) => text == key,
        _ => false,
    }
}

fn keys(datum: &Datum) -> Vec<&str> {
    array(datum).items.iter().filter_map(Datum::as_str).collect()
}

/// `jsonb || jsonb`
fn concat(a: Json, b: Json) -> Json {
    match (a, b) {
        (Json::Object(mut a), Json::Object(b)) => {
            a.extend(b);
            Json::object(a)
        }
        (Json::Array(mut a), Json::Array(b)) => {
            a.extend(b);
            Json::Array(a)
        }
        // Whatever is no array counts as an array of itself.
        (Json::Array(mut a), b) => {
            a.push(b);
            Json::Array(a)
        }
        (a, Json::Array(mut b)) => {
            b.insert(0, a);
            Json::Array(b)
        }
        (a, b) => Json::Array(vec![a, b]),
    }
}

fn cannot_delete(from: &str) -> TypeError {
    TypeError::new(sqlstate::INVALID_PARAMETER, format!("cannot delete {from}"))
}

fn delete_keys(value: Json, keys: &[&str]) -> Result<Json> {
    let drop = |name: &str| keys.contains(&name);
    Ok(match value {
        Json::Object(members) => {
            Json::Object(members.into_iter().filter(|(name, _)| !drop(name)).collect())
        }
        Json::Array(items) => Json::Array(
            items
                .into_iter()
                .filter(|item| !matches!(item, Json::String(text) if drop(text)))
                .collect(),
        ),
        _ => return Err(cannot_delete("from scalar")),
    })
}

fn delete_index(value: Json, index: i32) -> Result<Json> {
    match value {
        Json::Array(mut items) => {
            let len = i64::try_from(items.len()).expect("in memory");
            let at = if index < 0 { i64::from(index) + len } else { i64::from(index) };
            if let Ok(at) = usize::try_from(at)
                && at < items.len()
            {
                items.remove(at);
            }
            Ok(Json::Array(items))
        }
        Json::Object(_) => Err(cannot_delete("from object using integer index")),
        _ => Err(cannot_delete("from scalar")),
    }
}

pub(super) fn register(r: &mut Registry) {
    for text in
        ["->(json,text) json", "->(json,int4) json", "->(jsonb,text) jsonb", "->(jsonb,int4) jsonb"]
    {
        r.op(text, |call, a| get(call, a, false));
    }
    for text in [
        "->>(json,text) text",
        "->>(json,int4) text",
        "->>(jsonb,text) text",
        "->>(jsonb,int4) text",
    ] {
        r.op(text, |call, a| get(call, a, true));
    }
    for text in ["#>(json,text[]) json", "#>(jsonb,text[]) jsonb"] {
        r.op(text, |call, a| get_path(call, a, false));
    }
    for text in ["#>>(json,text[]) text", "#>>(jsonb,text[]) text"] {
        r.op(text, |call, a| get_path(call, a, true));
    }
    r.op("@>(jsonb,jsonb) bool", |_, a| Ok(load(&a[0])?.contains(&load(&a[1])?).into()));
    r.op("<@(jsonb,jsonb) bool", |_, a| Ok(load(&a[1])?.contains(&load(&a[0])?).into()));
    r.op("?(jsonb,text) bool", |_, a| Ok(has(&load(&a[0])?, text(&a[1])).into()));
    r.op("?|(jsonb,text[]) bool", |_, a| {
        let value = load(&a[0])?;
        Ok(keys(&a[1]).iter().any(|key| has(&value, key)).into())
    });
    r.op("?&(jsonb,text[]) bool", |_, a| {
        let value = load(&a[0])?;
        Ok(keys(&a[1]).iter().all(|key| has(&value, key)).into())
    });
    r.op("||(jsonb,jsonb) jsonb", |_, a| Ok(jsonb(&concat(load(&a[0])?, load(&a[1])?))));
    r.op("-(jsonb,text) jsonb", |_, a| Ok(jsonb(&delete_keys(load(&a[0])?, &[text(&a[1])])?)));
    r.op("-(jsonb,text[]) jsonb", |_, a| Ok(jsonb(&delete_keys(load(&a[0])?, &keys(&a[1]))?)));
    r.op("-(jsonb,int4) jsonb", |_, a| Ok(jsonb(&delete_index(load(&a[0])?, i4(&a[1]))?)));
    r.op("#-(jsonb,text[]) jsonb", |_, a| {
        let value = load(&a[0])?;
        if !matches!(value, Json::Object(_) | Json::Array(_)) {
            return Err(cannot_delete("path in scalar"));
        }
        if is_empty(&value) {
            return Ok(a[0].clone());
        }
        let Some(steps) = path_steps(&a[1]) else { return Ok(Datum::Null) };
        Ok(jsonb(&change(value, &steps, None, Change::Delete, 0)?))
    });
    for text in [
        "json_extract_path(json,variadic text) json",
        "jsonb_extract_path(jsonb,variadic text) jsonb",
    ] {
        r.f(text, |call, a| spread_path(call, a, false));
    }
    for text in [
        "json_extract_path_text(json,variadic text) text",
        "jsonb_extract_path_text(jsonb,variadic text) text",
    ] {
        r.f(text, |call, a| spread_path(call, a, true));
    }
}

fn spread_path(call: &Call<'_>, a: &[Datum], bare: bool) -> Result<Datum> {
    get_path(call, &[a[0].clone(), Datum::array(a[1..].to_vec())], bare)
}
