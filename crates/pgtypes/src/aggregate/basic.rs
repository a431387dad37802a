//! `count`, `min`, `max`, `bool_and`, `bool_or`, `every`, `bit_and`, `bit_or`, `bit_xor`.

use super::{Accumulate, AggCall, Aggregates, state_result};
use crate::compare::compare_as;
use crate::datum::Datum;
use crate::error::Result;
use crate::ty::{PgType, TypeId};

#[derive(Debug, Default)]
struct Count(i64);

impl Accumulate for Count {
    fn update(&mut self, _: &[Datum]) -> Result<()> {
        self.0 += 1;
        Ok(())
    }

    fn retract(&mut self, _: &[Datum]) -> Result<()> {
        self.0 -= 1;
        Ok(())
    }

    fn can_retract(&self) -> bool {
        true
    }

    fn state(&self) -> Vec<Datum> {
        vec![Datum::Int8(self.0)]
    }

    fn merge(&mut self, state: &[Datum]) -> Result<()> {
        self.0 += state[0].as_i64().unwrap_or(0);
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        Ok(Datum::Int8(self.0))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// Keeps one value, replaced by what `pick` chooses of it and the next.
struct Fold {
    ty: PgType,
    value: Datum,
    pick: fn(PgType, &Datum, &Datum) -> Option<Datum>,
}

impl std::fmt::Debug for Fold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fold({:?})", self.value)
    }
}

impl Accumulate for Fold {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        if self.value.is_null() {
            self.value = args[0].clone();
        } else if let Some(value) = (self.pick)(self.ty, &self.value, &args[0]) {
            self.value = value;
        }
        Ok(())
    }

    fn state(&self) -> Vec<Datum> {
        vec![self.value.clone()]
    }

    fn merge(&mut self, state: &[Datum]) -> Result<()> {
        if state[0].is_null() { Ok(()) } else { self.update(state) }
    }

    fn finish(&self) -> Result<Datum> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.value.size()
    }
}

fn fold(
    call: &AggCall<'_>,
    pick: fn(PgType, &Datum, &Datum) -> Option<Datum>,
) -> Box<dyn Accumulate> {
    Box::new(Fold { ty: call.args[0], value: Datum::Null, pick })
}

/// Of equal values that look different (1.5 and 1.50) PostgreSQL keeps the later one, but of
/// `char(n)` the earlier.
fn takes_equal(ty: PgType) -> bool {
    ty.id != TypeId::Bpchar
}

fn min(ty: PgType, a: &Datum, b: &Datum) -> Option<Datum> {
    let order = compare_as(ty, b, a);
    (order.is_lt() || (order.is_eq() && takes_equal(ty))).then(|| b.clone())
}

fn max(ty: PgType, a: &Datum, b: &Datum) -> Option<Datum> {
    let order = compare_as(ty, b, a);
    (order.is_gt() || (order.is_eq() && takes_equal(ty))).then(|| b.clone())
}

fn bits(a: &Datum, b: &Datum, f: fn(i64, i64) -> i64) -> Option<Datum> {
    Some(match (a, b) {
        (Datum::Int2(a), Datum::Int2(b)) => Datum::Int2(f(i64::from(*a), i64::from(*b)) as i16),
        (Datum::Int4(a), Datum::Int4(b)) => Datum::Int4(f(i64::from(*a), i64::from(*b)) as i32),
        (Datum::Int8(a), Datum::Int8(b)) => Datum::Int8(f(*a, *b)),
        _ => return None,
    })
}

pub(super) fn register(r: &mut Aggregates) {
    let count = |r: &mut Aggregates, text| {
        r.add(text, state_result, |_| Box::new(Count::default()));
    };
    count(r, "count() int8");
    count(r, "count(any) int8");
    const ORDERED: &[(&str, &str)] = &[
        ("min(int2) int2", "max(int2) int2"),
        ("min(int4) int4", "max(int4) int4"),
        ("min(int8) int8", "max(int8) int8"),
        ("min(float4) float4", "max(float4) float4"),
        ("min(float8) float8", "max(float8) float8"),
        ("min(numeric) numeric", "max(numeric) numeric"),
        ("min(text) text", "max(text) text"),
        ("min(bpchar) bpchar", "max(bpchar) bpchar"),
        ("min(date) date", "max(date) date"),
        ("min(time) time", "max(time) time"),
        ("min(timestamp) timestamp", "max(timestamp) timestamp"),
        ("min(timestamptz) timestamptz", "max(timestamptz) timestamptz"),
        ("min(interval) interval", "max(interval) interval"),
        ("min(oid) oid", "max(oid) oid"),
        ("min(xid8) xid8", "max(xid8) xid8"),
        ("min(anyarray) anyarray", "max(anyarray) anyarray"),
        ("min(anyenum) anyenum", "max(anyenum) anyenum"),
    ];
    for (low, high) in ORDERED {
        r.add(low, state_result, |call| fold(call, min));
        r.add(high, state_result, |call| fold(call, max));
    }
    for text in ["bool_and(bool) bool", "every(bool) bool"] {
        r.add(text, state_result, |call| {
            fold(call, |_, a, b| Some(Datum::Bool(a.as_bool()? && b.as_bool()?)))
        });
    }
    r.add("bool_or(bool) bool", state_result, |call| {
        fold(call, |_, a, b| Some(Datum::Bool(a.as_bool()? || b.as_bool()?)))
    });
    for text in ["bit_and(int2) int2", "bit_and(int4) int4", "bit_and(int8) int8"] {
        r.add(text, state_result, |call| fold(call, |_, a, b| bits(a, b, |a, b| a & b)));
    }
    for text in ["bit_or(int2) int2", "bit_or(int4) int4", "bit_or(int8) int8"] {
        r.add(text, state_result, |call| fold(call, |_, a, b| bits(a, b, |a, b| a | b)));
    }
    for text in ["bit_xor(int2) int2", "bit_xor(int4) int4", "bit_xor(int8) int8"] {
        r.add(text, state_result, |call| fold(call, |_, a, b| bits(a, b, |a, b| a ^ b)));
    }
}
