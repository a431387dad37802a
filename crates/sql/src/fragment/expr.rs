//! Expressions of physical plans, as far as another node computes the same of them.
//!
//! Those are columns, constants, comparisons, logic, CASE, and functions and casts of `pgtypes` whose result
//! depends on nothing but their arguments: no setting, no clock, no catalog. Functions go by name and types.
//! Whatever else there is (a function of rows, a subquery's value that is not a constant) stays where it is.
//!
//! What comes in is checked as the planner would have: types fit, columns exist, so evaluating it can fail
//! but not panic.

use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::{Operator, ScalarUDF};
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use pgtypes::arrow_bridge::{self, Described, to_arrow_type};
use pgtypes::registry::{Volatility, resolve_exactly};
use pgtypes::{EvalEnv, PgType, TypeId, cast};

use super::wire::{Input, Malformed, Output};

/// Expressions nested deeper are not sent.
const DEPTH_MAX: usize = 100;

const COLUMN: u8 = 1;
const LITERAL: u8 = 2;
const BINARY: u8 = 3;
const WIDEN: u8 = 4;
const NOT: u8 = 5;
const IS_NULL: u8 = 6;
const IS_NOT_NULL: u8 = 7;
const IN_LIST: u8 = 8;
const CASE: u8 = 9;
const FUNCTION: u8 = 10;
const CAST: u8 = 11;
const SORT_KEY: u8 = 12;

/// Operators by their place, which is what is sent.
const OPERATORS: [Operator; 10] = [
    Operator::Eq,
    Operator::NotEq,
    Operator::Lt,
    Operator::LtEq,
    Operator::Gt,
    Operator::GtEq,
    Operator::IsDistinctFrom,
    Operator::IsNotDistinctFrom,
    Operator::And,
    Operator::Or,
];

/// Storage types by their place, which is what is sent.
const STORED: [DataType; 10] = [
    DataType::Null,
    DataType::Boolean,
    DataType::Int16,
    DataType::Int32,
    DataType::Int64,
    DataType::Float32,
    DataType::Float64,
    DataType::UInt32,
    DataType::Utf8,
    DataType::Binary,
];
/// The one that has a parameter.
const SIXTEEN_BYTES: u8 = 10;

type Expr = Arc<dyn PhysicalExpr>;

/// The environment of functions that ask nothing of it.
pub(super) fn env() -> Arc<EvalEnv> {
    static ENV: OnceLock<Arc<EvalEnv>> = OnceLock::new();
    Arc::clone(ENV.get_or_init(Arc::default))
}

/// Writes an expression; `None`, with part of it written, if it can't be sent.
pub(super) fn put(out: &mut Output, expr: &Expr) -> Option<()> {
    put_at(out, expr, DEPTH_MAX)
}

fn put_at(out: &mut Output, expr: &Expr, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    if let Some(column) = expr.downcast_ref::<Column>() {
        out.byte(COLUMN);
        out.count(column.index());
    } else if let Some(literal) = expr.downcast_ref::<Literal>() {
        out.byte(LITERAL);
        put_value(out, literal.value())?;
    } else if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let op = OPERATORS.iter().position(|op| op == binary.op())?;
        out.byte(BINARY);
        out.count(op);
        put_at(out, binary.left(), depth)?;
        put_at(out, binary.right(), depth)?;
    } else if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        // Integers are widened to be compared; anything else is a cast of PostgreSQL's.
        let wide = matches!(cast.cast_type(), DataType::Int32 | DataType::Int64);
        let narrow = cast.expr().downcast_ref::<Column>().is_some();
        if !wide || !narrow {
            return None;
        }
        out.byte(WIDEN);
        put_type(out, cast.cast_type())?;
        put_at(out, cast.expr(), depth)?;
    } else if let Some(not) = expr.downcast_ref::<NotExpr>() {
        out.byte(NOT);
        put_at(out, not.arg(), depth)?;
    } else if let Some(is_null) = expr.downcast_ref::<IsNullExpr>() {
        out.byte(IS_NULL);
        put_at(out, is_null.arg(), depth)?;
    } else if let Some(is_not_null) = expr.downcast_ref::<IsNotNullExpr>() {
        out.byte(IS_NOT_NULL);
        put_at(out, is_not_null.arg(), depth)?;
    } else if let Some(list) = expr.downcast_ref::<InListExpr>() {
        out.byte(IN_LIST);
        out.flag(list.negated());
        put_at(out, list.expr(), depth)?;
        put_all(out, list.list(), depth)?;
    } else if let Some(case) = expr.downcast_ref::<CaseExpr>() {
        if case.expr().is_some() {
            return None;
        }
        out.byte(CASE);
        out.count(case.when_then_expr().len());
        for (when, then) in case.when_then_expr() {
            put_at(out, when, depth)?;
            put_at(out, then, depth)?;
        }
        out.flag(case.else_expr().is_some());
        if let Some(otherwise) = case.else_expr() {
            put_at(out, otherwise, depth)?;
        }
    } else {
        put_call(out, expr.downcast_ref::<ScalarFunctionExpr>()?, depth)?;
    }
    Some(())
}

