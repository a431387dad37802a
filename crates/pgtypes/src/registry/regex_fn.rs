//! Regular expressions: `~ ~* !~ !~*`, `regexp_match`, `regexp_replace` and their kind; SIMILAR TO.

use std::rc::Rc;

use super::Registry;
use super::args::{i4, text};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};
use crate::regex::{Found, Regex, Subject};

fn is_match(value: &str, pattern: &str, flags: &str) -> Result<bool> {
    Ok(Regex::new(pattern, flags)?.is_match(value))
}

/// An expression under flags that a function got, `g` among them if it takes it.
fn compile(pattern: &str, flags: &str, function: Option<&str>) -> Result<Rc<Regex>> {
    if let (Some(function), true) = (function, flags.contains('g')) {
        let error = TypeError::new(
            sqlstate::INVALID_PARAMETER,
            format!("{function}() does not support the \"global\" option"),
        );
        return Err(match function {
            "regexp_match" => error.with_hint("Use the regexp_matches function instead."),
            _ => error,
        });
    }
    Regex::new(pattern, &flags.replace('g', ""))
}

/// All matches from character `from` on, one after the other.
fn matches<'m>(
    regex: &'m Regex,
    subject: &'m Subject<'_>,
    from: usize,
) -> impl Iterator<Item = Found> + 'm {
    let mut next = from;
    std::iter::from_fn(move || {
        let found = regex.find(subject, next)?;
        let (start, end) = found.whole;
        next = if start == end { end + 1 } else { end };
        Some(found)
    })
}

/// Groups of a match as an array, or the whole match if there are none.
fn groups(found: &Found, subject: &Subject<'_>) -> Datum {
    if found.groups.is_empty() {
        return Datum::array(vec![subject.part(found.whole).into()]);
    }
    let one = |span: &Option<_>| span.map_or(Datum::Null, |span| subject.part(span).into());
    Datum::array(found.groups.iter().map(one).collect())
}

fn regexp_match(a: &[Datum]) -> Result<Datum> {
    let regex = compile(text(&a[1]), a.get(2).map_or("", text), Some("regexp_match"))?;
    let subject = Subject::new(text(&a[0]));
    Ok(regex.find(&subject, 0).map_or(Datum::Null, |found| groups(&found, &subject)))
}

/// The rows of `regexp_matches`, an array each.
pub(super) fn all_matches(a: &[Datum]) -> Result<Vec<Datum>> {
    let flags = a.get(2).map_or("", text);
    let regex = compile(text(&a[1]), flags, None)?;
    let subject = Subject::new(text(&a[0]));
    let most = if flags.contains('g') { usize::MAX } else { 1 };
    Ok(matches(&regex, &subject, 0).take(most).map(|found| groups(&found, &subject)).collect())
}

/// `\1` to `\9`, `\&`, `\\` in a replacement.
fn expand(found: &Found, subject: &Subject<'_>, replacement: &str, out: &mut String) {
    let mut chars = replacement.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('&') => out.push_str(subject.part(found.whole)),
            Some(digit @ '1'..='9') => {
                let group = digit as usize - '1' as usize;
                if let Some(Some(span)) = found.groups.get(group) {
                    out.push_str(subject.part(*span));
                }
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
    let subject = Subject::new(value);
    let mut out = String::with_capacity(value.len());
    let mut last = 0;
    for (i, found) in matches(regex, &subject, start).enumerate() {
        if n != 0 && i + 1 != n {
            continue;
        }
        out.push_str(subject.part((last, found.whole.0)));
        expand(&found, &subject, replacement, &mut out);
        last = found.whole.1;
        if n != 0 {
            break;
        }
    }
    out.push_str(subject.part((last, subject.len())));
    out
}

/// A number that must not be less than `min`.
fn parameter(datum: Option<&Datum>, name: &str, min: i32, default: usize) -> Result<usize> {
    let Some(datum) = datum else { return Ok(default) };
    let number = i4(datum);
    if number < min {
        return Err(TypeError::new(
            sqlstate::INVALID_PARAMETER,
            format!("invalid value for parameter \"{name}\": {number}"),
        ));
    }
    Ok(usize::try_from(number).expect("not negative"))
}

fn regexp_replace(a: &[Datum]) -> Result<Datum> {
    let numbered = matches!(a.get(3), Some(Datum::Int4(_)));
    let (start, n, flags) = if numbered {
        let start = parameter(a.get(3), "start", 1, 1)?;
        let flags = a.get(5).map_or("", text);
        (start - 1, parameter(a.get(4), "n", 0, 1)?, flags)
    } else {
        let flags = a.get(3).map_or("", text);
        if flags.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(TypeError::new(
                sqlstate::INVALID_PARAMETER,
                format!("invalid regular expression option: \"{}\"", &flags[..1]),
            )
            .with_hint(
                "If you meant to use regexp_replace() with a start parameter, cast the fourth \
                 argument to integer explicitly.",
            ));
        }
        (0, usize::from(!flags.contains('g')), flags)
    };
    let regex = compile(text(&a[1]), flags, None)?;
    Ok(Datum::text(replace(text(&a[0]), &regex, text(&a[2]), start, n)))
}

