//! `sqrt`, `exp`, `ln`, `log` and `power`, with the scales PostgreSQL chooses.
//!
//! The series run in fixed point on big integers with guard digits; what PostgreSQL specifies is
//! the number of digits of the result, which [`Numeric::weight_and_first`] and the estimates here
//! reproduce.

use num_bigint::BigInt;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::arith::{MAX_DISPLAY_SCALE, MIN_SIG_DIGITS, div_round_pow10, overflow, stored_scale};
use super::{Numeric, Repr, pow10_big};
use crate::error::{Result, TypeError, sqlstate};

/// PostgreSQL's constant, to its digits: the estimates must round alike.
#[expect(clippy::approx_constant, reason = "PostgreSQL's digits decide scales")]
const LOG10_E: f64 = 0.434_294_481_903_252;
const GUARD: u32 = 12;

fn clamp_scale(scale: i64) -> u32 {
    u32::try_from(scale.clamp(0, MAX_DISPLAY_SCALE)).expect("clamped")
}

/// A fixed-point number: `value * 10^-scale`.
fn fixed(numeric: &Numeric, scale: u32) -> BigInt {
    let (mantissa, own) = numeric.parts().expect("finite");
    if scale >= own {
        mantissa.to_big() * pow10_big(scale - own)
    } else {
        div_round_pow10(&mantissa.to_big(), own - scale)
    }
}

fn from_fixed(value: &BigInt, from: u32, to: u32) -> Numeric {
    let value =
        if from >= to { div_round_pow10(value, from - to) } else { value * pow10_big(to - from) };
    Numeric::from_big(value, stored_scale(to))
}

/// e^x in fixed point with `scale` digits.
fn exp_fixed(x: &BigInt, scale: u32) -> BigInt {
    // e^x = (e^(x / 2^k))^(2^k); each squaring loses a bit, covered by extra digits.
    let bits = (x.abs() / pow10_big(scale)).bits();
    let halvings = u32::try_from(bits).expect("bounded by the overflow check") + 8;
    let extra = halvings / 3 + 4 + magnitude_digits(x, scale);
    let work = scale + extra;
    let one = pow10_big(work);
    let small: BigInt = (x * pow10_big(extra)) >> halvings;
    let mut term = one.clone();
    let mut sum = one.clone();
    let mut n = 1u32;
    loop {
        term = &term * &small / &one / n;
        if term.is_zero() {
            break;
        }
        sum += &term;
        n += 1;
    }
    for _ in 0..halvings {
        sum = &sum * &sum / &one;
    }
    sum / pow10_big(extra)
}

/// Decimal digits e^x has before the point, for precision.
fn magnitude_digits(x: &BigInt, scale: u32) -> u32 {
    let whole = (x / pow10_big(scale)).to_f64().unwrap_or(0.0);
    (whole.abs() * LOG10_E) as u32 + 1
}

/// ln x of a positive fixed-point number with `scale` digits.
fn ln_fixed(x: &BigInt, scale: u32) -> BigInt {
    let extra = 10 + scale / 50;
    let work = scale + extra;
    let one = pow10_big(work);
    let mut value = x * pow10_big(extra);
    // Square roots bring it near 1; the logarithm halves each time.
    let mut doublings = 0u32;
    let near = &one / 20;
    while (&value - &one).abs() > near {
        value = (value * &one).sqrt();
        doublings += 1;
    }
    // ln v = 2 atanh((v - 1) / (v + 1))
    let z: BigInt = (&value - &one) * &one / (&value + &one);
    let square = &z * &z / &one;
    let mut power = z;
    let mut sum = BigInt::zero();
    let mut n = 1u32;
    while !power.is_zero() {
        sum += &power / n;
        power = &power * &square / &one;
        n += 2;
    }
    ((sum * 2) << doublings) / pow10_big(extra)
}

impl Numeric {
    /// The first digits and decimal exponent: value = digits * 10^exponent.
    fn leading(&self, groups: u32) -> (f64, i64) {
        let (mantissa, scale) = self.parts().expect("finite");
        let text = mantissa.to_big().magnitude().to_string();
        let (weight, _) = self.weight_and_first();
        let before = text.len() as i64 - i64::from(scale);
        let take = (before - weight * 4) + i64::from(groups - 1) * 4;
        let take = usize::try_from(take).expect("positive");
        let head = &text[..take.min(text.len())];
        let digits: f64 = head.parse().expect("digits");
        (digits, before - head.len() as i64)
    }

    /// Decimal weight of ln(self): PostgreSQL's `estimate_ln_dweight`.
    fn ln_weight(&self) -> i64 {
        if self.signum() != Some(1) {
            return 0;
        }
        let near_one = Self::from_parts(9, 1).cmp_value(self).is_le()
            && Self::from_parts(11, 1).cmp_value(self).is_ge();
        if near_one {
            let x = self.sub(&Self::from(1i64)).expect("small");
            if x.is_zero() {
                return 0;
            }
            let (weight, first) = x.weight_and_first();
            return weight * 4 + (first as f64).log10() as i64;
        }
        let (digits, exponent) = self.leading(2);
        let ln = digits.ln() + exponent as f64 * std::f64::consts::LN_10;
        ln.abs().log10() as i64
    }

