//! Operators that run on whole columns: checked integer arithmetic and native comparisons.
//!
//! Only where the result, NULLs and errors included, is what the row kernel would give.

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray, Datum as ArrowDatum, PrimitiveArray};
use arrow::compute::kernels::cmp;
use arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type};
use arrow::error::ArrowError;
use datafusion_common::{Result as DfResult, ScalarValue};
use datafusion_expr::ColumnarValue;

use crate::error::TypeError;
use crate::registry::{Resolved, Vector};
use crate::ty::{PgType, TypeId};

/// Runs a binary operator on columns, if it has a vectorised form for these arguments.
pub(super) fn run(function: &Resolved, args: &[ColumnarValue]) -> DfResult<Option<ColumnarValue>> {
    let (Some(op), [left, right]) = (function.entry.vector, args) else { return Ok(None) };
    let scalars = [left, right].iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    if scalars || left.data_type() != right.data_type() {
        return Ok(None);
    }
    let arithmetic = matches!(op, Vector::Add | Vector::Sub | Vector::Mul | Vector::Div);
    let result = match (arithmetic, function.args[0].id) {
        (true, TypeId::Int2) => integers::<Int16Type>(op, left, right, "smallint")?,
        (true, TypeId::Int4) => integers::<Int32Type>(op, left, right, "integer")?,
        (true, TypeId::Int8) => integers::<Int64Type>(op, left, right, "bigint")?,
        // Floats have their own rules for overflow and underflow.
        (true, _) => return Ok(None),
        (false, _) => compare(op, left, right)?,
    };
    Ok(Some(ColumnarValue::Array(result)))
}

fn compare(op: Vector, left: &ColumnarValue, right: &ColumnarValue) -> DfResult<ArrayRef> {
    let kernel = match op {
        Vector::Eq => cmp::eq,
        Vector::Ne => cmp::neq,
        Vector::Lt => cmp::lt,
        Vector::Le => cmp::lt_eq,
        Vector::Gt => cmp::gt,
        Vector::Ge => cmp::gt_eq,
        Vector::Add | Vector::Sub | Vector::Mul | Vector::Div => {
            unreachable!("arithmetic is handled before")
        }
    };
    let (left, right) = (operand(left)?, operand(right)?);
    Ok(Arc::new(kernel(left.as_ref(), right.as_ref())?))
}

fn operand(value: &ColumnarValue) -> DfResult<Box<dyn ArrowDatum>> {
    Ok(match value {
        ColumnarValue::Array(array) => Box::new(Arc::clone(array)),
        ColumnarValue::Scalar(scalar) => Box::new(scalar.to_scalar()?),
    })
}

trait Checked: Copy + Default + PartialEq {
    fn apply(self, op: Vector, other: Self) -> Option<Self>;
}

macro_rules! checked {
    ($($ty:ty)*) => {
        $(impl Checked for $ty {
            fn apply(self, op: Vector, other: Self) -> Option<Self> {
                match op {
                    Vector::Add => self.checked_add(other),
                    Vector::Sub => self.checked_sub(other),
                    Vector::Mul => self.checked_mul(other),
                    _ => self.checked_div(other),
                }
            }
        })*
    };
}

checked! { i16 i32 i64 }

fn integers<T>(
    op: Vector,
    left: &ColumnarValue,
    right: &ColumnarValue,
    name: &str,
) -> DfResult<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: Checked,
{
    let zero = T::Native::default();
    let apply = |a: T::Native, b: T::Native| {
        a.apply(op, b).ok_or_else(|| {
            let error = if op == Vector::Div && b == zero {
                TypeError::division_by_zero()
            } else {
                TypeError::out_of_range(name)
            };
            ArrowError::ExternalError(Box::new(error))
        })
    };
    let result: PrimitiveArray<T> = match (left, right) {
        (ColumnarValue::Array(a), ColumnarValue::Array(b)) => {
            let (a, b) = (a.as_primitive::<T>(), b.as_primitive::<T>());
            arrow::compute::try_binary(a, b, apply)?
        }
        (ColumnarValue::Array(a), ColumnarValue::Scalar(b)) => {
            let a = a.as_primitive::<T>();
            match scalar::<T>(b)? {
                Some(b) => a.try_unary(|a| apply(a, b))?,
                None => PrimitiveArray::new_null(a.len()),
            }
        }
        (ColumnarValue::Scalar(a), ColumnarValue::Array(b)) => {
            let b = b.as_primitive::<T>();
            match scalar::<T>(a)? {
                Some(a) => b.try_unary(|b| apply(a, b))?,
                None => PrimitiveArray::new_null(b.len()),
            }
        }
        (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)) => {
            unreachable!("constants take the row kernel")
        }
    };
    Ok(Arc::new(result))
}

fn scalar<T: ArrowPrimitiveType>(value: &ScalarValue) -> DfResult<Option<T::Native>> {
    if value.is_null() {
        return Ok(None);
    }
    let array = value.to_array()?;
    Ok(Some(array.as_primitive::<T>().value(0)))
}

/// Casts that only widen integers, or change nothing in storage.
pub(super) fn cast(
    from: PgType,
    to: PgType,
    value: &ColumnarValue,
) -> DfResult<Option<ColumnarValue>> {
    let ColumnarValue::Array(array) = value else { return Ok(None) };
    if from.array || to.array || to.typmod >= 0 {
        return Ok(None);
    }
    let target = match (from.id, to.id) {
        (TypeId::Int2, TypeId::Int4) => DataType::Int32,
        (TypeId::Int2 | TypeId::Int4, TypeId::Int8) => DataType::Int64,
        (TypeId::Int2 | TypeId::Int4, TypeId::Float8) => DataType::Float64,
        (TypeId::Float4, TypeId::Float8) => DataType::Float64,
        (TypeId::Text | TypeId::Varchar, TypeId::Text | TypeId::Varchar) => {
            return Ok(Some(value.clone()));
        }
        _ => return Ok(None),
    };
    Ok(Some(ColumnarValue::Array(arrow::compute::cast(array, &target)?)))
}
