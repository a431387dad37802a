//! Rows that one part of a statement makes and others read: by number, in memory.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::stream;
use parking_lot::Mutex;

use super::provider::field;
use crate::error::SqlError;
use crate::ir::{WorkId, WorkScan};

/// Where rows are put and found.
#[derive(Debug, Default)]
pub(crate) struct Work(Mutex<Arc<Vec<RecordBatch>>>);

impl Work {
    /// Puts rows in place of those that were there.
    pub(crate) fn put(&self, batches: Vec<RecordBatch>) {
        *self.0.lock() = Arc::new(batches);
    }

    fn rows(&self) -> Arc<Vec<RecordBatch>> {
        Arc::clone(&self.0.lock())
    }
}

/// What a statement's parts have made by now.
#[derive(Clone, Default)]
pub(crate) struct Works(Vec<(WorkId, Arc<Work>)>);

impl Works {
    /// These, and one more.
    pub(crate) fn with(&self, id: WorkId, work: Arc<Work>) -> Works {
        let mut works = self.0.clone();
        works.push((id, work));
        Works(works)
    }

    fn get(&self, id: WorkId) -> Result<Arc<Work>, SqlError> {
        let found = self.0.iter().rev().find(|(known, _)| *known == id);
        let missing = || SqlError::internal(format!("rows {} are read before they are made", id.0));
        found.map(|(_, work)| Arc::clone(work)).ok_or_else(missing)
    }
}

impl fmt::Debug for Works {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(id, _)| id)).finish()
    }
}

/// A mention of rows as a table: it shows what is there when it is read.
pub(crate) fn table(
    works: &Works,
    scan: &WorkScan,
) -> std::result::Result<Arc<dyn TableProvider>, SqlError> {
    let schema = Arc::new(Schema::new(scan.columns.iter().map(field).collect::<Vec<_>>()));
    let source = Source { work: works.get(scan.id)?, schema: Arc::clone(&schema) };
    Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(source)])?))
}

#[derive(Debug)]
struct Source {
    work: Arc<Work>,
    schema: SchemaRef,
}

impl PartitionStream for Source {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (rows, schema) = (self.work.rows(), Arc::clone(&self.schema));
        let batches = (0..rows.len()).map(move |at| renamed(&rows[at], &schema));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::iter(batches)))
    }
}

/// A batch under other names, by position.
pub(super) fn renamed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns()[..schema.fields().len()].to_vec();
    let options =
        arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(DataFusionError::from)
}
