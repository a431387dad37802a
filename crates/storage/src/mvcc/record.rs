//! What is remembered of decided transactions.
//!
//! A record lies on the transaction's primary key. On any other key, *rolled back* is the mark that
//! stops a late prewrite of that key: the same thing, told of one key.
//!
//! ```text
//!   0 | settled u8 | commit ts u64     committed
//!   1                                  rolled back
//! ```

use base::{Timestamp, TxnId};

use super::encoding::{malformed_key, txn_key};
use crate::{EngineError, EngineRead, Family, WriteBatch};

const COMMITTED: u8 = 0;
const ROLLED_BACK: u8 = 1;

/// The outcome of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnRecord {
    /// All of its writes are visible from this timestamp on.
    Committed {
        /// The commit timestamp.
        ts: Timestamp,
        /// No lock of it is left anywhere, so the record may be collected by age.
        settled: bool,
    },
    /// None of its writes will ever be.
    RolledBack,
}

/// The record of a transaction on a key, if there is one (still).
pub fn get_record(
    engine: &dyn EngineRead,
    key: &[u8],
    txn: TxnId,
) -> Result<Option<TxnRecord>, EngineError> {
    let key = txn_key(key, txn);
    let Some(stored) = engine.get(Family::Txn, &key)? else { return Ok(None) };
    decode(&key, &stored).map(Some)
}

/// Writes the record of a transaction. The caller vouches that there is none of the other outcome
/// (V3).
pub fn put_record(batch: &mut WriteBatch, key: &[u8], txn: TxnId, record: TxnRecord) {
    let key = txn_key(key, txn);
    match record {
        TxnRecord::Committed { ts, settled } => {
            let head = [COMMITTED, u8::from(settled)];
            batch.put_parts(Family::Txn, &key, &head, &ts.0.to_be_bytes());
        }
        TxnRecord::RolledBack => batch.put(Family::Txn, &key, &[ROLLED_BACK]),
    }
}

/// Forgets a transaction, once none of its locks is left.
pub fn delete_record(batch: &mut WriteBatch, key: &[u8], txn: TxnId) {
    batch.delete(Family::Txn, &txn_key(key, txn));
}

/// Reads a stored record.
pub(crate) fn decode(key: &[u8], stored: &[u8]) -> Result<TxnRecord, EngineError> {
    match stored {
        [COMMITTED, settled @ (0 | 1), ts @ ..] => {
            let ts = ts.try_into().map_err(|_| malformed_key(Family::Txn, key, "no timestamp"))?;
            let ts = Timestamp(u64::from_be_bytes(ts));
            Ok(TxnRecord::Committed { ts, settled: *settled == 1 })
        }
        [ROLLED_BACK] => Ok(TxnRecord::RolledBack),
        _ => Err(malformed_key(Family::Txn, key, "unknown outcome of a transaction")),
    }
}
