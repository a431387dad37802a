//! The value of a [`Scalar`] over one row: the point path, DML, defaults, checks.
//!
//! Order of evaluation is PostgreSQL's where it matters: CASE, COALESCE, AND and OR stop as soon
//! as the result is known, so `CASE WHEN x <> 0 THEN 1 / x END` never divides by zero. Queries
//! inside expressions are not evaluated here; the caller runs them first and puts their value in.

use std::sync::Arc;

use pgtypes::{ArrayValue, Datum, EvalEnv};

use super::func::FuncRef;
use super::scalar::Scalar;
use crate::error::SqlError;

/// Stack that one level of evaluation may take, generously.
const RED_ZONE: usize = 64 << 10;
/// Stack taken when there is less than that.
const STACK: usize = 2 << 20;

/// What an expression is evaluated over: slots of a row, and the statement's parameters.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// Values by [`Scalar::Slot`].
    pub slots: &'a [Datum],
    /// Values by [`Scalar::Param`].
    pub params: &'a [Datum],
}

/// Evaluates `scalar` over `row` (see [`Scalar::over`]) with the statement's `params`.
pub fn eval(
    scalar: &Scalar,
    env: &EvalEnv,
    row: &[Datum],
    params: &[Datum],
) -> Result<Datum, SqlError> {
    value(scalar, env, Row { slots: row, params })
}

/// Leaves cost nothing; anything deeper first looks whether there is stack left.
fn value(scalar: &Scalar, env: &EvalEnv, row: Row<'_>) -> Result<Datum, SqlError> {
    match scalar {
        Scalar::Literal(datum, _) => Ok(datum.clone()),
        Scalar::Slot(slot, _) if *slot < row.slots.len() => Ok(row.slots[*slot].clone()),
        deep => stacker::maybe_grow(RED_ZONE, STACK, || compound(deep, env, row)),
    }
}

fn compound(scalar: &Scalar, env: &EvalEnv, row: Row<'_>) -> Result<Datum, SqlError> {
    match scalar {
        Scalar::Literal(datum, _) => Ok(datum.clone()),
        Scalar::Param { index, .. } => match row.params.get(*index) {
            Some(datum) => Ok(datum.clone()),
            None => Err(SqlError::no_parameter(*index)),
        },
        Scalar::Slot(slot, _) => match row.slots.get(*slot) {
            Some(datum) => Ok(datum.clone()),
            None => Err(SqlError::internal(format!("row has no slot {slot}"))),
        },
        Scalar::Column(id, _) => Err(SqlError::internal(format!("column {id} outside a query"))),
        Scalar::Call { func, args, .. } => {
            // Most operators have two operands: no allocation for those.
            match args.as_slice() {
                [a] => call(func, env, &[value(a, env, row)?]),
                [a, b] => call(func, env, &[value(a, env, row)?, value(b, env, row)?]),
                args => {
                    let args: Result<Vec<_>, _> =
                        args.iter().map(|arg| value(arg, env, row)).collect();
                    call(func, env, &args?)
                }
            }
        }
        Scalar::Cast { cast, arg, .. } => {
            let arg = value(arg, env, row)?;
            Ok(cast.apply(env, arg)?)
        }
        Scalar::Relabel(arg, _) => value(arg, env, row),
        Scalar::And(args) => logic(args, env, row, false),
        Scalar::Or(args) => logic(args, env, row, true),
        Scalar::Not(arg) => Ok(match truth(arg, env, row)? {
            Some(value) => Datum::Bool(!value),
            None => Datum::Null,
        }),
        Scalar::IsNull(arg) => Ok(Datum::Bool(value(arg, env, row)?.is_null())),
        Scalar::IsBool(arg, wanted) => Ok(Datum::Bool(truth(arg, env, row)? == Some(*wanted))),
        Scalar::Distinct { eq, left, right } => {
            let (left, right) = (value(left, env, row)?, value(right, env, row)?);
            Ok(Datum::Bool(match (left.is_null(), right.is_null()) {
                (true, true) => false,
                (false, false) => !is_true(&call(eq, env, &[left, right])?),
                _ => true,
            }))
        }
        Scalar::InList { eq, needle, list } => in_list(eq, needle, list, env, row),
        Scalar::Quantified { op, needle, array, all } => {
            let needle = value(needle, env, row)?;
            match value(array, env, row)? {
                Datum::Array(array) => quantified(op, env, &needle, &array.items, *all),
                _ => Ok(Datum::Null),
            }
        }
        Scalar::Case { whens, otherwise, .. } => {
            for (condition, result) in whens {
                if truth(condition, env, row)? == Some(true) {
                    return value(result, env, row);
                }
            }
            value(otherwise, env, row)
        }
        Scalar::Coalesce(args, _) => {
            for arg in args {
                let datum = value(arg, env, row)?;
                if !datum.is_null() {
                    return Ok(datum);
                }
            }
            Ok(Datum::Null)
        }
        Scalar::NullIf { eq, args, value: result } => {
            let operands = [value(&args.0, env, row)?, value(&args.1, env, row)?];
            if operands.iter().all(|datum| !datum.is_null()) && is_true(&call(eq, env, &operands)?)
            {
                return Ok(Datum::Null);
            }
            value(result, env, row)
        }
        Scalar::Extreme { op, args, .. } => {
            let mut best = Datum::Null;
            for arg in args {
                let next = value(arg, env, row)?;
                let better = !next.is_null()
                    && (best.is_null() || is_true(&call(op, env, &[next.clone(), best.clone()])?));
                if better {
                    best = next;
                }
            }
            Ok(best)
        }
        Scalar::Array(items, _) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| value(item, env, row)).collect();
            Ok(Datum::array(items?))
        }
        Scalar::Row(fields) => {
            let fields: Result<Vec<_>, SqlError> =
                fields.iter().map(|field| Ok((field.ty(), value(field, env, row)?))).collect();
            Ok(Datum::Record(Arc::new(fields?)))
        }
        Scalar::Element { array, indexes, .. } => {
            let Datum::Array(array) = value(array, env, row)? else { return Ok(Datum::Null) };
            let mut at = Vec::with_capacity(indexes.len());
            for index in indexes {
                match value(index, env, row)?.as_i64() {
                    Some(index) => at.push(index),
                    None => return Ok(Datum::Null),
                }
            }
            Ok(element(&array, &at))
        }
        Scalar::Subquery(_) => Err(SqlError::internal("a query inside a row expression")),
    }
}

