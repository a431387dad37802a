//! Expressions of a physical plan in PostgreSQL's words: `((b)::text ~~ 'x%'::text)`.

use std::any::Any;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Operator, ScalarUDF};
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal,
    NegativeExpr, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use pgtypes::arrow_bridge::{Described, described, from_scalar, to_arrow_type};
use pgtypes::sortkey::value_of_key;
use pgtypes::{Datum, EvalEnv, PgType};

use super::names::Names;
use crate::ir::Scalar;
use crate::ir::deparse::{Printer, shown_constant, shown_constants};
use crate::lower::RowFunction;

/// An expression, in parentheses where PostgreSQL sets them.
pub(super) fn shown(expr: &dyn PhysicalExpr, names: &Names) -> String {
    let any = expr as &dyn Any;
    let one = |expr: &dyn PhysicalExpr| shown(expr, names);
    let like = |meaning: Option<Meaning>, expr: &dyn PhysicalExpr| match meaning {
        Some(meaning) => meaning.shown(expr, names),
        None => one(expr),
    };
    if let Some(column) = any.downcast_ref::<Column>() {
        return names.shown(column.name());
    }
    if let Some(value) = literal_of(expr) {
        return constant(value);
    }
    if let Some(call) = any.downcast_ref::<BinaryExpr>() {
        let mut operands = Vec::new();
        let chained = matches!(call.op(), Operator::And | Operator::Or);
        chain(call, *call.op(), chained, &mut operands);
        let meaning = operands.iter().find_map(|operand| Meaning::of(*operand, names));
        let operands: Vec<String> =
            operands.into_iter().map(|operand| like(meaning, operand)).collect();
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
        let meaning = Meaning::of(list.expr().as_ref(), names);
        let constants = meaning.and_then(|meaning| meaning.shown_array(list.list()));
        let array = constants.unwrap_or_else(|| {
            let items = list.list().iter().map(|item| like(meaning, item.as_ref()));
            format!("ARRAY[{}]", items.collect::<Vec<_>>().join(", "))
        });
        let (op, which) = if list.negated() { ("<>", "ALL") } else { ("=", "ANY") };
        return format!("({} {op} {which} ({array}))", one(list.expr().as_ref()));
    }
    if let Some(case) = any.downcast_ref::<CaseExpr>() {
        let mut out = "CASE".to_owned();
        if let Some(subject) = case.expr() {
            out.push_str(&format!(" {}", one(subject.as_ref())));
        }
        let results = Meaning::of(expr, names);
        for (when, then) in case.when_then_expr() {
            let then = like(results, then.as_ref());
            out.push_str(&format!(" WHEN {} THEN {then}", one(when.as_ref())));
        }
        if let Some(otherwise) = case.else_expr() {
            out.push_str(&format!(" ELSE {}", like(results, otherwise.as_ref())));
        }
        return format!("{out} END");
    }
    if let Some(call) = any.downcast_ref::<ScalarFunctionExpr>() {
        let does = described(call.fun());
        let means = |at: usize| match does {
            Some(Described::Function(function)) => function.args.get(at).copied(),
            Some(Described::Cast { from, .. }) => Some(from),
            Some(Described::SortKey(_)) | None => None,
        };
        let args = call.args().iter().enumerate();
        let args = args.map(|(at, arg)| like(means(at).map(Meaning::Value), arg.as_ref()));
        let args: Vec<String> = args.collect();
        if let ([arg], Some(Described::SortKey(_))) = (&args[..], does) {
            return arg.clone();
        }
        if let Some(row) = row_function(call.fun()) {
            let slot = |scalar: &Scalar| match scalar {
                Scalar::Slot(at, _) => args.get(*at).cloned(),
                _ => None,
            };
            let printer = Printer { names: &slot, env: &EvalEnv::default(), shown: true };
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

/// What an expression's values are in SQL, which has more types than Arrow.
#[derive(Clone, Copy)]
enum Meaning {
    Value(PgType),
    /// What stands for values of this type where they are compared.
    Key(PgType),
}

impl Meaning {
    fn of(expr: &dyn PhysicalExpr, names: &Names) -> Option<Meaning> {
        let any = expr as &dyn Any;
        if let Some(column) = any.downcast_ref::<Column>() {
            return names.ty(column.name()).map(Meaning::Value);
        }
        if let Some(case) = any.downcast_ref::<CaseExpr>() {
            let results = case.when_then_expr().iter().map(|(_, then)| then);
            return results
                .chain(case.else_expr())
                .find_map(|result| Meaning::of(&**result, names));
        }
        let udf = any.downcast_ref::<ScalarFunctionExpr>()?.fun();
        Some(match described(udf) {
            Some(Described::Function(function)) => Meaning::Value(function.result),
            Some(Described::Cast { to, .. }) => Meaning::Value(to),
            Some(Described::SortKey(ty)) => Meaning::Key(ty),
            None => Meaning::Value(row_function(udf)?.scalar().ty()),
        })
    }

    fn ty(self) -> PgType {
        match self {
            Meaning::Value(ty) | Meaning::Key(ty) => ty,
        }
    }

    /// The value of a constant that means the same, where it can be told.
    fn datum(self, expr: &dyn PhysicalExpr) -> Option<Datum> {
        let value = literal_of(expr)?;
        match (self, value) {
            _ if value.is_null() => Some(Datum::Null),
            (Meaning::Key(ty), ScalarValue::Binary(Some(key))) => value_of_key(key, ty),
            (Meaning::Key(_), _) => None,
            (Meaning::Value(ty), _) => {
                (value.data_type() == to_arrow_type(ty)).then(|| from_scalar(value, ty))
            }
        }
    }

    /// Something that means the same.
    fn shown(self, expr: &dyn PhysicalExpr, names: &Names) -> String {
        match self.datum(expr) {
            Some(datum) => shown_constant(&datum, self.ty()),
            None => shown(expr, names),
        }
    }

    /// Constants that mean the same, as an array.
    fn shown_array(self, exprs: &[Arc<dyn PhysicalExpr>]) -> Option<String> {
        let datums = exprs.iter().map(|expr| self.datum(expr.as_ref()));
        Some(shown_constants(datums.collect::<Option<_>>()?, self.ty()))
    }
}

fn literal_of(expr: &dyn PhysicalExpr) -> Option<&ScalarValue> {
    Some((expr as &dyn Any).downcast_ref::<Literal>()?.value())
}

fn row_function(udf: &ScalarUDF) -> Option<&RowFunction> {
    (udf.inner().as_ref() as &dyn Any).downcast_ref()
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

/// A constant of which no more is known than its type in Arrow.
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
