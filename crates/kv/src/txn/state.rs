//! The mutable part of a transaction. No I/O; every change is made under its mutex.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{Key, KeyRange, Timestamp, TxnId};
use futures::channel::oneshot;
use proto::kv::Strength;

use crate::buffer::WriteBuffer;
use crate::error::KvError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No statement yet, hence no timestamp.
    New,
    Active,
    /// Chosen as a deadlock's victim; its locks are released.
    Killed,
    /// The commit is under way.
    Committing,
    Committed,
    RolledBack,
}

/// A lock in a leader's memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) strength: Strength,
    /// The newest version when it was taken: if the lock is lost, nothing newer may be there.
    pub(crate) seen: Timestamp,
}

/// What the current statement has done.
#[derive(Debug, Default)]
pub(crate) struct Statement {
    /// Where its read spans begin in [`State::reads`].
    pub(crate) first_read: usize,
    /// It has read from the snapshot.
    pub(crate) has_read: bool,
    /// The client has seen some of its results.
    pub(crate) returned: bool,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) id: TxnId,
    /// The age: kept when the transaction is run again.
    pub(crate) start: Timestamp,
    pub(crate) read_ts: Timestamp,
    /// The next statement takes a new snapshot (after a restart).
    pub(crate) stale_snapshot: bool,
    pub(crate) buffer: WriteBuffer,
    pub(crate) locks: BTreeMap<Key, Held>,
    /// Keys of lock requests whose answer did not come (yet): they may be held too.
    pub(crate) requested: Vec<Key>,
    /// Spans read, at SERIALIZABLE.
    pub(crate) reads: Vec<KeyRange>,
    /// An earlier statement has read from the snapshot.
    pub(crate) read_before: bool,
    pub(crate) statement: Statement,
    pub(crate) lock_timeout: Option<Duration>,
    /// Lock requests under way: sent an error when the transaction is killed.
    pub(crate) waits: Vec<oneshot::Sender<KvError>>,
}

impl Default for State {
    fn default() -> Self {
        State {
            phase: Phase::New,
            id: TxnId(0),
            start: Timestamp::ZERO,
            read_ts: Timestamp::ZERO,
            stale_snapshot: false,
            buffer: WriteBuffer::default(),
            locks: BTreeMap::new(),
            requested: Vec::new(),
            reads: Vec::new(),
            read_before: false,
            statement: Statement::default(),
            lock_timeout: None,
            waits: Vec::new(),
        }
    }
}

impl State {
    pub(crate) fn usable(&self) -> Result<(), KvError> {
        match self.phase {
            Phase::New | Phase::Active => Ok(()),
            Phase::Killed => Err(KvError::NotUsable("it lost a deadlock")),
            Phase::Committing => Err(KvError::NotUsable("its commit is under way")),
            Phase::Committed => Err(KvError::NotUsable("it is committed")),
            Phase::RolledBack => Err(KvError::NotUsable("it is rolled back")),
        }
    }

    /// The first timestamp. A transaction that runs again keeps its age.
    pub(crate) fn begin(&mut self, ts: Timestamp) {
        assert_eq!(self.phase, Phase::New, "begun twice");
        self.phase = Phase::Active;
        self.id = ts.into();
        if self.start == Timestamp::ZERO {
            self.start = ts;
        }
        self.read_ts = ts;
    }

    pub(crate) fn begin_statement(&mut self) {
        self.read_before |= self.statement.has_read;
        self.statement =
            Statement { first_read: self.reads.len(), has_read: false, returned: false };
    }

    /// Remembers a span read from the snapshot.
    pub(crate) fn note_read(&mut self, span: Option<KeyRange>, limit: usize) {
        self.statement.has_read = true;
        let Some(span) = span else { return };
        if self.reads.last() == Some(&span) {
            return;
        }
        self.reads.push(span);
        if self.reads.len() > limit {
            self.coarsen(limit / 2);
        }
    }

    /// Merges neighbouring spans until few are left. Reading more than was read is safe.
    fn coarsen(&mut self, target: usize) {
        let mut reads = std::mem::take(&mut self.reads);
        reads.sort();
        let group = reads.len().div_ceil(target.max(1));
        for chunk in reads.chunks(group) {
            let ends_open = chunk.iter().any(|r| r.end.0.is_empty());
            let end = chunk.iter().map(|r| r.end.clone()).max().expect("chunks are not empty");
            let end = if ends_open { Key::MIN } else { end };
            self.reads.push(KeyRange { start: chunk[0].start.clone(), end });
        }
        // Which spans are the current statement's is no longer known: none are.
        self.statement.first_read = self.reads.len();
    }
}
