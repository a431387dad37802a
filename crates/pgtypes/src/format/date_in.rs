//! `to_date` and `to_timestamp`: reading by a template.

use super::picture::{Node, date};
use super::reader::Reader;
use crate::datetime::civil;
use crate::error::{Result, TypeError, sqlstate};

/// What was read: days since 2000, microseconds of the day, and an offset if the template has one.
pub(crate) struct Parsed {
    pub(crate) days: i64,
    pub(crate) micros: i64,
    pub(crate) east: Option<i32>,
}

#[derive(Default)]
struct Fields {
    year: Option<i64>,
    short_year: bool,
    bc: bool,
    century: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    week: Option<i64>,
    week_of_month: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    iso_day: Option<i64>,
    julian: Option<i64>,
    hour: i64,
    half_day: bool,
    pm: Option<bool>,
    minute: i64,
    second: i64,
    micros: i64,
    of_day: Option<i64>,
    zone_sign: i32,
    zone: Option<(i32, i32)>,
    /// The separator skipped last: a minus may be the sign of a zone.
    skipped: Option<char>,
    /// Keys read and their values, none of which may come again with another one.
    read: Vec<(&'static str, i64)>,
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const DAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const ROMAN: [&str; 12] =
    ["xii", "viii", "vii", "iii", "vi", "iv", "ix", "xi", "ii", "i", "v", "x"];
const ROMAN_MONTH: [i64; 12] = [12, 8, 7, 3, 6, 4, 9, 11, 2, 1, 5, 10];

fn is_separator(c: char) -> bool {
    c.is_ascii_punctuation()
}

fn is_digits(key: &str) -> bool {
    !matches!(
        key,
        "A.D."
            | "A.M."
            | "AD"
            | "AM"
            | "B.C."
            | "BC"
            | "P.M."
            | "PM"
            | "DAY"
            | "Day"
            | "DY"
            | "Dy"
            | "MONTH"
            | "Month"
            | "MON"
            | "Mon"
            | "RM"
            | "TZ"
            | "TZH"
            | "OF"
    )
}

/// Reads `input` by a template.
pub(crate) fn parse(input: &str, template: &str) -> Result<Parsed> {
    let (nodes, exact) = date(template);
    refuse_mixture(&nodes)?;
    let mut reader = Reader { input, at: 0 };
    let mut fields = Fields::default();
    // Spaces read beyond those the template has; fewer is negative.
    let mut extra = 0i64;
    for (i, node) in nodes.iter().enumerate() {
        match node {
            Node::Literal(c) if !exact && (is_separator(*c) || c.is_whitespace()) => {
                extra -= 1;
                if let Some(c) = reader.peek().filter(|c| c.is_whitespace() || is_separator(*c)) {
                    fields.skipped = Some(c);
                    reader.skip();
                    extra += 1;
                }
            }
            Node::Literal(_) | Node::Quoted(_) => {
                if extra > 0 && !exact {
                    extra -= 1;
                } else {
                    reader.skip();
                }
            }
            Node::Field { key, fill, ordinal, .. } => {
                let followed = matches!(
                    nodes.get(i + 1),
                    Some(Node::Field { key, .. }) if is_digits(key)
                );
                let fixed = followed && ordinal.is_none() && !(*fill);
                read(&mut reader, &mut fields, key, fixed)?;
                if ordinal.is_some() {
                    reader.skip();
                    reader.skip();
                }
                fields.skipped = None;
                extra = if exact { 0 } else { reader.spaces() };
            }
        }
    }
    finish(&fields, input)
}

/// 22007 for a template that counts by the calendar and by ISO weeks.
fn refuse_mixture(nodes: &[Node]) -> Result<()> {
    let any = |keys: &[&str]| {
        nodes.iter().any(|node| matches!(node, Node::Field { key, .. } if keys.contains(key)))
    };
    let iso = any(&["IYYY", "IYY", "IY", "I", "IDDD", "ID", "IW"]);
    let calendar = any(&[
        "YYYY", "YYY", "YY", "Y", "Y,YYY", "CC", "DD", "DDD", "D", "MM", "MON", "Mon", "MONTH",
        "Month", "RM", "W", "WW", "J", "Q",
    ]);
    if iso && calendar {
        return Err(TypeError::new(
            sqlstate::INVALID_DATETIME,
            "invalid combination of date conventions",
        )
        .with_hint(
            "Do not mix Gregorian and ISO week date conventions in a formatting template.",
        ));
    }
    Ok(())
}

fn partial_year(year: i64, digits: usize) -> i64 {
    match year {
        _ if digits > 3 => year,
        0..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        _ => year,
    }
}

fn read(r: &mut Reader<'_>, f: &mut Fields, key: &'static str, fixed: bool) -> Result<()> {
    match key {
        "A.D." | "AD" | "B.C." | "BC" => {
            f.bc = r.word(key, &["b.c.", "bc", "a.d.", "ad"])? < 2;
        }
        "A.M." | "AM" | "P.M." | "PM" => {
            f.pm = Some(r.word(key, &["p.m.", "pm", "a.m.", "am"])? < 2);
            f.half_day = true;
        }
        "MONTH" | "Month" => f.month = Some(r.word(key, &MONTHS)? as i64 + 1),
        "MON" | "Mon" => {
            let short: Vec<&str> = MONTHS.iter().map(|name| &name[..3]).collect();
            f.month = Some(r.word(key, &short)? as i64 + 1);
        }
        "DAY" | "Day" => {
            r.word(key, &DAYS)?;
        }
        "DY" | "Dy" => {
            let short: Vec<&str> = DAYS.iter().map(|name| &name[..3]).collect();
            r.word(key, &short)?;
        }
        "RM" => f.month = Some(ROMAN_MONTH[r.word(key, &ROMAN)?]),
        "TZ" => {
            return Err(TypeError::not_supported(
                "formatting field \"TZ\" is only supported in to_char",
            ));
        }
        "OF" => {
            return Err(TypeError::not_supported(
                "formatting field \"OF\" is only supported in to_char",
            ));
        }
        "TZH" => {
            // The minus may have been taken for a separator.
            let minus = r.peek() == Some('-') || f.skipped == Some('-');
            f.zone_sign = if minus { -1 } else { 1 };
            if r.peek().is_some_and(|c| matches!(c, '+' | '-' | ' ')) {
                r.skip();
            }
            let (hours, _) = r.number(key, true)?;
            if hours > 15 {
                return Err(TypeError::new(
                    sqlstate::ZONE_DISPLACEMENT,
                    format!("time zone displacement out of range: \"{}\"", r.input),
                ));
            }
            f.zone = Some((i32::try_from(hours).expect("two digits"), 0));
        }
        "Y,YYY" => {
            let (thousands, _) = r.number(key, false)?;
            r.skip();
            let (rest, _) = r.number(key, fixed)?;
            f.year = Some(thousands * 1000 + rest);
        }
        _ => {
            let (value, digits) = r.number(key, fixed)?;
            if digits > 0 {
                if f.read.iter().any(|(known, other)| *known == key && *other != value) {
                    return Err(TypeError::new(
                        sqlstate::INVALID_DATETIME,
                        format!("conflicting values for \"{key}\" field in formatting string"),
                    )
                    .with_detail(
                        "This value contradicts a previous setting for the same field type.",
                    ));
                }
                f.read.push((key, value));
                number(f, key, value, digits);
            }
        }
    }
    Ok(())
}

fn number(f: &mut Fields, key: &str, value: i64, digits: usize) {
    let fraction = |digits: usize| {
        let power = u32::try_from(digits).expect("few");
        if power <= 6 { value * 10i64.pow(6 - power) } else { value / 10i64.pow(power - 6) }
    };
    match key {
        "YYYY" => f.year = Some(value),
        "YYY" | "YY" | "Y" => {
            f.year = Some(partial_year(value, digits));
            f.short_year = digits <= 2;
        }
        "IYYY" => f.iso_year = Some(value),
        "IYY" | "IY" | "I" => f.iso_year = Some(partial_year(value, digits)),
        "CC" => f.century = Some(value),
        "MM" => f.month = Some(value),
        "DD" => f.day = Some(value),
        "DDD" => f.day_of_year = Some(value),
        "IDDD" => f.day_of_year = Some(value),
        "ID" => f.iso_day = Some(value),
        "WW" => f.week = Some(value),
        "W" => f.week_of_month = Some(value),
        "IW" => f.iso_week = Some(value),
        "J" => f.julian = Some(value),
        "HH" | "HH12" => (f.hour, f.half_day) = (value, true),
        "HH24" => f.hour = value,
        "MI" => f.minute = value,
        "SS" => f.second = value,
        "SSSS" | "SSSSS" => f.of_day = Some(value),
        "MS" => f.micros += fraction(digits),
        "US" => f.micros += fraction(digits),
        "TZM" => {
            let hours = f.zone.map_or(0, |(hours, _)| hours);
            f.zone = Some((hours, i32::try_from(value).unwrap_or(0)));
        }
        // Q and D are read and mean nothing.
        _ if key.starts_with("FF") => f.micros += fraction(digits),
        _ => {}
    }
}

fn out_of_range(input: &str) -> TypeError {
    TypeError::new(
        sqlstate::DATETIME_OVERFLOW,
        format!("date/time field value out of range: \"{input}\""),
    )
}

fn finish(f: &Fields, input: &str) -> Result<Parsed> {
    let range = || out_of_range(input);
    let mut hour = f.hour;
    if f.half_day {
        // A template with AM or PM and no hour leaves 0.
        let read = f.read.iter().any(|(key, _)| matches!(*key, "HH" | "HH12" | "HH24"));
        if !(1..=12).contains(&hour) && (read || hour != 0) {
            return Err(TypeError::new(
                sqlstate::INVALID_DATETIME,
                format!("hour \"{hour}\" is invalid for the 12-hour clock"),
            )
            .with_hint("Use the 24-hour clock, or give an hour between 1 and 12."));
        }
        match f.pm {
            Some(true) if hour < 12 => hour += 12,
            Some(false) if hour == 12 => hour = 0,
            _ => {}
        }
    }
    let (minute, second) = (f.minute, f.second);
    let mut micros = (hour * 3600 + minute * 60 + second) * 1_000_000 + f.micros;
    if let Some(of_day) = f.of_day {
        micros = of_day * 1_000_000 + f.micros;
    }
    let clock_ok = (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && (0..=civil::DAY_MICROS).contains(&micros);
    if !clock_ok {
        return Err(range());
    }
    let east = f.zone.map(|(h, m)| f.zone_sign.signum().min(1) * (h * 3600 + m * 60));
    Ok(Parsed { days: day(f).ok_or_else(range)?, micros, east })
}

fn day(f: &Fields) -> Option<i64> {
    if let Some(julian) = f.julian {
        return Some(julian - civil::JULIAN_2000);
    }
    if let Some(year) = f.iso_year {
        let start = civil::iso_year_start(i32::try_from(year).ok()?);
        if let Some(day) = f.day_of_year {
            return Some(start + day - 1);
        }
        let week = f.iso_week.unwrap_or(1);
        if !(1..=53).contains(&week) {
            return None;
        }
        return Some(start + (week - 1) * 7 + f.iso_day.unwrap_or(1) - 1);
    }
    let mut year = match (f.year, f.century) {
        (Some(year), Some(century)) if f.short_year => match year % 100 {
            0 => century * 100,
            part => (century - 1) * 100 + part,
        },
        (Some(year), _) => year,
        (None, Some(century)) => (century - 1) * 100 + 1,
        // No year at all is 1 BC, as in PostgreSQL.
        (None, None) => 0,
    };
    if f.bc && year > 0 {
        year = 1 - year;
    } else if year < 0 {
        year += 1;
    }
    let year = i32::try_from(year).ok()?;
    if let (Some(day), None) = (f.day_of_year, f.month) {
        let days = if civil::is_leap(year) { 366 } else { 365 };
        return (1..=days).contains(&day).then(|| civil::days_of_date(year, 1, 1) + day - 1);
    }
    if let Some(week) = f.week {
        return Some(civil::days_of_date(year, 1, 1) + (week - 1) * 7);
    }
    // Month 0 is none.
    let month = u32::try_from(f.month.filter(|month| *month != 0).unwrap_or(1))
        .ok()
        .filter(|m| (1..=12).contains(m))?;
    let day = match (f.day, f.week_of_month) {
        (None, Some(week)) => (week - 1) * 7 + 1,
        (day, _) => day.unwrap_or(1),
    };
    let day = u32::try_from(day).ok()?;
    let last = civil::days_in_month(year, month);
    (1..=last).contains(&day).then(|| civil::days_of_date(year, month, day))
}
