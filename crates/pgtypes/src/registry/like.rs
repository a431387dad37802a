//! LIKE and ILIKE: `~~ !~~ ~~* !~~*`, and the prefix a pattern begins with, for index spans.

use super::Registry;
use super::args::{bytes, text};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};

/// One piece of a pattern.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Piece {
    /// `%`
    Any,
    /// `_`
    One,
    Char(char),
    /// An escape character with nothing behind it: an error once a match comes here.
    Dangling,
}

fn pieces(pattern: &str, escape: Option<char>) -> Vec<Piece> {
    let mut out = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            out.push(chars.next().map_or(Piece::Dangling, Piece::Char));
            continue;
        }
        match c {
            '%' if out.last() == Some(&Piece::Any) => {}
            '%' => out.push(Piece::Any),
            '_' => out.push(Piece::One),
            _ => out.push(Piece::Char(c)),
        }
    }
    out
}

/// Matches with one point to come back to: the last `%`. Linear in text times pattern at worst.
fn matches(text: &str, pattern: &[Piece]) -> Result<bool> {
    let mut rest = text;
    let mut at = 0;
    let mut back: Option<(&str, usize)> = None;
    loop {
        match pattern.get(at) {
            Some(Piece::Any) => {
                at += 1;
                back = Some((rest, at));
                continue;
            }
            None if rest.is_empty() => return Ok(true),
            Some(Piece::Dangling) if !rest.is_empty() => {
                return Err(TypeError::new(
                    sqlstate::INVALID_ESCAPE,
                    "LIKE pattern must not end with escape character",
                ));
            }
            Some(piece) => {
                let mut chars = rest.chars();
                let Some(c) = chars.next() else { return Ok(false) };
                if *piece == Piece::One || *piece == Piece::Char(c) {
                    rest = chars.as_str();
                    at += 1;
                    continue;
                }
            }
            None => {}
        }
        let Some((from, after)) = back else { return Ok(false) };
        let mut chars = from.chars();
        if chars.next().is_none() {
            return Ok(false);
        }
        rest = chars.as_str();
        at = after;
        back = Some((rest, after));
    }
}

/// `text LIKE pattern`, escape character backslash.
pub(super) fn like(text: &str, pattern: &str) -> Result<bool> {
    matches(text, &pieces(pattern, Some('\\')))
}

fn ilike(text: &str, pattern: &str) -> Result<bool> {
    like(&text.to_lowercase(), &pattern.to_lowercase())
}

/// The text a LIKE pattern begins with, and whether the pattern is nothing but that text. `None`
/// for a malformed pattern.
pub fn like_prefix(pattern: &str) -> Option<(String, bool)> {
    let pieces = pieces(pattern, Some('\\'));
    if pieces.contains(&Piece::Dangling) {
        return None;
    }
    let prefix: String = pieces
        .iter()
        .map_while(|piece| match piece {
            Piece::Char(c) => Some(*c),
            Piece::Any | Piece::One | Piece::Dangling => None,
        })
        .collect();
    let exact = pieces.iter().all(|piece| matches!(piece, Piece::Char(_)));
    Some((prefix, exact))
}

/// Rewrites a pattern with another escape character (none if empty) to the backslash form.
fn like_escape(pattern: &str, escape: &str) -> Result<String> {
    let mut chars = escape.chars();
    let escape = chars.next();
    if chars.next().is_some() {
        return Err(TypeError::new(sqlstate::INVALID_ESCAPE, "invalid escape string")
            .with_hint("Escape string must be empty or one character."));
    }
    let mut out = String::with_capacity(pattern.len());
    let mut after_escape = false;
    for c in pattern.chars() {
        if Some(c) == escape && !after_escape {
            out.push('\\');
            after_escape = true;
            continue;
        }
        if c == '\\' && escape != Some('\\') {
            out.push('\\');
        }
        out.push(c);
        after_escape = false;
    }
    Ok(out)
}

/// `bytea LIKE bytea`: the same on bytes.
fn like_bytes(value: &[u8], pattern: &[u8]) -> Result<bool> {
    let widen = |bytes: &[u8]| bytes.iter().map(|b| char::from(*b)).collect::<String>();
    like(&widen(value), &widen(pattern))
}

pub(super) fn register(r: &mut Registry) {
    macro_rules! pair {
        ($yes:literal $no:literal $match:ident $get:ident) => {
            r.op($yes, |_, a| Ok(Datum::Bool($match($get(&a[0]), $get(&a[1]))?)));
            r.op($no, |_, a| Ok(Datum::Bool(!$match($get(&a[0]), $get(&a[1]))?)));
        };
    }
    pair!("~~(text,text) bool" "!~~(text,text) bool" like text);
    pair!("~~(bpchar,text) bool" "!~~(bpchar,text) bool" like text);
    pair!("~~(name,text) bool" "!~~(name,text) bool" like text);
    pair!("~~(bytea,bytea) bool" "!~~(bytea,bytea) bool" like_bytes bytes);
    pair!("~~*(text,text) bool" "!~~*(text,text) bool" ilike text);
    pair!("~~*(bpchar,text) bool" "!~~*(bpchar,text) bool" ilike text);
    pair!("~~*(name,text) bool" "!~~*(name,text) bool" ilike text);
    r.f("like(text,text) bool", |_, a| Ok(Datum::Bool(like(text(&a[0]), text(&a[1]))?)));
    r.f("notlike(text,text) bool", |_, a| Ok(Datum::Bool(!like(text(&a[0]), text(&a[1]))?)));
    r.f("like_escape(text,text) text", |_, a| {
        Ok(Datum::text(like_escape(text(&a[0]), text(&a[1]))?))
    });
}
