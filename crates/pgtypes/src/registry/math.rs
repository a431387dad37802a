//! Mathematical functions.

use super::Registry;
use super::args::{array, f8, i4, i8, num};
use super::arith::check_float;
use crate::compare::compare;
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};
use crate::numeric::Numeric;

/// `power` of floats with PostgreSQL's errors.
pub(super) fn power(base: f64, exponent: f64) -> Result<f64> {
    if base.is_nan() {
        return Ok(if exponent == 0.0 { 1.0 } else { f64::NAN });
    }
    if exponent.is_nan() {
        return Ok(if base == 1.0 { 1.0 } else { f64::NAN });
    }
    if base == 0.0 && exponent < 0.0 {
        return Err(TypeError::new(
            sqlstate::INVALID_POWER,
            "zero raised to a negative power is undefined",
        ));
    }
    if base < 0.0 && exponent.is_finite() && exponent.fract() != 0.0 {
        return Err(TypeError::new(
            sqlstate::INVALID_POWER,
            "a negative number raised to a non-integer power yields a complex result",
        ));
    }
    let value = base.powf(exponent);
    if base.is_infinite() || exponent.is_infinite() {
        return Ok(value);
    }
    check_float(value, false, base == 0.0)
}

/// Square root with PostgreSQL's error.
pub(super) fn sqrt(value: f64) -> Result<f64> {
    if value < 0.0 {
        return Err(TypeError::new(
            sqlstate::INVALID_POWER,
            "cannot take square root of a negative number",
        ));
    }
    Ok(value.sqrt())
}

fn log(value: f64, f: fn(f64) -> f64) -> Result<f64> {
    if value == 0.0 {
        return Err(TypeError::new(sqlstate::INVALID_LOGARITHM, "cannot take logarithm of zero"));
    }
    if value < 0.0 {
        return Err(TypeError::new(
            sqlstate::INVALID_LOGARITHM,
            "cannot take logarithm of a negative number",
        ));
    }
    Ok(f(value))
}

fn out_of_range() -> TypeError {
    TypeError::new(sqlstate::NUMERIC_OUT_OF_RANGE, "input is out of range")
}

fn exp(value: f64) -> Result<f64> {
    if value.is_infinite() {
        return Ok(if value > 0.0 { f64::INFINITY } else { 0.0 });
    }
    check_float(value.exp(), false, false)
}

fn trig(value: f64, f: fn(f64) -> f64) -> Result<f64> {
    if value.is_infinite() {
        return Err(out_of_range());
    }
    Ok(f(value))
}

fn inverse(value: f64, f: fn(f64) -> f64) -> Result<f64> {
    if !value.is_nan() && !(-1.0..=1.0).contains(&value) {
        return Err(out_of_range());
    }
    Ok(f(value))
}

/// Cube root, the nearest float. (The C library under PostgreSQL is off by one digit at times:
/// it has `cbrt(27)` as 3.0000000000000004.)
pub(super) fn cbrt(value: f64) -> f64 {
    let root = value.cbrt();
    if root == 0.0 || !root.is_finite() {
        return root;
    }
    // One step of Newton's with the residual's rounding errors taken along.
    let square = root * root;
    let square_error = root.mul_add(root, -square);
    let cube = square * root;
    let cube_error = square.mul_add(root, -cube) + square_error * root;
    let better = root - ((cube - value) + cube_error) / (3.0 * square);
    if better.is_finite() { better } else { root }
}

/// Sine and its like of degrees, exact at multiples of 30 and 45: PostgreSQL's own reduction.
mod degrees {
    fn sin_0_to_30(x: f64) -> f64 {
        (x.to_radians().sin() / 30f64.to_radians().sin()) / 2.0
    }

    fn cos_0_to_60(x: f64) -> f64 {
        let one_minus_cos = 1.0 - x.to_radians().cos();
        1.0 - (one_minus_cos / (1.0 - 60f64.to_radians().cos())) / 2.0
    }

    fn sin_q1(x: f64) -> f64 {
        if x <= 30.0 { sin_0_to_30(x) } else { cos_0_to_60(90.0 - x) }
    }

    fn cos_q1(x: f64) -> f64 {
        if x <= 60.0 { cos_0_to_60(x) } else { sin_0_to_30(90.0 - x) }
    }

    pub(super) fn sin(x: f64) -> f64 {
        let mut x = x % 360.0;
        let mut sign = 1.0;
        if x < 0.0 {
            (x, sign) = (-x, -sign);
        }
        if x > 180.0 {
            (x, sign) = (360.0 - x, -sign);
        }
        if x > 90.0 {
            x = 180.0 - x;
        }
        sign * sin_q1(x)
    }

