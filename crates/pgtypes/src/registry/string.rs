//! Strings: the functions of SQL itself and the most used others.

use super::args::{bytes, i4, text};
use super::{Call, Registry};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};
use crate::text::{text_of, to_text};
use crate::ty::TypeId;

/// Characters of a string, as PostgreSQL's `int4` counts them.
pub(super) fn char_count(text: &str) -> i32 {
    i32::try_from(text.chars().count()).expect("strings are below 1 GB")
}

fn int_len(len: usize) -> Datum {
    Datum::Int4(i32::try_from(len).expect("strings are below 1 GB"))
}

/// The byte index of a character, or the end.
fn char_at(text: &str, index: usize) -> usize {
    if text.is_ascii() {
        return index.min(text.len());
    }
    text.char_indices().nth(index).map_or(text.len(), |(at, _)| at)
}

/// 1-based `substring`; positions before the first character count.
fn substr(text: &str, start: i32, length: Option<i32>) -> Result<&str> {
    let start = i64::from(start);
    let end = match length {
        None => i64::MAX,
        Some(length) if length < 0 => {
            return Err(TypeError::new(
                sqlstate::SUBSTRING,
                "negative substring length not allowed",
            ));
        }
        Some(length) => start + i64::from(length),
    };
    let first = usize::try_from(start.max(1) - 1).expect("positive");
    if end <= start.max(1) {
        return Ok("");
    }
    let from = char_at(text, first);
    let rest = &text[from..];
    if end == i64::MAX {
        return Ok(rest);
    }
    let count = usize::try_from(end - start.max(1)).expect("positive");
    Ok(&rest[..char_at(rest, count)])
}

fn sub_bytes(bytes: &[u8], start: i32, length: Option<i32>) -> Result<Datum> {
    let start = i64::from(start);
    let end = match length {
        None => i64::MAX,
        Some(length) if length < 0 => {
            return Err(TypeError::new(
                sqlstate::SUBSTRING,
                "negative substring length not allowed",
            ));
        }
        Some(length) => start + i64::from(length),
    };
    let len = i64::try_from(bytes.len()).expect("below 1 GB");
    let from = (start.max(1) - 1).min(len);
    let to = (end - 1).clamp(from, len);
    let range = usize::try_from(from).expect("in range")..usize::try_from(to).expect("in range");
    Ok(Datum::Bytea(bytes[range].to_vec().into()))
}

/// 1-based position in characters, 0 if it is not there.
fn position(needle: &str, text: &str) -> Datum {
    Datum::Int4(text.find(needle).map_or(0, |at| char_count(&text[..at]) + 1))
}

/// The largest string a function may build.
pub(super) const MAX_STRING: usize = 1 << 30;

pub(super) fn too_large() -> TypeError {
    TypeError::new(sqlstate::LIMIT_EXCEEDED, "requested length too large")
}

fn pad(text: &str, length: i32, fill: &str) -> Result<(String, String)> {
    let length = usize::try_from(length).unwrap_or(0);
    let have = text.chars().count();
    if have >= length || fill.is_empty() {
        return Ok((text[..char_at(text, length)].to_owned(), String::new()));
    }
    if length > MAX_STRING / 4 {
        return Err(too_large());
    }
    Ok((text.to_owned(), fill.chars().cycle().take(length - have).collect()))
}

fn repeat(text: &str, count: i32) -> Result<String> {
    let count = usize::try_from(count).unwrap_or(0);
    match text.len().checked_mul(count) {
        Some(size) if size <= MAX_STRING => Ok(text.repeat(count)),
        _ => Err(too_large()),
    }
}

/// `left(text, n)`: all but the last `-n` characters if negative.
fn left(text: &str, n: i32) -> &str {
    let count = if n >= 0 { i64::from(n) } else { i64::from(char_count(text)) + i64::from(n) };
    &text[..char_at(text, usize::try_from(count).unwrap_or(0))]
}

fn right(text: &str, n: i32) -> &str {
    // PostgreSQL negates in 32 bits: the smallest number leaves all.
    let skip = match n {
        i32::MIN => 0,
        n if n >= 0 => i64::from(char_count(text)) - i64::from(n),
        n => -i64::from(n),
    };
    &text[char_at(text, usize::try_from(skip).unwrap_or(0))..]
}

fn split_part(text: &str, separator: &str, field: i32) -> Result<String> {
    if field == 0 {
        return Err(TypeError::new(sqlstate::INVALID_PARAMETER, "field position must not be zero"));
    }
    if separator.is_empty() {
        return Ok(if field == 1 || field == -1 { text.to_owned() } else { String::new() });
    }
    let parts: Vec<&str> = text.split(separator).collect();
    let count = i64::try_from(parts.len()).expect("in memory");
    let at = if field > 0 { i64::from(field) - 1 } else { count + i64::from(field) };
    Ok(usize::try_from(at).ok().and_then(|at| parts.get(at)).unwrap_or(&"").to_string())
}

