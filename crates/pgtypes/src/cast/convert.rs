//! The conversions behind the cast table.

use crate::datetime::{self, civil};
use crate::datum::{Datum, Interval, Str};
use crate::env::EvalEnv;
use crate::error::{Result, TypeError, sqlstate};
use crate::json::{self, Json};
use crate::numeric::Numeric;
use crate::ty::TypeId;
use crate::xid8;

pub(super) fn convert(env: &EvalEnv, datum: Datum, from: TypeId, to: TypeId) -> Result<Datum> {
    match datum {
        Datum::Bool(value) => Ok(match to {
            TypeId::Int4 => Datum::Int4(i32::from(value)),
            _ => Datum::Text(Str::from_static(if value { "true" } else { "false" })),
        }),
        Datum::Int2(value) => integer(i64::from(value), to),
        Datum::Int4(value) => integer(i64::from(value), to),
        // The low half.
        Datum::Int8(value) if from == TypeId::Xid8 => Ok(Datum::Oid(xid8::number(value) as u32)),
        Datum::Int8(value) if to.is_oid_like() => u32::try_from(value)
            .map(Datum::Oid)
            .map_err(|_| TypeError::new(sqlstate::NUMERIC_OUT_OF_RANGE, "OID out of range")),
        Datum::Int8(value) => integer(value, to),
        // The same 32 bits.
        Datum::Oid(value) if to == TypeId::Int4 => Ok(Datum::Int4(value as i32)),
        Datum::Oid(value) => integer(i64::from(value), to),
        Datum::Float4(value) => match to {
            TypeId::Float8 => Ok(Datum::Float8(f64::from(value))),
            TypeId::Numeric => Ok(Datum::Numeric(Numeric::from_f32(value))),
            _ => float_to_int(f64::from(value), to),
        },
        Datum::Float8(value) => match to {
            TypeId::Float4 => f64_to_f32(value).map(Datum::Float4),
            TypeId::Numeric => Ok(Datum::Numeric(Numeric::from_f64(value))),
            _ => float_to_int(value, to),
        },
        Datum::Numeric(value) => numeric(&value, to),
        Datum::Text(text) => string(text, from, to),
        Datum::Date(_) | Datum::Time(_) | Datum::Timestamp(_) | Datum::Timestamptz(_) => {
            date_time(env, &datum, to)
        }
        Datum::Interval(value) => Ok(Datum::Time(value.micros.rem_euclid(civil::DAY_MICROS))),
        Datum::Jsonb(text) => from_jsonb(&text, to),
        other => panic!("no conversion from {from:?} to {to:?}: {other:?}"),
    }
}

fn integer(value: i64, to: TypeId) -> Result<Datum> {
    Ok(match to {
        TypeId::Int2 => {
            Datum::Int2(i16::try_from(value).map_err(|_| TypeError::out_of_range("smallint"))?)
        }
        TypeId::Int4 => {
            Datum::Int4(i32::try_from(value).map_err(|_| TypeError::out_of_range("integer"))?)
        }
        TypeId::Int8 => Datum::Int8(value),
        TypeId::Float4 => Datum::Float4(value as f32),
        TypeId::Float8 => Datum::Float8(value as f64),
        TypeId::Numeric => Datum::Numeric(Numeric::from(value)),
        TypeId::Bool => Datum::Bool(value != 0),
        TypeId::Char => {
            let byte = i8::try_from(value).map_err(|_| {
                TypeError::new(sqlstate::NUMERIC_OUT_OF_RANGE, "\"char\" out of range")
            })?;
            Datum::text(match byte as u8 {
                0 => String::new(),
                byte => char::from(byte).to_string(),
            })
        }
        // Object ids: a negative int4 or int2 wraps, an int8 must fit.
        _ => Datum::Oid(match u32::try_from(value) {
            Ok(value) => value,
            Err(_) => i32::try_from(value)
                .map_err(|_| TypeError::new(sqlstate::NUMERIC_OUT_OF_RANGE, "OID out of range"))?
                as u32,
        }),
    })
}

/// `double precision` to an integer type, rounding half to even.
fn float_to_int(value: f64, to: TypeId) -> Result<Datum> {
    let rounded = value.round_ties_even();
    let within = |low: f64, high: f64| rounded >= low && rounded < high;
    match to {
        TypeId::Int2 if within(-32_768.0, 32_768.0) => Ok(Datum::Int2(rounded as i16)),
        TypeId::Int4 if within(-2_147_483_648.0, 2_147_483_648.0) => {
            Ok(Datum::Int4(rounded as i32))
        }
        TypeId::Int8 if within(-9_223_372_036_854_775_808.0, 9_223_372_036_854_775_808.0) => {
            Ok(Datum::Int8(rounded as i64))
        }
        _ => Err(TypeError::out_of_range(to.sql_name())),
    }
}

