//! Rounding, and fitting a value to `numeric(precision, scale)`.

use std::cmp::Ordering;

use num_bigint::BigInt;
use num_traits::Signed;

use super::arith::{div_round, div_round_pow10, stored_scale};
use super::{MAX_SCALE, Mantissa, Numeric, pow10, pow10_big, scale_up};
use crate::error::{Result, TypeError, sqlstate};

impl Numeric {
    /// Rounds half away from zero to `scale` digits after the point, before it if negative.
    #[must_use]
    pub fn round(&self, scale: i32) -> Self {
        self.rescale(scale, |value, n| match n {
            n if pow10(n).is_some() => div_round_pow10(value, n),
            n => div_round(value, &pow10_big(n)),
        })
    }

    /// Cuts off to `scale` digits after the point, before it if negative.
    #[must_use]
    pub fn trunc(&self, scale: i32) -> Self {
        self.rescale(scale, |value, n| value / pow10_big(n))
    }

    fn rescale(&self, scale: i32, cut: impl Fn(&BigInt, u32) -> BigInt) -> Self {
        let Some((mantissa, old)) = self.parts() else { return self.clone() };
        // More digits before the point than a value has make 0, however many they are.
        let limit = i32::try_from(MAX_SCALE).expect("14 bits");
        let scale = scale.clamp(-140_000, limit);
        let shown = stored_scale(u32::try_from(scale).unwrap_or(0));
        let drop = i64::from(old) - i64::from(scale);
        if drop == 0 {
            return self.clone();
        }
        if let Ok(up) = u32::try_from(-drop) {
            if let Mantissa::Small(value) = mantissa
                && let Some(value) = scale_up(value, up)
            {
                return Self::from_parts(value, shown);
            }
            return Self::from_big(mantissa.to_big() * pow10_big(up), shown);
        }
        let drop = u32::try_from(drop).expect("positive");
        let mut value = cut(&mantissa.to_big(), drop);
        if let Ok(zeros) = u32::try_from(-scale) {
            value *= pow10_big(zeros);
        }
        Self::from_big(value, shown)
    }

    /// The smallest integer not below.
    #[must_use]
    pub fn ceil(&self) -> Self {
        let cut = self.trunc(0);
        if cut.cmp_value(self) == Ordering::Less {
            cut.add(&Self::from(1i64)).unwrap_or(cut)
        } else {
            cut
        }
    }

    /// The largest integer not above.
    #[must_use]
    pub fn floor(&self) -> Self {
        let cut = self.trunc(0);
        if cut.cmp_value(self) == Ordering::Greater {
            cut.sub(&Self::from(1i64)).unwrap_or(cut)
        } else {
            cut
        }
    }

    /// The value with a display scale of exactly `scale`; rounds if that is fewer.
    #[must_use]
    pub fn with_scale(&self, scale: u32) -> Self {
        self.round(i32::try_from(scale).unwrap_or(i32::MAX))
    }

    /// Applies `numeric(precision, scale)`: rounds, and refuses more digits than fit.
    pub fn apply_typmod(&self, precision: i32, scale: i32) -> Result<Self> {
        let fail = |detail: String| {
            TypeError::new(sqlstate::NUMERIC_OUT_OF_RANGE, "numeric field overflow")
                .with_detail(detail)
        };
        if self.is_nan() {
            return Ok(Self::NAN);
        }
        if !self.is_finite() {
            return Err(fail(format!(
                "A field with precision {precision}, scale {scale} cannot hold an infinite value."
            )));
        }
        let rounded = self.round(scale);
        let whole = precision - scale;
        let (mantissa, shown) = rounded.parts().expect("finite");
        // |mantissa| < 10^(precision - scale + shown)
        let digits = u32::try_from(i64::from(whole) + i64::from(shown)).unwrap_or(0);
        let fits = match (&mantissa, pow10(digits)) {
            (Mantissa::Small(value), Some(limit)) => value.unsigned_abs() < limit.unsigned_abs(),
            (Mantissa::Small(_), None) => true,
            (Mantissa::Big(value), _) => value.abs() < pow10_big(digits),
        };
        let below_one = whole < 0 && i64::from(whole) + i64::from(shown) < 0;
        if fits || (below_one && rounded.is_zero()) {
            return Ok(rounded);
        }
        let (ten, limit) = if whole == 0 { ("", 1) } else { ("10^", whole) };
        Err(fail(format!(
            "A field with precision {precision}, scale {scale} must round to an absolute value \
             less than {ten}{limit}."
        )))
    }
}
