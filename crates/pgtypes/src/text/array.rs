//! Text of arrays and rows: `{1,NULL,"a b"}`, `[0:1]={1,2}`, `(1,"a b",)`.

use std::fmt::{self, Write};

use super::{parse_text, print as print_datum, scalar::trim, text_of};
use crate::datum::{ArrayValue, Datum, Dim};
use crate::env::EvalEnv;
use crate::error::{Result, TypeError, sqlstate};
use crate::ty::{PgType, TypeId};
use std::sync::Arc;

/// PostgreSQL's `MAXDIM`.
const MAX_DIMS: usize = 6;

fn malformed(text: &str, detail: impl Into<String>) -> TypeError {
    TypeError::new(sqlstate::INVALID_TEXT, format!("malformed array literal: \"{text}\""))
        .with_detail(detail)
}

/// Reads an array of `element`.
pub(super) fn parse(text: &str, element: PgType, env: &EvalEnv) -> Result<Datum> {
    let mut body = trim(text);
    let mut bounds: Vec<Dim> = Vec::new();
    if body.starts_with('[') {
        let (dims, rest) = explicit_bounds(text, body)?;
        bounds = dims;
        body = rest;
    }
    if !body.starts_with('{') {
        let detail = if bounds.is_empty() {
            "Array value must start with \"{\" or dimension information."
        } else {
            "Array contents must start with \"{\"."
        };
        return Err(malformed(text, detail));
    }
    let mut reader = Reader { text, body, at: 0, items: Vec::new(), lens: Vec::new() };
    reader.nested(0, element, env)?;
    if !trim(&body[reader.at..]).is_empty() {
        return Err(malformed(text, "Junk after closing right brace."));
    }
    let Reader { items, lens, .. } = reader;
    if !bounds.is_empty() {
        let same = bounds.len() == lens.len()
            && bounds.iter().zip(&lens).all(|(dim, len)| usize::try_from(dim.len) == Ok(*len));
        if !same {
            return Err(malformed(text, "Specified array dimensions do not match array contents."));
        }
    }
    if items.is_empty() {
        return Ok(Datum::Array(Arc::new(ArrayValue::default())));
    }
    let dims = if bounds.is_empty() {
        let dim = |len: &usize| Dim { len: i32::try_from(*len).expect("in memory"), lower: 1 };
        lens.iter().map(dim).collect()
    } else {
        bounds
    };
    Dim::count_all(&dims)?;
    Ok(Datum::Array(Arc::new(ArrayValue { dims, items })))
}

fn explicit_bounds<'a>(text: &str, mut body: &'a str) -> Result<(Vec<Dim>, &'a str)> {
    let mut dims = Vec::new();
    while let Some(rest) = body.strip_prefix('[') {
        let end = rest
            .find(']')
            .ok_or_else(|| malformed(text, "Missing \"]\" after array dimensions."))?;
        let number = |part: &str| {
            part.trim().parse::<i32>().map_err(|_| {
                malformed(text, "\"[\" must introduce explicitly-specified array dimensions.")
            })
        };
        let (lower, upper) = match rest[..end].split_once(':') {
            Some((lower, upper)) => (number(lower)?, number(upper)?),
            None => (1, number(&rest[..end])?),
        };
        if upper < lower {
            return Err(TypeError::new(
                sqlstate::ARRAY_SUBSCRIPT,
                "upper bound cannot be less than lower bound",
            ));
        }
        // What is longer than that is not what stands there.
        let len = upper.saturating_sub(lower).saturating_add(1);
        dims.push(Dim { len, lower });
        body = rest[end + 1..].trim_start();
    }
    match body.strip_prefix('=') {
        Some(rest) => Ok((dims, rest.trim_start())),
        None => Err(malformed(text, "Missing \"=\" after array dimensions.")),
    }
}