fn put_call(out: &mut Output, call: &ScalarFunctionExpr, depth: usize) -> Option<()> {
    match arrow_bridge::described(call.fun())? {
        Described::Function(function) => {
            let types = function.args.iter().chain([&function.result]);
            if function.volatility != Volatility::Immutable || !types.copied().all(is_timeless) {
                return None;
            }
            let again = resolve_exactly(function.name, &function.args, function.result)?;
            if !again.is_same(function) {
                return None;
            }
            out.byte(FUNCTION);
            out.bytes(function.name.as_bytes());
            out.ty(function.result);
            out.count(function.args.len());
            function.args.iter().for_each(|ty| out.ty(*ty));
        }
        Described::Cast { from, to, explicit } => {
            if !is_timeless_cast(from, to) {
                return None;
            }
            out.byte(CAST);
            out.ty(from);
            out.ty(to);
            out.flag(explicit);
        }
        Described::SortKey(ty) => {
            out.byte(SORT_KEY);
            out.ty(ty);
        }
    }
    put_all(out, call.args(), depth)
}

fn put_all(out: &mut Output, all: &[Expr], depth: usize) -> Option<()> {
    out.count(all.len());
    all.iter().try_for_each(|expr| put_at(out, expr, depth))
}

/// Whether functions of values of a type never look at settings, the catalog, or names.
fn is_timeless(ty: PgType) -> bool {
    matches!(
        ty.id,
        TypeId::Bool
            | TypeId::Int2
            | TypeId::Int4
            | TypeId::Int8
            | TypeId::Float4
            | TypeId::Float8
            | TypeId::Numeric
            | TypeId::Text
            | TypeId::Varchar
            | TypeId::Bpchar
            | TypeId::Name
            | TypeId::Char
            | TypeId::Bytea
            | TypeId::Date
            | TypeId::Time
            | TypeId::Timestamp
            | TypeId::Interval
            | TypeId::Uuid
            | TypeId::Json
            | TypeId::Jsonb
    )
}

/// The same of casts, of which those to and from text do.
fn is_timeless_cast(from: PgType, to: PgType) -> bool {
    let kind = |ty: PgType| match ty.id {
        _ if ty.array => None,
        TypeId::Bool | TypeId::Int2 | TypeId::Int4 | TypeId::Int8 => Some(0),
        TypeId::Numeric => Some(1),
        TypeId::Float4 | TypeId::Float8 => Some(2),
        TypeId::Text | TypeId::Varchar | TypeId::Bpchar | TypeId::Name => Some(3),
        TypeId::Date | TypeId::Timestamp => Some(4),
        _ => None,
    };
    matches!(
        (kind(from), kind(to)),
        (Some(0..=2), Some(0..=2))
            | (Some(3), Some(3))
            | (Some(4), Some(4))
            | (Some(0 | 1), Some(3))
            | (Some(3), Some(0 | 1))
    )
}

fn put_type(out: &mut Output, ty: &DataType) -> Option<()> {
    match STORED.iter().position(|stored| stored == ty) {
        Some(at) => out.count(at),
        None if *ty == DataType::FixedSizeBinary(16) => out.byte(SIXTEEN_BYTES),
        None => return None,
    }
    Some(())
}

