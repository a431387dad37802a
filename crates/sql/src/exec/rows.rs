//! The result of a query, batch by batch.

use std::collections::VecDeque;

use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use pgtypes::{Datum, PgType, arrow_bridge};

use crate::error::SqlError;

/// Rows to be read. Dropping it cancels what is still running.
pub struct Rows {
    types: Vec<PgType>,
    ready: VecDeque<Vec<Datum>>,
    stream: Option<SendableRecordBatchStream>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("types", &self.types).finish_non_exhaustive()
    }
}

impl Rows {
    pub(super) fn ready(types: Vec<PgType>, rows: Vec<Vec<Datum>>) -> Self {
        Rows { types, ready: rows.into(), stream: None }
    }

    pub(super) fn streaming(types: Vec<PgType>, stream: SendableRecordBatchStream) -> Self {
        Rows { types, ready: VecDeque::new(), stream: Some(stream) }
    }

    /// Types of the columns.
    pub fn types(&self) -> &[PgType] {
        &self.types
    }

    /// The next row.
    pub async fn next(&mut self) -> Result<Option<Vec<Datum>>, SqlError> {
        while self.ready.is_empty() {
            let Some(batch) = self.next_batch().await? else { return Ok(None) };
            let readers: Vec<_> = batch
                .columns()
                .iter()
                .zip(&self.types)
                .map(|(array, ty)| arrow_bridge::ColumnReader::new(array, *ty))
                .collect();
            for row in 0..batch.num_rows() {
                self.ready.push_back(readers.iter().map(|reader| reader.get(row)).collect());
            }
        }
        Ok(self.ready.pop_front())
    }

    async fn next_batch(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        match stream.next().await {
            Some(batch) => Ok(Some(batch?)),
            None => {
                self.stream = None;
                Ok(None)
            }
        }
    }

    /// All rows that are left.
    pub async fn collect(mut self) -> Result<Vec<Vec<Datum>>, SqlError> {
        let mut rows = Vec::new();
        while let Some(row) = self.next().await? {
            rows.push(row);
        }
        Ok(rows)
    }
}
