//! From stored rows, or entries of an index that hold all that is wanted, to a batch of those that pass.
//!
//! The same at the gateway and, for a fragment of a plan, at a range's leader (`crate::fragment`).

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
    form: Form,
}

/// What rows are made of.
#[derive(Clone)]
enum Form {
    /// Stored rows. What conditions need is decoded; what passes goes from its stored form into the batch.
    Rows {
        /// Makes the columns that conditions are about, once each.
        checked: RowDecoder,
        /// Where each condition finds its column among these.
        slots: Vec<usize>,
        wanted: RowDecoder,
        /// Which output a wanted column is.
        places: Vec<usize>,
    },
    /// Entries of the index at this place: columns wanted, then those that only conditions need.
    Entries { at: usize, decoder: Arc<EntryDecoder>, slots: Vec<usize> },
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
        let slots = |columns: &[usize]| -> Vec<usize> {
            let slot = |condition: &Condition| {
                let slot = columns.iter().position(|at| *at == condition.column);
                slot.expect("columns of conditions are decoded")
            };
            conditions.iter().map(slot).collect()
        };
        let form = match entries {
            Some((at, decoder)) => {
                Form::Entries { at, decoder, slots: slots(&decoded(&output, &conditions)) }
            }
            None => {
                let checked = decoded(&[], &conditions);
                let (places, wanted): (Vec<usize>, Vec<usize>) = output
                    .iter()
                    .enumerate()
                    .filter_map(|(place, source)| match source {
                        Source::Column(at, _) => Some((place, *at)),
                        Source::RowKey => None,
                    })
                    .unzip();
                Form::Rows {
                    slots: slots(&checked),
                    checked: table.codec().decoder(&checked),
                    wanted: table.codec().decoder(&wanted),
                    places,
                }
            }
        };
        Decoding { table, output, conditions, schema, form }
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
        let mut row: Vec<Datum> = Vec::new();
        let mut count = 0;
        for (place, (key, value)) in rows.iter().enumerate() {
            if most == Some(count) {
                break;
            }
            row.clear();
            if !self.row(key, value, &mut row, &mut columns)? {
                continue;
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

    /// Appends a row, if the conditions hold; `row` is room for some of its columns.
    fn row(
        &self,
        key: &Key,
        value: &Bytes,
        row: &mut Vec<Datum>,
        columns: &mut [Building],
    ) -> Result<bool, SqlError> {
        let holds = |row: &[Datum], slots: &[usize]| {
            let mut checks = self.conditions.iter().zip(slots);
            checks.all(|(condition, slot)| condition.holds(&row[*slot]))
        };
        match &self.form {
            Form::Rows { checked, slots, wanted, places } => {
                if !slots.is_empty() {
                    checked.decode(key, value, row)?;
                    if !holds(row, slots) {
                        return Ok(false);
                    }
                }
                wanted.each(key, value, |slot, stored| match &mut columns[places[slot]] {
                    Building::Values(values) => stored.push_to(values),
                    Building::Keys(_) => Ok(()),
                })?;
                append_key(key, columns);
            }
            Form::Entries { at, decoder, slots } => {
                let codec = self.table.codec();
                let row_key = decoder.decode(codec, &codec.indexes()[*at], (key, value), row)?;
                if !holds(row, slots) {
                    return Ok(false);
                }
                let values = columns.iter_mut().filter_map(|column| match column {
                    Building::Values(values) => Some(values),
                    Building::Keys(_) => None,
                });
                values.zip(&*row).for_each(|(values, datum)| values.push(datum));
                append_key(&row_key, columns);
            }
        }
        Ok(true)
    }
}

enum Building {
    Values(ColumnBuilder),
    Keys(BinaryBuilder),
}

/// Appends a row's key where it is wanted.
fn append_key(key: &Key, columns: &mut [Building]) {
    for column in columns {
        if let Building::Keys(keys) = column {
            keys.append_value(key.as_bytes());
        }
    }
}
