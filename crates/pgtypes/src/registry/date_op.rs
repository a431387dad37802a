//! `+ - * /` on dates, times and intervals, AT TIME ZONE, OVERLAPS.

use super::args::{date, f8, i4, interval, stamp, text, time};
use super::{Call, Registry};
use crate::datetime::zone::{TimeZone, abbreviation_offset};
use crate::datetime::{self, arith, civil};
use crate::datum::{Datum, Interval};
use crate::env::EvalEnv;
use crate::error::{Result, TypeError, sqlstate};

/// Adds whole days to a date.
fn date_add(days: i32, more: i64) -> Result<Datum> {
    if days == datetime::DATE_INFINITY || days == datetime::DATE_NEG_INFINITY {
        return Ok(Datum::Date(days));
    }
    datetime::check_date(i64::from(days) + more).map(Datum::Date)
}

fn date_sub(a: i32, b: i32) -> Result<Datum> {
    let infinite = |days| days == datetime::DATE_INFINITY || days == datetime::DATE_NEG_INFINITY;
    if infinite(a) || infinite(b) {
        return Err(TypeError::new(sqlstate::DATETIME_OVERFLOW, "cannot subtract infinite dates"));
    }
    a.checked_sub(b).map(Datum::Int4).ok_or_else(datetime::date_out_of_range)
}

fn time_add(micros: i64, span: Interval) -> Datum {
    let span = span.micros % civil::DAY_MICROS;
    Datum::Time((micros + span).rem_euclid(civil::DAY_MICROS))
}

fn date_time(days: i32, micros: i64) -> Result<Datum> {
    let midnight = datetime::date_to_timestamp(days)?;
    if datetime::is_infinite(midnight) {
        return Ok(Datum::Timestamp(midnight));
    }
    midnight
        .checked_add(micros)
        .ok_or_else(datetime::timestamp_out_of_range)
        .and_then(datetime::check_timestamp)
        .map(Datum::Timestamp)
}

/// The zone AT TIME ZONE names: an abbreviation, a name, or a POSIX specification.
pub(super) fn zone(name: &str) -> Result<TimeZone> {
    if let Some(east) = abbreviation_offset(name) {
        return Ok(TimeZone::fixed(east));
    }
    // A bare `+3` is POSIX here too: west of Greenwich.
    if name.starts_with(['+', '-'])
        && let Some(west) = datetime::zone::parse_offset(name)
    {
        return Ok(TimeZone::fixed(-west));
    }
    TimeZone::named(name).or_else(|| TimeZone::parse(name)).ok_or_else(|| {
        TypeError::new(sqlstate::INVALID_PARAMETER, format!("time zone \"{name}\" not recognized"))
    })
}

fn interval_zone(span: Interval) -> Result<TimeZone> {
    if span.months != 0 || span.days != 0 {
        let mut shown = String::new();
        datetime::interval::print(span, &EvalEnv::default(), &mut shown)
            .expect("writing to a string");
        return Err(TypeError::new(
            sqlstate::INVALID_PARAMETER,
            format!("interval time zone \"{shown}\" must not include months or days"),
        ));
    }
    let seconds =
        i32::try_from(span.micros / 1_000_000).map_err(|_| datetime::interval_out_of_range())?;
    Ok(TimeZone::fixed(seconds))
}

/// `timestamptz AT TIME ZONE z`: the local time there.
fn to_zone(utc: i64, zone: &TimeZone) -> Result<Datum> {
    if datetime::is_infinite(utc) {
        return Ok(Datum::Timestamp(utc));
    }
    let local = utc + i64::from(zone.offset_at(utc)) * 1_000_000;
    datetime::check_timestamp(local).map(Datum::Timestamp)
}

/// `timestamp AT TIME ZONE z`: the instant that is that local time there.
fn from_zone(local: i64, zone: &TimeZone) -> Result<Datum> {
    if datetime::is_infinite(local) {
        return Ok(Datum::Timestamptz(local));
    }
    let utc = local - i64::from(zone.offset_of_local(local)) * 1_000_000;
    datetime::check_timestamp(utc).map(Datum::Timestamptz)
}

fn check_divisor(value: f64) -> Result<f64> {
    if value == 0.0 { Err(TypeError::division_by_zero()) } else { Ok(value) }
}

