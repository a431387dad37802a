//! Applying a type's modifier to a value.

use std::sync::Arc;

use crate::datetime;
use crate::datum::{ArrayValue, Datum, Str};
use crate::error::{Result, TypeError, sqlstate};
use crate::ty::{PgType, TypeId};
use crate::typmod;

/// Makes a value fit `ty`'s modifier: rounds numbers and times, pads `char(n)`, cuts strings where
/// only blanks are lost or the cast is explicit, and refuses what does not fit.
pub fn apply_typmod(datum: Datum, ty: PgType, explicit: bool) -> Result<Datum> {
    if ty.typmod < 0 {
        return Ok(datum);
    }
    Ok(match datum {
        Datum::Null => Datum::Null,
        Datum::Array(array) if ty.array => {
            let items = array
                .items
                .iter()
                .map(|item| apply_typmod(item.clone(), ty.element(), explicit))
                .collect::<Result<Vec<_>>>()?;
            Datum::Array(Arc::new(ArrayValue { dims: array.dims.clone(), items }))
        }
        Datum::Text(text) => match (ty.id, typmod::char_length(ty.typmod)) {
            (TypeId::Varchar, Some(max)) => Datum::Text(varchar(text, max, explicit)?),
            (TypeId::Bpchar, Some(max)) => Datum::Text(bpchar(text, max, explicit)?),
            _ => Datum::Text(text),
        },
        Datum::Numeric(value) => match typmod::numeric_parts(ty.typmod) {
            Some((precision, scale)) => Datum::Numeric(value.apply_typmod(precision, scale)?),
            None => Datum::Numeric(value),
        },
        Datum::Time(micros) => Datum::Time(round(micros, ty)),
        Datum::Timestamp(micros) => Datum::Timestamp(round_stamp(micros, ty)?),
        Datum::Timestamptz(micros) => Datum::Timestamptz(round_stamp(micros, ty)?),
        Datum::Interval(value) => {
            Datum::Interval(datetime::interval::apply_typmod(value, ty.typmod))
        }
        other => other,
    })
}

fn round(micros: i64, ty: PgType) -> i64 {
    typmod::fraction_digits(ty).map_or(micros, |digits| datetime::round_micros(micros, digits))
}

fn round_stamp(micros: i64, ty: PgType) -> Result<i64> {
    if datetime::is_infinite(micros) {
        return Ok(micros);
    }
    datetime::check_timestamp(round(micros, ty))
}

fn too_long(kind: &str, max: usize) -> TypeError {
    TypeError::new(sqlstate::STRING_TRUNCATION, format!("value too long for type {kind}({max})"))
}

/// The byte index behind the first `max` characters, if there are more.
fn cut_at(text: &str, max: usize) -> Option<usize> {
    if text.len() <= max {
        return None;
    }
    text.char_indices().nth(max).map(|(at, _)| at)
}

fn varchar(text: Str, max: usize, explicit: bool) -> Result<Str> {
    let Some(at) = cut_at(&text, max) else { return Ok(text) };
    if !explicit && text[at..].bytes().any(|b| b != b' ') {
        return Err(too_long("character varying", max));
    }
    Ok(Str::from(&text[..at]))
}

fn bpchar(text: Str, max: usize, explicit: bool) -> Result<Str> {
    if let Some(at) = cut_at(&text, max) {
        if !explicit && text[at..].bytes().any(|b| b != b' ') {
            return Err(too_long("character", max));
        }
        return Ok(Str::from(&text[..at]));
    }
    let missing = max - text.chars().count();
    if missing == 0 {
        return Ok(text);
    }
    let mut padded = String::with_capacity(text.len() + missing);
    padded.push_str(&text);
    padded.extend(std::iter::repeat_n(' ', missing));
    Ok(Str::from(padded))
}
