//! Regular expressions: `~ ~* !~ !~*`, `regexp_match`, `regexp_replace` and their kind; SIMILAR TO.
//!
//! PostgreSQL's "advanced" expressions run on the `regex` crate after translation of what is
//! spelled differently. Back-references and lookaround, which that crate has not, are refused.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

use super::args::{i4, text};
use super::{Call, Registry};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};

/// Expressions compiled per thread; a query has few.
const CACHE_SIZE: usize = 32;

thread_local! {
    static CACHE: RefCell<HashMap<(String, String), Regex>> = RefCell::new(HashMap::new());
}

/// The compiled form of a pattern under PostgreSQL's flag letters.
fn compile(pattern: &str, flags: &str) -> Result<Regex> {
    let key = (pattern.to_owned(), flags.to_owned());
    if let Some(found) = CACHE.with(|cache| cache.borrow().get(&key).cloned()) {
        return Ok(found);
    }
    let regex = build(pattern, flags)?;
    CACHE.with(|cache| {
        let mut cache = cache.borrow_mut();
        if cache.len() >= CACHE_SIZE {
            cache.clear();
        }
        cache.insert(key, regex.clone());
    });
    Ok(regex)
}

fn build(pattern: &str, flags: &str) -> Result<Regex> {
    let (mut insensitive, mut newline, mut extended, mut literal) = (false, false, false, false);
    for flag in flags.chars() {
        match flag {
            'g' => {}
            'i' => insensitive = true,
            'c' => insensitive = false,
            'n' | 'm' => newline = true,
            's' => newline = false,
            'x' => extended = true,
            't' => extended = false,
            'q' => literal = true,
            'e' | 'b' | 'p' | 'w' => {}
            _ => {
                return Err(TypeError::new(
                    sqlstate::INVALID_PARAMETER,
                    format!("invalid regular expression option: \"{flag}\""),
                ));
            }
        }
    }
    let body = if literal { regex::escape(pattern) } else { translate(pattern)? };
    RegexBuilder::new(&body)
        .case_insensitive(insensitive)
        .multi_line(newline)
        .dot_matches_new_line(!newline)
        .ignore_whitespace(extended && !literal)
        .size_limit(16 << 20)
        .build()
        .map_err(|error| invalid(&reason(&error)))
}

fn invalid(reason: &str) -> TypeError {
    TypeError::new(sqlstate::INVALID_REGEX, format!("invalid regular expression: {reason}"))
}

/// PostgreSQL's words for what is wrong.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let known = [
        ("unclosed group", "parentheses () not balanced"),
        ("unopened group", "parentheses () not balanced"),
        ("unclosed character class", "brackets [] not balanced"),
        ("repetition operator missing", "quantifier operand invalid"),
        ("repetition quantifier", "invalid repetition count(s)"),
        ("invalid character class range", "invalid character range"),
        ("unclosed counted repetition", "braces {} not balanced"),
        ("compiled regex exceeds", "regular expression is too complex"),
    ];
    known
        .iter()
        .find(|(theirs, _)| text.contains(theirs))
        .map_or_else(|| "invalid escape \\ sequence".to_owned(), |(_, ours)| (*ours).to_owned())
}

