//! What is called without a name: fields of rows, arrays of arrays, slices, a failure.

use std::sync::OnceLock;

use super::args::{array, i4, text};
use super::signature::Signature;
use super::{Call, Entry, Kernel, Resolved, Volatility};
use crate::datum::{ArrayValue, Datum, Dim};
use crate::error::{Result, TypeError, sqlstate};
use crate::ty::PgType;
use std::sync::Arc;

pub(super) fn entry(
    place: &'static OnceLock<Entry>,
    signature: &'static str,
    strict: bool,
    kernel: Kernel,
) -> &'static Entry {
    place.get_or_init(|| {
        let (name, signature) = Signature::parse(signature);
        let volatility = Volatility::Immutable;
        Entry { name, signature, strict, volatility, kernel, vector: None, columns: Vec::new() }
    })
}

pub(super) fn resolved(entry: &'static Entry, args: Vec<PgType>, result: PgType) -> Resolved {
    let Entry { name, strict, volatility, .. } = *entry;
    Resolved { name, args, result, strict, volatility, columns: Vec::new(), spread: false, entry }
}

/// `(row).field`: takes a row of this type and the field's number from 0, an int4 literal.
#[must_use]
pub fn field_of(row: PgType, field: PgType) -> Resolved {
    static ENTRY: OnceLock<Entry> = OnceLock::new();
    let entry = entry(&ENTRY, "field(record,int4) any", true, |_, a| {
        let Datum::Record(fields) = &a[0] else { return Ok(Datum::Null) };
        let at = usize::try_from(i4(&a[1])).unwrap_or(usize::MAX);
        Ok(fields.get(at).map_or(Datum::Null, |(_, value)| value.clone()))
    });
    resolved(entry, vec![row, PgType::INT4], field)
}

/// A failure where a value of this type was to be: takes SQLSTATE, one of [`sqlstate::OF_ROWS`], and message.
#[must_use]
pub fn failure_of(ty: PgType) -> Resolved {
    static ENTRY: OnceLock<Entry> = OnceLock::new();
    let entry = entry(&ENTRY, "failure(text,text) any", false, |_, a| {
        let state = sqlstate::OF_ROWS.into_iter().find(|state| *state == text(&a[0]));
        Err(TypeError::new(state.unwrap_or(sqlstate::INTERNAL), text(&a[1])))
    });
    // Nobody may compute it before there is a row.
    let failure = resolved(entry, vec![PgType::TEXT; 2], ty);
    Resolved { volatility: Volatility::Volatile, ..failure }
}

/// `ARRAY[a, b]` of so many arrays of a type: one dimension more.
#[must_use]
pub fn array_of_arrays(array: PgType, count: usize) -> Resolved {
    static ENTRY: OnceLock<Entry> = OnceLock::new();
    let entry = entry(&ENTRY, "array(variadic anyarray) anyarray", false, nest);
    resolved(entry, vec![array; count], array)
}

/// `array[low:high][low:high]`: takes the array, which of the bounds are left out (a bit each, an int4
/// literal), and the bounds, int4.
#[must_use]
pub fn slice_of(array: PgType, dimensions: usize) -> Resolved {
    static ENTRY: OnceLock<Entry> = OnceLock::new();
    let entry = entry(&ENTRY, "slice(anyarray,variadic int4) anyarray", false, |_, a| Ok(slice(a)));
    let mut args = vec![PgType::INT4; 2 + dimensions * 2];
    args[0] = array;
    resolved(entry, args, array)
}

fn slice(a: &[Datum]) -> Datum {
    let Datum::Array(whole) = &a[0] else { return Datum::Null };
    let left_out = |bound: usize| i4(&a[1]) >> bound & 1 == 1;
    let bounds = &a[2..];
    if bounds.iter().enumerate().any(|(at, bound)| bound.is_null() && !left_out(at)) {
        return Datum::Null;
    }
    let empty = || Datum::Array(Arc::default());
    if bounds.len() / 2 > whole.dims.len() {
        return empty();
    }
    let mut spans = Vec::with_capacity(whole.dims.len());
    for (n, dim) in whole.dims.iter().enumerate() {
        let last = dim.lower + dim.len - 1;
        let bound = |at: usize, default: i32| match bounds.get(at) {
            Some(bound) if !left_out(at) => i4(bound),
            _ => default,
        };
        let low = bound(2 * n, dim.lower).max(dim.lower);
        let high = bound(2 * n + 1, last).min(last);
        if low > high {
            return empty();
        }
        let from = usize::try_from(low - dim.lower).expect("within the dimension");
        spans.push((from, usize::try_from(high - low).expect("not empty") + 1));
    }
    let dims = spans
        .iter()
        .map(|(_, len)| Dim { len: i32::try_from(*len).expect("no longer than it was"), lower: 1 });
    let mut items = Vec::with_capacity(spans.iter().map(|(_, len)| len).product());
    pick(whole, &spans, 0, 0, &mut items);
    Datum::Array(Arc::new(ArrayValue { dims: dims.collect(), items }))
}

/// Appends the elements within these spans, of the dimensions from `depth` on.
fn pick(
    whole: &ArrayValue,
    spans: &[(usize, usize)],
    depth: usize,
    at: usize,
    items: &mut Vec<Datum>,
) {
    let Some((from, len)) = spans.get(depth).copied() else {
        items.push(whole.items[at].clone());
        return;
    };
    let below = &whole.dims[depth + 1..];
    let stride: usize =
        below.iter().map(|dim| usize::try_from(dim.len).expect("not negative")).product();
    for n in from..from + len {
        pick(whole, spans, depth + 1, at + n * stride, items);
    }
}

fn nest(_: &Call<'_>, arrays: &[Datum]) -> Result<Datum> {
    let mismatch = || {
        let message =
            "multidimensional arrays must have array expressions with matching dimensions";
        TypeError::new(sqlstate::ARRAY_SUBSCRIPT, message)
    };
    let filled = |datum: &&Datum| !datum.is_null() && !array(datum).items.is_empty();
    if !arrays.iter().any(|datum| filled(&datum)) {
        return Ok(Datum::Array(Arc::default()));
    }
    if !arrays.iter().all(|datum| filled(&datum)) {
        return Err(mismatch());
    }
    let inner = &array(&arrays[0]).dims;
    if arrays.iter().any(|datum| array(datum).dims != *inner) {
        return Err(mismatch());
    }
    let len = i32::try_from(arrays.len()).map_err(|_| super::string::too_large())?;
    let mut dims = vec![Dim { len, lower: 1 }];
    dims.extend(inner.iter().copied());
    if dims.len() > 6 {
        let message =
            format!("number of array dimensions ({}) exceeds the maximum allowed (6)", dims.len());
        return Err(TypeError::new(sqlstate::LIMIT_EXCEEDED, message));
    }
    let items = arrays.iter().flat_map(|datum| array(datum).items.iter().cloned()).collect();
    Ok(Datum::Array(Arc::new(ArrayValue { dims, items })))
}
