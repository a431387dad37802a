//! Bytes whose order and equality are PostgreSQL's, for every type.
//!
//! DataFusion sorts, groups and joins by Arrow's own comparison, which is right for integers,
//! text, bytes and times, and wrong for the rest: 1.50 and 1.5 differ in storage, -0 and 0 compare
//! unequal, `1 mon` equals `30 days`. Those columns are keyed by [`sort_key`] instead.
//!
//! # Invariants
//!
//! - **S1** `sort_key(a) < sort_key(b)` exactly when `compare_as(ty, a, b)` is less.
//! - **S2** No key is a prefix of another key of the same type, where keys are nested in others.

use crate::datum::{ArrayValue, Datum, Interval};
use crate::json::{self, Json};
use crate::numeric::Numeric;
use crate::ty::{PgType, TypeId};

/// Does Arrow's own order or equality differ from PostgreSQL's for this type?
pub fn needs_sort_key(ty: PgType) -> bool {
    ty.array
        || matches!(
            ty.id,
            TypeId::Numeric
                | TypeId::Float4
                | TypeId::Float8
                | TypeId::Interval
                | TypeId::Bpchar
                | TypeId::Jsonb
                | TypeId::Record
        )
}

/// Appends the key of a value of type `ty`; NULL has none.
pub fn sort_key(datum: &Datum, ty: PgType, out: &mut Vec<u8>) {
    match datum {
        Datum::Null => {}
        Datum::Bool(value) => out.push(u8::from(*value)),
        Datum::Int2(value) => signed(i64::from(*value), out),
        Datum::Int4(value) => signed(i64::from(*value), out),
        Datum::Int8(value) => signed(*value, out),
        Datum::Float4(value) => float(f64::from(*value), out),
        Datum::Float8(value) => float(*value, out),
        Datum::Numeric(value) => value.encode_key(out),
        Datum::Text(text) if ty.id == TypeId::Bpchar => {
            out.extend_from_slice(text.trim_end_matches(' ').as_bytes());
        }
        Datum::Text(text) => out.extend_from_slice(text.as_bytes()),
        Datum::Bytea(bytes) => out.extend_from_slice(bytes),
        Datum::Date(days) => signed(i64::from(*days), out),
        Datum::Time(micros) | Datum::Timestamp(micros) | Datum::Timestamptz(micros) => {
            signed(*micros, out);
        }
        Datum::Interval(value) => {
            let flipped = (value.span_micros() as u128) ^ (1 << 127);
            out.extend_from_slice(&flipped.to_be_bytes());
        }
        Datum::Uuid(bytes) => out.extend_from_slice(bytes),
        Datum::Jsonb(text) => jsonb(text, out),
        Datum::Oid(value) => out.extend_from_slice(&value.to_be_bytes()),
        Datum::Array(value) => array(value, ty.element(), out),
        Datum::Record(fields) => {
            for (ty, field) in fields.iter() {
                nested(field, *ty, out);
            }
            out.push(0);
        }
    }
}

/// A value that has this key, of the types whose keys tell one.
pub fn value_of_key(key: &[u8], ty: PgType) -> Option<Datum> {
    let float = || {
        let bits = u64::from_be_bytes(key.try_into().ok()?);
        Some(f64::from_bits(if bits >> 63 == 1 { bits ^ 1 << 63 } else { !bits }))
    };
    match ty.id {
        _ if ty.array => None,
        TypeId::Numeric => Some(Datum::Numeric(Numeric::decode_key(key, 0)?.0)),
        TypeId::Float4 => Some(Datum::Float4(float()? as f32)),
        TypeId::Float8 => Some(Datum::Float8(float()?)),
        TypeId::Interval => {
            let flipped = u128::from_be_bytes(key.try_into().ok()?);
            Interval::of_span((flipped ^ 1 << 127) as i128).map(Datum::Interval)
        }
        TypeId::Bpchar => Some(Datum::text(std::str::from_utf8(key).ok()?)),
        _ => None,
    }
}

fn signed(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&((value as u64) ^ (1 << 63)).to_be_bytes());
}

fn float(value: f64, out: &mut Vec<u8>) {
    let value = if value.is_nan() {
        f64::NAN.abs()
    } else if value == 0.0 {
        0.0
    } else {
        value
    };
    let bits = value.to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    out.extend_from_slice(&ordered.to_be_bytes());
}

/// An element inside a longer key: 1 and escaped bytes, or 2 for NULL, which sorts last.
fn nested(datum: &Datum, ty: PgType, out: &mut Vec<u8>) {
    if datum.is_null() {
        out.push(2);
        return;
    }
    out.push(1);
    let mut key = Vec::new();
    sort_key(datum, ty, &mut key);
    escaped(&key, out);
}

/// Bytes with their end: 0 becomes 0 255, the end is 0 1.
fn escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 1]);
}

fn array(value: &ArrayValue, element: PgType, out: &mut Vec<u8>) {
    for item in &value.items {
        nested(item, element, out);
    }
    out.push(0);
    out.push(u8::try_from(value.dims.len()).expect("at most 6"));
    for dim in &value.dims {
        signed(i64::from(dim.len), out);
        signed(i64::from(dim.lower), out);
    }
}

/// Appends the key of a `jsonb` text.
pub(crate) fn jsonb(text: &str, out: &mut Vec<u8>) {
    match json::parse(text, true) {
        Ok(value) => json_key(&value, out),
        Err(_) => out.extend_from_slice(text.as_bytes()),
    }
}

fn json_key(value: &Json, out: &mut Vec<u8>) {
    let count = |n: usize, out: &mut Vec<u8>| {
        out.extend_from_slice(&u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes());
    };
    match value {
        // Below every scalar: the quirk described at `Json::order`.
        Json::Array(items) if items.is_empty() => out.push(0x01),
        Json::Null => out.push(0x10),
        Json::String(text) => {
            out.push(0x20);
            escaped(text.as_bytes(), out);
        }
        Json::Number(value) => {
            out.push(0x30);
            value.encode_key(out);
        }
        Json::Bool(value) => out.extend_from_slice(&[0x40, u8::from(*value)]),
        Json::Array(items) => {
            out.push(0x50);
            count(items.len(), out);
            items.iter().for_each(|item| json_key(item, out));
        }
        Json::Object(members) => {
            out.push(0x60);
            count(members.len(), out);
            for (key, value) in members {
                escaped(key.as_bytes(), out);
                json_key(value, out);
            }
        }
    }
}
