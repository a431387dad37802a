//! Strings: trimming, concatenation of many, quoting, encodings and digests.

use md5::{Digest, Md5};

use super::args::{bytes, i4, i8, text};
use super::string::any_text;
use super::{Call, Registry};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};
use crate::text::{decode_hex, parse_escape, print_hex};

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

/// Words that need quotes as identifiers: PostgreSQL's reserved and type-function key words.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

/// An identifier as it must be written.
pub fn quote_ident(name: &str) -> String {
    let plain_start = |c: char| c.is_ascii_lowercase() || c == '_';
    let plain = name.starts_with(plain_start)
        && name.chars().all(|c| plain_start(c) || c.is_ascii_digit())
        && RESERVED.binary_search(&name).is_err();
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A string as it must be written.
pub fn quote_literal(value: &str) -> String {
    let escape = if value.contains('\\') { "E" } else { "" };
    format!("{escape}'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    print_hex(bytes, &mut out).expect("writing to a string");
    out
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base 64 with a line break after every 76 characters, as PostgreSQL has it.
fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    let mut line = 0;
    for chunk in bytes.chunks(3) {
        let block =
            chunk.iter().fold(0u32, |acc, b| acc << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            if i <= chunk.len() {
                let digit = (block >> (18 - 6 * i)) & 63;
                out.push(char::from(BASE64[digit as usize]));
            } else {
                out.push('=');
            }
        }
        line += 4;
        if line == 76 {
            out.push('\n');
            line = 0;
        }
    }
    if out.ends_with('\n') {
        out.pop();
    }
    out
}

fn from_base64(input: &str) -> Result<Vec<u8>> {
    let invalid = |message: String| TypeError::new(sqlstate::INVALID_PARAMETER, message);
    let mut out = Vec::new();
    let (mut block, mut count, mut padding) = (0u32, 0, 0);
    for c in input.chars() {
        let digit = match c {
            ' ' | '\t' | '\n' | '\r' => continue,
            '=' => {
                padding += 1;
                if padding > 2 || count < 2 {
                    return Err(invalid(
                        "unexpected \"=\" while decoding base64 sequence".to_owned(),
                    ));
                }
                0
            }
            _ if padding > 0 => {
                return Err(invalid("unexpected \"=\" while decoding base64 sequence".to_owned()));
            }
            _ => match BASE64.iter().position(|b| char::from(*b) == c) {
                Some(digit) => digit as u32,
                None => {
                    return Err(invalid(format!(
                        "invalid symbol \"{c}\" found while decoding base64 sequence"
                    )));
                }
            },
        };
        block = block << 6 | digit;
        count += 1;
        if count == 4 {
            let [_, a, b, c] = block.to_be_bytes();
            out.extend_from_slice(&[a, b, c][..3 - padding]);
            (block, count) = (0, 0);
        }
    }
    if count != 0 {
        return Err(invalid("invalid base64 end sequence".to_owned())
            .with_hint("Input data is missing padding, is truncated, or is otherwise corrupted."));
    }
    Ok(out)
}

fn unknown_encoding(name: &str) -> TypeError {
    TypeError::new(sqlstate::INVALID_PARAMETER, format!("unrecognized encoding: \"{name}\""))
}

fn encode(data: &[u8], format: &str) -> Result<Datum> {
    Ok(Datum::text(match format.to_ascii_lowercase().as_str() {
        "hex" => hex(data),
        "base64" => base64(data),
        "escape" => {
            let mut out = String::new();
            for &byte in data {
                match byte {
                    b'\\' => out.push_str("\\\\"),
                    0 | 0x80.. => out.push_str(&format!("\\{byte:03o}")),
                    _ => out.push(char::from(byte)),
                }
            }
            out
        }
        _ => return Err(unknown_encoding(format)),
    }))
}

fn decode(input: &str, format: &str) -> Result<Datum> {
    let data = match format.to_ascii_lowercase().as_str() {
        "hex" => decode_hex(input)?,
        "base64" => from_base64(input)?,
        "escape" => parse_escape(input)?,
        _ => return Err(unknown_encoding(format)),
    };
    Ok(Datum::Bytea(data.into()))
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
                r.f(concat!($name, "(text) text"), |_, a| Ok(Datum::text(text(&a[0]).$method(' '))));
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
    r.f("md5(text) text", |_, a| Ok(Datum::text(hex(&Md5::digest(text(&a[0]))))));
    r.f("md5(bytea) text", |_, a| Ok(Datum::text(hex(&Md5::digest(bytes(&a[0]))))));
    r.f("encode(bytea,text) text", |_, a| encode(bytes(&a[0]), text(&a[1])));
    r.f("decode(text,text) bytea", |_, a| decode(text(&a[0]), text(&a[1])));
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
    r.f("convert_from(bytea,name) text", |_, a| {
        check_utf8(text(&a[1]))?;
        String::from_utf8(bytes(&a[0]).to_vec()).map(Datum::text).map_err(|_| {
            TypeError::new(sqlstate::BAD_ENCODING, "invalid byte sequence for encoding \"UTF8\"")
        })
    });
    r.f("convert_to(text,name) bytea", |_, a| {
        check_utf8(text(&a[1]))?;
        Ok(Datum::Bytea(text(&a[0]).as_bytes().to_vec().into()))
    });
}

fn check_utf8(name: &str) -> Result<()> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    match plain.to_ascii_lowercase().as_str() {
        "utf8" | "unicode" | "sqlascii" => Ok(()),
        _ => Err(TypeError::not_supported(format!("encoding \"{name}\" is not supported"))),
    }
}