/// `initcap`: words are runs of letters and digits.
fn initcap(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .flat_map(|c| {
            let first = !inside;
            inside = c.is_alphanumeric();
            if first { c.to_uppercase().collect::<Vec<_>>() } else { c.to_lowercase().collect() }
        })
        .collect()
}

/// Each character of `from` becomes the one at its place in `to`, or nothing.
fn translate(text: &str, from: &str, to: &str) -> String {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    text.chars()
        .filter_map(|c| match from.iter().position(|f| *f == c) {
            None => Some(c),
            Some(at) => to.get(at).copied(),
        })
        .collect()
}

fn chr(code: i32) -> Result<String> {
    if code == 0 {
        return Err(TypeError::new(sqlstate::LIMIT_EXCEEDED, "null character not permitted"));
    }
    let Ok(unsigned) = u32::try_from(code) else {
        return Err(TypeError::new(
            sqlstate::INVALID_PARAMETER,
            "character number must be positive",
        ));
    };
    char::from_u32(unsigned).map(String::from).ok_or_else(|| {
        let why = if unsigned > 0x10_ffff { "too large" } else { "not valid" };
        TypeError::new(
            sqlstate::LIMIT_EXCEEDED,
            format!("requested character {why} for encoding: {code}"),
        )
    })
}

fn overlay(text: &str, new: &str, start: i32, length: i32) -> Result<String> {
    if start <= 0 {
        return Err(TypeError::new(sqlstate::SUBSTRING, "negative substring length not allowed"));
    }
    let after = start.checked_add(length).ok_or_else(|| TypeError::out_of_range("integer"))?;
    let head = substr(text, 1, Some(start - 1))?;
    Ok(format!("{head}{new}{}", substr(text, after, None)?))
}

/// Any value's text, as `||` and `concat` see it: `char(n)` keeps its blanks only as its own type.
pub(super) fn any_text(call: &Call<'_>, at: usize, datum: &Datum) -> String {
    text_of(datum, call.args[at], call.env)
}

/// `||` of a string and anything: the any-side by its output.
fn concat_any(call: &Call<'_>, args: &[Datum]) -> Result<Datum> {
    let mut out = String::new();
    for (arg, ty) in args.iter().zip(call.args) {
        match arg {
            // As a cast to text would.
            Datum::Text(text) if ty.id == TypeId::Bpchar => {
                out.push_str(text.trim_end_matches(' '));
            }
            Datum::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            _ => to_text(arg, *ty, call.env, &mut out),
        }
    }
    Ok(Datum::text(out))
}

