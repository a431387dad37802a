//! Limits and patience of the client of ranges.

use std::sync::Arc;
use std::time::Duration;

use crate::memory::MemoryBudget;

/// Limits and patience of the client of ranges.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a request may look for a range that can serve it.
    pub unavailable_after: Duration,
    /// First pause between attempts; each next one is twice as long, up to `backoff_max`.
    pub backoff_min: Duration,
    /// The longest pause between attempts.
    pub backoff_max: Duration,
    /// How long to wait for an answer that may come late (reads, settlement) before asking again.
    pub attempt_timeout: Duration,
    /// Bytes that one transaction may buffer.
    pub txn_memory: usize,
    /// Bytes that all transactions and statements of the node may use.
    pub memory: Arc<MemoryBudget>,
    /// Beyond this many keys a commit writes its record before it answers (plain two-phase).
    pub parallel_commit_keys: usize,
    /// Beyond this many bytes likewise.
    pub parallel_commit_bytes: usize,
    /// Read spans kept apart before neighbours are merged.
    pub max_read_spans: usize,
    /// How long replicated locks live without a heartbeat.
    pub lock_ttl: Duration,
    /// How often a coordinator that holds replicated locks says that it is alive.
    pub heartbeat_every: Duration,
    /// Bytes of writes in one prewrite request.
    pub request_bytes: usize,
    /// Conflicts that are kept for `conclave.contention_events`, per node.
    pub contention_events: usize,
    /// Advisory locks that one session may hold.
    pub advisory_locks: usize,
    /// Ids fetched at once for hidden row ids.
    pub id_block: u64,
    /// The rules of safety, for simulations that switch one off.
    pub rules: txn::Rules,
}

impl Config {
    /// From which size on a commit is a plain two-phase one.
    pub(crate) fn commit_limits(&self) -> txn::coordinator::Limits {
        txn::coordinator::Limits {
            parallel_keys: self.parallel_commit_keys,
            parallel_bytes: self.parallel_commit_bytes,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            unavailable_after: Duration::from_secs(10),
            backoff_min: Duration::from_millis(5),
            backoff_max: Duration::from_millis(250),
            attempt_timeout: Duration::from_secs(3),
            txn_memory: 256 << 20,
            memory: MemoryBudget::new(256 << 20),
            parallel_commit_keys: 256,
            parallel_commit_bytes: 1 << 20,
            max_read_spans: 1024,
            lock_ttl: Duration::from_secs(3),
            heartbeat_every: Duration::from_secs(1),
            request_bytes: 4 << 20,
            contention_events: 4096,
            advisory_locks: 10_000,
            id_block: 1000,
            rules: txn::Rules::ALL,
        }
    }
}