fn regexp_count(a: &[Datum]) -> Result<Datum> {
    let start = parameter(a.get(2), "start", 1, 1)?;
    let regex = compile(text(&a[1]), a.get(3).map_or("", text), Some("regexp_count"))?;
    let subject = Subject::new(text(&a[0]));
    let count = matches(&regex, &subject, start - 1).count();
    Ok(Datum::Int4(i32::try_from(count).expect("strings are below 1 GB")))
}

/// The characters of the `n`th match from `start` on, or of one group of it.
fn nth(
    subject: &Subject<'_>,
    regex: &Regex,
    (start, n, group): (usize, usize, usize),
) -> Option<(usize, usize)> {
    if group > regex.groups() {
        return None;
    }
    let found = matches(regex, subject, start - 1).nth(n - 1)?;
    match group {
        0 => Some(found.whole),
        group => found.groups[group - 1],
    }
}

fn regexp_instr(a: &[Datum]) -> Result<Datum> {
    let start = parameter(a.get(2), "start", 1, 1)?;
    let n = parameter(a.get(3), "n", 1, 1)?;
    let at_end = parameter(a.get(4), "endoption", 0, 0)?;
    if at_end > 1 {
        return Err(TypeError::new(
            sqlstate::INVALID_PARAMETER,
            format!("invalid value for parameter \"endoption\": {at_end}"),
        ));
    }
    let group = parameter(a.get(6), "subexpr", 0, 0)?;
    let regex = compile(text(&a[1]), a.get(5).map_or("", text), Some("regexp_instr"))?;
    let subject = Subject::new(text(&a[0]));
    let at = nth(&subject, &regex, (start, n, group))
        .map_or(0, |(from, to)| if at_end == 1 { to + 1 } else { from + 1 });
    Ok(Datum::Int4(i32::try_from(at).expect("strings are below 1 GB")))
}

fn regexp_substr(a: &[Datum]) -> Result<Datum> {
    let start = parameter(a.get(2), "start", 1, 1)?;
    let n = parameter(a.get(3), "n", 1, 1)?;
    let group = parameter(a.get(5), "subexpr", 0, 0)?;
    let regex = compile(text(&a[1]), a.get(4).map_or("", text), Some("regexp_substr"))?;
    let subject = Subject::new(text(&a[0]));
    let found = nth(&subject, &regex, (start, n, group));
    Ok(found.map_or(Datum::Null, |span| subject.part(span).into()))
}

/// SIMILAR TO as a regular expression: `%` and `_` for `.*` and `.`, the rest as it is. An escaped double
/// quote begins or ends what SUBSTRING is to return.
fn similar_to_regex(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut out = String::from("^(?:");
    let mut chars = pattern.chars();
    let (mut in_class, mut quotes) = (false, 0);
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            match chars.next() {
                Some('"') if !in_class => {
                    out.push_str(match quotes {
                        0 => "){1,1}?(",
                        1 => "){1,1}(?:",
                        _ => {
                            return Err(TypeError::new(
                                sqlstate::INVALID_ESCAPE_USE,
                                "SQL regular expression may not contain more than two \
                                 escape-double-quote separators",
                            ));
                        }
                    });
                    quotes += 1;
                }
                Some(next) => {
                    out.push('\\');
                    out.push(next);
                }
                None => {}
            }
            continue;
        }
        match c {
            _ if in_class => {
                in_class = c != ']';
                out.push_str(if c == '\\' { "\\" } else { "" });
                out.push(c);
            }
            '[' => {
                in_class = true;
                out.push('[');
            }
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '(' => out.push_str("(?:"),
            '\\' | '.' | '^' | '$' => {
                out.push('\\');
                out.push(c);
            }
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
    let regex = Regex::new(pattern, "")?;
    let subject = Subject::new(value);
    Ok(regex.find(&subject, 0).map_or(Datum::Null, |found| {
        let span = found.groups.first().copied().unwrap_or(Some(found.whole));
        span.map_or(Datum::Null, |span| subject.part(span).into())
    }))
}

