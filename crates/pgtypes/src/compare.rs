//! PostgreSQL's order of values: what `<`, `ORDER BY`, `GROUP BY` and unique indexes agree on.
//!
//! Text compares by bytes (collation "C"). NaN equals itself and is above every number; -0 equals
//! 0. `char(n)` ignores trailing blanks, which the type decides, so [`compare`] cannot see it:
//! use [`compare_as`] where a type is known. NULL sorts last and, for grouping, equals itself.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use crate::datum::{ArrayValue, Datum};
use crate::json;
use crate::ty::{PgType, TypeId};

/// Order of two values of one type, which is not `char(n)`.
pub fn compare(a: &Datum, b: &Datum) -> Ordering {
    match (a, b) {
        (Datum::Null, Datum::Null) => Ordering::Equal,
        (Datum::Null, _) => Ordering::Greater,
        (_, Datum::Null) => Ordering::Less,
        (Datum::Bool(a), Datum::Bool(b)) => a.cmp(b),
        (Datum::Int2(a), Datum::Int2(b)) => a.cmp(b),
        (Datum::Int4(a), Datum::Int4(b)) => a.cmp(b),
        (Datum::Int8(a), Datum::Int8(b)) => a.cmp(b),
        (Datum::Float4(a), Datum::Float4(b)) => compare_f64(f64::from(*a), f64::from(*b)),
        (Datum::Float8(a), Datum::Float8(b)) => compare_f64(*a, *b),
        (Datum::Numeric(a), Datum::Numeric(b)) => a.cmp_value(b),
        (Datum::Text(a), Datum::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Datum::Bytea(a), Datum::Bytea(b)) => a.cmp(b),
        (Datum::Date(a), Datum::Date(b)) => a.cmp(b),
        (Datum::Time(a), Datum::Time(b))
        | (Datum::Timestamp(a), Datum::Timestamp(b))
        | (Datum::Timestamptz(a), Datum::Timestamptz(b)) => a.cmp(b),
        (Datum::Interval(a), Datum::Interval(b)) => a.span_micros().cmp(&b.span_micros()),
        (Datum::Uuid(a), Datum::Uuid(b)) => a.cmp(b),
        (Datum::Jsonb(a), Datum::Jsonb(b)) => compare_jsonb(a, b),
        (Datum::Oid(a), Datum::Oid(b)) => a.cmp(b),
        (Datum::Array(a), Datum::Array(b)) => compare_arrays(a, b),
        (Datum::Record(a), Datum::Record(b)) => a
            .iter()
            .zip(b.iter())
            .map(|((ty, a), (_, b))| compare_as(*ty, a, b))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| a.len().cmp(&b.len())),
        (a, b) => panic!("compared values of different types: {a:?} and {b:?}"),
    }
}

/// Order of two values of type `ty`.
pub fn compare_as(ty: PgType, a: &Datum, b: &Datum) -> Ordering {
    if ty.id != TypeId::Bpchar {
        return compare(a, b);
    }
    match (a, b) {
        (Datum::Text(a), Datum::Text(b)) => {
            a.trim_end_matches(' ').as_bytes().cmp(b.trim_end_matches(' ').as_bytes())
        }
        _ => compare(a, b),
    }
}

/// Are two values of one type equal (NULL equals NULL)?
pub fn equal(a: &Datum, b: &Datum) -> bool {
    compare(a, b).is_eq()
}

/// PostgreSQL's order of floats: NaN equals itself and is greatest; -0 equals 0.
pub fn compare_f64(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn compare_jsonb(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    match (json::parse(a, true), json::parse(b, true)) {
        (Ok(a), Ok(b)) => a.order(&b),
        // A jsonb datum is canonical text by construction.
        _ => a.cmp(b),
    }
}

fn compare_arrays(a: &ArrayValue, b: &ArrayValue) -> Ordering {
    a.items
        .iter()
        .zip(&b.items)
        .map(|(a, b)| compare(a, b))
        .find(|order| order.is_ne())
        .unwrap_or_else(|| a.items.len().cmp(&b.items.len()))
        .then_with(|| a.dims.len().cmp(&b.dims.len()))
        .then_with(|| {
            let bounds = |array: &ArrayValue| -> Vec<(i32, i32)> {
                array.dims.iter().map(|dim| (dim.len, dim.lower)).collect()
            };
            bounds(a).cmp(&bounds(b))
        })
}

/// Feeds a hash that agrees with [`compare`]: equal values hash alike.
pub fn hash_datum(datum: &Datum, state: &mut impl Hasher) {
    match datum {
        Datum::Null => state.write_u8(0),
        Datum::Bool(value) => value.hash(state),
        Datum::Int2(value) => value.hash(state),
        Datum::Int4(value) => value.hash(state),
        Datum::Int8(value) => value.hash(state),
        Datum::Float4(value) => hash_f64(f64::from(*value), state),
        Datum::Float8(value) => hash_f64(*value, state),
        Datum::Numeric(value) => {
            let mut key = Vec::with_capacity(24);
            value.encode_key(&mut key);
            state.write(&key);
        }
        // Blank-padded text must hash alike with and without its blanks.
        Datum::Text(text) => state.write(text.trim_end_matches(' ').as_bytes()),
        Datum::Bytea(bytes) => bytes.hash(state),
        Datum::Date(days) => days.hash(state),
        Datum::Time(micros) | Datum::Timestamp(micros) | Datum::Timestamptz(micros) => {
            micros.hash(state);
        }
        Datum::Interval(value) => value.span_micros().hash(state),
        Datum::Uuid(bytes) => bytes.hash(state),
        Datum::Jsonb(text) => {
            let mut key = Vec::new();
            crate::sortkey::jsonb(text, &mut key);
            state.write(&key);
        }
        Datum::Oid(value) => value.hash(state),
        Datum::Array(value) => value.items.iter().for_each(|item| hash_datum(item, state)),
        Datum::Record(fields) => fields.iter().for_each(|(_, field)| hash_datum(field, state)),
    }
}

fn hash_f64(value: f64, state: &mut impl Hasher) {
    let value = if value.is_nan() {
        f64::NAN
    } else if value == 0.0 {
        0.0
    } else {
        value
    };
    state.write_u64(value.to_bits());
}
