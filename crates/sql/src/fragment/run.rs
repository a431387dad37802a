//! A fragment evaluated over pages of rows.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use base::Key;
use bytes::Bytes;
use catalog::RowCut;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::{ExecutionPlan, collect};
use futures::FutureExt;
use futures::future::BoxFuture;
use kv::{FragmentEvaluator, FragmentRun, Reduced, Unreduced};
use proto::kv::KeyValue;

use super::content::{Content, Grouping, Step};
use crate::error::SqlError;

/// Rows from which on it is looked whether aggregating them makes less of them.
const TRIED: u64 = 2_000;

/// Evaluates the fragments of plans ([`FragmentEvaluator`]).
#[derive(Debug, Clone, Copy)]
pub struct Fragments;

impl FragmentEvaluator for Fragments {
    fn begin(&self, content: &Bytes) -> Option<Box<dyn FragmentRun>> {
        let content = Content::read(content).ok()?;
        let cut = (!content.entries).then(|| RowCut::to(&content.table));
        Some(Box::new(Run {
            content,
            cut,
            rows: Vec::new(),
            states: Vec::new(),
            read: 0,
            bytes: 0,
        }))
    }
}

struct Run {
    content: Content,
    /// What is left of the columns of a row.
    cut: Option<RowCut>,
    rows: Vec<KeyValue>,
    states: Vec<RecordBatch>,
    /// Rows that were given.
    read: u64,
    /// Bytes of what is left of them.
    bytes: u64,
}

impl FragmentRun for Run {
    fn add(&mut self, rows: Vec<KeyValue>) -> BoxFuture<'_, Result<(), Unreduced>> {
        async move { self.take(rows).await.map_err(|_| Unreduced)?.ok_or(Unreduced) }.boxed()
    }

    fn left(&self) -> (u64, u64) {
        (self.rows.len() as u64, self.bytes)
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Reduced, Unreduced>> {
        async move {
            let Run { content, rows, states, .. } = *self;
            let states = match content.grouping {
                Some(grouping) => merged(&grouping, states).await.map_err(|_| Unreduced)?,
                None => None,
            };
            Ok(Reduced { rows, states: states.into_iter().collect() })
        }
        .boxed()
    }
}

impl Run {
    /// Takes a page in; nothing, if what becomes of the rows is not less than they are.
    async fn take(&mut self, rows: Vec<KeyValue>) -> Result<Option<()>, SqlError> {
        self.read += rows.len() as u64;
        let rows: Vec<(Key, Bytes)> =
            rows.into_iter().map(|row| (Key(row.key), row.value)).collect();
        let mut kept = Vec::new();
        let mut batch = self.content.decoding.batch(&rows, None, Some(&mut kept))?;
        for step in &self.content.steps {
            batch = match step {
                Step::Filter(predicate) => {
                    let passed = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
                    let passed = passed.as_boolean();
                    let mut place = 0;
                    kept.retain(|_| {
                        place += 1;
                        passed.is_valid(place - 1) && passed.value(place - 1)
                    });
                    filter_record_batch(&batch, passed).map_err(DataFusionError::from)?
                }
                Step::Project(exprs, schema) => {
                    let rows = batch.num_rows();
                    let column =
                        |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(&batch)?.into_array(rows);
                    let columns = exprs.iter().map(column).collect::<Result<_>>()?;
                    with_rows(schema, columns, rows)?
                }
            };
        }
        match &self.content.grouping {
            None => {
                for (key, value) in kept.into_iter().map(|place| &rows[place]) {
                    let value = match &self.cut {
                        Some(cut) => cut.apply(value)?,
                        None => value.clone(),
                    };
                    self.bytes += (key.0.len() + value.len()) as u64;
                    self.rows.push(KeyValue { key: key.0.clone(), value });
                }
            }
            Some(_) if batch.num_rows() == 0 => {}
            Some(grouping) => {
                let made = aggregated(grouping, AggregateMode::Partial, vec![batch]).await?;
                self.bytes += made.iter().map(|b| b.get_array_memory_size() as u64).sum::<u64>();
                self.states.extend(made);
                let groups: usize = self.states.iter().map(RecordBatch::num_rows).sum();
                if self.read >= TRIED && groups as u64 > self.read / 2 {
                    return Ok(None);
                }
            }
        }
        Ok(Some(()))
    }
}

fn with_rows(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// The states of all pages as one message.
async fn merged(
    grouping: &Grouping,
    mut states: Vec<RecordBatch>,
) -> Result<Option<Bytes>, SqlError> {
    if states.len() > 1 && !grouping.group.is_empty() {
        states = aggregated(grouping, AggregateMode::PartialReduce, states).await?;
    }
    let Some(first) = states.first() else { return Ok(None) };
    let written = || -> Result<Vec<u8>, ArrowError> {
        let mut writer = StreamWriter::try_new(Vec::new(), &first.schema())?;
        states.iter().try_for_each(|batch| writer.write(batch))?;
        writer.finish()?;
        writer.into_inner()
    };
    Ok(Some(written().map_err(DataFusionError::from)?.into()))
}

/// Runs DataFusion's own aggregate over batches: of rows (`Partial`), or of states (`PartialReduce`).
async fn aggregated(
    grouping: &Grouping,
    mode: AggregateMode,
    batches: Vec<RecordBatch>,
) -> Result<Vec<RecordBatch>> {
    static CONTEXT: OnceLock<Arc<TaskContext>> = OnceLock::new();
    let context = Arc::clone(CONTEXT.get_or_init(Arc::default));
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let schema = first.schema();
    let input = MemorySourceConfig::try_new_exec(&[batches], schema, None)?;
    let reduces = mode == AggregateMode::PartialReduce;
    let group = match reduces {
        true => grouping.group.as_final(),
        false => grouping.group.clone(),
    };
    let filters = match reduces {
        true => vec![None; grouping.calls.len()],
        false => grouping.filters.clone(),
    };
    let (calls, over) = (grouping.calls.clone(), Arc::clone(&grouping.input));
    let plan = AggregateExec::try_new(mode, group, calls, filters, input, over)?;
    collect(Arc::new(plan) as Arc<dyn ExecutionPlan>, context).await
}

/// The states in a message of a leader, as rows of the partial aggregate that they are states of.
pub(super) fn read_states(
    bytes: &Bytes,
    schema: &SchemaRef,
    out: &mut dyn FnMut(RecordBatch),
) -> Result<(), SqlError> {
    let arrow = DataFusionError::from;
    let reader = StreamReader::try_new(bytes.as_ref(), None).map_err(arrow)?;
    for batch in reader {
        let batch = batch.map_err(arrow)?;
        let rows = batch.num_rows();
        // Fields are called otherwise there; that their types are these is checked here.
        out(with_rows(schema, batch.columns().to_vec(), rows)?);
    }
    Ok(())
}
