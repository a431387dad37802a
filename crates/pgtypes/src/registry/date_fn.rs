//! Functions of dates and times: `extract`, `date_trunc`, `age`, `now`, `make_date` and so on.

use super::args::{date, f8, i4, interval, stamp, text};
use super::date_op::zone;
use super::{Call, Registry};
use crate::datetime::{self, arith, civil, field};
use crate::datum::{Datum, Interval};
use crate::env::{EvalEnv, UNIX_EPOCH_MICROS};
use crate::error::{Result, TypeError, sqlstate};
use crate::numeric::Numeric;
use crate::text::print_f64;
use crate::ty::TypeId;

/// A field of a value, by the value's own class.
fn part(call: &Call<'_>, name: &str, value: &Datum) -> Result<Option<Numeric>> {
    let type_name = call.args[1].sql_name();
    let canonical = field::canonical(name).ok_or_else(|| field::unknown(name, &type_name))?;
    let found = match value {
        Datum::Date(days) => match *days {
            days @ (datetime::DATE_INFINITY | datetime::DATE_NEG_INFINITY)
                if canonical == "epoch" || field::of_date(canonical, 0).is_some() =>
            {
                return Ok(field::of_infinite(canonical, days == datetime::DATE_INFINITY));
            }
            datetime::DATE_INFINITY | datetime::DATE_NEG_INFINITY => None,
            days if canonical == "epoch" => {
                Some(Numeric::from((i64::from(days) + 10_957) * 86_400))
            }
            days => field::of_date(canonical, i64::from(days)),
        },
        Datum::Time(micros) => field::of_time(canonical, *micros),
        Datum::Timestamp(local) if datetime::is_infinite(*local) => {
            return Ok(field::of_infinite(canonical, *local > 0));
        }
        Datum::Timestamp(local) => field::of_timestamp(canonical, *local, None),
        Datum::Timestamptz(utc) if datetime::is_infinite(*utc) => {
            return Ok(field::of_infinite(canonical, *utc > 0));
        }
        Datum::Timestamptz(utc) => {
            let east = call.env.time_zone.offset_at(*utc);
            let local = utc + i64::from(east) * 1_000_000;
            field::of_timestamp(canonical, local, Some(east))
        }
        Datum::Interval(value) => field::of_interval(canonical, *value),
        other => panic!("extract from {other:?}"),
    };
    found.map(Some).ok_or_else(|| field::unsupported(name, &type_name))
}

fn extract(call: &Call<'_>, a: &[Datum]) -> Result<Datum> {
    Ok(part(call, text(&a[0]), &a[1])?.map_or(Datum::Null, Datum::Numeric))
}

fn date_part(call: &Call<'_>, a: &[Datum]) -> Result<Datum> {
    if let Datum::Date(days) = a[1] {
        // PostgreSQL's is defined by a cast to timestamp.
        let stamp = Datum::Timestamp(datetime::date_to_timestamp(days)?);
        let args = [call.args[0], TypeId::Timestamp.into()];
        return date_part(&Call { args: &args, ..*call }, &[a[0].clone(), stamp]);
    }
    if let (Datum::Interval(span), Some("epoch")) = (&a[1], field::canonical(text(&a[0]))) {
        // In floats from the start, with their rounding.
        let (years, months) = (f64::from(span.months / 12), f64::from(span.months % 12));
        let seconds = span.micros as f64 / 1_000_000.0 + 31_557_600.0 * years;
        return Ok(Datum::Float8(seconds + 2_592_000.0 * months + 86_400.0 * f64::from(span.days)));
    }
    Ok(part(call, text(&a[0]), &a[1])?
        .map_or(Datum::Null, |value| Datum::Float8(value.to_f64_lossy())))
}

/// A field `date_trunc` knows: those that only `extract` has are unknown to it.
fn trunc_field(name: &str, type_name: &str) -> Result<&'static str> {
    match field::canonical(name) {
        None | Some("epoch" | "dow" | "isodow" | "doy" | "isoyear" | "julian") => {
            Err(field::unknown(name, type_name))
        }
        Some(canonical) => Ok(canonical),
    }
}

fn trunc_local(name: &str, local: i64, type_name: &str) -> Result<i64> {
    if datetime::is_infinite(local) {
        return Ok(local);
    }
    field::trunc_timestamp(trunc_field(name, type_name)?, local)
        .unwrap_or_else(|| Err(field::unsupported(name, type_name)))
}

