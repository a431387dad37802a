//! `to_char` of timestamps and intervals.

use std::fmt::Write;

use super::picture::{Node, date};
use crate::datetime::civil;
use crate::datum::Interval;
use crate::error::{Result, TypeError, sqlstate};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const ROMAN_MONTHS: [&str; 12] =
    ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// What a template prints: a point in time, or a span.
pub(crate) struct Moment {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    /// Days since 2000, and the zone's offset and abbreviation; none of it for spans.
    days: i64,
    zone: Option<(i32, String)>,
    span: bool,
}

impl Moment {
    /// Of a local time, with the zone it is in for instants.
    pub(crate) fn local(local: i64, zone: Option<(i32, String)>) -> Self {
        let days = local.div_euclid(civil::DAY_MICROS);
        let time = local.rem_euclid(civil::DAY_MICROS);
        let (year, month, day) = civil::date_of_days(days);
        Self {
            year: i64::from(year),
            month: i64::from(month),
            day: i64::from(day),
            hour: time / 3_600_000_000,
            minute: time / 60_000_000 % 60,
            second: time / 1_000_000 % 60,
            micros: time % 1_000_000,
            days,
            zone,
            span: false,
        }
    }

    /// Of an interval.
    pub(crate) fn span(value: Interval) -> Self {
        let time = value.micros;
        Self {
            year: i64::from(value.months / 12),
            month: i64::from(value.months % 12),
            day: i64::from(value.days),
            hour: time / 3_600_000_000,
            minute: time / 60_000_000 % 60,
            second: time / 1_000_000 % 60,
            micros: time % 1_000_000,
            days: 0,
            zone: None,
            span: true,
        }
    }

    fn shown_year(&self) -> i64 {
        if self.span || self.year > 0 { self.year } else { 1 - self.year }
    }

    fn century(&self) -> i64 {
        if self.span {
            return self.year / 100;
        }
        if self.year > 0 { (self.year - 1) / 100 + 1 } else { self.year / 100 - 1 }
    }

    fn iso_year(&self) -> i64 {
        let year = i64::from(civil::iso_week(self.days).0);
        if year > 0 { year } else { 1 - year }
    }

    fn iso_day_of_year(&self) -> i64 {
        self.days - civil::iso_year_start(civil::iso_week(self.days).0) + 1
    }
}

/// `st`, `nd`, `rd`, `th` for the digits before it.
pub(super) fn ordinal(digits: &str, upper: bool) -> &'static str {
    let bytes: Vec<u8> = digits.bytes().filter(u8::is_ascii_digit).collect();
    let last = bytes.last().copied().unwrap_or(b'0');
    let teens = bytes.len() > 1 && bytes[bytes.len() - 2] == b'1';
    let (up, low) = match last {
        _ if teens => ("TH", "th"),
        b'1' => ("ST", "st"),
        b'2' => ("ND", "nd"),
        b'3' => ("RD", "rd"),
        _ => ("TH", "th"),
    };
    if upper { up } else { low }
}

fn cased(name: &str, key: &str, lower: bool) -> String {
    let mixed = key.chars().any(|c| c.is_ascii_lowercase());
    if lower {
        name.to_lowercase()
    } else if mixed {
        name.to_owned()
    } else {
        name.to_uppercase()
    }
}

/// Prints a moment by a template.
pub(crate) fn print(moment: &Moment, template: &str) -> Result<String> {
    let (nodes, _) = date(template);
    let mut out = String::new();
    for node in &nodes {
        match node {
            Node::Literal(c) | Node::Quoted(c) => out.push(*c),
            Node::Field { key, lower, fill, ordinal: suffix } => {
                let text = field(moment, key, *lower, *fill)?;
                out.push_str(&text);
                if let Some(upper) = suffix {
                    out.push_str(ordinal(&text, *upper));
                }
            }
        }
    }
    Ok(out)
}

/// A number with zeros up to `width`, sign included, none under `FM`.
fn narrow(value: i64, width: usize, fill: bool) -> String {
    if fill { value.to_string() } else { format!("{value:0width$}") }
}

/// A number with zeros up to `width`, none under `FM`; a sign takes one more place.
fn digits(value: i64, width: usize, fill: bool) -> String {
    if fill {
        return value.to_string();
    }
    let width = if value < 0 { width + 1 } else { width };
    format!("{value:0width$}")
}

fn padded(name: String, width: usize, fill: bool) -> String {
    if fill { name } else { format!("{name:<width$}") }
}

fn not_of_spans() -> TypeError {
    TypeError::new(sqlstate::INVALID_DATETIME, "invalid format specification for an interval value")
        .with_hint("Intervals are not tied to specific calendar dates.")
}

