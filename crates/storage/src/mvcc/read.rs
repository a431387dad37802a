//! What one key holds at a timestamp, what it holds at last, and whether it has changed between
//! two.
//!
//! A read of one key is one seek: versions lie newest first, so the entry at or after (key, ts) is
//! the answer if it belongs to the key. Locks are not looked at: see [`super::get_lock`].

use base::{Key, KeyRange, Timestamp, TxnId};
use bytes::Bytes;

use super::encoding::{TS_BYTES, data_key, encoded_span, split_data_key, user_key};
use super::scan::VersionIter;
use super::version::{self, VersionHead};
use crate::{EngineError, EngineRead, Family, IterOptions, ValueRef};

/// A value and when it was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The commit timestamp.
    pub ts: Timestamp,
    /// The value.
    pub value: Bytes,
}

/// The newest version of a key, which may be a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// The commit timestamp.
    pub ts: Timestamp,
    /// Who wrote it.
    pub txn: TxnId,
    /// The value; nothing if it is a deletion.
    pub value: Option<Bytes>,
}

/// The value of a key at a timestamp: that of the newest version at or below it, unless a deletion.
pub fn get_at(
    engine: &dyn EngineRead,
    key: &[u8],
    ts: Timestamp,
) -> Result<Option<Version>, EngineError> {
    let found = first_from(engine, key, ts, |ts, head, value| {
        (!head.deleted).then(|| Version { ts, value: value.to_bytes(head.skip) })
    })?;
    Ok(found.flatten())
}

/// The newest version of a key, if it has any.
pub fn newest_version(engine: &dyn EngineRead, key: &[u8]) -> Result<Option<Newest>, EngineError> {
    first_from(engine, key, Timestamp::MAX, |ts, head, value| {
        let value = (!head.deleted).then(|| value.to_bytes(head.skip));
        Newest { ts, txn: head.txn, value }
    })
}

/// The timestamp of the newest version of a key, deletions included, if it has any.
pub fn newest_ts(engine: &dyn EngineRead, key: &[u8]) -> Result<Option<Timestamp>, EngineError> {
    first_from(engine, key, Timestamp::MAX, |ts, _, _| ts)
}

/// The newest version of a key with a timestamp in `(from, to]`, if it has one: whether it changed.
pub fn changed_key(
    engine: &dyn EngineRead,
    key: &[u8],
    from: Timestamp,
    to: Timestamp,
) -> Result<Option<Timestamp>, EngineError> {
    let at = first_from(engine, key, to, |ts, _, _| ts)?;
    Ok(at.filter(|ts| *ts > from))
}

/// The newest deletion of a key with a timestamp in `(from, to]`, if there is one.
pub fn deleted_key(
    engine: &dyn EngineRead,
    key: &[u8],
    from: Timestamp,
    to: Timestamp,
) -> Result<Option<Timestamp>, EngineError> {
    let mut at = to;
    loop {
        match first_from(engine, key, at, |ts, head, _| (ts, head.deleted))? {
            Some((ts, deleted)) if ts > from => {
                if deleted {
                    return Ok(Some(ts));
                }
                at = ts.prev();
            }
            Some(_) | None => return Ok(None),
        }
    }
}

/// Who wrote the version of a key at a timestamp.
pub fn writer_of(
    engine: &dyn EngineRead,
    key: &[u8],
    at: Timestamp,
) -> Result<Option<TxnId>, EngineError> {
    let found = first_from(engine, key, at, |ts, head, _| (ts, head.txn))?;
    Ok(found.filter(|(ts, _)| *ts == at).map(|(_, txn)| txn))
}

/// Whether no key of a span has a version, not even a deletion.
pub fn is_empty(engine: &dyn EngineRead, span: &KeyRange) -> Result<bool, EngineError> {
    let iter = engine.iter(Family::Data, &encoded_span(span), IterOptions::default())?;
    Ok(!VersionIter::new(iter).first()?)
}

/// The first key of a span that has a version with a timestamp in `(from, to]`, and that timestamp.
pub fn changed_in_span(
    engine: &dyn EngineRead,
    span: &KeyRange,
    from: Timestamp,
    to: Timestamp,
) -> Result<Option<(Key, Timestamp)>, EngineError> {
    let iter = engine.iter(Family::Data, &encoded_span(span), IterOptions::default())?;
    let mut versions = VersionIter::new(iter);
    let mut found = versions.first()?;
    while found {
        let ts = versions.ts();
        if ts > to {
            found = versions.skip_above(to)?;
        } else if ts > from {
            return Ok(Some((user_key(Family::Data, versions.user())?, ts)));
        } else {
            found = versions.next_key()?;
        }
    }
    Ok(None)
}

/// The commit timestamp at which a transaction wrote a key, if it did so at or above `from`.
/// Settlement asks this of keys that hold no lock of the transaction any more.
pub fn version_by(
    engine: &dyn EngineRead,
    key: &[u8],
    txn: TxnId,
    from: Timestamp,
) -> Result<Option<Timestamp>, EngineError> {
    let mut at = Timestamp::MAX;
    loop {
        let found = first_from(engine, key, at, |ts, head, _| (ts, head.txn))?;
        match found {
            Some((ts, _)) if ts < from => return Ok(None),
            Some((ts, by)) if by == txn => return Ok(Some(ts)),
            Some((Timestamp::ZERO, _)) | None => return Ok(None),
            Some((ts, _)) => at = ts.prev(),
        }
    }
}

/// Hands the newest version at or below `ts` to `take`.
fn first_from<T>(
    engine: &dyn EngineRead,
    key: &[u8],
    ts: Timestamp,
    take: impl FnOnce(Timestamp, VersionHead, ValueRef<'_>) -> T,
) -> Result<Option<T>, EngineError> {
    let from = data_key(key, ts);
    let (mut take, mut result) = (Some(take), Ok(None));
    engine.first_with_prefix(Family::Data, &from, from.len() - TS_BYTES, &mut |key, value| {
        let take = take.take().expect("one visit");
        result = split_data_key(key).and_then(|(_, ts)| {
            let head = version::head(key, ts, &value)?;
            Ok(Some(take(ts, head, value)))
        });
    })?;
    result
}
