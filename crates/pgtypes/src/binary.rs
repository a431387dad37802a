//! The binary wire format of every type.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::datetime;
use crate::datum::{ArrayValue, Datum, Dim, Interval, Str};
use crate::error::{Result, TypeError, sqlstate};
use crate::json;
use crate::numeric::Numeric;
use crate::ty::{PgType, TypeId};
use crate::xid8;
use std::sync::Arc;

fn short() -> TypeError {
    TypeError::new(sqlstate::PROTOCOL_VIOLATION, "insufficient data left in message")
}

fn exact<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    match bytes.len() {
        len if len < N => Err(short()),
        len if len > N => {
            Err(TypeError::new(sqlstate::INVALID_BINARY, "incorrect binary data format"))
        }
        _ => Ok(bytes.try_into().expect("length checked")),
    }
}

fn utf8(bytes: Bytes) -> Result<Str> {
    let text = Str::from_utf8(bytes).ok_or_else(|| {
        TypeError::new(sqlstate::BAD_ENCODING, "invalid byte sequence for encoding \"UTF8\"")
    })?;
    if text.contains('\0') {
        return Err(TypeError::new(
            sqlstate::BAD_ENCODING,
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ));
    }
    Ok(text)
}

/// Reads a value of type `ty`; its modifier is not applied.
pub fn parse_binary(bytes: Bytes, ty: PgType) -> Result<Datum> {
    if ty.array {
        return parse_array(&bytes, ty.element());
    }
    Ok(match ty.id {
        TypeId::Bool => Datum::Bool(exact::<1>(&bytes)?[0] != 0),
        TypeId::Int2 => Datum::Int2(i16::from_be_bytes(exact(&bytes)?)),
        TypeId::Int4 => Datum::Int4(i32::from_be_bytes(exact(&bytes)?)),
        TypeId::Int8 => Datum::Int8(i64::from_be_bytes(exact(&bytes)?)),
        TypeId::Float4 => Datum::Float4(f32::from_be_bytes(exact(&bytes)?)),
        TypeId::Float8 => Datum::Float8(f64::from_be_bytes(exact(&bytes)?)),
        TypeId::Numeric => Datum::Numeric(Numeric::from_wire(&bytes)?),
        TypeId::Text | TypeId::Varchar | TypeId::Bpchar | TypeId::Unknown => {
            Datum::Text(utf8(bytes)?)
        }
        TypeId::Name => {
            let text = utf8(bytes)?;
            if text.len() > 63 {
                return Err(TypeError::new("42622", "identifier too long")
                    .with_detail("Identifier must be less than 64 characters."));
            }
            Datum::Text(text)
        }
        TypeId::Char => Datum::text(match exact::<1>(&bytes)?[0] {
            0 => String::new(),
            byte => char::from(byte).to_string(),
        }),
        TypeId::Bytea => Datum::Bytea(bytes),
        TypeId::Date => parse_date(i32::from_be_bytes(exact(&bytes)?))?,
        TypeId::Time => {
            let micros = i64::from_be_bytes(exact(&bytes)?);
            if !(0..=datetime::civil::DAY_MICROS).contains(&micros) {
                return Err(TypeError::new(sqlstate::DATETIME_OVERFLOW, "time out of range"));
            }
            Datum::Time(micros)
        }
        TypeId::Timestamp => Datum::Timestamp(parse_stamp(&bytes)?),
        TypeId::Timestamptz => Datum::Timestamptz(parse_stamp(&bytes)?),
        TypeId::Interval => {
            let mut bytes: &[u8] = &exact::<16>(&bytes)?;
            let micros = bytes.get_i64();
            let days = bytes.get_i32();
            Datum::Interval(Interval { months: bytes.get_i32(), days, micros })
        }
        TypeId::Uuid => Datum::Uuid(exact(&bytes)?),
        TypeId::Json => {
            let text = utf8(bytes)?;
            json::check(&text)?;
            Datum::Text(text)
        }
        TypeId::Jsonb => parse_jsonb(bytes)?,
        TypeId::Jsonpath => parse_jsonpath(bytes)?,
        TypeId::Oid
        | TypeId::Regclass
        | TypeId::Regtype
        | TypeId::Regproc
        | TypeId::Regnamespace
        | TypeId::Regrole
        | TypeId::Regprocedure
        | TypeId::Regoper
        | TypeId::Regoperator
        | TypeId::Regcollation
        | TypeId::Regconfig
        | TypeId::Regdictionary
        | TypeId::Xid => Datum::Oid(u32::from_be_bytes(exact(&bytes)?)),
        TypeId::Xid8 => xid8::datum(u64::from_be_bytes(exact(&bytes)?)),
        TypeId::Void => Datum::text(""),
        // As it is stored: see `enums` for the wire.
        TypeId::Enum => Datum::Int8(i64::from_be_bytes(exact(&bytes)?)),
        TypeId::Record | TypeId::Int2vector | TypeId::Oidvector => {
            return Err(TypeError::not_supported(
                "input of anonymous composite types is not implemented",
            ));
        }
    })
}

fn parse_date(days: i32) -> Result<Datum> {
    if days == datetime::DATE_INFINITY || days == datetime::DATE_NEG_INFINITY {
        return Ok(Datum::Date(days));
    }
    datetime::check_date(i64::from(days)).map(Datum::Date)
}

fn parse_stamp(bytes: &[u8]) -> Result<i64> {
    let micros = i64::from_be_bytes(exact(bytes)?);
    if datetime::is_infinite(micros) { Ok(micros) } else { datetime::check_timestamp(micros) }
}

