//! Text of `real` and `double precision`.

use std::fmt::{self, Write};

use super::scalar::trim;
use crate::error::{Result, TypeError, sqlstate};

/// `Infinity`, `nan` and their spellings.
fn special(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    Some(match lower.as_str() {
        "nan" => f64::NAN,
        "infinity" | "+infinity" | "inf" | "+inf" => f64::INFINITY,
        "-infinity" | "-inf" => f64::NEG_INFINITY,
        _ => return None,
    })
}

fn out_of_range(text: &str, type_name: &str) -> TypeError {
    TypeError::new(
        sqlstate::NUMERIC_OUT_OF_RANGE,
        format!("\"{text}\" is out of range for type {type_name}"),
    )
}

fn has_nonzero_digit(text: &str) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b))
}

/// Reads a `double precision`.
pub fn parse_f64(text: &str) -> Result<f64> {
    let body = trim(text);
    if let Some(value) = special(body) {
        return Ok(value);
    }
    let invalid = || TypeError::invalid_input("double precision", text);
    if !body.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) {
        return Err(invalid());
    }
    let value: f64 = body.parse().map_err(|_| invalid())?;
    if value.is_infinite() || (value == 0.0 && has_nonzero_digit(body)) {
        return Err(out_of_range(body, "double precision"));
    }
    Ok(value)
}

/// Reads a `real`.
pub fn parse_f32(text: &str) -> Result<f32> {
    let body = trim(text);
    if let Some(value) = special(body) {
        return Ok(value as f32);
    }
    let invalid = || TypeError::invalid_input("real", text);
    if !body.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) {
        return Err(invalid());
    }
    let value: f32 = body.parse().map_err(|_| invalid())?;
    if value.is_infinite() || (value == 0.0 && has_nonzero_digit(body)) {
        return Err(out_of_range(body, "real"));
    }
    Ok(value)
}

/// Prints shortest digits, or rounded to 15 + `extra` significant digits where that is not above 0.
pub fn print_f64<W: Write>(value: f64, extra: i32, out: &mut W) -> fmt::Result {
    if let Some(word) = special_word(value) {
        return out.write_str(word);
    }
    let text = if extra > 0 {
        format!("{value:e}")
    } else {
        let digits = usize::try_from((15 + extra).max(1)).expect("positive") - 1;
        format!("{value:.digits$e}")
    };
    // C's %g changes to exponents at its precision, the shortest form at 15.
    let limit = if extra > 0 { 15 } else { (15 + extra).max(1) };
    positional(&text, limit, out)
}

/// The same for `real`, with 6 digits.
pub fn print_f32<W: Write>(value: f32, extra: i32, out: &mut W) -> fmt::Result {
    if let Some(word) = special_word(f64::from(value)) {
        return out.write_str(word);
    }
    let text = if extra > 0 {
        format!("{value:e}")
    } else {
        let digits = usize::try_from((6 + extra).max(1)).expect("positive") - 1;
        format!("{value:.digits$e}")
    };
    let limit = if extra > 0 { 6 } else { (6 + extra).max(1) };
    positional(&text, limit, out)
}

fn special_word(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value.is_infinite() {
        Some(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        None
    }
}

/// From Rust's `d.ddde±x` to C's `%g`: positional for exponents from -4 below `limit`.
fn positional<W: Write>(scientific: &str, limit: i32, out: &mut W) -> fmt::Result {
    let (mantissa, exponent) = scientific.split_once('e').expect("scientific form");
    let exponent: i32 = exponent.parse().expect("an integer");
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let mut digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let kept = digits.trim_end_matches('0').len().max(1);
    digits.truncate(kept);
    out.write_str(sign)?;
    if exponent < -4 || exponent >= limit {
        out.write_str(&digits[..1])?;
        if digits.len() > 1 {
            write!(out, ".{}", &digits[1..])?;
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        return write!(out, "e{sign}{:02}", exponent.abs());
    }
    if exponent < 0 {
        let zeros = usize::try_from(-exponent - 1).expect("positive");
        return write!(out, "0.{}{digits}", "0".repeat(zeros));
    }
    let whole = usize::try_from(exponent).expect("positive") + 1;
    if digits.len() <= whole {
        write!(out, "{digits}{}", "0".repeat(whole - digits.len()))
    } else {
        write!(out, "{}.{}", &digits[..whole], &digits[whole..])
    }
}
