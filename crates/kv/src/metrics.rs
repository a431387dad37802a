//! Counters of one node's client, for tests and for the metrics page.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds some.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What the client of ranges has done since its start.
        #[derive(Debug, Default)]
        pub struct Metrics { $($(#[$doc])* pub $name: Counter,)* }

        impl Metrics {
            /// Every counter with its name.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

metrics! {
    /// Requests sent to this node's own ranges.
    local_calls,
    /// Requests sent to other nodes.
    remote_calls,
    /// Reads of the past that the replica of this node answered without leading the range.
    follower_reads,
    /// Commands that went through a range's log.
    consensus_rounds,
    /// Consensus rounds that somebody waited for between COMMIT and its answer, one after another.
    commit_rounds,
    /// Requests sent again, for whatever reason.
    retries,
    /// Cached descriptors found to be out of date.
    stale_ranges,
    /// Cached leaders found to be out of date.
    stale_leaders,
    /// Visits to the oracle.
    oracle_calls,
    /// Timestamps drawn; over `oracle_calls`, the size of a batch.
    oracle_timestamps,
    /// Transactions begun (their first statement).
    txns_begun,
    /// Commits with nothing written.
    commits_read_only,
    /// Commits in one phase.
    commits_one_phase,
    /// Parallel commits.
    commits_parallel,
    /// Plain two-phase commits.
    commits_two_phase,
    /// Rollbacks, those by the user included.
    rollbacks,
    /// Snapshots moved forward without a retry.
    snapshot_moves,
    /// Refreshes of what was read.
    refreshes,
    /// Changes of the catalog that transactions went on beside.
    premises_kept,
    /// Statements told to run again.
    restatements,
    /// Serialization errors handed up.
    serialization_errors,
    /// Deadlocks broken here.
    deadlocks,
    /// Foreign locks settled.
    settlements,
    /// Commits whose answer was lost and that were looked up.
    commits_looked_up,
}
