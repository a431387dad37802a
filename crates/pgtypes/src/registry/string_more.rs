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
