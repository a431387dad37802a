//! What the fields of date and time input mean: by their looks and by what was seen before.

use super::tokens::{Kind, Token, split};
use super::words::{clock, fraction_micros, is_weekday, month_by_name};
use super::zone::{TimeZone, abbreviation_offset, parse_offset};
use super::{civil, utc_to_local};
use crate::env::{DateOrder, EvalEnv};
use crate::error::{TypeError, sqlstate};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    Infinity,
    NegInfinity,
    Epoch,
    Now,
}

#[derive(Clone)]
pub(super) enum Zone {
    Offset(i32),
    Named(TimeZone),
}

#[derive(Default)]
pub(super) struct Fields {
    pub(super) special: Option<Special>,
    date: DateFields,
    pub(super) time: Option<i64>,
    pub(super) zone: Option<Zone>,
    bc: bool,
    pm: Option<bool>,
    /// `today` and its like name a day without numbers.
    relative_day: Option<i64>,
    time_prefix: bool,
}

#[derive(Default, Clone, Copy)]
pub(super) struct DateFields {
    year: Option<i32>,
    two_digit_year: bool,
    month: Option<u32>,
    /// The month was a word.
    month_named: bool,
    day: Option<u32>,
    julian: Option<i64>,
}

impl DateFields {
    fn complete(&self) -> bool {
        self.julian.is_some() || (self.year.is_some() && self.month.is_some() && self.day.is_some())
    }
}

/// Why reading stopped; the reader of the type adds its name and the input.
pub(super) enum Bad {
    Syntax,
    Range,
    RangeMonthDay,
    ZoneRange,
    ZoneName(String),
}

impl Bad {
    pub(super) fn error(self, type_name: &str, input: &str) -> TypeError {
        let overflow = |message: String| TypeError::new(sqlstate::DATETIME_OVERFLOW, message);
        match self {
            Self::Syntax => TypeError::new(
                sqlstate::INVALID_DATETIME,
                format!("invalid input syntax for type {type_name}: \"{input}\""),
            ),
            Self::Range => overflow(format!("date/time field value out of range: \"{input}\"")),
            Self::RangeMonthDay => {
                overflow(format!("date/time field value out of range: \"{input}\""))
                    .with_hint("Perhaps you need a different \"datestyle\" setting.")
            }
            Self::ZoneRange => {
                TypeError::new("22009", format!("time zone displacement out of range: \"{input}\""))
            }
            Self::ZoneName(name) => TypeError::new(
                sqlstate::INVALID_PARAMETER,
                format!("time zone \"{name}\" not recognized"),
            ),
        }
    }
}

pub(super) type Step<T = ()> = std::result::Result<T, Bad>;

impl Fields {
    pub(super) fn read(input: &str, env: &EvalEnv) -> Step<Self> {
        let tokens = split(input).ok_or(Bad::Syntax)?;
        if tokens.is_empty() {
            return Err(Bad::Syntax);
        }
        let mut fields = Self::default();
        let mut at = 0;
        while at < tokens.len() {
            at += fields.field(&tokens, at, env)?;
        }
        fields.finish()?;
        Ok(fields)
    }

    /// Takes the field at `at` and returns how many fields it used.
    fn field(&mut self, tokens: &[Token], at: usize, env: &EvalEnv) -> Step<usize> {
        let token = &tokens[at];
        match token.kind {
            Kind::Time => {
                if self.time.is_some() {
                    return Err(Bad::Syntax);
                }
                self.time = Some(clock(&token.text)?);
            }
            Kind::Zone => self.zone_offset(&token.text)?,
            Kind::Date => self.date_field(&token.text, env)?,
            Kind::Number => self.number(&token.text, env)?,
            Kind::Special => match token.text.as_str() {
                "-infinity" => self.set_special(Special::NegInfinity)?,
                "+infinity" => self.set_special(Special::Infinity)?,
                _ => return Err(Bad::Syntax),
            },
            Kind::Word => return self.word(tokens, at, env),
        }
        Ok(1)
    }

    fn set_special(&mut self, special: Special) -> Step {
        if self.special.replace(special).is_some() { Err(Bad::Syntax) } else { Ok(()) }
    }

