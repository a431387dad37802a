//! Strings: trimming, concatenation of many, quoting, single bytes.

use super::args::{bytes, i4, i8, text};
use super::string::any_text;
use super::{Call, Registry};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};

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

fn byte_index(data: &[u8], index: i32) -> Result<usize> {
    usize::try_from(index).ok().filter(|at| *at < data.len()).ok_or_else(|| {
        TypeError::new(
            sqlstate::ARRAY_SUBSCRIPT,
            format!("index {index} out of valid range, 0..{}", data.len() as i64 - 1),
        )
    })
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
    r.f("btrim(bytea,bytea) bytea", |_, a| {
        let (data, set) = (bytes(&a[0]), bytes(&a[1]));
        let start = data.iter().position(|b| !set.contains(b)).unwrap_or(data.len());
        let end = data.iter().rposition(|b| !set.contains(b)).map_or(start, |at| at + 1);
        Ok(Datum::Bytea(data[start..end].to_vec().into()))
    });
}

pub(super) fn register(r: &mut Registry) {
    trim(r);
    r.f("concat(variadic any) text", concat).nonstrict().stable();
    r.f("concat_ws(text,variadic any) text", concat_ws).nonstrict().stable();
    r.f("quote_ident(text) text", |_, a| Ok(Datum::text(quote_ident(text(&a[0])))));
    r.f("quote_literal(text) text", |_, a| Ok(Datum::text(quote_literal(text(&a[0])))));
    r.f("quote_literal(anyelement) text", |call, a| {
        Ok(Datum::text(quote_literal(&any_text(call, 0, &a[0]))))
    })
    .stable();
    let nullable = |call: &Call<'_>, a: &[Datum]| {
        if a[0].is_null() {
            return Ok(Datum::text("NULL"));
        }
        Ok(Datum::text(quote_literal(&any_text(call, 0, &a[0]))))
    };
    r.f("quote_nullable(text) text", nullable).nonstrict();
    r.f("quote_nullable(anyelement) text", nullable).nonstrict().stable();
    r.f("to_hex(int4) text", |_, a| Ok(Datum::text(format!("{:x}", i4(&a[0])))));
    r.f("to_hex(int8) text", |_, a| Ok(Datum::text(format!("{:x}", i8(&a[0])))));
    r.f("get_byte(bytea,int4) int4", |_, a| {
        let data = bytes(&a[0]);
        Ok(Datum::Int4(i32::from(data[byte_index(data, i4(&a[1]))?])))
    });
    r.f("set_byte(bytea,int4,int4) bytea", |_, a| {
        let mut data = bytes(&a[0]).to_vec();
        let at = byte_index(&data, i4(&a[1]))?;
        data[at] = i4(&a[2]) as u8;
        Ok(Datum::Bytea(data.into()))
    });
}