    pub(super) fn cos(x: f64) -> f64 {
        let mut x = (x % 360.0).abs();
        let mut sign = 1.0;
        if x > 180.0 {
            x = 360.0 - x;
        }
        if x > 90.0 {
            (x, sign) = (180.0 - x, -sign);
        }
        sign * cos_q1(x)
    }

    /// `acos` of what is in 0 to 1.
    fn acos_q1(x: f64) -> f64 {
        if x <= 0.5 {
            90.0 - (x.asin() / 0.5f64.asin()) * 30.0
        } else {
            (x.acos() / 0.5f64.acos()) * 60.0
        }
    }

    fn asin_q1(x: f64) -> f64 {
        if x <= 0.5 {
            (x.asin() / 0.5f64.asin()) * 30.0
        } else {
            90.0 - (x.acos() / 0.5f64.acos()) * 60.0
        }
    }

    pub(super) fn asin(x: f64) -> f64 {
        if x >= 0.0 { asin_q1(x) } else { -asin_q1(-x) }
    }

    pub(super) fn acos(x: f64) -> f64 {
        if x >= 0.0 { acos_q1(x) } else { 90.0 + asin_q1(-x) }
    }

    pub(super) fn atan(x: f64) -> f64 {
        (x.atan() / 1f64.atan()) * 45.0
    }

    pub(super) fn atan2(y: f64, x: f64) -> f64 {
        (y.atan2(x) / 1f64.atan()) * 45.0
    }

    pub(super) fn cot(x: f64) -> f64 {
        quotient(x, cos_q1, sin_q1)
    }

    pub(super) fn tan(x: f64) -> f64 {
        quotient(x, sin_q1, cos_q1)
    }

    /// `above / below`, which is 1 at 45 degrees, odd, and has a period of 180.
    fn quotient(x: f64, above: impl Fn(f64) -> f64, below: impl Fn(f64) -> f64) -> f64 {
        let mut x = x % 360.0;
        let mut sign = 1.0;
        if x < 0.0 {
            (x, sign) = (-x, -sign);
        }
        if x > 180.0 {
            (x, sign) = (360.0 - x, -sign);
        }
        if x > 90.0 {
            (x, sign) = (180.0 - x, -sign);
        }
        let at_45 = above(45.0) / below(45.0);
        let result = sign * ((above(x) / below(x)) / at_45);
        // No negative zero.
        if result == 0.0 { 0.0 } else { result }
    }
}

