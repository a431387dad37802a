//! PostgreSQL's `numeric`: exact decimals that remember how many fraction digits to show.
//!
//! A finite value is `mantissa * 10^-scale` with `scale` (the *display scale*) from 0 to 16383:
//! 1.50 is 150 with scale 2, equal to but not identical with 1.5. Mantissas that fit stay in 128
//! bits; larger ones are big integers behind an `Arc`.
//!
//! # Invariants
//!
//! - **N1** A mantissa that fits `i128` is never `Big`.
//! - **N2** `==` is identity (1.50 != 1.5, for tests and caches); [`Numeric::cmp_value`] is SQL's
//!   equality and order: -Infinity, finite, Infinity, NaN, with NaN equal to itself.

mod arith;
mod convert;
mod integer;
mod key;
mod math;
mod round;
mod text;
mod wire;

use std::cmp::Ordering;
use std::sync::Arc;

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive, Zero};

/// Fraction digits a value may show.
pub const MAX_SCALE: u32 = 16_383;
/// Digits a value may have before the point.
pub const MAX_WEIGHT_DIGITS: u64 = 131_072;

/// A `numeric`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Numeric(pub(crate) Repr);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Repr {
    /// An `i128` in halves, so that a value needs no 16-byte alignment.
    Small {
        high: i64,
        low: u64,
        scale: u16,
    },
    Big(Arc<(BigInt, u16)>),
    NegInfinity,
    Infinity,
    NaN,
}

/// A finite value's mantissa, borrowed.
pub(crate) enum Mantissa<'a> {
    Small(i128),
    Big(&'a BigInt),
}

impl Mantissa<'_> {
    pub(crate) fn to_big(&self) -> BigInt {
        match self {
            Self::Small(value) => BigInt::from(*value),
            Self::Big(value) => (*value).clone(),
        }
    }
}

impl Numeric {
    /// Not a number: equal to itself, above everything.
    pub const NAN: Self = Self(Repr::NaN);
    /// Infinity.
    pub const INFINITY: Self = Self(Repr::Infinity);
    /// -Infinity.
    pub const NEG_INFINITY: Self = Self(Repr::NegInfinity);
    /// 0, without fraction digits.
    pub const ZERO: Self = Self(Repr::Small { high: 0, low: 0, scale: 0 });

    /// `mantissa * 10^-scale`.
    pub const fn from_parts(mantissa: i128, scale: u16) -> Self {
        Self(Repr::Small { high: (mantissa >> 64) as i64, low: mantissa as u64, scale })
    }

    /// `mantissa * 10^-scale` of any size.
    pub fn from_big(mantissa: BigInt, scale: u16) -> Self {
        match mantissa.to_i128() {
            Some(small) => Self::from_parts(small, scale),
            None => Self(Repr::Big(Arc::new((mantissa, scale)))),
        }
    }

    /// Mantissa and display scale of a finite value.
    pub(crate) fn parts(&self) -> Option<(Mantissa<'_>, u32)> {
        match &self.0 {
            Repr::Small { high, low, scale } => {
                let value = (i128::from(*high) << 64) | i128::from(*low);
                Some((Mantissa::Small(value), u32::from(*scale)))
            }
            Repr::Big(parts) => Some((Mantissa::Big(&parts.0), u32::from(parts.1))),
            Repr::NegInfinity | Repr::Infinity | Repr::NaN => None,
        }
    }

    /// Mantissa and display scale of a finite value that fits 128 bits.
    pub fn small_parts(&self) -> Option<(i128, u32)> {
        match self.parts() {
            Some((Mantissa::Small(value), scale)) => Some((value, scale)),
            _ => None,
        }
    }

    /// Fraction digits shown; 0 for the special values.
    pub fn scale(&self) -> u32 {
        self.parts().map_or(0, |(_, scale)| scale)
    }

    /// Is it NaN?
    pub fn is_nan(&self) -> bool {
        self.0 == Repr::NaN
    }

    /// Is it neither NaN nor infinite?
    pub fn is_finite(&self) -> bool {
        matches!(self.0, Repr::Small { .. } | Repr::Big(_))
    }

    /// Is it 0?
    pub fn is_zero(&self) -> bool {
        matches!(self.0, Repr::Small { high: 0, low: 0, .. })
    }

    /// -1, 0 or 1; `None` for NaN.
    pub fn signum(&self) -> Option<i32> {
        match &self.0 {
            Repr::NaN => None,
            Repr::Infinity => Some(1),
            Repr::NegInfinity => Some(-1),
            Repr::Small { high, low, .. } => {
                Some(if *high < 0 { -1 } else { i32::from(*high > 0 || *low > 0) })
            }
            Repr::Big(parts) => Some(if parts.0.is_negative() { -1 } else { 1 }),
        }
    }

    /// Bytes held on the heap.
    pub fn heap_size(&self) -> usize {
        match &self.0 {
            Repr::Big(parts) => usize::try_from(parts.0.bits() / 8).unwrap_or(usize::MAX) + 48,
            _ => 0,
        }
    }

    /// SQL's order: -Infinity, finite values, Infinity, NaN. Display scale does not matter.
    pub fn cmp_value(&self, other: &Self) -> Ordering {
        let class = |numeric: &Self| match numeric.0 {
            Repr::NegInfinity => 0,
            Repr::Small { .. } | Repr::Big(_) => 1,
            Repr::Infinity => 2,
            Repr::NaN => 3,
        };
        let (Some((a, a_scale)), Some((b, b_scale))) = (self.parts(), other.parts()) else {
            return class(self).cmp(&class(other));
        };
        if let (Mantissa::Small(a), Mantissa::Small(b)) = (&a, &b) {
            if a_scale == b_scale {
                return a.cmp(b);
            }
            if a.signum() != b.signum() {
                return a.cmp(b);
            }
            let scale = a_scale.max(b_scale);
            if let (Some(a), Some(b)) =
                (scale_up(*a, scale - a_scale), scale_up(*b, scale - b_scale))
            {
                return a.cmp(&b);
            }
        }
        let scale = a_scale.max(b_scale);
        let a = a.to_big() * pow10_big(scale - a_scale);
        let b = b.to_big() * pow10_big(scale - b_scale);
        a.cmp(&b)
    }
}

impl From<i64> for Numeric {
    fn from(value: i64) -> Self {
        Self::from_parts(i128::from(value), 0)
    }
}

impl From<i128> for Numeric {
    fn from(value: i128) -> Self {
        Self::from_parts(value, 0)
    }
}

/// `10^n`, if it fits.
pub(crate) fn pow10(n: u32) -> Option<i128> {
    10i128.checked_pow(n)
}

/// `10^n`.
pub(crate) fn pow10_big(n: u32) -> BigInt {
    match pow10(n) {
        Some(small) => BigInt::from(small),
        None => BigInt::from(10u8).pow(n),
    }
}

/// `value * 10^n`, if it fits.
pub(crate) fn scale_up(value: i128, n: u32) -> Option<i128> {
    if value.is_zero() { Some(0) } else { value.checked_mul(pow10(n)?) }
}