/// What stands between the matches. Those of nothing count within the text only, and not behind another
/// match.
pub(super) fn split(a: &[Datum], function: &str) -> Result<Datum> {
    let regex = compile(text(&a[1]), a.get(2).map_or("", text), Some(function))?;
    let subject = Subject::new(text(&a[0]));
    let mut parts = Vec::new();
    let mut last = 0;
    for found in matches(&regex, &subject, 0) {
        let (start, end) = found.whole;
        if start < subject.len() && end > last {
            parts.push(Datum::from(subject.part((last, start))));
            last = end;
        }
    }
    parts.push(Datum::from(subject.part((last, subject.len()))));
    Ok(Datum::array(parts))
}

fn operators(r: &mut Registry) {
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
}

fn similar_to_escape(a: &[Datum]) -> Result<Datum> {
    let escape = match a.get(1) {
        Some(escape) => escape_char(text(escape))?,
        None => Some('\\'),
    };
    Ok(Datum::text(similar_to_regex(text(&a[0]), escape)?))
}

fn similar(r: &mut Registry) {
    r.f("similar_to_escape(text) text", |_, a| similar_to_escape(a));
    r.f("similar_to_escape(text,text) text", |_, a| similar_to_escape(a));
    // As it was before PostgreSQL 13: no escape character is the default one.
    r.f("similar_escape(text,text) text", |_, a| match (&a[0], &a[1]) {
        (Datum::Null, _) => Ok(Datum::Null),
        (_, Datum::Null) => similar_to_escape(&a[..1]),
        _ => similar_to_escape(a),
    })
    .nonstrict();
    r.f("substring(text,text) text", |_, a| substring(text(&a[0]), text(&a[1])));
    r.f("substring(text,text,text) text", |_, a| {
        let pattern = similar_to_regex(text(&a[1]), escape_char(text(&a[2]))?)?;
        substring(text(&a[0]), &pattern)
    });
}

pub(super) fn register(r: &mut Registry) {
    operators(r);
    similar(r);
    r.f("regexp_match(text,text) text[]", |_, a| regexp_match(a));
    r.f("regexp_match(text,text,text) text[]", |_, a| regexp_match(a));
    r.f("regexp_like(text,text) bool", |_, a| {
        Ok(Datum::Bool(is_match(text(&a[0]), text(&a[1]), "")?))
    });
    r.f("regexp_like(text,text,text) bool", |_, a| {
        let regex = compile(text(&a[1]), text(&a[2]), Some("regexp_like"))?;
        Ok(Datum::Bool(regex.is_match(text(&a[0]))))
    });
    for signature in [
        "regexp_count(text,text) int4",
        "regexp_count(text,text,int4) int4",
        "regexp_count(text,text,int4,text) int4",
    ] {
        r.f(signature, |_, a| regexp_count(a));
    }
    for signature in [
        "regexp_instr(text,text) int4",
        "regexp_instr(text,text,int4) int4",
        "regexp_instr(text,text,int4,int4) int4",
        "regexp_instr(text,text,int4,int4,int4) int4",
        "regexp_instr(text,text,int4,int4,int4,text) int4",
        "regexp_instr(text,text,int4,int4,int4,text,int4) int4",
    ] {
        r.f(signature, |_, a| regexp_instr(a));
    }
    for signature in [
        "regexp_replace(text,text,text) text",
        "regexp_replace(text,text,text,text) text",
        "regexp_replace(text,text,text,int4) text",
        "regexp_replace(text,text,text,int4,int4) text",
        "regexp_replace(text,text,text,int4,int4,text) text",
    ] {
        r.f(signature, |_, a| regexp_replace(a));
    }
    for signature in [
        "regexp_substr(text,text) text",
        "regexp_substr(text,text,int4) text",
        "regexp_substr(text,text,int4,int4) text",
        "regexp_substr(text,text,int4,int4,text) text",
        "regexp_substr(text,text,int4,int4,text,int4) text",
    ] {
        r.f(signature, |_, a| regexp_substr(a));
    }
    for signature in
        ["regexp_split_to_array(text,text) text[]", "regexp_split_to_array(text,text,text) text[]"]
    {
        r.f(signature, |_, a| split(a, "regexp_split_to_array"));
    }
}