    fn zone_offset(&mut self, text: &str) -> Step {
        if self.zone.is_some() || self.time.is_none() {
            return Err(Bad::Syntax);
        }
        let digits_ok = text[1..].bytes().all(|b| b.is_ascii_digit() || b == b':');
        match parse_offset(text) {
            Some(east) => self.zone = Some(Zone::Offset(east)),
            None if digits_ok => return Err(Bad::ZoneRange),
            None => return Err(Bad::Syntax),
        }
        Ok(())
    }

    fn word(&mut self, tokens: &[Token], at: usize, env: &EvalEnv) -> Step<usize> {
        let word = tokens[at].text.as_str();
        match word {
            "infinity" => self.set_special(Special::Infinity)?,
            "epoch" => self.set_special(Special::Epoch)?,
            "now" => self.set_special(Special::Now)?,
            "today" | "yesterday" | "tomorrow" => {
                let now = utc_to_local(env.transaction_time, env).map_err(|_| Bad::Range)?;
                let delta = match word {
                    "yesterday" => -1,
                    "tomorrow" => 1,
                    _ => 0,
                };
                self.relative_day = Some(now.div_euclid(civil::DAY_MICROS) + delta);
            }
            "allballs" => {
                self.time = Some(0);
                self.zone = Some(Zone::Offset(0));
            }
            "am" => self.pm = Some(false),
            "pm" => self.pm = Some(true),
            "ad" | "ce" => {}
            "bc" | "bce" => self.bc = true,
            "t" if at + 1 < tokens.len() => self.time_prefix = true,
            "at" | "on" => {}
            "j" | "jd" | "julian" if at + 1 < tokens.len() => {
                let (whole, _) =
                    tokens[at + 1].text.split_once('.').unwrap_or((&tokens[at + 1].text, ""));
                let julian: i64 = whole.parse().map_err(|_| Bad::Syntax)?;
                self.date.julian = Some(julian - civil::JULIAN_2000);
                return Ok(2);
            }
            _ if month_by_name(word).is_some() => {
                let month = month_by_name(word);
                // A number before the name was the day after all.
                if let (Some(number), false, None) =
                    (self.date.month, self.date.month_named, self.date.day)
                {
                    self.date.day = Some(number);
                }
                self.date.month = month;
                self.date.month_named = true;
            }
            _ if is_weekday(word) => {}
            _ => self.zone_word(word, tokens.get(at + 1))?,
        }
        Ok(1)
    }

    fn zone_word(&mut self, word: &str, _next: Option<&Token>) -> Step {
        if self.zone.is_some() {
            return Err(Bad::Syntax);
        }
        if let Some(east) = abbreviation_offset(word) {
            self.zone = Some(Zone::Offset(east));
            return Ok(());
        }
        if let Some(zone) = TimeZone::named(word) {
            self.zone = Some(Zone::Named(zone));
            return Ok(());
        }
        let posix = word.len() > 3 && word.contains(['+', '-'])
            || word.contains(|c: char| c.is_ascii_digit());
        if posix && let Some(zone) = TimeZone::parse(word) {
            self.zone = Some(Zone::Named(zone));
            return Ok(());
        }
        let looks_like_zone = word.contains(['/', '_']);
        if looks_like_zone { Err(Bad::ZoneName(word.to_owned())) } else { Err(Bad::Syntax) }
    }

    /// A field with `-`, `/` or `.` between its parts.
    fn date_field(&mut self, text: &str, env: &EvalEnv) -> Step {
        if self.date.complete() {
            return Err(Bad::Syntax);
        }
        let parts: Vec<&str> =
            text.split(['-', '/', '.']).filter(|part| !part.is_empty()).collect();
        if parts.len() > 3 {
            return Err(Bad::Syntax);
        }
        for part in &parts {
            if let Some(month) = month_by_name(part) {
                if let (Some(number), false, None) =
                    (self.date.month, self.date.month_named, self.date.day)
                {
                    self.date.day = Some(number);
                }
                self.date.month = Some(month);
                self.date.month_named = true;
            } else if part.bytes().all(|b| b.is_ascii_digit()) {
                self.date_number(part, env)?;
            } else {
                return Err(Bad::Syntax);
            }
        }
        if parts.len() == 2 && self.date.year.is_some() && self.date.day.is_none() {
            // `2003-05` is no date to PostgreSQL.
            return Err(Bad::Syntax);
        }
        Ok(())
    }

