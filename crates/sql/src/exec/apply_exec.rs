//! The dependent join, physically. Rows with the same outer values share one run of the query.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use pgtypes::{Datum, arrow_bridge};

use super::apply::{ApplyNode, Calls, What};
use super::operator::{self, Input, Work};
use super::provider::field;
use super::{ExecContext, frame_exec, inits, lock, run_rel, waiting};
use crate::error::SqlError;
use crate::ir::{Rel, Scalar, Subquery, SubqueryKind, eval};

/// Most results kept for rows with equal outer values.
const KEPT_MAX: usize = 10_000;

/// DataFusion's planner, with the dependent join.
#[derive(Debug)]
pub(super) struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(ApplyPlanner)]);
        planner.create_physical_plan(plan, session).await
    }
}

struct ApplyPlanner;

#[async_trait]
impl ExtensionPlanner for ApplyPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical: &[&LogicalPlan],
        physical: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let ([logical], [physical]) = (logical, physical) else {
            return Err(SqlError::internal("our nodes have one input").into());
        };
        let Some(node) = node.as_any().downcast_ref::<ApplyNode>() else {
            if let Some(plan) = lock::plan(node, logical, physical)? {
                return Ok(Some(plan));
            }
            return match frame_exec::plan(node, logical, physical)? {
                Some(plan) => Ok(Some(plan)),
                None => waiting::plan(node, logical, physical),
            };
        };
        operator::over(&node.calls, &node.outer, logical, physical).map(Some)
    }
}

/// Runs queries for each row of its input.
impl Work for Calls {
    const NAME: &'static str = "ApplyExec";

    fn shown(&self) -> String {
        format!("columns={}", self.what.columns().len())
    }

    fn made(&self) -> Vec<FieldRef> {
        self.what.columns().iter().map(|column| Arc::new(field(column))).collect()
    }

    fn run(self: Arc<Self>, input: Input) -> BoxStream<'static, Result<RecordBatch>> {
        let Input { batches, columns, schema, memory: _ } = input;
        let state = State { calls: self, outer: columns, schema, kept: HashMap::new() };
        let rows = futures::stream::try_unfold((batches, state), |(mut input, mut state)| async {
            let Some(batch) = input.next().await else { return Ok(None) };
            let batch = state.batch(batch?).await.map_err(DataFusionError::from)?;
            Ok::<_, DataFusionError>(Some((batch, (input, state))))
        });
        Box::pin(rows)
    }
}

struct State {
    calls: Arc<Calls>,
    outer: Vec<usize>,
    schema: SchemaRef,
    /// Rows made, by the outer values they depend on.
    kept: HashMap<String, Arc<Vec<Vec<Datum>>>>,
}

impl State {
    async fn batch(&mut self, batch: RecordBatch) -> std::result::Result<RecordBatch, SqlError> {
        let calls = Arc::clone(&self.calls);
        let columns = calls.what.columns();
        let mut builders: Vec<_> = columns
            .iter()
            .map(|column| arrow_bridge::ColumnBuilder::new(column.ty, batch.num_rows()))
            .collect();
        // Which input row each output row belongs to.
        let mut from: Vec<u32> = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let outer: Vec<Datum> = self
                .outer
                .iter()
                .zip(&calls.outer)
                .map(|(at, (_, ty))| arrow_bridge::datum_at(batch.column(*at), row, *ty))
                .collect();
            for made in self.rows(&calls, &outer).await?.iter() {
                for (builder, value) in builders.iter_mut().zip(made) {
                    builder.push(value);
                }
                from.push(u32::try_from(row).expect("batches are small"));
            }
        }
        let count = from.len();
        let from = UInt32Array::from(from);
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for column in batch.columns() {
            arrays.push(take(column, &from, None).map_err(DataFusionError::from)?);
        }
        arrays.extend(builders.iter_mut().map(arrow_bridge::ColumnBuilder::finish));
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let schema = Arc::clone(&self.schema);
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options);
        Ok(batch.map_err(DataFusionError::from)?)
    }

    /// What stands beside a row with these outer values: one row of values, or a query's rows.
    async fn rows(
        &mut self,
        calls: &Calls,
        outer: &[Datum],
    ) -> std::result::Result<Arc<Vec<Vec<Datum>>>, SqlError> {
        let runs = runs(calls, outer);
        let deciding: Vec<&Datum> = outer
            .iter()
            .zip(&calls.decides)
            .filter(|(_, decides)| **decides)
            .map(|(v, _)| v)
            .collect();
        let key = format!("{deciding:?}{runs:?}");
        if let Some(known) = self.kept.get(&key) {
            return Ok(Arc::clone(known));
        }
        let rows = match &calls.what {
            What::Values(queries) => {
                let mut values = Vec::with_capacity(queries.len());
                for (call, runs) in queries.iter().zip(runs) {
                    if !runs {
                        values.push(Datum::Null);
                        continue;
                    }
                    let alone = substituted(&call.subquery, calls, outer);
                    let scalar = inits::value(&calls.ctx, &alone).await?;
                    values.push(eval(&scalar, &calls.ctx.env, &[], &calls.ctx.params)?);
                }
                vec![values]
            }
            What::Rows { rel, keep } => {
                let mut alone = rel.clone();
                alone.for_each_scalar_mut(&mut |scalar| put(scalar, calls, outer));
                let mut rows = collected(&calls.ctx, &alone).await?;
                if rows.is_empty() && *keep {
                    rows.push(vec![Datum::Null; rel.columns().len()]);
                }
                rows
            }
        };
        let rows = Arc::new(rows);
        if self.kept.len() < KEPT_MAX && rows.len() <= 100 {
            self.kept.insert(key, Arc::clone(&rows));
        }
        Ok(rows)
    }
}

/// Which queries a row with these outer values needs. Where a condition fails, so will the expression that
/// it was taken from.
fn runs(calls: &Calls, outer: &[Datum]) -> Vec<bool> {
    let What::Values(queries) = &calls.what else { return Vec::new() };
    let holds = |condition: &Scalar| {
        let value = eval(condition, &calls.ctx.env, outer, &calls.ctx.params);
        matches!(value, Ok(Datum::Bool(true)))
    };
    queries.iter().map(|call| call.only_if.as_ref().is_none_or(holds)).collect()
}

/// Boxed: a plan inside a plan inside a plan.
fn collected<'a>(
    ctx: &'a ExecContext,
    rel: &'a Rel,
) -> BoxFuture<'a, std::result::Result<Vec<Vec<Datum>>, SqlError>> {
    Box::pin(async move { run_rel(ctx, rel).await?.collect().await })
}

/// An outer column gives way to its value.
fn put(scalar: &mut Scalar, calls: &Calls, outer: &[Datum]) {
    if let Scalar::Column(id, ty) = scalar
        && let Some(at) = calls.outer.iter().position(|(known, _)| known == id)
    {
        *scalar = Scalar::Literal(outer[at].clone(), *ty);
    }
}

/// The query with the outer columns' values put in.
fn substituted(subquery: &Subquery, calls: &Calls, outer: &[Datum]) -> Subquery {
    let mut change = |scalar: &mut Scalar| put(scalar, calls, outer);
    let mut alone = subquery.clone();
    if let SubqueryKind::Any { needle, column, .. } | SubqueryKind::All { needle, column, .. } =
        &mut alone.kind
    {
        needle.rewrite(&mut change);
        column.rewrite(&mut change);
    }
    alone.rel.for_each_scalar_mut(&mut change);
    alone
}
