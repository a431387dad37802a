//! Operators of our own over the rows of one input: what they share as nodes of a physical plan.
//!
//! A logical node names the columns it works by as expressions, so that rules keep and rename them. Here
//! they are found again as positions, and the [`Work`] runs over the input's batches, in order.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{ConstExpr, EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::EmissionType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::stream::BoxStream;

use crate::error::SqlError;

/// What one of them does.
pub(super) trait Work: Send + Sync + 'static {
    /// Its name in plans.
    const NAME: &'static str;

    /// Rows come out in the order in which they came in.
    const KEEPS_ORDER: bool = true;

    /// What a plan shows of it.
    fn shown(&self) -> String;

    /// Columns that it puts behind those of the input.
    fn made(&self) -> Vec<FieldRef> {
        Vec::new()
    }

    /// Runs over the batches of an input.
    fn run(self: Arc<Self>, input: Input) -> BoxStream<'static, Result<RecordBatch>>;
}

/// What a [`Work`] runs over.
pub(super) struct Input {
    pub(super) batches: SendableRecordBatchStream,
    /// Positions of the columns that the node named, in its order.
    pub(super) columns: Vec<usize>,
    /// Of what is made.
    pub(super) schema: SchemaRef,
    /// Where memory is asked for.
    pub(super) memory: Arc<dyn MemoryPool>,
}

/// The operator over `physical`; `columns` are as `logical` calls them.
pub(super) fn over<W: Work>(
    work: &Arc<W>,
    columns: &[Expr],
    logical: &LogicalPlan,
    physical: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut positions = Vec::with_capacity(columns.len());
    for expr in columns {
        let Expr::Column(column) = expr else {
            return Err(SqlError::internal(format!("{} over {expr}", W::NAME)).into());
        };
        positions.push(logical.schema().index_of_column(column)?);
    }
    Ok(Arc::new(WorkExec::new(Arc::clone(physical), Arc::clone(work), positions)))
}

struct WorkExec<W> {
    input: Arc<dyn ExecutionPlan>,
    work: Arc<W>,
    columns: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl<W: Work> WorkExec<W> {
    fn new(input: Arc<dyn ExecutionPlan>, work: Arc<W>, columns: Vec<usize>) -> Self {
        let mut fields: Vec<_> = input.schema().fields().iter().cloned().collect();
        fields.extend(work.made());
        let schema = Arc::new(Schema::new(fields));
        // Columns of the input stay where they are, so its orderings mean the same here.
        let orderings: Vec<_> = match W::KEEPS_ORDER {
            true => input.equivalence_properties().oeq_class().iter().cloned().collect(),
            false => Vec::new(),
        };
        let constants = input.equivalence_properties().constants();
        let properties = PlanProperties::new(
            with_constants(EquivalenceProperties::new_with_orderings(schema, orderings), constants),
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            input.boundedness(),
        );
        WorkExec { input, work, columns, properties: Arc::new(properties) }
    }
}

impl<W: Work> fmt::Debug for WorkExec<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(W::NAME)
    }
}

impl<W: Work> DisplayAs for WorkExec<W> {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", W::NAME, self.work.shown())
    }
}

impl<W: Work> ExecutionPlan for WorkExec<W> {
    fn name(&self) -> &str {
        W::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    super::over_one_input!(input, |this, input| {
        WorkExec::new(input, Arc::clone(&this.work), this.columns.clone())
    });

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![W::KEEPS_ORDER]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let memory = Arc::clone(context.memory_pool());
        let batches = self.input.execute(partition, context)?;
        let schema = self.schema();
        let input =
            Input { batches, columns: self.columns.clone(), schema: Arc::clone(&schema), memory };
        let made = Arc::clone(&self.work).run(input);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, made)))
    }
}

/// What is known of rows, and what is the same in all of them.
pub(super) fn with_constants(
    known: EquivalenceProperties,
    constants: Vec<ConstExpr>,
) -> EquivalenceProperties {
    let mut more = known.clone();
    match more.add_constants(constants) {
        Ok(()) => more,
        // Less is known than could be: that costs a sort at most.
        Err(_) => known,
    }
}

/// The column that an expression is, if it is no more.
pub(super) fn column(expr: &Arc<dyn PhysicalExpr>) -> Option<&Column> {
    (&**expr as &dyn std::any::Any).downcast_ref()
}
