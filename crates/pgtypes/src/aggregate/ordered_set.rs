//! Ordered-set aggregates: `percentile_cont`, `percentile_disc`, `mode`.
//!
//! Called as `percentile_cont(fraction, value)`: the direct argument first, then the expression of
//! `WITHIN GROUP (ORDER BY …)`, whose rows must come in that order.

use std::sync::Arc;

use super::{Accumulate, AggCall, Aggregates};
use crate::compare::equal;
use crate::datetime::arith;
use crate::datum::{ArrayValue, Datum, Interval};
use crate::error::{Result, TypeError, sqlstate};
use crate::ty::PgType;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Continuous,
    Discrete,
    Mode,
}

#[derive(Debug)]
struct OrderedSet {
    kind: Kind,
    /// The direct argument: a fraction, or an array of them.
    fraction: Datum,
    values: Vec<Datum>,
    heap: usize,
}

impl OrderedSet {
    fn make(_: &AggCall<'_>, kind: Kind) -> Box<dyn Accumulate> {
        Box::new(Self { kind, fraction: Datum::Null, values: Vec::new(), heap: 0 })
    }

    fn continuous(&self, fraction: f64) -> Result<Datum> {
        let at = fraction * (self.values.len() - 1) as f64;
        let (low, high) = (at.floor() as usize, at.ceil() as usize);
        let part = at - low as f64;
        Ok(match (&self.values[low], &self.values[high]) {
            (low, _) if part == 0.0 => low.clone(),
            (Datum::Float8(a), Datum::Float8(b)) => Datum::Float8(a + (b - a) * part),
            (Datum::Interval(a), Datum::Interval(b)) => Datum::Interval(between(*a, *b, part)?),
            (low, _) => low.clone(),
        })
    }

    fn percentile(&self, fraction: &Datum) -> Result<Datum> {
        Ok(match (self.kind, fraction) {
            (Kind::Continuous, Datum::Float8(fraction)) => self.continuous(*fraction)?,
            (Kind::Discrete, Datum::Float8(fraction)) => {
                let rank = (fraction * self.values.len() as f64).ceil() as usize;
                self.values[rank.max(1) - 1].clone()
            }
            _ => Datum::Null,
        })
    }

    fn mode(&self) -> Datum {
        let (mut best, mut best_count) = (0, 0);
        let (mut start, mut count) = (0, 0);
        for (at, value) in self.values.iter().enumerate() {
            if at > 0 && equal(value, &self.values[start]) {
                count += 1;
            } else {
                (start, count) = (at, 1);
            }
            if count > best_count {
                (best, best_count) = (start, count);
            }
        }
        self.values[best].clone()
    }
}

/// Whether fractions are between 0 and 1.
fn check(fraction: &Datum) -> Result<()> {
    match fraction {
        Datum::Float8(fraction) if !(0.0..=1.0).contains(fraction) => Err(TypeError::new(
            sqlstate::NUMERIC_OUT_OF_RANGE,
            format!("percentile value {fraction} is not between 0 and 1"),
        )),
        Datum::Array(fractions) => fractions.items.iter().try_for_each(check),
        _ => Ok(()),
    }
}

/// As PostgreSQL's interval arithmetic has it: parts of a month spill into days.
fn between(a: Interval, b: Interval, part: f64) -> Result<Interval> {
    let difference = arith::interval_add(b, arith::interval_neg(a)?)?;
    arith::interval_add(arith::interval_mul(difference, part)?, a)
}

impl Accumulate for OrderedSet {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        let value = args.last().expect("at least one argument");
        if let [fraction, _] = args
            && self.fraction.is_null()
        {
            check(fraction)?;
            self.fraction = fraction.clone();
        }
        if !value.is_null() {
            self.heap += value.size();
            self.values.push(value.clone());
        }
        Ok(())
    }

    fn state(&self) -> Vec<Datum> {
        vec![self.fraction.clone(), Datum::array(self.values.clone())]
    }

    fn merge(&mut self, state: &[Datum]) -> Result<()> {
        if !state[0].is_null() {
            self.fraction = state[0].clone();
        }
        if let Datum::Array(array) = &state[1] {
            self.heap += state[1].size();
            self.values.extend(array.items.iter().cloned());
        }
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        if self.values.is_empty() {
            return Ok(Datum::Null);
        }
        if self.kind == Kind::Mode {
            return Ok(self.mode());
        }
        Ok(match &self.fraction {
            Datum::Array(fractions) => {
                let items = fractions.items.iter().map(|fraction| self.percentile(fraction));
                let items = items.collect::<Result<_>>()?;
                Datum::Array(Arc::new(ArrayValue { dims: fractions.dims.clone(), items }))
            }
            fraction => self.percentile(fraction)?,
        })
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.heap
    }
}

pub(super) fn register(r: &mut Aggregates) {
    fn state(args: &[PgType], _: PgType) -> Vec<PgType> {
        let value = args.last().expect("at least one argument");
        let fraction = if args.len() > 1 { args[0] } else { PgType::FLOAT8 };
        vec![fraction, value.to_array()]
    }
    r.add("percentile_cont(float8,float8) float8", state, |call| {
        OrderedSet::make(call, Kind::Continuous)
    })
    .nonstrict();
    r.add("percentile_cont(float8,interval) interval", state, |call| {
        OrderedSet::make(call, Kind::Continuous)
    })
    .nonstrict();
    r.add("percentile_disc(float8,anyelement) anyelement", state, |call| {
        OrderedSet::make(call, Kind::Discrete)
    })
    .nonstrict();
    r.add("percentile_cont(float8[],float8) float8[]", state, |call| {
        OrderedSet::make(call, Kind::Continuous)
    })
    .nonstrict();
    r.add("percentile_cont(float8[],interval) interval[]", state, |call| {
        OrderedSet::make(call, Kind::Continuous)
    })
    .nonstrict();
    r.add("percentile_disc(float8[],anyelement) anyarray", state, |call| {
        OrderedSet::make(call, Kind::Discrete)
    })
    .nonstrict();
    r.add("mode(anyelement) anyelement", state, |call| OrderedSet::make(call, Kind::Mode))
        .nonstrict();
}