pub(super) fn register(r: &mut Registry) {
    macro_rules! float {
        ($($text:literal $f:expr;)*) => {
            $(r.f($text, |_, a| {
                let f: fn(f64) -> Result<f64> = $f;
                f(f8(&a[0])).map(Datum::Float8)
            });)*
        };
    }
    float! {
        "ceil(float8) float8" |x| Ok(x.ceil());
        "ceiling(float8) float8" |x| Ok(x.ceil());
        "floor(float8) float8" |x| Ok(x.floor());
        "round(float8) float8" |x| Ok(x.round_ties_even());
        "trunc(float8) float8" |x| Ok(x.trunc());
        "sqrt(float8) float8" sqrt;
        "cbrt(float8) float8" |x| Ok(cbrt(x));
        "exp(float8) float8" exp;
        "ln(float8) float8" |x| log(x, f64::ln);
        "log(float8) float8" |x| log(x, f64::log10);
        "log10(float8) float8" |x| log(x, f64::log10);
        "sign(float8) float8" |x| Ok(if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { 0.0 });
        "degrees(float8) float8" |x| check_float(x.to_degrees(), x.is_infinite(), true);
        "radians(float8) float8" |x| Ok(x.to_radians());
        "sin(float8) float8" |x| trig(x, f64::sin);
        "cos(float8) float8" |x| trig(x, f64::cos);
        "tan(float8) float8" |x| trig(x, f64::tan);
        "cot(float8) float8" |x| trig(x, |x| 1.0 / x.tan());
        "asin(float8) float8" |x| inverse(x, f64::asin);
        "acos(float8) float8" |x| inverse(x, f64::acos);
        "atan(float8) float8" |x| Ok(x.atan());
        "sinh(float8) float8" |x| Ok(x.sinh());
        "cosh(float8) float8" |x| Ok(x.cosh());
        "tanh(float8) float8" |x| Ok(x.tanh());
        "asinh(float8) float8" |x| Ok(x.asinh());
        "sind(float8) float8" |x| trig(x, degrees::sin);
        "cosd(float8) float8" |x| trig(x, degrees::cos);
        "tand(float8) float8" |x| trig(x, degrees::tan);
        "cotd(float8) float8" |x| trig(x, degrees::cot);
        "asind(float8) float8" |x| inverse(x, degrees::asin);
        "acosd(float8) float8" |x| inverse(x, degrees::acos);
        "atand(float8) float8" |x| Ok(degrees::atan(x));
        "acosh(float8) float8" |x| if x < 1.0 { Err(out_of_range()) } else { Ok(x.acosh()) };
        "atanh(float8) float8" |x| inverse(x, f64::atanh);
    }
    r.f("atan2(float8,float8) float8", |_, a| Ok(Datum::Float8(f8(&a[0]).atan2(f8(&a[1])))));
    r.f("atan2d(float8,float8) float8", |_, a| {
        Ok(Datum::Float8(degrees::atan2(f8(&a[0]), f8(&a[1]))))
    });
    r.f("power(float8,float8) float8", |_, a| power(f8(&a[0]), f8(&a[1])).map(Datum::Float8));
    r.f("pow(float8,float8) float8", |_, a| power(f8(&a[0]), f8(&a[1])).map(Datum::Float8));
    r.f("pi() float8", |_, _| Ok(Datum::Float8(std::f64::consts::PI)));
    r.f("random() float8", |_, _| Ok(Datum::Float8(rand::random::<f64>()))).volatile();
    numeric(r);
    integer(r);
    r.f("width_bucket(float8,float8,float8,int4) int4", |_, a| {
        width_bucket(f8(&a[0]), f8(&a[1]), f8(&a[2]), i4(&a[3])).map(Datum::Int4)
    });
    r.f("width_bucket(anycompatible,anycompatiblearray) int4", |_, a| {
        let bounds = array(&a[1]);
        if bounds.dims.len() > 1 {
            let message = "thresholds must be one-dimensional array";
            return Err(TypeError::new(sqlstate::ARRAY_SUBSCRIPT, message));
        }
        if bounds.items.iter().any(Datum::is_null) {
            let message = "thresholds array must not contain NULLs";
            return Err(TypeError::new(sqlstate::NULL_NOT_ALLOWED, message));
        }
        let bucket = bounds.items.partition_point(|bound| compare(bound, &a[0]).is_le());
        Ok(Datum::Int4(i32::try_from(bucket).expect("at most 2^27")))
    });
    r.f("width_bucket(numeric,numeric,numeric,int4) int4", |_, a| {
        let f = |i: usize| num(&a[i]).to_f64_lossy();
        width_bucket(f(0), f(1), f(2), i4(&a[3])).map(Datum::Int4)
    });
}

