//! To and from integers and floats.

use num_traits::ToPrimitive;

use super::{Mantissa, Numeric, Repr};
use crate::error::{Result, TypeError, sqlstate};

fn cannot_convert(what: &str, to: &str) -> TypeError {
    TypeError::new(sqlstate::NOT_SUPPORTED, format!("cannot convert {what} to {to}"))
}

impl Numeric {
    /// Rounded half away from zero to an integer that fits `i128`.
    fn to_integer(&self, type_name: &str) -> Result<Option<i128>> {
        match &self.0 {
            Repr::NaN => return Err(cannot_convert("NaN", type_name)),
            Repr::Infinity | Repr::NegInfinity => {
                return Err(cannot_convert("infinity", type_name));
            }
            Repr::Small { .. } | Repr::Big(_) => {}
        }
        Ok(self.round(0).small_parts().map(|(value, _)| value))
    }

    /// To `smallint`.
    pub fn to_i16(&self) -> Result<i16> {
        self.to_integer("smallint")?
            .and_then(|value| value.try_into().ok())
            .ok_or_else(|| TypeError::out_of_range("smallint"))
    }

    /// To `integer`.
    pub fn to_i32(&self) -> Result<i32> {
        self.to_integer("integer")?
            .and_then(|value| value.try_into().ok())
            .ok_or_else(|| TypeError::out_of_range("integer"))
    }

    /// To `bigint`.
    pub fn to_i64(&self) -> Result<i64> {
        self.to_integer("bigint")?
            .and_then(|value| value.try_into().ok())
            .ok_or_else(|| TypeError::out_of_range("bigint"))
    }

    /// To `double precision`; correctly rounded, overflow refused.
    pub fn to_f64(&self) -> Result<f64> {
        let value = self.to_f64_lossy();
        if value.is_infinite() && self.is_finite() {
            return Err(TypeError::new(
                sqlstate::NUMERIC_OUT_OF_RANGE,
                format!("\"{self}\" is out of range for type double precision"),
            ));
        }
        Ok(value)
    }

    /// To `double precision`, overflow to infinity.
    pub fn to_f64_lossy(&self) -> f64 {
        match &self.0 {
            Repr::NaN => return f64::NAN,
            Repr::Infinity => return f64::INFINITY,
            Repr::NegInfinity => return f64::NEG_INFINITY,
            Repr::Small { .. } | Repr::Big(_) => {}
        }
        // Both operands are exact below these bounds, so one division rounds once.
        if let Some((value, scale)) = self.small_parts()
            && value.unsigned_abs() <= 1 << 53
            && scale <= 22
        {
            let unit = 10f64.powi(i32::try_from(scale).expect("small"));
            return value as f64 / unit;
        }
        self.to_string().parse().expect("a decimal is a float")
    }

    /// To `real`.
    pub fn to_f32(&self) -> Result<f32> {
        if !self.is_finite() {
            return Ok(self.to_f64_lossy() as f32);
        }
        let value: f32 = self.to_string().parse().expect("a decimal is a float");
        if value.is_infinite() || (value == 0.0 && !self.is_zero()) {
            return Err(TypeError::new(
                sqlstate::NUMERIC_OUT_OF_RANGE,
                format!("\"{self}\" is out of range for type real"),
            ));
        }
        Ok(value)
    }

    /// From `double precision`, by its first 15 significant digits as PostgreSQL does.
    pub fn from_f64(value: f64) -> Self {
        Self::from_float(value, 14)
    }

    /// From `real`, by its first 6 significant digits.
    pub fn from_f32(value: f32) -> Self {
        Self::from_float(f64::from(value), 5)
    }

    fn from_float(value: f64, digits_after_first: usize) -> Self {
        if value.is_nan() {
            return Self::NAN;
        }
        if value.is_infinite() {
            return if value > 0.0 { Self::INFINITY } else { Self::NEG_INFINITY };
        }
        // C's %.15g drops trailing zeros; so must the scale.
        let text = format!("{value:.digits_after_first$e}");
        let (mantissa, exponent) = text.split_once('e').expect("scientific");
        let mantissa = if mantissa.contains('.') {
            mantissa.trim_end_matches('0').trim_end_matches('.')
        } else {
            mantissa
        };
        Self::parse(&format!("{mantissa}e{exponent}")).expect("a float's digits")
    }

    /// The integer it is, if it is one and fits.
    pub fn exact_i64(&self) -> Option<i64> {
        if !self.is_integer() {
            return None;
        }
        match self.trunc(0).parts()? {
            (Mantissa::Small(value), _) => value.to_i64(),
            (Mantissa::Big(_), _) => None,
        }
    }

    /// Rounded to an integer, if that fits.
    pub(crate) fn exact_or_rounded(&self) -> Option<i64> {
        self.to_i64().ok()
    }

    /// Times `10^n`.
    pub(crate) fn shifted(&self, n: usize) -> Self {
        let n = u32::try_from(n).unwrap_or(u32::MAX).min(super::MAX_SCALE);
        match self.parts() {
            None => self.clone(),
            Some((mantissa, scale)) => {
                let scale = u16::try_from(scale).expect("scales are 14 bits");
                Self::from_big(mantissa.to_big() * super::pow10_big(n), scale)
            }
        }
    }

    /// `1.50e+03` with this many digits behind the point.
    pub(crate) fn to_scientific(&self, post: usize) -> String {
        let Some((mantissa, scale)) = self.parts() else { return self.to_string() };
        let big = mantissa.to_big();
        let digits = big.magnitude().to_string();
        let exponent = if self.is_zero() {
            0
        } else {
            i64::try_from(digits.len()).expect("short") - 1 - i64::from(scale)
        };
        // Rounding may give 10.0: PostgreSQL leaves it at that.
        let shift = i64::from(scale) + exponent;
        let significand = match u16::try_from(shift) {
            Ok(scale) => Self::from_big(big, scale),
            Err(_) => Self::from_big(big * super::pow10_big((-shift) as u32), 0),
        };
        let shown = significand.abs().round(i32::try_from(post).unwrap_or(i32::MAX));
        let sign = if self.signum() == Some(-1) { "-" } else { "" };
        let e_sign = if exponent < 0 { '-' } else { '+' };
        format!("{sign}{shown}e{e_sign}{:02}", exponent.abs())
    }
}
