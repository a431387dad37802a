//! WITH RECURSIVE: the rows of the first term, then those of the second over the rows made last.
//!
//! ```text
//!   base ──▶ rows ──┬──▶ result
//!            ▲      └──▶ work table ──▶ step ──┐
//!            └─────────────────────────────────┘   until step makes none
//! ```
//!
//! The step is planned once and run again. A round runs only when its rows are asked for, so that LIMIT
//! ends a recursion without end. Without ALL, rows made before are left out; what is remembered of them,
//! and the work tables, are accounted for, and refused with 53200 beyond the node's query memory.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use futures::future::BoxFuture;
use pgtypes::arrow_bridge;

use super::ExecContext;
use super::plan::{Planned, plan_rel};
use super::provider::field;
use super::work::{Work, renamed};
use crate::error::SqlError;
use crate::ir::{Recursive, Rel};

/// A recursive query as a table.
pub(crate) fn table(
    ctx: &ExecContext,
    recursive: &Recursive,
) -> Result<Arc<dyn TableProvider>, SqlError> {
    let schema = Arc::new(Schema::new(recursive.columns.iter().map(field).collect::<Vec<_>>()));
    let source = Source {
        ctx: ctx.clone(),
        recursive: Arc::new(recursive.clone()),
        schema: Arc::clone(&schema),
    };
    Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(source)])?))
}

#[derive(Debug)]
struct Source {
    ctx: ExecContext,
    recursive: Arc<Recursive>,
    schema: SchemaRef,
}

impl PartitionStream for Source {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, task: Arc<TaskContext>) -> SendableRecordBatchStream {
        let work = Arc::new(Work::default());
        let mut ctx = self.ctx.clone();
        ctx.works = ctx.works.with(self.recursive.id, Arc::clone(&work));
        let pool = task.memory_pool();
        let run = Run {
            recursive: Arc::clone(&self.recursive),
            schema: Arc::clone(&self.schema),
            ctx,
            task: Arc::clone(&task),
            work,
            round: Round::Base,
            rows: None,
            made: Vec::new(),
            made_bytes: MemoryConsumer::new("recursive query's rows").register(pool),
            work_bytes: MemoryConsumer::new("recursive query's work table").register(pool),
            seen: HashSet::new(),
            seen_bytes: MemoryConsumer::new("recursive query's duplicates").register(pool),
        };
        let batches = futures::stream::try_unfold(run, |mut run| async move {
            let batch = run.next().await.map_err(DataFusionError::from)?;
            Ok::<_, DataFusionError>(batch.map(|batch| (batch, run)))
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

/// Which term runs next.
enum Round {
    Base,
    FirstStep,
    Step(Arc<dyn ExecutionPlan>),
}

/// One execution.
struct Run {
    recursive: Arc<Recursive>,
    schema: SchemaRef,
    ctx: ExecContext,
    task: Arc<TaskContext>,
    /// What the step reads.
    work: Arc<Work>,
    round: Round,
    /// The term that runs.
    rows: Option<SendableRecordBatchStream>,
    /// Rows of this round, which the next one reads.
    made: Vec<RecordBatch>,
    made_bytes: MemoryReservation,
    work_bytes: MemoryReservation,
    seen: HashSet<Box<[u8]>>,
    seen_bytes: MemoryReservation,
}

impl Run {
    async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        loop {
            // A round may be over without waiting for anything.
            tokio::task::coop::consume_budget().await;
            let Some(rows) = &mut self.rows else {
                if !self.begin_round().await? {
                    return Ok(None);
                }
                continue;
            };
            let Some(batch) = rows.next().await else {
                self.rows = None;
                continue;
            };
            let batch = renamed(&batch?, &self.schema)?;
            let batch = if self.recursive.all { batch } else { self.without_seen(batch)? };
            if batch.num_rows() > 0 {
                self.made_bytes.try_grow(batch.get_array_memory_size())?;
                self.made.push(batch.clone());
                return Ok(Some(batch));
            }
        }
    }

    /// Starts the next term; false if there is none.
    async fn begin_round(&mut self) -> Result<bool, SqlError> {
        let plan = match &self.round {
            Round::Base => {
                self.round = Round::FirstStep;
                planned(&self.ctx, &self.recursive.base).await?.plan
            }
            Round::FirstStep | Round::Step(_) if self.made.is_empty() => return Ok(false),
            Round::FirstStep => {
                self.pass_on();
                let plan = planned(&self.ctx, &self.recursive.step).await?.plan;
                self.round = Round::Step(Arc::clone(&plan));
                plan
            }
            Round::Step(plan) => {
                let plan = reset_plan_states(Arc::clone(plan))?;
                self.pass_on();
                plan
            }
        };
        self.rows = Some(execute_stream(plan, Arc::clone(&self.task))?);
        Ok(true)
    }

    /// The rows of the round that ended become the work table.
    fn pass_on(&mut self) {
        self.work.put(std::mem::take(&mut self.made));
        std::mem::swap(&mut self.made_bytes, &mut self.work_bytes);
        self.made_bytes.free();
    }

    /// Leaves out rows that were there before.
    fn without_seen(&mut self, batch: RecordBatch) -> Result<RecordBatch, SqlError> {
        let columns = &self.recursive.columns;
        let readers: Vec<_> = batch
            .columns()
            .iter()
            .zip(columns)
            .map(|(array, column)| arrow_bridge::ColumnReader::new(array, column.ty))
            .collect();
        let mut kept = Vec::with_capacity(batch.num_rows());
        let mut grown = 0;
        for row in 0..batch.num_rows() {
            let mut key = Vec::new();
            for (reader, column) in readers.iter().zip(columns) {
                let datum = reader.get(row);
                let mut part = Vec::new();
                pgtypes::sortkey::sort_key(&datum, column.ty, &mut part);
                key.push(u8::from(datum.is_null()));
                key.extend_from_slice(&(part.len() as u64).to_be_bytes());
                key.extend_from_slice(&part);
            }
            let size = key.len() + size_of::<Box<[u8]>>();
            let new = self.seen.insert(key.into_boxed_slice());
            grown += if new { size } else { 0 };
            kept.push(new);
        }
        self.seen_bytes.try_grow(grown)?;
        let batch = filter_record_batch(&batch, &BooleanArray::from(kept));
        Ok(batch.map_err(DataFusionError::from)?)
    }
}

/// Boxed: a plan inside a plan.
fn planned<'a>(ctx: &'a ExecContext, rel: &'a Rel) -> BoxFuture<'a, Result<Planned, SqlError>> {
    Box::pin(plan_rel(ctx, rel))
}
