//! What is remembered of decided transactions: records on the primary key, marks on the others.
//!
//! ```text
//!   record   0, committed at ts u64  |  1, rolled back
//!   mark     empty
//! ```

use base::{Timestamp, TxnId};

use super::encoding::{TxnKeyKind, malformed_key, txn_key};
use crate::{EngineError, EngineRead, Family, WriteBatch};

const COMMITTED: u8 = 0;
const ROLLED_BACK: u8 = 1;

/// The outcome of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnRecord {
    /// All of its writes are visible from this timestamp on.
    Committed(Timestamp),
    /// None of its writes will ever be.
    RolledBack,
}

/// The record of a transaction, if there is one (still).
pub fn get_record(
    engine: &dyn EngineRead,
    primary: &[u8],
    txn: TxnId,
) -> Result<Option<TxnRecord>, EngineError> {
    let key = txn_key(primary, TxnKeyKind::Record, txn);
    let Some(stored) = engine.get(Family::Txn, &key)? else { return Ok(None) };
    match stored.split_first() {
        Some((&COMMITTED, ts)) => {
            let ts = ts.try_into().map_err(|_| malformed_key(Family::Txn, &key, "no timestamp"))?;
            Ok(Some(TxnRecord::Committed(Timestamp(u64::from_be_bytes(ts)))))
        }
        Some((&ROLLED_BACK, [])) => Ok(Some(TxnRecord::RolledBack)),
        _ => Err(malformed_key(Family::Txn, &key, "unknown outcome of a transaction")),
    }
}

/// Writes the record of a transaction. The caller vouches that there is none of the other outcome (V3).
pub fn put_record(batch: &mut WriteBatch, primary: &[u8], txn: TxnId, record: TxnRecord) {
    let key = txn_key(primary, TxnKeyKind::Record, txn);
    match record {
        TxnRecord::Committed(ts) => {
            batch.put_parts(Family::Txn, &key, &[COMMITTED], &ts.0.to_be_bytes());
        }
        TxnRecord::RolledBack => batch.put(Family::Txn, &key, &[ROLLED_BACK]),
    }
}

/// Forgets a transaction, once none of its locks is left.
pub fn delete_record(batch: &mut WriteBatch, primary: &[u8], txn: TxnId) {
    batch.delete(Family::Txn, &txn_key(primary, TxnKeyKind::Record, txn));
}

/// Whether a transaction must not place a lock on the key any more.
pub fn has_rollback_mark(
    engine: &dyn EngineRead,
    key: &[u8],
    txn: TxnId,
) -> Result<bool, EngineError> {
    Ok(engine.get(Family::Txn, &txn_key(key, TxnKeyKind::RollbackMark, txn))?.is_some())
}

/// Keeps a transaction from placing a lock on the key.
pub fn put_rollback_mark(batch: &mut WriteBatch, key: &[u8], txn: TxnId) {
    batch.put(Family::Txn, &txn_key(key, TxnKeyKind::RollbackMark, txn), &[]);
}

/// Forgets a rollback mark.
pub fn delete_rollback_mark(batch: &mut WriteBatch, key: &[u8], txn: TxnId) {
    batch.delete(Family::Txn, &txn_key(key, TxnKeyKind::RollbackMark, txn));
}
