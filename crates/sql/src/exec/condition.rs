//! Conditions a scan checks itself: a column compared with constants.
//!
//! Only types whose Arrow comparison is PostgreSQL's get here (the lowering leaves the others to
//! functions), so checking them over datums gives the same answer and a filter can be taken over
//! completely. What a condition says about an index's columns also bounds the span to be read.

use std::cmp::Ordering;

use datafusion::logical_expr::{BinaryExpr, Expr, Operator, expr::InList};
use pgtypes::{Datum, PgType, arrow_bridge};

use crate::ir::deparse::{shown_constant, shown_constants};

/// How a column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// One conjunct.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    /// Position of the column in the table.
    pub(crate) column: usize,
    pub(crate) test: Test,
}

/// What is asked of the column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    /// Compared with one value.
    Compare(Comparison, Datum),
    /// One of these, without NULLs, in order and once each.
    In(Vec<Datum>),
}

impl Test {
    /// One of these; NULL equals nothing.
    pub(crate) fn one_of(mut values: Vec<Datum>) -> Test {
        values.retain(|value| !value.is_null());
        Test::any(values)
    }

    fn any(mut values: Vec<Datum>) -> Test {
        values.sort_by(pgtypes::compare);
        values.dedup_by(|a, b| pgtypes::compare(a, b) == Ordering::Equal);
        Test::In(values)
    }

    /// The values that pass, if they are few and known. Equality with NULL passes nothing.
    fn values(self) -> Option<Vec<Datum>> {
        match self {
            Test::Compare(Comparison::Equal, Datum::Null) => Some(Vec::new()),
            Test::Compare(Comparison::Equal, value) => Some(vec![value]),
            Test::Compare(..) => None,
            Test::In(values) => Some(values),
        }
    }
}

impl Condition {
    /// The condition an expression is, if it is one. `column` maps a name to position and type.
    pub(crate) fn of(
        expr: &Expr,
        column: &dyn Fn(&str) -> Option<(usize, PgType)>,
    ) -> Option<Condition> {
        match expr {
            // The optimizer writes short IN lists so.
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                // What became of NULL in the list: it makes unknown of false, which is no difference.
                match (&**left, &**right) {
                    (Expr::Literal(nothing, _), other) | (other, Expr::Literal(nothing, _))
                        if nothing.is_null() =>
                    {
                        return Condition::of(other, column);
                    }
                    _ => {}
                }
                let left = Condition::of(left, column)?;
                let right = Condition::of(right, column)?;
                if left.column != right.column {
                    return None;
                }
                let mut values = left.test.values()?;
                values.extend(right.test.values()?);
                Some(Condition { column: left.column, test: Test::any(values) })
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let op = comparison(*op)?;
                match (&**left, &**right) {
                    (Expr::Column(name), Expr::Literal(value, _)) => {
                        let (column, ty) = column(&name.name)?;
                        let value = literal(value, ty)?;
                        Some(Condition { column, test: Test::Compare(op, value) })
                    }
                    (Expr::Literal(value, _), Expr::Column(name)) => {
                        let (column, ty) = column(&name.name)?;
                        let value = literal(value, ty)?;
                        Some(Condition { column, test: Test::Compare(mirrored(op), value) })
                    }
                    _ => None,
                }
            }
            Expr::InList(InList { expr, list, negated: false }) => {
                let Expr::Column(name) = &**expr else { return None };
                let (column, ty) = column(&name.name)?;
                let mut values = Vec::with_capacity(list.len());
                for item in list {
                    let Expr::Literal(value, _) = item else { return None };
                    // NULL in the list makes unknown of false: the row goes either way.
                    if !value.is_null() {
                        values.push(literal(value, ty)?);
                    }
                }
                Some(Condition { column, test: Test::any(values) })
            }
            // What the optimizer makes of `column = true`, and of `column = false`.
            Expr::Column(name) => Condition::is(column(&name.name)?, true),
            Expr::Not(inner) => match &**inner {
                Expr::Column(name) => Condition::is(column(&name.name)?, false),
                _ => None,
            },
            _ => None,
        }
    }

    fn is((column, ty): (usize, PgType), value: bool) -> Option<Condition> {
        let test = Test::Compare(Comparison::Equal, Datum::Bool(value));
        (ty == PgType::BOOL).then_some(Condition { column, test })
    }

    /// Whether a row with this value passes. Unknown does not.
    pub(crate) fn holds(&self, value: &Datum) -> bool {
        if value.is_null() {
            return false;
        }
        match &self.test {
            Test::Compare(_, Datum::Null) => false,
            Test::Compare(op, constant) => {
                let order = pgtypes::compare(value, constant);
                match op {
                    Comparison::Equal => order == Ordering::Equal,
                    Comparison::Less => order == Ordering::Less,
                    Comparison::LessOrEqual => order != Ordering::Greater,
                    Comparison::Greater => order == Ordering::Greater,
                    Comparison::GreaterOrEqual => order != Ordering::Less,
                }
            }
            Test::In(values) => {
                values.binary_search_by(|item| pgtypes::compare(item, value)).is_ok()
            }
        }
    }
}

fn comparison(op: Operator) -> Option<Comparison> {
    Some(match op {
        Operator::Eq => Comparison::Equal,
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::LessOrEqual,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn mirrored(op: Comparison) -> Comparison {
    match op {
        Comparison::Equal => Comparison::Equal,
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
    }
}

/// A constant of the column's own storage type.
fn literal(value: &datafusion::scalar::ScalarValue, ty: PgType) -> Option<Datum> {
    if arrow_bridge::needs_sort_key(ty) {
        return None;
    }
    if !value.is_null() && value.data_type() != arrow_bridge::to_arrow_type(ty) {
        return None;
    }
    Some(arrow_bridge::from_scalar(value, ty))
}

impl Condition {
    /// As EXPLAIN shows it.
    pub(crate) fn shown(&self, table: &catalog::Table) -> String {
        let column = table.column_at(self.column);
        match &self.test {
            Test::Compare(op, datum) => {
                let op = match op {
                    Comparison::Equal => "=",
                    Comparison::Less => "<",
                    Comparison::LessOrEqual => "<=",
                    Comparison::Greater => ">",
                    Comparison::GreaterOrEqual => ">=",
                };
                format!("{} {op} {}", column.name, shown_constant(datum, column.ty))
            }
            Test::In(values) => {
                format!("{} = ANY ({})", column.name, shown_constants(values.clone(), column.ty))
            }
        }
    }
}
