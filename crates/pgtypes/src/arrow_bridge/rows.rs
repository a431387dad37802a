//! Arrays and rows as bytes of an Arrow column.
//!
//! Arrays are stored as on the wire. A row has the modifier of each field besides its type, which the
//! wire has not: it says what the fields of a row inside are. So arrays of rows are stored their own way.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::binary::{parse_binary, put_field, to_binary};
use crate::datum::{ArrayValue, Datum, Dim};
use crate::ty::{PgType, TypeId};
use std::sync::Arc;

/// Appends an array or row.
pub(super) fn store(datum: &Datum, ty: PgType, out: &mut BytesMut) {
    match datum {
        Datum::Record(fields) => store_row(fields, out),
        Datum::Array(array) if ty.id == TypeId::Record => {
            out.put_u32(count(array.dims.len()));
            for dim in &array.dims {
                out.put_i32(dim.len);
                out.put_i32(dim.lower);
            }
            out.put_u32(count(array.items.len()));
            for item in &array.items {
                sized(item, ty.element(), out);
            }
        }
        other => to_binary(other, ty, out),
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).expect("arrays and rows are limited")
}

fn store_row(fields: &[(PgType, Datum)], out: &mut BytesMut) {
    out.put_u32(count(fields.len()));
    for (ty, field) in fields {
        out.put_u32(ty.oid());
        out.put_i32(ty.typmod);
        sized(field, *ty, out);
    }
}

/// With its length in front, -1 for NULL.
fn sized(datum: &Datum, ty: PgType, out: &mut BytesMut) {
    if ty.id != TypeId::Record || datum.is_null() {
        return put_field(datum, ty, out);
    }
    let mut inner = BytesMut::new();
    store(datum, ty, &mut inner);
    out.put_i32(i32::try_from(inner.len()).expect("values are below 1 GB"));
    out.put_slice(&inner);
}

/// Reads what [`store`] wrote for a row or an array of rows.
pub(super) fn load(mut bytes: &[u8], ty: PgType) -> Datum {
    if !ty.array {
        return load_row(bytes);
    }
    let dims = bytes.get_u32();
    let dims = (0..dims).map(|_| Dim { len: bytes.get_i32(), lower: bytes.get_i32() }).collect();
    let items = bytes.get_u32();
    let items = (0..items).map(|_| take(&mut bytes, ty.element())).collect();
    Datum::Array(Arc::new(ArrayValue { dims, items }))
}

fn load_row(mut bytes: &[u8]) -> Datum {
    let fields = bytes.get_u32();
    let fields = (0..fields).map(|_| {
        let (oid, typmod) = (bytes.get_u32(), bytes.get_i32());
        let ty = match PgType::from_oid(oid) {
            Some(ty) => ty.with_typmod(typmod),
            // Its modifier is the oid of the enumeration; that of the array type follows.
            None => {
                let ty = PgType::enumeration(typmod.unsigned_abs());
                PgType { array: oid != ty.oid(), ..ty }
            }
        };
        (ty, take(&mut bytes, ty))
    });
    Datum::Record(Arc::new(fields.collect()))
}

fn take(bytes: &mut &[u8], ty: PgType) -> Datum {
    let Ok(len) = usize::try_from(bytes.get_i32()) else { return Datum::Null };
    let (value, rest) = bytes.split_at(len);
    *bytes = rest;
    if ty.id == TypeId::Record {
        return load(value, ty);
    }
    let value = parse_binary(Bytes::copy_from_slice(value), ty.base());
    value.expect("rows are stored by this crate")
}
