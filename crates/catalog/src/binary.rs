//! The stored form of values that are neither integers nor plain bytes: numerics, intervals,
//! arrays.
//!
//! ```text
//!   numeric     its order-preserving form, with the display scale behind it
//!   interval    months i32, days i32, microseconds i64
//!   array       dimensions (length, lower bound), then one cell per element
//! ```

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use pgtypes::{ArrayValue, Datum, Dim, Interval, Numeric, PgType, Str, TypeId};

use crate::CodecError;
use crate::cell::{self, Cells};

const MALFORMED: CodecError = CodecError::Corrupt("malformed value");

/// Text over the stored bytes, shared.
pub(crate) fn text(bytes: Bytes) -> Result<Datum, CodecError> {
    shared_str(bytes).map(Datum::Text)
}

fn shared_str(bytes: Bytes) -> Result<Str, CodecError> {
    Str::from_utf8(bytes).ok_or(CodecError::Corrupt("text that is not UTF-8"))
}

/// Appends the stored form.
pub(crate) fn encode(datum: &Datum, ty: PgType, out: &mut BytesMut) -> Result<(), CodecError> {
    match datum {
        Datum::Numeric(v) => {
            let mut sortable = Vec::new();
            v.encode_sortable(&mut sortable);
            out.put_slice(&sortable);
        }
        Datum::Interval(v) => {
            out.put_i32(v.months);
            out.put_i32(v.days);
            out.put_i64(v.micros);
        }
        Datum::Jsonb(v) => out.put_slice(v.as_bytes()),
        Datum::Array(v) => {
            cell::put_varint(out, v.dims.len() as u64);
            for dim in &v.dims {
                cell::put_varint(out, cell::zigzag(i64::from(dim.len)));
                cell::put_varint(out, cell::zigzag(i64::from(dim.lower)));
            }
            for item in &v.items {
                cell::put(out, 1, ty.element(), item)?;
            }
        }
        _ => return Err(CodecError::Value("values of this type cannot be stored".to_owned())),
    }
    Ok(())
}

/// Reads the stored form.
pub(crate) fn decode(bytes: Bytes, ty: PgType) -> Result<Datum, CodecError> {
    if ty.array {
        return array(&bytes, ty);
    }
    match ty.id {
        TypeId::Numeric => Numeric::decode_sortable(&bytes).map(Datum::Numeric).ok_or(MALFORMED),
        TypeId::Interval => {
            let bytes: &[u8; 16] = bytes.as_ref().try_into().map_err(|_| MALFORMED)?;
            let (months, rest) = bytes.split_first_chunk().expect("16 bytes hold 4");
            let (days, micros) = rest.split_first_chunk().expect("12 bytes hold 4");
            Ok(Datum::Interval(Interval {
                months: i32::from_be_bytes(*months),
                days: i32::from_be_bytes(*days),
                micros: i64::from_be_bytes(micros.try_into().map_err(|_| MALFORMED)?),
            }))
        }
        TypeId::Jsonb => shared_str(bytes).map(Datum::Jsonb),
        _ => Err(MALFORMED),
    }
}

fn array(bytes: &Bytes, ty: PgType) -> Result<Datum, CodecError> {
    let mut cells = Cells::new(bytes, 0);
    let count = cells.varint()?;
    let mut dims = Vec::new();
    for _ in 0..count {
        let len = i32::try_from(cell::unzigzag(cells.varint()?)).map_err(|_| MALFORMED)?;
        let lower = i32::try_from(cell::unzigzag(cells.varint()?)).map_err(|_| MALFORMED)?;
        dims.push(Dim { len, lower });
    }
    let mut items = Vec::new();
    while let Some(cell) = cells.next()? {
        items.push(cells.decode(cell, ty.element())?);
    }
    Ok(Datum::Array(Arc::new(ArrayValue { dims, items })))
}