/// Narrows, refusing what becomes infinite or 0.
pub(crate) fn f64_to_f32(value: f64) -> Result<f32> {
    let narrow = value as f32;
    let out = |what: &str| {
        TypeError::new(sqlstate::NUMERIC_OUT_OF_RANGE, format!("value out of range: {what}"))
    };
    if narrow.is_infinite() && !value.is_infinite() {
        return Err(out("overflow"));
    }
    if narrow == 0.0 && value != 0.0 {
        return Err(out("underflow"));
    }
    Ok(narrow)
}

fn numeric(value: &Numeric, to: TypeId) -> Result<Datum> {
    Ok(match to {
        TypeId::Int2 => Datum::Int2(value.to_i16()?),
        TypeId::Int4 => Datum::Int4(value.to_i32()?),
        TypeId::Int8 => Datum::Int8(value.to_i64()?),
        TypeId::Float4 => Datum::Float4(value.to_f32()?),
        TypeId::Float8 => Datum::Float8(value.to_f64()?),
        other => panic!("no conversion from numeric to {other:?}"),
    })
}

fn string(text: Str, from: TypeId, to: TypeId) -> Result<Datum> {
    let trimmed = match from {
        // The blanks of `char(n)` mean nothing elsewhere.
        TypeId::Bpchar => text.trim_end_matches(' '),
        _ => &text,
    };
    Ok(match to {
        TypeId::Int4 => {
            let byte = text.chars().next().map_or(0, |c| c as u32 as u8);
            Datum::Int4(i32::from(byte as i8))
        }
        TypeId::Char => Datum::text(trimmed.chars().next().map(String::from).unwrap_or_default()),
        TypeId::Name => {
            let mut end = trimmed.len().min(63);
            while !trimmed.is_char_boundary(end) {
                end -= 1;
            }
            Datum::text(&trimmed[..end])
        }
        _ if trimmed.len() == text.len() => Datum::Text(text),
        _ => Datum::text(trimmed),
    })
}

fn date_time(env: &EvalEnv, datum: &Datum, to: TypeId) -> Result<Datum> {
    let time_of = |micros: i64| {
        // An infinite timestamp has no time of day; PostgreSQL gives NULL.
        if datetime::is_infinite(micros) {
            Datum::Null
        } else {
            Datum::Time(micros.rem_euclid(civil::DAY_MICROS))
        }
    };
    Ok(match (datum, to) {
        (Datum::Date(days), TypeId::Timestamp) => {
            Datum::Timestamp(datetime::date_to_timestamp(*days)?)
        }
        (Datum::Date(days), TypeId::Timestamptz) => {
            let local = datetime::date_to_timestamp(*days)?;
            Datum::Timestamptz(datetime::local_to_utc(local, env)?)
        }
        (Datum::Time(micros), TypeId::Interval) => {
            Datum::Interval(Interval { months: 0, days: 0, micros: *micros })
        }
        (Datum::Timestamp(micros), TypeId::Timestamptz) => {
            Datum::Timestamptz(datetime::local_to_utc(*micros, env)?)
        }
        (Datum::Timestamp(micros), TypeId::Date) => {
            Datum::Date(datetime::timestamp_to_date(*micros))
        }
        (Datum::Timestamp(micros), TypeId::Time) => time_of(*micros),
        (Datum::Timestamptz(micros), TypeId::Timestamp) => {
            Datum::Timestamp(datetime::utc_to_local(*micros, env)?)
        }
        (Datum::Timestamptz(micros), TypeId::Date) => {
            Datum::Date(datetime::timestamp_to_date(datetime::utc_to_local(*micros, env)?))
        }
        (Datum::Timestamptz(micros), TypeId::Time) => {
            time_of(datetime::utc_to_local(*micros, env)?)
        }
        (other, to) => panic!("no conversion to {to:?}: {other:?}"),
    })
}

fn from_jsonb(text: &str, to: TypeId) -> Result<Datum> {
    let value = json::parse(text, true)?;
    match (&value, to) {
        (Json::Bool(value), TypeId::Bool) => Ok(Datum::Bool(*value)),
        (Json::Number(value), TypeId::Numeric) => Ok(Datum::Numeric(value.clone())),
        (Json::Number(value), to) if to != TypeId::Bool => numeric(value, to),
        _ => {
            let kind = match value {
                Json::Array(_) => "array",
                Json::Object(_) => "object",
                _ => value.type_name(),
            };
            let kind = if kind == "number" { "numeric" } else { kind };
            Err(TypeError::new(
                sqlstate::INVALID_PARAMETER,
                format!("cannot cast jsonb {kind} to type {}", to.sql_name()),
            ))
        }
    }
}
