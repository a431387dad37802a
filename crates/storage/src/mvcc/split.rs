//! How big a span is, and where to cut it in two halves of about the same size.
//!
//! One pass over the data keeps a mark every few kilobytes and picks the one nearest to the middle
//! when the total is known; if marks become many, every second is dropped.

use base::{Key, KeyRange};

use super::encoding::{KeyBuf, encoded_span, user_key};
use super::scan::VersionIter;
use crate::{EngineError, EngineRead, Family, IterOptions};

const MARKS_MAX: usize = 1024;
const FIRST_INTERVAL_BYTES: u64 = 1024;

/// What a span holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpanStats {
    /// User keys, deleted ones that are not collected yet included.
    pub keys: u64,
    /// Versions of them.
    pub versions: u64,
    /// Bytes of keys and values, before compression.
    pub bytes: u64,
}

/// Counts what a span holds. A pass over all of its data.
pub fn span_stats(engine: &dyn EngineRead, span: &KeyRange) -> Result<SpanStats, EngineError> {
    walk(engine, span, |_, _| {})
}

/// The key that cuts a span in two halves of about the same size, each with at least one key of the
/// data; nothing if the span holds fewer than two keys. A pass over all of its data: not for a
/// thread that others wait on.
pub fn split_key(engine: &dyn EngineRead, span: &KeyRange) -> Result<Option<Key>, EngineError> {
    split_point(engine, span).map(|(_, key)| key)
}

/// [`span_stats`] and [`split_key`] in one pass.
pub fn split_point(
    engine: &dyn EngineRead,
    span: &KeyRange,
) -> Result<(SpanStats, Option<Key>), EngineError> {
    let mut marks: Vec<(u64, KeyBuf)> = Vec::new();
    let mut interval = FIRST_INTERVAL_BYTES;
    let mut next_mark = 0;
    let mut first = true;
    let stats = walk(engine, span, |bytes_before, key| {
        // A cut at the first key would leave the left half empty.
        if std::mem::take(&mut first) || bytes_before < next_mark {
            return;
        }
        marks.push((bytes_before, KeyBuf::from_slice(key)));
        if marks.len() == MARKS_MAX {
            let mut keep = false;
            marks.retain(|_| {
                keep = !keep;
                !keep
            });
            interval *= 2;
        }
        next_mark = bytes_before + interval;
    })?;
    let middle = stats.bytes / 2;
    let nearest = marks.into_iter().min_by_key(|(before, _)| before.abs_diff(middle));
    let key = nearest.map(|(_, key)| user_key(Family::Data, &key)).transpose()?;
    Ok((stats, key))
}

/// Calls `key` with every encoded user key and the bytes before it.
fn walk(
    engine: &dyn EngineRead,
    span: &KeyRange,
    mut key: impl FnMut(u64, &[u8]),
) -> Result<SpanStats, EngineError> {
    let mut stats = SpanStats::default();
    if span.is_empty() {
        return Ok(stats);
    }
    let iter = engine.iter(Family::Data, &encoded_span(span), IterOptions { bulk: true })?;
    let mut versions = VersionIter::new(iter);
    let mut current = KeyBuf::new();
    let mut found = versions.first()?;
    while found {
        if versions.user() != &current[..] {
            current.clear();
            current.extend_from_slice(versions.user());
            key(stats.bytes, &current);
            stats.keys += 1;
        }
        stats.versions += 1;
        stats.bytes += versions.bytes() as u64;
        found = versions.next()?;
    }
    Ok(stats)
}
