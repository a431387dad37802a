//! `+ - * / %` and bit operators on numbers: checked, never wrapping.

use super::args::{f4, f8, i2, i4, i8, num};
use super::{Registry, Vector};
use crate::datum::Datum;
use crate::error::{Result, TypeError, sqlstate};

macro_rules! integers {
    ($r:ident, $get:ident, $variant:ident, $ty:ty, $sql:literal, $name:literal) => {{
        $r.op(concat!("+(", $name, ",", $name, ") ", $name), |_, a| {
            let sum = $get(&a[0]).checked_add($get(&a[1]));
            sum.map(Datum::$variant).ok_or_else(|| TypeError::out_of_range($sql))
        })
        .vector(Vector::Add);
        $r.op(concat!("-(", $name, ",", $name, ") ", $name), |_, a| {
            let difference = $get(&a[0]).checked_sub($get(&a[1]));
            difference.map(Datum::$variant).ok_or_else(|| TypeError::out_of_range($sql))
        })
        .vector(Vector::Sub);
        $r.op(concat!("*(", $name, ",", $name, ") ", $name), |_, a| {
            let product = $get(&a[0]).checked_mul($get(&a[1]));
            product.map(Datum::$variant).ok_or_else(|| TypeError::out_of_range($sql))
        })
        .vector(Vector::Mul);
        $r.op(concat!("/(", $name, ",", $name, ") ", $name), |_, a| {
            if $get(&a[1]) == 0 {
                return Err(TypeError::division_by_zero());
            }
            let quotient = $get(&a[0]).checked_div($get(&a[1]));
            quotient.map(Datum::$variant).ok_or_else(|| TypeError::out_of_range($sql))
        })
        .vector(Vector::Div);
        $r.op(concat!("%(", $name, ",", $name, ") ", $name), |_, a| {
            if $get(&a[1]) == 0 {
                return Err(TypeError::division_by_zero());
            }
            Ok(Datum::$variant($get(&a[0]).wrapping_rem($get(&a[1]))))
        });
        $r.f(concat!("mod(", $name, ",", $name, ") ", $name), |_, a| {
            if $get(&a[1]) == 0 {
                return Err(TypeError::division_by_zero());
            }
            Ok(Datum::$variant($get(&a[0]).wrapping_rem($get(&a[1]))))
        });
        $r.op(concat!("-(", $name, ") ", $name), |_, a| {
            let value = $get(&a[0]).checked_neg();
            value.map(Datum::$variant).ok_or_else(|| TypeError::out_of_range($sql))
        });
        $r.op(concat!("+(", $name, ") ", $name), |_, a| Ok(a[0].clone()));
        $r.f(concat!("abs(", $name, ") ", $name), |_, a| {
            let value = $get(&a[0]).checked_abs();
            value.map(Datum::$variant).ok_or_else(|| TypeError::out_of_range($sql))
        });
        $r.op(concat!("@(", $name, ") ", $name), |_, a| {
            let value = $get(&a[0]).checked_abs();
            value.map(Datum::$variant).ok_or_else(|| TypeError::out_of_range($sql))
        });
        $r.op(concat!("&(", $name, ",", $name, ") ", $name), |_, a| {
            Ok(Datum::$variant($get(&a[0]) & $get(&a[1])))
        });
        $r.op(concat!("|(", $name, ",", $name, ") ", $name), |_, a| {
            Ok(Datum::$variant($get(&a[0]) | $get(&a[1])))
        });
        $r.op(concat!("#(", $name, ",", $name, ") ", $name), |_, a| {
            Ok(Datum::$variant($get(&a[0]) ^ $get(&a[1])))
        });
        $r.op(concat!("~(", $name, ") ", $name), |_, a| Ok(Datum::$variant(!$get(&a[0]))));
        // The hardware takes the shift count modulo the width (C's int for smallint).
        #[allow(clippy::unnecessary_cast, reason = "one macro, all widths")]
        fn shift(value: $ty, by: u32) -> $ty {
            if <$ty>::BITS == 64 {
                (value as i64).wrapping_shl(by) as $ty
            } else {
                (value as i32).wrapping_shl(by) as $ty
            }
        }
        #[allow(clippy::unnecessary_cast, reason = "one macro, all widths")]
        fn shift_right(value: $ty, by: u32) -> $ty {
            if <$ty>::BITS == 64 {
                (value as i64).wrapping_shr(by) as $ty
            } else {
                (value as i32).wrapping_shr(by) as $ty
            }
        }
        $r.op(concat!("<<(", $name, ",int4) ", $name), |_, a| {
            Ok(Datum::$variant(shift($get(&a[0]), i4(&a[1]) as u32)))
        });
        $r.op(concat!(">>(", $name, ",int4) ", $name), |_, a| {
            Ok(Datum::$variant(shift_right($get(&a[0]), i4(&a[1]) as u32)))
        });
    }};
}

fn overflow() -> TypeError {
    TypeError::new(sqlstate::NUMERIC_OUT_OF_RANGE, "value out of range: overflow")
}

fn underflow() -> TypeError {
    TypeError::new(sqlstate::NUMERIC_OUT_OF_RANGE, "value out of range: underflow")
}

/// Refuses an infinity or a 0 that the operands do not explain.
pub(super) fn check_float(value: f64, inf_ok: bool, zero_ok: bool) -> Result<f64> {
    if value.is_infinite() && !inf_ok {
        return Err(overflow());
    }
    if value == 0.0 && !zero_ok {
        return Err(underflow());
    }
    Ok(value)
}

