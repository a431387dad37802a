//! What a transaction has written and not yet committed, with savepoints.
//!
//! Pure. The buffer is the only place where the writes of an open transaction are; reads of the same
//! transaction see it merged over the snapshot. A savepoint is a mark in an undo log.
//!
//! # Invariants
//!
//! - **W1** `bytes` is the sum over entries and undo log of key, value and a fixed overhead, which is what
//!   they were seen to take, the commit's copies included.
//! - **W2** `must_not_exist` says what holds of the key in the *store*: it is set by an insert that is
//!   the first write of the key, and stays when the key is written again.

use std::collections::BTreeMap;
use std::ops::Bound;

use base::{Key, KeyRange, Timestamp};
use bytes::Bytes;
use proto::kv;

/// Bookkeeping per entry, counted against the memory limit: its place in the tree, its two allocations, and
/// what the commit makes of it.
const ENTRY: usize = 400;
/// Bookkeeping per entry of the undo log, which shares keys and values.
const UNDO: usize = 112;

/// A mark to which a transaction's writes can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Savepoint {
    /// Length of the undo log.
    writes: usize,
    /// Lock requests made before it.
    pub(crate) locks: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// None: a deletion.
    pub(crate) value: Option<Bytes>,
    pub(crate) must_not_exist: bool,
}

#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    entries: BTreeMap<Key, Entry>,
    /// Empty until the first savepoint.
    undo: Vec<(Key, Option<Entry>)>,
    marked: bool,
    bytes: usize,
}

/// The key was written by this transaction already, and exists.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exists;

impl WriteBuffer {
    /// The writes as they are now, without marks to return to.
    pub(crate) fn copy(&self) -> WriteBuffer {
        WriteBuffer { entries: self.entries.clone(), ..WriteBuffer::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(crate) fn put(&mut self, key: Key, value: Option<Bytes>) {
        let must_not_exist = self.entries.get(&key).is_some_and(|e| e.must_not_exist);
        self.set(key, Some(Entry { value, must_not_exist }));
    }

    pub(crate) fn insert(&mut self, key: Key, value: Bytes) -> Result<(), Exists> {
        let must_not_exist = match self.entries.get(&key) {
            Some(Entry { value: Some(_), .. }) => return Err(Exists),
            Some(Entry { value: None, must_not_exist }) => *must_not_exist,
            None => true,
        };
        self.set(key, Some(Entry { value: Some(value), must_not_exist }));
        Ok(())
    }

    pub(crate) fn savepoint(&mut self, locks: u64) -> Savepoint {
        self.marked = true;
        Savepoint { writes: self.undo.len(), locks }
    }

    /// No mark will be returned to any more: what was kept for that goes.
    pub(crate) fn forget_savepoints(&mut self) {
        self.marked = false;
        for (key, old) in std::mem::take(&mut self.undo) {
            self.bytes -= undo_size(&key, old.as_ref());
        }
    }

    pub(crate) fn rollback_to(&mut self, savepoint: Savepoint) {
        while self.undo.len() > savepoint.writes {
            let (key, entry) = self.undo.pop().expect("the log is longer than the mark");
            self.bytes -= undo_size(&key, entry.as_ref());
            match entry {
                Some(entry) => {
                    self.bytes += size(&key, Some(&entry));
                    if let Some(new) = self.entries.insert(key.clone(), entry) {
                        self.bytes -= size(&key, Some(&new));
                    }
                }
                None => {
                    if let Some(new) = self.entries.remove(&key) {
                        self.bytes -= size(&key, Some(&new));
                    }
                }
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = WriteBuffer::default();
    }

    /// Entries inside `span`, in key order.
    pub(crate) fn range(
        &self,
        span: &KeyRange,
    ) -> impl DoubleEndedIterator<Item = (&Key, &Entry)> + '_ {
        let end = if span.end.0.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(span.end.clone())
        };
        // BTreeMap::range panics on a reversed range.
        let start =
            if span.is_empty() { Bound::Unbounded } else { Bound::Included(span.start.clone()) };
        let empty = span.is_empty();
        self.entries.range((start, end)).filter(move |_| !empty)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Entry)> + '_ {
        self.entries.iter()
    }

    fn set(&mut self, key: Key, entry: Option<Entry>) {
        self.bytes += size(&key, entry.as_ref());
        let old = match entry {
            Some(entry) => self.entries.insert(key.clone(), entry),
            None => self.entries.remove(&key),
        };
        if let Some(old) = &old {
            self.bytes -= size(&key, Some(old));
        }
        if self.marked {
            self.bytes += undo_size(&key, old.as_ref());
            self.undo.push((key, old));
        }
    }
}

impl Entry {
    /// The write that it becomes at commit; `seen` is the version that its lock was granted over.
    pub(crate) fn to_write(&self, key: &Key, seen: Option<Timestamp>) -> kv::Write {
        let (kind, value) = match &self.value {
            Some(value) => (kv::write::Kind::Put, value.clone()),
            None => (kv::write::Kind::Delete, Bytes::new()),
        };
        let (key, seen_ts) = (key.0.clone(), seen.map(|ts| ts.0));
        kv::Write { kind: kind as i32, key, value, seen_ts }
    }
}

fn size(key: &Key, entry: Option<&Entry>) -> usize {
    ENTRY + key.0.len() + entry.and_then(|e| e.value.as_ref()).map_or(0, Bytes::len)
}

fn undo_size(key: &Key, old: Option<&Entry>) -> usize {
    size(key, old) - ENTRY + UNDO
}