/// Rewrites escapes: `\m \M \y \Y \A \Z`; refuses back-references and lookaround.
fn translate(pattern: &str) -> Result<String> {
    let pattern = pattern.strip_prefix("***:").unwrap_or(pattern);
    if let Some(rest) = pattern.strip_prefix("***=") {
        return Ok(regex::escape(rest));
    }
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let Some(next) = chars.next() else {
                    return Err(invalid("invalid escape \\ sequence"));
                };
                match next {
                    'm' if !in_class => out.push_str(r"\b{start}"),
                    'M' if !in_class => out.push_str(r"\b{end}"),
                    'y' if !in_class => out.push_str(r"\b"),
                    'Y' if !in_class => out.push_str(r"\B"),
                    'Z' if !in_class => out.push_str(r"\z"),
                    '1'..='9' if !in_class => {
                        return Err(TypeError::not_supported(
                            "back-references in regular expressions are not supported",
                        ));
                    }
                    'e' => out.push_str(r"\x1b"),
                    'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'd' | 's' | 'w' | 'D' | 'S' | 'W' | 'A'
                    | 'x' | 'u' | 'U' => {
                        out.push('\\');
                        out.push(next);
                    }
                    _ if next.is_ascii_alphanumeric() => {
                        return Err(invalid("invalid escape \\ sequence"));
                    }
                    _ => out.push_str(&regex::escape(&next.to_string())),
                }
            }
            '[' if in_class => match chars.peek() {
                // `[:alpha:]` means the same to both; a bare `[` would open a set here.
                Some(':') => out.push('['),
                _ => out.push_str(r"\["),
            },
            '[' => {
                in_class = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    out.push(chars.next().expect("peeked"));
                }
                // A bracket right after the opening is itself.
                if chars.peek() == Some(&']') {
                    chars.next();
                    out.push_str(r"\]");
                }
            }
            ']' if in_class => {
                // The end of `[:alpha:]` is not the end of the class.
                in_class = out.ends_with(':')
                    && out.rfind("[:").is_some_and(|at| !out[at + 2..].contains(']'));
                out.push(']');
            }
            '&' | '~' | '-' if in_class && chars.peek() == Some(&c) && c != '-' => {
                out.push('\\');
                out.push(c);
            }
            '(' if !in_class && chars.peek() == Some(&'?') => {
                out.push('(');
                out.push(chars.next().expect("peeked"));
                if matches!(chars.peek(), Some('=' | '!' | '<')) {
                    return Err(TypeError::not_supported(
                        "lookaround in regular expressions is not supported",
                    ));
                }
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

fn is_match(value: &str, pattern: &str, flags: &str) -> Result<bool> {
    Ok(compile(pattern, flags)?.is_match(value))
}

/// Groups of a match as an array, or the whole match if there are none.
fn groups(captures: &regex::Captures<'_>) -> Datum {
    let one = |found: Option<regex::Match<'_>>| found.map_or(Datum::Null, |m| m.as_str().into());
    if captures.len() == 1 {
        return Datum::array(vec![one(captures.get(0))]);
    }
    Datum::array((1..captures.len()).map(|i| one(captures.get(i))).collect())
}

fn regexp_match(value: &str, pattern: &str, flags: &str) -> Result<Datum> {
    if flags.contains('g') {
        return Err(TypeError::new(
            sqlstate::INVALID_PARAMETER,
            "regexp_match() does not support the \"global\" option",
        )
        .with_hint("Use the regexp_matches function instead."));
    }
    Ok(compile(pattern, flags)?.captures(value).map_or(Datum::Null, |found| groups(&found)))
}

/// `\1` to `\9`, `\&`, `\\` in a replacement.
fn expand(captures: &regex::Captures<'_>, replacement: &str, out: &mut String) {
    let mut chars = replacement.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('&') => out.push_str(&captures[0]),
            Some(digit @ '1'..='9') => {
                let group = digit as usize - '0' as usize;
                out.push_str(captures.get(group).map_or("", |m| m.as_str()));
            }
            Some('\\') | None => out.push('\\'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
        }
    }
}

/// Replaces from character `start` the `n`th match, or all for 0.
fn replace(value: &str, regex: &Regex, replacement: &str, start: usize, n: usize) -> String {
    let from = value.char_indices().nth(start).map_or(value.len(), |(at, _)| at);
    let mut out = value[..from].to_owned();
    let mut last = from;
    for (i, captures) in regex.captures_iter(&value[from..]).enumerate() {
        let whole = captures.get(0).expect("group 0 is the match");
        if n != 0 && i + 1 != n {
            continue;
        }
        out.push_str(&value[last..from + whole.start()]);
        expand(&captures, replacement, &mut out);
        last = from + whole.end();
        if n != 0 {
            break;
        }
    }
    out.push_str(&value[last..]);
    out
}

fn regexp_replace(call: &Call<'_>, a: &[Datum]) -> Result<Datum> {
    let (value, pattern, replacement) = (text(&a[0]), text(&a[1]), text(&a[2]));
    let numbered = call.args.len() > 3 && matches!(a[3], Datum::Int4(_));
    let positive = |at: usize, name: &str, min: i32| {
        let number = i4(&a[at]);
        if number < min {
            return Err(TypeError::new(
                sqlstate::INVALID_PARAMETER,
                format!("invalid value for parameter \"{name}\": {number}"),
            ));
        }
        Ok(usize::try_from(number).expect("not negative"))
    };
    let (start, n, flags) = if numbered {
        let n = if a.len() > 4 { positive(4, "n", 0)? } else { 1 };
        (positive(3, "start", 1)? - 1, n, a.get(5).map_or("", text))
    } else {
        let flags = a.get(3).map_or("", text);
        (0, usize::from(!flags.contains('g')), flags)
    };
    let regex = compile(pattern, flags)?;
    Ok(Datum::text(replace(value, &regex, replacement, start, n)))
}

