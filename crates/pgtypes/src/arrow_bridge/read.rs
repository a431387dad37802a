//! Arrow arrays to datums.

use arrow::array::{
    Array, AsArray, BinaryArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, LargeBinaryArray, LargeStringArray,
    StringArray, StringViewArray, UInt32Array,
};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, UInt32Type,
};
use bytes::{Buf, Bytes};

use crate::binary::parse_binary;
use crate::datum::{Datum, Interval};
use crate::numeric::Numeric;
use crate::ty::{PgType, TypeId};
use std::sync::Arc;

enum Inner<'a> {
    Null,
    Bool(&'a BooleanArray),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    UInt32(&'a UInt32Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Utf8(&'a StringArray),
    LargeUtf8(&'a LargeStringArray),
    Utf8View(&'a StringViewArray),
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    BinaryView(&'a BinaryViewArray),
    Fixed(&'a FixedSizeBinaryArray),
}

/// Reads one column, the array's type looked at once.
pub struct ColumnReader<'a> {
    ty: PgType,
    array: &'a dyn Array,
    inner: Inner<'a>,
}

impl<'a> ColumnReader<'a> {
    /// A reader of a column that stores `ty`.
    ///
    /// # Panics
    ///
    /// If the array cannot store the type: the plan was lowered wrongly.
    pub fn new(array: &'a dyn Array, ty: PgType) -> Self {
        let inner = match array.data_type() {
            DataType::Null => Inner::Null,
            DataType::Boolean => Inner::Bool(array.as_boolean()),
            DataType::Int16 => Inner::Int16(array.as_primitive::<Int16Type>()),
            DataType::Int32 => Inner::Int32(array.as_primitive::<Int32Type>()),
            DataType::Int64 => Inner::Int64(array.as_primitive::<Int64Type>()),
            DataType::UInt32 => Inner::UInt32(array.as_primitive::<UInt32Type>()),
            DataType::Float32 => Inner::Float32(array.as_primitive::<Float32Type>()),
            DataType::Float64 => Inner::Float64(array.as_primitive::<Float64Type>()),
            DataType::Utf8 => Inner::Utf8(array.as_string()),
            DataType::LargeUtf8 => Inner::LargeUtf8(array.as_string()),
            DataType::Utf8View => Inner::Utf8View(array.as_string_view()),
            DataType::Binary => Inner::Binary(array.as_binary()),
            DataType::LargeBinary => Inner::LargeBinary(array.as_binary()),
            DataType::BinaryView => Inner::BinaryView(array.as_binary_view()),
            DataType::FixedSizeBinary(_) => Inner::Fixed(array.as_fixed_size_binary()),
            other => panic!("no type is stored as {other}"),
        };
        Self { ty, array, inner }
    }

    /// The value in a row.
    pub fn get(&self, row: usize) -> Datum {
        if self.array.is_null(row) {
            return Datum::Null;
        }
        match &self.inner {
            Inner::Null => Datum::Null,
            Inner::Bool(array) => Datum::Bool(array.value(row)),
            Inner::Int16(array) => Datum::Int2(array.value(row)),
            Inner::Int32(array) => match self.ty.id {
                TypeId::Date => Datum::Date(array.value(row)),
                _ => Datum::Int4(array.value(row)),
            },
            Inner::Int64(array) => match self.ty.id {
                TypeId::Time => Datum::Time(array.value(row)),
                TypeId::Timestamp => Datum::Timestamp(array.value(row)),
                TypeId::Timestamptz => Datum::Timestamptz(array.value(row)),
                _ => Datum::Int8(array.value(row)),
            },
            Inner::UInt32(array) => Datum::Oid(array.value(row)),
            Inner::Float32(array) => Datum::Float4(array.value(row)),
            Inner::Float64(array) => Datum::Float8(array.value(row)),
            Inner::Utf8(array) => self.text(array.value(row)),
            Inner::LargeUtf8(array) => self.text(array.value(row)),
            Inner::Utf8View(array) => self.text(array.value(row)),
            Inner::Binary(array) => self.bytes(array.value(row)),
            Inner::LargeBinary(array) => self.bytes(array.value(row)),
            Inner::BinaryView(array) => self.bytes(array.value(row)),
            Inner::Fixed(array) => self.bytes(array.value(row)),
        }
    }

    fn text(&self, text: &str) -> Datum {
        match self.ty.id {
            TypeId::Jsonb => Datum::Jsonb(text.into()),
            _ => Datum::text(text),
        }
    }

    fn bytes(&self, bytes: &[u8]) -> Datum {
        if self.ty.array {
            let owned = Bytes::copy_from_slice(bytes);
            return parse_binary(owned, self.ty.base()).expect("arrays are stored by this crate");
        }
        match self.ty.id {
            TypeId::Numeric => Datum::Numeric(
                Numeric::decode_sortable(bytes).expect("numerics are stored by this crate"),
            ),
            TypeId::Uuid => Datum::Uuid(bytes.try_into().expect("16 bytes")),
            TypeId::Interval => {
                let mut bytes = bytes;
                let micros = bytes.get_i64();
                let days = bytes.get_i32();
                Datum::Interval(Interval { months: bytes.get_i32(), days, micros })
            }
            TypeId::Record => record(bytes),
            _ => Datum::Bytea(Bytes::copy_from_slice(bytes)),
        }
    }
}

fn record(mut bytes: &[u8]) -> Datum {
    let count = bytes.get_u32();
    let fields = (0..count)
        .map(|_| {
            let (oid, typmod) = (bytes.get_u32(), bytes.get_i32());
            let ty = match PgType::from_oid(oid) {
                Some(ty) => ty.with_typmod(typmod),
                None => {
                    let ty = PgType::enumeration(typmod.unsigned_abs());
                    PgType { array: oid != ty.oid(), ..ty }
                }
            };
            let Ok(len) = usize::try_from(bytes.get_i32()) else { return (ty, Datum::Null) };
            let (field, rest) = bytes.split_at(len);
            bytes = rest;
            if ty.id == TypeId::Record && !ty.array {
                return (ty, record(field));
            }
            let field = parse_binary(Bytes::copy_from_slice(field), ty.base());
            (ty, field.expect("rows are stored by this crate"))
        })
        .collect();
    Datum::Record(Arc::new(fields))
}

/// The value of a column in a row. For many rows of one column use a [`ColumnReader`].
pub fn datum_at(array: &dyn Array, row: usize, ty: PgType) -> Datum {
    ColumnReader::new(array, ty).get(row)
}
