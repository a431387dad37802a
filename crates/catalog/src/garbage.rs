//! Key spans that nothing refers to any more, until their data is gone.
//!
//! Noted by the transaction that drops an index or table, in the catalog's key space, so that nothing is
//! forgotten if a process ends:
//!
//! ```text
//!   08 | x | first key of the span  -> the key after its last
//! ```

use base::{Key, KeyRange, keyspace};
use bytes::{BufMut, BytesMut};
use kv::{KvError, ScanOptions, Txn};

/// Kind of these keys among those of the catalog.
pub(crate) const GARBAGE: u8 = b'x';

/// Spans looked at by one sweep; the rest is left to the next.
const SPANS_MAX: u64 = 10_000;

fn prefix() -> Key {
    Key(bytes::Bytes::from_static(&[keyspace::CATALOG, GARBAGE]))
}

fn key(span: &KeyRange) -> Key {
    let mut key = BytesMut::new();
    key.put_slice(prefix().as_bytes());
    key.put_slice(span.start.as_bytes());
    Key(key.freeze())
}

/// Notes, with the transaction's commit, that nothing refers to a span any more.
pub fn note(txn: &Txn, span: &KeyRange) -> Result<(), KvError> {
    txn.put(key(span), span.end.0.clone())
}

/// The spans noted, as the transaction sees them.
pub async fn list(txn: &Txn) -> Result<Vec<KeyRange>, KvError> {
    let options = ScanOptions { max_rows: SPANS_MAX, ..ScanOptions::default() };
    let page = txn.scan(prefix().prefix_range(), options).await?;
    let start = |key: &Key| key.0.slice(prefix().0.len()..);
    Ok(page.rows.into_iter().map(|(key, end)| KeyRange::new(start(&key), end)).collect())
}

/// Takes the note of a span back: its data is gone.
pub fn forget(txn: &Txn, span: &KeyRange) -> Result<(), KvError> {
    txn.delete(key(span))
}