fn trunc_utc(name: &str, utc: i64, env: &EvalEnv) -> Result<Datum> {
    let type_name = "timestamp with time zone";
    if datetime::is_infinite(utc) {
        return Ok(Datum::Timestamptz(utc));
    }
    let local = datetime::utc_to_local(utc, env)?;
    let cut = trunc_local(name, local, type_name)?;
    // Below a day the offset stays, even in the doubled hour of autumn.
    let below_day = matches!(
        field::canonical(name),
        Some("hour" | "minute" | "second" | "milliseconds" | "microseconds")
    );
    if below_day {
        return Ok(Datum::Timestamptz(utc - (local - cut)));
    }
    datetime::local_to_utc(cut, env).map(Datum::Timestamptz)
}

fn field_range(message: String) -> TypeError {
    TypeError::new(sqlstate::DATETIME_OVERFLOW, message)
}

/// Days of year, month, day; negative years are BC.
fn make_days(year: i32, month: i32, day: i32) -> Result<i64> {
    let bad = || field_range(format!("date field value out of range: {year}-{month:02}-{day:02}"));
    let astronomical = match year {
        0 => return Err(bad()),
        year if year < 0 => year + 1,
        year => year,
    };
    let month = u32::try_from(month).ok().filter(|m| (1..=12).contains(m)).ok_or_else(bad)?;
    let day = u32::try_from(day)
        .ok()
        .filter(|d| *d >= 1 && *d <= civil::days_in_month(astronomical, month))
        .ok_or_else(bad)?;
    if !(-4713..=5_874_897).contains(&astronomical) {
        return Err(field_range(format!("date out of range: {year}-{month:02}-{day:02}")));
    }
    Ok(civil::days_of_date(astronomical, month, day))
}

fn make_micros(hour: i32, minute: i32, second: f64) -> Result<i64> {
    let bad =
        || field_range(format!("time field value out of range: {hour}:{minute:02}:{second:02}"));
    if !(0..=24).contains(&hour) || !(0..60).contains(&minute) || !(0.0..=60.0).contains(&second) {
        return Err(bad());
    }
    let micros = (i64::from(hour) * 3600 + i64::from(minute) * 60) * 1_000_000
        + (second * 1_000_000.0).round_ties_even() as i64;
    if micros > civil::DAY_MICROS { Err(bad()) } else { Ok(micros) }
}

fn make_stamp(a: &[Datum]) -> Result<i64> {
    let days = make_days(i4(&a[0]), i4(&a[1]), i4(&a[2]))?;
    let micros = make_micros(i4(&a[3]), i4(&a[4]), f8(&a[5]))?;
    days.checked_mul(civil::DAY_MICROS)
        .and_then(|day| day.checked_add(micros))
        .ok_or_else(datetime::timestamp_out_of_range)
        .and_then(datetime::check_timestamp)
}

fn make_interval(a: &[Datum]) -> Result<Datum> {
    let at = |i: usize| a.get(i).map_or(0, i4);
    let overflow = datetime::interval_out_of_range;
    let months = at(0).checked_mul(12).and_then(|m| m.checked_add(at(1))).ok_or_else(overflow)?;
    let days = at(2).checked_mul(7).and_then(|d| d.checked_add(at(3))).ok_or_else(overflow)?;
    let seconds = a.get(6).map_or(0.0, f8);
    let rest = (seconds * 1_000_000.0).round_ties_even();
    if rest.is_nan() || rest.abs() >= 9.2e18 {
        return Err(overflow());
    }
    let micros = ((i64::from(at(4)) * 3600 + i64::from(at(5)) * 60) * 1_000_000)
        .checked_add(rest as i64)
        .ok_or_else(overflow)?;
    Ok(Datum::Interval(Interval { months, days, micros }))
}

fn to_timestamp(seconds: f64) -> Result<Datum> {
    if seconds.is_infinite() {
        return Ok(Datum::Timestamptz(if seconds > 0.0 {
            datetime::TIMESTAMP_INFINITY
        } else {
            datetime::TIMESTAMP_NEG_INFINITY
        }));
    }
    if seconds.is_nan() {
        return Err(field_range("timestamp cannot be NaN".to_owned()));
    }
    let micros = (seconds - (UNIX_EPOCH_MICROS / 1_000_000) as f64) * 1_000_000.0;
    let out = || {
        let mut shown = String::new();
        // C's %g.
        print_f64(seconds, -9, &mut shown).expect("writing to a string");
        field_range(format!("timestamp out of range: \"{shown}\""))
    };
    if micros.abs() > 9.3e18 {
        return Err(out());
    }
    datetime::check_timestamp(micros.round_ties_even() as i64)
        .map(Datum::Timestamptz)
        .map_err(|_| out())
}