fn field(m: &Moment, key: &str, lower: bool, fill: bool) -> Result<String> {
    let calendar_only = matches!(
        key,
        "A.D."
            | "AD"
            | "B.C."
            | "BC"
            | "MONTH"
            | "Month"
            | "MON"
            | "Mon"
            | "DAY"
            | "Day"
            | "DY"
            | "Dy"
            | "D"
            | "ID"
            | "TZ"
            | "TZH"
            | "TZM"
            | "OF"
    );
    if m.span && calendar_only {
        return Err(not_of_spans());
    }
    if let Some(text) = clock(m, key, fill) {
        return Ok(text);
    }
    let weekday = civil::weekday(m.days) as usize;
    let month_name = || MONTHS[usize::try_from(m.month - 1).expect("1 to 12")];
    let case = |text: &str| if lower { text.to_lowercase() } else { text.to_owned() };
    Ok(match key {
        "A.M." | "P.M." => case(if m.hour % 24 >= 12 { "P.M." } else { "A.M." }),
        "AM" | "PM" => case(if m.hour % 24 >= 12 { "PM" } else { "AM" }),
        "A.D." | "B.C." => case(if m.year <= 0 { "B.C." } else { "A.D." }),
        "AD" | "BC" => case(if m.year <= 0 { "BC" } else { "AD" }),
        "MONTH" | "Month" => padded(cased(month_name(), key, lower), 9, fill),
        "MON" | "Mon" => cased(&month_name()[..3], key, lower),
        "DAY" | "Day" => padded(cased(DAYS[weekday], key, lower), 9, fill),
        "DY" | "Dy" => cased(&DAYS[weekday][..3], key, lower),
        "MM" => digits(m.month, 2, fill),
        "DDD" if m.span => narrow(m.year * 360 + m.month * 30 + m.day, 3, fill),
        "DDD" => narrow(civil::day_of_year(m.days), 3, fill),
        "IDDD" => digits(m.iso_day_of_year(), 3, fill),
        "DD" => narrow(m.day, 2, fill),
        "D" => (weekday + 1).to_string(),
        "ID" => if weekday == 0 { 7 } else { weekday }.to_string(),
        "WW" if m.span => narrow((m.year * 360 + m.month * 30 + m.day - 1) / 7 + 1, 2, fill),
        "WW" => digits((civil::day_of_year(m.days) - 1) / 7 + 1, 2, fill),
        "IW" => digits(civil::iso_week(m.days).1, 2, fill),
        "W" => ((m.day - 1) / 7 + 1).to_string(),
        "Q" if m.month == 0 => String::new(),
        "Q" => ((m.month - 1) / 3 + 1).to_string(),
        "CC" => digits(m.century(), 2, fill),
        "Y,YYY" => {
            let year = m.shown_year();
            if fill && year < 1000 {
                year.to_string()
            } else {
                format!("{},{:03}", year / 1000, year % 1000)
            }
        }
        "YYYY" => digits(m.shown_year(), 4, fill),
        "IYYY" => digits(m.iso_year(), 4, fill),
        "YYY" => digits(m.shown_year() % 1000, 3, fill),
        "IYY" => digits(m.iso_year() % 1000, 3, fill),
        "YY" => digits(m.shown_year() % 100, 2, fill),
        "IY" => digits(m.iso_year() % 100, 2, fill),
        "Y" => (m.shown_year() % 10).to_string(),
        "I" => (m.iso_year() % 10).to_string(),
        "RM" if m.month == 0 => String::new(),
        "RM" => {
            let at = usize::try_from(m.month.rem_euclid(12) + 11).expect("positive") % 12;
            padded(case(ROMAN_MONTHS[at]), 4, fill)
        }
        "J" => {
            let days = if m.span { m.year * 365 + m.month * 30 + m.day } else { m.days };
            (days + if m.span { 0 } else { civil::JULIAN_2000 }).to_string()
        }
        _ => zone(m, key, lower),
    })
}

fn clock(m: &Moment, key: &str, fill: bool) -> Option<String> {
    let of_day = (m.hour * 3600 + m.minute * 60 + m.second).to_string();
    Some(match key {
        "HH" | "HH12" => {
            let hour = if m.hour % 12 == 0 { 12 } else { m.hour % 12 };
            digits(hour, 2, fill)
        }
        "HH24" => digits(m.hour, 2, fill),
        "MI" => digits(m.minute, 2, fill),
        "SS" => digits(m.second, 2, fill),
        "MS" => format!("{:03}", m.micros / 1000),
        "US" => format!("{:06}", m.micros),
        "SSSS" | "SSSSS" => of_day,
        _ => {
            let places: u32 = key.strip_prefix("FF")?.parse().ok()?;
            let width = places as usize;
            format!("{:0width$}", m.micros / 10i64.pow(6 - places))
        }
    })
}

fn zone(m: &Moment, key: &str, lower: bool) -> String {
    let Some((east, name)) = &m.zone else {
        // A timestamp without zone has an offset of 0 and no name.
        return match key {
            "TZH" | "OF" => "+00".to_owned(),
            "TZM" => "00".to_owned(),
            _ => String::new(),
        };
    };
    let sign = if *east < 0 { '-' } else { '+' };
    let (hours, minutes) = (east.unsigned_abs() / 3600, east.unsigned_abs() / 60 % 60);
    match key {
        "TZ" if lower => name.to_lowercase(),
        "TZ" => name.clone(),
        "TZH" => format!("{sign}{hours:02}"),
        "TZM" => format!("{minutes:02}"),
        _ => {
            let mut out = format!("{sign}{hours:02}");
            if minutes != 0 {
                write!(out, ":{minutes:02}").expect("writing to a string");
            }
            out
        }
    }
}