macro_rules! floats {
    ($r:ident, $get:ident, $variant:ident, $name:literal, $ty:ty) => {{
        fn check(value: $ty, inf_ok: bool, zero_ok: bool) -> Result<Datum> {
            if value.is_infinite() && !inf_ok {
                return Err(overflow());
            }
            if value == 0.0 && !zero_ok {
                return Err(underflow());
            }
            Ok(Datum::$variant(value))
        }
        $r.op(concat!("+(", $name, ",", $name, ") ", $name), |_, args| {
            let (a, b) = ($get(&args[0]), $get(&args[1]));
            check(a + b, a.is_infinite() || b.is_infinite(), true)
        })
        .vector(Vector::Add);
        $r.op(concat!("-(", $name, ",", $name, ") ", $name), |_, args| {
            let (a, b) = ($get(&args[0]), $get(&args[1]));
            check(a - b, a.is_infinite() || b.is_infinite(), true)
        })
        .vector(Vector::Sub);
        $r.op(concat!("*(", $name, ",", $name, ") ", $name), |_, args| {
            let (a, b) = ($get(&args[0]), $get(&args[1]));
            check(a * b, a.is_infinite() || b.is_infinite(), a == 0.0 || b == 0.0)
        })
        .vector(Vector::Mul);
        $r.op(concat!("/(", $name, ",", $name, ") ", $name), |_, args| {
            let (a, b) = ($get(&args[0]), $get(&args[1]));
            if b == 0.0 && !a.is_nan() {
                return Err(TypeError::division_by_zero());
            }
            check(a / b, a.is_infinite(), a == 0.0 || b.is_infinite())
        })
        .vector(Vector::Div);
        $r.op(concat!("-(", $name, ") ", $name), |_, a| Ok(Datum::$variant(-$get(&a[0]))));
        $r.op(concat!("+(", $name, ") ", $name), |_, a| Ok(a[0].clone()));
        $r.f(concat!("abs(", $name, ") ", $name), |_, a| Ok(Datum::$variant($get(&a[0]).abs())));
        $r.op(concat!("@(", $name, ") ", $name), |_, a| Ok(Datum::$variant($get(&a[0]).abs())));
    }};
}

/// Either float as a double.
pub(super) fn wide(datum: &Datum) -> f64 {
    match datum {
        Datum::Float4(value) => f64::from(*value),
        other => f8(other),
    }
}

/// `real` with `double precision`. Without these, `1 + real` would be `real`: it is the operator
/// with a preferred type that wins.
fn mixed_floats(r: &mut Registry) {
    macro_rules! both {
        ($op:literal, $kernel:expr) => {
            r.op(concat!($op, "(float4,float8) float8"), $kernel);
            r.op(concat!($op, "(float8,float4) float8"), $kernel);
        };
    }
    both!("+", |_, args| {
        let (a, b) = (wide(&args[0]), wide(&args[1]));
        check_float(a + b, a.is_infinite() || b.is_infinite(), true).map(Datum::Float8)
    });
    both!("-", |_, args| {
        let (a, b) = (wide(&args[0]), wide(&args[1]));
        check_float(a - b, a.is_infinite() || b.is_infinite(), true).map(Datum::Float8)
    });
    both!("*", |_, args| {
        let (a, b) = (wide(&args[0]), wide(&args[1]));
        let zero_ok = a == 0.0 || b == 0.0;
        check_float(a * b, a.is_infinite() || b.is_infinite(), zero_ok).map(Datum::Float8)
    });
    both!("/", |_, args| {
        let (a, b) = (wide(&args[0]), wide(&args[1]));
        if b == 0.0 && !a.is_nan() {
            return Err(TypeError::division_by_zero());
        }
        check_float(a / b, a.is_infinite(), a == 0.0 || b.is_infinite()).map(Datum::Float8)
    });
}

pub(super) fn register(r: &mut Registry) {
    integers!(r, i2, Int2, i16, "smallint", "int2");
    integers!(r, i4, Int4, i32, "integer", "int4");
    integers!(r, i8, Int8, i64, "bigint", "int8");
    floats!(r, f4, Float4, "float4", f32);
    floats!(r, f8, Float8, "float8", f64);
    mixed_floats(r);
    r.op("+(numeric,numeric) numeric", |_, a| num(&a[0]).add(num(&a[1])).map(Datum::Numeric));
    r.op("-(numeric,numeric) numeric", |_, a| num(&a[0]).sub(num(&a[1])).map(Datum::Numeric));
    r.op("*(numeric,numeric) numeric", |_, a| num(&a[0]).mul(num(&a[1])).map(Datum::Numeric));
    r.op("/(numeric,numeric) numeric", |_, a| num(&a[0]).div(num(&a[1])).map(Datum::Numeric));
    r.op("%(numeric,numeric) numeric", |_, a| num(&a[0]).rem(num(&a[1])).map(Datum::Numeric));
    r.f("mod(numeric,numeric) numeric", |_, a| num(&a[0]).rem(num(&a[1])).map(Datum::Numeric));
    r.op("-(numeric) numeric", |_, a| Ok(Datum::Numeric(num(&a[0]).neg())));
    r.op("+(numeric) numeric", |_, a| Ok(a[0].clone()));
    r.op("@(numeric) numeric", |_, a| Ok(Datum::Numeric(num(&a[0]).abs())));
    r.f("abs(numeric) numeric", |_, a| Ok(Datum::Numeric(num(&a[0]).abs())));
    r.op("^(numeric,numeric) numeric", |_, a| num(&a[0]).power(num(&a[1])).map(Datum::Numeric));
    r.op("^(float8,float8) float8", |_, a| {
        super::math::power(f8(&a[0]), f8(&a[1])).map(Datum::Float8)
    });
    r.op("|/(float8) float8", |_, a| super::math::sqrt(f8(&a[0])).map(Datum::Float8));
    r.op("||/(float8) float8", |_, a| Ok(Datum::Float8(super::math::cbrt(f8(&a[0])))));
}
