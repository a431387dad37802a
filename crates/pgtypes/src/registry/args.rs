//! Taking arguments out of datums. The binder has cast them, so another class is its bug.

use crate::datum::{ArrayValue, Datum, Interval};
use crate::numeric::Numeric;

macro_rules! getters {
    ($($name:ident $variant:ident $ty:ty;)*) => {
        $(pub(super) fn $name(datum: &Datum) -> $ty {
            match datum {
                Datum::$variant(value) => *value,
                other => panic!(concat!("expected ", stringify!($variant), ": {:?}"), other),
            }
        })*
    };
}

getters! {
    boolean Bool bool;
    i2 Int2 i16;
    i4 Int4 i32;
    i8 Int8 i64;
    f4 Float4 f32;
    f8 Float8 f64;
    date Date i32;
    time Time i64;
    interval Interval Interval;
}

/// A timestamp of either kind.
pub(super) fn stamp(datum: &Datum) -> i64 {
    match datum {
        Datum::Timestamp(value) | Datum::Timestamptz(value) => *value,
        other => panic!("expected a timestamp: {other:?}"),
    }
}

pub(super) fn num(datum: &Datum) -> &Numeric {
    match datum {
        Datum::Numeric(value) => value,
        other => panic!("expected Numeric: {other:?}"),
    }
}

pub(super) fn text(datum: &Datum) -> &str {
    match datum {
        Datum::Text(value) | Datum::Jsonb(value) => value,
        other => panic!("expected Text: {other:?}"),
    }
}

pub(super) fn bytes(datum: &Datum) -> &[u8] {
    match datum {
        Datum::Bytea(value) => value,
        other => panic!("expected Bytea: {other:?}"),
    }
}

pub(super) fn array(datum: &Datum) -> &ArrayValue {
    match datum {
        Datum::Array(value) => value,
        other => panic!("expected Array: {other:?}"),
    }
}