    /// Square root.
    pub fn sqrt(&self) -> Result<Self> {
        match &self.0 {
            Repr::NaN | Repr::Infinity => return Ok(self.clone()),
            _ if self.signum() == Some(-1) => {
                return Err(TypeError::new(
                    sqlstate::INVALID_POWER,
                    "cannot take square root of a negative number",
                ));
            }
            _ => {}
        }
        let (weight, _) = self.weight_and_first();
        let result_weight =
            if weight >= 0 { (weight + 1) * 2 - 1 } else { 1 - (1 - weight * 4) / 2 };
        let scale = clamp_scale((MIN_SIG_DIGITS - result_weight).max(i64::from(self.scale())));
        Ok(self.sqrt_to_scale(scale))
    }

    /// Square root of a value not negative, with this many fraction digits.
    pub(crate) fn sqrt_to_scale(&self, scale: u32) -> Self {
        let work = (scale + GUARD).max(self.scale());
        let root = (fixed(self, work) * pow10_big(work)).sqrt();
        from_fixed(&root, work, scale)
    }

    /// e to the power of self.
    pub fn exp(&self) -> Result<Self> {
        match &self.0 {
            Repr::NaN | Repr::Infinity => return Ok(self.clone()),
            Repr::NegInfinity => return Ok(Self::ZERO),
            _ => {}
        }
        let value = self.to_f64_lossy();
        let digits = (value * LOG10_E).clamp(-2000.0, 2000.0) as i64;
        let scale = clamp_scale((MIN_SIG_DIGITS - digits).max(i64::from(self.scale())));
        self.exp_to_scale(scale)
    }

    fn exp_to_scale(&self, scale: u32) -> Result<Self> {
        let value = self.to_f64_lossy();
        if value.abs() >= 6000.0 {
            return if value > 0.0 {
                Err(overflow())
            } else {
                Ok(Self::from_parts(0, stored_scale(scale)))
            };
        }
        let work = (scale + GUARD).max(self.scale());
        Ok(from_fixed(&exp_fixed(&fixed(self, work), work), work, scale))
    }

    fn check_log_argument(&self) -> Result<()> {
        match self.signum() {
            Some(-1) => Err(TypeError::new(
                sqlstate::INVALID_LOGARITHM,
                "cannot take logarithm of a negative number",
            )),
            Some(0) => {
                Err(TypeError::new(sqlstate::INVALID_LOGARITHM, "cannot take logarithm of zero"))
            }
            _ => Ok(()),
        }
    }

    /// Natural logarithm.
    pub fn ln(&self) -> Result<Self> {
        self.check_log_argument()?;
        if !self.is_finite() {
            return Ok(self.clone());
        }
        let scale = clamp_scale((MIN_SIG_DIGITS - self.ln_weight()).max(i64::from(self.scale())));
        Ok(self.ln_to_scale(scale))
    }

    fn ln_to_scale(&self, scale: u32) -> Self {
        let work = (scale + GUARD).max(self.scale());
        from_fixed(&ln_fixed(&fixed(self, work), work), work, scale)
    }

    /// Logarithm of `self` to `base`.
    pub fn log(&self, base: &Self) -> Result<Self> {
        if base.is_nan() || self.is_nan() {
            return Ok(Self::NAN);
        }
        base.check_log_argument()?;
        self.check_log_argument()?;
        if !self.is_finite() || !base.is_finite() {
            return match (self.is_finite(), base.is_finite()) {
                (false, false) => Ok(Self::NAN),
                (false, true) => Ok(Self::INFINITY),
                _ => Ok(Self::ZERO),
            };
        }
        let weight = self.ln_weight() - base.ln_weight();
        let scale = clamp_scale(
            (MIN_SIG_DIGITS - weight).max(i64::from(base.scale())).max(i64::from(self.scale())),
        );
        let work = scale + GUARD + 8;
        let (ln_self, ln_base) = (self.ln_to_scale(work), base.ln_to_scale(work));
        if ln_base.is_zero() {
            return Err(TypeError::division_by_zero());
        }
        ln_self.div_to_scale(&ln_base, scale)
    }

    /// `self` to the power of `exponent`.
    pub fn power(&self, exponent: &Self) -> Result<Self> {
        if !self.is_finite() || !exponent.is_finite() {
            return self.power_special(exponent);
        }
        if self.is_zero() && exponent.signum() == Some(-1) {
            return Err(TypeError::new(
                sqlstate::INVALID_POWER,
                "zero raised to a negative power is undefined",
            ));
        }
        if self.signum() == Some(-1) && !exponent.is_integer() {
            return Err(TypeError::new(
                sqlstate::INVALID_POWER,
                "a negative number raised to a non-integer power yields a complex result",
            ));
        }
        if let Some(n) = exponent.exact_i64().and_then(|n| i32::try_from(n).ok()) {
            return self.power_int(n);
        }
        if self.is_zero() {
            return Ok(Self::from_parts(0, 16));
        }
        if self.signum() == Some(-1) {
            // An integer too large for the exact way: its last bit is the sign.
            let odd = !exponent.rem(&Self::from(2i64))?.is_zero();
            let power = self.neg().power_general(exponent)?;
            return Ok(if odd { power.neg() } else { power });
        }
        self.power_general(exponent)
    }

