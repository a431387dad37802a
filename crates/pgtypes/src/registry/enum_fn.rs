//! `enum_first`, `enum_last`, `enum_range`: of the type of their argument, which may be NULL.

use super::{Call, Registry};
use crate::datum::Datum;
use crate::error::{Result, TypeError};

/// The values of the type of the first argument, in order.
fn values(call: &Call<'_>) -> Result<Vec<i64>> {
    let labels = call.args[0].enum_oid().and_then(|oid| {
        let names = call.env.names.0.as_ref()?;
        Some(names.enum_labels(oid))
    });
    let labels =
        labels.ok_or_else(|| TypeError::new("0A000", "could not determine actual enum type"))?;
    Ok(labels.into_iter().map(|(value, _)| value).collect())
}

fn one(value: Option<&i64>, call: &Call<'_>) -> Result<Datum> {
    value.map(|value| Datum::Int8(*value)).ok_or_else(|| {
        TypeError::new("55000", format!("enum {} contains no values", call.args[0].sql_name()))
    })
}

pub(super) fn register(r: &mut Registry) {
    r.f("enum_first(anyenum) anyenum", |call, _| one(values(call)?.first(), call))
        .nonstrict()
        .stable();
    r.f("enum_last(anyenum) anyenum", |call, _| one(values(call)?.last(), call))
        .nonstrict()
        .stable();
    r.f("enum_range(anyenum) anyarray", |call, _| {
        Ok(Datum::array(values(call)?.into_iter().map(Datum::Int8).collect()))
    })
    .nonstrict()
    .stable();
    r.f("enum_range(anyenum,anyenum) anyarray", |call, a| {
        let bound = |datum: &Datum, open: i64| match datum {
            Datum::Int8(value) => *value,
            _ => open,
        };
        let (low, high) = (bound(&a[0], i64::MIN), bound(&a[1], i64::MAX));
        let inside = values(call)?.into_iter().filter(|value| (low..=high).contains(value));
        Ok(Datum::array(inside.map(Datum::Int8).collect()))
    })
    .nonstrict()
    .stable();
}