fn put_value(out: &mut Output, value: &ScalarValue) -> Option<()> {
    put_type(out, &value.data_type())?;
    out.flag(!value.is_null());
    match value {
        _ if value.is_null() => {}
        ScalarValue::Boolean(Some(value)) => out.flag(*value),
        ScalarValue::Int16(Some(value)) => out.0.extend(value.to_be_bytes()),
        ScalarValue::Int32(Some(value)) => out.0.extend(value.to_be_bytes()),
        ScalarValue::Int64(Some(value)) => out.0.extend(value.to_be_bytes()),
        ScalarValue::Float32(Some(value)) => out.0.extend(value.to_be_bytes()),
        ScalarValue::Float64(Some(value)) => out.0.extend(value.to_be_bytes()),
        ScalarValue::UInt32(Some(value)) => out.0.extend(value.to_be_bytes()),
        ScalarValue::Utf8(Some(value)) => out.bytes(value.as_bytes()),
        ScalarValue::Binary(Some(value)) => out.bytes(value),
        ScalarValue::FixedSizeBinary(16, Some(value)) if value.len() == 16 => {
            out.0.extend_from_slice(value);
        }
        _ => return None,
    }
    Some(())
}

/// Reads an expression over rows of `schema`.
pub(super) fn take(input: &mut Input<'_>, schema: &Schema) -> Result<Expr, Malformed> {
    take_at(input, schema, DEPTH_MAX)
}

/// Reads an expression that is true, false or unknown.
pub(super) fn take_condition(input: &mut Input<'_>, schema: &Schema) -> Result<Expr, Malformed> {
    let expr = take(input, schema)?;
    is_a(&expr, schema, &DataType::Boolean)?;
    Ok(expr)
}

fn take_at(input: &mut Input<'_>, schema: &Schema, depth: usize) -> Result<Expr, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let tag = input.byte()?;
    Ok(match tag {
        COLUMN => {
            let at = input.place()?;
            let field = schema.fields().get(at).ok_or(Malformed)?;
            Arc::new(Column::new(field.name(), at))
        }
        LITERAL => Arc::new(Literal::new(take_value(input)?)),
        BINARY => {
            let op = *OPERATORS.get(input.place()?).ok_or(Malformed)?;
            let left = take_at(input, schema, depth)?;
            let right = take_at(input, schema, depth)?;
            match op {
                Operator::And | Operator::Or => is_a(&left, schema, &DataType::Boolean)?,
                _ => {}
            }
            is_a(&right, schema, &type_of(&left, schema)?)?;
            Arc::new(BinaryExpr::new(left, op, right))
        }
        WIDEN => {
            let to = take_type(input)?;
            let arg = take_at(input, schema, depth)?;
            let from = type_of(&arg, schema)?;
            let widens = matches!(
                (&from, &to),
                (DataType::Int16, DataType::Int32 | DataType::Int64)
                    | (DataType::Int32, DataType::Int64)
            );
            if !widens {
                return Err(Malformed);
            }
            Arc::new(CastExpr::new(arg, to, None))
        }
        NOT => {
            let arg = take_at(input, schema, depth)?;
            is_a(&arg, schema, &DataType::Boolean)?;
            Arc::new(NotExpr::new(arg))
        }
        IS_NULL => Arc::new(IsNullExpr::new(take_at(input, schema, depth)?)),
        IS_NOT_NULL => Arc::new(IsNotNullExpr::new(take_at(input, schema, depth)?)),
        IN_LIST => {
            let negated = input.flag()?;
            let needle = take_at(input, schema, depth)?;
            let list = take_all(input, schema, depth)?;
            let ty = type_of(&needle, schema)?;
            list.iter().try_for_each(|item| is_a(item, schema, &ty))?;
            Arc::new(InListExpr::try_new(needle, list, negated, schema).map_err(|_| Malformed)?)
        }
        CASE => {
            let count = input.count()?;
            let mut whens = Vec::with_capacity(count);
            let mut ty = None;
            for _ in 0..count {
                let when = take_at(input, schema, depth)?;
                is_a(&when, schema, &DataType::Boolean)?;
                let then = take_at(input, schema, depth)?;
                let first = type_of(&then, schema)?;
                is_a(&then, schema, ty.get_or_insert(first))?;
                whens.push((when, then));
            }
            let otherwise = match input.flag()? {
                true => Some(take_at(input, schema, depth)?),
                false => None,
            };
            if let (Some(otherwise), Some(ty)) = (&otherwise, &ty) {
                is_a(otherwise, schema, ty)?;
            }
            Arc::new(CaseExpr::try_new(None, whens, otherwise).map_err(|_| Malformed)?)
        }
        FUNCTION => {
            let name = input.text()?;
            let result = input.ty()?;
            let count = input.count()?;
            let args = (0..count).map(|_| input.ty()).collect::<Result<Vec<_>, _>>()?;
            let timeless = args.iter().chain([&result]).copied().all(is_timeless);
            let function = resolve_exactly(name, &args, result).filter(|_| timeless);
            let function = function.ok_or(Malformed)?;
            if function.volatility != Volatility::Immutable {
                return Err(Malformed);
            }
            let udf = arrow_bridge::function_udf(Arc::new(function), env());
            take_call(input, schema, depth, udf, &args)?
        }
        CAST => {
            let (from, to, explicit) = (input.ty()?, input.ty()?, input.flag()?);
            let cast = cast::lookup(from, to).filter(|_| is_timeless_cast(from, to));
            let cast = cast.ok_or(Malformed)?;
            let udf = arrow_bridge::cast_udf(cast, from, to, explicit, env());
            take_call(input, schema, depth, udf, &[from])?
        }
        SORT_KEY => {
            let ty = input.ty()?;
            take_call(input, schema, depth, arrow_bridge::sort_key_udf(ty), &[ty])?
        }
        _ => return Err(Malformed),
    })
}

