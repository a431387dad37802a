//! Whose temporary tables there are: their descriptors are in their session's memory only.
//!
//! ```text
//!   08 | z | table id  -> node u64, incarnation u64: the process that the session is of
//! ```
//!
//! When a session ends it says that the rows may go; when a process ends without saying so, any node that
//! finds that out does ([`list`]).

use base::{Key, KeyRange, NodeId, keyspace};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kv::{KvError, ScanOptions, Txn};

use crate::{TableId, garbage};

/// Kind of these keys among those of the catalog.
pub(crate) const TEMPORARY: u8 = b'z';

/// Tables looked at by one sweep; the rest is left to the next.
const TABLES_MAX: u64 = 10_000;

/// A process: its node, and a number that its next process has not.
pub type Process = (NodeId, u64);

fn prefix() -> Key {
    Key(Bytes::from_static(&[keyspace::CATALOG, TEMPORARY]))
}

fn key(table: TableId) -> Key {
    let mut key = BytesMut::from(prefix().as_bytes());
    key.put_u32(table);
    Key(key.freeze())
}

/// All keys of a table's indexes.
fn rows(table: TableId) -> KeyRange {
    let mut key = BytesMut::with_capacity(5);
    key.put_u8(keyspace::TABLES);
    key.put_u32(table);
    Key(key.freeze()).prefix_range()
}

/// Notes, with the transaction's commit, that a table is a process'.
pub fn note(txn: &Txn, table: TableId, process: Process) -> Result<(), KvError> {
    let mut value = BytesMut::with_capacity(16);
    value.put_u64(process.0.0);
    value.put_u64(process.1);
    txn.put(key(table), value.freeze())
}

/// The table is dropped, and its rows are seen to.
pub fn forget(txn: &Txn, table: TableId) -> Result<(), KvError> {
    txn.delete(key(table))
}

/// The table is nobody's any more: its rows go.
pub fn drop_rows(txn: &Txn, table: TableId) -> Result<(), KvError> {
    garbage::note(txn, &rows(table))?;
    forget(txn, table)
}

/// The tables noted, as the transaction sees them.
pub async fn list(txn: &Txn) -> Result<Vec<(TableId, Process)>, KvError> {
    let options = ScanOptions { max_rows: TABLES_MAX, ..ScanOptions::default() };
    let page = txn.scan(prefix().prefix_range(), options).await?;
    let read = |(key, value): &(Key, Bytes)| {
        let mut id = key.as_bytes().get(2..6)?;
        let mut value = value.get(..16)?;
        Some((id.get_u32(), (NodeId(value.get_u64()), value.get_u64())))
    };
    Ok(page.rows.iter().filter_map(read).collect())
}
