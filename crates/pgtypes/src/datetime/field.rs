//! Fields of dates, times and intervals: what `extract` and `date_part` give, what `date_trunc`
//! cuts to.

use super::{arith, check_timestamp, civil, is_infinite, timestamp_out_of_range};
use crate::datum::Interval;
use crate::env::UNIX_EPOCH_MICROS;
use crate::error::{Result, TypeError, sqlstate};
use crate::numeric::Numeric;

/// A field name in any spelling PostgreSQL takes, as its canonical one.
pub fn canonical(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds"
        | "microsecon" => "microseconds",
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds"
        | "millisecon" => "milliseconds",
        "s" | "sec" | "secs" | "second" | "seconds" => "second",
        "m" | "min" | "mins" | "minute" | "minutes" => "minute",
        "h" | "hr" | "hrs" | "hour" | "hours" => "hour",
        "d" | "day" | "days" => "day",
        "w" | "week" | "weeks" => "week",
        "mon" | "mons" | "month" | "months" => "month",
        "qtr" | "quarter" => "quarter",
        "y" | "yr" | "yrs" | "year" | "years" => "year",
        "dec" | "decs" | "decade" | "decades" => "decade",
        "c" | "cent" | "century" | "centuries" => "century",
        "mil" | "mils" | "millennia" | "millennium" => "millennium",
        "epoch" => "epoch",
        "dow" => "dow",
        "isodow" => "isodow",
        "doy" => "doy",
        "isoyear" => "isoyear",
        "julian" | "j" | "jd" => "julian",
        "timezone" => "timezone",
        "timezone_h" | "timezone_hour" => "timezone_hour",
        "timezone_m" | "timezone_minute" => "timezone_minute",
        _ => return None,
    })
}

/// 22023 for a field that is no field.
pub fn unknown(name: &str, type_name: &str) -> TypeError {
    TypeError::new(
        sqlstate::INVALID_PARAMETER,
        format!("unit \"{}\" not recognized for type {type_name}", name.to_ascii_lowercase()),
    )
}

/// 0A000 for a field the type has not.
pub fn unsupported(name: &str, type_name: &str) -> TypeError {
    TypeError::not_supported(format!(
        "unit \"{}\" not supported for type {type_name}",
        name.to_ascii_lowercase()
    ))
}

fn int(value: i64) -> Numeric {
    Numeric::from(value)
}

/// `value / 10^scale`
fn scaled(value: i128, scale: u16) -> Numeric {
    Numeric::from_parts(value, scale)
}

/// Fields of a time of day, in microseconds; `None` if it is not one.
pub fn of_time(field: &str, micros: i64) -> Option<Numeric> {
    Some(match field {
        "microseconds" => int(micros % 60_000_000),
        "milliseconds" => scaled(i128::from(micros % 60_000_000), 3),
        "second" => scaled(i128::from(micros % 60_000_000), 6),
        "minute" => int(micros / 60_000_000 % 60),
        "hour" => int(micros / 3_600_000_000),
        "epoch" => scaled(i128::from(micros), 6),
        _ => return None,
    })
}

fn up_to(year: i32, size: i64) -> i64 {
    let year = i64::from(year);
    if year > 0 { (year + size - 1) / size } else { -((size - 1 - (year - 1)) / size) }
}

/// Fields of a date; `None` if it is not one.
pub fn of_date(field: &str, days: i64) -> Option<Numeric> {
    let (year, month, day) = civil::date_of_days(days);
    let written = if year > 0 { year } else { year - 1 };
    Some(int(match field {
        "day" => i64::from(day),
        "month" => i64::from(month),
        "quarter" => i64::from((month - 1) / 3 + 1),
        "year" => i64::from(written),
        "week" => civil::iso_week(days).1,
        "isoyear" => {
            let year = civil::iso_week(days).0;
            i64::from(if year > 0 { year } else { year - 1 })
        }
        "decade" => i64::from(year).div_euclid(10),
        "century" => up_to(year, 100),
        "millennium" => up_to(year, 1000),
        "dow" => i64::from(civil::weekday(days)),
        "isodow" => i64::from((civil::weekday(days) + 6) % 7 + 1),
        "doy" => civil::day_of_year(days),
        "julian" => days + civil::JULIAN_2000,
        _ => return None,
    }))
}

/// Fields of a timestamp; for an instant, of its local time with the offset there.
pub fn of_timestamp(field: &str, local: i64, east: Option<i32>) -> Option<Numeric> {
    let days = local.div_euclid(civil::DAY_MICROS);
    let time = local.rem_euclid(civil::DAY_MICROS);
    match (field, east) {
        ("epoch", _) => {
            let utc = local - i64::from(east.unwrap_or(0)) * 1_000_000;
            Some(scaled(i128::from(utc) + i128::from(UNIX_EPOCH_MICROS), 6))
        }
        ("julian", _) => {
            let whole = int(days + civil::JULIAN_2000);
            let part = int(time).div(&int(civil::DAY_MICROS)).ok()?;
            whole.add(&part).ok()
        }
        ("timezone", Some(east)) => Some(int(i64::from(east))),
        ("timezone_hour", Some(east)) => Some(int(i64::from(east / 3600))),
        ("timezone_minute", Some(east)) => Some(int(i64::from(east / 60 % 60))),
        _ => of_time(field, time).or_else(|| of_date(field, days)),
    }
}

/// What a field of an infinite timestamp is: infinite where it grows without end, else NULL.
pub fn of_infinite(field: &str, positive: bool) -> Option<Numeric> {
    match field {
        "year" | "decade" | "century" | "millennium" | "julian" | "isoyear" | "epoch" => {
            Some(if positive { Numeric::INFINITY } else { Numeric::NEG_INFINITY })
        }
        _ => None,
    }
}

