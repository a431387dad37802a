//! The Raft logs of all groups of a node, as a trait.
//!
//! One append carries the entries and hard states of every group touched in a turn of the store
//! loop, and one sync makes them durable: the flush is shared, never per group.
//!
//! ```text
//!   truncated     first = truncated + 1          last
//!       |              |                           |
//!   ....x..............e....e....e....e....e....e..e
//!       position       entries: consecutive indexes
//! ```
//!
//! # Invariants
//!
//! - **G1** Entries of a range are consecutive, from `truncated.index + 1` to `last`.
//! - **G2** An append at or below `last` replaces the tail from there on.
//! - **G3** An append that returned with `sync` set is durable, and with it every append before.
//!   A crash keeps a prefix of the appends that is no shorter.
//! - **G4** What a batch says about one range takes effect in order, and a batch as a whole.
//!
//! Every log store passes [`crate::conformance`].

use base::RangeId;
use bytes::Bytes;

use crate::EngineError;

/// One Raft entry. The data is opaque here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its position.
    pub index: u64,
    /// The term of the leader that made it.
    pub term: u64,
    /// The encoded entry.
    pub data: Bytes,
}

/// The index and term of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LogPosition {
    /// The index.
    pub index: u64,
    /// The term.
    pub term: u64,
}

/// What a replica must never forget: its vote above all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HardState {
    /// The current term.
    pub term: u64,
    /// Whom this replica voted for in the term; zero for nobody.
    pub vote: u64,
    /// The commit index known here.
    pub commit: u64,
}

/// One range's log from above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogState {
    /// The newest hard state.
    pub hard: HardState,
    /// The entry just before the first one kept.
    pub truncated: LogPosition,
    /// The last entry, or `truncated` if there is none.
    pub last: LogPosition,
}

impl LogState {
    /// The index of the first entry kept, or that the next one will have.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.truncated.index + 1
    }

    /// Checks that entries may be appended, and says how many of the present ones stay.
    ///
    /// # Panics
    ///
    /// If they are not consecutive, leave a gap, or replace what was truncated (G1).
    pub fn check_append(&self, range: RangeId, entries: &[LogEntry]) -> usize {
        let first = entries.first().expect("an append has entries").index;
        let fits = (self.first_index()..=self.last.index + 1).contains(&first);
        assert!(fits, "G1: {range}: append at {first} to a log of {self:?}");
        for pair in entries.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            let follows = b.index == a.index + 1 && b.term >= a.term;
            assert!(follows, "G1: {range}: {} t{} after {} t{}", b.index, b.term, a.index, a.term);
        }
        usize::try_from(first - self.first_index()).expect("a log fits into memory")
    }

    /// Checks that the log may be compacted, and says how many entries go.
    ///
    /// # Panics
    ///
    /// If the position is not in the log.
    pub fn check_compact(&self, range: RangeId, upto: LogPosition) -> usize {
        let inside = (self.truncated.index..=self.last.index).contains(&upto.index);
        assert!(inside, "{range}: compaction to {upto:?} of a log of {self:?}");
        usize::try_from(upto.index - self.truncated.index).expect("a log fits into memory")
    }
}

/// One change of one range's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOp {
    /// Adds consecutive entries, replacing the tail from the first one's index on.
    Append(Vec<LogEntry>),
    /// Replaces the hard state.
    HardState(HardState),
    /// Drops the entries up to this one. It must be in the log.
    Compact(LogPosition),
    /// Drops all entries: a snapshot has put the replica here.
    Reset(LogPosition),
    /// Forgets the range.
    Remove,
}

/// Changes of many ranges, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogBatch {
    /// The changes.
    pub ops: Vec<(RangeId, LogOp)>,
}

impl LogBatch {
    /// Without any change.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds entries to a range's log.
    pub fn append(&mut self, range: RangeId, entries: Vec<LogEntry>) {
        if !entries.is_empty() {
            self.ops.push((range, LogOp::Append(entries)));
        }
    }

    /// Replaces a range's hard state.
    pub fn hard_state(&mut self, range: RangeId, state: HardState) {
        self.ops.push((range, LogOp::HardState(state)));
    }

    /// Drops a range's entries up to this one.
    pub fn compact(&mut self, range: RangeId, upto: LogPosition) {
        self.ops.push((range, LogOp::Compact(upto)));
    }

    /// Drops all of a range's entries after a snapshot at this position.
    pub fn reset(&mut self, range: RangeId, at: LogPosition) {
        self.ops.push((range, LogOp::Reset(at)));
    }

    /// Forgets a range.
    pub fn remove(&mut self, range: RangeId) {
        self.ops.push((range, LogOp::Remove));
    }

    /// Whether there is no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// The Raft logs of a node.
pub trait LogStore: Send + Sync + 'static {
    /// Applies a batch as a whole, and makes it durable if `sync` is set.
    ///
    /// # Panics
    ///
    /// If entries are not consecutive or would leave a gap (G1), or a compaction lies outside the
    /// log: the caller has lost track of its own log, and going on would lose entries.
    fn append(&self, batch: &LogBatch, sync: bool) -> Result<(), EngineError>;

    /// The entries from `low` up to but without `high`, as many as fit into `max_bytes` of data but
    /// at least one. The caller asks only for entries that exist; one below the first is
    /// `Ok(None)`.
    fn entries(
        &self,
        range: RangeId,
        low: u64,
        high: u64,
        max_bytes: u64,
    ) -> Result<Option<Vec<LogEntry>>, EngineError>;

    /// The term of an entry, or of the truncated position; nothing for any other index.
    fn term(&self, range: RangeId, index: u64) -> Result<Option<u64>, EngineError>;

    /// The state of a range's log, if the range is known.
    fn state(&self, range: RangeId) -> Result<Option<LogState>, EngineError>;

    /// All ranges known, ascending.
    fn ranges(&self) -> Result<Vec<RangeId>, EngineError>;

    /// Makes all that was appended durable.
    fn sync(&self) -> Result<(), EngineError>;
}