/// SIMILAR TO as a regular expression: `%` and `_` for `.*` and `.`, the rest as it is.
fn similar_to_regex(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut out = String::from("^(?:");
    let mut chars = pattern.chars();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            if let Some(next) = chars.next() {
                out.push('\\');
                out.push(next);
            }
            continue;
        }
        match c {
            ']' => in_class = false,
            '[' => in_class = true,
            _ => {}
        }
        match c {
            '%' if !in_class => out.push_str(".*"),
            '_' if !in_class => out.push('.'),
            '(' if !in_class => out.push_str("(?:"),
            '\\' | '.' | '^' | '$' if !in_class => {
                out.push('\\');
                out.push(c);
            }
            '\\' => out.push_str("\\\\"),
            _ => out.push(c),
        }
    }
    out.push_str(")$");
    Ok(out)
}

fn escape_char(escape: &str) -> Result<Option<char>> {
    let mut chars = escape.chars();
    let first = chars.next();
    if chars.next().is_some() {
        return Err(TypeError::new(sqlstate::INVALID_ESCAPE, "invalid escape string")
            .with_hint("Escape string must be empty or one character."));
    }
    Ok(first)
}

/// The substring a pattern finds: its first group, or all of the match.
fn substring(value: &str, pattern: &str) -> Result<Datum> {
    let regex = compile(pattern, "")?;
    Ok(regex.captures(value).map_or(Datum::Null, |found| {
        let group = if found.len() > 1 { found.get(1) } else { found.get(0) };
        group.map_or(Datum::Null, |m| m.as_str().into())
    }))
}

/// What stands between the matches.
pub(super) fn split(text: &str, pattern: &str) -> Result<Datum> {
    let regex = compile(pattern, "")?;
    Ok(Datum::array(regex.split(text).map(Datum::from).collect()))
}

pub(super) fn register(r: &mut Registry) {
    macro_rules! operators {
        ($($ty:literal)*) => {
            $(
                r.op(concat!("~(", $ty, ",text) bool"), |_, a| {
                    Ok(Datum::Bool(is_match(text(&a[0]), text(&a[1]), "")?))
                });
                r.op(concat!("!~(", $ty, ",text) bool"), |_, a| {
                    Ok(Datum::Bool(!is_match(text(&a[0]), text(&a[1]), "")?))
                });
                r.op(concat!("~*(", $ty, ",text) bool"), |_, a| {
                    Ok(Datum::Bool(is_match(text(&a[0]), text(&a[1]), "i")?))
                });
                r.op(concat!("!~*(", $ty, ",text) bool"), |_, a| {
                    Ok(Datum::Bool(!is_match(text(&a[0]), text(&a[1]), "i")?))
                });
            )*
        };
    }
    operators! { "text" "bpchar" "name" }
    r.f("regexp_match(text,text) text[]", |_, a| regexp_match(text(&a[0]), text(&a[1]), ""));
    r.f("regexp_match(text,text,text) text[]", |_, a| {
        regexp_match(text(&a[0]), text(&a[1]), text(&a[2]))
    });
    r.f("regexp_like(text,text) bool", |_, a| {
        Ok(Datum::Bool(is_match(text(&a[0]), text(&a[1]), "")?))
    });
    r.f("regexp_like(text,text,text) bool", |_, a| {
        Ok(Datum::Bool(is_match(text(&a[0]), text(&a[1]), text(&a[2]))?))
    });
    r.f("regexp_count(text,text) int4", |_, a| {
        let count = compile(text(&a[1]), "")?.find_iter(text(&a[0])).count();
        Ok(Datum::Int4(i32::try_from(count).expect("strings are below 1 GB")))
    });
    r.f("regexp_replace(text,text,text) text", regexp_replace);
    r.f("regexp_replace(text,text,text,text) text", regexp_replace);
    r.f("regexp_replace(text,text,text,int4) text", regexp_replace);
    r.f("regexp_replace(text,text,text,int4,int4) text", regexp_replace);
    r.f("regexp_replace(text,text,text,int4,int4,text) text", regexp_replace);
    r.f("regexp_substr(text,text) text", |_, a| {
        let found = compile(text(&a[1]), "")?.find(text(&a[0])).map(|m| m.as_str().to_owned());
        Ok(found.map_or(Datum::Null, Datum::text))
    });
    r.f("regexp_split_to_array(text,text) text[]", |_, a| split(text(&a[0]), text(&a[1])));
    r.f("substring(text,text) text", |_, a| substring(text(&a[0]), text(&a[1])));
    r.f("similar_to_escape(text) text", |_, a| {
        Ok(Datum::text(similar_to_regex(text(&a[0]), Some('\\'))?))
    });
    r.f("similar_to_escape(text,text) text", |_, a| {
        Ok(Datum::text(similar_to_regex(text(&a[0]), escape_char(text(&a[1]))?)?))
    });
}
