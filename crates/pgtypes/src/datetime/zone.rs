//! Time zones: by name, by abbreviation, by offset; and which offset holds when.
//!
//! Rules come from `chrono-tz` (IANA). Outside the years it knows (before 1800 and after 2099) the
//! offset is that of the year with the same calendar in its last 28 years, so that summer time goes
//! on for ever as in PostgreSQL.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Offset, TimeZone as _};
use chrono_tz::{OffsetComponents, OffsetName, Tz};

use super::civil;

/// A session's or a value's time zone.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum TimeZone {
    /// A zone of the IANA database.
    Named(Tz),
    /// Seconds east of Greenwich, and how `SHOW TimeZone` prints it.
    Fixed {
        /// Seconds east of Greenwich.
        east: i32,
        /// Spelling, e.g. `<+02>-02`.
        name: String,
    },
}

/// Seconds east of Greenwich of `+05:30` and its like.
pub fn offset_east(text: &str) -> Option<i32> {
    text.starts_with(['+', '-']).then(|| parse_offset(text)).flatten()
}

impl TimeZone {
    /// Universal time.
    pub fn utc() -> Self {
        Self::Named(Tz::UTC)
    }

    /// Seconds east of Greenwich, named as PostgreSQL names them (`<+02>-02`).
    pub fn fixed(east: i32) -> Self {
        let hours = east.abs() / 3600;
        let minutes = east.abs() / 60 % 60;
        let digits =
            if minutes == 0 { format!("{hours:02}") } else { format!("{hours:02}:{minutes:02}") };
        let (plus, minus) = if east < 0 { ('-', '+') } else { ('+', '-') };
        Self::Fixed { east, name: format!("<{plus}{digits}>{minus}{digits}") }
    }

    /// Reads what `SET TimeZone` takes: a name in any case, a number of hours, or a POSIX
    /// specification such as `UTC+3` (west of Greenwich is positive there).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(zone) = Self::named(text) {
            return Some(zone);
        }
        if let Ok(hours) = text.parse::<f64>() {
            return (hours.abs() <= 167.0).then(|| Self::fixed((hours * 3600.0).round() as i32));
        }
        if text.starts_with(['+', '-'])
            && let Some(east) = parse_offset(text)
        {
            // As POSIX has it: west of Greenwich is positive.
            return Some(Self::Fixed { east: -east, name: text.to_owned() });
        }
        let name_end = if let Some(rest) = text.strip_prefix('<') {
            rest.find('>')? + 2
        } else {
            text.find(|c: char| !c.is_ascii_alphabetic())?
        };
        if name_end < 3 {
            return None;
        }
        let west = parse_offset(&text[name_end..])?;
        Some(Self::Fixed { east: -west, name: text.to_owned() })
    }

    /// A zone of the IANA database, in any case.
    pub fn named(text: &str) -> Option<Self> {
        if let Ok(tz) = text.parse::<Tz>() {
            return Some(Self::Named(tz));
        }
        if text.eq_ignore_ascii_case("zulu") || text.eq_ignore_ascii_case("z") {
            return Some(Self::utc());
        }
        chrono_tz::TZ_VARIANTS
            .iter()
            .find(|tz| tz.name().eq_ignore_ascii_case(text))
            .map(|tz| Self::Named(*tz))
    }

    /// What `SHOW TimeZone` prints.
    pub fn name(&self) -> &str {
        match self {
            Self::Named(tz) => tz.name(),
            Self::Fixed { name, .. } => name,
        }
    }

    /// Seconds east of Greenwich at this instant (microseconds since 2000-01-01 UTC).
    pub fn offset_at(&self, utc_micros: i64) -> i32 {
        match self {
            Self::Fixed { east, .. } => *east,
            Self::Named(Tz::UTC) => 0,
            Self::Named(tz) => {
                tz.offset_from_utc_datetime(&naive(utc_micros)).fix().local_minus_utc()
            }
        }
    }

    /// The abbreviation in force (`CEST`), or the offset where the zone has none.
    pub fn abbreviation_at(&self, utc_micros: i64) -> String {
        match self {
            Self::Fixed { east, name } => match name.strip_prefix('<') {
                Some(rest) => rest.split('>').next().unwrap_or(rest).to_owned(),
                None if *east == 0 => "UTC".to_owned(),
                None => name.chars().take_while(char::is_ascii_alphabetic).collect(),
            },
            Self::Named(tz) => {
                let offset = tz.offset_from_utc_datetime(&naive(utc_micros));
                offset.abbreviation().unwrap_or(tz.name()).to_owned()
            }
        }
    }

    /// The offset that turns this local time into UTC, as PostgreSQL decides it: in the gap of
    /// spring and in the doubled hour of autumn, standard time.
    pub fn offset_of_local(&self, local_micros: i64) -> i32 {
        let tz = match self {
            Self::Fixed { east, .. } => return *east,
            Self::Named(Tz::UTC) => return 0,
            Self::Named(tz) => tz,
        };
        let local = naive(local_micros);
        match tz.offset_from_local_datetime(&local) {
            chrono::LocalResult::Single(offset) => offset.fix().local_minus_utc(),
            chrono::LocalResult::Ambiguous(first, second) => {
                let first_is_dst = !first.dst_offset().is_zero();
                let second_is_dst = !second.dst_offset().is_zero();
                // Two standard offsets (a zone moved): PostgreSQL takes the later rule.
                let chosen = if first_is_dst && !second_is_dst {
                    second
                } else if second_is_dst && !first_is_dst {
                    first
                } else {
                    second
                };
                chosen.fix().local_minus_utc()
            }
            chrono::LocalResult::None => {
                // A gap is shorter than a day: look at both sides of it.
                let day = chrono::Duration::days(1);
                let before = tz.offset_from_utc_datetime(&(local - day));
                let after = tz.offset_from_utc_datetime(&(local + day));
                if before.dst_offset().is_zero() || !after.dst_offset().is_zero() {
                    before.fix().local_minus_utc()
                } else {
                    after.fix().local_minus_utc()
                }
            }
        }
    }
}

