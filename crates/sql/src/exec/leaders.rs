//! The partial aggregate of a plan, made of rows here and of states that leaders have made of theirs.
//!
//! ```text
//!   AggregateExec (Final) ◀── LeadersExec ◀── AggregateExec (Partial) ◀── … ◀── TableScanExec
//!                                  ▲                                                 │
//!                                  └───────────────── States ◀───────────────────────┘
//! ```
//!
//! The scan sends the fragment that aggregates (`crate::fragment`). Pages that come back as rows go the
//! usual way; states, which have the columns of the partial aggregate's, are handed past it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::Poll;

use arrow::record_batch::RecordBatch;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::{StreamExt, stream};
use parking_lot::Mutex;

/// States that leaders have answered with, of one run of a plan.
#[derive(Debug, Default)]
pub(super) struct States(Mutex<VecDeque<RecordBatch>>);

impl States {
    pub(super) fn push(&self, batch: RecordBatch) {
        self.0.lock().push_back(batch);
    }

    fn pop(&self) -> Option<RecordBatch> {
        self.0.lock().pop_front()
    }
}

/// A partial aggregate, and the states of leaders.
pub(crate) struct LeadersExec {
    partial: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl LeadersExec {
    pub(crate) fn new(partial: Arc<dyn ExecutionPlan>) -> LeadersExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(partial.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        LeadersExec { partial, properties: Arc::new(properties) }
    }
}

impl fmt::Debug for LeadersExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeadersExec")
    }
}

impl DisplayAs for LeadersExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeadersExec")
    }
}

impl ExecutionPlan for LeadersExec {
    fn name(&self) -> &str {
        "LeadersExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    super::over_one_input!(partial, |_, partial| LeadersExec::new(partial));

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let states = Arc::<States>::default();
        let context = with_extension(&context, Arc::clone(&states));
        let mut partial = self.partial.execute(partition, context)?;
        let batches = stream::poll_fn(move |context| {
            if let Some(batch) = states.pop() {
                return Poll::Ready(Some(Ok(batch)));
            }
            match partial.poll_next_unpin(context) {
                Poll::Ready(Some(batch)) => Poll::Ready(Some(batch)),
                // The scan may have brought states while it was asked for rows.
                Poll::Ready(None) => Poll::Ready(states.pop().map(Ok)),
                Poll::Pending => match states.pop() {
                    Some(batch) => Poll::Ready(Some(Ok(batch))),
                    None => Poll::Pending,
                },
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.partial.schema(), batches)))
    }
}

/// The context of a part of a plan, with something for its operators to find.
pub(super) fn with_extension<T: Send + Sync + 'static>(
    context: &TaskContext,
    extension: Arc<T>,
) -> Arc<TaskContext> {
    Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        context.session_config().clone().with_extension(extension),
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        context.runtime_env(),
    ))
}
