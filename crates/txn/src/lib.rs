//! Who may go next: the concurrency control of one range, and the protocols between transactions.
//!
//! ```text
//!   in a range's leader                      beside a gateway's transactions
//!   lock_table   who holds which key          coordinator   commit, as steps
//!   read_cache   what was read, and when      read_set      what a transaction has read
//!   latches      commands in flight           settle        what becomes of another's lock
//!                                             deadlock      probes along waits
//! ```
//!
//! Everything here is a plain data structure or a state machine: inputs in, effects out. The protocol
//! and why it is safe: `docs/transactions.md`.
//!
//! *Invariant:* no clock, no task, no disk, no network and no random number; nothing here knows that
//! Raft, messages or RocksDB exist.

pub mod coordinator;
pub mod deadlock;
pub mod latches;
pub mod lock_table;
pub mod read_cache;
pub mod read_set;
mod rules;
pub mod settle;

pub use rules::Rules;

use base::{NodeId, Timestamp, TxnId};

/// A transaction as others need to know it: who it is, how old, and whom to ask about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The transaction.
    pub txn: TxnId,
    /// Its age: smaller is older. Kept across restarts.
    pub start: Timestamp,
    /// The node that coordinates it.
    pub coordinator: NodeId,
    /// The incarnation of that node's process.
    pub incarnation: u64,
}

impl Owner {
    /// The place in every queue. Start timestamps are unique but for restarts, hence the id.
    #[must_use]
    pub fn rank(&self) -> Rank {
        Rank { start: self.start, txn: self.txn }
    }

    /// Whether it runs in a process of `node` that is known to have ended: `incarnation` or an older one.
    #[must_use]
    pub fn ran_on(&self, node: NodeId, incarnation: u64) -> bool {
        self.coordinator == node && self.incarnation <= incarnation
    }
}

/// Order by age: the smallest is the oldest and goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// The start timestamp.
    pub start: Timestamp,
    /// The transaction, to break ties.
    pub txn: TxnId,
}
