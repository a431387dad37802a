//! The mutable part of a transaction. No I/O; every change is made under its mutex.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{Key, KeyRange, Timestamp, TxnId};
use futures::channel::oneshot;
use proto::kv::Strength;
use txn::read_set::ReadSet;

use super::claim::{Claim, HeldSpan};
use super::premise::Premise;
use crate::activity::Activity;
use crate::buffer::WriteBuffer;
use crate::error::KvError;
use crate::memory::Reservation;
use crate::snapshots::Hold;
use crate::xact::Xact;

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

impl Phase {
    /// For people to look at.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Phase::New => "new",
            Phase::Active => "active",
            Phase::Killed => "killed",
            Phase::Committing => "committing",
            Phase::Committed => "committed",
            Phase::RolledBack => "rolled back",
        }
    }
}

/// A lock in a leader's memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) strength: Strength,
    /// The newest version when it was taken: if the lock is lost, nothing newer may be there.
    pub(crate) seen: Timestamp,
    /// Which lock request took it: what is younger than a savepoint goes with it.
    pub(crate) taken: u64,
}

/// What the current statement has done.
#[derive(Debug, Default)]
pub(crate) struct Statement {
    /// What it has read, at SERIALIZABLE.
    pub(crate) reads: Option<ReadSet>,
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
    /// READ COMMITTED: the newest version locked; the next statement's snapshot shows it.
    pub(crate) floor: Timestamp,
    /// Keeps what it may read from being collected.
    pub(crate) hold: Option<Hold>,
    /// The next statement takes a new snapshot (after a restart).
    pub(crate) stale_snapshot: bool,
    pub(crate) buffer: WriteBuffer,
    /// For the buffer and the locks; none while they are small.
    pub(crate) memory: Option<Reservation>,
    pub(crate) locks: BTreeMap<Key, Held>,
    /// Spans that others are kept out of.
    pub(crate) spans: Vec<HeldSpan>,
    /// Lock requests made.
    pub(crate) lock_requests: u64,
    /// The commit was asked to give up.
    pub(crate) interrupted: bool,
    /// What is read must hold at the commit whatever the level, until the next statement.
    pub(crate) tracks: bool,
    /// What was read so, and when.
    pub(crate) tracked: Vec<(Timestamp, ReadSet)>,
    /// The key it goes by, if there is one.
    pub(crate) premise: Option<Premise>,
    /// Keys of lock requests whose answer did not come (yet): they may be held too.
    pub(crate) requested: Vec<Key>,
    /// What earlier statements have read, at SERIALIZABLE.
    pub(crate) reads: Option<ReadSet>,
    /// An earlier statement has read from the snapshot.
    pub(crate) read_before: bool,
    pub(crate) statement: Statement,
    pub(crate) lock_timeout: Option<Duration>,
    /// Whose it is, and the statement that last used it.
    pub(crate) activity: Option<(Arc<Activity>, Arc<str>)>,
    /// Lock requests under way: sent an error when the transaction is killed.
    pub(crate) waits: Vec<oneshot::Sender<KvError>>,
    /// The client may ask what has become of it. Kept when the transaction is run again.
    pub(crate) xact: Option<Arc<Xact>>,
    /// Why it was killed: told by whatever it tries next, if its wait had just ended otherwise.
    pub(crate) death: Option<KvError>,
}

impl Default for State {
    fn default() -> Self {
        State {
            phase: Phase::New,
            id: TxnId(0),
            start: Timestamp::ZERO,
            read_ts: Timestamp::ZERO,
            floor: Timestamp::ZERO,
            hold: None,
            stale_snapshot: false,
            buffer: WriteBuffer::default(),
            memory: None,
            locks: BTreeMap::new(),
            spans: Vec::new(),
            lock_requests: 0,
            interrupted: false,
            tracks: false,
            tracked: Vec::new(),
            premise: None,
            requested: Vec::new(),
            reads: None,
            read_before: false,
            statement: Statement::default(),
            lock_timeout: None,
            activity: None,
            waits: Vec::new(),
            xact: None,
            death: None,
        }
    }
}

impl State {
    pub(crate) fn usable(&self) -> Result<(), KvError> {
        match self.phase {
            Phase::New | Phase::Active => Ok(()),
            Phase::Killed => Err(self.death.clone().expect("who kills says why")),
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
        self.tracks = false;
        self.read_before |= self.statement.has_read;
        let statement = std::mem::take(&mut self.statement);
        match (&mut self.reads, statement.reads) {
            (Some(all), Some(new)) => new.iter().for_each(|span| all.add(span)),
            (all @ None, new) => *all = new,
            (Some(_), None) => {}
        }
    }

    /// What is locked, or may be because it was asked for.
    pub(crate) fn take_held(&mut self) -> Vec<Claim> {
        let keys = std::mem::take(&mut self.requested).into_iter();
        let keys = keys.chain(std::mem::take(&mut self.locks).into_keys());
        let spans = std::mem::take(&mut self.spans).into_iter();
        keys.map(Claim::Key).chain(spans.map(|held| Claim::Span(held.span))).collect()
    }

    /// Remembers what the current statement reads; spans beyond `limit` are merged.
    pub(crate) fn reads(&mut self, limit: usize) -> &mut ReadSet {
        self.statement.reads.get_or_insert_with(|| ReadSet::new(limit))
    }

    /// The same at the weaker levels, for those who say so ([`super::Txn::track_reads`]).
    pub(crate) fn tracked(&mut self, limit: usize) -> &mut ReadSet {
        if self.tracked.last().is_none_or(|(at, _)| *at != self.read_ts) {
            self.tracked.push((self.read_ts, ReadSet::new(limit)));
        }
        &mut self.tracked.last_mut().expect("just pushed").1
    }

    /// All that was read and must hold at the commit.
    pub(crate) fn all_reads(&self) -> Vec<KeyRange> {
        let sets = self.reads.iter().chain(&self.statement.reads);
        sets.flat_map(ReadSet::iter).collect()
    }
}
