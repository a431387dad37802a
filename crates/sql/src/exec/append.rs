//! The rows of UNION ALL come in the order of its parts, as from PostgreSQL: nothing promises it, and all
//! expect it. Of equal rows that look different the first is the one that is kept, then.
//!
//! DataFusion would take them as they come. Only unions have several parts here.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    SendableRecordBatchStream,
};
use futures::{TryStreamExt, stream};

/// Reads parts one after the other wherever they become one.
pub(super) fn parts_in_order(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let ordered = plan.transform_up(|plan| {
        let Some(parts) = plan.downcast_ref::<CoalescePartitionsExec>() else {
            return Ok(Transformed::no(plan));
        };
        let rows: Arc<dyn ExecutionPlan> = Arc::new(AppendExec::new(Arc::clone(parts.input())));
        Ok(Transformed::yes(match plan.fetch() {
            None => rows,
            fetch => Arc::new(GlobalLimitExec::new(rows, 0, fetch)),
        }))
    });
    let plan = ordered?.data;
    match plan.output_partitioning().partition_count() {
        0 | 1 => Ok(plan),
        _ => Ok(Arc::new(AppendExec::new(plan))),
    }
}

/// The parts of its input, one after the other.
#[derive(Debug)]
struct AppendExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl AppendExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = Arc::clone(CoalescePartitionsExec::new(Arc::clone(&input)).properties());
        AppendExec { input, properties }
    }
}

impl DisplayAs for AppendExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AppendExec")
    }
}

impl ExecutionPlan for AppendExec {
    fn name(&self) -> &str {
        "AppendExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    super::over_one_input!(input, |_, input| AppendExec::new(input));

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = Arc::clone(&self.input);
        let parts = (0..input.output_partitioning().partition_count())
            .map(move |part| input.execute(part, Arc::clone(&context)));
        let rows = stream::iter(parts).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
