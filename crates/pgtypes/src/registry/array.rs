//! Functions and operators of arrays. Subscripts, slices and ANY are forms of the binder.

use std::sync::Arc;

use super::args::{array, i4, text};
use super::{Call, Registry};
use crate::compare::equal;
use crate::datum::{ArrayValue, Datum, Dim};
use crate::error::{Result, TypeError, sqlstate};
use crate::text::text_of;

fn subscript(message: impl Into<String>) -> TypeError {
    TypeError::new(sqlstate::ARRAY_SUBSCRIPT, message)
}

fn make(dims: Vec<Dim>, items: Vec<Datum>) -> Datum {
    if items.is_empty() {
        return Datum::Array(Arc::default());
    }
    Datum::Array(Arc::new(ArrayValue { dims, items }))
}

/// `array || array`: of one dimension count, or one more on one side.
fn concat(a: &ArrayValue, b: &ArrayValue) -> Result<Datum> {
    if a.items.is_empty() {
        return Ok(Datum::Array(Arc::new(b.clone())));
    }
    if b.items.is_empty() {
        return Ok(Datum::Array(Arc::new(a.clone())));
    }
    let incompatible = |why: String| {
        Err(subscript("cannot concatenate incompatible arrays")
            .with_detail(format!("Arrays {why} are not compatible for concatenation.")))
    };
    let mut dims = a.dims.clone();
    match a.dims.len() as i64 - b.dims.len() as i64 {
        0 if a.dims[1..] == b.dims[1..] => dims[0].len += b.dims[0].len,
        1 if a.dims[1..] == b.dims[..] => dims[0].len += 1,
        -1 if b.dims[1..] == a.dims[..] => {
            dims = b.dims.clone();
            dims[0].len += 1;
        }
        0 => return incompatible("with differing element dimensions".to_owned()),
        -1 | 1 => return incompatible("with differing dimensions".to_owned()),
        _ => {
            let (a, b) = (a.dims.len(), b.dims.len());
            return incompatible(format!("of {a} and {b} dimensions"));
        }
    }
    let mut items = Vec::with_capacity(Dim::count_all(&dims)?);
    items.extend(a.items.iter().chain(&b.items).cloned());
    Ok(make(dims, items))
}

fn one_dimensional(value: &ArrayValue, what: &str) -> Result<()> {
    if value.dims.len() > 1 { Err(subscript(what)) } else { Ok(()) }
}

fn append(value: &Datum, item: &Datum, front: bool) -> Result<Datum> {
    let empty = ArrayValue::default();
    let value = match value {
        Datum::Array(value) => value,
        _ => &empty,
    };
    if value.dims.len() > 1 {
        return Err(TypeError::new("22000", "argument must be empty or one-dimensional array"));
    }
    let mut dim = value.dims.first().copied().unwrap_or(Dim { len: 0, lower: 1 });
    dim.len += 1;
    let mut items = Vec::with_capacity(Dim::count_all(&[dim])?);
    let (before, behind) = if front { (Some(item), None) } else { (None, Some(item)) };
    items.extend(before.into_iter().chain(&value.items).chain(behind).cloned());
    Ok(make(vec![dim], items))
}

fn dimension(value: &ArrayValue, at: i32) -> Option<&Dim> {
    usize::try_from(at).ok()?.checked_sub(1).and_then(|at| value.dims.get(at))
}

fn position_of(value: &ArrayValue, item: &Datum, start: Option<i32>) -> Result<Datum> {
    one_dimensional(value, "searching for elements in multidimensional arrays is not supported")
        .map_err(|error| TypeError { sqlstate: sqlstate::NOT_SUPPORTED, ..error })?;
    let Some(dim) = value.dims.first() else { return Ok(Datum::Null) };
    let skip = start.map_or(0, |start| i64::from(start) - i64::from(dim.lower)).max(0);
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let found = value
        .items
        .iter()
        .enumerate()
        .skip(skip)
        .find(|(_, candidate)| equal(candidate, item))
        .map(|(at, _)| dim.lower + i32::try_from(at).expect("in an array"));
    Ok(found.into())
}

/// All places of an element; `array_positions`.
fn positions_of(value: &ArrayValue, item: &Datum) -> Result<Datum> {
    one_dimensional(value, "searching for elements in multidimensional arrays is not supported")
        .map_err(|error| TypeError { sqlstate: sqlstate::NOT_SUPPORTED, ..error })?;
    let lower = value.dims.first().map_or(1, |dim| dim.lower);
    let found = value
        .items
        .iter()
        .enumerate()
        .filter(|(_, candidate)| equal(candidate, item))
        .map(|(at, _)| Datum::Int4(lower + i32::try_from(at).expect("in an array")));
    Ok(Datum::array(found.collect()))
}

fn to_string(call: &Call<'_>, a: &[Datum]) -> Result<Datum> {
    if a[0].is_null() || a[1].is_null() {
        return Ok(Datum::Null);
    }
    let null_text = a.get(2).and_then(Datum::as_str);
    let element = call.args[0].element();
    let parts: Vec<String> = array(&a[0])
        .items
        .iter()
        .filter_map(|item| match item {
            Datum::Null => null_text.map(str::to_owned),
            item => Some(text_of(item, element, call.env)),
        })
        .collect();
    Ok(Datum::text(parts.join(text(&a[1]))))
}