fn take_call(
    input: &mut Input<'_>,
    schema: &Schema,
    depth: usize,
    udf: Arc<ScalarUDF>,
    types: &[PgType],
) -> Result<Expr, Malformed> {
    let args = take_all(input, schema, depth)?;
    if args.len() != types.len() {
        return Err(Malformed);
    }
    for (arg, ty) in args.iter().zip(types) {
        is_a(arg, schema, &to_arrow_type(*ty))?;
    }
    static OPTIONS: OnceLock<Arc<ConfigOptions>> = OnceLock::new();
    let options = Arc::clone(OPTIONS.get_or_init(Arc::default));
    let call = ScalarFunctionExpr::try_new(udf, args, schema, options);
    Ok(Arc::new(call.map_err(|_| Malformed)?))
}

fn take_all(input: &mut Input<'_>, schema: &Schema, depth: usize) -> Result<Vec<Expr>, Malformed> {
    let count = input.count()?;
    (0..count).map(|_| take_at(input, schema, depth)).collect()
}

pub(super) fn type_of(expr: &Expr, schema: &Schema) -> Result<DataType, Malformed> {
    expr.data_type(schema).map_err(|_| Malformed)
}

pub(super) fn is_a(expr: &Expr, schema: &Schema, ty: &DataType) -> Result<(), Malformed> {
    if type_of(expr, schema)? == *ty { Ok(()) } else { Err(Malformed) }
}

fn take_type(input: &mut Input<'_>) -> Result<DataType, Malformed> {
    match input.byte()? {
        SIXTEEN_BYTES => Ok(DataType::FixedSizeBinary(16)),
        at => STORED.get(usize::from(at)).cloned().ok_or(Malformed),
    }
}

fn take_value(input: &mut Input<'_>) -> Result<ScalarValue, Malformed> {
    let ty = take_type(input)?;
    if !input.flag()? {
        return ScalarValue::try_from(&ty).map_err(|_| Malformed);
    }
    Ok(match ty {
        DataType::Boolean => ScalarValue::Boolean(Some(input.flag()?)),
        DataType::Int16 => ScalarValue::Int16(Some(i16::from_be_bytes(input.array()?))),
        DataType::Int32 => ScalarValue::Int32(Some(i32::from_be_bytes(input.array()?))),
        DataType::Int64 => ScalarValue::Int64(Some(i64::from_be_bytes(input.array()?))),
        DataType::Float32 => ScalarValue::Float32(Some(f32::from_be_bytes(input.array()?))),
        DataType::Float64 => ScalarValue::Float64(Some(f64::from_be_bytes(input.array()?))),
        DataType::UInt32 => ScalarValue::UInt32(Some(u32::from_be_bytes(input.array()?))),
        DataType::Utf8 => ScalarValue::Utf8(Some(input.text()?.to_owned())),
        DataType::Binary => ScalarValue::Binary(Some(input.bytes()?.to_vec())),
        DataType::FixedSizeBinary(16) => {
            ScalarValue::FixedSizeBinary(16, Some(input.array::<16>()?.to_vec()))
        }
        _ => return Err(Malformed),
    })
}
