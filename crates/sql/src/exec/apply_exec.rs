//! The dependent join, physically. Rows with the same outer values share one run of the query.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt;
use pgtypes::{Datum, arrow_bridge};

use super::apply::{ApplyNode, Calls};
use super::inits;
use super::provider::field;
use crate::error::SqlError;
use crate::ir::{Scalar, Subquery, SubqueryKind, eval};

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
        let Some(node) = node.as_any().downcast_ref::<ApplyNode>() else { return Ok(None) };
        let ([logical], [physical]) = (logical, physical) else {
            return Err(SqlError::internal("Apply has one input").into());
        };
        let mut outer = Vec::with_capacity(node.outer.len());
        for expr in &node.outer {
            let Expr::Column(column) = expr else {
                return Err(SqlError::internal(format!("Apply over {expr}")).into());
            };
            outer.push(logical.schema().index_of_column(column)?);
        }
        Ok(Some(Arc::new(ApplyExec::new(Arc::clone(physical), Arc::clone(&node.calls), outer))))
    }
}

/// Runs queries for each row of its input.
struct ApplyExec {
    input: Arc<dyn ExecutionPlan>,
    calls: Arc<Calls>,
    /// Positions in the input of `calls.outer`.
    outer: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl ApplyExec {
    fn new(input: Arc<dyn ExecutionPlan>, calls: Arc<Calls>, outer: Vec<usize>) -> Self {
        let mut fields: Vec<_> = input.schema().fields().iter().cloned().collect();
        fields.extend(calls.calls.iter().map(|(column, _)| Arc::new(field(column))));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(Schema::new(fields))),
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            input.boundedness(),
        );
        ApplyExec { input, calls, outer, properties: Arc::new(properties) }
    }
}

impl fmt::Debug for ApplyExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApplyExec")
    }
}

impl DisplayAs for ApplyExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApplyExec: queries={}", self.calls.calls.len())
    }
}

impl ExecutionPlan for ApplyExec {
    fn name(&self) -> &str {
        "ApplyExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.pop().ok_or_else(|| SqlError::internal("Apply has one input"))?;
        Ok(Arc::new(ApplyExec::new(input, Arc::clone(&self.calls), self.outer.clone())))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = self.schema();
        let state = State {
            calls: Arc::clone(&self.calls),
            outer: self.outer.clone(),
            schema: Arc::clone(&schema),
            kept: HashMap::new(),
        };
        let batches = futures::stream::try_unfold((input, state), |(mut input, mut state)| async {
            let Some(batch) = input.next().await else { return Ok(None) };
            let batch = state.batch(batch?).await.map_err(DataFusionError::from)?;
            Ok::<_, DataFusionError>(Some((batch, (input, state))))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

struct State {
    calls: Arc<Calls>,
    outer: Vec<usize>,
    schema: SchemaRef,
    kept: HashMap<String, Vec<Datum>>,
}

impl State {
    async fn batch(&mut self, batch: RecordBatch) -> std::result::Result<RecordBatch, SqlError> {
        let calls = Arc::clone(&self.calls);
        let mut builders: Vec<_> = calls
            .calls
            .iter()
            .map(|(column, _)| arrow_bridge::ColumnBuilder::new(column.ty, batch.num_rows()))
            .collect();
        for row in 0..batch.num_rows() {
            let outer: Vec<Datum> = self
                .outer
                .iter()
                .zip(&calls.outer)
                .map(|(at, (_, ty))| arrow_bridge::datum_at(batch.column(*at), row, *ty))
                .collect();
            let values = self.values(&calls, &outer).await?;
            for (builder, value) in builders.iter_mut().zip(&values) {
                builder.push(value);
            }
        }
        let mut arrays: Vec<ArrayRef> = batch.columns().to_vec();
        arrays.extend(builders.iter_mut().map(arrow_bridge::ColumnBuilder::finish));
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let schema = Arc::clone(&self.schema);
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options);
        Ok(batch.map_err(DataFusionError::from)?)
    }

    async fn values(
        &mut self,
        calls: &Calls,
        outer: &[Datum],
    ) -> std::result::Result<Vec<Datum>, SqlError> {
        let key = format!("{outer:?}");
        if let Some(known) = self.kept.get(&key) {
            return Ok(known.clone());
        }
        let mut values = Vec::with_capacity(calls.calls.len());
        for (_, subquery) in &calls.calls {
            let alone = substituted(subquery, calls, outer);
            let scalar = inits::value(&calls.ctx, &alone).await?;
            values.push(eval(&scalar, &calls.ctx.env, &[], &calls.ctx.params)?);
        }
        if self.kept.len() < KEPT_MAX {
            self.kept.insert(key, values.clone());
        }
        Ok(values)
    }
}

/// The query with the outer columns' values put in.
fn substituted(subquery: &Subquery, calls: &Calls, outer: &[Datum]) -> Subquery {
    let mut put = |scalar: &mut Scalar| {
        if let Scalar::Column(id, ty) = scalar {
            if let Some(at) = calls.outer.iter().position(|(known, _)| known == id) {
                *scalar = Scalar::Literal(outer[at].clone(), *ty);
            }
        }
    };
    let mut alone = subquery.clone();
    if let SubqueryKind::Any { needle, column, .. } | SubqueryKind::All { needle, column, .. } =
        &mut alone.kind
    {
        needle.rewrite(&mut put);
        column.rewrite(&mut put);
    }
    alone.rel.for_each_scalar_mut(&mut put);
    alone
}
