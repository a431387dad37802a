//! Limits and patience of an evaluator.

use txn::Rules;

use super::Micros;

/// Limits and patience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Holders and waiters in the lock table.
    pub lock_claims_max: usize,
    /// Requests waiting for anything.
    pub parked_max: usize,
    /// Slots of the read cache, 32 bytes each; a quiet range has none.
    pub cache_points_max: usize,
    /// Spans of the read cache.
    pub cache_spans_max: usize,
    /// How often the read cache forgets what is two of these old.
    pub cache_rotate: Micros,
    /// Waiting so long for a lock is told to the coordinator.
    pub notice_after: Micros,
    /// ... and again so often.
    pub notice_every: Micros,
    /// Waiting so long for a replicated lock starts its settlement, unless the coordinator is gone.
    pub settle_after: Micros,
    /// ... and again so often.
    pub settle_every: Micros,
    /// How long a commit or refresh waits for a replicated lock in what it verifies, and NOWAIT for one
    /// that is about to be settled.
    pub brief_wait: Micros,
    /// A transaction that shows no sign of life for so long is rolled back by who meets its locks, if no
    /// lock says otherwise.
    pub lock_ttl: Micros,
    /// Bytes of deletions in one step of garbage collection.
    pub collect_bytes: usize,
    /// Versions looked at in one step of garbage collection.
    pub collect_examined: usize,
    /// The rules of safety, for simulations that switch one off.
    pub rules: Rules,
    /// How far closed timestamps stay behind what the oracle has issued, in milliseconds of its clock. A
    /// transaction that runs longer commits above what was closed meanwhile.
    pub close_lag_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            lock_claims_max: 1_000_000,
            parked_max: 10_000,
            cache_points_max: 1 << 15,
            cache_spans_max: 4096,
            cache_rotate: 5_000_000,
            notice_after: 20_000,
            notice_every: 100_000,
            settle_after: 50_000,
            settle_every: 500_000,
            brief_wait: 100_000,
            lock_ttl: 3_000_000,
            collect_bytes: 1 << 20,
            collect_examined: 100_000,
            rules: Rules::ALL,
            close_lag_ms: 3_000,
        }
    }
}