pub(super) fn register(r: &mut Registry) {
    let concat = |_: &Call<'_>, a: &[Datum]| {
        let (left, right) = (text(&a[0]), text(&a[1]));
        let mut out = String::with_capacity(left.len() + right.len());
        out.push_str(left);
        out.push_str(right);
        Ok(Datum::text(out))
    };
    r.op("||(text,text) text", concat);
    r.op("||(text,anynonarray) text", concat_any).stable();
    r.op("||(anynonarray,text) text", concat_any).stable();
    r.op("||(bytea,bytea) bytea", |_, a| {
        Ok(Datum::Bytea([bytes(&a[0]), bytes(&a[1])].concat().into()))
    });
    r.f("textcat(text,text) text", concat);
    for name in ["length(text) int4", "char_length(text) int4", "character_length(text) int4"] {
        r.f(name, |_, a| Ok(Datum::Int4(char_count(text(&a[0])))));
    }
    for name in ["length(bpchar) int4", "char_length(bpchar) int4", "character_length(bpchar) int4"]
    {
        r.f(name, |_, a| Ok(Datum::Int4(char_count(text(&a[0]).trim_end_matches(' ')))));
    }
    r.f("length(bytea) int4", |_, a| Ok(int_len(bytes(&a[0]).len())));
    r.f("octet_length(text) int4", |_, a| Ok(int_len(text(&a[0]).len())));
    r.f("octet_length(bpchar) int4", |_, a| Ok(int_len(text(&a[0]).len())));
    r.f("octet_length(bytea) int4", |_, a| Ok(int_len(bytes(&a[0]).len())));
    r.f("bit_length(text) int4", |_, a| Ok(int_len(text(&a[0]).len() * 8)));
    r.f("bit_length(bytea) int4", |_, a| Ok(int_len(bytes(&a[0]).len() * 8)));
    r.f("lower(text) text", |_, a| Ok(Datum::text(text(&a[0]).to_lowercase())));
    r.f("upper(text) text", |_, a| Ok(Datum::text(text(&a[0]).to_uppercase())));
    r.f("initcap(text) text", |_, a| Ok(Datum::text(initcap(text(&a[0])))));
    for name in ["substr(text,int4) text", "substring(text,int4) text"] {
        r.f(name, |_, a| Ok(Datum::text(substr(text(&a[0]), i4(&a[1]), None)?)));
    }
    for name in ["substr(text,int4,int4) text", "substring(text,int4,int4) text"] {
        r.f(name, |_, a| Ok(Datum::text(substr(text(&a[0]), i4(&a[1]), Some(i4(&a[2])))?)));
    }
    for name in ["substr(bytea,int4) bytea", "substring(bytea,int4) bytea"] {
        r.f(name, |_, a| sub_bytes(bytes(&a[0]), i4(&a[1]), None));
    }
    for name in ["substr(bytea,int4,int4) bytea", "substring(bytea,int4,int4) bytea"] {
        r.f(name, |_, a| sub_bytes(bytes(&a[0]), i4(&a[1]), Some(i4(&a[2]))));
    }
    // `position(a IN b)` arrives as position(b, a).
    r.f("position(text,text) int4", |_, a| Ok(position(text(&a[1]), text(&a[0]))));
    r.f("strpos(text,text) int4", |_, a| Ok(position(text(&a[1]), text(&a[0]))));
    r.f("replace(text,text,text) text", |_, a| {
        let (from, to) = (text(&a[1]), text(&a[2]));
        if from.is_empty() {
            return Ok(a[0].clone());
        }
        Ok(Datum::text(text(&a[0]).replace(from, to)))
    });
    r.f("lpad(text,int4) text", |_, a| {
        let (body, fill) = pad(text(&a[0]), i4(&a[1]), " ")?;
        Ok(Datum::text(fill + &body))
    });
    r.f("lpad(text,int4,text) text", |_, a| {
        let (body, fill) = pad(text(&a[0]), i4(&a[1]), text(&a[2]))?;
        Ok(Datum::text(fill + &body))
    });
    r.f("rpad(text,int4) text", |_, a| {
        let (body, fill) = pad(text(&a[0]), i4(&a[1]), " ")?;
        Ok(Datum::text(body + &fill))
    });
    r.f("rpad(text,int4,text) text", |_, a| {
        let (body, fill) = pad(text(&a[0]), i4(&a[1]), text(&a[2]))?;
        Ok(Datum::text(body + &fill))
    });
    r.f("left(text,int4) text", |_, a| Ok(Datum::text(left(text(&a[0]), i4(&a[1])))));
    r.f("right(text,int4) text", |_, a| Ok(Datum::text(right(text(&a[0]), i4(&a[1])))));
    r.f("repeat(text,int4) text", |_, a| Ok(Datum::text(repeat(text(&a[0]), i4(&a[1]))?)));
    r.f("reverse(text) text", |_, a| {
        Ok(Datum::text(text(&a[0]).chars().rev().collect::<String>()))
    });
    r.f("split_part(text,text,int4) text", |_, a| {
        Ok(Datum::text(split_part(text(&a[0]), text(&a[1]), i4(&a[2]))?))
    });
    r.f("ascii(text) int4", |_, a| {
        Ok(Datum::Int4(text(&a[0]).chars().next().map_or(0, |c| c as i32)))
    });
    r.f("chr(int4) text", |_, a| Ok(Datum::text(chr(i4(&a[0]))?)));
    r.f("translate(text,text,text) text", |_, a| {
        Ok(Datum::text(translate(text(&a[0]), text(&a[1]), text(&a[2]))))
    });
    r.f("starts_with(text,text) bool", |_, a| {
        Ok(Datum::Bool(text(&a[0]).starts_with(text(&a[1]))))
    });
    for (name, kernel) in [
        ("~<~(text,text) bool", (|_, a| Ok((text(&a[0]) < text(&a[1])).into())) as super::Kernel),
        ("~<=~(text,text) bool", |_, a| Ok((text(&a[0]) <= text(&a[1])).into())),
        ("~>~(text,text) bool", |_, a| Ok((text(&a[0]) > text(&a[1])).into())),
        ("~>=~(text,text) bool", |_, a| Ok((text(&a[0]) >= text(&a[1])).into())),
    ] {
        r.op(name, kernel);
    }
    r.op("^@(text,text) bool", |_, a| Ok(Datum::Bool(text(&a[0]).starts_with(text(&a[1])))));
    r.f("overlay(text,text,int4) text", |_, a| {
        let new = text(&a[1]);
        Ok(Datum::text(overlay(text(&a[0]), new, i4(&a[2]), char_count(new))?))
    });
    r.f("overlay(text,text,int4,int4) text", |_, a| {
        Ok(Datum::text(overlay(text(&a[0]), text(&a[1]), i4(&a[2]), i4(&a[3]))?))
    });
}
