//! The rows of one scan, page by page.

use std::borrow::Cow;
use std::result::Result;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use base::{Key, KeyRange};
use bytes::Bytes;
use catalog::{IndexCodec, RowDecoder};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::ExecutionPlan;
use kv::ScanOptions;
use pgtypes::{Datum, arrow_bridge::ColumnBuilder};

use super::condition::Condition;
use super::scan::{Source, TableScanExec, decoded};
use crate::error::SqlError;

/// Most rows of one page.
const PAGE_ROWS: u64 = 4_096;
/// Most bytes of one page.
const PAGE_BYTES: u64 = 4 << 20;

/// The state of one scan.
pub(super) struct Reader {
    scan: TableScanExec,
    decoder: RowDecoder,
    /// Columns decoded: those wanted, then those only conditions need.
    decoded: Vec<usize>,
    /// Spans left, the next one last.
    spans: Vec<KeyRange>,
    left: Option<usize>,
}

impl Reader {
    pub(super) fn new(scan: TableScanExec) -> Self {
        let decoded = decoded(&scan.output, &scan.conditions);
        let mut spans = scan.access.spans.clone();
        if !scan.reverse {
            spans.reverse();
        }
        let codec = scan.table.codec();
        let decoder = codec.decoder(&decoded);
        let left = scan.fetch;
        Reader { scan, decoder, decoded, spans, left }
    }

    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        while self.left != Some(0) {
            let Some(span) = self.spans.pop() else { return Ok(None) };
            let rows = if self.scan.access.points && self.scan.access.index.is_none() {
                self.points(span).await?
            } else {
                self.page(span).await?
            };
            let batch = self.batch(rows)?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// Rows by whole primary keys: many spans in one visit.
    async fn points(&mut self, first: KeyRange) -> Result<Vec<(Key, Bytes)>, SqlError> {
        let mut keys = vec![first.start];
        while keys.len() < PAGE_ROWS as usize {
            match self.spans.pop() {
                Some(span) => keys.push(span.start),
                None => break,
            }
        }
        let values = self.scan.txn.get_several(&keys, self.scan.unchecked).await?;
        Ok(keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect())
    }

    /// The next page of a span; what is left of it goes back.
    async fn page(&mut self, span: KeyRange) -> Result<Vec<(Key, Bytes)>, SqlError> {
        // Conditions may drop rows, so a small limit still asks for some more.
        let wanted = match self.left {
            Some(left) if self.scan.conditions.is_empty() => (left as u64).clamp(1, PAGE_ROWS),
            Some(left) => (left as u64).saturating_mul(2).clamp(64, PAGE_ROWS),
            None => PAGE_ROWS,
        };
        let options = ScanOptions {
            reverse: self.scan.reverse,
            max_rows: wanted,
            max_bytes: PAGE_BYTES,
            unchecked: self.scan.unchecked,
            lock: self.scan.span_lock,
        };
        let page = self.scan.txn.scan(span, options).await?;
        if let Some(rest) = page.resume {
            self.spans.push(rest);
        }
        match self.scan.access.index {
            _ if self.scan.alone.is_some() => Ok(page.rows),
            None => Ok(page.rows),
            Some(at) => {
                let table = Arc::clone(&self.scan.table);
                let codec = &table.codec().indexes()[at];
                self.rows_of(codec, page.rows).await
            }
        }
    }

    /// The rows that index entries point to.
    async fn rows_of(
        &self,
        codec: &IndexCodec,
        entries: Vec<(Key, Bytes)>,
    ) -> Result<Vec<(Key, Bytes)>, SqlError> {
        let rows = self.scan.table.codec();
        let keys: Vec<Key> = entries
            .iter()
            .map(|(key, value)| rows.row_key(codec, key, value))
            .collect::<Result<_, _>>()?;
        let values = self.scan.txn.get_several(&keys, self.scan.unchecked).await?;
        keys.into_iter()
            .zip(values)
            .map(|(key, value)| match value {
                Some(value) => Ok((key, value)),
                None => Err(SqlError::new(
                    crate::SqlState::DATA_CORRUPTED,
                    format!("an entry of an index of \"{}\" has no row", self.scan.table.name),
                )),
            })
            .collect()
    }

    fn batch(&mut self, rows: Vec<(Key, Bytes)>) -> Result<RecordBatch, SqlError> {
        let mut columns: Vec<Building> = self
            .scan
            .output
            .iter()
            .map(|source| match source {
                Source::Column(_, ty) => Building::Values(ColumnBuilder::new(*ty, rows.len())),
                Source::RowKey => Building::Keys(BinaryBuilder::new()),
            })
            .collect();
        let checks: Vec<(usize, &Condition)> = self
            .scan
            .conditions
            .iter()
            .map(|condition| {
                let slot = self.decoded.iter().position(|at| *at == condition.column);
                (slot.expect("columns of conditions are decoded"), condition)
            })
            .collect();
        let mut row: Vec<Datum> = Vec::with_capacity(self.decoded.len());
        let mut count = 0;
        for (key, value) in &rows {
            if self.left == Some(count) {
                break;
            }
            row.clear();
            let row_key = match (&self.scan.alone, self.scan.access.index) {
                (Some(alone), Some(at)) => {
                    let codec = self.scan.table.codec();
                    let index = &codec.indexes()[at];
                    Cow::Owned(alone.decode(codec, index, (key, value), &mut row)?)
                }
                _ => {
                    self.decoder.decode(key, value, &mut row)?;
                    Cow::Borrowed(key)
                }
            };
            if !checks.iter().all(|(slot, condition)| condition.holds(&row[*slot])) {
                continue;
            }
            let mut slot = 0;
            for column in &mut columns {
                match column {
                    Building::Keys(keys) => keys.append_value(row_key.as_bytes()),
                    Building::Values(values) => {
                        values.push(&row[slot]);
                        slot += 1;
                    }
                }
            }
            count += 1;
        }
        if let Some(left) = &mut self.left {
            *left -= count;
        }
        let arrays: Vec<ArrayRef> = columns
            .into_iter()
            .map(|column| match column {
                Building::Values(mut values) => values.finish(),
                Building::Keys(mut keys) => Arc::new(keys.finish()) as ArrayRef,
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(self.scan.schema(), arrays, &options);
        Ok(batch.map_err(DataFusionError::from)?)
    }
}

enum Building {
    Values(ColumnBuilder),
    Keys(BinaryBuilder),
}
