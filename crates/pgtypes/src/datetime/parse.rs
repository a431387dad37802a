//! Reading dates, times and timestamps in the spellings PostgreSQL accepts.
//!
//! The input becomes fields (`tokens`); each field is given a meaning by its looks and by
//! what was seen before it; the result is a date, a time and a zone, each optional, or one of the
//! special words. What is missing or superfluous for a type is decided by that type's reader.

use super::fields::{Bad, Fields, Special, Zone};
use super::{civil, local_to_utc, utc_to_local};
use crate::env::EvalEnv;
use crate::error::{Result, TypeError, sqlstate};

/// Reads a `date`.
pub fn date(input: &str, env: &EvalEnv) -> Result<i32> {
    let bad = |why: Bad| why.error("date", input);
    let fields = Fields::read(input, env).map_err(bad)?;
    let out_of_range =
        || TypeError::new(sqlstate::DATETIME_OVERFLOW, format!("date out of range: \"{input}\""));
    match fields.special {
        Some(Special::Infinity) => return Ok(super::DATE_INFINITY),
        Some(Special::NegInfinity) => return Ok(super::DATE_NEG_INFINITY),
        Some(Special::Epoch) => return Ok(-10_957),
        Some(Special::Now) => {
            return Ok(super::timestamp_to_date(utc_to_local(env.transaction_time, env)?));
        }
        None => {}
    }
    let days = fields.day().map_err(bad)?.ok_or_else(|| bad(Bad::Syntax))?;
    super::check_date(days).map_err(|_| out_of_range())
}

/// Reads a `time`.
pub fn time(input: &str, env: &EvalEnv) -> Result<i64> {
    let bad = |why: Bad| why.error("time", input);
    let fields = match Fields::read(input, env) {
        Ok(fields) if fields.time.is_some() || fields.special.is_some() => fields,
        // Digits run together are a time here, even without a date; two of them are not enough.
        Ok(fields) if input.trim().len() <= 2 && fields.special.is_none() => {
            return Err(bad(Bad::Syntax));
        }
        other if input.trim().len() <= 2 => return Err(other.err().map_or(bad(Bad::Syntax), bad)),
        other => match Fields::read(&format!("t {input}"), env) {
            Ok(fields) if fields.time.is_some() => fields,
            _ => other.map_err(bad)?,
        },
    };
    match (fields.special, fields.time) {
        (Some(Special::Now), _) => {
            Ok(utc_to_local(env.transaction_time, env)?.rem_euclid(civil::DAY_MICROS))
        }
        (None, Some(time)) => Ok(time),
        _ => Err(bad(Bad::Syntax)),
    }
}

/// Reads a `timestamp`; a zone in the input is ignored.
pub fn timestamp(input: &str, env: &EvalEnv) -> Result<i64> {
    stamp(input, "timestamp", env, false)
}

/// Reads a `timestamptz`; without a zone in the input it is in the session's.
pub fn timestamptz(input: &str, env: &EvalEnv) -> Result<i64> {
    stamp(input, "timestamp with time zone", env, true)
}

fn stamp(input: &str, type_name: &str, env: &EvalEnv, zoned: bool) -> Result<i64> {
    let bad = |why: Bad| why.error(type_name, input);
    let fields = Fields::read(input, env).map_err(bad)?;
    match fields.special {
        Some(Special::Infinity) => return Ok(super::TIMESTAMP_INFINITY),
        Some(Special::NegInfinity) => return Ok(super::TIMESTAMP_NEG_INFINITY),
        Some(Special::Epoch) => return Ok(-crate::env::UNIX_EPOCH_MICROS),
        Some(Special::Now) if zoned => return Ok(env.transaction_time),
        Some(Special::Now) => return utc_to_local(env.transaction_time, env),
        None => {}
    }
    let days = fields.day().map_err(bad)?.ok_or_else(|| bad(Bad::Syntax))?;
    let out_of_range = || {
        TypeError::new(sqlstate::DATETIME_OVERFLOW, format!("timestamp out of range: \"{input}\""))
    };
    let local = days
        .checked_mul(civil::DAY_MICROS)
        .and_then(|micros| micros.checked_add(fields.time.unwrap_or(0)))
        .ok_or_else(out_of_range)?;
    let value = match (zoned, fields.zone) {
        (false, _) => local,
        (true, None) => return local_to_utc(local, env).map_err(|_| out_of_range()),
        (true, Some(Zone::Offset(east))) => local.saturating_sub(i64::from(east) * 1_000_000),
        (true, Some(Zone::Named(zone))) => {
            local.saturating_sub(i64::from(zone.offset_of_local(local)) * 1_000_000)
        }
    };
    super::check_timestamp(value).map_err(|_| out_of_range())
}
