//! What the binder calls without a name: fields of rows, arrays of arrays.

use std::sync::OnceLock;

use super::args::{array, i4};
use super::signature::Signature;
use super::{Call, Entry, Kernel, Resolved, Volatility};
use crate::datum::{ArrayValue, Datum, Dim};
use crate::error::{Result, TypeError, sqlstate};
use crate::ty::PgType;
use std::sync::Arc;

fn entry(
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

fn resolved(entry: &'static Entry, args: Vec<PgType>, result: PgType) -> Resolved {
    let Entry { name, strict, volatility, .. } = *entry;
    Resolved { name, args, result, strict, volatility, columns: Vec::new(), entry }
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

/// `ARRAY[a, b]` of so many arrays of a type: one dimension more.
#[must_use]
pub fn array_of_arrays(array: PgType, count: usize) -> Resolved {
    static ENTRY: OnceLock<Entry> = OnceLock::new();
    let entry = entry(&ENTRY, "array(variadic anyarray) anyarray", false, nest);
    resolved(entry, vec![array; count], array)
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