/// SQL's OVERLAPS on sorted pairs; NULL ends make it unknown unless the rest decides.
fn overlaps(ends: [Option<i128>; 4]) -> Datum {
    let order = |a: Option<i128>, b: Option<i128>| match (a, b) {
        (None, other) => (other, None),
        (Some(a), Some(b)) if b < a => (Some(b), Some(a)),
        other => other,
    };
    let (ts1, te1) = order(ends[0], ends[1]);
    let (ts2, te2) = order(ends[2], ends[3]);
    let (Some(s1), Some(s2)) = (ts1, ts2) else { return Datum::Null };
    match s1.cmp(&s2) {
        std::cmp::Ordering::Equal => {
            if te1.is_none() || te2.is_none() {
                Datum::Null
            } else {
                Datum::Bool(true)
            }
        }
        std::cmp::Ordering::Greater => match te2 {
            None => Datum::Null,
            Some(te2) if s1 < te2 => Datum::Bool(true),
            Some(_) if te1.is_none() => Datum::Null,
            Some(_) => Datum::Bool(false),
        },
        std::cmp::Ordering::Less => match te1 {
            None => Datum::Null,
            Some(te1) if s2 < te1 => Datum::Bool(true),
            Some(_) if te2.is_none() => Datum::Null,
            Some(_) => Datum::Bool(false),
        },
    }
}

fn instant(datum: &Datum) -> Option<i128> {
    match datum {
        Datum::Null => None,
        Datum::Time(micros) => Some(i128::from(*micros)),
        other => Some(i128::from(stamp(other))),
    }
}

/// Where a span ends: at an instant, or an interval behind its start.
fn end(call: &Call<'_>, start: &Datum, other: &Datum) -> Result<Option<i128>> {
    let (Datum::Interval(span), false) = (other, start.is_null()) else {
        return Ok(if matches!(other, Datum::Interval(_)) { None } else { instant(other) });
    };
    Ok(Some(i128::from(match start {
        Datum::Time(micros) => micros.wrapping_add(span.micros).rem_euclid(civil::DAY_MICROS),
        Datum::Timestamptz(utc) => arith::timestamptz_add(*utc, *span, call.env)?,
        other => arith::timestamp_add(stamp(other), *span)?,
    })))
}

fn overlap_entries(r: &mut Registry) {
    for text in [
        "overlaps(timestamp,timestamp,timestamp,timestamp) bool",
        "overlaps(timestamp,interval,timestamp,interval) bool",
        "overlaps(timestamp,timestamp,timestamp,interval) bool",
        "overlaps(timestamp,interval,timestamp,timestamp) bool",
        "overlaps(timestamptz,timestamptz,timestamptz,timestamptz) bool",
        "overlaps(timestamptz,interval,timestamptz,interval) bool",
        "overlaps(timestamptz,timestamptz,timestamptz,interval) bool",
        "overlaps(timestamptz,interval,timestamptz,timestamptz) bool",
        "overlaps(time,time,time,time) bool",
        "overlaps(time,interval,time,interval) bool",
        "overlaps(time,time,time,interval) bool",
        "overlaps(time,interval,time,time) bool",
    ] {
        r.f(text, |call, a| {
            let (first, second) = (end(call, &a[0], &a[1])?, end(call, &a[2], &a[3])?);
            Ok(overlaps([instant(&a[0]), first, instant(&a[2]), second]))
        })
        .nonstrict()
        .stable();
    }
}

fn intervals(r: &mut Registry) {
    r.op("+(interval,interval) interval", |_, a| {
        arith::interval_add(interval(&a[0]), interval(&a[1])).map(Datum::Interval)
    });
    r.op("-(interval,interval) interval", |_, a| {
        let negated = arith::interval_neg(interval(&a[1]))?;
        arith::interval_add(interval(&a[0]), negated).map(Datum::Interval)
    });
    r.op("-(interval) interval", |_, a| arith::interval_neg(interval(&a[0])).map(Datum::Interval));
    r.op("*(interval,float8) interval", |_, a| {
        arith::interval_mul(interval(&a[0]), f8(&a[1])).map(Datum::Interval)
    });
    r.op("*(float8,interval) interval", |_, a| {
        arith::interval_mul(interval(&a[1]), f8(&a[0])).map(Datum::Interval)
    });
    r.op("/(interval,float8) interval", |_, a| {
        arith::interval_div(interval(&a[0]), check_divisor(f8(&a[1]))?).map(Datum::Interval)
    });
}

