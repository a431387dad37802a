//! Why a key-value operation was refused: one variant per thing that the caller can *do*.
//!
//! SQLSTATEs are not here; they live where errors meet clients. Broken invariants panic instead.

use std::time::Duration;

use base::{Key, Timestamp, TxnId};
use proto::kv;
use proto::kv::Strength;

/// One wait of a deadlock: who waited for whom, at which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitEdge {
    /// Who waited.
    pub waiter: TxnId,
    /// When the waiter began.
    pub waiter_start: Timestamp,
    /// Who held the key.
    pub holder: TxnId,
    /// When the holder began.
    pub holder_start: Timestamp,
    /// The key.
    pub key: Key,
    /// What the waiter wished.
    pub wish: Strength,
    /// What was held, or wished by somebody older.
    pub held: Strength,
    /// How long the waiter had waited.
    pub waited: Duration,
}

/// Why a key-value operation was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// The transaction's snapshot can't be reconciled with what others committed. (40001)
    #[error("could not serialize access: {cause}")]
    Serialization {
        /// The key that changed, where one is known.
        key: Option<Key>,
        /// Who changed it, where that is known.
        by: Option<TxnId>,
        /// What happened to it.
        cause: SerializationCause,
    },
    /// What this statement read so far is out of date and a newer snapshot is already in place:
    /// undo the statement's writes ([`crate::Txn::rollback_to`]) and run it again.
    #[error("the statement must run again on a newer snapshot")]
    Restatement,
    /// The transaction was the youngest of a cycle of waits. (40P01)
    #[error("{victim} was the youngest in a deadlock of {} transactions", cycle.len())]
    Deadlock {
        /// The transaction that had to go: ours.
        victim: TxnId,
        /// The cycle, edge by edge.
        cycle: Vec<WaitEdge>,
    },
    /// Somebody else holds the row, with NOWAIT or after the lock timeout. (55P03)
    #[error("lock on {key} is held by {holder}")]
    LockNotAvailable {
        /// The key.
        key: Key,
        /// Who holds it.
        holder: TxnId,
        /// What was asked for.
        wish: Strength,
        /// What is held.
        held: Strength,
        /// How long the request has waited.
        waited: Duration,
        /// The lock timeout passed; false for NOWAIT.
        timed_out: bool,
    },
    /// A key inserted as new exists. (23505)
    #[error("key {key} exists")]
    DuplicateKey {
        /// The key.
        key: Key,
    },
    /// The answer to a commit was lost and the cluster can't be asked: it may have happened. (40003)
    #[error("outcome of the commit is unknown: {reason}")]
    Ambiguous {
        /// Why.
        reason: String,
    },
    /// No answer from a range for as long as we may wait. Nothing was done. (57P03)
    #[error("range of key {key} is not available: {reason}")]
    Unavailable {
        /// A key of the range.
        key: Key,
        /// The last refusal.
        reason: String,
    },
    /// The transaction's writes exceed the memory that it may use. (53200)
    #[error("transaction writes {used} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Bytes buffered.
        used: usize,
        /// The limit.
        limit: usize,
    },
    /// All transactions and statements of the node together use what they may. (53200)
    #[error("out of memory: all of {limit} bytes are in use")]
    OutOfMemory {
        /// What there is, in bytes.
        limit: usize,
    },
    /// The snapshot, or the transaction, is older than what garbage collection has kept. (72000)
    #[error("snapshot {read_ts} is older than what is kept, {safe_point}")]
    SnapshotTooOld {
        /// The snapshot.
        read_ts: Timestamp,
        /// The oldest one that can be read.
        safe_point: Timestamp,
    },
    /// The transaction's node was taken for dead, and who asked what had become of the transaction was
    /// told that it is rolled back; or it runs again so late that somebody may have been. (40000)
    #[error("transaction {xact} was declared aborted")]
    DeclaredAborted {
        /// Its id ([`crate::Txn::xact_id`]).
        xact: Timestamp,
    },
    /// A lock table is full, or a session has all the advisory locks it may have. (53200)
    #[error("no more locks can be taken: {what}")]
    LocksExhausted {
        /// What is full.
        what: &'static str,
    },
    /// The cluster sheds load. (53300)
    #[error("overloaded: {reason}")]
    Overloaded {
        /// Of what there is too much.
        reason: String,
    },
    /// Stored data is damaged; the replica has stopped. (XX001)
    #[error("stored data is corrupt: {file}: {detail}")]
    Corrupt {
        /// The file.
        file: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The transaction has ended, or a write was asked of a read-only one. (25000, 25006)
    #[error("transaction can't be used: {0}")]
    NotUsable(&'static str),
    /// A request that no correct client sends. (XX000)
    #[error("invalid request: {0}")]
    Invalid(String),
}

/// What stands between a snapshot and a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SerializationCause {
    /// A row to be written has a version newer than the snapshot.
    #[error("concurrent update, version {0}")]
    WriteConflict(Timestamp),
    /// What the transaction read was changed at this timestamp.
    #[error("read/write dependencies among transactions, version {0}")]
    ReadChanged(Timestamp),
    /// The transaction was silent too long, or another one had to pass.
    #[error("transaction was rolled back by another")]
    RolledBack,
}

/// What the caller may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Undo this statement's writes and run it again in the same transaction.
    RerunStatement,
    /// Roll back and begin again ([`crate::Txn::restart`]): nothing has happened.
    RestartTransaction,
    /// Tell the user; the transaction has failed and has changed nothing.
    Report,
    /// Tell the user that nobody knows whether the commit happened. Never run it again unasked.
    ReportUnknown,
}

impl KvError {
    /// What the caller may do next. No wildcard arm: a new variant must choose.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Restatement => Remedy::RerunStatement,
            Self::Serialization { .. } | Self::Deadlock { .. } => Remedy::RestartTransaction,
            // Running again after an unknown commit could apply it twice.
            Self::Ambiguous { .. } => Remedy::ReportUnknown,
            Self::LockNotAvailable { .. }
            | Self::DuplicateKey { .. }
            | Self::Unavailable { .. }
            | Self::TooLarge { .. }
            | Self::OutOfMemory { .. }
            | Self::SnapshotTooOld { .. }
            // Not under the same id, and the client knows that.
            | Self::DeclaredAborted { .. }
            | Self::LocksExhausted { .. }
            | Self::Overloaded { .. }
            | Self::Corrupt { .. }
            | Self::NotUsable(_)
            | Self::Invalid(_) => Remedy::Report,
        }
    }
}

impl From<kv::WaitEdge> for WaitEdge {
    fn from(edge: kv::WaitEdge) -> Self {
        WaitEdge {
            wish: edge.wish(),
            held: edge.held(),
            waited: Duration::from_millis(edge.waited_ms),
            waiter: TxnId(edge.waiter),
            waiter_start: Timestamp(edge.waiter_start_ts),
            holder: TxnId(edge.holder),
            holder_start: Timestamp(edge.holder_start_ts),
            key: Key(edge.key),
        }
    }
}