fn today(env: &EvalEnv) -> Result<i32> {
    Ok(datetime::timestamp_to_date(datetime::utc_to_local(env.transaction_time, env)?))
}

fn fields(r: &mut Registry) {
    for text in [
        "extract(text,date) numeric",
        "extract(text,time) numeric",
        "extract(text,timestamp) numeric",
        "extract(text,timestamptz) numeric",
        "extract(text,interval) numeric",
    ] {
        r.f(text, extract).stable();
    }
    for text in [
        "date_part(text,date) float8",
        "date_part(text,time) float8",
        "date_part(text,timestamp) float8",
        "date_part(text,timestamptz) float8",
        "date_part(text,interval) float8",
    ] {
        r.f(text, date_part).stable();
    }
    r.f("date_trunc(text,timestamp) timestamp", |_, a| {
        let local = trunc_local(text(&a[0]), stamp(&a[1]), "timestamp without time zone")?;
        Ok(Datum::Timestamp(local))
    });
    r.f("date_trunc(text,timestamptz) timestamptz", |call, a| {
        trunc_utc(text(&a[0]), stamp(&a[1]), call.env)
    })
    .stable();
    r.f("date_trunc(text,timestamptz,text) timestamptz", |call, a| {
        let env = EvalEnv { time_zone: zone(text(&a[2]))?, ..call.env.clone() };
        trunc_utc(text(&a[0]), stamp(&a[1]), &env)
    })
    .stable();
    r.f("date_trunc(text,interval) interval", |_, a| {
        let name = text(&a[0]);
        let canonical = trunc_field(name, "interval")?;
        field::trunc_interval(canonical, interval(&a[1])).map(Datum::Interval).ok_or_else(|| {
            let error = field::unsupported(name, "interval");
            if canonical == "week" {
                error.with_detail("Months usually have fractional weeks.")
            } else {
                error
            }
        })
    });
    r.f("date_bin(interval,timestamp,timestamp) timestamp", |_, a| {
        field::bin(interval(&a[0]), stamp(&a[1]), stamp(&a[2])).map(Datum::Timestamp)
    });
    r.f("date_bin(interval,timestamptz,timestamptz) timestamptz", |_, a| {
        field::bin(interval(&a[0]), stamp(&a[1]), stamp(&a[2])).map(Datum::Timestamptz)
    });
}

fn clock(r: &mut Registry) {
    for text in [
        "now() timestamptz",
        "transaction_timestamp() timestamptz",
        "current_timestamp() timestamptz",
    ] {
        r.f(text, |call, _| Ok(Datum::Timestamptz(call.env.transaction_time))).stable();
    }
    r.f("current_timestamp(int4) timestamptz", |call, a| {
        let digits = u32::try_from(i4(&a[0])).unwrap_or(0);
        Ok(Datum::Timestamptz(datetime::round_micros(call.env.transaction_time, digits)))
    })
    .stable();
    r.f("statement_timestamp() timestamptz", |call, _| {
        Ok(Datum::Timestamptz(call.env.statement_time))
    })
    .stable();
    r.f("clock_timestamp() timestamptz", |_, _| Ok(Datum::Timestamptz(EvalEnv::clock_micros())))
        .volatile();
    r.f("timeofday() text", |call, _| {
        let mut out = String::new();
        datetime::format::timestamptz(EvalEnv::clock_micros(), call.env, &mut out)
            .expect("writing to a string");
        Ok(Datum::text(out))
    })
    .volatile();
    r.f("current_date() date", |call, _| today(call.env).map(Datum::Date)).stable();
    r.f("localtimestamp() timestamp", |call, _| {
        datetime::utc_to_local(call.env.transaction_time, call.env).map(Datum::Timestamp)
    })
    .stable();
    r.f("localtimestamp(int4) timestamp", |call, a| {
        let digits = u32::try_from(i4(&a[0])).unwrap_or(0);
        let now = datetime::round_micros(call.env.transaction_time, digits);
        datetime::utc_to_local(now, call.env).map(Datum::Timestamp)
    })
    .stable();
    r.f("localtime(int4) time", |call, a| {
        let digits = u32::try_from(i4(&a[0])).unwrap_or(0);
        let now = datetime::round_micros(call.env.transaction_time, digits);
        let local = datetime::utc_to_local(now, call.env)?;
        Ok(Datum::Time(local.rem_euclid(civil::DAY_MICROS)))
    })
    .stable();
    r.f("localtime() time", |call, _| {
        let local = datetime::utc_to_local(call.env.transaction_time, call.env)?;
        Ok(Datum::Time(local.rem_euclid(civil::DAY_MICROS)))
    })
    .stable();
}

