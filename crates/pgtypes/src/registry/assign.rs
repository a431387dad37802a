//! `UPDATE … SET array[…] = …`: an array with an element or a slice of it replaced.
//!
//! An array of one dimension grows to where it is assigned to, with NULLs in between; one of more dimensions
//! does not.

use std::sync::{Arc, OnceLock};

use super::args::i4;
use super::form::{entry, resolved};
use super::{Entry, Resolved};
use crate::datum::{ArrayValue, Datum, Dim};
use crate::error::{Result, TypeError, sqlstate};
use crate::ty::PgType;

/// What such a function is called.
pub const ASSIGNED: &str = "assigned";

const NEEDS_BOTH: &str = "When assigning to a slice of an empty array value, slice boundaries must be \
                          fully specified.";

/// Takes the array, the new element or slice, which of the bounds are left out (a bit each, an int4
/// literal), and so many bounds, int4: one per dimension of an element, two of a slice.
#[must_use]
pub fn assigned_to(array: PgType, bounds: usize, is_slice: bool) -> Resolved {
    static ELEMENT: OnceLock<Entry> = OnceLock::new();
    static SLICE: OnceLock<Entry> = OnceLock::new();
    let (entry, part) = match is_slice {
        false => {
            let signature = "assigned(anyarray,anyelement,variadic int4) anyarray";
            (entry(&ELEMENT, signature, false, |_, a| with_element(a)), array.element())
        }
        true => {
            let signature = "assigned(anyarray,anyarray,variadic int4) anyarray";
            (entry(&SLICE, signature, false, |_, a| with_slice(a)), array)
        }
    };
    let mut args = vec![PgType::INT4; 3 + bounds];
    args[0] = array;
    args[1] = part;
    resolved(entry, args, array)
}

fn failed(message: &str) -> TypeError {
    TypeError::new(sqlstate::ARRAY_SUBSCRIPT, message)
}

fn whole(datum: &Datum) -> ArrayValue {
    match datum {
        Datum::Array(array) => ArrayValue::clone(array),
        _ => ArrayValue::default(),
    }
}

fn made(array: ArrayValue) -> Datum {
    match array.items.is_empty() {
        true => Datum::Array(Arc::default()),
        false => Datum::Array(Arc::new(array)),
    }
}

fn check_null(bound: &Datum) -> Result<i32> {
    match bound.is_null() {
        true => Err(TypeError::new("22004", "array subscript in assignment must not be null")),
        false => Ok(i4(bound)),
    }
}

fn with_element(a: &[Datum]) -> Result<Datum> {
    let at: Vec<i32> = a[3..].iter().map(check_null).collect::<Result<_>>()?;
    let mut array = whole(&a[0]);
    if array.dims.is_empty() {
        let dims: Vec<Dim> = at.iter().map(|&lower| Dim { len: 1, lower }).collect();
        Dim::count_all(&dims)?;
        return Ok(made(ArrayValue { dims, items: vec![a[1].clone()] }));
    }
    if array.dims.len() != at.len() {
        return Err(failed("wrong number of array subscripts"));
    }
    if at.len() == 1 {
        grow(&mut array, Dim { len: 1, lower: at[0] })?;
    }
    let mut position = 0;
    for (dim, at) in array.dims.iter().zip(&at) {
        let offset = i64::from(*at) - i64::from(dim.lower);
        if offset < 0 || offset >= i64::from(dim.len) {
            return Err(failed("array subscript out of range"));
        }
        position = position * dim.count() + usize::try_from(offset).expect("not negative");
    }
    array.items[position] = a[1].clone();
    Ok(made(array))
}

/// Makes room in an array of one dimension for a slice of it.
fn grow(array: &mut ArrayValue, slice: Dim) -> Result<()> {
    let end = |dim: Dim| i64::from(dim.lower) + i64::from(dim.len);
    let dim = array.dims[0];
    let lower = dim.lower.min(slice.lower);
    let len = end(dim).max(end(slice)) - i64::from(lower);
    let grown = Dim { len: i32::try_from(len).unwrap_or(i32::MAX), lower };
    let count = Dim::count_all(&[grown])?;
    let before = usize::try_from(i64::from(dim.lower) - i64::from(lower)).expect("lower");
    array.items.splice(..0, std::iter::repeat_n(Datum::Null, before));
    array.items.resize(count, Datum::Null);
    array.dims[0] = grown;
    Ok(())
}

fn with_slice(a: &[Datum]) -> Result<Datum> {
    let left_out = |at: usize| i4(&a[2]) >> at & 1 == 1;
    let mut bounds = Vec::with_capacity(a.len() - 3);
    for (at, bound) in a[3..].iter().enumerate() {
        bounds.push(if left_out(at) { None } else { Some(check_null(bound)?) });
    }
    let mut array = whole(&a[0]);
    let Datum::Array(part) = &a[1] else { return Ok(made(array)) };
    let is_new = array.dims.is_empty();
    let spans = if is_new { whole_spans(&bounds)? } else { spans(&mut array, &bounds)? };
    if part.items.len() < Dim::count_all(&spans)? {
        return Err(failed("source array too small"));
    }
    if is_new {
        array.items = vec![Datum::Null; Dim::count_all(&spans)?];
        array.dims.clone_from(&spans);
    }
    put(&mut array, &spans, 0, 0, &mut part.items.iter());
    Ok(made(array))
}

fn span(low: i32, high: i32) -> Result<Dim> {
    if low > high {
        return Err(failed("upper bound cannot be less than lower bound"));
    }
    Ok(Dim { len: high.saturating_sub(low).saturating_add(1), lower: low })
}

/// What a slice of nothing is, per dimension.
fn whole_spans(bounds: &[Option<i32>]) -> Result<Vec<Dim>> {
    let of =
        |pair: &[Option<i32>]| match pair {
            [Some(low), Some(high)] => span(*low, *high),
            _ => Err(failed("array slice subscript must provide both boundaries")
                .with_detail(NEEDS_BOTH)),
        };
    bounds.chunks(2).map(of).collect()
}

/// The same of an array that has elements, and grows to hold the slice.
fn spans(array: &mut ArrayValue, bounds: &[Option<i32>]) -> Result<Vec<Dim>> {
    if array.dims.len() < bounds.len() / 2 {
        return Err(failed("wrong number of array subscripts"));
    }
    let last = |dim: &Dim| dim.lower + (dim.len - 1);
    let mut spans = Vec::with_capacity(array.dims.len());
    for (n, dim) in array.dims.iter().enumerate() {
        let low = bounds.get(2 * n).copied().flatten().unwrap_or(dim.lower);
        let high = bounds.get(2 * n + 1).copied().flatten().unwrap_or_else(|| last(dim));
        spans.push(span(low, high)?);
        let is_within = low >= dim.lower && high <= last(dim);
        if array.dims.len() > 1 && !is_within {
            return Err(failed("array subscript out of range"));
        }
    }
    if let [slice] = spans[..] {
        grow(array, slice)?;
    }
    Ok(spans)
}

/// Fills the spans of the dimensions from `depth` on, below the element at `at`.
fn put<'a>(
    array: &mut ArrayValue,
    spans: &[Dim],
    depth: usize,
    at: usize,
    source: &mut impl Iterator<Item = &'a Datum>,
) {
    let Some(span) = spans.get(depth).copied() else {
        array.items[at] = source.next().expect("there are enough").clone();
        return;
    };
    let dim = array.dims[depth];
    let from = usize::try_from(span.lower - dim.lower).expect("within the dimension");
    for n in from..from + span.count() {
        put(array, spans, depth + 1, at * dim.count() + n, source);
    }
}
