//! Exact arithmetic with PostgreSQL's rules for the scale of the result.
//!
//! Sums and differences keep the larger scale, products the sum of scales, quotients at least 16
//! significant digits and no fewer fraction digits than either operand. Rounding is half away
//! from zero.

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{Signed, Zero};

use super::{MAX_SCALE, Mantissa, Numeric, Repr, pow10, pow10_big, scale_up};
use crate::error::{Result, TypeError, sqlstate};

/// Significant digits a quotient or a transcendental result has at least.
pub(super) const MIN_SIG_DIGITS: i64 = 16;
/// Fraction digits such a result has at most.
pub(super) const MAX_DISPLAY_SCALE: i64 = 1000;

/// 22003: more digits than the format holds.
pub(super) fn overflow() -> TypeError {
    TypeError::new(sqlstate::NUMERIC_OUT_OF_RANGE, "value overflows numeric format")
}

/// A scale within bounds, as stored.
pub(super) fn stored_scale(scale: u32) -> u16 {
    u16::try_from(scale.min(MAX_SCALE)).expect("16383 fits")
}

/// `value / 10^n`, rounded half away from zero.
pub(super) fn div_round_pow10(value: &BigInt, n: u32) -> BigInt {
    div_round(value, &pow10_big(n))
}

/// `a / b`, rounded half away from zero.
pub(super) fn div_round(a: &BigInt, b: &BigInt) -> BigInt {
    let (quotient, remainder) = a.div_rem(b);
    if (remainder.abs() * 2u8) >= b.abs() {
        if a.is_negative() == b.is_negative() { quotient + 1 } else { quotient - 1 }
    } else {
        quotient
    }
}

/// The same in 128 bits; `None` for the one quotient that does not fit.
fn div_round_small(a: i128, b: i128) -> Option<i128> {
    let quotient = a.checked_div(b)?;
    let remainder = a.wrapping_rem(b).unsigned_abs();
    if remainder >= b.unsigned_abs() - remainder {
        return Some(if (a < 0) == (b < 0) { quotient + 1 } else { quotient - 1 });
    }
    Some(quotient)
}

impl Numeric {
    fn aligned(&self, other: &Self) -> Option<(BigInt, BigInt, u32)> {
        let ((a, a_scale), (b, b_scale)) = (self.parts()?, other.parts()?);
        let scale = a_scale.max(b_scale);
        Some((
            a.to_big() * pow10_big(scale - a_scale),
            b.to_big() * pow10_big(scale - b_scale),
            scale,
        ))
    }

    fn aligned_small(&self, other: &Self) -> Option<(i128, i128, u32)> {
        let ((a, a_scale), (b, b_scale)) = (self.small_parts()?, other.small_parts()?);
        let scale = a_scale.max(b_scale);
        Some((scale_up(a, scale - a_scale)?, scale_up(b, scale - b_scale)?, scale))
    }

    /// Refuses what the format cannot hold.
    fn checked(self) -> Result<Self> {
        if let Repr::Big(parts) = &self.0 {
            // Cheap bound first: 3 bits per digit never overestimates the digits by much.
            let digits = parts.0.bits() * 30_103 / 100_000 + 1;
            let limit = super::MAX_WEIGHT_DIGITS + u64::from(parts.1);
            if digits > limit && self.weight_and_first().0 > 32_767 {
                return Err(overflow());
            }
        }
        Ok(self)
    }

    /// `self + other`
    pub fn add(&self, other: &Self) -> Result<Self> {
        if let Some((a, b, scale)) = self.aligned_small(other)
            && let Some(sum) = a.checked_add(b)
        {
            return Ok(Self::from_parts(sum, stored_scale(scale)));
        }
        match self.aligned(other) {
            Some((a, b, scale)) => Self::from_big(a + b, stored_scale(scale)).checked(),
            None => Ok(self.add_special(other)),
        }
    }

