//! Arithmetic on timestamps and intervals, in PostgreSQL's order: months, then days, then time.

use super::{
    check_timestamp, civil, interval_out_of_range, is_infinite, local_to_utc,
    timestamp_out_of_range, utc_to_local,
};
use crate::datum::Interval;
use crate::env::EvalEnv;
use crate::error::Result;

/// `a + b`
pub fn interval_add(a: Interval, b: Interval) -> Result<Interval> {
    let sum = || {
        Some(Interval {
            months: a.months.checked_add(b.months)?,
            days: a.days.checked_add(b.days)?,
            micros: a.micros.checked_add(b.micros)?,
        })
    };
    sum().ok_or_else(interval_out_of_range)
}

/// `-a`
pub fn interval_neg(a: Interval) -> Result<Interval> {
    let negated = || {
        Some(Interval {
            months: a.months.checked_neg()?,
            days: a.days.checked_neg()?,
            micros: a.micros.checked_neg()?,
        })
    };
    negated().ok_or_else(interval_out_of_range)
}

/// PostgreSQL's rounding of intermediate seconds and days to microseconds.
fn ts_round(value: f64) -> f64 {
    (value * 1_000_000.0).round_ties_even() / 1_000_000.0
}

/// Scales each part; what months and days lose goes down to the next part.
fn scale(a: Interval, apply: impl Fn(f64) -> f64) -> Result<Interval> {
    const SECS_PER_DAY: f64 = 86_400.0;
    let months = apply(f64::from(a.months));
    let days = apply(f64::from(a.days));
    let fits = |value: f64| value.abs() < 2_147_483_648.0;
    if !fits(months) || !fits(days) {
        return Err(interval_out_of_range());
    }
    let (whole_months, mut whole_days) = (months as i32, days as i32);
    let remainder_days = ts_round((months - f64::from(whole_months)) * 30.0);
    let mut seconds = ts_round(
        (days - f64::from(whole_days) + remainder_days - remainder_days.trunc()) * SECS_PER_DAY,
    );
    let overflow = interval_out_of_range;
    if seconds.abs() >= SECS_PER_DAY {
        let extra = (seconds / SECS_PER_DAY) as i32;
        whole_days = whole_days.checked_add(extra).ok_or_else(overflow)?;
        seconds -= f64::from(extra) * SECS_PER_DAY;
    }
    whole_days = whole_days.checked_add(remainder_days as i32).ok_or_else(overflow)?;
    let micros = (apply(a.micros as f64) + seconds * 1_000_000.0).round_ties_even();
    if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&micros) {
        return Err(interval_out_of_range());
    }
    Ok(Interval { months: whole_months, days: whole_days, micros: micros as i64 })
}

/// `a * factor`
pub fn interval_mul(a: Interval, factor: f64) -> Result<Interval> {
    scale(a, |part| part * factor)
}

/// `a / divisor`, which is not 0.
pub fn interval_div(a: Interval, divisor: f64) -> Result<Interval> {
    scale(a, |part| part / divisor)
}

/// `local + span`; a month's end stays a month's end.
pub fn timestamp_add(local: i64, span: Interval) -> Result<i64> {
    if is_infinite(local) {
        return Ok(local);
    }
    let moved = add_days(add_months(local, span.months)?, span.days)?;
    moved.checked_add(span.micros).ok_or_else(timestamp_out_of_range).and_then(check_timestamp)
}

fn add_months(local: i64, months: i32) -> Result<i64> {
    if months == 0 {
        return Ok(local);
    }
    let days = local.div_euclid(civil::DAY_MICROS);
    let rest = local.rem_euclid(civil::DAY_MICROS);
    let (year, month, day) = civil::date_of_days(days);
    let total = i64::from(year) * 12 + i64::from(month) - 1 + i64::from(months);
    let year = i32::try_from(total.div_euclid(12)).map_err(|_| timestamp_out_of_range())?;
    let month = u32::try_from(total.rem_euclid(12)).expect("0 to 11") + 1;
    let day = day.min(civil::days_in_month(year, month));
    civil::days_of_date(year, month, day)
        .checked_mul(civil::DAY_MICROS)
        .and_then(|micros| micros.checked_add(rest))
        .ok_or_else(timestamp_out_of_range)
        .and_then(check_timestamp)
}

