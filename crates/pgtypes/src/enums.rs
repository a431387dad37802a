//! Enumerations: values are numbers that order as the labels do; the catalog knows the labels.
//!
//! ```text
//!   'sad'   1 << 40      a label added between two others gets a number between theirs, so that
//!   'ok'    2 << 40      stored values, and keys made of them, never change
//! ```
//!
//! A value is a [`Datum::Int8`] everywhere but on the wire, where it is its label.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::binary::parse_binary;
use crate::datum::{ArrayValue, Datum};
use crate::env::EvalEnv;
use crate::error::{Result, TypeError};
use crate::ty::{PgType, TypeId};

/// Names and labels as this process last heard of them, for messages and definitions: those are made where
/// no catalog is at hand. An oid is never given out twice.
static KNOWN: LazyLock<RwLock<BTreeMap<u32, Known>>> = LazyLock::new(RwLock::default);

#[derive(Debug, Clone, PartialEq)]
struct Known {
    name: String,
    labels: Vec<(i64, Arc<str>)>,
}

/// Remembers what an enumeration and its values are called.
pub fn note(oid: u32, name: &str, labels: impl Iterator<Item = (i64, Arc<str>)>) {
    let known = Known { name: name.to_owned(), labels: labels.collect() };
    if KNOWN.read().get(&oid) != Some(&known) {
        KNOWN.write().insert(oid, known);
    }
}

/// What it is called.
pub(crate) fn name(oid: u32) -> String {
    KNOWN.read().get(&oid).map_or_else(|| format!("enum {oid}"), |known| known.name.clone())
}

/// The label of a value, as last heard of.
pub fn known_label(oid: u32, value: i64) -> Option<Arc<str>> {
    let known = KNOWN.read();
    let labels = &known.get(&oid)?.labels;
    labels.iter().find(|(of, _)| *of == value).map(|(_, label)| label.clone())
}

/// The value of a label: 22P02 if the type has none of that name.
pub(crate) fn parse(text: &str, ty: PgType, env: &EvalEnv) -> Result<Datum> {
    let value = ty.enum_oid().and_then(|oid| env.names.0.as_ref()?.enum_value(oid, text));
    value.map(Datum::Int8).ok_or_else(|| {
        TypeError::new(
            "22P02",
            format!("invalid input value for enum {}: \"{text}\"", ty.sql_name()),
        )
    })
}

/// The label of a value.
pub(crate) fn label(value: i64, ty: PgType, env: &EvalEnv) -> Arc<str> {
    let label = |oid| {
        let names = env.names.0.as_ref();
        names.and_then(|n| n.enum_label(oid, value)).or_else(|| known_label(oid, value))
    };
    ty.enum_oid().and_then(label).unwrap_or_else(|| value.to_string().into())
}

/// What the binary protocol carries: labels instead of values.
pub fn to_wire(datum: &Datum, ty: PgType, env: &EvalEnv) -> Option<Datum> {
    match datum {
        Datum::Int8(value) if ty.id == TypeId::Enum => Some(Datum::text(&*label(*value, ty, env))),
        Datum::Array(array) if ty.id == TypeId::Enum => {
            let item = |item: &Datum| match item {
                Datum::Int8(value) => Datum::text(&*label(*value, ty.element(), env)),
                other => other.clone(),
            };
            let items = array.items.iter().map(item).collect();
            Some(Datum::Array(Arc::new(ArrayValue { dims: array.dims.clone(), items })))
        }
        _ => None,
    }
}

/// Reads what the binary protocol carries: a label, or an array of labels.
pub fn parse_wire(bytes: Bytes, ty: PgType, env: &EvalEnv) -> Result<Datum> {
    /// Where an array says what its elements are.
    const ELEMENT: std::ops::Range<usize> = 8..12;
    if !ty.array {
        return from_wire(parse_binary(bytes, PgType::TEXT)?, ty, env);
    }
    let mut labels = bytes.to_vec();
    if let Some(element) = labels.get_mut(ELEMENT)
        && *element == ty.element().oid().to_be_bytes()
    {
        element.copy_from_slice(&PgType::TEXT.oid().to_be_bytes());
    }
    from_wire(parse_binary(labels.into(), PgType::TEXT.to_array())?, ty, env)
}

fn from_wire(datum: Datum, ty: PgType, env: &EvalEnv) -> Result<Datum> {
    match datum {
        Datum::Text(text) => parse(&text, ty.element(), env),
        Datum::Array(array) => {
            let item = |item: &Datum| from_wire(item.clone(), ty, env);
            let items = array.items.iter().map(item).collect::<Result<Vec<_>>>()?;
            Ok(Datum::Array(Arc::new(ArrayValue { dims: array.dims.clone(), items })))
        }
        other => Ok(other),
    }
}
