//! What nobody can read any more, as batches of deletions.
//!
//! At a safe point, the newest version at or below it answers every read allowed; the ones below
//! are garbage, and so is that version itself if it is a deletion.
//!
//! ```text
//!   safe point 20     a@25   a@18   a@11   a@3      b@19(deleted)  b@7
//!                     keep   keep   drop   drop     drop last      drop
//! ```
//!
//! Why a deletion goes last, and never before the versions it hides:
//!
//! 1. A page ends between b@19 and b@7, with b@19 dropped.
//! 2. The batch is applied; the next one is not yet.
//! 3. A read of b finds b@7: the deleted row is back.

use base::{Key, KeyRange, Timestamp};

use super::encoding::{KeyBuf, encoded_span, split_txn_key, user_key};
use super::record::{self, TxnRecord};
use super::scan::VersionIter;
use crate::{EngineError, EngineRead, Family, IterOptions, WriteBatch};

/// Deletions for one proposal, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GcPage {
    /// The deletions.
    pub batch: WriteBatch,
    /// The key to go on from once the batch is applied; nothing if the span is done.
    pub resume: Option<Key>,
    /// How many entries the batch deletes.
    pub dropped: u64,
}

/// Collects versions that no read at or above `safe_point` can need. A page ends when its batch
/// reaches `max_batch_bytes` or when `max_examined` versions were looked at (zero for no limit).
pub fn gc(
    engine: &dyn EngineRead,
    span: &KeyRange,
    safe_point: Timestamp,
    max_batch_bytes: usize,
    max_examined: usize,
) -> Result<GcPage, EngineError> {
    let mut page = GcPage::default();
    if span.is_empty() {
        return Ok(page);
    }
    let iter = engine.iter(Family::Data, &encoded_span(span), IterOptions { bulk: true })?;
    let mut versions = VersionIter::new(iter);
    let mut key = KeyBuf::new();
    // Whether the newest version at or below the safe point was seen, and the deletion if it is
    // one.
    let (mut seen, mut deletion) = (false, None::<KeyBuf>);
    let mut examined = 0;
    let mut found = versions.first()?;
    while found {
        if versions.user() != &key[..] {
            page.drop_deletion(&mut deletion);
            key = KeyBuf::from_slice(versions.user());
            seen = false;
            if max_examined > 0 && examined >= max_examined {
                page.resume = Some(user_key(Family::Data, &key)?);
                return Ok(page);
            }
        }
        if page.batch.byte_size() >= max_batch_bytes {
            page.resume = Some(user_key(Family::Data, &key)?);
            return Ok(page);
        }
        if versions.ts() <= safe_point {
            if seen {
                page.drop_entry(Family::Data, versions.engine_key());
            } else {
                seen = true;
                if versions.deleted()? {
                    deletion = Some(KeyBuf::from_slice(versions.engine_key()));
                }
            }
        }
        examined += 1;
        found = versions.next()?;
    }
    page.drop_deletion(&mut deletion);
    Ok(page)
}

/// Collects records of transactions with an id below `below`: rolled back, or committed and
/// settled. The caller vouches that the range refuses their prewrites. A page ends as in [`gc`].
pub fn collect_records(
    engine: &dyn EngineRead,
    span: &KeyRange,
    below: Timestamp,
    max_batch_bytes: usize,
    max_examined: usize,
) -> Result<GcPage, EngineError> {
    let mut page = GcPage::default();
    let mut examined = 0;
    if span.is_empty() {
        return Ok(page);
    }
    let mut iter = engine.iter(Family::Txn, &encoded_span(span), IterOptions { bulk: true })?;
    let mut found = iter.seek_to_first()?;
    let mut key = KeyBuf::new();
    while found {
        let (user, txn) = split_txn_key(iter.key())?;
        if user != &key[..] {
            key = KeyBuf::from_slice(user);
            // Between two keys only: going on begins with the key, so inside one it would go nowhere.
            if max_examined > 0 && examined >= max_examined {
                page.resume = Some(user_key(Family::Txn, user)?);
                return Ok(page);
            }
        }
        examined += 1;
        if txn.0 < below.0 && collectable(iter.key(), iter.value().as_slice())? {
            if page.batch.byte_size() >= max_batch_bytes {
                page.resume = Some(user_key(Family::Txn, user)?);
                return Ok(page);
            }
            page.drop_entry(Family::Txn, iter.key());
        }
        found = iter.next()?;
    }
    Ok(page)
}

fn collectable(key: &[u8], stored: &[u8]) -> Result<bool, EngineError> {
    Ok(match record::decode(key, stored)? {
        TxnRecord::Committed { settled, .. } => settled,
        TxnRecord::RolledBack => true,
    })
}

impl GcPage {
    fn drop_entry(&mut self, family: Family, key: &[u8]) {
        self.batch.delete(family, key);
        self.dropped += 1;
    }

    fn drop_deletion(&mut self, deletion: &mut Option<KeyBuf>) {
        if let Some(key) = deletion.take() {
            self.drop_entry(Family::Data, &key);
        }
    }
}
