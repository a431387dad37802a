//! Values in Arrow: storage types, builders, readers, and functions as DataFusion UDFs.
//!
//! Arrow types are storage only; the binder carries the [`PgType`] beside every column. Nothing
//! here lets DataFusion decide about types: the UDFs take what they are given.
//!
//! | PostgreSQL | Arrow |
//! |---|---|
//! | `boolean` | Boolean |
//! | `smallint`, `integer`, `bigint` | Int16, Int32, Int64 |
//! | `real`, `double precision` | Float32, Float64 |
//! | `numeric` | Binary: sort key and display scale ([`crate::numeric`]) |
//! | text types, `json`, `jsonb` | Utf8 |
//! | `bytea` | Binary |
//! | `date` | Int32, PostgreSQL's days |
//! | enumerations | Int64, the values of [`crate::enums`] |
//! | `time`, `timestamp`, `timestamptz` | Int64, PostgreSQL's microseconds |
//! | `interval` | FixedSizeBinary(16): microseconds, days, months |
//! | `uuid` | FixedSizeBinary(16) |
//! | `oid` and its kind | UInt32 |
//! | arrays, rows | Binary: PostgreSQL's binary format |
//!
//! Dates and times are plain integers because Arrow's own are counted from 1970, which has no room
//! for PostgreSQL's last years and its infinities.

mod build;
mod groups;
mod read;
mod rows;
mod udaf;
mod udf;
mod vector;

use arrow::datatypes::DataType;
use datafusion_common::ScalarValue;

use crate::datum::Datum;
use crate::ty::{PgType, TypeId};

pub use crate::sortkey::{needs_sort_key, sort_key};
pub use build::{ColumnBuilder, build_array};
pub use read::{ColumnReader, datum_at};
pub use udaf::described_aggregate;
pub(crate) use udaf::make_udaf;
pub use udf::{Described, cast_udf, described, function_udf, sort_key_udf};

/// The Arrow type that stores a type.
pub fn to_arrow_type(ty: PgType) -> DataType {
    if ty.array {
        return DataType::Binary;
    }
    match ty.id {
        TypeId::Bool => DataType::Boolean,
        TypeId::Int2 => DataType::Int16,
        TypeId::Int4 | TypeId::Date => DataType::Int32,
        TypeId::Int8
        | TypeId::Xid8
        | TypeId::Time
        | TypeId::Timestamp
        | TypeId::Timestamptz
        | TypeId::Enum => DataType::Int64,
        TypeId::Float4 => DataType::Float32,
        TypeId::Float8 => DataType::Float64,
        TypeId::Numeric | TypeId::Bytea | TypeId::Record => DataType::Binary,
        TypeId::Text
        | TypeId::Varchar
        | TypeId::Bpchar
        | TypeId::Name
        | TypeId::Char
        | TypeId::Json
        | TypeId::Jsonb
        | TypeId::Jsonpath
        | TypeId::Unknown
        | TypeId::Void => DataType::Utf8,
        TypeId::Interval | TypeId::Uuid => DataType::FixedSizeBinary(16),
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
        | TypeId::Xid => DataType::UInt32,
        // These are arrays always.
        TypeId::Int2vector | TypeId::Oidvector => DataType::Binary,
    }
}

/// A value as a DataFusion literal.
pub fn to_scalar(datum: &Datum, ty: PgType) -> ScalarValue {
    let array = build_array(ty, std::slice::from_ref(datum));
    ScalarValue::try_from_array(&array, 0).expect("every storage type has scalars")
}

/// A DataFusion literal as a value.
pub fn from_scalar(scalar: &ScalarValue, ty: PgType) -> Datum {
    if scalar.is_null() {
        return Datum::Null;
    }
    let array = scalar.to_array().expect("a scalar is an array of one");
    datum_at(&array, 0, ty)
}
