//! Closed timestamps: up to where a range's past is settled for every replica that has its log.
//!
//! A leader promises: *no entry of the log behind index `I` will place a write at or below `T`* (a
//! version, or a lock that could become one there). A replica that has applied the log up to `I` can
//! then answer a snapshot read at or below `T` by itself, whoever leads, and needs no lease for it:
//! the promise is about the past and never expires.
//!
//! ```text
//!   leader                                               follower
//!   Evaluator::close(T) ── in each log entry ──────────▶ Promises ──▶ eval::read_closed
//!          │                                                ▲
//!          └── once a second, for all ranges that it        │ looked up by who reads
//!              leads: Sender ── one message per node ──▶ Receiver
//! ```
//!
//! # Why the promise holds
//!
//! - **T1** `T` is at or below a timestamp that the oracle had issued when the promise was made.
//! - **T2** The leader makes it under its lease, and not while a split is on its way.
//! - **T3** What it evaluates from then on lands above `T`, just as above a read at `T`; what is in
//!   flight and would land at or below it keeps `T` down.
//! - **T4** The next leader, of the range or of a part that a split made of it, begins above a
//!   timestamp that it draws when its own lease has begun. By T1 and T2 that one is above `T`.
//!
//! Why a split stops it: its right part may be led by another node, above a timestamp drawn now,
//! while this leader has not applied the split yet. A promise made then would be about keys that
//! somebody else writes.
//!
//! A replicated lock that was placed before may still become a version at or below `T`: it is there
//! for everybody to see who has the log up to `I`. A reader that meets one turns to the leader, who
//! has it settled. Rows that are loaded without locks (`eval::load`) may be placed below `T`; whoever
//! makes them known commits above a timestamp drawn after the last of them was there.
//!
//! # Quiet ranges
//!
//! They write no entries, so their promises travel from node to node: one `T` for all ranges led by
//! the sender, with the index `I` of each range named only when it changes. A second without any
//! write costs one small message per pair of nodes, however many ranges there are.
//!
//! Scripts: `scripts/closed/`, `scripts/eval/`. Properties: `tests/closed.rs`, `tests/eval_model.rs`.

mod receiver;
mod sender;

use std::collections::VecDeque;

use base::Timestamp;

pub use receiver::{Promise, Receiver};
pub use sender::Sender;

/// Promises kept for a replica whose log is behind.
const WAITING_MAX: usize = 8;

/// What one replica knows of its range's closed timestamps.
#[derive(Debug, Default, Clone)]
pub struct Promises {
    closed: Timestamp,
    /// For when the log is applied so far; both numbers rise.
    waiting: VecDeque<(u64, Timestamp)>,
}

impl Promises {
    /// Nothing but what is known of the range that this one was a part of.
    #[must_use]
    pub fn inherited(closed: Timestamp) -> Self {
        Promises { closed, waiting: VecDeque::new() }
    }

    /// The largest timestamp that is closed for the log as far as it is applied.
    #[must_use]
    pub fn closed(&self) -> Timestamp {
        self.closed
    }

    /// A leader has promised `ts` for the log up to `index`.
    pub fn promised(&mut self, index: u64, ts: Timestamp, applied: u64) {
        if index <= applied {
            self.closed = self.closed.max(ts);
        } else if self.waiting.back().is_none_or(|&(i, t)| index > i && ts > t) {
            // The first is kept until it is of use: one that lags for ever learns something all the
            // same.
            if self.waiting.len() == WAITING_MAX {
                self.waiting.remove(1);
            }
            self.waiting.push_back((index, ts));
        }
    }

    /// The log is applied up to `index`.
    pub fn applied(&mut self, index: u64) {
        while let Some(&(at, ts)) = self.waiting.front()
            && at <= index
        {
            self.closed = self.closed.max(ts);
            self.waiting.pop_front();
        }
    }
}
