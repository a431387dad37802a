//! UNION, INTERSECT, EXCEPT.
//!
//! Intersection and difference count how often each row stands on either side, in one pass over
//! both: NULLs are equal, and ALL repeats a row as often as the standard says.

use std::sync::Arc;

use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator, Union, lit};
use pgtypes::PgType;

use super::group::agg_expr;
use super::rel::named;
use super::scalar::binary;
use super::{Lowerer, all_fields, filter, project};
use crate::error::SqlError;
use crate::ir::{ColId, Rel, RelColumn, SetOp};

impl Lowerer<'_> {
    pub(super) fn set_op(
        &mut self,
        op: SetOp,
        all: bool,
        left: &Rel,
        right: &Rel,
        columns: &[RelColumn],
    ) -> Result<LogicalPlan, SqlError> {
        if op == SetOp::Union {
            let left = self.side(left, columns, Vec::new())?;
            let right = self.side(right, columns, Vec::new())?;
            let plan = union(left, right)?;
            self.made(&plan, columns);
            return if all { Ok(plan) } else { self.distinct(plan, columns) };
        }
        let flag = |l: i64, r: i64| vec![lit(l).alias("in_left"), lit(r).alias("in_right")];
        let left = self.side(left, columns, flag(1, 0))?;
        let right = self.side(right, columns, flag(0, 1))?;
        let both = union(left, right)?;
        let keys =
            columns.iter().map(|column| (column.clone(), named(&column.id.to_string()))).collect();
        let lefts = self.counter("in_left");
        let rights = self.counter("in_right");
        let (l, r) = (named(&lefts.0.id.to_string()), named(&rights.0.id.to_string()));
        let of_left = binary(named("in_left"), Operator::Eq, lit(1_i64));
        let plan = self.grouped(both, keys, vec![lefts, rights], Some(&of_left))?;
        let zero = || lit(0_i64);
        let plan = match (op, all) {
            (SetOp::Intersect, false) => {
                let both = binary(
                    binary(l, Operator::Gt, zero()),
                    Operator::And,
                    binary(r, Operator::Gt, zero()),
                );
                filter(plan, both)?
            }
            (SetOp::Except, false) => {
                let left_only = binary(
                    binary(l, Operator::Gt, zero()),
                    Operator::And,
                    binary(r, Operator::Eq, zero()),
                );
                filter(plan, left_only)?
            }
            (SetOp::Intersect, true) => {
                let less = binary(l.clone(), Operator::Lt, r.clone());
                let case = datafusion::logical_expr::when(less, l).otherwise(r)?;
                self.repeated(plan, columns, case)?
            }
            (SetOp::Except, true) => {
                let count = binary(l, Operator::Minus, r);
                self.repeated(plan, columns, count)?
            }
            (SetOp::Union, _) => return Err(SqlError::internal("UNION is done above")),
        };
        let exprs = all_fields(&plan).into_iter().take(columns.len());
        let exprs = exprs.zip(columns).map(|(e, c)| e.alias(c.id.to_string())).collect();
        let plan = project(plan, exprs)?;
        self.made(&plan, columns);
        Ok(plan)
    }

    fn counter(&mut self, flag: &str) -> (RelColumn, Expr) {
        self.fresh += 1;
        // Counted from the top: ids of the statement grow from 0.
        let id = ColId(u32::MAX - u32::try_from(self.fresh).unwrap_or(0));
        let column = RelColumn { id, name: Arc::from(flag), ty: PgType::INT8 };
        (column, agg_expr(sum_udaf(), vec![named(flag)], None, Vec::new()))
    }
}

fn union(left: LogicalPlan, right: LogicalPlan) -> Result<LogicalPlan, SqlError> {
    Ok(LogicalPlan::Union(Union::try_new(vec![Arc::new(left), Arc::new(right)])?))
}
