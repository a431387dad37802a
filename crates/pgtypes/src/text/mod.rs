//! The text form of every type: what clients send and see.
//!
//! [`parse_text`] is PostgreSQL's input function without the modifier (see
//! [`crate::cast::apply_typmod`]), [`to_text`] the output function. For every value,
//! `parse_text(to_text(v)) = v`.

mod array;
mod bytea;
mod float;
mod scalar;

use std::fmt::{self, Write};

use crate::datetime;
use crate::datum::{Datum, Str};
use crate::enums;
use crate::env::EvalEnv;
use crate::error::Result;
use crate::json;
use crate::numeric::Numeric;
use crate::ty::{PgType, TypeId};
use crate::xid8;

pub use array::quote_element;
pub(crate) use bytea::{decode_hex, parse_escape, print_hex};
pub use bytea::{parse_bytea, print_bytea};
pub use float::{parse_f32, parse_f64, print_f32, print_f64};
pub use scalar::{parse_bool, parse_i16, parse_i32, parse_i64, parse_oid, parse_uuid, print_uuid};

/// Reads a value of type `ty`; its modifier is not applied.
pub fn parse_text(text: &str, ty: PgType, env: &EvalEnv) -> Result<Datum> {
    if ty.id.is_vector() {
        return array::parse_vector(text, ty.element(), env);
    }
    if ty.array {
        return array::parse(text, ty.element(), env);
    }
    Ok(match ty.id {
        TypeId::Bool => Datum::Bool(parse_bool(text)?),
        TypeId::Int2 => Datum::Int2(parse_i16(text)?),
        TypeId::Int4 => Datum::Int4(parse_i32(text)?),
        TypeId::Int8 => Datum::Int8(parse_i64(text)?),
        TypeId::Float4 => Datum::Float4(parse_f32(text)?),
        TypeId::Float8 => Datum::Float8(parse_f64(text)?),
        TypeId::Numeric => Datum::Numeric(Numeric::parse(text)?),
        TypeId::Text | TypeId::Varchar | TypeId::Bpchar | TypeId::Unknown => Datum::text(text),
        TypeId::Name => Datum::text(scalar::truncate_name(text)),
        TypeId::Char => Datum::text(scalar::parse_char(text)),
        TypeId::Bytea => Datum::Bytea(parse_bytea(text)?.into()),
        TypeId::Date => Datum::Date(datetime::parse::date(text, env)?),
        TypeId::Time => Datum::Time(datetime::parse::time(text, env)?),
        TypeId::Timestamp => Datum::Timestamp(datetime::parse::timestamp(text, env)?),
        TypeId::Timestamptz => Datum::Timestamptz(datetime::parse::timestamptz(text, env)?),
        TypeId::Interval => {
            let fields = if ty.typmod < 0 { 0x7fff } else { (ty.typmod >> 16) & 0x7fff };
            Datum::Interval(datetime::interval::parse(text, fields, env.interval_style)?)
        }
        TypeId::Uuid => Datum::Uuid(parse_uuid(text)?),
        TypeId::Json => {
            json::check(text)?;
            Datum::text(text)
        }
        TypeId::Jsonb => Datum::Jsonb(Str::from(json::parse(text, true)?.canonical().to_string())),
        TypeId::Jsonpath => Datum::text(json::path::parse(text)?.to_string()),
        TypeId::Oid | TypeId::Xid => Datum::Oid(parse_oid(text, ty.id.name())?),
        TypeId::Xid8 => xid8::datum(xid8::parse(text)),
        TypeId::Regtype => Datum::Oid(scalar::parse_regtype(text, env)?),
        TypeId::Regclass
        | TypeId::Regproc
        | TypeId::Regnamespace
        | TypeId::Regrole
        | TypeId::Regprocedure
        | TypeId::Regoper
        | TypeId::Regoperator
        | TypeId::Regcollation
        | TypeId::Regconfig
        | TypeId::Regdictionary => Datum::Oid(scalar::parse_reg(text, ty.id, env)?),
        TypeId::Void => Datum::text(""),
        TypeId::Enum => enums::parse(text, ty, env)?,
        TypeId::Record | TypeId::Int2vector | TypeId::Oidvector => {
            return Err(crate::TypeError::not_supported(
                "input of anonymous composite types is not implemented",
            ));
        }
    })
}

/// Prints a value of type `ty`. NULL has no text; it prints nothing.
pub fn to_text<W: Write>(datum: &Datum, ty: PgType, env: &EvalEnv, out: &mut W) {
    // `fmt::Write` for strings and byte buffers cannot fail.
    print(datum, ty, env, out).expect("the buffer takes text");
}

/// The text form as a string of its own.
pub fn text_of(datum: &Datum, ty: PgType, env: &EvalEnv) -> String {
    let mut out = String::new();
    to_text(datum, ty, env, &mut out);
    out
}

fn print<W: Write>(datum: &Datum, ty: PgType, env: &EvalEnv, out: &mut W) -> fmt::Result {
    match datum {
        Datum::Null => Ok(()),
        Datum::Bool(value) => out.write_str(if *value { "t" } else { "f" }),
        Datum::Int2(value) => write_int(i64::from(*value), out),
        Datum::Int4(value) => write_int(i64::from(*value), out),
        Datum::Int8(value) if ty.id == TypeId::Xid8 => write!(out, "{}", xid8::number(*value)),
        Datum::Int8(value) if ty.id == TypeId::Enum => {
            out.write_str(&enums::label(*value, ty, env))
        }
        Datum::Int8(value) => write_int(*value, out),
        Datum::Float4(value) => print_f32(*value, env.extra_float_digits, out),
        Datum::Float8(value) => print_f64(*value, env.extra_float_digits, out),
        Datum::Numeric(value) => write!(out, "{value}"),
        Datum::Text(text) | Datum::Jsonb(text) => out.write_str(text),
        Datum::Bytea(bytes) => print_bytea(bytes, env.bytea_output, out),
        Datum::Date(days) => datetime::format::date(*days, env, out),
        Datum::Time(micros) => datetime::format::time(*micros, out),
        Datum::Timestamp(micros) => datetime::format::timestamp(*micros, env, out),
        Datum::Timestamptz(micros) => datetime::format::timestamptz(*micros, env, out),
        Datum::Interval(value) => datetime::interval::print(*value, env, out),
        Datum::Uuid(bytes) => print_uuid(bytes, out),
        Datum::Oid(value) => scalar::print_oid(*value, ty.id, env, out),
        Datum::Array(value) if ty.id.is_vector() => {
            array::print_vector(value, ty.element(), env, out)
        }
        Datum::Array(value) => array::print(value, ty.element(), env, out),
        Datum::Record(fields) => array::print_record(fields, env, out),
    }
}

fn write_int<W: Write>(value: i64, out: &mut W) -> fmt::Result {
    let mut buffer = [0u8; 20];
    let mut at = buffer.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        buffer[at] = b'-';
    }
    out.write_str(std::str::from_utf8(&buffer[at..]).expect("ASCII"))
}