fn make(r: &mut Registry) {
    r.f("make_date(int4,int4,int4) date", |_, a| {
        datetime::check_date(make_days(i4(&a[0]), i4(&a[1]), i4(&a[2]))?).map(Datum::Date)
    });
    r.f("make_time(int4,int4,float8) time", |_, a| {
        make_micros(i4(&a[0]), i4(&a[1]), f8(&a[2])).map(Datum::Time)
    });
    r.f("make_timestamp(int4,int4,int4,int4,int4,float8) timestamp", |_, a| {
        make_stamp(a).map(Datum::Timestamp)
    });
    r.f("make_timestamptz(int4,int4,int4,int4,int4,float8) timestamptz", |call, a| {
        datetime::local_to_utc(make_stamp(a)?, call.env).map(Datum::Timestamptz)
    })
    .stable();
    r.f("make_timestamptz(int4,int4,int4,int4,int4,float8,text) timestamptz", |_, a| {
        let local = make_stamp(a)?;
        // Here `+05:30` is east of Greenwich.
        let offset = match datetime::zone::offset_east(text(&a[6])) {
            Some(east) => east,
            None => zone(text(&a[6]))?.offset_of_local(local),
        };
        datetime::check_timestamp(local - i64::from(offset) * 1_000_000).map(Datum::Timestamptz)
    });
    for text in [
        "make_interval() interval",
        "make_interval(int4) interval",
        "make_interval(int4,int4) interval",
        "make_interval(int4,int4,int4) interval",
        "make_interval(int4,int4,int4,int4) interval",
        "make_interval(int4,int4,int4,int4,int4) interval",
        "make_interval(int4,int4,int4,int4,int4,int4) interval",
        "make_interval(int4,int4,int4,int4,int4,int4,float8) interval",
    ] {
        r.f(text, |_, a| make_interval(a));
    }
    r.f("to_timestamp(float8) timestamptz", |_, a| to_timestamp(f8(&a[0])));
}

pub(super) fn register(r: &mut Registry) {
    fields(r);
    clock(r);
    make(r);
    r.f("age(timestamp,timestamp) interval", |_, a| {
        arith::age(stamp(&a[0]), stamp(&a[1])).map(Datum::Interval)
    });
    r.f("age(timestamptz,timestamptz) interval", |call, a| {
        let first = datetime::utc_to_local(stamp(&a[0]), call.env)?;
        let second = datetime::utc_to_local(stamp(&a[1]), call.env)?;
        arith::age(first, second).map(Datum::Interval)
    })
    .stable();
    r.f("age(timestamp) interval", |call, a| {
        let midnight = datetime::date_to_timestamp(today(call.env)?)?;
        arith::age(midnight, stamp(&a[0])).map(Datum::Interval)
    })
    .stable();
    r.f("age(timestamptz) interval", |call, a| {
        let midnight = datetime::date_to_timestamp(today(call.env)?)?;
        arith::age(midnight, datetime::utc_to_local(stamp(&a[0]), call.env)?).map(Datum::Interval)
    })
    .stable();
    r.f("isfinite(date) bool", |_, a| {
        let days = date(&a[0]);
        Ok(Datum::Bool(days != datetime::DATE_INFINITY && days != datetime::DATE_NEG_INFINITY))
    });
    r.f("isfinite(timestamp) bool", |_, a| Ok(Datum::Bool(!datetime::is_infinite(stamp(&a[0])))));
    r.f("isfinite(timestamptz) bool", |_, a| Ok(Datum::Bool(!datetime::is_infinite(stamp(&a[0])))));
    r.f("isfinite(interval) bool", |_, _| Ok(Datum::Bool(true)));
    r.f("justify_hours(interval) interval", |_, a| {
        Ok(Datum::Interval(arith::justify_hours(interval(&a[0]))))
    });
    r.f("justify_days(interval) interval", |_, a| {
        Ok(Datum::Interval(arith::justify_days(interval(&a[0]))))
    });
    r.f("justify_interval(interval) interval", |_, a| {
        Ok(Datum::Interval(field::justify(interval(&a[0]))))
    });
}
