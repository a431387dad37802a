//! Dates and times: the calendar, time zones, reading and printing.

pub mod arith;
pub mod civil;
pub mod field;
mod fields;
pub mod format;
pub mod interval;
mod interval_out;
pub mod parse;
mod tokens;
mod words;
pub mod zone;

use crate::env::EvalEnv;
use crate::error::{Result, TypeError, sqlstate};

/// The first timestamp: 4713-11-24 BC.
pub const MIN_TIMESTAMP: i64 = -211_813_488_000_000_000;
/// One past the last timestamp: 294277-01-01.
pub const END_TIMESTAMP: i64 = 9_223_371_331_200_000_000;
/// The first date.
pub const MIN_DATE: i64 = -civil::JULIAN_2000;
/// One past the last date: 5874898-01-01.
pub const END_DATE: i64 = 2_147_483_494 - civil::JULIAN_2000;

/// `infinity` of timestamps.
pub const TIMESTAMP_INFINITY: i64 = i64::MAX;
/// `-infinity` of timestamps.
pub const TIMESTAMP_NEG_INFINITY: i64 = i64::MIN;
/// `infinity` of dates.
pub const DATE_INFINITY: i32 = i32::MAX;
/// `-infinity` of dates.
pub const DATE_NEG_INFINITY: i32 = i32::MIN;

/// 22008 `timestamp out of range`.
pub fn timestamp_out_of_range() -> TypeError {
    TypeError::new(sqlstate::DATETIME_OVERFLOW, "timestamp out of range")
}

/// 22008 `date out of range`.
pub fn date_out_of_range() -> TypeError {
    TypeError::new(sqlstate::DATETIME_OVERFLOW, "date out of range")
}

/// 22008 `interval out of range`.
pub fn interval_out_of_range() -> TypeError {
    TypeError::new(sqlstate::DATETIME_OVERFLOW, "interval out of range")
}

/// Is it one of the infinities?
pub fn is_infinite(micros: i64) -> bool {
    micros == TIMESTAMP_INFINITY || micros == TIMESTAMP_NEG_INFINITY
}

/// Refuses a finite timestamp outside PostgreSQL's range.
pub fn check_timestamp(micros: i64) -> Result<i64> {
    if (MIN_TIMESTAMP..END_TIMESTAMP).contains(&micros) {
        Ok(micros)
    } else {
        Err(timestamp_out_of_range())
    }
}

/// Days of a finite date, refused outside PostgreSQL's range.
pub fn check_date(days: i64) -> Result<i32> {
    if (MIN_DATE..END_DATE).contains(&days) {
        i32::try_from(days).map_err(|_| date_out_of_range())
    } else {
        Err(date_out_of_range())
    }
}

/// Local time in the session's zone to UTC.
pub fn local_to_utc(local: i64, env: &EvalEnv) -> Result<i64> {
    if is_infinite(local) {
        return Ok(local);
    }
    let offset = i64::from(env.time_zone.offset_of_local(local));
    local
        .checked_sub(offset * 1_000_000)
        .ok_or_else(timestamp_out_of_range)
        .and_then(check_timestamp)
}

/// UTC to local time in the session's zone.
pub fn utc_to_local(utc: i64, env: &EvalEnv) -> Result<i64> {
    if is_infinite(utc) {
        return Ok(utc);
    }
    let offset = i64::from(env.time_zone.offset_at(utc));
    utc.checked_add(offset * 1_000_000).ok_or_else(timestamp_out_of_range).and_then(check_timestamp)
}

/// Midnight of a date as a timestamp.
pub fn date_to_timestamp(days: i32) -> Result<i64> {
    match days {
        DATE_INFINITY => Ok(TIMESTAMP_INFINITY),
        DATE_NEG_INFINITY => Ok(TIMESTAMP_NEG_INFINITY),
        _ => i64::from(days)
            .checked_mul(civil::DAY_MICROS)
            .ok_or_else(|| {
                TypeError::new(sqlstate::DATETIME_OVERFLOW, "date out of range for timestamp")
            })
            .and_then(|micros| {
                check_timestamp(micros).map_err(|_| {
                    TypeError::new(sqlstate::DATETIME_OVERFLOW, "date out of range for timestamp")
                })
            }),
    }
}

/// The date of a timestamp.
pub fn timestamp_to_date(micros: i64) -> i32 {
    match micros {
        TIMESTAMP_INFINITY => DATE_INFINITY,
        TIMESTAMP_NEG_INFINITY => DATE_NEG_INFINITY,
        _ => i32::try_from(micros.div_euclid(civil::DAY_MICROS))
            .expect("64 bits of microseconds are 28 bits of days"),
    }
}

/// Rounds microseconds to `digits` of fraction, half away from zero, as PostgreSQL's typmods do.
pub fn round_micros(micros: i64, digits: u32) -> i64 {
    let unit = 10i64.pow(6 - digits.min(6));
    if unit == 1 {
        return micros;
    }
    let half = unit / 2;
    if micros >= 0 {
        micros.saturating_add(half) / unit * unit
    } else {
        -(micros.saturating_neg().saturating_add(half) / unit * unit)
    }
}