pub(super) fn from_string(a: &[Datum]) -> Result<Datum> {
    if a[0].is_null() {
        return Ok(Datum::Null);
    }
    let input = text(&a[0]);
    let null_text = a.get(2).and_then(Datum::as_str);
    let item = |part: &str| {
        if null_text == Some(part) { Datum::Null } else { Datum::text(part) }
    };
    if input.is_empty() {
        return Ok(Datum::Array(Arc::default()));
    }
    let items = match &a[1] {
        // Without a separator, every character is an element.
        Datum::Null => input.chars().map(|c| item(c.encode_utf8(&mut [0; 4]))).collect(),
        separator if text(separator).is_empty() => vec![item(input)],
        separator => input.split(text(separator)).map(item).collect(),
    };
    Ok(Datum::array(items))
}

fn remove(value: &ArrayValue, item: &Datum) -> Result<Datum> {
    one_dimensional(value, "removing elements from multidimensional arrays is not supported")
        .map_err(|error| TypeError { sqlstate: sqlstate::NOT_SUPPORTED, ..error })?;
    let kept: Vec<Datum> =
        value.items.iter().filter(|candidate| !equal(candidate, item)).cloned().collect();
    let lower = value.dims.first().map_or(1, |dim| dim.lower);
    let len = i32::try_from(kept.len()).expect("fewer than before");
    Ok(make(vec![Dim { len, lower }], kept))
}

fn contains(whole: &ArrayValue, part: &ArrayValue) -> bool {
    // NULL equals nothing here, as in SQL.
    part.items
        .iter()
        .all(|item| !item.is_null() && whole.items.iter().any(|other| equal(item, other)))
}

fn overlap(a: &ArrayValue, b: &ArrayValue) -> bool {
    a.items.iter().any(|item| !item.is_null() && b.items.iter().any(|other| equal(item, other)))
}

fn dims_text(value: &ArrayValue) -> Datum {
    if value.dims.is_empty() {
        return Datum::Null;
    }
    let text: String = value
        .dims
        .iter()
        .map(|dim| format!("[{}:{}]", dim.lower, dim.lower + dim.len - 1))
        .collect();
    Datum::text(text)
}

fn fill(item: &Datum, lengths: &Datum, lowers: Option<&Datum>) -> Result<Datum> {
    if lengths.is_null() || lowers.is_some_and(Datum::is_null) {
        return Err(TypeError::new(
            sqlstate::NULL_NOT_ALLOWED,
            "dimension array or low bound array cannot be null",
        ));
    }
    let (lengths, lowers) = (array(lengths), lowers.map(array));
    let flat = |list: &ArrayValue| list.dims.len() <= 1;
    if !flat(lengths) || lowers.is_some_and(|lowers| !flat(lowers)) {
        return Err(subscript("wrong number of array subscripts")
            .with_detail("Dimension array must be one dimensional."));
    }
    if lengths.items.len() > 6 {
        let message = format!(
            "number of array dimensions ({}) exceeds the maximum allowed (6)",
            lengths.items.len()
        );
        return Err(TypeError::new(sqlstate::LIMIT_EXCEEDED, message));
    }
    if lowers.is_some_and(|lowers| lowers.items.len() != lengths.items.len()) {
        return Err(subscript("wrong number of array subscripts")
            .with_detail("Low bound array has different size than dimensions array."));
    }
    let mut dims = Vec::new();
    for (at, length) in lengths.items.iter().enumerate() {
        let (Datum::Int4(len), lower) =
            (length, lowers.map_or(Some(&Datum::Int4(1)), |lowers| lowers.items.get(at)))
        else {
            return Err(TypeError::new(
                sqlstate::NULL_NOT_ALLOWED,
                "dimension values cannot be null",
            ));
        };
        let Some(Datum::Int4(lower)) = lower else {
            return Err(subscript("wrong number of array subscripts"));
        };
        dims.push(Dim { len: *len, lower: *lower });
    }
    let count = if dims.is_empty() { 0 } else { Dim::count_all(&dims)? };
    Ok(make(dims, vec![item.clone(); count]))
}

fn trim(value: &ArrayValue, n: i32) -> Result<Datum> {
    let len = value.dims.first().map_or(0, |dim| dim.len);
    if n < 0 || n > len {
        return Err(subscript(format!("number of elements to trim must be between 0 and {len}")));
    }
    if len == n {
        return Ok(Datum::Array(Arc::default()));
    }
    let mut dims = value.dims.clone();
    dims[0] = Dim { len: len - n, lower: 1 };
    let step = value.items.len() / usize::try_from(len).expect("not empty");
    let keep = step * usize::try_from(len - n).expect("positive");
    Ok(make(dims, value.items[..keep].to_vec()))
}

fn int_or_null(value: Option<i32>) -> Result<Datum> {
    Ok(value.into())
}

