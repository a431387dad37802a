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
        shortest_f64(value)
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
        shortest_f32(value)
    } else {
        let digits = usize::try_from((6 + extra).max(1)).expect("positive") - 1;
        format!("{value:.digits$e}")
    };
    let limit = if extra > 0 { 6 } else { (6 + extra).max(1) };
    positional(&text, limit, out)
}

/// The shortest digits that read back as the value, by PostgreSQL's reading of "shortest": a
/// decimal exactly between two floats counts for neither, and of two equally near the even one is
/// taken. Rust differs in both, which shows only where floats are further apart than 1.
fn shortest_f64(value: f64) -> String {
    let text = format!("{value:e}");
    let digits = text.bytes().filter(u8::is_ascii_digit).count() - exponent_digits(&text);
    let sparse = (9_007_199_254_740_992.0..1e38).contains(&value.abs());
    if !sparse && digits < 16 {
        return text;
    }
    let bits = value.to_bits();
    let mantissa = u128::from(bits & ((1 << 52) - 1) | 1 << 52);
    let exponent = (bits >> 52 & 0x7ff) as i32 - 1075;
    let excluded = |text: &str| sparse && is_midpoint(text, mantissa, exponent);
    // Rounded to as many digits: half to even, where the shortest is half up.
    (digits - 1..17)
        .map(|places| format!("{value:.places$e}"))
        .find(|rounded| !excluded(rounded) && rounded.parse() == Ok(value))
        .unwrap_or(text)
}

fn shortest_f32(value: f32) -> String {
    let text = format!("{value:e}");
    let digits = text.bytes().filter(u8::is_ascii_digit).count() - exponent_digits(&text);
    let sparse = (16_777_216.0..1e30).contains(&value.abs());
    if !sparse && digits < 7 {
        return text;
    }
    let bits = value.to_bits();
    let mantissa = u128::from(bits & ((1 << 23) - 1) | 1 << 23);
    let exponent = (bits >> 23 & 0xff) as i32 - 150;
    let excluded = |text: &str| sparse && is_midpoint(text, mantissa, exponent);
    (digits - 1..9)
        .map(|places| format!("{value:.places$e}"))
        .find(|rounded| !excluded(rounded) && rounded.parse() == Ok(value))
        .unwrap_or(text)
}

fn exponent_digits(scientific: &str) -> usize {
    let exponent = scientific.split('e').nth(1).unwrap_or("");
    exponent.bytes().filter(u8::is_ascii_digit).count()
}

/// Is the integer `text` exactly between `mantissa * 2^exponent` and one of its neighbours?
fn is_midpoint(text: &str, mantissa: u128, exponent: i32) -> bool {
    let Some(below) = u32::try_from(exponent).ok().and_then(|e| e.checked_sub(1)) else {
        return false;
    };
    let (digits, power) = text.split_once('e').expect("scientific form");
    let power: usize = power.parse().expect("large values have positive exponents");
    let plain: String = digits.chars().filter(char::is_ascii_digit).collect();
    let plain = plain.trim_end_matches('0');
    if plain.len() > power + 1 {
        return false;
    }
    let Ok(decimal) = format!("{plain:0<0$}", power + 1).parse::<u128>() else { return false };
    let half = 1u128 << below;
    let middle = mantissa << (below + 1);
    decimal == middle + half || decimal == middle - half
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
