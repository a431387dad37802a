//! Text of booleans, integers, object ids, names and uuids.

use std::fmt::{self, Write};

use crate::env::EvalEnv;
use crate::error::{Result, TypeError, sqlstate};
use crate::ty::{PgType, TypeId};
use crate::typmod;

/// C's `isspace`.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b')
}

/// Reads a `boolean`: unique prefixes of true, false, yes, no, on, off; 1 and 0.
pub fn parse_bool(text: &str) -> Result<bool> {
    let word = trim(text).to_ascii_lowercase();
    let prefix_of = |full: &str, min: usize| word.len() >= min && full.starts_with(&word);
    if word == "1" || prefix_of("true", 1) || prefix_of("yes", 1) || prefix_of("on", 2) {
        Ok(true)
    } else if word == "0" || prefix_of("false", 1) || prefix_of("no", 1) || prefix_of("off", 2) {
        Ok(false)
    } else {
        Err(TypeError::invalid_input("boolean", text))
    }
}

fn integer<T: TryFrom<i128>>(text: &str, type_name: &str) -> Result<T> {
    let body = trim(text);
    let digits = body.strip_prefix(['+', '-']).unwrap_or(body);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(TypeError::invalid_input(type_name, text));
    }
    body.parse::<i128>().ok().and_then(|value| T::try_from(value).ok()).ok_or_else(|| {
        TypeError::new(
            sqlstate::NUMERIC_OUT_OF_RANGE,
            format!("value \"{text}\" is out of range for type {type_name}"),
        )
    })
}

/// Reads a `smallint`.
pub fn parse_i16(text: &str) -> Result<i16> {
    text.parse().or_else(|_| integer(text, "smallint"))
}

/// Reads an `integer`.
pub fn parse_i32(text: &str) -> Result<i32> {
    text.parse().or_else(|_| integer(text, "integer"))
}

/// Reads a `bigint`.
pub fn parse_i64(text: &str) -> Result<i64> {
    text.parse().or_else(|_| integer(text, "bigint"))
}

/// Reads an `oid`; negative numbers wrap as in PostgreSQL.
pub fn parse_oid(text: &str, type_name: &str) -> Result<u32> {
    let value: i64 = match integer::<i64>(text, type_name) {
        Ok(value) => value,
        Err(error) if error.sqlstate == sqlstate::INVALID_TEXT => return Err(error),
        Err(_) => i64::MAX,
    };
    if let Ok(value) = u32::try_from(value) {
        return Ok(value);
    }
    i32::try_from(value).map(|value| value as u32).map_err(|_| {
        TypeError::new(
            sqlstate::NUMERIC_OUT_OF_RANGE,
            format!("value \"{text}\" is out of range for type {type_name}"),
        )
    })
}

/// `-`, a number, or a name that the catalog knows.
pub(super) fn parse_reg(text: &str, id: TypeId, env: &EvalEnv) -> Result<u32> {
    if text == "-" {
        return Ok(0);
    }
    if let Some(oid) = env.names.0.as_ref().and_then(|names| names.oid_of(id, text)) {
        return Ok(oid);
    }
    parse_oid(text, id.name()).map_err(|_| {
        let (kind, code) = match id {
            TypeId::Regclass => ("relation", "42P01"),
            TypeId::Regproc | TypeId::Regprocedure => ("function", sqlstate::UNDEFINED_FUNCTION),
            TypeId::Regoper | TypeId::Regoperator => ("operator", sqlstate::UNDEFINED_FUNCTION),
            TypeId::Regcollation => ("collation", sqlstate::UNDEFINED_OBJECT),
            TypeId::Regconfig => ("text search configuration", sqlstate::UNDEFINED_OBJECT),
            TypeId::Regdictionary => ("text search dictionary", sqlstate::UNDEFINED_OBJECT),
            TypeId::Regnamespace => ("schema", "3F000"),
            _ => ("role", sqlstate::UNDEFINED_OBJECT),
        };
        TypeError::new(code, format!("{kind} \"{text}\" does not exist"))
    })
}

pub(super) fn parse_regtype(text: &str, env: &EvalEnv) -> Result<u32> {
    if text == "-" {
        return Ok(0);
    }
    if let Ok(oid) = parse_oid(text, "regtype") {
        return Ok(oid);
    }
    let named = || env.names.0.as_ref()?.oid_of(TypeId::Regtype, text);
    typmod::parse_type(text).map(PgType::oid).or_else(named).ok_or_else(|| {
        TypeError::new(sqlstate::UNDEFINED_OBJECT, format!("type \"{text}\" does not exist"))
    })
}

pub(super) fn print_oid<W: Write>(
    value: u32,
    id: TypeId,
    env: &EvalEnv,
    out: &mut W,
) -> fmt::Result {
    match id {
        TypeId::Oid | TypeId::Xid => write!(out, "{value}"),
        _ if value == 0 => out.write_str("-"),
        TypeId::Regtype => match PgType::from_oid(value) {
            Some(ty) => out.write_str(&ty.sql_name()),
            None => match env.names.0.as_ref().and_then(|names| names.name_of(id, value)) {
                Some(name) => out.write_str(&name),
                None => write!(out, "{value}"),
            },
        },
        _ => match env.names.0.as_ref().and_then(|names| names.name_of(id, value)) {
            Some(name) => out.write_str(&name),
            None => write!(out, "{value}"),
        },
    }
}

/// At most 63 bytes, cut between characters.
pub(super) fn truncate_name(text: &str) -> &str {
    let mut end = text.len().min(63);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Reads a `uuid`: 32 digits, hyphens after any group of four, braces around.
pub fn parse_uuid(text: &str) -> Result<[u8; 16]> {
    let invalid = || TypeError::invalid_input("uuid", text);
    let body = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(invalid)?,
        None => text,
    };
    let bytes = body.as_bytes();
    let mut out = [0u8; 16];
    let mut at = 0;
    for (i, slot) in out.iter_mut().enumerate() {
        let nibble =
            |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16)).ok_or_else(invalid);
        let value = nibble(at)? << 4 | nibble(at + 1)?;
        *slot = u8::try_from(value).expect("two digits");
        at += 2;
        if i % 2 == 1 && i < 15 && bytes.get(at) == Some(&b'-') {
            at += 1;
        }
    }
    if at == bytes.len() { Ok(out) } else { Err(invalid()) }
}

/// Prints `a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11`.
pub fn print_uuid<W: Write>(bytes: &[u8; 16], out: &mut W) -> fmt::Result {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    out.write_str(std::str::from_utf8(&text).expect("ASCII"))
}

/// The one character of a `"char"`: the first one, or an octal escape for a byte.
pub(super) fn parse_char(text: &str) -> String {
    let octal = match text.as_bytes() {
        [b'\\', digits @ ..]
            if digits.len() == 3 && digits.iter().all(|d| (b'0'..b'8').contains(d)) =>
        {
            u32::from_str_radix(&text[1..], 8).ok().filter(|code| (1..128).contains(code))
        }
        _ => None,
    };
    let escaped = octal.and_then(char::from_u32);
    escaped.or_else(|| text.chars().next()).map(String::from).unwrap_or_default()
}