    /// A number that is one of year, month, day, by order and looks.
    fn date_number(&mut self, digits: &str, env: &EvalEnv) -> Step {
        let value: i32 = digits.parse().map_err(|_| Bad::Range)?;
        let unsigned = u32::try_from(value).expect("digits only");
        let date = &mut self.date;
        let year_like = digits.len() >= 3;
        let set_year = |date: &mut DateFields| {
            date.year = Some(value);
            date.two_digit_year = digits.len() <= 2;
        };
        if year_like && date.year.is_none() {
            if digits.len() == 3
                && (date.month.is_some() || date.month_named)
                && date.year.is_some()
            {
                return Err(Bad::Range);
            }
            set_year(date);
            return Ok(());
        }
        match (date.year.is_some(), date.month.is_some(), date.day.is_some()) {
            (true, true, false) => date.day = Some(unsigned),
            (true, false, _) => date.month = Some(unsigned),
            (false, false, false) => match env.date_order {
                DateOrder::Ymd => set_year(date),
                DateOrder::Mdy => date.month = Some(unsigned),
                DateOrder::Dmy => date.day = Some(unsigned),
            },
            (false, true, false) => date.day = Some(unsigned),
            (false, false, true) => date.month = Some(unsigned),
            (false, true, true) => set_year(date),
            (true, true, true) => return Err(Bad::Syntax),
        }
        Ok(())
    }

    /// A lone number: part of a date, or digits run together.
    fn number(&mut self, text: &str, env: &EvalEnv) -> Step {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let micros = fraction_micros(fraction).ok_or(Bad::Syntax)?;
        let date_done = self.date.complete() || self.relative_day.is_some();
        let two = |from: usize| whole[from..from + 2].parse::<i64>().map_err(|_| Bad::Syntax);
        if self.time.is_none() && (date_done || self.time_prefix) {
            let seconds = match whole.len() {
                6 => two(0)? * 3600 + two(2)? * 60 + two(4)?,
                4 => two(0)? * 3600 + two(2)? * 60,
                2 if self.time_prefix => two(0)? * 3600,
                _ => return Err(Bad::Syntax),
            };
            if seconds > 86_400 {
                return Err(Bad::Range);
            }
            self.time = Some(seconds * 1_000_000 + micros);
            return Ok(());
        }
        if !fraction.is_empty() {
            return Err(Bad::Syntax);
        }
        let nothing =
            self.date.year.is_none() && self.date.month.is_none() && self.date.day.is_none();
        if nothing && whole.len() >= 6 {
            let year_digits = whole.len() - 4;
            let year = whole[..year_digits].parse().map_err(|_| Bad::Range)?;
            self.date.year = Some(year);
            self.date.two_digit_year = year_digits == 2;
            self.date.month = u32::try_from(two(year_digits)?).ok();
            self.date.day = u32::try_from(two(year_digits + 2)?).ok();
            return Ok(());
        }
        self.date_number(whole, env)
    }

    fn finish(&mut self) -> Step {
        if let (Some(pm), Some(time)) = (self.pm, self.time) {
            let hour = time / 3_600_000_000;
            if hour > 12 {
                return Err(Bad::Range);
            }
            if pm && hour < 12 {
                self.time = Some(time + 12 * 3_600_000_000);
            } else if !pm && hour == 12 {
                self.time = Some(time - 12 * 3_600_000_000);
            }
        } else if self.pm.is_some() {
            return Err(Bad::Syntax);
        }
        Ok(())
    }

    /// Days since 2000 of the date given; `None` if there is none at all.
    pub(super) fn day(&self) -> Step<Option<i64>> {
        if let Some(day) = self.relative_day.or(self.date.julian) {
            return Ok(Some(day));
        }
        let DateFields { year, month, day, two_digit_year, .. } = self.date;
        if year.is_none() && month.is_none() && day.is_none() {
            return Ok(None);
        }
        let (Some(mut year), Some(month), Some(day)) = (year, month, day) else {
            return Err(Bad::Syntax);
        };
        if self.bc {
            if year <= 0 {
                return Err(Bad::Range);
            }
            year = 1 - year;
        } else if two_digit_year {
            year += if year < 70 { 2000 } else { 1900 };
        } else if year == 0 {
            return Err(Bad::Range);
        }
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(Bad::RangeMonthDay);
        }
        if day > civil::days_in_month(year, month) {
            return Err(Bad::Range);
        }
        Ok(Some(civil::days_of_date(year, month, day)))
    }
}