fn numeric(r: &mut Registry) {
    macro_rules! one {
        ($($text:literal $f:expr;)*) => {
            $(r.f($text, |_, a| {
                let f: fn(&Numeric) -> Result<Numeric> = $f;
                f(num(&a[0])).map(Datum::Numeric)
            });)*
        };
    }
    one! {
        "ceil(numeric) numeric" |x| Ok(x.ceil());
        "ceiling(numeric) numeric" |x| Ok(x.ceil());
        "floor(numeric) numeric" |x| Ok(x.floor());
        "round(numeric) numeric" |x| Ok(x.round(0));
        "trunc(numeric) numeric" |x| Ok(x.trunc(0));
        "sqrt(numeric) numeric" Numeric::sqrt;
        "exp(numeric) numeric" Numeric::exp;
        "ln(numeric) numeric" Numeric::ln;
        "log(numeric) numeric" |x| x.log(&Numeric::from(10i64));
        "log10(numeric) numeric" |x| x.log(&Numeric::from(10i64));
        "sign(numeric) numeric" |x| {
            Ok(x.signum().map_or(Numeric::NAN, |sign| Numeric::from(i64::from(sign))))
        };
        "trim_scale(numeric) numeric" |x| {
            Ok(if x.is_finite() { x.with_scale(x.min_scale()) } else { x.clone() })
        };
    }
    r.f("round(numeric,int4) numeric", |_, a| {
        Ok(Datum::Numeric(num(&a[0]).round(i4(&a[1]).clamp(-2000, 2000))))
    });
    r.f("trunc(numeric,int4) numeric", |_, a| {
        Ok(Datum::Numeric(num(&a[0]).trunc(i4(&a[1]).clamp(-2000, 2000))))
    });
    r.f("power(numeric,numeric) numeric", |_, a| num(&a[0]).power(num(&a[1])).map(Datum::Numeric));
    r.f("pow(numeric,numeric) numeric", |_, a| num(&a[0]).power(num(&a[1])).map(Datum::Numeric));
    r.f("log(numeric,numeric) numeric", |_, a| num(&a[1]).log(num(&a[0])).map(Datum::Numeric));
    r.f("div(numeric,numeric) numeric", |_, a| {
        num(&a[0]).div_trunc(num(&a[1])).map(Datum::Numeric)
    });
    r.f("scale(numeric) int4", |_, a| {
        let value = num(&a[0]);
        let scale = i32::try_from(value.scale()).expect("14 bits");
        Ok(if value.is_finite() { Datum::Int4(scale) } else { Datum::Null })
    });
    r.f("min_scale(numeric) int4", |_, a| {
        let value = num(&a[0]);
        let scale = i32::try_from(value.min_scale()).expect("14 bits");
        Ok(if value.is_finite() { Datum::Int4(scale) } else { Datum::Null })
    });
    r.f("gcd(numeric,numeric) numeric", |_, a| num(&a[0]).gcd(num(&a[1])).map(Datum::Numeric));
    r.f("lcm(numeric,numeric) numeric", |_, a| {
        let (x, y) = (num(&a[0]), num(&a[1]));
        if x.is_zero() || y.is_zero() {
            return Ok(Datum::Numeric(Numeric::ZERO.with_scale(x.scale().max(y.scale()))));
        }
        let scale = x.scale().max(y.scale());
        let gcd = x.gcd(y)?;
        Ok(Datum::Numeric(x.div_trunc(&gcd)?.mul(y)?.abs().with_scale(scale)))
    });
    r.f("factorial(int8) numeric", |_, a| Numeric::factorial(i8(&a[0])).map(Datum::Numeric));
}

fn gcd(a: i64, b: i64) -> u64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn integer(r: &mut Registry) {
    r.f("gcd(int4,int4) int4", |_, a| {
        let value = gcd(i64::from(i4(&a[0])), i64::from(i4(&a[1])));
        i32::try_from(value).map(Datum::Int4).map_err(|_| TypeError::out_of_range("integer"))
    });
    r.f("gcd(int8,int8) int8", |_, a| {
        let value = gcd(i8(&a[0]), i8(&a[1]));
        i64::try_from(value).map(Datum::Int8).map_err(|_| TypeError::out_of_range("bigint"))
    });
    r.f("lcm(int4,int4) int4", |_, a| {
        let (x, y) = (i64::from(i4(&a[0])), i64::from(i4(&a[1])));
        if x == 0 || y == 0 {
            return Ok(Datum::Int4(0));
        }
        let value = (x.unsigned_abs() / gcd(x, y)) * y.unsigned_abs();
        i32::try_from(value).map(Datum::Int4).map_err(|_| TypeError::out_of_range("integer"))
    });
    r.f("lcm(int8,int8) int8", |_, a| {
        let (x, y) = (i8(&a[0]), i8(&a[1]));
        if x == 0 || y == 0 {
            return Ok(Datum::Int8(0));
        }
        let value = (x.unsigned_abs() / gcd(x, y)).checked_mul(y.unsigned_abs());
        value
            .and_then(|value| i64::try_from(value).ok())
            .map(Datum::Int8)
            .ok_or_else(|| TypeError::out_of_range("bigint"))
    });
}

fn width_bucket(value: f64, low: f64, high: f64, count: i32) -> Result<i32> {
    let bad = |message: &str| Err(TypeError::new("2201G", message));
    if count <= 0 {
        return bad("count must be greater than zero");
    }
    if value.is_nan() || low.is_nan() || high.is_nan() {
        return bad("operand, lower bound, and upper bound cannot be NaN");
    }
    if low.is_infinite() || high.is_infinite() {
        return bad("lower and upper bounds must be finite");
    }
    if low == high {
        return bad("lower bound cannot equal upper bound");
    }
    let (below, above) =
        if low < high { (value < low, value >= high) } else { (value > low, value <= high) };
    if below {
        return Ok(0);
    }
    if above {
        return count.checked_add(1).ok_or_else(|| TypeError::out_of_range("integer"));
    }
    let bucket = (f64::from(count) * ((value - low) / (high - low))) as i32;
    Ok(bucket.min(count - 1) + 1)
}
