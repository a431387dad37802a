//! From stored rows, or entries of an index that hold all that is wanted, to a batch of those that pass.
//!
//! The same at the gateway and, for a fragment of a plan, at a range's leader (`crate::fragment`).

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use base::Key;
use bytes::Bytes;
use catalog::{EntryDecoder, RowDecoder, Table};
use datafusion::error::DataFusionError;
use pgtypes::{Datum, arrow_bridge::ColumnBuilder};

use super::condition::Condition;
use super::scan::{Source, decoded};
use crate::error::SqlError;

/// How the rows of one scan are decoded and checked.
#[derive(Clone)]
pub(crate) struct Decoding {
    table: Arc<Table>,
    output: Arc<[Source]>,
    conditions: Arc<[Condition]>,
    schema: SchemaRef,
    decoder: RowDecoder,
    /// What stands in a row of datums: columns wanted, then those that only conditions need.
    decoded: Vec<usize>,
    /// The index whose entries are decoded instead of rows.
    entries: Option<(usize, Arc<EntryDecoder>)>,
}

impl Decoding {
    /// `schema` has one field per entry of `output`.
    pub(crate) fn new(
        table: Arc<Table>,
        output: Arc<[Source]>,
        conditions: Arc<[Condition]>,
        schema: SchemaRef,
        entries: Option<(usize, Arc<EntryDecoder>)>,
    ) -> Decoding {
        let decoded = decoded(&output, &conditions);
        let decoder = table.codec().decoder(&decoded);
        Decoding { table, output, conditions, schema, decoder, decoded, entries }
    }

    /// The rows for which the conditions hold, no more than `most`; `kept` is told which these are.
    pub(crate) fn batch(
        &self,
        rows: &[(Key, Bytes)],
        most: Option<usize>,
        mut kept: Option<&mut Vec<usize>>,
    ) -> Result<RecordBatch, SqlError> {
        let mut columns: Vec<Building> = self
            .output
            .iter()
            .map(|source| match source {
                Source::Column(_, ty) => Building::Values(ColumnBuilder::new(*ty, rows.len())),
                Source::RowKey => Building::Keys(BinaryBuilder::new()),
            })
            .collect();
        let checks: Vec<(usize, &Condition)> = self
            .conditions
            .iter()
            .map(|condition| {
                let slot = self.decoded.iter().position(|at| *at == condition.column);
                (slot.expect("columns of conditions are decoded"), condition)
            })
            .collect();
        let mut row: Vec<Datum> = Vec::with_capacity(self.decoded.len());
        let mut count = 0;
        for (place, (key, value)) in rows.iter().enumerate() {
            if most == Some(count) {
                break;
            }
            row.clear();
            let row_key = match &self.entries {
                Some((at, decoder)) => {
                    let codec = self.table.codec();
                    let index = &codec.indexes()[*at];
                    Cow::Owned(decoder.decode(codec, index, (key, value), &mut row)?)
                }
                None => {
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
            if let Some(kept) = &mut kept {
                kept.push(place);
            }
            count += 1;
        }
        let arrays: Vec<ArrayRef> = columns
            .into_iter()
            .map(|column| match column {
                Building::Values(mut values) => values.finish(),
                Building::Keys(mut keys) => Arc::new(keys.finish()) as ArrayRef,
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options);
        Ok(batch.map_err(DataFusionError::from)?)
    }
}

enum Building {
    Values(ColumnBuilder),
    Keys(BinaryBuilder),
}
