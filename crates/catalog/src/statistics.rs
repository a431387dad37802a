//! What ANALYZE has found out about tables: good for estimates, and for nothing else.
//!
//! ```text
//!   08 | n             -> u64, another one after every change of one of these
//!   08 | n | table id  -> TableStatistics, JSON
//! ```
//!
//! They are no descriptors: a plan made without them is as right as one made with them, so the catalog's
//! version does not rise, and a node may know them a little late.

use base::{Key, KeyRange, Timestamp, keyspace};
use bytes::{BufMut, Bytes, BytesMut};
use kv::{KvError, ScanOptions, Txn};
use serde::{Deserialize, Serialize};

use crate::{ColumnId, TableId};

/// Kind of these keys among those of the catalog.
pub(crate) const STATISTICS: u8 = b'n';

/// Of one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableStatistics {
    /// How many rows there were.
    pub rows: u64,
    /// When, in microseconds since 2000-01-01 UTC, for people to read.
    pub analyzed_at: i64,
    /// Nobody had asked for it.
    pub automatic: bool,
    /// Of its columns, in the order of the table.
    pub columns: Vec<ColumnStatistics>,
}

/// Of one column, as far as a sample of the rows tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnStatistics {
    /// Which one.
    pub column: ColumnId,
    /// Share of NULLs.
    pub null_share: f32,
    /// Average bytes of the others.
    pub width: u32,
    /// How many values there are; if negative, how many for each row, as in PostgreSQL's `n_distinct`.
    pub distinct: f64,
    /// The most common values ([`crate::encode_single`]), the most common first, and the share of each.
    pub common: Vec<(Vec<u8>, f32)>,
    /// Values that cut what is neither NULL nor common into parts of equal size; the least and the greatest
    /// of them too.
    pub bounds: Vec<Vec<u8>>,
    /// How well the order of the values agrees with that of the rows: from -1 to 1.
    pub correlation: f32,
}

fn prefix() -> Key {
    Key(Bytes::from_static(&[keyspace::CATALOG, STATISTICS]))
}

fn key(table: TableId) -> Key {
    let mut key = BytesMut::from(prefix().as_bytes());
    key.put_u32(table);
    Key(key.freeze())
}

/// A value that another one takes the place of whenever statistics change.
pub async fn version(txn: &Txn) -> Result<Option<Bytes>, KvError> {
    txn.get(&prefix()).await
}

/// Writes those of a table. `stamp` was drawn from the oracle for it.
pub fn put(
    txn: &Txn,
    table: TableId,
    statistics: &TableStatistics,
    stamp: Timestamp,
) -> Result<(), KvError> {
    let json = serde_json::to_vec(statistics).expect("statistics are plain data");
    txn.put(key(table), json.into())?;
    changed(txn, stamp)
}

/// Removes those of a table that is gone.
pub fn forget(txn: &Txn, table: TableId, stamp: Timestamp) -> Result<(), KvError> {
    txn.delete(key(table))?;
    changed(txn, stamp)
}

fn changed(txn: &Txn, stamp: Timestamp) -> Result<(), KvError> {
    txn.put(prefix(), Bytes::copy_from_slice(&stamp.0.to_be_bytes()))
}

/// Those of all tables, as the transaction sees them; what can't be read is left out.
pub async fn list(txn: &Txn) -> Result<Vec<(TableId, TableStatistics)>, KvError> {
    let mut all = Vec::new();
    let mut left = Some(KeyRange::new(prefix().next(), prefix().prefix_end()));
    while let Some(span) = left {
        let options = ScanOptions { max_bytes: 1 << 20, ..ScanOptions::default() };
        let page = txn.scan(span, options).await?;
        for (key, value) in &page.rows {
            let id = key.as_bytes().get(2..).and_then(|id| <[u8; 4]>::try_from(id).ok());
            if let (Some(id), Ok(statistics)) = (id, serde_json::from_slice(value)) {
                all.push((u32::from_be_bytes(id), statistics));
            }
        }
        left = page.resume;
    }
    Ok(all)
}
