//! Reading intervals, and applying their modifiers.

pub use super::interval_out::print;

use super::civil::DAY_MICROS;
use super::tokens::{Kind, Token, split};
use super::words::fraction_micros;
use crate::datum::Interval;
use crate::env::IntervalStyle;
use crate::error::{Result, TypeError, sqlstate};
use crate::typmod::interval_field as field;

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;

/// What a unit counts in.
#[derive(Clone, Copy)]
enum Unit {
    Months(i64),
    Days(i64),
    Micros(i64),
}

fn unit(word: &str) -> Option<Unit> {
    Some(match word {
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds"
        | "microsecon" => Unit::Micros(1),
        "ms" | "msec" | "msecs" | "mseconds" | "millisecond" | "milliseconds" | "millisecon" => {
            Unit::Micros(1000)
        }
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Micros(SECOND),
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Micros(MINUTE),
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Micros(HOUR),
        "d" | "day" | "days" => Unit::Days(1),
        "w" | "week" | "weeks" => Unit::Days(7),
        "mon" | "mons" | "month" | "months" => Unit::Months(1),
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Months(12),
        "dec" | "decs" | "decade" | "decades" => Unit::Months(120),
        "c" | "cent" | "century" | "centuries" => Unit::Months(1200),
        "mil" | "mils" | "millennia" | "millennium" => Unit::Months(12_000),
        _ => return None,
    })
}

/// The unit a bare number has under `interval … <fields>`.
fn default_unit(fields: i32) -> Unit {
    match fields {
        field::YEAR => Unit::Months(12),
        _ if fields == field::MONTH || fields == (field::YEAR | field::MONTH) => Unit::Months(1),
        field::DAY => Unit::Days(1),
        _ if fields == field::HOUR || fields == (field::DAY | field::HOUR) => Unit::Micros(HOUR),
        _ if fields == field::MINUTE
            || fields == (field::HOUR | field::MINUTE)
            || fields == (field::DAY | field::HOUR | field::MINUTE) =>
        {
            Unit::Micros(MINUTE)
        }
        _ => Unit::Micros(SECOND),
    }
}

/// An interval under construction, in wide integers.
#[derive(Default)]
struct Sum {
    months: i64,
    days: i64,
    micros: i64,
    /// Units seen, one bit each: none may come twice.
    seen: u32,
}

impl Sum {
    /// Notes a unit; `None` if it was there before.
    fn once(&mut self, unit: Unit) -> Option<()> {
        let bit = match unit {
            Unit::Months(n) => 1 << n.ilog2(),
            Unit::Days(n) => 1 << (16 + n.ilog2()),
            Unit::Micros(n) => 1 << (20 + n.ilog10()),
        };
        if self.seen & bit != 0 {
            return None;
        }
        self.seen |= bit;
        Some(())
    }

    /// Adds `whole.fraction` of a unit; fractions spill into smaller units as in PostgreSQL.
    fn add(&mut self, negative: bool, whole: i64, fraction: &str, unit: Unit) -> Option<()> {
        let sign = if negative { -1 } else { 1 };
        let part: f64 = if fraction.is_empty() {
            0.0
        } else {
            format!("0.{fraction}").parse::<f64>().ok()? * sign as f64
        };
        let whole = whole.checked_mul(sign)?;
        match unit {
            Unit::Months(n) => {
                self.months = self.months.checked_add(whole.checked_mul(n)?)?;
                if n == 1 {
                    self.add_fraction_days(part * 30.0)?;
                } else {
                    let rest = (part * n as f64).round_ties_even() as i64;
                    self.months = self.months.checked_add(rest)?;
                }
            }
            Unit::Days(n) => {
                self.days = self.days.checked_add(whole.checked_mul(n)?)?;
                self.add_fraction_days(part * n as f64)?;
            }
            Unit::Micros(n) => {
                let rest = (part * n as f64).round_ties_even() as i64;
                self.micros = self.micros.checked_add(whole.checked_mul(n)?)?.checked_add(rest)?;
            }
        }
        Some(())
    }

    fn add_fraction_days(&mut self, days: f64) -> Option<()> {
        let whole = days.trunc();
        self.days = self.days.checked_add(whole as i64)?;
        let rest = ((days - whole) * DAY_MICROS as f64).round_ties_even() as i64;
        self.micros = self.micros.checked_add(rest)?;
        Some(())
    }

