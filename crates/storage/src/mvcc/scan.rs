//! The rows of a span at a timestamp, in either direction, and the locks that forbid to return
//! them.
//!
//! Walking on to the next entry is cheap and seeking is not, but a key may have any number of
//! versions that the scan does not want: so it steps a few times and then seeks.
//!
//! ```text
//!   read at 20        a@25  a@18  a@11  |  b@19(deleted)  b@7  |  c@40
//!                     skip  row   skip     gone           skip    skip
//! ```

use base::{Key, KeyRange, Timestamp, TxnId};
use bytes::Bytes;

use super::encoding::{
    KeyBuf, TS_BYTES, decode_user_key, encoded_span, malformed_key, split_data_key,
};
use super::lock::{Lock, locks_in_span};
use super::version;
use crate::{EngineError, EngineIter, EngineRead, Family, IterOptions};

/// Steps over unwanted versions before seeking past them.
const STEPS_BEFORE_SEEK: usize = 6;
/// Locks reported by one scan. The caller settles them and scans again.
const LOCKS_MAX: usize = 256;

/// How much of a span to read, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanOptions {
    /// From the end of the span to its start.
    pub reverse: bool,
    /// Stop after so many rows; zero for no limit.
    pub max_rows: usize,
    /// Stop after the row that reaches so many bytes of keys and values; zero for no limit.
    pub max_bytes: usize,
    /// Whose scan it is: its own locks do not count.
    pub txn: Option<TxnId>,
    /// The caller knows that the span holds no replicated lock.
    pub skip_locks: bool,
}

/// A key, its value, and when that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The user key.
    pub key: Key,
    /// The value.
    pub value: Bytes,
    /// The commit timestamp.
    pub ts: Timestamp,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanPage {
    /// The rows, in the direction of the scan. Not to be used if there are locks.
    pub rows: Vec<Row>,
    /// The rest of the span, if a limit cut the scan short.
    pub resume: Option<KeyRange>,
    /// Replicated locks of others in what was read that could commit at or below the timestamp:
    /// they must be settled first.
    pub locks: Vec<(Key, Lock)>,
}

/// Reads a span at a timestamp.
pub fn scan_at(
    engine: &dyn EngineRead,
    span: &KeyRange,
    ts: Timestamp,
    options: ScanOptions,
) -> Result<ScanPage, EngineError> {
    if span.is_empty() {
        return Ok(ScanPage::default());
    }
    let iter = engine.iter(Family::Data, &encoded_span(span), IterOptions::default())?;
    let mut page = PageBuilder::new(options);
    let mut versions = VersionIter::new(iter);
    if options.reverse {
        scan_reverse(&mut versions, ts, &mut page)?;
    } else {
        scan_forward(&mut versions, ts, &mut page)?;
    }
    let (rows, full) = page.finish();
    let resume = if full { rows.last().and_then(|row| rest(span, row, options)) } else { None };
    let mut locks = Vec::new();
    if !options.skip_locks {
        let read = match &resume {
            None => span.clone(),
            Some(rest) if options.reverse => {
                KeyRange { start: rest.end.clone(), end: span.end.clone() }
            }
            Some(rest) => KeyRange { start: span.start.clone(), end: rest.start.clone() },
        };
        locks = locks_in_span(engine, &read, LOCKS_MAX, |lock| {
            Some(lock.txn) != options.txn && lock.blocks_read_at(ts)
        })?;
    }
    Ok(ScanPage { rows, resume, locks })
}

/// What of the span lies behind its last row read.
fn rest(span: &KeyRange, last: &Row, options: ScanOptions) -> Option<KeyRange> {
    let rest = if options.reverse {
        // An empty end would mean "to the end of the key space".
        if last.key <= span.start {
            return None;
        }
        KeyRange { start: span.start.clone(), end: last.key.clone() }
    } else {
        KeyRange { start: last.key.next(), end: span.end.clone() }
    };
    (!rest.is_empty()).then_some(rest)
}