fn add_days(local: i64, days: i32) -> Result<i64> {
    i64::from(days)
        .checked_mul(civil::DAY_MICROS)
        .and_then(|micros| local.checked_add(micros))
        .ok_or_else(timestamp_out_of_range)
        .and_then(check_timestamp)
}

/// `utc + span` with months and days counted on the clock of the session's zone.
pub fn timestamptz_add(utc: i64, span: Interval, env: &EvalEnv) -> Result<i64> {
    if is_infinite(utc) {
        return Ok(utc);
    }
    let mut utc = utc;
    if span.months != 0 {
        utc = local_to_utc(add_months(utc_to_local(utc, env)?, span.months)?, env)?;
    }
    if span.days != 0 {
        utc = local_to_utc(add_days(utc_to_local(utc, env)?, span.days)?, env)?;
    }
    utc.checked_add(span.micros).ok_or_else(timestamp_out_of_range).and_then(check_timestamp)
}

/// `a - b` as days and time.
pub fn timestamp_sub(a: i64, b: i64) -> Result<Interval> {
    if is_infinite(a) || is_infinite(b) {
        return Err(crate::TypeError::new(
            crate::sqlstate::DATETIME_OVERFLOW,
            "cannot subtract infinite timestamps",
        ));
    }
    let difference = a.checked_sub(b).ok_or_else(interval_out_of_range)?;
    Ok(justify_hours(Interval { months: 0, days: 0, micros: difference }))
}

/// Whole days out of the time.
pub fn justify_hours(a: Interval) -> Interval {
    let mut days = i64::from(a.days) + a.micros / civil::DAY_MICROS;
    let mut micros = a.micros % civil::DAY_MICROS;
    if days > 0 && micros < 0 {
        micros += civil::DAY_MICROS;
        days -= 1;
    } else if days < 0 && micros > 0 {
        micros -= civil::DAY_MICROS;
        days += 1;
    }
    Interval { months: a.months, days: i32::try_from(days).unwrap_or(a.days), micros }
}

/// Whole months of 30 days out of the days.
pub fn justify_days(a: Interval) -> Interval {
    let mut months = i64::from(a.months) + i64::from(a.days / 30);
    let mut days = a.days % 30;
    if months > 0 && days < 0 {
        days += 30;
        months -= 1;
    } else if months < 0 && days > 0 {
        days -= 30;
        months += 1;
    }
    Interval { months: i32::try_from(months).unwrap_or(a.months), days, micros: a.micros }
}

/// `age(a, b)`: years, months and days counted as a person would.
pub fn age(a: i64, b: i64) -> Result<Interval> {
    if is_infinite(a) || is_infinite(b) {
        return Err(timestamp_out_of_range());
    }
    let negative = a < b;
    let (later, earlier) = if negative { (b, a) } else { (a, b) };
    let split = |local: i64| {
        let (year, month, day) = civil::date_of_days(local.div_euclid(civil::DAY_MICROS));
        (i64::from(year), i64::from(month), i64::from(day), local.rem_euclid(civil::DAY_MICROS))
    };
    let (y1, m1, d1, t1) = split(later);
    let (y2, m2, d2, t2) = split(earlier);
    let mut months = (y1 - y2) * 12 + (m1 - m2);
    let mut days = d1 - d2;
    let mut micros = t1 - t2;
    if micros < 0 {
        micros += civil::DAY_MICROS;
        days -= 1;
    }
    if days < 0 {
        // Days are borrowed from the month of the earlier one.
        let (year, month) = (y2, m2);
        let year = i32::try_from(year).expect("within range");
        let month = u32::try_from(month).expect("1 to 12");
        days += i64::from(civil::days_in_month(year, month));
        months -= 1;
    }
    let sign = if negative { -1 } else { 1 };
    Ok(Interval {
        months: i32::try_from(months * sign).map_err(|_| interval_out_of_range())?,
        days: i32::try_from(days * sign).expect("below 32"),
        micros: micros * sign,
    })
}
