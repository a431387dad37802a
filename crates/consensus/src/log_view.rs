//! A group's log as raft-rs reads it: recent entries in memory, older ones in the log store.
//!
//! Entries enter the view when they are handed out to be persisted, so that raft-rs may read them
//! before they are durable. The view keeps all that is not yet applied, and of the applied ones as
//! many as fit into [`CACHE_BYTES`], so appending to followers that keep up never reads the store.
//!
//! raft-rs ends the process when its storage fails. So a failed read is kept in `failed` and
//! answered as "not now" or "compacted", which raft-rs survives; the group looks at `failed` after
//! each call.
//!
//! # Invariants
//!
//! - **V1** `cache` holds consecutive entries that end at `last`, or is empty and the store ends
//!   there.
//! - **V2** Every entry above `applied` is in the cache.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use base::RangeId;
use raft::eraftpb::{Entry, HardState, Message, Snapshot, SnapshotMetadata};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use storage::{EngineError, LogPosition, LogStore};

use crate::Members;
use crate::convert;

/// Applied entries are kept in memory up to this.
const CACHE_BYTES: usize = 256 << 10;

pub(crate) struct LogView {
    range: RangeId,
    store: Arc<dyn LogStore>,
    hard: HardState,
    pub(crate) members: Members,
    pub(crate) truncated: LogPosition,
    pub(crate) last: LogPosition,
    pub(crate) applied: LogPosition,
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    failed: RefCell<Option<EngineError>>,
}

impl LogView {
    /// Opens the log. Where the state machine is ahead of it (a snapshot was installed and the
    /// crash came before the log was reset), the caller has reset it.
    pub(crate) fn open(
        range: RangeId,
        store: Arc<dyn LogStore>,
        applied: LogPosition,
        members: Members,
    ) -> Result<Self, EngineError> {
        let state = store.state(range)?.unwrap_or_default();
        assert!(
            applied.index >= state.truncated.index && applied.index <= state.last.index,
            "{range}: applied {applied:?} is outside of the log {state:?}"
        );
        // What is applied was committed, whether or not the commit index reached the log store.
        let commit = state.hard.commit.max(applied.index).min(state.last.index);
        let hard = HardState { term: state.hard.term, vote: state.hard.vote, commit };
        let mut view = LogView {
            range,
            store,
            hard,
            members,
            truncated: state.truncated,
            last: state.last,
            applied,
            cache: VecDeque::new(),
            cache_bytes: 0,
            failed: RefCell::new(None),
        };
        if applied.index < state.last.index {
            let (low, high) = (applied.index + 1, state.last.index + 1);
            let entries = view.store.entries(range, low, high, u64::MAX)?;
            let missing = || EngineError::malformed("raft log", format!("{range} {low}..{high}"));
            for entry in entries.ok_or_else(missing)? {
                view.push(convert::from_log(entry)?);
            }
        }
        Ok(view)
    }

    fn push(&mut self, entry: Entry) {
        self.cache_bytes += weight(&entry);
        self.last = LogPosition { index: entry.index, term: entry.term };
        self.cache.push_back(entry);
    }

