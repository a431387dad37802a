//! Values of SERIAL columns.
//!
//! A node takes values from the cluster in blocks, by a transaction of its own, so that a sequence is
//! no point where all inserts meet. As in PostgreSQL with a cache: values are unique, rise on one
//! node, have gaps, and are not given back by a rollback.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use catalog::{Table, store};
use kv::{Db, KvError, Strength, TxnOptions, WaitPolicy};
use parking_lot::Mutex;
use pgtypes::{Datum, TypeId};

use crate::{SqlError, SqlState};

/// Values taken from the cluster at a time.
const BLOCK: i64 = 1_000;

/// The blocks of a node.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    blocks: Mutex<HashMap<u32, Range<i64>, ahash::RandomState>>,
}

impl Sequences {
    /// The next `count` values.
    pub(crate) async fn next(
        &self,
        db: &Db,
        sequence: u32,
        count: usize,
    ) -> Result<Vec<i64>, KvError> {
        let mut values = Vec::with_capacity(count);
        loop {
            {
                let mut blocks = self.blocks.lock();
                let block = blocks.entry(sequence).or_insert(0..0);
                values.extend(block.by_ref().take(count - values.len()));
            }
            if values.len() == count {
                return Ok(values);
            }
            let wanted = i64::try_from(count - values.len()).unwrap_or(BLOCK).max(BLOCK);
            let first = take(db, sequence, wanted).await?;
            let mut blocks = self.blocks.lock();
            let block = blocks.entry(sequence).or_insert(0..0);
            // Two statements may fetch at once; the values of the loser are a gap.
            if block.is_empty() {
                *block = first..first + wanted;
            }
        }
    }
}

async fn take(db: &Db, sequence: u32, count: i64) -> Result<i64, KvError> {
    let key = store::sequence_key(sequence);
    loop {
        let txn = db.begin(TxnOptions::default());
        txn.begin_statement().await?;
        let keys = std::slice::from_ref(&key);
        let locked = txn.lock(keys, Strength::Update, WaitPolicy::Block).await?;
        let first = match locked.first().and_then(|l| l.value.as_ref()) {
            None => 1,
            Some(bytes) => {
                let bytes: &[u8; 8] = bytes
                    .as_ref()
                    .try_into()
                    .map_err(|_| KvError::Invalid("a sequence of another length".to_owned()))?;
                i64::from_be_bytes(*bytes)
            }
        };
        txn.put(key.clone(), Bytes::copy_from_slice(&(first + count).to_be_bytes()))?;
        match txn.commit().await {
            Ok(_) => return Ok(first),
            Err(KvError::Serialization { .. } | KvError::Restatement) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The SERIAL columns of a table that an INSERT leaves open, with values fetched ahead.
#[derive(Debug, Default)]
pub(crate) struct Generated {
    columns: Vec<(usize, u32, VecDeque<i64>)>,
}

impl Generated {
    /// All SERIAL columns of a table.
    pub(crate) fn of(table: &Table) -> Self {
        let serial = |(position, c): (usize, &catalog::Column)| {
            c.sequence.map(|sequence| (position, sequence, VecDeque::new()))
        };
        Generated { columns: table.columns.iter().enumerate().filter_map(serial).collect() }
    }

    /// Makes sure that as many values are there as `needed` says of each column.
    pub(crate) async fn fetch(
        &mut self,
        sequences: &Sequences,
        db: &Db,
        needed: impl Fn(usize) -> usize,
    ) -> Result<(), SqlError> {
        for (position, sequence, values) in &mut self.columns {
            let count = needed(*position);
            if values.len() < count {
                let more = sequences.next(db, *sequence, count - values.len()).await?;
                values.extend(more);
            }
        }
        Ok(())
    }

    /// Gives the columns that `is_given` denies their next values.
    pub(crate) fn fill(
        &mut self,
        table: &Table,
        row: &mut [Datum],
        is_given: impl Fn(usize) -> bool,
    ) -> Result<(), SqlError> {
        for (position, _, values) in &mut self.columns {
            if is_given(*position) {
                continue;
            }
            let value =
                values.pop_front().ok_or_else(|| SqlError::internal("no value was fetched"))?;
            let column = &table.columns[*position];
            let too_large = || {
                SqlError::new(
                    SqlState("2200H"),
                    format!("sequence of column \"{}\" reached its maximum value", column.name),
                )
            };
            row[*position] = match column.ty.id {
                TypeId::Int2 => Datum::Int2(value.try_into().map_err(|_| too_large())?),
                TypeId::Int4 => Datum::Int4(value.try_into().map_err(|_| too_large())?),
                _ => Datum::Int8(value),
            };
        }
        Ok(())
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }
}
