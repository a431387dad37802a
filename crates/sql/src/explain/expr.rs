//! Expressions of a physical plan in PostgreSQL's words: `((b)::text ~~ 'x%'::text)`.

use std::any::Any;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal,
    NegativeExpr, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use pgtypes::EvalEnv;

use super::names::Names;
use crate::ir::Scalar;
use crate::ir::deparse::Printer;
use crate::lower::RowFunction;

/// An expression, in parentheses where PostgreSQL sets them.
pub(super) fn shown(expr: &dyn PhysicalExpr, names: &Names) -> String {
    let any = expr as &dyn Any;
    let one = |expr: &dyn PhysicalExpr| shown(expr, names);
    if let Some(column) = any.downcast_ref::<Column>() {
        return names.shown(column.name());
    }
    if let Some(literal) = any.downcast_ref::<Literal>() {
        return constant(literal.value());
    }
    if let Some(call) = any.downcast_ref::<BinaryExpr>() {
        let mut operands = Vec::new();
        let chained = matches!(call.op(), Operator::And | Operator::Or);
        chain(call, *call.op(), chained, &mut operands);
        let operands: Vec<String> = operands.into_iter().map(one).collect();
        return format!("({})", operands.join(&format!(" {} ", operator(*call.op()))));
    }
    if let Some(not) = any.downcast_ref::<NotExpr>() {
        return format!("(NOT {})", one(not.arg().as_ref()));
    }
    if let Some(null) = any.downcast_ref::<IsNullExpr>() {
        return format!("({} IS NULL)", one(null.arg().as_ref()));
    }
    if let Some(null) = any.downcast_ref::<IsNotNullExpr>() {
        return format!("({} IS NOT NULL)", one(null.arg().as_ref()));
    }
    if let Some(negative) = any.downcast_ref::<NegativeExpr>() {
        return format!("(- {})", one(negative.arg().as_ref()));
    }
    // Conversions between types of Arrow are none in SQL.
    if let Some(cast) = any.downcast_ref::<CastExpr>() {
        return one(cast.expr().as_ref());
    }
    if let Some(list) = any.downcast_ref::<InListExpr>() {
        let items: Vec<String> = list.list().iter().map(|item| one(item.as_ref())).collect();
        let (op, which) = if list.negated() { ("<>", "ALL") } else { ("=", "ANY") };
        let items = items.join(", ");
        return format!("({} {op} {which} (ARRAY[{items}]))", one(list.expr().as_ref()));
    }
    if let Some(case) = any.downcast_ref::<CaseExpr>() {
        let mut out = "CASE".to_owned();
        if let Some(subject) = case.expr() {
            out.push_str(&format!(" {}", one(subject.as_ref())));
        }
        for (when, then) in case.when_then_expr() {
            out.push_str(&format!(" WHEN {} THEN {}", one(when.as_ref()), one(then.as_ref())));
        }
        if let Some(otherwise) = case.else_expr() {
            out.push_str(&format!(" ELSE {}", one(otherwise.as_ref())));
        }
        return format!("{out} END");
    }
    if let Some(call) = any.downcast_ref::<ScalarFunctionExpr>() {
        let args: Vec<String> = call.args().iter().map(|arg| one(arg.as_ref())).collect();
        let function = call.fun().inner().as_ref() as &dyn Any;
        if let Some(row) = function.downcast_ref::<RowFunction>() {
            let slot = |scalar: &Scalar| match scalar {
                Scalar::Slot(at, _) => args.get(*at).cloned(),
                _ => None,
            };
            let printer = Printer { names: &slot, env: &EvalEnv::default() };
            let printed = printer.print(row.scalar());
            return printed.unwrap_or_else(|| format!("(… {} …)", args.join(", ")));
        }
        let name = call.name();
        let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        return match (named, args.as_slice()) {
            (false, [arg]) => format!("({name} {arg})"),
            (false, [left, right]) => format!("({left} {name} {right})"),
            (_, args) => format!("{name}({})", args.join(", ")),
        };
    }
    names.shown(&expr.to_string())
}

/// The operands of a chain of one operator.
fn chain<'e>(
    call: &'e BinaryExpr,
    op: Operator,
    chained: bool,
    operands: &mut Vec<&'e dyn PhysicalExpr>,
) {
    for side in [call.left(), call.right()] {
        match (side.as_ref() as &dyn Any).downcast_ref::<BinaryExpr>() {
            Some(inner) if chained && *inner.op() == op => chain(inner, op, chained, operands),
            _ => operands.push(side.as_ref()),
        }
    }
}

fn operator(op: Operator) -> String {
    match op {
        Operator::NotEq => "<>".to_owned(),
        Operator::IsDistinctFrom => "IS DISTINCT FROM".to_owned(),
        Operator::IsNotDistinctFrom => "IS NOT DISTINCT FROM".to_owned(),
        other => other.to_string(),
    }
}

fn constant(value: &ScalarValue) -> String {
    if value.is_null() {
        return "NULL".to_owned();
    }
    let typed = |ty: &str| format!("'{}'::{ty}", value.to_string().replace('\'', "''"));
    match value {
        ScalarValue::Boolean(Some(value)) => value.to_string(),
        ScalarValue::Utf8(_) | ScalarValue::LargeUtf8(_) | ScalarValue::Utf8View(_) => {
            typed("text")
        }
        ScalarValue::Date32(_) => typed("date"),
        ScalarValue::TimestampMicrosecond(_, None) => typed("timestamp without time zone"),
        ScalarValue::TimestampMicrosecond(..) => typed("timestamp with time zone"),
        ScalarValue::Float32(_) => typed("real"),
        ScalarValue::Float64(_) => typed("double precision"),
        ScalarValue::Binary(Some(bytes)) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("'\\x{hex}'::bytea")
        }
        other => other.to_string(),
    }
}
