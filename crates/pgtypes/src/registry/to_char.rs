//! `to_char`, `to_date`, `to_timestamp` by template, `to_number`.

use super::Registry;
use super::args::{f4, f8, i4, i8, interval, num, stamp, text};
use crate::datetime::{self, civil};
use crate::datum::Datum;
use crate::format::{self, Moment};

pub(super) fn register(r: &mut Registry) {
    r.f("to_char(timestamp,text) text", |_, a| {
        let (local, template) = (stamp(&a[0]), text(&a[1]));
        if datetime::is_infinite(local) || template.is_empty() {
            return Ok(Datum::Null);
        }
        format::print_date(&Moment::local(local, None), template).map(Datum::from)
    })
    .stable();
    r.f("to_char(timestamptz,text) text", |call, a| {
        let (utc, template) = (stamp(&a[0]), text(&a[1]));
        if datetime::is_infinite(utc) || template.is_empty() {
            return Ok(Datum::Null);
        }
        let zone = &call.env.time_zone;
        let local = datetime::utc_to_local(utc, call.env)?;
        let zone = Some((zone.offset_at(utc), zone.abbreviation_at(utc)));
        format::print_date(&Moment::local(local, zone), template).map(Datum::from)
    })
    .stable();
    r.f("to_char(interval,text) text", |_, a| {
        let template = text(&a[1]);
        if template.is_empty() {
            return Ok(Datum::Null);
        }
        format::print_date(&Moment::span(interval(&a[0])), template).map(Datum::from)
    })
    .stable();
    r.f("to_char(int4,text) text", |_, a| {
        format::print_integer(i64::from(i4(&a[0])), text(&a[1])).map(Datum::from)
    })
    .stable();
    r.f("to_char(int8,text) text", |_, a| {
        format::print_integer(i8(&a[0]), text(&a[1])).map(Datum::from)
    })
    .stable();
    r.f("to_char(numeric,text) text", |_, a| {
        format::print_numeric(num(&a[0]), text(&a[1])).map(Datum::from)
    })
    .stable();
    r.f("to_char(float8,text) text", |_, a| {
        format::print_float(f8(&a[0]), 15, text(&a[1])).map(Datum::from)
    })
    .stable();
    r.f("to_char(float4,text) text", |_, a| {
        format::print_float(f64::from(f4(&a[0])), 6, text(&a[1])).map(Datum::from)
    })
    .stable();
    r.f("to_number(text,text) numeric", |_, a| {
        if text(&a[1]).is_empty() {
            return Ok(Datum::Null);
        }
        format::parse_number(text(&a[0]), text(&a[1])).map(Datum::Numeric)
    })
    .stable();
    r.f("to_date(text,text) date", |_, a| {
        let parsed = format::parse(text(&a[0]), text(&a[1]))?;
        datetime::check_date(parsed.days).map(Datum::Date)
    })
    .stable();
    r.f("to_timestamp(text,text) timestamptz", |call, a| {
        let parsed = format::parse(text(&a[0]), text(&a[1]))?;
        let local = parsed
            .days
            .checked_mul(civil::DAY_MICROS)
            .and_then(|day| day.checked_add(parsed.micros))
            .ok_or_else(datetime::timestamp_out_of_range)?;
        match parsed.east {
            Some(east) => {
                datetime::check_timestamp(local.saturating_sub(i64::from(east) * 1_000_000))
            }
            None => datetime::local_to_utc(local, call.env),
        }
        .map(Datum::Timestamptz)
    })
    .stable();
}
