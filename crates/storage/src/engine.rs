//! The ordered store under one node's replicas, as a trait.
//!
//! # What an engine promises
//!
//! - **E1** A write batch is visible, and becomes durable, as a whole over all families.
//! - **E2** Durable is what a [`Engine::flush`] that returned covers; a crash keeps some prefix of
//!   the writes that is no shorter. An engine may make more durable at any time by itself.
//! - **E3** An iterator and a snapshot see the state at their creation, whatever is written later.
//! - **E4** Bytes come back as they were written, or as [`EngineError::Corrupt`]: never as other
//!   bytes.
//!
//! The engine knows no log. Who replays after a crash finds the applied index among the data it
//! describes (E1), and drops log entries only behind [`Engine::get_durable`] of it.
//!
//! Every engine passes [`crate::conformance`].

use std::sync::Arc;

use base::{Key, KeyRange};
use bytes::Bytes;

use crate::{EngineError, WriteBatch};

/// A column family: an ordered key space of its own, sharing write batches with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Versions of user keys.
    Data,
    /// Replicated locks.
    Lock,
    /// Transaction records and rollback marks.
    Txn,
    /// State of this node and its replicas: descriptors, applied indexes.
    Local,
}

impl Family {
    /// All families.
    pub const ALL: [Family; 4] = [Family::Data, Family::Lock, Family::Txn, Family::Local];
    /// Those whose keys are user keys, so that a range is one span of each.
    pub const KEYED: [Family; 3] = [Family::Data, Family::Lock, Family::Txn];

    /// The name, as in files and scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Family::Data => "data",
            Family::Lock => "lock",
            Family::Txn => "txn",
            Family::Local => "local",
        }
    }

    /// The position in [`Family::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The family at a position of [`Family::ALL`].
    #[must_use]
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }
}

/// How an iterator will be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IterOptions {
    /// A pass over much data that should not displace the working set from caches.
    pub bulk: bool,
}

/// Reads: of the newest state (an engine) or of a fixed one (a snapshot).
pub trait EngineRead: Send + Sync {
    /// The value of a key.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// An iterator over the keys of a family inside `span`, not yet on any entry. It sees the state
    /// at its creation (E3).
    fn iter(
        &self,
        family: Family,
        span: &KeyRange,
        options: IterOptions,
    ) -> Result<Box<dyn EngineIter + '_>, EngineError>;

    /// Visits the first entry at or after `from` that shares its first `prefix_len` bytes, and says
    /// whether there is one. This is the point read of versioned data: an engine answers it with
    /// one seek and may use a filter on the prefix. In [`Family::Data`] the prefix must be an
    /// encoded user key (all but the last 8 bytes of `from`).
    fn first_with_prefix(
        &self,
        family: Family,
        from: &[u8],
        prefix_len: usize,
        visit: &mut dyn FnMut(&[u8], ValueRef<'_>),
    ) -> Result<bool, EngineError> {
        let end = Key::from(Bytes::copy_from_slice(&from[..prefix_len])).prefix_end();
        let span = KeyRange { start: Bytes::copy_from_slice(from).into(), end };
        let mut iter = self.iter(family, &span, IterOptions::default())?;
        let found = iter.seek(from)?;
        if found {
            visit(iter.key(), iter.value());
        }
        Ok(found)
    }
}

/// A value where it lies in the engine. [`ValueRef::to_bytes`] shares it if the engine can.
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'a> {
    /// In a buffer of the engine: keeping it takes a copy.
    Pinned(&'a [u8]),
    /// Reference-counted: keeping it is free.
    Shared(&'a Bytes),
}

impl<'a> ValueRef<'a> {
    /// The bytes in place.
    #[must_use]
    pub fn as_slice(&self) -> &'a [u8] {
        match *self {
            ValueRef::Pinned(bytes) => bytes,
            ValueRef::Shared(bytes) => bytes,
        }
    }

    /// The value without its first `skip` bytes, to keep.
    #[must_use]
    pub fn to_bytes(&self, skip: usize) -> Bytes {
        match *self {
            ValueRef::Pinned(bytes) => Bytes::copy_from_slice(&bytes[skip..]),
            ValueRef::Shared(bytes) => bytes.slice(skip..),
        }
    }
}

/// A position in one family. Movements say whether they ended on an entry inside the span; if not,
/// only a seek may follow.
pub trait EngineIter: Send {
    /// Moves to the first entry at or after `key`.
    fn seek(&mut self, key: &[u8]) -> Result<bool, EngineError>;
    /// Moves to the last entry at or before `key`.
    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool, EngineError>;
    /// Moves to the first entry.
    fn seek_to_first(&mut self) -> Result<bool, EngineError>;
    /// Moves to the last entry.
    fn seek_to_last(&mut self) -> Result<bool, EngineError>;
    /// Moves one entry on.
    fn next(&mut self) -> Result<bool, EngineError>;
    /// Moves one entry back.
    fn prev(&mut self) -> Result<bool, EngineError>;
    /// The key of the entry. Only after a movement that returned true.
    fn key(&self) -> &[u8];
    /// The value of the entry. Only after a movement that returned true.
    fn value(&self) -> ValueRef<'_>;
}

/// The store of one node.
pub trait Engine: EngineRead + 'static {
    /// The state of now, for as long as the result lives. Long-lived snapshots hold back
    /// reclaiming.
    fn snapshot(&self) -> Arc<dyn EngineRead>;

    /// Applies a batch atomically. Visible at once, durable after a flush.
    fn write(&self, batch: &WriteBatch) -> Result<(), EngineError>;

    /// Makes all that was written before the call durable, all families together.
    fn flush(&self) -> Result<(), EngineError>;

    /// The value of a key as a crash right now would leave it, or an older durable one. A caller
    /// that finds an applied index here may drop the log up to it.
    fn get_durable(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Opens a writer for much sorted data, as of a snapshot.
    fn bulk_writer(&self) -> Result<Box<dyn BulkWriter>, EngineError>;

    /// About how many bytes the keys of a span take in a family.
    fn approximate_size(&self, family: Family, span: &KeyRange) -> Result<u64, EngineError>;

    /// Bytes of written but not yet flushed data, and what is being flushed. Cheap.
    fn unflushed_bytes(&self) -> u64;

    /// Figures for metrics. With many files they take a while to add up.
    fn stats(&self) -> EngineStats;
}

/// Takes sorted entries and adds them to the engine at the end, past its write buffers. Not atomic:
/// after a crash some of the data may be there. The caller marks the range as being installed (and
/// flushes) before, and clears what it finds of a range so marked.
pub trait BulkWriter: Send {
    /// Adds an entry. Keys of one family must come in ascending order and must not be in the
    /// engine.
    fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<(), EngineError>;
    /// Adds everything to the engine and makes it durable.
    fn finish(self: Box<Self>) -> Result<(), EngineError>;
}

/// Figures of an engine for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineStats {
    /// Bytes of cached blocks.
    pub block_cache_bytes: u64,
    /// Bytes of written but not yet flushed data, and what is being flushed.
    pub write_buffer_bytes: u64,
    /// Bytes of filters and indexes outside the block cache.
    pub table_reader_bytes: u64,
    /// Bytes of live data files.
    pub disk_bytes: u64,
    /// Bytes that compaction is behind.
    pub compaction_debt_bytes: u64,
    /// Flushes and compactions under way.
    pub background_jobs: u64,
}
