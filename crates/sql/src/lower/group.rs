//! GROUP BY and DISTINCT.
//!
//! A key whose Arrow equality is not PostgreSQL's is grouped by its sort key, and the group shows
//! the first of the values met: `1.5` and `1.50` are one group.

use std::sync::Arc;

use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{Aggregate, AggregateUDF, Expr, LogicalPlan};
use pgtypes::arrow_bridge;

use super::scalar::{comparable_expr, literal};
use super::{Lowerer, project};
use crate::error::SqlError;
use crate::exec::collecting;
use crate::ir::{AggCall, Rel, RelColumn, Scalar};

/// What becomes of one column of a grouped plan.
enum Out {
    Group(usize),
    Agg(usize),
}

impl Lowerer<'_> {
    pub(super) fn aggregate(
        &mut self,
        input: LogicalPlan,
        group: &[(RelColumn, Scalar)],
        aggs: &[AggCall],
    ) -> Result<LogicalPlan, SqlError> {
        let mut keys = Vec::with_capacity(group.len());
        for (column, key) in group {
            keys.push((column.clone(), self.scalar(key)?));
        }
        let mut calls = Vec::with_capacity(aggs.len());
        for agg in aggs {
            calls.push((agg.column.clone(), self.agg_call(agg)?));
        }
        self.grouped(input, keys, calls, None)
    }

    /// Groups by `keys`, computing `calls`; the result's columns are both, in order. Of equal keys that look
    /// different one stands for all, one of the rows `shown` if that is given.
    pub(super) fn grouped(
        &mut self,
        input: LogicalPlan,
        keys: Vec<(RelColumn, Expr)>,
        calls: Vec<(RelColumn, Expr)>,
        shown: Option<&Expr>,
    ) -> Result<LogicalPlan, SqlError> {
        let mut group_expr: Vec<Expr> = Vec::with_capacity(keys.len());
        let mut aggr_expr: Vec<Expr> = Vec::new();
        let mut outs = Vec::with_capacity(keys.len() + calls.len());
        for (column, expr) in &keys {
            if arrow_bridge::needs_sort_key(column.ty) {
                outs.push(Out::Agg(aggr_expr.len()));
                let name = self.fresh_name("first");
                let filter = shown.cloned().map(Box::new);
                let first = agg_expr(first_value_udaf(), vec![expr.clone()], filter, Vec::new());
                aggr_expr.push(first.alias(name));
                group_expr.push(comparable_expr(expr.clone(), column.ty));
            } else {
                outs.push(Out::Group(group_expr.len()));
                group_expr.push(expr.clone());
            }
        }
        for (_, call) in &calls {
            outs.push(Out::Agg(aggr_expr.len()));
            let name = self.fresh_name("agg");
            aggr_expr.push(call.clone().alias(name));
        }
        let mut columns: Vec<RelColumn> = keys.into_iter().map(|(column, _)| column).collect();
        columns.extend(calls.into_iter().map(|(column, _)| column));
        if group_expr.is_empty() && aggr_expr.is_empty() {
            // `SELECT 1 … HAVING true`: one group, whatever the input.
            let plan = super::rel::one_row();
            return Ok(plan);
        }
        // Equal keys under two names would be one field: keep them apart.
        let group_expr: Vec<Expr> = group_expr
            .into_iter()
            .map(|expr| {
                let name = self.fresh_name("group");
                expr.alias(name)
            })
            .collect();
        let groups = group_expr.len();
        let aggregate = Aggregate::try_new(Arc::new(input), group_expr, aggr_expr)?;
        let plan = LogicalPlan::Aggregate(aggregate);
        let exprs = outs
            .iter()
            .zip(&columns)
            .map(|(out, column)| {
                let at = match out {
                    Out::Group(at) => *at,
                    Out::Agg(at) => groups + *at,
                };
                let (qualifier, field) = plan.schema().qualified_field(at);
                let expr = Expr::Column(datafusion::common::Column::from((qualifier, field)));
                expr.alias(column.id.to_string())
            })
            .collect();
        let plan = project(plan, exprs)?;
        self.made(&plan, &columns);
        Ok(plan)
    }

    fn agg_call(&mut self, agg: &AggCall) -> Result<Expr, SqlError> {
        let args = agg.args.iter().map(|arg| self.scalar(arg)).collect::<Result<Vec<_>, _>>()?;
        let filter = match &agg.filter {
            None => None,
            Some(filter) => Some(Box::new(self.scalar(filter)?)),
        };
        let udaf = agg.func.udaf(Arc::clone(&self.env), agg.distinct);
        if args.is_empty() {
            // `count(*)` counts a constant.
            let one = literal(&pgtypes::Datum::Int8(1), pgtypes::PgType::INT8);
            let count = datafusion::functions_aggregate::count::count_udaf();
            return Ok(agg_expr(count, vec![one], filter, Vec::new()));
        }
        // min and max do not care about duplicates or order.
        let careless = matches!(agg.func.name, "min" | "max" | "bool_and" | "bool_or" | "every");
        if careless || agg.order_by.is_empty() {
            return Ok(agg_expr(udaf, args, filter, Vec::new()));
        }
        let mut all = args;
        for key in &agg.order_by {
            all.push(self.scalar(&key.expr)?);
        }
        Ok(agg_expr(collecting(agg, Arc::clone(&self.env)), all, filter, Vec::new()))
    }

    /// Rows without duplicates.
    pub(super) fn distinct(
        &mut self,
        plan: LogicalPlan,
        columns: &[RelColumn],
    ) -> Result<LogicalPlan, SqlError> {
        let keys = columns
            .iter()
            .map(|column| Ok((column.clone(), self.column(column.id)?)))
            .collect::<Result<Vec<_>, SqlError>>()?;
        if keys.is_empty() {
            return self.at_most_one(plan);
        }
        self.grouped(plan, keys, Vec::new(), None)
    }

    /// `SELECT DISTINCT` of no columns.
    fn at_most_one(&mut self, plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
        let fetch = Some(Box::new(datafusion::logical_expr::lit(1_i64)));
        let limit = datafusion::logical_expr::Limit { skip: None, fetch, input: Arc::new(plan) };
        Ok(LogicalPlan::Limit(limit))
    }

    /// The plan of a side of a set operation under the names of `columns`.
    pub(super) fn side(
        &mut self,
        rel: &Rel,
        columns: &[RelColumn],
        extra: Vec<Expr>,
    ) -> Result<LogicalPlan, SqlError> {
        let own = rel.columns();
        let plan = self.rel(rel)?;
        let mut exprs = Vec::with_capacity(columns.len() + extra.len());
        for (from, to) in own.iter().zip(columns) {
            exprs.push(self.column(from.id)?.alias(to.id.to_string()));
        }
        exprs.extend(extra);
        project(plan, exprs)
    }
}

pub(super) fn agg_expr(
    func: Arc<AggregateUDF>,
    args: Vec<Expr>,
    filter: Option<Box<Expr>>,
    order_by: Vec<datafusion::logical_expr::SortExpr>,
) -> Expr {
    Expr::AggregateFunction(AggregateFunction {
        func,
        params: AggregateFunctionParams {
            args,
            distinct: false,
            filter,
            order_by,
            null_treatment: None,
        },
    })
}