    /// Takes entries that are about to be persisted; they replace the tail from the first one on.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.applied.index, "{}: append below what is applied", self.range);
        while self.cache.back().is_some_and(|back| back.index >= first.index) {
            let gone = self.cache.pop_back().expect("there is a last entry");
            self.cache_bytes -= weight(&gone);
        }
        // V1: what is left must reach up to the new entries.
        if self.cache.back().is_some_and(|back| back.index + 1 != first.index) {
            self.cache.clear();
            self.cache_bytes = 0;
        }
        for entry in entries {
            self.push(entry.clone());
        }
    }

    /// Drops the whole log: a snapshot has put the state machine here.
    pub(crate) fn reset(&mut self, at: LogPosition) {
        self.cache.clear();
        self.cache_bytes = 0;
        (self.truncated, self.last, self.applied) = (at, at, at);
    }

    pub(crate) fn set_applied(&mut self, index: u64) {
        let term = self.term_here(index).unwrap_or(self.applied.term);
        self.applied = LogPosition { index, term };
        while self.cache_bytes > CACHE_BYTES
            && self.cache.front().is_some_and(|front| front.index <= index)
        {
            let gone = self.cache.pop_front().expect("there is a first entry");
            self.cache_bytes -= weight(&gone);
        }
    }

    /// Forgets the entries up to `upto`, and says which position that is; nothing if it is none.
    pub(crate) fn compact(&mut self, upto: u64) -> Option<LogPosition> {
        if upto <= self.truncated.index || upto > self.applied.index {
            return None;
        }
        let term = self.term(upto).ok()?;
        while self.cache.front().is_some_and(|front| front.index <= upto) {
            let gone = self.cache.pop_front().expect("there is a first entry");
            self.cache_bytes -= weight(&gone);
        }
        self.truncated = LogPosition { index: upto, term };
        Some(self.truncated)
    }

    /// Lets a message that announces a snapshot speak of what is applied now: the data that goes
    /// with it is taken when it leaves, which may be after more was applied.
    pub(crate) fn renew_snapshot(&self, message: &mut Message) {
        if let Some(metadata) = message.snapshot.as_mut().and_then(|s| s.metadata.as_mut()) {
            metadata.index = self.applied.index;
            metadata.term = self.applied.term;
            metadata.conf_state = Some(self.members.to_raft());
        }
    }

    pub(crate) fn take_failure(&self) -> Option<EngineError> {
        self.failed.borrow_mut().take()
    }

    fn fail(&self, error: EngineError) {
        self.failed.borrow_mut().get_or_insert(error);
    }

    /// The term of an entry, where no read of the store is needed.
    fn term_here(&self, index: u64) -> Option<u64> {
        if index == self.applied.index {
            return Some(self.applied.term);
        }
        if index == self.truncated.index {
            return Some(self.truncated.term);
        }
        if index == self.last.index {
            return Some(self.last.term);
        }
        let first = self.cache.front()?.index;
        let offset = usize::try_from(index.checked_sub(first)?).ok()?;
        self.cache.get(offset).map(|entry| entry.term)
    }

    fn read(&self, low: u64, high: u64, max: u64) -> Result<Vec<Entry>, raft::Error> {
        let unavailable = || raft::Error::Store(StorageError::LogTemporarilyUnavailable);
        let read = self.store.entries(self.range, low, high, max).and_then(|found| {
            let missing = || EngineError::malformed("raft log", format!("{low}..{high} missing"));
            found.ok_or_else(missing)?.into_iter().map(convert::from_log).collect()
        });
        read.map_err(|error| {
            self.fail(error);
            unavailable()
        })
    }
}

fn weight(entry: &Entry) -> usize {
    entry.data.len() + entry.context.len() + 64
}

impl Storage for LogView {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState { hard_state: self.hard.clone(), conf_state: self.members.to_raft() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.truncated.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        assert!(high <= self.last.index + 1, "{}: read past the end of the log", self.range);
        let max = max_size.into().unwrap_or(u64::MAX);
        let cached = self.cache.front().map_or(u64::MAX, |front| front.index);
        if low < cached {
            return self.read(low, high.min(cached), max);
        }
        let skip = usize::try_from(low - cached).expect("the cache fits into memory");
        let count = usize::try_from(high - low).expect("the cache fits into memory");
        let mut entries: Vec<Entry> = Vec::new();
        let mut size = 0;
        for entry in self.cache.iter().skip(skip).take(count) {
            size += weight(entry) as u64;
            if size > max && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.truncated.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if index > self.last.index {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        if let Some(term) = self.term_here(index) {
            return Ok(term);
        }
        let missing = || EngineError::malformed("raft log", format!("no term of entry {index}"));
        let read = self.store.term(self.range, index).and_then(|term| term.ok_or_else(missing));
        read.map_err(|error| {
            self.fail(error);
            raft::Error::Store(StorageError::Compacted)
        })
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.truncated.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last.index)
    }

    /// Only says where the snapshot will stand: its data is taken when the message leaves, as of
    /// what is applied then.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        if self.applied.index < request_index || self.applied.index == 0 {
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let metadata = SnapshotMetadata {
            conf_state: Some(self.members.to_raft()),
            index: self.applied.index,
            term: self.applied.term,
        };
        Ok(Snapshot { metadata: Some(metadata), ..Default::default() })
    }
}