fn zones(r: &mut Registry) {
    // `x AT TIME ZONE z` arrives as timezone(z, x).
    r.f("timezone(text,timestamptz) timestamp", |_, a| to_zone(stamp(&a[1]), &zone(text(&a[0]))?));
    r.f("timezone(text,timestamp) timestamptz", |_, a| {
        from_zone(stamp(&a[1]), &zone(text(&a[0]))?)
    });
    r.f("timezone(interval,timestamptz) timestamp", |_, a| {
        to_zone(stamp(&a[1]), &interval_zone(interval(&a[0]))?)
    });
    r.f("timezone(interval,timestamp) timestamptz", |_, a| {
        from_zone(stamp(&a[1]), &interval_zone(interval(&a[0]))?)
    });
}

pub(super) fn register(r: &mut Registry) {
    r.op("+(date,int4) date", |_, a| date_add(date(&a[0]), i64::from(i4(&a[1]))));
    r.op("+(int4,date) date", |_, a| date_add(date(&a[1]), i64::from(i4(&a[0]))));
    r.op("-(date,int4) date", |_, a| date_add(date(&a[0]), -i64::from(i4(&a[1]))));
    r.op("-(date,date) int4", |_, a| date_sub(date(&a[0]), date(&a[1])));
    r.op("+(date,time) timestamp", |_, a| date_time(date(&a[0]), time(&a[1])));
    r.op("+(time,date) timestamp", |_, a| date_time(date(&a[1]), time(&a[0])));
    r.op("+(date,interval) timestamp", |_, a| {
        let midnight = datetime::date_to_timestamp(date(&a[0]))?;
        arith::timestamp_add(midnight, interval(&a[1])).map(Datum::Timestamp)
    });
    r.op("+(interval,date) timestamp", |_, a| {
        let midnight = datetime::date_to_timestamp(date(&a[1]))?;
        arith::timestamp_add(midnight, interval(&a[0])).map(Datum::Timestamp)
    });
    r.op("-(date,interval) timestamp", |_, a| {
        let midnight = datetime::date_to_timestamp(date(&a[0]))?;
        let span = arith::interval_neg(interval(&a[1]))?;
        arith::timestamp_add(midnight, span).map(Datum::Timestamp)
    });
    r.op("+(timestamp,interval) timestamp", |_, a| {
        arith::timestamp_add(stamp(&a[0]), interval(&a[1])).map(Datum::Timestamp)
    });
    r.op("+(interval,timestamp) timestamp", |_, a| {
        arith::timestamp_add(stamp(&a[1]), interval(&a[0])).map(Datum::Timestamp)
    });
    r.op("-(timestamp,interval) timestamp", |_, a| {
        let span = arith::interval_neg(interval(&a[1]))?;
        arith::timestamp_add(stamp(&a[0]), span).map(Datum::Timestamp)
    });
    r.op("-(timestamp,timestamp) interval", |_, a| {
        arith::timestamp_sub(stamp(&a[0]), stamp(&a[1])).map(Datum::Interval)
    });
    r.op("+(timestamptz,interval) timestamptz", |call, a| {
        arith::timestamptz_add(stamp(&a[0]), interval(&a[1]), call.env).map(Datum::Timestamptz)
    })
    .stable();
    r.op("+(interval,timestamptz) timestamptz", |call, a| {
        arith::timestamptz_add(stamp(&a[1]), interval(&a[0]), call.env).map(Datum::Timestamptz)
    })
    .stable();
    r.op("-(timestamptz,interval) timestamptz", |call, a| {
        let span = arith::interval_neg(interval(&a[1]))?;
        arith::timestamptz_add(stamp(&a[0]), span, call.env).map(Datum::Timestamptz)
    })
    .stable();
    r.op("-(timestamptz,timestamptz) interval", |_, a| {
        arith::timestamp_sub(stamp(&a[0]), stamp(&a[1])).map(Datum::Interval)
    });
    r.op("+(time,interval) time", |_, a| Ok(time_add(time(&a[0]), interval(&a[1]))));
    r.op("+(interval,time) time", |_, a| Ok(time_add(time(&a[1]), interval(&a[0]))));
    r.op("-(time,interval) time", |_, a| {
        Ok(time_add(time(&a[0]), arith::interval_neg(interval(&a[1]))?))
    });
    r.op("-(time,time) interval", |_, a| {
        let micros = time(&a[0]) - time(&a[1]);
        Ok(Datum::Interval(Interval { months: 0, days: 0, micros }))
    });
    intervals(r);
    zones(r);
    overlap_entries(r);
}
