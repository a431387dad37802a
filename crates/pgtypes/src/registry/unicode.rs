//! Identifiers taken apart, Unicode escapes and normal forms.

use unicode_normalization::UnicodeNormalization as _;

use super::Registry;
use super::args::{boolean, text};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};

fn not_an_identifier(input: &str) -> TypeError {
    TypeError::new(
        sqlstate::INVALID_PARAMETER,
        format!("string is not a valid identifier: \"{input}\""),
    )
}

/// `a."B c".d` as its parts; what stands behind is an error if `strict`.
fn parse_ident(input: &str, strict: bool) -> Result<Datum> {
    let mut parts = Vec::new();
    let mut rest = input.trim_start();
    let mut after_dot = false;
    loop {
        let detail = |error: TypeError| match (after_dot, rest.starts_with('.')) {
            (_, true) => error.with_detail("No valid identifier before \".\"."),
            (true, _) => error.with_detail("No valid identifier after \".\"."),
            _ => error,
        };
        let start = |c: char| c == '_' || c.is_alphabetic() || !c.is_ascii();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next() {
                    Some((_, '"')) if chars.peek().is_some_and(|(_, c)| *c == '"') => {
                        name.push('"');
                        chars.next();
                    }
                    Some((at, '"')) => break at + 1,
                    Some((_, c)) => name.push(c),
                    None => {
                        return Err(not_an_identifier(input)
                            .with_detail("String has unclosed double quotes."));
                    }
                }
            };
            if name.is_empty() {
                return Err(
                    not_an_identifier(input).with_detail("Quoted identifier must not be empty.")
                );
            }
            parts.push(Datum::text(name));
            rest = &quoted[end..];
        } else if rest.starts_with(start) {
            let end = rest.find(|c: char| !(start(c) || c.is_ascii_digit() || c == '$'));
            let (name, behind) = rest.split_at(end.unwrap_or(rest.len()));
            // As an identifier is folded: letters of ASCII only.
            parts.push(Datum::text(name.to_ascii_lowercase()));
            rest = behind;
        } else {
            return Err(detail(not_an_identifier(input)));
        }
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(behind) => (rest, after_dot) = (behind.trim_start(), true),
            None if rest.is_empty() || !strict => return Ok(Datum::array(parts)),
            None => return Err(not_an_identifier(input)),
        }
    }
}

/// `\0061`, `\+000061`, `\u0061`, `\U00000061` as characters.
fn unistr(input: &str) -> Result<String> {
    let syntax = |message: &str| TypeError::new(sqlstate::SYNTAX, message);
    let escape = || {
        syntax("invalid Unicode escape")
            .with_hint("Unicode escapes must be \\XXXX, \\+XXXXXX, \\uXXXX, or \\UXXXXXXXX.")
    };
    let pair = || syntax("invalid Unicode surrogate pair");
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    let mut high: Option<u32> = None;
    while let Some(c) = rest.chars().next() {
        let behind = &rest[c.len_utf8()..];
        if c != '\\' || behind.starts_with('\\') {
            if high.is_some() {
                return Err(pair());
            }
            out.push(c);
            rest = if c == '\\' { &behind[1..] } else { behind };
            continue;
        }
        let (digits, from) = match behind.chars().next() {
            Some('+') => (6, 1),
            Some('u') => (4, 1),
            Some('U') => (8, 1),
            _ => (4, 0),
        };
        let code = behind.get(from..from + digits).ok_or_else(escape)?;
        if !code.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(escape());
        }
        let value = u32::from_str_radix(code, 16).map_err(|_| escape())?;
        rest = &behind[from + digits..];
        match (high.take(), value) {
            (Some(first), 0xdc00..=0xdfff) => {
                let value = 0x1_0000 + ((first - 0xd800) << 10) + (value - 0xdc00);
                out.push(char::from_u32(value).expect("a pair of surrogates"));
            }
            (Some(_), _) | (None, 0xdc00..=0xdfff) => return Err(pair()),
            (None, 0xd800..=0xdbff) => high = Some(value),
            (None, value) => {
                let valid = char::from_u32(value).filter(|c| *c != '\0').ok_or_else(|| {
                    TypeError::new(
                        sqlstate::INVALID_PARAMETER,
                        format!("invalid Unicode code point: {value:04X}"),
                    )
                })?;
                out.push(valid);
            }
        }
    }
    if high.is_some() { Err(pair()) } else { Ok(out) }
}

fn normalize(input: &str, form: &str) -> Result<String> {
    Ok(match form.to_ascii_lowercase().as_str() {
        "nfc" => input.nfc().collect(),
        "nfd" => input.nfd().collect(),
        "nfkc" => input.nfkc().collect(),
        "nfkd" => input.nfkd().collect(),
        _ => {
            return Err(TypeError::new(
                sqlstate::INVALID_PARAMETER,
                format!("invalid normalization form: {form}"),
            ));
        }
    })
}

pub(super) fn register(r: &mut Registry) {
    r.f("parse_ident(text) text[]", |_, a| parse_ident(text(&a[0]), true));
    r.f("parse_ident(text,bool) text[]", |_, a| parse_ident(text(&a[0]), boolean(&a[1])));
    r.f("unistr(text) text", |_, a| Ok(Datum::text(unistr(text(&a[0]))?)));
    r.f("normalize(text) text", |_, a| Ok(Datum::text(normalize(text(&a[0]), "nfc")?)));
    r.f("normalize(text,text) text", |_, a| Ok(Datum::text(normalize(text(&a[0]), text(&a[1]))?)));
    r.f("is_normalized(text) bool", |_, a| {
        Ok(Datum::Bool(normalize(text(&a[0]), "nfc")? == text(&a[0])))
    });
    r.f("is_normalized(text,text) bool", |_, a| {
        Ok(Datum::Bool(normalize(text(&a[0]), text(&a[1]))? == text(&a[0])))
    });
}