/// A version byte, then the text.
fn parse_jsonpath(bytes: Bytes) -> Result<Datum> {
    let (version, text) = bytes.split_first().ok_or_else(short)?;
    if *version != 1 {
        return Err(TypeError::new(
            sqlstate::INTERNAL,
            format!("unsupported jsonpath version number: {version}"),
        ));
    }
    let text = utf8(Bytes::copy_from_slice(text))?;
    Ok(Datum::text(json::path::parse(&text)?.to_string()))
}

fn parse_jsonb(mut bytes: Bytes) -> Result<Datum> {
    if bytes.is_empty() {
        return Err(short());
    }
    let version = bytes.get_u8();
    if version != 1 {
        return Err(TypeError::new(
            sqlstate::INTERNAL,
            format!("unsupported jsonb version number {version}"),
        ));
    }
    let text = utf8(bytes)?;
    Ok(Datum::Jsonb(Str::from(json::parse(&text, true)?.canonical().to_string())))
}

fn parse_array(mut bytes: &[u8], element: PgType) -> Result<Datum> {
    let bad = |message: String| TypeError::new(sqlstate::INVALID_BINARY, message);
    if bytes.len() < 12 {
        return Err(short());
    }
    let dim_count = bytes.get_i32();
    if !(0..=6).contains(&dim_count) {
        return Err(bad(format!("invalid number of dimensions: {dim_count}")));
    }
    let flags = bytes.get_i32();
    if flags != 0 && flags != 1 {
        return Err(bad(format!("invalid array flags: {flags}")));
    }
    let oid = bytes.get_u32();
    if oid != element.oid() {
        return Err(TypeError::new(
            sqlstate::DATATYPE_MISMATCH,
            format!("binary data has array element type {oid} (expected {})", element.oid()),
        ));
    }
    let mut dims = Vec::new();
    for _ in 0..dim_count {
        if bytes.len() < 8 {
            return Err(short());
        }
        dims.push(Dim { len: bytes.get_i32(), lower: bytes.get_i32() });
    }
    let total = Dim::count_all(&dims)?;
    if dim_count == 0 || total == 0 {
        return Ok(Datum::Array(Arc::default()));
    }
    let mut items = Vec::new();
    for _ in 0..total {
        if bytes.len() < 4 {
            return Err(short());
        }
        let len = bytes.get_i32();
        let Ok(len) = usize::try_from(len) else {
            items.push(Datum::Null);
            continue;
        };
        if bytes.len() < len {
            return Err(short());
        }
        let (item, rest) = bytes.split_at(len);
        bytes = rest;
        items.push(parse_binary(Bytes::copy_from_slice(item), element)?);
    }
    if !bytes.is_empty() {
        return Err(bad("incorrect binary data format".to_owned()));
    }
    Ok(Datum::Array(Arc::new(ArrayValue { dims, items })))
}

/// Appends a value of type `ty`, without its length. NULL has no bytes.
pub fn to_binary(datum: &Datum, ty: PgType, out: &mut BytesMut) {
    match datum {
        Datum::Null => {}
        Datum::Bool(value) => out.put_u8(u8::from(*value)),
        Datum::Int2(value) => out.put_i16(*value),
        Datum::Int4(value) => out.put_i32(*value),
        Datum::Int8(value) if ty.id == TypeId::Xid8 => out.put_u64(xid8::number(*value)),
        Datum::Int8(value) => out.put_i64(*value),
        Datum::Float4(value) => out.put_f32(*value),
        Datum::Float8(value) => out.put_f64(*value),
        Datum::Numeric(value) => value.to_wire(out),
        Datum::Text(text) if ty.id == TypeId::Char && !ty.array => {
            // One byte; the empty text is a zero byte.
            out.put_u8(text.chars().next().map_or(0, |c| c as u32 as u8));
        }
        Datum::Text(text) => out.put_slice(text.as_bytes()),
        Datum::Bytea(bytes) => out.put_slice(bytes),
        Datum::Date(days) => out.put_i32(*days),
        Datum::Time(micros) | Datum::Timestamp(micros) | Datum::Timestamptz(micros) => {
            out.put_i64(*micros);
        }
        Datum::Interval(value) => {
            out.put_i64(value.micros);
            out.put_i32(value.days);
            out.put_i32(value.months);
        }
        Datum::Uuid(bytes) => out.put_slice(bytes),
        Datum::Jsonb(text) => {
            out.put_u8(1);
            out.put_slice(text.as_bytes());
        }
        Datum::Oid(value) => out.put_u32(*value),
        Datum::Array(value) => put_array(value, ty.element(), out),
        Datum::Record(fields) => {
            out.put_i32(i32::try_from(fields.len()).expect("at most 1664 columns"));
            for (ty, field) in fields.iter() {
                out.put_u32(ty.oid());
                put_field(field, *ty, out);
            }
        }
    }
}

/// Appends a value with its length, -1 for NULL: a field of a DataRow, of an array, of a row.
pub fn put_field(datum: &Datum, ty: PgType, out: &mut BytesMut) {
    if datum.is_null() {
        out.put_i32(-1);
        return;
    }
    let at = out.len();
    out.put_i32(0);
    to_binary(datum, ty, out);
    let len = i32::try_from(out.len() - at - 4).expect("values are below 1 GB");
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

fn put_array(value: &ArrayValue, element: PgType, out: &mut BytesMut) {
    out.put_i32(i32::try_from(value.dims.len()).expect("at most 6"));
    out.put_i32(i32::from(value.items.iter().any(Datum::is_null)));
    out.put_u32(element.oid());
    for dim in &value.dims {
        out.put_i32(dim.len);
        out.put_i32(dim.lower);
    }
    for item in &value.items {
        put_field(item, element, out);
    }
}
