//! A whole cluster in memory, for tests of what lies above `kv`.
//!
//! One process, no Raft, no disk; the semantics of every request are those of `docs/transactions.md`
//! in their simplest form: one map of versions, one of locks, one list of reads, under one mutex.
//! Ranges, leaders, stale routing and lost messages are real enough to exercise the client.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use kv::testing::FakeCluster;
//! let cluster = FakeCluster::new();
//! let txn = cluster.db().begin(kv::TxnOptions::default());
//! txn.begin_statement().await?;
//! txn.put(vec![0x10, 1].into(), "one".into())?;
//! txn.commit().await?;
//! # Ok::<(), kv::KvError>(()) }).unwrap();
//! ```

#![allow(clippy::result_large_err, reason = "errors are what most tests look at")]

mod eval;
mod locks;
mod settle;
mod store;
mod transport;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::{Key, NodeId, RangeId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::Config;
use crate::db::{Db, Shared};
use store::Store;
use transport::FakeTransport;

/// A cluster of fake nodes over one store.
#[derive(Clone)]
pub struct FakeCluster {
    fake: Arc<Fake>,
}

impl std::fmt::Debug for FakeCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeCluster").field("ranges", &self.ranges().len()).finish()
    }
}

/// Which messages get lost or late. Deterministic for a seed, as far as tasks are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Requests lost, of 1,000.
    pub requests_lost: u32,
    /// Answers lost after the request was carried out, of 1,000.
    pub replies_lost: u32,
    /// Delay of each request to another node.
    pub latency: Duration,
    /// Chooses which.
    pub seed: u64,
}

struct Fake {
    store: Mutex<Store>,
    /// Told after every change, to all that wait for locks.
    changed: Notify,
    faults: Mutex<(Faults, u64)>,
    dbs: Mutex<BTreeMap<NodeId, Weak<Shared>>>,
    nodes: Vec<NodeId>,
}

impl Default for FakeCluster {
    fn default() -> Self {
        FakeCluster::new()
    }
}

impl FakeCluster {
    /// One node; the system range and one range for all else.
    #[must_use]
    pub fn new() -> FakeCluster {
        FakeCluster::with_nodes(1)
    }

    /// Several nodes. The first leads everything, until told otherwise.
    #[must_use]
    pub fn with_nodes(nodes: u64) -> FakeCluster {
        let nodes: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
        FakeCluster {
            fake: Arc::new(Fake {
                store: Mutex::new(Store::new(&nodes)),
                changed: Notify::new(),
                faults: Mutex::default(),
                dbs: Mutex::default(),
                nodes,
            }),
        }
    }

    /// A client on the first node, with a routing cache of its own.
    #[must_use]
    pub fn db(&self) -> Db {
        self.db_on(NodeId(1), Config::default())
    }

    /// A client on some node.
    #[must_use]
    pub fn db_on(&self, node: NodeId, config: Config) -> Db {
        let transport = FakeTransport::new(self.fake.clone(), node);
        let db = Db::new(Arc::new(transport), config);
        self.fake.dbs.lock().insert(node, Arc::downgrade(&db.shared));
        db
    }

    /// Splits ranges at these keys; clients find out by themselves.
    pub fn split_at(&self, keys: &[Key]) {
        self.fake.store.lock().split_at(keys);
    }

    /// Makes a node the leader of a range. Locks in memory are lost, as in a crash.
    pub fn move_leader(&self, range: RangeId, to: NodeId) {
        self.fake.store.lock().move_leader(range, to);
        self.fake.changed.notify_waiters();
    }

    /// Gives the ranges to the nodes in turn.
    pub fn spread_leaders(&self) {
        for (place, (range, _)) in self.ranges().into_iter().enumerate() {
            self.move_leader(range, self.fake.nodes[place % self.fake.nodes.len()]);
        }
    }

    /// The ranges and who leads them, in key order.
    #[must_use]
    pub fn ranges(&self) -> Vec<(RangeId, NodeId)> {
        self.fake.store.lock().leaders()
    }

    /// From now on messages get lost like this.
    pub fn set_faults(&self, faults: Faults) {
        *self.fake.faults.lock() = (faults, faults.seed);
    }

    /// A node that takes no requests (stopped) or takes them again.
    pub fn set_down(&self, node: NodeId, down: bool) {
        self.fake.store.lock().set_down(node, down);
        self.fake.changed.notify_waiters();
    }

    /// From now on nothing is placed at or below `ts`, and every node answers reads of the past up to
    /// there.
    pub fn close(&self, ts: Timestamp) {
        self.fake.store.lock().close(ts.0);
    }

    /// Drops all versions that no read at or above `ts` needs; reads below are refused.
    pub fn collect(&self, ts: Timestamp) {
        self.fake.store.lock().collect(ts.0);
    }

    /// How many versions there are of all rows together, deletions included.
    #[must_use]
    pub fn versions(&self) -> usize {
        self.fake.store.lock().rows.values().map(BTreeMap::len).sum()
    }

    /// How many locks there are: replicated ones, and keys held in leaders' memory.
    #[must_use]
    pub fn lock_counts(&self) -> (usize, usize) {
        self.fake.store.lock().lock_counts()
    }

    /// How many requests wait for locks in leaders' memory.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.fake.store.lock().waiting()
    }

    /// From now on the oracle's clock stands still, and timestamps follow each other without a gap.
    pub fn freeze_clock(&self) {
        self.fake.store.lock().frozen = true;
    }

    /// The oracle's clock jumps forward.
    pub fn advance_clock(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.fake.store.lock().newest += Timestamp::from_millis(millis).0;
    }

    /// Every lock and who waits for it, for people to look at.
    #[must_use]
    pub fn describe_locks(&self) -> String {
        self.fake.store.lock().describe_locks()
    }

    /// What a coordinator leaves behind that dies in the middle of a parallel commit of `rows`, with
    /// the locks of all of them placed, or without the primary's (the first in key order).
    pub fn abandon_commit(&self, rows: &[(Key, bytes::Bytes)], complete: bool) {
        let mut store = self.fake.store.lock();
        let id = store.draw(1);
        store.abandon(id, rows, complete);
    }

    /// The largest timestamp given out.
    #[must_use]
    pub fn newest_timestamp(&self) -> Timestamp {
        self.fake.store.lock().newest_timestamp()
    }
}
