//! Printing dates and times in every `DateStyle`; ISO is the one that matters.

use std::fmt::{self, Write};

use super::{civil, is_infinite};
use crate::env::{DateFormat, DateOrder, EvalEnv};

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Astronomical year to the year as written, and whether it is BC.
fn written_year(year: i32) -> (i32, bool) {
    if year > 0 { (year, false) } else { (1 - year, true) }
}

/// Prints a date.
pub fn date<W: Write>(days: i32, env: &EvalEnv, out: &mut W) -> fmt::Result {
    match days {
        super::DATE_INFINITY => return out.write_str("infinity"),
        super::DATE_NEG_INFINITY => return out.write_str("-infinity"),
        _ => {}
    }
    let (year, month, day) = civil::date_of_days(i64::from(days));
    let (year, bc) = written_year(year);
    let day_first = env.date_order == DateOrder::Dmy;
    match env.date_format {
        DateFormat::Iso => return iso_date(year, month, day, bc, out),
        DateFormat::German => write!(out, "{day:02}.{month:02}.{year:04}")?,
        DateFormat::Sql if day_first => write!(out, "{day:02}/{month:02}/{year:04}")?,
        DateFormat::Sql => write!(out, "{month:02}/{day:02}/{year:04}")?,
        DateFormat::Postgres if day_first => write!(out, "{day:02}-{month:02}-{year:04}")?,
        DateFormat::Postgres => write!(out, "{month:02}-{day:02}-{year:04}")?,
    }
    if bc { out.write_str(" BC") } else { Ok(()) }
}

fn iso_date<W: Write>(year: i32, month: u32, day: u32, bc: bool, out: &mut W) -> fmt::Result {
    if !bc && (0..=9999).contains(&year) {
        // Dates of four-digit years are most of what is ever printed.
        let mut text = *b"0000-00-00";
        let year = year.unsigned_abs();
        text[0] = digit(year / 1000);
        text[1] = digit(year / 100 % 10);
        text[2] = digit(year / 10 % 10);
        text[3] = digit(year % 10);
        text[5] = digit(month / 10);
        text[6] = digit(month % 10);
        text[8] = digit(day / 10);
        text[9] = digit(day % 10);
        return out.write_str(std::str::from_utf8(&text).expect("ASCII"));
    }
    write!(out, "{year:04}-{month:02}-{day:02}")?;
    if bc { out.write_str(" BC") } else { Ok(()) }
}

fn digit(value: u32) -> u8 {
    b'0' + (value % 10) as u8
}

/// Prints microseconds since midnight.
pub fn time<W: Write>(micros: i64, out: &mut W) -> fmt::Result {
    let seconds = u32::try_from(micros / 1_000_000).expect("a day has 86400 seconds");
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let text =
        [digit(h / 10), digit(h), b':', digit(m / 10), digit(m), b':', digit(s / 10), digit(s)];
    out.write_str(std::str::from_utf8(&text).expect("ASCII"))?;
    fraction(micros % 1_000_000, out)
}

/// Prints `.5` or nothing: microseconds below one second without trailing zeros.
pub(super) fn fraction<W: Write>(micros: i64, out: &mut W) -> fmt::Result {
    if micros == 0 {
        return Ok(());
    }
    let mut value = micros;
    let mut width = 6;
    while value % 10 == 0 {
        value /= 10;
        width -= 1;
    }
    write!(out, ".{value:0width$}")
}

/// Prints a timestamp without zone.
pub fn timestamp<W: Write>(micros: i64, env: &EvalEnv, out: &mut W) -> fmt::Result {
    if is_infinite(micros) {
        return infinity(micros, out);
    }
    stamp(micros, None, env, out)
}

/// Prints an instant in the session's zone.
pub fn timestamptz<W: Write>(utc: i64, env: &EvalEnv, out: &mut W) -> fmt::Result {
    if is_infinite(utc) {
        return infinity(utc, out);
    }
    let offset = env.time_zone.offset_at(utc);
    let local = utc + i64::from(offset) * 1_000_000;
    let zone = match env.date_format {
        DateFormat::Iso => String::new(),
        _ => env.time_zone.abbreviation_at(utc),
    };
    stamp(local, Some((offset, &zone)), env, out)
}

fn infinity<W: Write>(micros: i64, out: &mut W) -> fmt::Result {
    out.write_str(if micros > 0 { "infinity" } else { "-infinity" })
}

fn stamp<W: Write>(
    local: i64,
    zone: Option<(i32, &str)>,
    env: &EvalEnv,
    out: &mut W,
) -> fmt::Result {
    let days = local.div_euclid(civil::DAY_MICROS);
    let rest = local.rem_euclid(civil::DAY_MICROS);
    let (year, month, day) = civil::date_of_days(days);
    let (year, bc) = written_year(year);
    let day_first = env.date_order == DateOrder::Dmy;
    match env.date_format {
        DateFormat::Iso => {
            iso_date(year, month, day, false, out)?;
            out.write_str(" ")?;
            time(rest, out)?;
            if let Some((offset, _)) = zone {
                self::offset(offset, out)?;
            }
        }
        DateFormat::Postgres => {
            let weekday = WEEKDAYS[civil::weekday(days) as usize];
            let name = MONTHS[month as usize - 1];
            if day_first {
                write!(out, "{weekday} {day:02} {name} ")?;
            } else {
                write!(out, "{weekday} {name} {day:02} ")?;
            }
            time(rest, out)?;
            write!(out, " {year:04}")?;
            named_zone(zone, " ", out)?;
        }
        DateFormat::Sql | DateFormat::German => {
            match (env.date_format, day_first) {
                (DateFormat::German, _) => write!(out, "{day:02}.{month:02}.{year:04} ")?,
                (_, true) => write!(out, "{day:02}/{month:02}/{year:04} ")?,
                (_, false) => write!(out, "{month:02}/{day:02}/{year:04} ")?,
            }
            time(rest, out)?;
            named_zone(zone, " ", out)?;
        }
    }
    if bc { out.write_str(" BC") } else { Ok(()) }
}

fn named_zone<W: Write>(zone: Option<(i32, &str)>, before: &str, out: &mut W) -> fmt::Result {
    match zone {
        Some((_, name)) if name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            write!(out, "{before}{name}")
        }
        Some((offset, _)) => {
            out.write_str(before)?;
            self::offset(offset, out)
        }
        None => Ok(()),
    }
}

/// Prints `+02`, `-05:30`, `+00:19:32`.
pub fn offset<W: Write>(east: i32, out: &mut W) -> fmt::Result {
    let sign = if east < 0 { '-' } else { '+' };
    let seconds = east.unsigned_abs();
    write!(out, "{sign}{:02}", seconds / 3600)?;
    if !seconds.is_multiple_of(3600) {
        write!(out, ":{:02}", seconds / 60 % 60)?;
    }
    if !seconds.is_multiple_of(60) {
        write!(out, ":{:02}", seconds % 60)?;
    }
    Ok(())
}