    fn add_special(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (Repr::NaN, _) | (_, Repr::NaN) => Self::NAN,
            (Repr::Infinity, Repr::NegInfinity) | (Repr::NegInfinity, Repr::Infinity) => Self::NAN,
            (Repr::Infinity, _) | (_, Repr::Infinity) => Self::INFINITY,
            _ => Self::NEG_INFINITY,
        }
    }

    /// `self - other`
    pub fn sub(&self, other: &Self) -> Result<Self> {
        self.add(&other.neg())
    }

    /// `-self`
    #[must_use]
    pub fn neg(&self) -> Self {
        match &self.0 {
            Repr::NaN => Self::NAN,
            Repr::Infinity => Self::NEG_INFINITY,
            Repr::NegInfinity => Self::INFINITY,
            Repr::Small { scale, .. } => {
                let (value, _) = self.small_parts().expect("small");
                match value.checked_neg() {
                    Some(value) => Self::from_parts(value, *scale),
                    None => Self::from_big(-BigInt::from(value), *scale),
                }
            }
            Repr::Big(parts) => Self::from_big(-parts.0.clone(), parts.1),
        }
    }

    /// `abs(self)`
    #[must_use]
    pub fn abs(&self) -> Self {
        if self.signum() == Some(-1) { self.neg() } else { self.clone() }
    }

    /// `self * other`
    pub fn mul(&self, other: &Self) -> Result<Self> {
        let (Some((a, a_scale)), Some((b, b_scale))) = (self.parts(), other.parts()) else {
            return Ok(self.mul_special(other));
        };
        let scale = a_scale + b_scale;
        if let (Mantissa::Small(a), Mantissa::Small(b)) = (&a, &b)
            && let Some(product) = a.checked_mul(*b)
            && scale <= MAX_SCALE
        {
            return Ok(Self::from_parts(product, stored_scale(scale)));
        }
        let mut product = a.to_big() * b.to_big();
        if scale > MAX_SCALE {
            product = div_round_pow10(&product, scale - MAX_SCALE);
        }
        Self::from_big(product, stored_scale(scale)).checked()
    }

    fn mul_special(&self, other: &Self) -> Self {
        let (Some(a), Some(b)) = (self.signum(), other.signum()) else { return Self::NAN };
        match a * b {
            0 => Self::NAN,
            1 => Self::INFINITY,
            _ => Self::NEG_INFINITY,
        }
    }

    /// `self / other`
    pub fn div(&self, other: &Self) -> Result<Self> {
        if let Some(special) = self.div_special(other)? {
            return Ok(special);
        }
        self.div_to_scale(other, self.div_scale(other))
    }

    fn div_special(&self, other: &Self) -> Result<Option<Self>> {
        if self.is_nan() || other.is_nan() {
            return Ok(Some(Self::NAN));
        }
        if !self.is_finite() {
            if !other.is_finite() {
                return Ok(Some(Self::NAN));
            }
            return match other.signum() {
                Some(0) => Err(TypeError::division_by_zero()),
                Some(1) => Ok(Some(self.clone())),
                _ => Ok(Some(self.neg())),
            };
        }
        if !other.is_finite() {
            return Ok(Some(Self::ZERO));
        }
        if other.is_zero() {
            return Err(TypeError::division_by_zero());
        }
        Ok(None)
    }

    /// Fraction digits of the quotient: PostgreSQL's `select_div_scale`.
    fn div_scale(&self, other: &Self) -> u32 {
        let (weight1, first1) = self.weight_and_first();
        let (weight2, first2) = other.weight_and_first();
        let mut weight = weight1 - weight2;
        if first1 <= first2 {
            weight -= 1;
        }
        let scale = (MIN_SIG_DIGITS - weight * 4)
            .max(i64::from(self.scale()))
            .max(i64::from(other.scale()))
            .clamp(0, MAX_DISPLAY_SCALE);
        u32::try_from(scale).expect("clamped")
    }

    /// The quotient of finite values, rounded to `scale` fraction digits.
    pub(crate) fn div_to_scale(&self, other: &Self, scale: u32) -> Result<Self> {
        let (Some((a, a_scale)), Some((b, b_scale))) = (self.parts(), other.parts()) else {
            return Ok(Self::NAN);
        };
        // a/10^as / (b/10^bs) * 10^scale = a * 10^(scale + bs - as) / b
        let shift = i64::from(scale) + i64::from(b_scale) - i64::from(a_scale);
        if let (Mantissa::Small(a), Mantissa::Small(b)) = (&a, &b)
            && let Ok(up) = u32::try_from(shift)
            && let Some(a) = scale_up(*a, up)
            && let Some(quotient) = div_round_small(a, *b)
        {
            return Ok(Self::from_parts(quotient, stored_scale(scale)));
        }
        let (mut a, mut b) = (a.to_big(), b.to_big());
        let by = u32::try_from(shift.unsigned_abs()).expect("scales are 14 bits");
        if shift >= 0 {
            a *= pow10_big(by);
        } else {
            b *= pow10_big(by);
        }
        Self::from_big(div_round(&a, &b), stored_scale(scale)).checked()
    }

    /// `self % other`, with the sign of `self`.
    pub fn rem(&self, other: &Self) -> Result<Self> {
        if self.is_nan() || other.is_nan() {
            return Ok(Self::NAN);
        }
        if !self.is_finite() {
            return if other.is_zero() {
                Err(TypeError::division_by_zero())
            } else {
                Ok(Self::NAN)
            };
        }
        if !other.is_finite() {
            return Ok(self.clone());
        }
        if other.is_zero() {
            return Err(TypeError::division_by_zero());
        }
        if let Some((a, b, scale)) = self.aligned_small(other) {
            return Ok(Self::from_parts(a.wrapping_rem(b), stored_scale(scale)));
        }
        let (a, b, scale) = self.aligned(other).expect("both finite");
        Ok(Self::from_big(a % b, stored_scale(scale)))
    }

    /// `div(self, other)`: the quotient truncated to an integer.
    pub fn div_trunc(&self, other: &Self) -> Result<Self> {
        if let Some(special) = self.div_special(other)? {
            return Ok(special);
        }
        let (a, b, _) = self.aligned(other).expect("both finite");
        Self::from_big(a / b, 0).checked()
    }

    /// Weight and value of the first digit to base 10,000, as PostgreSQL stores it; 0, 0 for zero.
    pub(crate) fn weight_and_first(&self) -> (i64, i64) {
        let Some((mantissa, scale)) = self.parts() else { return (0, 0) };
        let text = match &mantissa {
            Mantissa::Small(0) => return (0, 0),
            Mantissa::Small(value) => value.unsigned_abs().to_string(),
            Mantissa::Big(value) => value.magnitude().to_string(),
        };
        let before = i64::try_from(text.len()).expect("short") - i64::from(scale);
        let weight = (before - 1).div_euclid(4);
        let take = usize::try_from(before - 4 * weight).expect("1 to 4");
        let mut first: i64 = text[..take.min(text.len())].parse().expect("digits");
        for _ in text.len()..take {
            first *= 10;
        }
        (weight, first)
    }

    /// Is it an integer (whatever its display scale)?
    pub fn is_integer(&self) -> bool {
        match self.parts() {
            None => false,
            Some((_, 0)) => true,
            Some((Mantissa::Small(value), scale)) => match pow10(scale) {
                Some(unit) => value % unit == 0,
                None => value == 0,
            },
            Some((Mantissa::Big(value), scale)) => (value % pow10_big(scale)).is_zero(),
        }
    }

    /// The fewest fraction digits that lose nothing.
    pub fn min_scale(&self) -> u32 {
        let Some((mantissa, scale)) = self.parts() else { return 0 };
        let text = match &mantissa {
            Mantissa::Small(0) => return 0,
            Mantissa::Small(value) => value.unsigned_abs().to_string(),
            Mantissa::Big(value) => value.magnitude().to_string(),
        };
        let zeros = text.len() - text.trim_end_matches('0').len();
        scale.saturating_sub(u32::try_from(zeros).unwrap_or(u32::MAX))
    }
}
