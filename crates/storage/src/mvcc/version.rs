//! One version of a key: what its value says.
//!
//! ```text
//!   kind u8 (0 delete, 1 put) | commit ts - txn id, varint | value
//! ```
//!
//! The transaction is kept so that settlement can tell whether a key that holds no lock any more
//! was committed by the transaction it asks about. As both numbers come from the oracle, moments
//! apart, the difference takes two to five bytes.

use base::{Timestamp, TxnId};

use super::encoding::{data_key, malformed_key};
use crate::{EngineError, Family, ValueRef, WriteBatch, varint};

const DELETE: u8 = 0;
const PUT: u8 = 1;

/// Adds a version to a key: a value, or its deletion. The caller vouches that the key has none at
/// this timestamp (V1).
pub fn put_version(
    batch: &mut WriteBatch,
    key: &[u8],
    ts: Timestamp,
    txn: TxnId,
    value: Option<&[u8]>,
) {
    let mut head = Vec::with_capacity(11);
    head.push(if value.is_some() { PUT } else { DELETE });
    varint::put_u64(&mut head, ts.0.wrapping_sub(txn.0));
    batch.put_parts(Family::Data, &data_key(key, ts), &head, value.unwrap_or_default());
}

/// What the stored value of a version says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VersionHead {
    /// Whether it is a deletion.
    pub(crate) deleted: bool,
    /// Who wrote it.
    pub(crate) txn: TxnId,
    /// Where the user's value starts.
    pub(crate) skip: usize,
}

/// Reads the head of a stored version.
pub(crate) fn head(
    key: &[u8],
    ts: Timestamp,
    value: &ValueRef<'_>,
) -> Result<VersionHead, EngineError> {
    let stored = value.as_slice();
    let wrong = |why: &str| malformed_key(Family::Data, key, why);
    let (&kind, mut rest) = stored.split_first().ok_or_else(|| wrong("empty version"))?;
    let deleted = match kind {
        DELETE => true,
        PUT => false,
        _ => return Err(wrong("unknown kind of version")),
    };
    let since = varint::take_u64(&mut rest).map_err(wrong)?;
    let skip = stored.len() - rest.len();
    Ok(VersionHead { deleted, txn: TxnId(ts.0.wrapping_sub(since)), skip })
}
