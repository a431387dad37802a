//! Names of months and days, and the clock, as date and time input spells them.

use super::civil;
use super::fields::{Bad, Step};

/// 1 to 12 for `jan`, `january`, `sept`; lower case.
pub(super) fn month_by_name(word: &str) -> Option<u32> {
    const NAMES: [&str; 12] = [
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
    if word == "sept" {
        return Some(9);
    }
    let at = NAMES.iter().position(|name| *name == word || name[..3] == *word)?;
    u32::try_from(at + 1).ok()
}

pub(super) fn is_weekday(word: &str) -> bool {
    const NAMES: [&str; 7] =
        ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    matches!(word, "tues" | "wednes" | "weds" | "thur" | "thurs")
        || NAMES.iter().any(|name| *name == word || name[..3] == *word)
}

/// Microseconds since midnight of `HH:MM[:SS[.f]]`; 24:00 and second 60 allowed.
pub(super) fn clock(text: &str) -> Step<i64> {
    let mut parts = text.split(':');
    let number = |part: Option<&str>| -> Step<i64> {
        let part = part.ok_or(Bad::Syntax)?;
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Bad::Syntax);
        }
        part.parse().map_err(|_| Bad::Range)
    };
    let hours = number(parts.next())?;
    let mut minute_text = parts.next();
    let mut second_text = parts.next();
    if parts.next().is_some() {
        return Err(Bad::Syntax);
    }
    // `12:34.5` is minutes and seconds to an interval only; here a fraction needs seconds.
    if second_text.is_none() && minute_text.is_some_and(|m| m.contains('.')) {
        return Err(Bad::Syntax);
    }
    let minutes = number(minute_text.take())?;
    let (seconds, micros) = match second_text.take() {
        None => (0, 0),
        Some(text) => {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            (number(Some(whole))?, fraction_micros(fraction).ok_or(Bad::Syntax)?)
        }
    };
    if hours > 24 || minutes > 59 || seconds > 60 {
        return Err(Bad::Range);
    }
    let total = (hours * 3600 + minutes * 60 + seconds) * 1_000_000 + micros;
    if total > civil::DAY_MICROS { Err(Bad::Range) } else { Ok(total) }
}

/// Digits after a point as microseconds, rounded half to even as the C library's double does.
pub(super) fn fraction_micros(digits: &str) -> Option<i64> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if digits.is_empty() {
        return Some(0);
    }
    let value: f64 = format!("0.{digits}").parse().ok()?;
    Some((value * 1_000_000.0).round_ties_even() as i64)
}
