//! What a piece of work costs: requests, ranges, bytes, waits, consensus rounds; counted where they happen.
//!
//! [`Stats`] count for the future that they are put around ([`Stats::count`]), whatever that calls. Stats
//! made [`Stats::under`] others pass on what they count: an operator's figures are part of its
//! statement's. Nested counts take turns, so an operator that polls its input is not charged for it.
//!
//! ```text
//!   statement ──count──▶ operator ──count_poll──▶ its input ──count_poll──▶ Txn::scan ──▶ a request
//!                        +0                       +1                                      statement +1
//! ```
//!
//! Where nobody counts, a request costs one look at a task-local variable. Background work is nobody's
//! (`runtime::detach`), and so is what another task does.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base::RangeId;
use parking_lot::Mutex;

use crate::metrics::Counter;

tokio::task_local! {
    static CURRENT: Option<Arc<Stats>>;
}

/// Counts for one statement or operator.
#[derive(Debug, Default)]
pub struct Stats {
    /// Gets all of it too.
    above: Option<Arc<Stats>>,
    local_trips: Counter,
    remote_trips: Counter,
    bytes_read: Counter,
    lock_waits: Counter,
    lock_wait_us: Counter,
    consensus_rounds: Counter,
    ranges: Mutex<BTreeSet<RangeId>>,
}

/// What was counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Requests to ranges, and what they were answered.
    pub trips: Trips,
    /// Ranges of user data that were sent one.
    pub ranges: u64,
    /// Bytes of keys and values that ranges answered with.
    pub bytes_read: u64,
    /// Lock requests that had to wait for another transaction.
    pub lock_waits: u64,
    /// How long they waited, together, by their leaders' clocks.
    pub lock_wait: Duration,
    /// Consensus rounds that somebody waited for, one after another.
    pub consensus_rounds: u64,
}

/// Round trips to leaders, by where those are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trips {
    /// On this node.
    pub local: u64,
    /// On other nodes.
    pub remote: u64,
}

impl Trips {
    /// All of them.
    #[must_use]
    pub fn total(self) -> u64 {
        self.local + self.remote
    }

    /// One more.
    pub fn add(&mut self, local: bool) {
        *(if local { &mut self.local } else { &mut self.remote }) += 1;
    }
}

impl std::ops::AddAssign for Trips {
    fn add_assign(&mut self, other: Trips) {
        self.local += other.local;
        self.remote += other.remote;
    }
}

impl std::ops::Sub for Trips {
    type Output = Trips;

    /// What was counted since `earlier`.
    fn sub(self, earlier: Trips) -> Trips {
        Trips { local: self.local - earlier.local, remote: self.remote - earlier.remote }
    }
}

impl Stats {
    /// Nothing counted yet.
    #[must_use]
    pub fn new() -> Arc<Stats> {
        Arc::default()
    }

    /// For a part of what `above` counts.
    #[must_use]
    pub fn under(above: &Arc<Stats>) -> Arc<Stats> {
        Arc::new(Stats { above: Some(above.clone()), ..Stats::default() })
    }

    /// Counts what a future does.
    pub async fn count<F: Future>(self: &Arc<Self>, future: F) -> F::Output {
        CURRENT.scope(Some(self.clone()), future).await
    }

    /// Counts what one poll does.
    pub fn count_poll<T>(self: &Arc<Self>, poll: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(Some(self.clone()), poll)
    }

    /// What was counted so far.
    #[must_use]
    pub fn cost(&self) -> Cost {
        Cost {
            trips: Trips { local: self.local_trips.get(), remote: self.remote_trips.get() },
            ranges: self.ranges.lock().len() as u64,
            bytes_read: self.bytes_read.get(),
            lock_waits: self.lock_waits.get(),
            lock_wait: Duration::from_micros(self.lock_wait_us.get()),
            consensus_rounds: self.consensus_rounds.get(),
        }
    }

    pub(crate) fn trip(&self, local: bool) {
        if local { &self.local_trips } else { &self.remote_trips }.inc();
    }

    pub(crate) fn range(&self, range: RangeId) {
        self.ranges.lock().insert(range);
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.bytes_read.add(bytes as u64);
    }

    pub(crate) fn waited(&self, micros: u64) {
        self.lock_waits.inc();
        self.lock_wait_us.add(micros);
    }

    pub(crate) fn consensus_round(&self) {
        self.consensus_rounds.inc();
    }
}

/// Tells whoever counts here, if somebody does.
pub(crate) fn note(event: impl Fn(&Stats)) {
    // Outside of any count there is nobody to tell.
    let _nobody = CURRENT.try_with(|current| {
        let mut next = current.as_ref();
        while let Some(stats) = next {
            event(stats);
            next = stats.above.as_ref();
        }
    });
}

/// Work that is nobody's, though it may be polled where somebody counts.
pub(crate) fn uncounted<F: Future>(work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(None, work)
}
