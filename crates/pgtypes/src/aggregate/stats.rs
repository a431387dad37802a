//! `stddev`, `variance` and their `_pop` and `_samp` forms: exact for integers and numerics.

use super::{Accumulate, Aggregates};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};
use crate::numeric::Numeric;
use crate::ty::PgType;

#[derive(Debug, Clone, Copy)]
struct Kind {
    sample: bool,
    root: bool,
}

/// Exact: count, sum and sum of squares.
#[derive(Debug)]
struct Exact {
    kind: Kind,
    count: i64,
    sum: Numeric,
    squares: Numeric,
}

impl Exact {
    fn make(kind: Kind) -> Box<dyn Accumulate> {
        Box::new(Self { kind, count: 0, sum: Numeric::ZERO, squares: Numeric::ZERO })
    }
}

impl Accumulate for Exact {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        let owned;
        let value = match &args[0] {
            Datum::Numeric(value) => value,
            other => {
                owned = Numeric::from(other.as_i64().expect("an integer"));
                &owned
            }
        };
        self.count += 1;
        self.sum = self.sum.add(value)?;
        self.squares = self.squares.add(&value.mul(value)?)?;
        Ok(())
    }

    fn state(&self) -> Vec<Datum> {
        vec![
            Datum::Int8(self.count),
            Datum::Numeric(self.sum.clone()),
            Datum::Numeric(self.squares.clone()),
        ]
    }

    fn merge(&mut self, state: &[Datum]) -> Result<()> {
        if let [Datum::Int8(count), Datum::Numeric(sum), Datum::Numeric(squares)] = state {
            self.count += count;
            self.sum = self.sum.add(sum)?;
            self.squares = self.squares.add(squares)?;
        }
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        let Kind { sample, root } = self.kind;
        if self.count == 0 || (sample && self.count == 1) {
            return Ok(Datum::Null);
        }
        if !self.sum.is_finite() {
            return Ok(Datum::Numeric(Numeric::NAN));
        }
        let n = Numeric::from(self.count);
        // (n * Σx² - (Σx)²) / (n * (n - 1 or n))
        let top = n.mul(&self.squares)?.sub(&self.sum.mul(&self.sum)?)?;
        if top.signum() != Some(1) {
            return Ok(Datum::Numeric(Numeric::ZERO));
        }
        let others = if sample { Numeric::from(self.count - 1) } else { n.clone() };
        let variance = top.div(&n.mul(&others)?)?;
        // The root has the digits of the quotient, not those a root by itself would have.
        let scale = variance.scale();
        Ok(Datum::Numeric(if root { variance.sqrt_to_scale(scale) } else { variance }))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.sum.heap_size() + self.squares.heap_size()
    }
}

/// Floats by Youngs and Cramer, as PostgreSQL does.
#[derive(Debug)]
struct Float {
    kind: Kind,
    n: f64,
    sum: f64,
    squares: f64,
}

impl Float {
    fn make(kind: Kind) -> Box<dyn Accumulate> {
        Box::new(Self { kind, n: 0.0, sum: 0.0, squares: 0.0 })
    }
}

impl Accumulate for Float {
    fn update(&mut self, args: &[Datum]) -> Result<()> {
        let value = match &args[0] {
            Datum::Float4(value) => f64::from(*value),
            Datum::Float8(value) => *value,
            other => panic!("resolution gave a float: {other:?}"),
        };
        let before = self.sum;
        self.n += 1.0;
        self.sum += value;
        if self.n > 1.0 {
            let delta = value * self.n - self.sum;
            self.squares += delta * delta / (self.n * (self.n - 1.0));
            let infinite = self.sum.is_infinite() || self.squares.is_infinite();
            if infinite && before.is_finite() && value.is_finite() {
                return Err(TypeError::new(
                    sqlstate::NUMERIC_OUT_OF_RANGE,
                    "value out of range: overflow",
                ));
            }
        }
        if value.is_infinite() || value.is_nan() {
            self.squares = f64::NAN;
        }
        Ok(())
    }

    fn state(&self) -> Vec<Datum> {
        vec![Datum::Float8(self.n), Datum::Float8(self.sum), Datum::Float8(self.squares)]
    }

    fn merge(&mut self, state: &[Datum]) -> Result<()> {
        let [Datum::Float8(n), Datum::Float8(sum), Datum::Float8(squares)] = *state else {
            return Ok(());
        };
        if self.n == 0.0 {
            (self.n, self.sum, self.squares) = (n, sum, squares);
        } else if n > 0.0 {
            let total = self.n + n;
            let delta = self.sum / self.n - sum / n;
            self.squares += squares + self.n * n * delta * delta / total;
            self.sum += sum;
            self.n = total;
        }
        Ok(())
    }

    fn finish(&self) -> Result<Datum> {
        let Kind { sample, root } = self.kind;
        if self.n == 0.0 || (sample && self.n == 1.0) {
            return Ok(Datum::Null);
        }
        let divisor = if sample { self.n - 1.0 } else { self.n };
        let variance = self.squares / divisor;
        Ok(Datum::Float8(if root { variance.sqrt() } else { variance }))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

fn exact_state(_: &[PgType], _: PgType) -> Vec<PgType> {
    vec![PgType::INT8, PgType::NUMERIC, PgType::NUMERIC]
}

fn float_state(_: &[PgType], _: PgType) -> Vec<PgType> {
    vec![PgType::FLOAT8; 3]
}

macro_rules! family {
    ($r:ident, $name:literal, $sample:literal, $root:literal) => {
        $r.add(concat!($name, "(int2) numeric"), exact_state, |_| {
            Exact::make(Kind { sample: $sample, root: $root })
        });
        $r.add(concat!($name, "(int4) numeric"), exact_state, |_| {
            Exact::make(Kind { sample: $sample, root: $root })
        });
        $r.add(concat!($name, "(int8) numeric"), exact_state, |_| {
            Exact::make(Kind { sample: $sample, root: $root })
        });
        $r.add(concat!($name, "(numeric) numeric"), exact_state, |_| {
            Exact::make(Kind { sample: $sample, root: $root })
        });
        $r.add(concat!($name, "(float4) float8"), float_state, |_| {
            Float::make(Kind { sample: $sample, root: $root })
        });
        $r.add(concat!($name, "(float8) float8"), float_state, |_| {
            Float::make(Kind { sample: $sample, root: $root })
        });
    };
}

pub(super) fn register(r: &mut Aggregates) {
    family!(r, "variance", true, false);
    family!(r, "var_samp", true, false);
    family!(r, "var_pop", false, false);
    family!(r, "stddev", true, true);
    family!(r, "stddev_samp", true, true);
    family!(r, "stddev_pop", false, true);
}