struct Reader<'a> {
    text: &'a str,
    body: &'a str,
    at: usize,
    items: Vec<Datum>,
    /// Length of each dimension, as the first sub-array of each had it.
    lens: Vec<usize>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.body.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace() || b == 0x0b) {
            self.at += 1;
        }
    }

    fn bad(&self, detail: &str) -> TypeError {
        malformed(self.text, detail)
    }

    /// Reads `{…}` with the cursor at its brace.
    fn nested(&mut self, depth: usize, element: PgType, env: &EvalEnv) -> Result<()> {
        if depth >= MAX_DIMS {
            return Err(TypeError::new(
                sqlstate::LIMIT_EXCEEDED,
                format!("number of array dimensions exceeds the maximum allowed ({MAX_DIMS})"),
            ));
        }
        self.at += 1;
        let mut count = 0;
        let mut nests: Option<bool> = None;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            if depth > 0 {
                return Err(self.bad("Unexpected \"}\" character."));
            }
            return Ok(());
        }
        loop {
            self.space();
            let is_nested = self.peek() == Some(b'{');
            match nests.replace(is_nested) {
                Some(false) if is_nested => return Err(self.bad("Unexpected \"{\" character.")),
                Some(true) if !is_nested => return Err(self.bad("Unexpected array element.")),
                _ => {}
            }
            if !is_nested && self.lens.len() > depth + 1 {
                return Err(self.bad(
                    "Multidimensional arrays must have sub-arrays with matching dimensions.",
                ));
            }
            if is_nested {
                if self.lens.len() <= depth {
                    self.lens.resize(depth + 1, usize::MAX);
                }
                self.nested(depth + 1, element, env)?;
            } else {
                let item = self.item(element, env)?;
                self.items.push(item);
            }
            count += 1;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return self.close(depth, count);
                }
                Some(b'{') => return Err(self.bad("Unexpected \"{\" character.")),
                None => return Err(self.bad("Unexpected end of input.")),
                Some(_) => return Err(self.bad("Unexpected array element.")),
            }
        }
    }

    fn close(&mut self, depth: usize, count: usize) -> Result<()> {
        if self.lens.len() <= depth {
            self.lens.resize(depth + 1, usize::MAX);
        }
        match self.lens[depth] {
            usize::MAX => self.lens[depth] = count,
            known if known == count => {}
            _ => {
                return Err(self.bad(
                    "Multidimensional arrays must have sub-arrays with matching dimensions.",
                ));
            }
        }
        Ok(())
    }

    fn item(&mut self, element: PgType, env: &EvalEnv) -> Result<Datum> {
        let mut text = String::new();
        let quoted = self.peek() == Some(b'"');
        if quoted {
            self.at += 1;
            loop {
                match self.next_char() {
                    None => return Err(self.bad("Unexpected end of input.")),
                    Some('"') => break,
                    Some('\\') => match self.next_char() {
                        Some(c) => text.push(c),
                        None => return Err(self.bad("Unexpected end of input.")),
                    },
                    Some(c) => text.push(c),
                }
            }
        } else {
            let mut keep = 0;
            loop {
                match self.peek() {
                    None => return Err(self.bad("Unexpected end of input.")),
                    Some(b',' | b'}') => break,
                    Some(b'{') => return Err(self.bad("Unexpected \"{\" character.")),
                    Some(b'"') => return Err(self.bad("Unexpected array element.")),
                    Some(b'\\') => {
                        self.at += 1;
                        match self.next_char() {
                            Some(c) => text.push(c),
                            None => return Err(self.bad("Unexpected end of input.")),
                        }
                        keep = text.len();
                    }
                    Some(b) => {
                        let c = self.next_char().expect("peeked");
                        text.push(c);
                        if !b.is_ascii_whitespace() {
                            keep = text.len();
                        }
                    }
                }
            }
            text.truncate(keep);
            if text.is_empty() {
                let shown = self.peek().map_or(',', char::from);
                return Err(self.bad(&format!("Unexpected \"{shown}\" character.")));
            }
            if text.eq_ignore_ascii_case("null") {
                return Ok(Datum::Null);
            }
        }
        parse_text(&text, element, env)
    }

    fn next_char(&mut self) -> Option<char> {
        let c = self.body[self.at..].chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }
}

