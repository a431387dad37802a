//! Reading and printing numerics.

use std::fmt;

use num_bigint::BigInt;

use super::arith::overflow;
use super::{MAX_SCALE, MAX_WEIGHT_DIGITS, Mantissa, Numeric, Repr, pow10_big, scale_up};
use crate::error::{Result, TypeError};

impl Numeric {
    /// Reads `-12.50`, `1e10`, `NaN`, `Infinity`, with space around.
    pub fn parse(input: &str) -> Result<Self> {
        let invalid = || TypeError::invalid_input("numeric", input);
        let text = input.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        let (negative, body) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if !body.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            let is = |word: &str| body.eq_ignore_ascii_case(word);
            return match () {
                () if is("infinity") || is("inf") => {
                    Ok(if negative { Self::NEG_INFINITY } else { Self::INFINITY })
                }
                () if is("nan") && body.len() == text.len() => Ok(Self::NAN),
                () => Err(invalid()),
            };
        }
        let (digits, exponent) = match body.find(['e', 'E']) {
            Some(at) => (&body[..at], parse_exponent(&body[at + 1..]).ok_or_else(invalid)?),
            None => (body, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() && fraction.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return Err(invalid());
        }
        Self::from_digits(negative, whole, fraction, exponent)
    }

    fn from_digits(negative: bool, whole: &str, fraction: &str, exponent: i64) -> Result<Self> {
        let fraction_len = i64::try_from(fraction.len()).expect("fits");
        let scale = fraction_len - exponent;
        if scale > i64::from(MAX_SCALE) {
            return Err(overflow());
        }
        let whole = whole.trim_start_matches('0');
        let magnitude_digits = i64::try_from(whole.len()).expect("fits") + exponent;
        let all_zero = whole.is_empty() && fraction.bytes().all(|b| b == b'0');
        if magnitude_digits > MAX_WEIGHT_DIGITS as i64 && !all_zero {
            return Err(overflow());
        }
        let zeros = if all_zero { 0 } else { u32::try_from(-scale).unwrap_or(0) };
        let stored = u16::try_from(scale.max(0)).expect("14 bits");
        if whole.len() + fraction.len() <= 38 {
            let mut value: i128 = 0;
            for digit in whole.bytes().chain(fraction.bytes()) {
                value = value * 10 + i128::from(digit - b'0');
            }
            if negative {
                value = -value;
            }
            if let Some(value) = scale_up(value, zeros) {
                return Ok(Self::from_parts(value, stored));
            }
        }
        let mut text = String::with_capacity(whole.len() + fraction.len() + 1);
        text.push_str(if negative { "-0" } else { "0" });
        text.push_str(whole);
        text.push_str(fraction);
        let mantissa: BigInt = text.parse().expect("checked digits");
        Ok(Self::from_big(mantissa * pow10_big(zeros), stored))
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: i64 = text.parse().ok()?;
    // PostgreSQL's own limit against overflow of its integers.
    (value.abs() < i64::from(i32::MAX / 2)).then_some(value)
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mantissa, scale) = match &self.0 {
            Repr::NaN => return f.write_str("NaN"),
            Repr::Infinity => return f.write_str("Infinity"),
            Repr::NegInfinity => return f.write_str("-Infinity"),
            Repr::Small { .. } | Repr::Big(_) => self.parts().expect("finite"),
        };
        let (negative, digits) = match mantissa {
            Mantissa::Small(value) if scale == 0 => return write!(f, "{value}"),
            Mantissa::Small(value) => (value < 0, value.unsigned_abs().to_string()),
            Mantissa::Big(value) => {
                (value.sign() == num_bigint::Sign::Minus, value.magnitude().to_string())
            }
        };
        if negative {
            f.write_str("-")?;
        }
        let scale = scale as usize;
        if scale == 0 {
            return f.write_str(&digits);
        }
        if digits.len() > scale {
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            write!(f, "{whole}.{fraction}")
        } else {
            write!(f, "0.{digits:0>scale$}")
        }
    }
}

impl std::str::FromStr for Numeric {
    type Err = TypeError;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}
