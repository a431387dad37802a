//! The figures a node publishes, by name.
//!
//! Counters are raised where the thing happens; gauges are set when the page is rendered.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry, TextEncoder,
};

/// All figures of one node.
pub struct Metrics {
    registry: Registry,
    /// Requests to ranges served here.
    pub requests: IntCounter,
    /// Requests that came from other nodes.
    pub remote_requests: IntCounter,
    /// Entries this node's leaders proposed: consensus rounds.
    pub proposals: IntCounter,
    /// Synced appends to the Raft log.
    pub log_syncs: IntCounter,
    /// Log entries appended.
    pub log_entries: IntCounter,
    /// Seconds of one synced append.
    pub log_sync_seconds: Histogram,
    /// Log entries applied.
    pub applied_entries: IntCounter,
    /// Raft messages sent.
    pub raft_messages: IntCounter,
    /// Snapshots installed here.
    pub snapshots: IntCounter,
    /// Versions and records that garbage collection has dropped from ranges led here.
    pub garbage_dropped: IntCounter,
    /// How often ranges worth a pass of garbage collection were looked for.
    pub garbage_turns: IntCounter,
    /// Replicas on this node.
    pub replicas: IntGauge,
    /// Ranges led by this node under a lease.
    pub leaders: IntGauge,
    /// Bytes of the storage engine's block cache in use.
    pub cache_bytes: IntGauge,
    /// Bytes of unflushed writes.
    pub memtable_bytes: IntGauge,
    /// Resident memory of the process.
    pub resident_bytes: IntGauge,
    /// Open SQL sessions.
    pub sessions: IntGauge,
    /// Counters kept elsewhere, by name.
    others: Mutex<BTreeMap<String, IntGauge>>,
}

impl Metrics {
    /// A fresh set in a registry of its own: a process may hold several nodes.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::with_opts(Opts::new(name, help)).expect("a valid name");
            registry.register(Box::new(counter.clone())).expect("a name used once");
            counter
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::with_opts(Opts::new(name, help)).expect("a valid name");
            registry.register(Box::new(gauge.clone())).expect("a name used once");
            gauge
        };
        let histogram = |name: &str, help: &str| {
            let buckets = prometheus::exponential_buckets(10e-6, 2.0, 16).expect("valid buckets");
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))
                .expect("a valid name");
            registry.register(Box::new(histogram.clone())).expect("a name used once");
            histogram
        };
        Metrics {
            requests: counter("conclave_range_requests_total", "Requests to ranges served here"),
            remote_requests: counter(
                "conclave_range_requests_remote_total",
                "Requests to ranges that came from other nodes",
            ),
            proposals: counter("conclave_proposals_total", "Entries proposed by leaders here"),
            log_syncs: counter("conclave_log_syncs_total", "Synced appends to the Raft log"),
            log_entries: counter("conclave_log_entries_total", "Raft log entries appended"),
            log_sync_seconds: histogram(
                "conclave_log_sync_seconds",
                "Duration of one synced append to the Raft log",
            ),
            applied_entries: counter("conclave_applied_entries_total", "Raft entries applied"),
            raft_messages: counter("conclave_raft_messages_total", "Raft messages sent"),
            snapshots: counter("conclave_snapshots_total", "Snapshots installed here"),
            garbage_dropped: counter(
                "conclave_garbage_dropped_total",
                "Old versions and records dropped from ranges led here",
            ),
            garbage_turns: counter(
                "conclave_garbage_turns_total",
                "Turns of the garbage collector, most of them without anything to do",
            ),
            replicas: gauge("conclave_replicas", "Replicas on this node"),
            leaders: gauge("conclave_leaders", "Ranges led by this node"),
            cache_bytes: gauge("conclave_block_cache_bytes", "Block cache in use"),
            memtable_bytes: gauge("conclave_memtable_bytes", "Unflushed writes in memory"),
            resident_bytes: gauge("process_resident_memory_bytes", "Resident memory"),
            sessions: gauge("conclave_sql_sessions", "Open SQL sessions"),
            others: Mutex::default(),
            registry,
        }
    }

    /// Sets a figure that is counted elsewhere.
    pub fn set(&self, name: &str, value: u64) {
        let mut others = self.others.lock();
        if let Some(gauge) = others.get(name) {
            return gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        let Ok(gauge) = IntGauge::with_opts(Opts::new(name, name.replace('_', " "))) else {
            return;
        };
        if self.registry.register(Box::new(gauge.clone())).is_ok() {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            others.insert(name.to_owned(), gauge);
        }
    }

    /// Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.resident_bytes.set(resident_bytes().unwrap_or(0));
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory does not fail");
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Resident memory of the process, where the system tells (Linux).
fn resident_bytes() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}