fn scan_forward(
    versions: &mut VersionIter<'_>,
    at: Timestamp,
    page: &mut PageBuilder,
) -> Result<(), EngineError> {
    let mut found = versions.first()?;
    while found {
        if versions.ts() > at {
            found = versions.skip_above(at)?;
            continue;
        }
        versions.add_to(page)?;
        if page.full {
            return Ok(());
        }
        found = versions.next_key()?;
    }
    Ok(())
}

fn scan_reverse(
    versions: &mut VersionIter<'_>,
    at: Timestamp,
    page: &mut PageBuilder,
) -> Result<(), EngineError> {
    let mut found = versions.last()?;
    while found {
        if versions.newest_back_to(at)? {
            versions.add_to(page)?;
            if page.full {
                return Ok(());
            }
        }
        found = versions.prev_key()?;
    }
    Ok(())
}

/// Rows under construction: keys and values in one buffer, so that a page is one allocation and not
/// two for every row.
struct PageBuilder {
    options: ScanOptions,
    buffer: Vec<u8>,
    /// End of the key and end of the value in the buffer.
    rows: Vec<(usize, usize, Timestamp)>,
    full: bool,
}

impl PageBuilder {
    fn new(options: ScanOptions) -> Self {
        PageBuilder { options, buffer: Vec::new(), rows: Vec::new(), full: false }
    }

    fn add(&mut self, encoded: &[u8], ts: Timestamp, value: &[u8]) -> Result<(), EngineError> {
        decode_user_key(encoded, &mut self.buffer)
            .map_err(|why| malformed_key(Family::Data, encoded, why))?;
        let key_end = self.buffer.len();
        self.buffer.extend_from_slice(value);
        self.rows.push((key_end, self.buffer.len(), ts));
        let ScanOptions { max_rows, max_bytes, .. } = self.options;
        self.full = (max_rows > 0 && self.rows.len() >= max_rows)
            || (max_bytes > 0 && self.buffer.len() >= max_bytes);
        Ok(())
    }

    fn finish(self) -> (Vec<Row>, bool) {
        let buffer = Bytes::from(self.buffer);
        let mut start = 0;
        let rows = self.rows.into_iter().map(|(key_end, end, ts)| {
            let key = Key(buffer.slice(start..key_end));
            start = end;
            Row { key, value: buffer.slice(key_end..end), ts }
        });
        (rows.collect(), self.full)
    }
}

/// Walks the versions of many keys, key by key. Each movement says whether there is a version under
/// it.
pub(crate) struct VersionIter<'a> {
    iter: Box<dyn EngineIter + 'a>,
    ts: Timestamp,
    /// The engine key under the iterator. A copy, because asking the engine costs more, several
    /// times over for each row.
    key: KeyBuf,
    /// The encoded user key being left, kept while the iterator moves on.
    left: KeyBuf,
}

impl<'a> VersionIter<'a> {
    pub(crate) fn new(iter: Box<dyn EngineIter + 'a>) -> Self {
        VersionIter { iter, ts: Timestamp::ZERO, key: KeyBuf::new(), left: KeyBuf::new() }
    }

    /// The encoded user key.
    pub(crate) fn user(&self) -> &[u8] {
        &self.key[..self.key.len() - TS_BYTES]
    }

    /// The timestamp of the version.
    pub(crate) fn ts(&self) -> Timestamp {
        self.ts
    }

    /// Bytes of the entry.
    pub(crate) fn bytes(&self) -> usize {
        self.key.len() + self.iter.value().as_slice().len()
    }

    /// The whole engine key.
    pub(crate) fn engine_key(&self) -> &[u8] {
        &self.key
    }

    /// Whether the version is a deletion.
    pub(crate) fn deleted(&self) -> Result<bool, EngineError> {
        Ok(version::head(&self.key, self.ts, &self.iter.value())?.deleted)
    }