/// A zone of the IANA database at an instant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZoneNow {
    /// Its name.
    pub name: &'static str,
    /// The abbreviation in force, or the offset where there is none.
    pub abbreviation: String,
    /// Seconds east of Greenwich.
    pub east: i32,
    /// Is it summer time?
    pub is_dst: bool,
}

/// All zones, at this instant (microseconds since 2000-01-01 UTC).
pub fn all_at(utc_micros: i64) -> Vec<ZoneNow> {
    let at = naive(utc_micros);
    let zone = |tz: &Tz| {
        let offset = tz.offset_from_utc_datetime(&at);
        ZoneNow {
            name: tz.name(),
            abbreviation: offset.abbreviation().unwrap_or(tz.name()).to_owned(),
            east: offset.fix().local_minus_utc(),
            is_dst: !offset.dst_offset().is_zero(),
        }
    };
    chrono_tz::TZ_VARIANTS.iter().map(zone).collect()
}

/// Chrono's form of an instant, moved by whole calendar cycles into the years with known rules.
fn naive(micros: i64) -> NaiveDateTime {
    let days = micros.div_euclid(civil::DAY_MICROS);
    let rest = micros.rem_euclid(civil::DAY_MICROS);
    let (mut year, month, day) = civil::date_of_days(days);
    if year > 2099 {
        // 28 years repeat the calendar between 1901 and 2099; 400 years always do.
        year = (year - 2000).rem_euclid(400) + 2000;
        let leap = civil::is_leap(year);
        let weekday = civil::days_of_date(year, 1, 1).rem_euclid(7);
        year = (2072..2100)
            .find(|&y| {
                civil::is_leap(y) == leap && civil::days_of_date(y, 1, 1).rem_euclid(7) == weekday
            })
            .expect("28 years hold every kind of year");
    } else if year < 1800 {
        year = if civil::is_leap(year) { 1796 } else { 1797 };
    }
    let date = NaiveDate::from_ymd_opt(year, month, day).expect("same calendar");
    let time = DateTime::from_timestamp_micros(rest).expect("within one day").time();
    date.and_time(time)
}

/// `+02`, `-0530`, `+5:30`, `+05:30:15`: seconds, sign as written.
pub fn parse_offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        b'0'..=b'9' => (1, text),
        _ => return None,
    };
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = digits.split(':').collect();
    if !parts.iter().all(|part| all_digits(part)) {
        return None;
    }
    let number = |s: &str| s.parse::<i32>().ok();
    let (h, m, s) = match parts.as_slice() {
        [one] => match one.len() {
            1 | 2 => (number(one)?, 0, 0),
            3 | 4 => (number(&one[..one.len() - 2])?, number(&one[one.len() - 2..])?, 0),
            6 => (number(&one[..2])?, number(&one[2..4])?, number(&one[4..])?),
            _ => return None,
        },
        [h, m] => (number(h)?, number(m)?, 0),
        [h, m, s] => (number(h)?, number(m)?, number(s)?),
        _ => return None,
    };
    if h > 15 || m > 59 || s > 59 {
        return None;
    }
    Some(sign * (h * 3600 + m * 60 + s))
}

/// Abbreviations PostgreSQL reads in dates and in AT TIME ZONE, with seconds east of Greenwich.
pub fn abbreviation_offset(text: &str) -> Option<i32> {
    const HOUR: i32 = 3600;
    const HALF: i32 = 1800;
    let upper = text.to_ascii_uppercase();
    Some(match upper.as_str() {
        "UTC" | "GMT" | "UT" | "Z" | "ZULU" | "UCT" | "WET" => 0,
        "CET" | "MET" | "BST" | "WEST" | "WAT" | "FRT" | "IST_" => HOUR,
        "CEST" | "MEST" | "METDST" | "EET" | "SAST" | "CAT" | "IST" => 2 * HOUR,
        "EEST" | "MSK" | "EAT" | "TRT" => 3 * HOUR,
        "MSD" => 4 * HOUR,
        "PKT" => 5 * HOUR,
        "NPT" => 5 * HOUR + 45 * 60,
        "ICT" => 7 * HOUR,
        "SGT" | "HKT" | "PHT" | "AWST" => 8 * HOUR,
        "JST" | "KST" => 9 * HOUR,
        "ACST" | "CST_AU" => 9 * HOUR + HALF,
        "ACDT" => 10 * HOUR + HALF,
        "AEST" => 10 * HOUR,
        "AEDT" => 11 * HOUR,
        "NZST" => 12 * HOUR,
        "NZDT" => 13 * HOUR,
        "AZOT" => -HOUR,
        "BRST" | "ADT" => {
            if upper == "ADT" {
                -3 * HOUR
            } else {
                -2 * HOUR
            }
        }
        "BRT" | "ART" => -3 * HOUR,
        "NST" => -3 * HOUR - HALF,
        "NDT" => -2 * HOUR - HALF,
        "AST" | "EDT" | "CLT" => -4 * HOUR,
        "EST" | "CDT" => -5 * HOUR,
        "CST" | "MDT" => -6 * HOUR,
        "MST" | "PDT" => -7 * HOUR,
        "PST" | "AKDT" => -8 * HOUR,
        "AKST" => -9 * HOUR,
        "HST" => -10 * HOUR,
        _ => return None,
    })
}