/// Reads `int2vector` and `oidvector`: elements between blanks, subscripts from 0.
pub(super) fn parse_vector(text: &str, element: PgType, env: &EvalEnv) -> Result<Datum> {
    let items = trim(text).split_ascii_whitespace();
    let items = items.map(|item| parse_text(item, element, env)).collect::<Result<Vec<_>>>()?;
    Ok(Datum::vector(items))
}

/// Prints such a vector.
pub(super) fn print_vector<W: Write>(
    value: &ArrayValue,
    element: PgType,
    env: &EvalEnv,
    out: &mut W,
) -> fmt::Result {
    for (i, item) in value.items.iter().enumerate() {
        if i > 0 {
            out.write_str(" ")?;
        }
        print_datum(item, element, env, out)?;
    }
    Ok(())
}

/// Prints an array of `element`.
pub(super) fn print<W: Write>(
    value: &ArrayValue,
    element: PgType,
    env: &EvalEnv,
    out: &mut W,
) -> fmt::Result {
    if value.items.is_empty() {
        return out.write_str("{}");
    }
    if value.dims.iter().any(|dim| dim.lower != 1) {
        for dim in &value.dims {
            write!(out, "[{}:{}]", dim.lower, i64::from(dim.lower) + i64::from(dim.len) - 1)?;
        }
        out.write_str("=")?;
    }
    print_level(&value.dims, &value.items, element, env, out)
}

fn print_level<W: Write>(
    dims: &[Dim],
    items: &[Datum],
    element: PgType,
    env: &EvalEnv,
    out: &mut W,
) -> fmt::Result {
    out.write_str("{")?;
    let count = usize::try_from(dims[0].len).expect("lengths are positive");
    let step = items.len() / count;
    for (i, chunk) in items.chunks(step).enumerate() {
        if i > 0 {
            out.write_str(",")?;
        }
        if dims.len() > 1 {
            print_level(&dims[1..], chunk, element, env, out)?;
        } else {
            print_item(&chunk[0], element, env, out)?;
        }
    }
    out.write_str("}")
}

fn print_item<W: Write>(item: &Datum, element: PgType, env: &EvalEnv, out: &mut W) -> fmt::Result {
    match item {
        Datum::Null => out.write_str("NULL"),
        Datum::Int8(_) if element.id == TypeId::Enum => {
            quote_element(&text_of(item, element, env), out)
        }
        // These never need quotes.
        Datum::Bool(_)
        | Datum::Int2(_)
        | Datum::Int4(_)
        | Datum::Int8(_)
        | Datum::Float4(_)
        | Datum::Float8(_)
        | Datum::Numeric(_)
        | Datum::Uuid(_) => print_datum(item, element, env, out),
        _ => quote_element(&text_of(item, element, env), out),
    }
}

/// Prints an element, in quotes where its text needs them.
pub fn quote_element<W: Write>(text: &str, out: &mut W) -> fmt::Result {
    let special = |c: char| {
        matches!(c, '"' | '\\' | '{' | '}' | ',') || c.is_ascii_whitespace() || c == '\x0b'
    };
    if !text.is_empty() && !text.contains(special) && !text.eq_ignore_ascii_case("null") {
        return out.write_str(text);
    }
    out.write_str("\"")?;
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.write_str("\\")?;
        }
        out.write_char(c)?;
    }
    out.write_str("\"")
}

/// Prints a row.
pub(super) fn print_record<W: Write>(
    fields: &[(PgType, Datum)],
    env: &EvalEnv,
    out: &mut W,
) -> fmt::Result {
    out.write_str("(")?;
    for (i, (ty, field)) in fields.iter().enumerate() {
        if i > 0 {
            out.write_str(",")?;
        }
        if field.is_null() {
            continue;
        }
        let text = text_of(field, *ty, env);
        let special = |c: char| {
            matches!(c, '"' | '\\' | '(' | ')' | ',') || c.is_ascii_whitespace() || c == '\x0b'
        };
        if !text.is_empty() && !text.contains(special) {
            out.write_str(&text)?;
            continue;
        }
        out.write_str("\"")?;
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                out.write_char(c)?;
            }
            out.write_char(c)?;
        }
        out.write_str("\"")?;
    }
    out.write_str(")")
}