    fn add_to(&self, page: &mut PageBuilder) -> Result<(), EngineError> {
        let value = self.iter.value();
        let head = version::head(&self.key, self.ts, &value)?;
        if !head.deleted {
            page.add(self.user(), self.ts, &value.as_slice()[head.skip..])?;
        }
        Ok(())
    }

    fn landed(&mut self, found: bool) -> Result<bool, EngineError> {
        if found {
            self.key.clear();
            self.key.extend_from_slice(self.iter.key());
            self.ts = split_data_key(&self.key)?.1;
        }
        Ok(found)
    }

    fn leave(&mut self) {
        std::mem::swap(&mut self.key, &mut self.left);
        self.left.truncate(self.left.len() - TS_BYTES);
    }

    fn same_key(&self) -> bool {
        self.user() == &self.left[..]
    }

    /// Moves to the newest version of the first key.
    pub(crate) fn first(&mut self) -> Result<bool, EngineError> {
        let found = self.iter.seek_to_first()?;
        self.landed(found)
    }

    /// Moves to the oldest version of the last key.
    fn last(&mut self) -> Result<bool, EngineError> {
        let found = self.iter.seek_to_last()?;
        self.landed(found)
    }

    /// Moves one version on, to that of another key if need be.
    pub(crate) fn next(&mut self) -> Result<bool, EngineError> {
        let found = self.iter.next()?;
        self.landed(found)
    }

    /// Moves past the versions of this key above `at`: to one at or below, or to another key.
    pub(crate) fn skip_above(&mut self, at: Timestamp) -> Result<bool, EngineError> {
        self.leave();
        for _ in 0..STEPS_BEFORE_SEEK {
            if !self.next()? {
                return Ok(false);
            }
            if self.ts <= at || !self.same_key() {
                return Ok(true);
            }
        }
        let mut target = std::mem::take(&mut self.left);
        target.extend_from_slice(&(!at.0).to_be_bytes());
        let found = self.iter.seek(&target)?;
        self.left = target;
        self.landed(found)
    }

    /// Moves to the newest version of the next key.
    pub(crate) fn next_key(&mut self) -> Result<bool, EngineError> {
        self.leave();
        for _ in 0..STEPS_BEFORE_SEEK {
            if !self.next()? {
                return Ok(false);
            }
            if !self.same_key() {
                return Ok(true);
            }
        }
        // Behind the oldest version that could be: that of timestamp zero.
        let mut target = std::mem::take(&mut self.left);
        target.extend_from_slice(&[0xFF; TS_BYTES]);
        target.push(0);
        let found = self.iter.seek(&target)?;
        self.left = target;
        self.landed(found)
    }

    /// From the oldest version of a key: moves to its newest one at or below `at`, if there is any.
    fn newest_back_to(&mut self, at: Timestamp) -> Result<bool, EngineError> {
        if self.ts > at {
            return Ok(false);
        }
        self.leave();
        for _ in 0..STEPS_BEFORE_SEEK {
            let found = self.iter.prev()?;
            if !self.landed(found)? {
                break;
            }
            if !self.same_key() || self.ts > at {
                // One too far: the version wanted is the next one.
                return self.next();
            }
        }
        let mut target = std::mem::take(&mut self.left);
        target.extend_from_slice(&(!at.0).to_be_bytes());
        let found = self.iter.seek(&target)?;
        target.truncate(target.len() - TS_BYTES);
        self.left = target;
        self.landed(found)
    }

    /// Moves to the oldest version of the key before.
    fn prev_key(&mut self) -> Result<bool, EngineError> {
        self.leave();
        for _ in 0..STEPS_BEFORE_SEEK {
            let found = self.iter.prev()?;
            if !self.landed(found)? {
                return Ok(false);
            }
            if !self.same_key() {
                return Ok(true);
            }
        }
        // The encoded user key alone sorts before all of its versions.
        let target = std::mem::take(&mut self.left);
        let found = self.iter.seek_for_prev(&target)?;
        self.left = target;
        self.landed(found)
    }
}
