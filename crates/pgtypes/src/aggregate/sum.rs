//! `sum` and `avg`: exact for integers and numerics.

use super::{Accumulate, AggCall, Aggregates};
use crate::datetime::interval_out_of_range;
use crate::datum::{Datum, Interval};
use crate::error::{Result, TypeError};
use crate::numeric::Numeric;
use crate::ty::PgType;

/// What a sum or average is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    /// `sum` of int2 and int4: checked bigint.
    Int8,
    /// `sum` of int8 and numeric.
    Numeric,
    /// `avg` of any exact type.
    Average,
}

/// Sums integers in 128 bits: no column of 64-bit integers can overflow it.
#[derive(Debug)]
struct IntSum {
    output: Output,
    sum: i128,
    count: i64,
}

impl IntSum {
    fn make(output: Output) -> Box<dyn Accumulate> {
        Box::new(Self { output, sum: 0, count: 0 })
    }
}

fn integer(datum: &Datum) -> i128 {
    i128::from(datum.as_i64().expect("resolution gave an integer"))
}

impl Accumulate for IntSum {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        self.sum += integer(&args[0]);
        self.count += 1;
        Ok(())
    }

    fn retract(&mut self, args: &[Datum]) -> Result<()> {
        self.sum -= integer(&args[0]);
        self.count -= 1;
        Ok(())
    }

    fn can_retract(&self) -> bool {
        true
    }

    fn state(&self) -> Vec<Datum> {
        vec![Datum::Numeric(Numeric::from(self.sum)), Datum::Int8(self.count)]
    }

    fn merge(&mut self, state: &[Datum]) -> Result<()> {
        if let (Datum::Numeric(sum), Datum::Int8(count)) = (&state[0], &state[1]) {
            self.sum += sum.small_parts().expect("a sum of integers").0;
            self.count += count;
        }
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        if self.count == 0 {
            return Ok(Datum::Null);
        }
        match self.output {
            Output::Int8 => i64::try_from(self.sum)
                .map(Datum::Int8)
                .map_err(|_| TypeError::out_of_range("bigint")),
            Output::Numeric => Ok(Datum::Numeric(Numeric::from(self.sum))),
            Output::Average => {
                let count = Numeric::from(self.count);
                Numeric::from(self.sum).div(&count).map(Datum::Numeric)
            }
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// Sums numerics; NaN and infinities are counted so that they can be taken back.
#[derive(Debug)]
struct NumericSum {
    output: Output,
    sum: Numeric,
    count: i64,
}

impl NumericSum {
    fn make(output: Output) -> Box<dyn Accumulate> {
        Box::new(Self { output, sum: Numeric::ZERO, count: 0 })
    }
}

fn numeric(datum: &Datum) -> &Numeric {
    match datum {
        Datum::Numeric(value) => value,
        other => panic!("resolution gave a numeric: {other:?}"),
    }
}

impl Accumulate for NumericSum {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        self.sum = self.sum.add(numeric(&args[0]))?;
        self.count += 1;
        Ok(())
    }

    fn state(&self) -> Vec<Datum> {
        vec![Datum::Numeric(self.sum.clone()), Datum::Int8(self.count)]
    }

    fn merge(&mut self, state: &[Datum]) -> Result<()> {
        if let (Datum::Numeric(sum), Datum::Int8(count)) = (&state[0], &state[1]) {
            self.sum = self.sum.add(sum)?;
            self.count += count;
        }
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        match (self.count, self.output) {
            (0, _) => Ok(Datum::Null),
            (count, Output::Average) => self.sum.div(&Numeric::from(count)).map(Datum::Numeric),
            _ => Ok(Datum::Numeric(self.sum.clone())),
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.sum.heap_size()
    }
}

/// Sums floats in the order they come, as PostgreSQL does.
#[derive(Debug)]
struct FloatSum {
    narrow: bool,
    average: bool,
    sum: f64,
    narrow_sum: f32,
    count: i64,
}

impl FloatSum {
    fn make(narrow: bool, average: bool) -> Box<dyn Accumulate> {
        Box::new(Self { narrow, average, sum: 0.0, narrow_sum: 0.0, count: 0 })
    }

    fn add(&mut self, value: f64, count: i64) -> Result<()> {
        if self.narrow && !self.average {
            // sum(real) adds in single precision.
            let next = self.narrow_sum + value as f32;
            let explained = self.narrow_sum.is_infinite() || value.is_infinite();
            check_sum(f64::from(next), explained)?;
            self.narrow_sum = next;
        } else {
            let next = self.sum + value;
            check_sum(next, self.sum.is_infinite() || value.is_infinite())?;
            self.sum = next;
        }
        self.count += count;
        Ok(())
    }

    fn total(&self) -> f64 {
        if self.narrow && !self.average { f64::from(self.narrow_sum) } else { self.sum }
    }
}

fn float(datum: &Datum) -> f64 {
    match datum {
        Datum::Float4(value) => f64::from(*value),
        Datum::Float8(value) => *value,
        other => panic!("resolution gave a float: {other:?}"),
    }
}

impl Accumulate for FloatSum {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        self.add(float(&args[0]), 1)
    }

    fn state(&self) -> Vec<Datum> {
        vec![Datum::Float8(self.total()), Datum::Int8(self.count)]
    }

    fn merge(&mut self, state: &[Datum]) -> Result<()> {
        if let (Datum::Float8(sum), Datum::Int8(count)) = (&state[0], &state[1]) {
            self.add(*sum, *count)?;
        }
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        Ok(match (self.count, self.average, self.narrow) {
            (0, _, _) => Datum::Null,
            (count, true, _) => Datum::Float8(self.sum / count as f64),
            (_, false, true) => Datum::Float4(self.narrow_sum),
            (_, false, false) => Datum::Float8(self.sum),
        })
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

#[derive(Debug)]
struct IntervalSum {
    average: bool,
    sum: Interval,
    count: i64,
}

impl Accumulate for IntervalSum {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        let Datum::Interval(value) = args[0] else { panic!("resolution gave an interval") };
        self.sum = add_intervals(self.sum, value)?;
        self.count += 1;
        Ok(())
    }

    fn state(&self) -> Vec<Datum> {
        vec![Datum::Interval(self.sum), Datum::Int8(self.count)]
    }

    fn merge(&mut self, state: &[Datum]) -> Result<()> {
        if let (Datum::Interval(sum), Datum::Int8(count)) = (&state[0], &state[1]) {
            self.sum = add_intervals(self.sum, *sum)?;
            self.count += count;
        }
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        match (self.count, self.average) {
            (0, _) => Ok(Datum::Null),
            (_, false) => Ok(Datum::Interval(self.sum)),
            (count, true) => {
                crate::datetime::arith::interval_div(self.sum, count as f64).map(Datum::Interval)
            }
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

fn add_intervals(a: Interval, b: Interval) -> Result<Interval> {
    let sum = || {
        Some(Interval {
            months: a.months.checked_add(b.months)?,
            days: a.days.checked_add(b.days)?,
            micros: a.micros.checked_add(b.micros)?,
        })
    };
    sum().ok_or_else(interval_out_of_range)
}

fn sum_count(numeric: PgType) -> Vec<PgType> {
    vec![numeric, PgType::INT8]
}

pub(super) fn register(r: &mut Aggregates) {
    fn exact(_: &[PgType], _: PgType) -> Vec<PgType> {
        sum_count(PgType::NUMERIC)
    }
    fn float_state(_: &[PgType], _: PgType) -> Vec<PgType> {
        sum_count(PgType::FLOAT8)
    }
    fn interval_state(args: &[PgType], _: PgType) -> Vec<PgType> {
        sum_count(args[0])
    }
    r.add("sum(int2) int8", exact, |_| IntSum::make(Output::Int8));
    r.add("sum(int4) int8", exact, |_| IntSum::make(Output::Int8));
    r.add("sum(int8) numeric", exact, |_| IntSum::make(Output::Numeric));
    r.add("sum(numeric) numeric", exact, |_| NumericSum::make(Output::Numeric));
    r.add("avg(int2) numeric", exact, |_| IntSum::make(Output::Average));
    r.add("avg(int4) numeric", exact, |_| IntSum::make(Output::Average));
    r.add("avg(int8) numeric", exact, |_| IntSum::make(Output::Average));
    r.add("avg(numeric) numeric", exact, |_| NumericSum::make(Output::Average));
    r.add("sum(float4) float4", float_state, |_| FloatSum::make(true, false));
    r.add("sum(float8) float8", float_state, |_| FloatSum::make(false, false));
    r.add("avg(float4) float8", float_state, |_| FloatSum::make(true, true));
    r.add("avg(float8) float8", float_state, |_| FloatSum::make(false, true));
    fn interval(average: bool) -> Box<dyn Accumulate> {
        Box::new(IntervalSum { average, sum: Interval::default(), count: 0 })
    }
    r.add("sum(interval) interval", interval_state, |_: &AggCall<'_>| interval(false));
    r.add("avg(interval) interval", interval_state, |_: &AggCall<'_>| interval(true));
}

/// 22003 for an infinity no input explains.
fn check_sum(value: f64, explained: bool) -> Result<()> {
    if value.is_infinite() && !explained {
        return Err(TypeError::new(
            crate::error::sqlstate::NUMERIC_OUT_OF_RANGE,
            "value out of range: overflow",
        ));
    }
    Ok(())
}
