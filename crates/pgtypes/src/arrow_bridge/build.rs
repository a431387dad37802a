//! Datums to Arrow arrays.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, StringBuilder, UInt32Builder,
};
use arrow::datatypes::DataType;
use bytes::BytesMut;

use super::{rows, to_arrow_type};
use crate::datum::{Datum, Interval};
use crate::numeric::Numeric;
use crate::ty::{PgType, TypeId};

enum Inner {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt32(UInt32Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Utf8(StringBuilder),
    Binary(BinaryBuilder),
    Fixed16(FixedSizeBinaryBuilder),
}

/// Builds one column, value by value.
pub struct ColumnBuilder {
    ty: PgType,
    inner: Inner,
    scratch: Vec<u8>,
}

impl ColumnBuilder {
    /// A builder for about `capacity` values of `ty`.
    pub fn new(ty: PgType, capacity: usize) -> Self {
        let inner = match to_arrow_type(ty) {
            DataType::Boolean => Inner::Bool(BooleanBuilder::with_capacity(capacity)),
            DataType::Int16 => Inner::Int16(Int16Builder::with_capacity(capacity)),
            DataType::Int32 => Inner::Int32(Int32Builder::with_capacity(capacity)),
            DataType::Int64 => Inner::Int64(Int64Builder::with_capacity(capacity)),
            DataType::UInt32 => Inner::UInt32(UInt32Builder::with_capacity(capacity)),
            DataType::Float32 => Inner::Float32(Float32Builder::with_capacity(capacity)),
            DataType::Float64 => Inner::Float64(Float64Builder::with_capacity(capacity)),
            DataType::Utf8 => Inner::Utf8(StringBuilder::with_capacity(capacity, capacity * 16)),
            DataType::Binary => Inner::Binary(BinaryBuilder::with_capacity(capacity, capacity * 8)),
            DataType::FixedSizeBinary(size) => {
                Inner::Fixed16(FixedSizeBinaryBuilder::with_capacity(capacity, size))
            }
            other => panic!("no storage of type {other}"),
        };
        Self { ty, inner, scratch: Vec::new() }
    }

    /// Appends a value.
    ///
    /// # Panics
    ///
    /// If the value is not of the column's type: the binder's casts prevent it.
    pub fn push(&mut self, datum: &Datum) {
        match (&mut self.inner, datum) {
            (_, Datum::Null) => self.push_null(),
            (Inner::Bool(b), Datum::Bool(value)) => b.append_value(*value),
            (Inner::Int16(b), Datum::Int2(value)) => b.append_value(*value),
            (Inner::Int32(b), Datum::Int4(value) | Datum::Date(value)) => b.append_value(*value),
            (
                Inner::Int64(b),
                Datum::Int8(value)
                | Datum::Time(value)
                | Datum::Timestamp(value)
                | Datum::Timestamptz(value),
            ) => b.append_value(*value),
            (Inner::UInt32(b), Datum::Oid(value)) => b.append_value(*value),
            (Inner::Float32(b), Datum::Float4(value)) => b.append_value(*value),
            (Inner::Float64(b), Datum::Float8(value)) => b.append_value(*value),
            (Inner::Utf8(b), Datum::Text(text) | Datum::Jsonb(text)) => b.append_value(text),
            (Inner::Binary(b), Datum::Bytea(bytes)) => b.append_value(bytes),
            (Inner::Binary(b), Datum::Numeric(value)) => {
                self.scratch.clear();
                value.encode_sortable(&mut self.scratch);
                b.append_value(&self.scratch);
            }
            (Inner::Binary(b), Datum::Array(_) | Datum::Record(_)) => {
                let mut bytes = BytesMut::new();
                rows::store(datum, self.ty, &mut bytes);
                b.append_value(&bytes);
            }
            (Inner::Fixed16(b), Datum::Uuid(bytes)) => {
                b.append_value(bytes).expect("16 bytes");
            }
            (Inner::Fixed16(b), Datum::Interval(value)) => {
                b.append_value(interval_bytes(*value)).expect("16 bytes");
            }
            (_, other) => panic!("column of {} got {other:?}", self.ty),
        }
    }

    /// Whether rows hold the values of a type as they are here, byte by byte.
    #[must_use]
    pub fn takes_stored(ty: PgType) -> bool {
        !ty.array
            && matches!(
                ty.id,
                TypeId::Text
                    | TypeId::Varchar
                    | TypeId::Bpchar
                    | TypeId::Name
                    | TypeId::Char
                    | TypeId::Json
                    | TypeId::Jsonb
                    | TypeId::Jsonpath
                    | TypeId::Bytea
                    | TypeId::Uuid
                    | TypeId::Numeric
            )
    }

    /// Appends a value of such a type; false if the bytes are none.
    #[must_use]
    pub fn push_stored(&mut self, bytes: &[u8]) -> bool {
        match &mut self.inner {
            Inner::Utf8(b) => std::str::from_utf8(bytes).map(|text| b.append_value(text)).is_ok(),
            Inner::Binary(b) => {
                let fits = self.ty.id != TypeId::Numeric || Numeric::is_sortable(bytes);
                if fits {
                    b.append_value(bytes);
                }
                fits
            }
            Inner::Fixed16(b) => b.append_value(bytes).is_ok(),
            _ => false,
        }
    }

    fn push_null(&mut self) {
        match &mut self.inner {
            Inner::Bool(b) => b.append_null(),
            Inner::Int16(b) => b.append_null(),
            Inner::Int32(b) => b.append_null(),
            Inner::Int64(b) => b.append_null(),
            Inner::UInt32(b) => b.append_null(),
            Inner::Float32(b) => b.append_null(),
            Inner::Float64(b) => b.append_null(),
            Inner::Utf8(b) => b.append_null(),
            Inner::Binary(b) => b.append_null(),
            Inner::Fixed16(b) => b.append_null(),
        }
    }

    /// The column; the builder is empty again.
    pub fn finish(&mut self) -> ArrayRef {
        match &mut self.inner {
            Inner::Bool(b) => Arc::new(b.finish()),
            Inner::Int16(b) => Arc::new(b.finish()),
            Inner::Int32(b) => Arc::new(b.finish()),
            Inner::Int64(b) => Arc::new(b.finish()),
            Inner::UInt32(b) => Arc::new(b.finish()),
            Inner::Float32(b) => Arc::new(b.finish()),
            Inner::Float64(b) => Arc::new(b.finish()),
            Inner::Utf8(b) => Arc::new(b.finish()),
            Inner::Binary(b) => Arc::new(b.finish()),
            Inner::Fixed16(b) => Arc::new(b.finish()),
        }
    }
}

/// A column of these values.
pub fn build_array(ty: PgType, values: &[Datum]) -> ArrayRef {
    let mut builder = ColumnBuilder::new(ty, values.len());
    values.iter().for_each(|value| builder.push(value));
    builder.finish()
}

/// Microseconds, days, months, big-endian.
pub(super) fn interval_bytes(value: Interval) -> [u8; 16] {
    let mut bytes = [0u8; 16];
    bytes[..8].copy_from_slice(&value.micros.to_be_bytes());
    bytes[8..12].copy_from_slice(&value.days.to_be_bytes());
    bytes[12..].copy_from_slice(&value.months.to_be_bytes());
    bytes
}
