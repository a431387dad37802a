//! Strings: trimming, concatenation of many, quoting, single bytes.

use super::args::{i4, i8, text};
use super::string::any_text;
use super::{Call, Registry};
use crate::datum::Datum;
use crate::error::Result;

fn set_of(chars: &str) -> impl Fn(char) -> bool + '_ {
    move |c| chars.contains(c)
}

fn concat(call: &Call<'_>, a: &[Datum]) -> Result<Datum> {
    let parts: Vec<String> = present(call, a, 0).collect();
    Ok(Datum::text(parts.concat()))
}

fn concat_ws(call: &Call<'_>, a: &[Datum]) -> Result<Datum> {
    if a[0].is_null() {
        return Ok(Datum::Null);
    }
    let parts: Vec<String> = present(call, a, 1).collect();
    Ok(Datum::text(parts.join(text(&a[0]))))
}

fn present<'a>(
    call: &'a Call<'_>,
    args: &'a [Datum],
    from: usize,
) -> impl Iterator<Item = String> + 'a {
    args.iter()
        .enumerate()
        .skip(from)
        .filter(|(_, arg)| !arg.is_null())
        .map(|(at, arg)| any_text(call, at, arg))
}

/// A value's text as a cast to `text` gives it.
fn as_cast(call: &Call<'_>, datum: &Datum) -> String {
    match datum {
        Datum::Bool(value) => value.to_string(),
        other => any_text(call, 0, other),
    }
}

/// An identifier as it must be written.
pub fn quote_ident(name: &str) -> String {
    let plain_start = |c: char| c.is_ascii_lowercase() || c == '_';
    let plain = name.starts_with(plain_start)
        && name.chars().all(|c| plain_start(c) || c.is_ascii_digit())
        && !super::keywords::needs_quotes(name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A string as it must be written.
pub fn quote_literal(value: &str) -> String {
    let escape = if value.contains('\\') { "E" } else { "" };
    format!("{escape}'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

fn trim(r: &mut Registry) {
    macro_rules! family {
        ($($name:literal $method:ident;)*) => {
            $(
                r.f(concat!($name, "(text) text"), |_, a| {
                    Ok(Datum::text(text(&a[0]).$method(' ')))
                });
                r.f(concat!($name, "(text,text) text"), |_, a| {
                    Ok(Datum::text(text(&a[0]).$method(set_of(text(&a[1])))))
                });
            )*
        };
    }
    family! {
        "btrim" trim_matches;
        "ltrim" trim_start_matches;
        "rtrim" trim_end_matches;
    }
}

pub(super) fn register(r: &mut Registry) {
    trim(r);
    r.f("concat(variadic any) text", concat).nonstrict().stable();
    r.f("concat_ws(text,variadic any) text", concat_ws).nonstrict().stable();
    r.f("quote_ident(text) text", |_, a| Ok(Datum::text(quote_ident(text(&a[0])))));
    r.f("quote_literal(text) text", |_, a| Ok(Datum::text(quote_literal(text(&a[0])))));
    r.f("quote_literal(anyelement) text", |call, a| {
        Ok(Datum::text(quote_literal(&as_cast(call, &a[0]))))
    })
    .stable();
    let nullable = |call: &Call<'_>, a: &[Datum]| {
        if a[0].is_null() {
            return Ok(Datum::text("NULL"));
        }
        Ok(Datum::text(quote_literal(&as_cast(call, &a[0]))))
    };
    r.f("quote_nullable(text) text", nullable).nonstrict();
    r.f("quote_nullable(anyelement) text", nullable).nonstrict().stable();
    r.f("to_hex(int4) text", |_, a| Ok(Datum::text(format!("{:x}", i4(&a[0])))));
    r.f("to_hex(int8) text", |_, a| Ok(Datum::text(format!("{:x}", i8(&a[0])))));
}