    fn finish(self, input: &str) -> Result<Interval> {
        let narrow = |value: i64| i32::try_from(value).map_err(|_| field_overflow(input));
        Ok(Interval {
            months: i32::try_from(self.months).map_err(|_| super::interval_out_of_range())?,
            days: narrow(self.days)?,
            micros: self.micros,
        })
    }
}

fn field_overflow(input: &str) -> TypeError {
    TypeError::new(
        sqlstate::INTERVAL_OVERFLOW,
        format!("interval field value out of range: \"{input}\""),
    )
}

fn syntax(input: &str) -> TypeError {
    TypeError::new(
        sqlstate::INVALID_DATETIME,
        format!("invalid input syntax for type interval: \"{input}\""),
    )
}

/// Reads an interval. `fields` is the mask of `interval <fields>`, or `FULL_RANGE`.
pub fn parse(input: &str, fields: i32, style: IntervalStyle) -> Result<Interval> {
    let text = input.trim();
    if text.starts_with('P') {
        return iso8601(text).ok_or_else(|| syntax(input))?.finish(input);
    }
    let tokens = split(text).ok_or_else(|| syntax(input))?;
    if tokens.is_empty() {
        return Err(syntax(input));
    }
    let mut sum = Sum::default();
    let standard_sign = style == IntervalStyle::SqlStandard
        && text.starts_with('-')
        && tokens.iter().skip(1).all(|token| token.kind != Kind::Zone);
    // `ago` turns all of it around, wherever it stands.
    let count = tokens.len();
    let tokens: Vec<Token> = tokens
        .into_iter()
        .filter(|token| !(token.kind == Kind::Word && token.text == "ago"))
        .collect();
    let ago = tokens.len() < count;
    if tokens.is_empty() {
        return Err(syntax(input));
    }
    let mut at = 0;
    while at < tokens.len() {
        at += one_field(&tokens, at, fields, &mut sum, standard_sign && at > 0)
            .ok_or_else(|| syntax(input))?
            .map_err(|Overflow| field_overflow(input))?;
    }
    if ago {
        sum = Sum {
            months: sum.months.checked_neg().ok_or_else(|| field_overflow(input))?,
            days: sum.days.checked_neg().ok_or_else(|| field_overflow(input))?,
            micros: sum.micros.checked_neg().ok_or_else(|| field_overflow(input))?,
            ..sum
        };
    }
    sum.finish(input)
}

struct Overflow;

type FieldResult = Option<Result<usize, Overflow>>;

/// Adds the field at `at`; `None` is a syntax error. Returns how many tokens it used.
fn one_field(tokens: &[Token], at: usize, fields: i32, sum: &mut Sum, negate: bool) -> FieldResult {
    let token = &tokens[at];
    let (negative, body) = match token.kind {
        Kind::Zone => (token.text.starts_with('-'), &token.text[1..]),
        Kind::Number | Kind::Time | Kind::Date => (negate, token.text.as_str()),
        Kind::Word | Kind::Special => return None,
    };
    if body.contains(':') {
        let micros = clock(body, fields)?;
        let added =
            if negative { sum.micros.checked_sub(micros) } else { sum.micros.checked_add(micros) };
        return Some(added.map(|micros| sum.micros = micros).ok_or(Overflow).map(|()| 1));
    }
    if let Some((years, months)) = body.split_once('-') {
        // SQL's year-month literal.
        let (years, months): (i64, i64) = (years.parse().ok()?, months.parse().ok()?);
        if !(0..12).contains(&months) {
            return Some(Err(Overflow));
        }
        let total = years.checked_mul(12).and_then(|total| total.checked_add(months));
        let total = total.map(|total| if negative { -total } else { total });
        let added = total.and_then(|total| sum.months.checked_add(total));
        return Some(added.map(|months| sum.months = months).ok_or(Overflow).map(|()| 1));
    }
    let (whole, part) = body.split_once('.').unwrap_or((body, ""));
    if !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole = if whole.is_empty() { Ok(0) } else { whole.parse::<i64>() };
    let Ok(whole) = whole else {
        return body.bytes().all(|b| b.is_ascii_digit() || b == b'.').then_some(Err(Overflow));
    };
    let (unit, used) = match tokens.get(at + 1) {
        Some(next) if next.kind == Kind::Word => (unit(&next.text)?, 2),
        // `1 02:03:04`: days before a time.
        Some(next)
            if next.kind == Kind::Time || (next.kind == Kind::Zone && next.text.contains(':')) =>
        {
            (Unit::Days(1), 1)
        }
        Some(_) => return None,
        None => (default_unit(fields), 1),
    };
    sum.once(unit)?;
    Some(sum.add(negative, whole, part, unit).ok_or(Overflow).map(|()| used))
}

