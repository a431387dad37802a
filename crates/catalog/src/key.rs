//! How column values look in a key: comparing encoded bytes gives PostgreSQL's order.
//!
//! ```text
//!   integers, dates, times    8 bytes, sign flipped
//!   floats                    8 bytes (codec::put_f64)
//!   text, bytea, numeric, ... codec::put_bytes of bytes that order as the values do
//!   nullable                  10 before a value, F0 alone for NULL: NULLs last (01: NULLs first)
//!   descending                everything inverted: NULLs first (last)
//! ```
//!
//! Text is ordered bytewise (COLLATE "C"). Some types do not come back from a key exactly (a
//! numeric's scale, a negative zero, the padding of char(n)); [`is_exact`] names those that do, and
//! the others are stored in the row's value too.

use base::codec;
use bytes::{BufMut, Bytes, BytesMut};
use pgtypes::{Datum, Interval, Numeric, PgType, TypeId};

use crate::CodecError;
use crate::cell::int_datum;

const NOT_NULL: u8 = 0x10;
const NULL: u8 = 0xF0;
/// NULL where it comes before the values.
const NULL_BEFORE: u8 = 0x01;

/// One column of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyColumn {
    /// Position of the column in the table.
    pub(crate) position: usize,
    pub(crate) ty: PgType,
    pub(crate) nullable: bool,
    pub(crate) descending: bool,
    pub(crate) nulls_reversed: bool,
}

/// Whether a value decoded from a key is the value that was encoded.
pub(crate) fn is_exact(ty: PgType) -> bool {
    !ty.array
        && matches!(
            ty.id,
            TypeId::Bool
                | TypeId::Int2
                | TypeId::Int4
                | TypeId::Int8
                | TypeId::Oid
                | TypeId::Xid8
                | TypeId::Enum
                | TypeId::Text
                | TypeId::Varchar
                | TypeId::Name
                | TypeId::Bytea
                | TypeId::Date
                | TypeId::Time
                | TypeId::Timestamp
                | TypeId::Timestamptz
                | TypeId::Uuid
        )
}

/// Whether columns of this type can be in a key.
#[must_use]
pub fn is_indexable(ty: PgType) -> bool {
    is_exact(ty)
        || (!ty.array
            && matches!(
                ty.id,
                TypeId::Numeric
                    | TypeId::Float4
                    | TypeId::Float8
                    | TypeId::Bpchar
                    | TypeId::Interval
            ))
}

/// Appends one column of a key.
pub(crate) fn put(out: &mut BytesMut, column: &KeyColumn, datum: &Datum) -> Result<(), CodecError> {
    let start = out.len();
    if matches!(datum, Datum::Null) {
        if !column.nullable {
            return Err(CodecError::NullInKey);
        }
        out.put_u8(if column.nulls_reversed { NULL_BEFORE } else { NULL });
    } else {
        if column.nullable {
            out.put_u8(NOT_NULL);
        }
        put_value(out, column.ty, datum)?;
    }
    if column.descending {
        codec::invert(&mut out[start..]);
    }
    Ok(())
}

fn put_value(out: &mut BytesMut, ty: PgType, datum: &Datum) -> Result<(), CodecError> {
    match datum {
        Datum::Bool(v) => out.put_u8(u8::from(*v)),
        Datum::Int2(v) => codec::put_i64(out, i64::from(*v)),
        Datum::Int4(v) | Datum::Date(v) => codec::put_i64(out, i64::from(*v)),
        Datum::Int8(v) | Datum::Time(v) | Datum::Timestamp(v) | Datum::Timestamptz(v) => {
            codec::put_i64(out, *v);
        }
        Datum::Oid(v) => codec::put_i64(out, i64::from(*v)),
        Datum::Float4(v) => codec::put_f64(out, f64::from(*v)),
        Datum::Float8(v) => codec::put_f64(out, *v),
        // Padding does not count in comparisons of char(n).
        Datum::Text(v) if ty.id == TypeId::Bpchar => {
            codec::put_bytes(out, v.as_str().trim_end_matches(' ').as_bytes());
        }
        Datum::Text(v) => codec::put_bytes(out, v.as_bytes()),
        Datum::Bytea(v) => codec::put_bytes(out, v),
        Datum::Uuid(v) => out.put_slice(v),
        Datum::Numeric(v) => {
            let mut sortable = Vec::new();
            v.encode_key(&mut sortable);
            out.put_slice(&sortable);
        }
        Datum::Interval(v) => out.put_i128(v.span_micros() ^ i128::MIN),
        Datum::Null | Datum::Jsonb(..) | Datum::Array(..) | Datum::Record(..) => {
            return Err(CodecError::NotIndexable);
        }
    }
    Ok(())
}

/// Takes one column off the front of a key. Types that are not exact come back equal to what was
/// encoded, not identical: good for messages.
pub(crate) fn take(input: &mut &[u8], column: &KeyColumn) -> Result<Datum, CodecError> {
    if column.descending {
        let mut inverted = input.to_vec();
        codec::invert(&mut inverted);
        let mut rest = inverted.as_slice();
        let ascending = KeyColumn { descending: false, ..*column };
        let datum = take(&mut rest, &ascending)?;
        *input = &input[input.len() - rest.len()..];
        return Ok(datum);
    }
    if column.nullable {
        let (&marker, rest) =
            input.split_first().ok_or(CodecError::Corrupt("key without its column"))?;
        *input = rest;
        match marker {
            NULL | NULL_BEFORE => return Ok(Datum::Null),
            NOT_NULL => {}
            _ => return Err(CodecError::Corrupt("marker in a key")),
        }
    }
    take_value(input, column.ty)
}

fn take_value(input: &mut &[u8], ty: PgType) -> Result<Datum, CodecError> {
    Ok(match ty.id {
        TypeId::Bool => {
            let (&byte, rest) =
                input.split_first().ok_or(CodecError::Corrupt("key without its column"))?;
            *input = rest;
            Datum::Bool(byte != 0)
        }
        TypeId::Text | TypeId::Varchar | TypeId::Name | TypeId::Bpchar => {
            crate::binary::text(Bytes::from(codec::take_bytes(input)?))?
        }
        TypeId::Bytea => Datum::Bytea(Bytes::from(codec::take_bytes(input)?)),
        TypeId::Numeric => {
            let (value, used) =
                Numeric::decode_key(input, 0).ok_or(CodecError::Corrupt("numeric in a key"))?;
            *input = &input[used..];
            Datum::Numeric(value)
        }
        TypeId::Float4 => Datum::Float4(codec::take_f64(input)? as f32),
        TypeId::Float8 => Datum::Float8(codec::take_f64(input)?),
        TypeId::Interval => {
            let (head, rest) =
                input.split_first_chunk::<16>().ok_or(CodecError::Corrupt("interval cut short"))?;
            *input = rest;
            Datum::Interval(interval_of(i128::from_be_bytes(*head) ^ i128::MIN))
        }
        TypeId::Uuid => {
            let (head, rest) =
                input.split_first_chunk::<16>().ok_or(CodecError::Corrupt("uuid cut short"))?;
            *input = rest;
            Datum::Uuid(*head)
        }
        _ => int_datum(codec::take_i64(input)?, ty)?,
    })
}

/// An interval of that length.
fn interval_of(micros: i128) -> Interval {
    const DAY: i128 = 86_400_000_000;
    Interval {
        months: 0,
        days: i32::try_from(micros.div_euclid(DAY)).unwrap_or(i32::MAX),
        micros: i64::try_from(micros.rem_euclid(DAY)).expect("less than a day"),
    }
}
