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

/// Most elements of an array.
const ELEMENTS_MAX: i64 = 134_217_727;

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
        let dims = at.iter().map(|&lower| Dim { len: 1, lower }).collect();
        return Ok(made(ArrayValue { dims, items: vec![a[1].clone()] }));
    }
    if array.dims.len() != at.len() {
        return Err(failed("wrong number of array subscripts"));
    }
    if at.len() == 1 {
        grow(&mut array, at[0], at[0])?;
    }
    let mut position = 0;
    for (dim, at) in array.dims.iter().zip(&at) {
        let offset = i64::from(*at) - i64::from(dim.lower);
        if offset < 0 || offset >= i64::from(dim.len) {
            return Err(failed("array subscript out of range"));
        }
        position = position * length(dim) + usize::try_from(offset).expect("not negative");
    }
    array.items[position] = a[1].clone();
    Ok(made(array))
}

fn length(dim: &Dim) -> usize {
    usize::try_from(dim.len).expect("a length")
}

/// Makes room in an array of one dimension for `low` to `high`.
fn grow(array: &mut ArrayValue, low: i32, high: i32) -> Result<()> {
    let dim = array.dims[0];
    let last = i64::from(dim.lower) + i64::from(dim.len) - 1;
    let before = (i64::from(dim.lower) - i64::from(low)).max(0);
    let behind = (i64::from(high) - last).max(0);
    let len = i64::from(dim.len) + before + behind;
    if len > ELEMENTS_MAX {
        return Err(TypeError::new(
            sqlstate::LIMIT_EXCEEDED,
            format!("array size exceeds the maximum allowed ({ELEMENTS_MAX})"),
        ));
    }
    let nulls = |count: i64| std::iter::repeat_n(Datum::Null, usize::try_from(count).unwrap_or(0));
    array.items.splice(..0, nulls(before));
    array.items.extend(nulls(behind));
    let len = i32::try_from(len).expect("bounded above");
    array.dims[0] = Dim { len, lower: dim.lower.min(low) };
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
    let spans = match array.dims.is_empty() {
        true => {
            let spans = whole_spans(&bounds)?;
            array.dims = spans.iter().map(|&(lower, len)| Dim { len, lower }).collect();
            let count: i64 = spans.iter().map(|(_, len)| i64::from(*len)).product();
            check_source(part, count)?;
            array.items =
                part.items[..usize::try_from(count).expect("bounded by the source")].to_vec();
            return Ok(made(array));
        }
        false => spans(&mut array, &bounds)?,
    };
    let count: i64 = spans.iter().map(|(_, len)| i64::from(*len)).product();
    check_source(part, count)?;
    let mut source = part.items.iter();
    put(&mut array, &spans, 0, 0, &mut source);
    Ok(made(array))
}

fn check_source(part: &ArrayValue, count: i64) -> Result<()> {
    match i64::try_from(part.items.len()).is_ok_and(|len| len >= count) {
        true => Ok(()),
        false => Err(failed("source array too small")),
    }
}

fn span(low: i32, high: i32) -> Result<(i32, i32)> {
    if low > high {
        return Err(failed("upper bound cannot be less than lower bound"));
    }
    let len = i64::from(high) - i64::from(low) + 1;
    match i32::try_from(len).ok().filter(|_| len <= ELEMENTS_MAX) {
        Some(len) => Ok((low, len)),
        None => Err(TypeError::new(
            sqlstate::LIMIT_EXCEEDED,
            format!("array size exceeds the maximum allowed ({ELEMENTS_MAX})"),
        )),
    }
}

/// Where a slice of nothing begins, and how long it is, per dimension.
fn whole_spans(bounds: &[Option<i32>]) -> Result<Vec<(i32, i32)>> {
    let of = |pair: &[Option<i32>]| {
        match pair {
        [Some(low), Some(high)] => span(*low, *high),
        _ => Err(failed("array slice subscript must provide both boundaries").with_detail(
            "When assigning to a slice of an empty array value, slice boundaries must be fully specified.",
        )),
    }
    };
    bounds.chunks(2).map(of).collect()
}

/// The same of an array that has elements, and grows to hold the slice.
fn spans(array: &mut ArrayValue, bounds: &[Option<i32>]) -> Result<Vec<(i32, i32)>> {
    if array.dims.len() < bounds.len() / 2 {
        return Err(failed("wrong number of array subscripts"));
    }
    let last = |dim: &Dim| dim.lower + dim.len - 1;
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
    if let [(low, len)] = spans[..] {
        grow(array, low, low + (len - 1))?;
    }
    Ok(spans)
}

/// Fills the spans of the dimensions from `depth` on, below the element at `at`.
fn put<'a>(
    array: &mut ArrayValue,
    spans: &[(i32, i32)],
    depth: usize,
    at: usize,
    source: &mut impl Iterator<Item = &'a Datum>,
) {
    let Some((low, len)) = spans.get(depth).copied() else {
        array.items[at] = source.next().expect("there are enough").clone();
        return;
    };
    let dim = array.dims[depth];
    let from = usize::try_from(low - dim.lower).expect("within the dimension");
    for n in from..from + usize::try_from(len).expect("a length") {
        put(array, spans, depth + 1, at * length(&dim) + n, source);
    }
}