/// `HH:MM[:SS[.f]]`, or `MM:SS` under `minute to second` and with a fraction; any number of hours.
fn clock(text: &str, fields: i32) -> Option<i64> {
    let parts: Vec<&str> = text.split(':').collect();
    let number = |part: &str| part.parse::<i64>().ok().filter(|_| !part.starts_with(['+', '-']));
    let seconds = |part: &str| {
        let (whole, fraction) = part.split_once('.').unwrap_or((part, ""));
        number(whole)?.checked_mul(SECOND)?.checked_add(fraction_micros(fraction)?)
    };
    let (hours, minutes, micros) = match parts.as_slice() {
        [minutes, rest] if fields == (field::MINUTE | field::SECOND) || rest.contains('.') => {
            (0, number(minutes)?, seconds(rest)?)
        }
        [hours, minutes] => (number(hours)?, number(minutes)?, 0),
        [hours, minutes, rest] => (number(hours)?, number(minutes)?, seconds(rest)?),
        _ => return None,
    };
    if minutes > 59 || micros > 60 * SECOND {
        return None;
    }
    hours.checked_mul(HOUR)?.checked_add(minutes * MINUTE)?.checked_add(micros)
}

/// `P1Y2M3DT4H5M6.7S`, signs allowed on each number; also `P0001-02-03T04:05:06`.
fn iso8601(text: &str) -> Option<Sum> {
    let mut rest = &text[1..];
    let mut in_time = false;
    let mut sum = Sum::default();
    if rest.is_empty() {
        return None;
    }
    if let Some(alternative) = iso8601_alternative(rest) {
        return Some(alternative);
    }
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            in_time = true;
            rest = after;
            continue;
        }
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+'))?;
        let (number, tail) = rest.split_at(end);
        let negative = number.starts_with('-');
        let (whole, part) = number
            .trim_start_matches(['+', '-'])
            .split_once('.')
            .unwrap_or((number.trim_start_matches(['+', '-']), ""));
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let unit = match (tail.as_bytes()[0], in_time) {
            (b'Y', false) => Unit::Months(12),
            (b'M', false) => Unit::Months(1),
            (b'W', false) => Unit::Days(7),
            (b'D', false) => Unit::Days(1),
            (b'H', true) => Unit::Micros(HOUR),
            (b'M', true) => Unit::Micros(MINUTE),
            (b'S', true) => Unit::Micros(SECOND),
            _ => return None,
        };
        sum.add(negative, whole, part, unit)?;
        rest = &tail[1..];
    }
    Some(sum)
}

/// `0001-02-03T04:05:06`
fn iso8601_alternative(text: &str) -> Option<Sum> {
    let (date, time) = text.split_once('T').unwrap_or((text, ""));
    let mut parts = date.split('-').map(|part| part.parse::<i64>().ok());
    let (years, months, days) = (parts.next()??, parts.next()??, parts.next()??);
    let micros = if time.is_empty() { 0 } else { clock(time, field::FULL_RANGE)? };
    Some(Sum { months: years.checked_mul(12)?.checked_add(months)?, days, micros, seen: 0 })
}

/// Cuts to the fields and rounds to the digits of a modifier.
pub fn apply_typmod(value: Interval, typmod: i32) -> Interval {
    if typmod < 0 {
        return value;
    }
    let Interval { mut months, mut days, mut micros } = value;
    let to = |unit: i64| micros / unit * unit;
    match (typmod >> 16) & field::FULL_RANGE {
        field::YEAR => (months, days, micros) = (months / 12 * 12, 0, 0),
        f if f == field::MONTH || f == (field::YEAR | field::MONTH) => (days, micros) = (0, 0),
        field::DAY => micros = 0,
        f if f == field::HOUR || f == (field::DAY | field::HOUR) => micros = to(HOUR),
        f if f == field::MINUTE
            || f == (field::HOUR | field::MINUTE)
            || f == (field::DAY | field::HOUR | field::MINUTE) =>
        {
            micros = to(MINUTE);
        }
        _ => {}
    }
    let precision = typmod & field::FULL_PRECISION;
    if let Some(digits) = u32::try_from(precision).ok().filter(|&digits| digits < 6) {
        micros = super::round_micros(micros, digits);
    }
    Interval { months, days, micros }
}
