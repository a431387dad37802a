//! Relations.

use std::sync::Arc;

use datafusion::catalog::MemTable;
use datafusion::common::{Column, TableReference};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{
    EmptyRelation, Expr, JoinType, Limit, LogicalPlan, LogicalPlanBuilder, Sort, SortExpr,
    TableScanBuilder, lit,
};
use pgtypes::Datum;

use super::scalar::subquery_of;
use super::series_stream;
use super::{Lowerer, filter, project};
use crate::error::{SqlError, SqlState};
use crate::exec::provider::{StoredTable, batch_of, batch_of_arrays};
use crate::exec::{apply, lock, recursive, waiting, work};
use crate::ir::{Join, JoinKind, Rel, RelColumn, Scalar, SortKey, eval};

impl Lowerer<'_> {
    pub(super) fn rel(&mut self, rel: &Rel) -> Result<LogicalPlan, SqlError> {
        stacker::maybe_grow(128 << 10, 2 << 20, || self.rel_here(rel))
    }

    fn rel_here(&mut self, rel: &Rel) -> Result<LogicalPlan, SqlError> {
        if let Some(ordered) = self.ordered(rel) {
            let before = self.placed.len();
            Self::places(&ordered, &mut self.placed);
            let plan = self.rel(&ordered);
            self.placed.truncate(before);
            return plan;
        }
        let demanded = std::mem::take(&mut self.demanded);
        match rel {
            Rel::OneRow => Ok(one_row()),
            Rel::Empty { columns } => self.rows(columns, &[]),
            Rel::Scan(scan) => {
                let hints = self.hints(scan, &demanded);
                let estimates = self.ctx.engine.statistics().of(scan.table.id);
                let txn = Arc::clone(&self.ctx.txn);
                let provider = Arc::new(StoredTable::new(txn, scan, hints, estimates));
                self.source(provider, &rel.columns())
            }
            Rel::Virtual(scan) => {
                let loaded = self.computed.rows(&scan.table)?;
                let arrays = loaded.arrays(scan.columns.iter().map(|column| column.ty)).to_vec();
                let batch = batch_of_arrays(&scan.columns, arrays, loaded.rows.len())?;
                let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
                self.source(Arc::new(table), &scan.columns)
            }
            Rel::Work(scan) => {
                let table = work::table(&self.ctx.works, scan)?;
                self.source(table, &scan.columns)
            }
            Rel::Recursive(recursive) => {
                if rel.is_correlated() {
                    self.correlated = true;
                    return Err(SqlError::unsupported("a correlated recursive query here"));
                }
                self.source(recursive::table(self.ctx, recursive)?, &recursive.columns)
            }
            Rel::Values { rows, columns } => self.values(rows, columns),
            Rel::Function(call) => match series_stream::of(self.ctx, call)? {
                Some(table) => self.source(table, &rel.columns()),
                None => self.function(one_row(), call, false),
            },
            Rel::Filter { input, predicate } => {
                self.demand(demanded, predicate);
                let plan = self.under_condition(input)?;
                match self.known(predicate) {
                    Some(true) => Ok(plan),
                    Some(false) => Ok(no_rows(&plan)),
                    None => {
                        let predicate = self.scalar(predicate)?;
                        filter(plan, predicate)
                    }
                }
            }
            Rel::Project { input, exprs } => {
                let plan = self.rel(input)?;
                self.project(plan, exprs)
            }
            Rel::Join(join) => self.join(join, demanded),
            Rel::Aggregate { input, group, aggs } => {
                let around = std::mem::take(&mut self.conditions);
                let plan = match self.with_input_order(input, aggs) {
                    Some((input, aggs)) => {
                        let plan = self.rel(&input)?;
                        self.aggregate(plan, group, &aggs)
                    }
                    None => {
                        let plan = self.rel(input)?;
                        self.aggregate(plan, group, aggs)
                    }
                }?;
                self.conditions = around;
                // The optimizer moves a condition that turns out to mention no column below an aggregate,
                // which makes a row of no rows. In a correlated query a limit would be in its way instead.
                match group.is_empty() && around > 0 && self.level == 0 {
                    true => Ok(LogicalPlanBuilder::from(plan).limit(0, Some(1))?.build()?),
                    false => Ok(plan),
                }
            }
            Rel::Window { input, calls } => {
                let plan = self.rel(input)?;
                self.window(plan, calls)
            }
            Rel::Apply { input, calls } => {
                let plan = self.rel(input)?;
                let mut outer = Vec::new();
                for (id, ty) in apply::outer_columns(calls) {
                    outer.push((id, ty, self.column(id)?));
                }
                let what = apply::What::Values(calls.clone());
                let plan = apply::node(self.ctx, plan, what, outer)?;
                let columns: Vec<RelColumn> =
                    calls.iter().map(|call| call.column.clone()).collect();
                self.made(&plan, &columns);
                Ok(plan)
            }
            Rel::ApplyRows { input, rel, keep } => {
                let plan = self.rel(input)?;
                let mut outer = Vec::new();
                for (id, ty) in rel.outer_columns() {
                    outer.push((id, ty, self.column(id)?));
                }
                let columns = rel.columns();
                let what = apply::What::Rows { rel: (**rel).clone(), keep: *keep };
                let plan = apply::node(self.ctx, plan, what, outer)?;
                self.made(&plan, &columns);
                Ok(plan)
            }
            Rel::Sort { input, keys } => {
                let plan = self.rel(input)?;
                self.sort(plan, keys)
            }
            Rel::Waiting { input, exprs, keep_if } => {
                let plan = self.rel(input)?;
                let needed = waiting::needed(exprs, keep_if.as_ref());
                let slots = needed.into_iter().map(|(id, _)| self.column(id));
                let slots = slots.collect::<Result<Vec<_>, SqlError>>()?;
                let plan = waiting::node(self.ctx, plan, exprs, keep_if.as_ref(), slots)?;
                let columns: Vec<_> = exprs.iter().map(|(column, _)| column.clone()).collect();
                self.made(&plan, &columns);
                Ok(plan)
            }
            Rel::Lock { input, locks } => {
                let fetch = self.wanted.take();
                let plan = self.rel(input)?;
                let keys = locks.iter().map(|lock| self.column(lock.key));
                let keys = keys.collect::<Result<Vec<_>, SqlError>>()?;
                Ok(lock::node(self.ctx, plan, locks, keys, fetch))
            }
            Rel::Limit { input, limit, offset } => {
                self.wanted = match locks_first(input) {
                    true => self.rows_wanted(limit.as_ref(), offset.as_ref())?,
                    false => None,
                };
                let plan = self.rel(input)?;
                self.limit(plan, limit.as_ref(), offset.as_ref())
            }
            Rel::Distinct { input } => {
                let columns = input.columns();
                let plan = self.rel(input)?;
                self.distinct(plan, &columns)
            }
            Rel::DistinctOn { input, on, keys } => {
                let columns = input.columns();
                let plan = self.rel(input)?;
                self.distinct_on(plan, &columns, on, keys)
            }
            Rel::SetOp { op, all, left, right, columns } => {
                self.set_op(*op, *all, left, right, columns)
            }
        }
    }

    /// A leaf over a provider whose fields are `columns`.
    fn source(
        &mut self,
        provider: Arc<dyn datafusion::catalog::TableProvider>,
        columns: &[RelColumn],
    ) -> Result<LogicalPlan, SqlError> {
        self.scans += 1;
        let name = TableReference::bare(format!("s{}", self.scans));
        let scan = TableScanBuilder::new(name, provider_as_source(provider)).build()?;
        let plan = LogicalPlan::TableScan(scan);
        self.made(&plan, columns);
        Ok(plan)
    }

    /// Rows in memory.
    fn rows(
        &mut self,
        columns: &[RelColumn],
        rows: &[Vec<Datum>],
    ) -> Result<LogicalPlan, SqlError> {
        let batch = batch_of(columns, rows)?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        self.source(Arc::new(table), columns)
    }

    fn values(
        &mut self,
        rows: &[Vec<Scalar>],
        columns: &[RelColumn],
    ) -> Result<LogicalPlan, SqlError> {
        if rows.iter().flatten().all(Scalar::is_row_independent) {
            let mut data = Vec::with_capacity(rows.len());
            for row in rows {
                let row: Result<Vec<Datum>, SqlError> = row
                    .iter()
                    .map(|scalar| eval(scalar, &self.env, &[], &self.ctx.params))
                    .collect();
                data.push(row?);
            }
            return self.rows(columns, &data);
        }
        // A row that mentions columns around it: one projection of one row each.
        let mut plan: Option<LogicalPlan> = None;
        for row in rows {
            let exprs: Vec<(RelColumn, Scalar)> =
                columns.iter().cloned().zip(row.iter().cloned()).collect();
            let next = self.project(one_row(), &exprs)?;
            plan = Some(match plan {
                None => next,
                Some(before) => LogicalPlanBuilder::from(before).union(next)?.build()?,
            });
        }
        let plan = plan.ok_or_else(|| SqlError::internal("VALUES without rows"))?;
        self.made(&plan, columns);
        Ok(plan)
    }

    pub(super) fn project(
        &mut self,
        plan: LogicalPlan,
        exprs: &[(RelColumn, Scalar)],
    ) -> Result<LogicalPlan, SqlError> {
        let mut lowered = Vec::with_capacity(exprs.len());
        for (column, scalar) in exprs {
            lowered.push(self.scalar(scalar)?.alias(column.id.to_string()));
        }
        let plan = project(plan, lowered)?;
        let columns: Vec<RelColumn> = exprs.iter().map(|(column, _)| column.clone()).collect();
        self.made(&plan, &columns);
        Ok(plan)
    }

    fn join(&mut self, join: &Join, demanded: Vec<Scalar>) -> Result<LogicalPlan, SqlError> {
        let Join { kind, left, right, on, lateral } = join;
        // LATERAL that mentions nothing is none, to the optimizer above all.
        let lateral = &(*lateral && (matches!(right, Rel::Function(_)) || right.is_correlated()));
        // A set-returning function in a select list over no table.
        if let (Rel::OneRow, Rel::Function(_), None) = (left, right, on) {
            return self.rel(right);
        }
        let conditional = usize::from(on.is_some());
        self.conditions += conditional;
        // Rows of an outer side come without partners too, whatever the conditions say of them.
        if matches!(kind, JoinKind::Inner | JoinKind::Left) {
            self.demanded.clone_from(&demanded);
        }
        let plan = self.rel(left)?;
        if *lateral {
            self.conditions -= conditional;
            return self.lateral(plan, *kind, right, on.as_ref());
        }
        if *kind == JoinKind::Inner {
            self.demanded = demanded;
        }
        let right_plan = self.rel(right)?;
        self.conditions -= conditional;
        self.demanded.clear();
        self.joined(plan, right_plan, *kind, on.as_ref())
    }

    fn joined(
        &mut self,
        left: LogicalPlan,
        right: LogicalPlan,
        kind: JoinKind,
        on: Option<&Scalar>,
    ) -> Result<LogicalPlan, SqlError> {
        let known = on.and_then(|on| self.known(on));
        let (left, right) = match (known, kind) {
            (Some(false), JoinKind::Inner) => (no_rows(&left), no_rows(&right)),
            (Some(false), JoinKind::Left) => {
                let right = no_rows(&right);
                (left, right)
            }
            (Some(false), JoinKind::Right) => {
                let left = no_rows(&left);
                (left, right)
            }
            _ => (left, right),
        };
        let on = match on {
            None => Vec::new(),
            Some(_) if known == Some(true) => Vec::new(),
            Some(on) => {
                on.conjuncts().iter().map(|c| self.scalar(c)).collect::<Result<Vec<_>, _>>()?
            }
        };
        let builder = LogicalPlanBuilder::from(left);
        if on.is_empty() && kind == JoinKind::Inner {
            return Ok(builder.cross_join(right)?.build()?);
        }
        let on = if on.is_empty() { vec![lit(true)] } else { on };
        let kind = match kind {
            JoinKind::Inner => JoinType::Inner,
            JoinKind::Left => JoinType::Left,
            JoinKind::Right => JoinType::Right,
            JoinKind::Full => JoinType::Full,
        };
        Ok(builder.join_on(right, kind, on)?.build()?)
    }

    /// A relation with a condition above it.
    fn under_condition(&mut self, rel: &Rel) -> Result<LogicalPlan, SqlError> {
        // Below an aggregate the count begins anew, and an error leaves it as it is there.
        let around = self.conditions;
        self.conditions = around + 1;
        let plan = self.rel(rel);
        self.conditions = around;
        plan
    }

    /// Whether a condition that mentions no row holds. The optimizer would move it below an aggregate
    /// over all rows, which makes a row of none.
    fn known(&self, condition: &Scalar) -> Option<bool> {
        let mut holds = true;
        for conjunct in condition.conjuncts() {
            if !conjunct.is_row_independent() || conjunct.is_volatile() {
                return None;
            }
            match eval(conjunct, &self.env, &[], &self.ctx.params) {
                Ok(value) => holds &= matches!(value, Datum::Bool(true)),
                Err(_) => return None,
            }
        }
        Some(holds)
    }

    /// A join whose right side mentions the left one.
    fn lateral(
        &mut self,
        left: LogicalPlan,
        kind: JoinKind,
        right: &Rel,
        on: Option<&Scalar>,
    ) -> Result<LogicalPlan, SqlError> {
        if let Rel::Function(call) = right {
            let trivial = on.is_none_or(|on| *on == Scalar::bool(true));
            match (kind, trivial) {
                (JoinKind::Inner, _) => {
                    let plan = self.function(left, call, false)?;
                    let Some(on) = on else { return Ok(plan) };
                    let on = self.scalar(on)?;
                    return filter(plan, on);
                }
                (JoinKind::Left, true) => return self.function(left, call, true),
                _ => {
                    return Err(SqlError::unsupported("LEFT JOIN of a function on a condition"));
                }
            }
        }
        self.level += 1;
        let inner = self.plan(right);
        self.level -= 1;
        let inner = inner?;
        let columns = right.columns();
        let plan = LogicalPlan::Subquery(subquery_of(inner));
        self.made(&plan, &columns);
        self.joined(left, plan, kind, on)
    }

    pub(super) fn sort(
        &mut self,
        plan: LogicalPlan,
        keys: &[SortKey],
    ) -> Result<LogicalPlan, SqlError> {
        let expr = self.sort_exprs(keys)?;
        Ok(LogicalPlan::Sort(Sort { expr, input: Arc::new(plan), fetch: None }))
    }

    pub(super) fn sort_exprs(&mut self, keys: &[SortKey]) -> Result<Vec<SortExpr>, SqlError> {
        keys.iter()
            .map(|key| {
                let expr = self.comparable(&key.expr)?;
                Ok(SortExpr::new(expr, !key.desc, key.nulls_first))
            })
            .collect()
    }

    fn limit(
        &mut self,
        plan: LogicalPlan,
        limit: Option<&Scalar>,
        offset: Option<&Scalar>,
    ) -> Result<LogicalPlan, SqlError> {
        let fetch = self.row_count(limit, "LIMIT", SqlState::INVALID_ROW_COUNT_IN_LIMIT)?;
        let skip = self.row_count(offset, "OFFSET", SqlState::INVALID_ROW_COUNT_IN_OFFSET)?;
        Ok(LogicalPlan::Limit(Limit {
            skip: skip.map(|skip| Box::new(lit(skip))),
            fetch: fetch.map(|fetch| Box::new(lit(fetch))),
            input: Arc::new(plan),
        }))
    }

    /// How many rows of its input a limit takes: those skipped are locked as well, as in PostgreSQL.
    fn rows_wanted(
        &mut self,
        limit: Option<&Scalar>,
        offset: Option<&Scalar>,
    ) -> Result<Option<usize>, SqlError> {
        let fetch = self.row_count(limit, "LIMIT", SqlState::INVALID_ROW_COUNT_IN_LIMIT)?;
        let skip = self.row_count(offset, "OFFSET", SqlState::INVALID_ROW_COUNT_IN_OFFSET)?;
        let wanted = fetch.map(|fetch| fetch.saturating_add(skip.unwrap_or(0)));
        Ok(wanted.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX)))
    }

    fn row_count(
        &mut self,
        scalar: Option<&Scalar>,
        what: &str,
        code: SqlState,
    ) -> Result<Option<i64>, SqlError> {
        let Some(scalar) = scalar else { return Ok(None) };
        if !scalar.is_row_independent() {
            // The optimizer has no way to it: such a query is run for each row.
            self.correlated = true;
            return Err(SqlError::unsupported(format!("{what} by a column here")));
        }
        match eval(scalar, &self.env, &[], &self.ctx.params)? {
            Datum::Null => Ok(None),
            Datum::Int8(count) if count >= 0 => Ok(Some(count)),
            Datum::Int8(_) => Err(SqlError::new(code, format!("{what} must not be negative"))),
            other => Err(SqlError::internal(format!("{what} is {other:?}"))),
        }
    }
}

/// One row without columns.
pub(super) fn one_row() -> LogicalPlan {
    LogicalPlan::EmptyRelation(EmptyRelation {
        produce_one_row: true,
        schema: Arc::new(datafusion::common::DFSchema::empty()),
    })
}

/// A reference to an unqualified field.
pub(super) fn named(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// Whether a relation is one that locks rows, but for the choice of its columns.
fn locks_first(rel: &Rel) -> bool {
    match rel {
        Rel::Lock { .. } => true,
        Rel::Project { input, .. } => locks_first(input),
        _ => false,
    }
}

/// Nothing, in the shape of `plan`.
fn no_rows(plan: &LogicalPlan) -> LogicalPlan {
    let schema = Arc::clone(plan.schema());
    LogicalPlan::EmptyRelation(datafusion::logical_expr::EmptyRelation {
        produce_one_row: false,
        schema,
    })
}
