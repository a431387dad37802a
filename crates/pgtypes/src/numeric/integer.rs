//! Factorials and greatest common divisors.

use num_bigint::BigInt;
use num_traits::One;

use super::Numeric;
use super::arith::overflow;
use crate::error::{Result, TypeError, sqlstate};

impl Numeric {
    /// `n!`
    pub fn factorial(n: i64) -> Result<Self> {
        if n < 0 {
            return Err(TypeError::new(
                sqlstate::NUMERIC_OUT_OF_RANGE,
                "factorial of a negative number is undefined",
            ));
        }
        if n > 32_177 {
            return Err(overflow());
        }
        let mut product = BigInt::one();
        for factor in 2..=n {
            product *= factor;
        }
        Ok(Self::from_big(product, 0))
    }

    /// Greatest common divisor, shown with the larger scale.
    pub fn gcd(&self, other: &Self) -> Result<Self> {
        if !self.is_finite() || !other.is_finite() {
            return Ok(Self::NAN);
        }
        let (mut a, mut b) = (self.abs(), other.abs());
        let scale = a.scale().max(b.scale());
        while !b.is_zero() {
            let rest = a.rem(&b)?;
            a = b;
            b = rest;
        }
        Ok(a.with_scale(scale))
    }
}
