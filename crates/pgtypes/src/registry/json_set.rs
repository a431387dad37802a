//! Changing a part of a `jsonb` value: `jsonb_set`, `jsonb_insert`, `#-`.

use super::json::{jsonb, load, path_steps};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};
use crate::json::Json;

/// What to do at the end of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Delete,
    /// Replace, and create the last step if asked.
    Set {
        create: bool,
    },
    /// Insert into arrays, behind the element if asked.
    Insert {
        after: bool,
    },
}

/// Follows a path and changes its end.
pub(super) fn change(
    value: Json,
    steps: &[String],
    new: Option<&Json>,
    how: Change,
    depth: usize,
) -> Result<Json> {
    let Some(step) = steps.get(depth) else { return Ok(value) };
    let last = depth + 1 == steps.len();
    match value {
        Json::Object(mut members) => {
            let at = members.iter().position(|(name, _)| name == step);
            match (at, last) {
                (Some(at), false) => {
                    let inner = std::mem::replace(&mut members[at].1, Json::Null);
                    members[at].1 = change(inner, steps, new, how, depth + 1)?;
                }
                (Some(at), true) => match (how, new) {
                    (Change::Delete, _) => {
                        members.remove(at);
                    }
                    (Change::Set { .. }, Some(new)) => members[at].1 = new.clone(),
                    (Change::Insert { .. }, _) => {
                        return Err(TypeError::new(
                            sqlstate::INVALID_PARAMETER,
                            "cannot replace existing key",
                        )
                        .with_hint("Try using the function jsonb_set to replace key value."));
                    }
                    (Change::Set { .. }, None) => {}
                },
                (None, true) if how != Change::Delete && how != (Change::Set { create: false }) => {
                    if let Some(new) = new {
                        members.push((step.clone(), new.clone()));
                        return Ok(Json::object(members));
                    }
                }
                (None, _) => {}
            }
            Ok(Json::Object(members))
        }
        Json::Array(items) => change_array(items, steps, new, how, depth),
        scalar => Ok(scalar),
    }
}

fn change_array(
    mut items: Vec<Json>,
    steps: &[String],
    new: Option<&Json>,
    how: Change,
    depth: usize,
) -> Result<Json> {
    let step = &steps[depth];
    let index: i64 = step.trim().parse().map_err(|_| {
        TypeError::new(
            sqlstate::INVALID_TEXT,
            format!("path element at position {} is not an integer: \"{step}\"", depth + 1),
        )
    })?;
    let len = i64::try_from(items.len()).expect("in memory");
    let at = if index < 0 { index + len } else { index };
    let inside = (0..len).contains(&at);
    if depth + 1 < steps.len() {
        if inside {
            let at = usize::try_from(at).expect("inside");
            let inner = std::mem::replace(&mut items[at], Json::Null);
            items[at] = change(inner, steps, new, how, depth + 1)?;
        }
        return Ok(Json::Array(items));
    }
    let place = usize::try_from(at.clamp(0, len)).expect("clamped");
    match (how, new) {
        (Change::Delete, _) if inside => {
            items.remove(place);
        }
        (Change::Set { .. }, Some(new)) if inside => items[place] = new.clone(),
        (Change::Set { create: true }, Some(new)) => items.insert(place, new.clone()),
        (Change::Insert { after }, Some(new)) => {
            let place = (place + usize::from(after && inside)).min(items.len());
            items.insert(place, new.clone());
        }
        _ => {}
    }
    Ok(Json::Array(items))
}

pub(super) fn is_empty(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.is_empty(),
        Json::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// `jsonb_set`, `jsonb_insert`.
pub(super) fn set(a: &[Datum], how: Change) -> Result<Datum> {
    let value = load(&a[0])?;
    if !matches!(value, Json::Object(_) | Json::Array(_)) {
        return Err(TypeError::new(sqlstate::INVALID_PARAMETER, "cannot set path in scalar"));
    }
    if is_empty(&value) && how == (Change::Set { create: false }) {
        return Ok(a[0].clone());
    }
    let steps = known_steps(&a[1])?;
    let new = load(&a[2])?;
    Ok(jsonb(&change(value, &steps, Some(&new), how, 0)?))
}

/// The steps of a path, none of which may be NULL.
fn known_steps(path: &Datum) -> Result<Vec<String>> {
    path_steps(path).ok_or_else(|| {
        let items = &super::args::array(path).items;
        let at = items.iter().position(Datum::is_null).map_or(1, |at| at + 1);
        TypeError::new(sqlstate::NULL_NOT_ALLOWED, format!("path element at position {at} is null"))
    })
}

/// `jsonb_set_lax`: what NULL does instead is the last argument.
pub(super) fn set_lax(a: &[Datum]) -> Result<Datum> {
    let default = [Datum::Bool(true), Datum::text("use_json_null")];
    let create = a.get(3).unwrap_or(&default[0]);
    let treatment = a.get(4).unwrap_or(&default[1]);
    if a[0].is_null() || a[1].is_null() || create.is_null() {
        return Ok(Datum::Null);
    }
    let change = Change::Set { create: super::args::boolean(create) };
    let with = |new: Datum| set(&[a[0].clone(), a[1].clone(), new], change);
    match treatment.as_str() {
        Some("raise_exception" | "use_json_null" | "delete_key" | "return_target")
            if !a[2].is_null() =>
        {
            with(a[2].clone())
        }
        Some("raise_exception") => {
            Err(TypeError::new(sqlstate::NULL_NOT_ALLOWED, "JSON value must not be null")
                .with_detail(
                    "Exception was raised because null_value_treatment is \"raise_exception\".",
                ))
        }
        Some("use_json_null") => with(jsonb(&Json::Null)),
        Some("delete_key") => {
            let steps = known_steps(&a[1])?;
            Ok(jsonb(&self::change(load(&a[0])?, &steps, None, Change::Delete, 0)?))
        }
        Some("return_target") => Ok(a[0].clone()),
        _ => Err(TypeError::new(
            sqlstate::INVALID_PARAMETER,
            "null_value_treatment must be \"delete_key\", \"return_target\", \
             \"use_json_null\", or \"raise_exception\"",
        )),
    }
}