pub(super) fn register(r: &mut Registry) {
    r.op("||(anycompatiblearray,anycompatiblearray) anycompatiblearray", |_, a| {
        match (&a[0], &a[1]) {
            (Datum::Null, other) | (other, Datum::Null) => Ok(other.clone()),
            (a, b) => concat(array(a), array(b)),
        }
    })
    .nonstrict();
    r.op("||(anycompatiblearray,anycompatible) anycompatiblearray", |_, a| {
        append(&a[0], &a[1], false)
    })
    .nonstrict();
    r.op("||(anycompatible,anycompatiblearray) anycompatiblearray", |_, a| {
        append(&a[1], &a[0], true)
    })
    .nonstrict();
    r.f("array_cat(anycompatiblearray,anycompatiblearray) anycompatiblearray", |_, a| {
        match (&a[0], &a[1]) {
            (Datum::Null, other) | (other, Datum::Null) => Ok(other.clone()),
            (a, b) => concat(array(a), array(b)),
        }
    })
    .nonstrict();
    r.f("array_append(anycompatiblearray,anycompatible) anycompatiblearray", |_, a| {
        append(&a[0], &a[1], false)
    })
    .nonstrict();
    r.f("array_prepend(anycompatible,anycompatiblearray) anycompatiblearray", |_, a| {
        append(&a[1], &a[0], true)
    })
    .nonstrict();
    r.op("@>(anyarray,anyarray) bool", |_, a| Ok(contains(array(&a[0]), array(&a[1])).into()));
    r.op("<@(anyarray,anyarray) bool", |_, a| Ok(contains(array(&a[1]), array(&a[0])).into()));
    r.op("&&(anyarray,anyarray) bool", |_, a| Ok(overlap(array(&a[0]), array(&a[1])).into()));
    r.f("array_length(anyarray,int4) int4", |_, a| {
        int_or_null(dimension(array(&a[0]), i4(&a[1])).map(|dim| dim.len))
    });
    r.f("array_lower(anyarray,int4) int4", |_, a| {
        int_or_null(dimension(array(&a[0]), i4(&a[1])).map(|dim| dim.lower))
    });
    r.f("array_upper(anyarray,int4) int4", |_, a| {
        int_or_null(dimension(array(&a[0]), i4(&a[1])).map(|dim| dim.lower + dim.len - 1))
    });
    r.f("array_ndims(anyarray) int4", |_, a| {
        let count = i32::try_from(array(&a[0]).dims.len()).expect("at most 6");
        int_or_null((count > 0).then_some(count))
    });
    r.f("array_dims(anyarray) text", |_, a| Ok(dims_text(array(&a[0]))));
    r.f("cardinality(anyarray) int4", |_, a| {
        Ok(Datum::Int4(i32::try_from(array(&a[0]).items.len()).expect("at most 2^27")))
    });
    r.f("array_position(anycompatiblearray,anycompatible) int4", |_, a| {
        if a[0].is_null() { Ok(Datum::Null) } else { position_of(array(&a[0]), &a[1], None) }
    })
    .nonstrict();
    r.f("array_position(anycompatiblearray,anycompatible,int4) int4", |_, a| {
        if a[0].is_null() {
            return Ok(Datum::Null);
        }
        if a[2].is_null() {
            let message = "initial position must not be null";
            return Err(TypeError::new(sqlstate::NULL_NOT_ALLOWED, message));
        }
        position_of(array(&a[0]), &a[1], Some(i4(&a[2])))
    })
    .nonstrict();
    r.f("array_positions(anycompatiblearray,anycompatible) int4[]", |_, a| {
        if a[0].is_null() { Ok(Datum::Null) } else { positions_of(array(&a[0]), &a[1]) }
    })
    .nonstrict();
    r.f("array_to_string(anyarray,text) text", to_string).stable();
    r.f("array_to_string(anyarray,text,text) text", to_string).nonstrict().stable();
    r.f("string_to_array(text,text) text[]", |_, a| from_string(a)).nonstrict();
    r.f("string_to_array(text,text,text) text[]", |_, a| from_string(a)).nonstrict();
    r.f("array_remove(anycompatiblearray,anycompatible) anycompatiblearray", |_, a| {
        if a[0].is_null() { Ok(Datum::Null) } else { remove(array(&a[0]), &a[1]) }
    })
    .nonstrict();
    r.f(
        "array_replace(anycompatiblearray,anycompatible,anycompatible) anycompatiblearray",
        |_, a| {
            if a[0].is_null() {
                return Ok(Datum::Null);
            }
            let value = array(&a[0]);
            let swap = |item: &Datum| if equal(item, &a[1]) { a[2].clone() } else { item.clone() };
            Ok(make(value.dims.clone(), value.items.iter().map(swap).collect()))
        },
    )
    .nonstrict();
    r.f("array_fill(anyelement,int4[]) anyarray", |_, a| fill(&a[0], &a[1], None)).nonstrict();
    r.f("array_fill(anyelement,int4[],int4[]) anyarray", |_, a| fill(&a[0], &a[1], Some(&a[2])))
        .nonstrict();
    r.f("trim_array(anyarray,int4) anyarray", |_, a| trim(array(&a[0]), i4(&a[1])));
}