    fn power_special(&self, exponent: &Self) -> Result<Self> {
        let one = Self::from(1i64);
        // 1 ^ anything and anything ^ 0 are 1, even for NaN.
        if exponent.is_zero() || (self.is_finite() && self.cmp_value(&one).is_eq()) {
            return Ok(one);
        }
        if self.is_nan() || exponent.is_nan() {
            return Ok(Self::NAN);
        }
        let base = self.to_f64_lossy();
        let power = exponent.to_f64_lossy();
        if base == 0.0 && power < 0.0 {
            return Err(TypeError::new(
                sqlstate::INVALID_POWER,
                "zero raised to a negative power is undefined",
            ));
        }
        if base < 0.0 && exponent.is_finite() && !exponent.is_integer() {
            return Err(TypeError::new(
                sqlstate::INVALID_POWER,
                "a negative number raised to a non-integer power yields a complex result",
            ));
        }
        Ok(Self::from_f64(base.powf(power)))
    }

    fn power_int(&self, n: i32) -> Result<Self> {
        let estimate = if self.is_zero() {
            0.0
        } else {
            let (digits, exponent) = self.leading(4);
            f64::from(n) * (digits.log10() + exponent as f64)
        };
        if estimate > 131_072.0 + 4.0 {
            return Err(overflow());
        }
        if estimate + 1.0 < -(MAX_DISPLAY_SCALE as f64) {
            return Ok(Self::from_parts(0, 1000));
        }
        let scale = clamp_scale(MIN_SIG_DIGITS.max(i64::from(self.scale())));
        if self.is_zero() && n != 0 {
            return Ok(Self::from_parts(0, stored_scale(scale)));
        }
        let one = Self::from(1i64);
        match n {
            0 => return Ok(Self::from_parts(1, 0).with_scale(scale)),
            1 => return Ok(self.with_scale(scale)),
            -1 => return one.div_to_scale(self, scale),
            _ => {}
        }
        let (mantissa, own_scale) = self.parts().expect("finite");
        // Exact while the digits are few; else significant digits enough for the result.
        let significant = i64::from(scale) + (estimate as i64).abs() + 24 + 2 * 10;
        let mut base = (mantissa.to_big(), i64::from(own_scale));
        let mut result = (BigInt::one(), 0i64);
        let mut left = n.unsigned_abs();
        loop {
            if left & 1 == 1 {
                result = trim((&result.0 * &base.0, result.1 + base.1), significant);
            }
            left >>= 1;
            if left == 0 {
                break;
            }
            base = trim((&base.0 * &base.0, base.1 * 2), significant);
        }
        let (value, value_scale) = result;
        // value * 10^-value_scale, or its inverse, rounded to `scale`.
        let value = if n < 0 {
            let shift = i64::from(scale) + value_scale;
            let up = u32::try_from(shift.max(0)).map_err(|_| overflow())?;
            super::arith::div_round(&pow10_big(up), &value)
        } else {
            let shift = i64::from(scale) - value_scale;
            let by = u32::try_from(shift.unsigned_abs()).map_err(|_| overflow())?;
            if shift >= 0 { value * pow10_big(by) } else { div_round_pow10(&value, by) }
        };
        Ok(Self::from_big(value, stored_scale(scale)))
    }

    fn power_general(&self, exponent: &Self) -> Result<Self> {
        let ln_weight = self.ln_weight();
        let rough_scale = clamp_scale(8 - ln_weight);
        let rough = self.ln_to_scale(rough_scale).mul(exponent)?.to_f64_lossy();
        if rough.abs() > 2000.0 * 3.01 {
            return if rough > 0.0 { Err(overflow()) } else { Ok(Self::from_parts(0, 1000)) };
        }
        let digits = (rough * LOG10_E) as i64;
        let scale = clamp_scale(
            (MIN_SIG_DIGITS - digits).max(i64::from(self.scale())).max(i64::from(exponent.scale())),
        );
        let significant = (i64::from(scale) + digits).max(0);
        let exponent_digits = exponent.trunc(0).to_string().len() as i64;
        let work = (significant - ln_weight + 8).max(0) + exponent_digits + i64::from(GUARD);
        let work = u32::try_from(work).expect("positive") + scale;
        let product = self.ln_to_scale(work).mul(exponent)?;
        product.exp_to_scale(scale)
    }
}

fn trim((value, scale): (BigInt, i64), significant: i64) -> (BigInt, i64) {
    let digits = i64::try_from(value.bits()).expect("bounded") * 30_103 / 100_000;
    let drop = digits - significant;
    if drop <= 8 {
        return (value, scale);
    }
    let by = u32::try_from(drop).expect("positive");
    (div_round_pow10(&value, by), scale - drop)
}
