//! Printing intervals in every `IntervalStyle`.

use std::fmt::{self, Write};

use super::format::fraction;
use super::interval::{HOUR, MINUTE, SECOND};
use crate::datum::Interval;
use crate::env::{EvalEnv, IntervalStyle};

/// Prints an interval in the session's style.
pub fn print<W: Write>(value: Interval, env: &EvalEnv, out: &mut W) -> fmt::Result {
    match env.interval_style {
        IntervalStyle::Postgres => postgres(value, out),
        IntervalStyle::PostgresVerbose => verbose(value, out),
        IntervalStyle::Iso8601 => iso(value, out),
        IntervalStyle::SqlStandard => standard(value, out),
    }
}

/// Hours, minutes, seconds and microseconds, each with the sign of the whole.
fn split_time(micros: i64) -> (i64, i64, i64, i64) {
    (micros / HOUR, micros / MINUTE % 60, micros / SECOND % 60, micros % SECOND)
}

fn hms<W: Write>(micros: i64, width: usize, out: &mut W) -> fmt::Result {
    let total = micros.unsigned_abs();
    let (hours, minutes, seconds) =
        (total / 3_600_000_000, total / 60_000_000 % 60, total / 1_000_000 % 60);
    write!(out, "{hours:0width$}:{minutes:02}:{seconds:02}")?;
    fraction((total % 1_000_000) as i64, out)
}

fn postgres<W: Write>(value: Interval, out: &mut W) -> fmt::Result {
    let parts = [(value.months / 12, "year"), (value.months % 12, "mon"), (value.days, "day")];
    let (mut empty, mut before) = (true, false);
    for (number, name) in parts {
        if number == 0 {
            continue;
        }
        let space = if empty { "" } else { " " };
        let plus = if before && number > 0 { "+" } else { "" };
        let plural = if number == 1 { "" } else { "s" };
        write!(out, "{space}{plus}{number} {name}{plural}")?;
        before = number < 0;
        empty = false;
    }
    if empty || value.micros != 0 {
        let space = if empty { "" } else { " " };
        let sign = match (value.micros < 0, before) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        write!(out, "{space}{sign}")?;
        hms(value.micros, 2, out)?;
    }
    Ok(())
}

fn seconds_text(seconds: i64, micros: i64) -> String {
    let mut text = format!("{}", seconds.abs());
    fraction(micros.abs(), &mut text).expect("writing to a string");
    text
}

fn verbose<W: Write>(value: Interval, out: &mut W) -> fmt::Result {
    let (hours, minutes, seconds, micros) = split_time(value.micros);
    let parts = [
        (i64::from(value.months / 12), "year"),
        (i64::from(value.months % 12), "mon"),
        (i64::from(value.days), "day"),
        (hours, "hour"),
        (minutes, "min"),
    ];
    out.write_str("@")?;
    let (mut empty, mut before) = (true, false);
    for (number, name) in parts {
        if number == 0 {
            continue;
        }
        // The first part's sign becomes the trailing `ago`.
        if empty {
            before = number < 0;
        }
        let shown = if before { -number } else { number };
        let plural = if shown == 1 { "" } else { "s" };
        write!(out, " {shown} {name}{plural}")?;
        empty = false;
    }
    if seconds != 0 || micros != 0 {
        let negative = seconds < 0 || micros < 0;
        if empty {
            before = negative;
        }
        let sign = if negative == before { "" } else { "-" };
        let text = seconds_text(seconds, micros);
        let plural = if seconds.abs() == 1 && micros == 0 { "" } else { "s" };
        write!(out, " {sign}{text} sec{plural}")?;
        empty = false;
    }
    if empty {
        return out.write_str(" 0");
    }
    if before { out.write_str(" ago") } else { Ok(()) }
}

fn iso<W: Write>(value: Interval, out: &mut W) -> fmt::Result {
    if value == Interval::default() {
        return out.write_str("PT0S");
    }
    let (hours, minutes, seconds, micros) = split_time(value.micros);
    out.write_str("P")?;
    let mut part = |number: i64, letter: char| {
        if number == 0 { Ok(()) } else { write!(out, "{number}{letter}") }
    };
    part(i64::from(value.months / 12), 'Y')?;
    part(i64::from(value.months % 12), 'M')?;
    part(i64::from(value.days), 'D')?;
    if value.micros == 0 {
        return Ok(());
    }
    out.write_str("T")?;
    let mut part = |number: i64, letter: char| {
        if number == 0 { Ok(()) } else { write!(out, "{number}{letter}") }
    };
    part(hours, 'H')?;
    part(minutes, 'M')?;
    if seconds != 0 || micros != 0 {
        let sign = if value.micros < 0 { "-" } else { "" };
        write!(out, "{sign}{}S", seconds_text(seconds, micros))?;
    }
    Ok(())
}

fn standard<W: Write>(value: Interval, out: &mut W) -> fmt::Result {
    let (years, months) = (value.months / 12, value.months % 12);
    let has_date = value.days != 0;
    let has_time = value.micros != 0;
    let negative = value.months < 0 || value.days < 0 || value.micros < 0;
    let positive = value.months > 0 || value.days > 0 || value.micros > 0;
    let mixed = negative && positive || (value.months != 0 && (has_date || has_time));
    if value == Interval::default() {
        return out.write_str("0");
    }
    if mixed {
        let sign = |negative: bool| if negative { '-' } else { '+' };
        write!(out, "{}{}-{}", sign(value.months < 0), years.abs(), months.abs())?;
        write!(out, " {}{} ", sign(value.days < 0), value.days.unsigned_abs())?;
        write!(out, "{}", sign(value.micros < 0))?;
        return hms(value.micros, 1, out);
    }
    if negative {
        out.write_str("-")?;
    }
    if value.months != 0 {
        return write!(out, "{}-{}", years.abs(), months.abs());
    }
    if has_date {
        write!(out, "{} ", value.days.unsigned_abs())?;
    }
    hms(value.micros, 1, out)
}