/// Fields of an interval; `None` if it is not one.
pub fn of_interval(field: &str, value: Interval) -> Option<Numeric> {
    let Interval { months, days, micros } = value;
    let (months, days) = (i64::from(months), i64::from(days));
    Some(match field {
        "microseconds" => int(micros % 60_000_000),
        "milliseconds" => scaled(i128::from(micros % 60_000_000), 3),
        "second" => scaled(i128::from(micros % 60_000_000), 6),
        "minute" => int(micros / 60_000_000 % 60),
        "hour" => int(micros / 3_600_000_000),
        "day" => int(days),
        "month" => int(months % 12),
        "quarter" => int(months % 12 / 3 + 1),
        "year" => int(months / 12),
        "decade" => int(months / 120),
        "century" => int(months / 1200),
        "millennium" => int(months / 12_000),
        "epoch" => {
            // A year is 365.25 days here, a month 30.
            let seconds = (months / 12) * 31_557_600 + (months % 12) * 2_592_000 + days * 86_400;
            scaled(i128::from(seconds) * 1_000_000 + i128::from(micros), 6)
        }
        _ => return None,
    })
}

/// `date_trunc` of a timestamp; `None` if the field is not one it cuts to.
pub fn trunc_timestamp(field: &str, local: i64) -> Option<Result<i64>> {
    if is_infinite(local) {
        return Some(Ok(local));
    }
    let unit = match field {
        "microseconds" => return Some(Ok(local)),
        "milliseconds" => 1000,
        "second" => 1_000_000,
        "minute" => 60_000_000,
        "hour" => 3_600_000_000,
        "day" => civil::DAY_MICROS,
        _ => 0,
    };
    if unit > 0 {
        return Some(Ok(local.div_euclid(unit) * unit));
    }
    let days = local.div_euclid(civil::DAY_MICROS);
    let (year, month, _) = civil::date_of_days(days);
    let year_start = |year: i32| civil::days_of_date(year, 1, 1);
    let day = match field {
        "week" => days - (days + 5).rem_euclid(7),
        "month" => civil::days_of_date(year, month, 1),
        "quarter" => civil::days_of_date(year, (month - 1) / 3 * 3 + 1, 1),
        "year" => year_start(year),
        "decade" => year_start(year.div_euclid(10) * 10),
        "century" => year_start((year - 1).div_euclid(100) * 100 + 1),
        "millennium" => year_start((year - 1).div_euclid(1000) * 1000 + 1),
        _ => return None,
    };
    Some(
        day.checked_mul(civil::DAY_MICROS)
            .ok_or_else(timestamp_out_of_range)
            .and_then(check_timestamp),
    )
}

/// `date_trunc` of an interval.
pub fn trunc_interval(field: &str, value: Interval) -> Option<Interval> {
    let Interval { months, days, micros } = value;
    let to_months = |unit: i32| Interval { months: months / unit * unit, days: 0, micros: 0 };
    let to_micros = |unit: i64| Interval { months, days, micros: micros / unit * unit };
    Some(match field {
        "millennium" => to_months(12_000),
        "century" => to_months(1200),
        "decade" => to_months(120),
        "year" => to_months(12),
        "quarter" => to_months(3),
        "month" => to_months(1),
        "day" => Interval { months, days, micros: 0 },
        "hour" => to_micros(3_600_000_000),
        "minute" => to_micros(60_000_000),
        "second" => to_micros(1_000_000),
        "milliseconds" => to_micros(1000),
        "microseconds" => value,
        _ => return None,
    })
}

/// `date_bin`: the start of the stride, counted from `origin`, that holds `value`.
pub fn bin(stride: Interval, value: i64, origin: i64) -> Result<i64> {
    if is_infinite(value) {
        return Ok(value);
    }
    if is_infinite(origin) {
        return Err(TypeError::new(sqlstate::DATETIME_OVERFLOW, "origin out of range"));
    }
    if stride.months != 0 {
        return Err(TypeError::not_supported(
            "timestamps cannot be binned into intervals containing months or years",
        ));
    }
    let stride = i64::from(stride.days)
        .checked_mul(civil::DAY_MICROS)
        .and_then(|days| days.checked_add(stride.micros))
        .ok_or_else(super::interval_out_of_range)?;
    if stride <= 0 {
        return Err(TypeError::new(
            sqlstate::DATETIME_OVERFLOW,
            "stride must be greater than zero",
        ));
    }
    let difference = value.checked_sub(origin).ok_or_else(timestamp_out_of_range)?;
    difference
        .div_euclid(stride)
        .checked_mul(stride)
        .and_then(|moved| origin.checked_add(moved))
        .ok_or_else(timestamp_out_of_range)
        .and_then(check_timestamp)
}

/// `justify_interval`: days out of hours, months out of days, signs alike.
pub fn justify(value: Interval) -> Interval {
    let mut value = arith::justify_days(arith::justify_hours(value));
    if value.months > 0 && (value.days < 0 || (value.days == 0 && value.micros < 0)) {
        value.days += 30;
        value.months -= 1;
    } else if value.months < 0 && (value.days > 0 || (value.days == 0 && value.micros > 0)) {
        value.days -= 30;
        value.months += 1;
    }
    if value.days > 0 && value.micros < 0 {
        value.micros += civil::DAY_MICROS;
        value.days -= 1;
    } else if value.days < 0 && value.micros > 0 {
        value.micros -= civil::DAY_MICROS;
        value.days += 1;
    }
    value
}