fn call(func: &FuncRef, env: &EvalEnv, args: &[Datum]) -> Result<Datum, SqlError> {
    Ok(func.call(env, args)?)
}

fn is_true(datum: &Datum) -> bool {
    matches!(datum, Datum::Bool(true))
}

fn truth(scalar: &Scalar, env: &EvalEnv, row: Row<'_>) -> Result<Option<bool>, SqlError> {
    match value(scalar, env, row)? {
        Datum::Bool(value) => Ok(Some(value)),
        Datum::Null => Ok(None),
        other => Err(SqlError::internal(format!("condition is not boolean: {other:?}"))),
    }
}

/// AND (`stop` false) and OR (`stop` true).
fn logic(args: &[Scalar], env: &EvalEnv, row: Row<'_>, stop: bool) -> Result<Datum, SqlError> {
    let mut unknown = false;
    for arg in args {
        match truth(arg, env, row)? {
            Some(value) if value == stop => return Ok(Datum::Bool(stop)),
            Some(_) => {}
            None => unknown = true,
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(!stop) })
}

fn in_list(
    eq: &FuncRef,
    needle: &Scalar,
    list: &[Scalar],
    env: &EvalEnv,
    row: Row<'_>,
) -> Result<Datum, SqlError> {
    let needle = value(needle, env, row)?;
    if needle.is_null() {
        return Ok(Datum::Null);
    }
    let mut unknown = false;
    for item in list {
        match call(eq, env, &[needle.clone(), value(item, env, row)?])? {
            Datum::Bool(true) => return Ok(Datum::Bool(true)),
            Datum::Null => unknown = true,
            _ => {}
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(false) })
}

/// `array[at…]`, row-major.
fn element(array: &ArrayValue, at: &[i64]) -> Datum {
    if array.dims.len() != at.len() {
        return Datum::Null;
    }
    let mut position = 0i64;
    for (dim, index) in array.dims.iter().zip(at) {
        let offset = index - i64::from(dim.lower);
        if !(0..i64::from(dim.len)).contains(&offset) {
            return Datum::Null;
        }
        position = position * i64::from(dim.len) + offset;
    }
    usize::try_from(position).ok().and_then(|p| array.items.get(p)).cloned().unwrap_or(Datum::Null)
}

/// `needle op ANY (items)` and `ALL`.
fn quantified(
    op: &FuncRef,
    env: &EvalEnv,
    needle: &Datum,
    items: &[Datum],
    all: bool,
) -> Result<Datum, SqlError> {
    let mut unknown = false;
    for item in items {
        match call(op, env, &[needle.clone(), item.clone()])? {
            Datum::Bool(value) if value != all => return Ok(Datum::Bool(value)),
            Datum::Null => unknown = true,
            _ => {}
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(all) })
}
