//! Histories as they come to be.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use checker::{History, Level, Outcome, Snapshot, Txn};
use parking_lot::Mutex;

use crate::timeline::Timeline;

/// One workload's history, of many clients. Instants are microseconds since the run began.
pub(crate) struct Recorder {
    origin: Instant,
    ids: AtomicU64,
    done: Mutex<Vec<Txn>>,
    timeline: Timeline,
}

impl Recorder {
    pub(crate) fn new(origin: Instant, timeline: Timeline) -> Self {
        Recorder { origin, ids: AtomicU64::new(1), done: Mutex::default(), timeline }
    }

    /// How long the run has gone on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.elapsed().as_micros()).expect("a run lasts less than 500,000 years")
    }

    /// A transaction that is about to be sent.
    pub(crate) fn begin(&self, process: u32, level: Level, snapshot: Option<Snapshot>) -> Txn {
        Txn {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            process,
            invoked: self.now(),
            completed: 0,
            outcome: Outcome::Unknown,
            level,
            snapshot,
            commit_ts: None,
            ops: Vec::new(),
        }
    }

    /// A transaction whose outcome has been learnt, or never will be.
    pub(crate) fn end(&self, mut txn: Txn, outcome: Outcome, node: usize) {
        txn.completed = self.now();
        txn.outcome = outcome;
        self.timeline.count(node, outcome, txn.invoked, txn.completed);
        self.done.lock().push(txn);
    }

    pub(crate) fn history(&self) -> History {
        let mut txns = self.done.lock().clone();
        txns.sort_by_key(|txn| txn.id);
        History { txns }
    }
}
