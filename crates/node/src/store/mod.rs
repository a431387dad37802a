//! The replicas of one node, and what carries out their effects.
//!
//! ```text
//!   request ──▶ Cell: Mutex<Replica> ──Respond──▶ caller (reads: at once, on the caller's thread)
//!                  │ Schedule                          ▲ Respond
//!                  ▼                                   │
//!   a turn (worker.rs):  ready* ─▶ send ─▶ one synced append ─▶ persisted* ─▶ apply*
//! ```
//!
//! A replica is only ever touched under its mutex. Effects are collected there and carried out
//! after it is released, but for answers that have to be matched with who waits for them: those
//! who wait are kept under the same mutex, so an answer can't come before its waiter.

mod closed;
mod effects;
mod fragments;
mod garbage;
mod inspect;
mod maintenance;
mod open;
mod requests;
pub(crate) mod snapshots;
mod worker;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base::{NodeId, RangeId};
use consensus::Liveness;
use parking_lot::{Mutex, RwLock};
use range::{Ctx, Replica, Token};
use rocks::{RocksEngine, RocksLogStore};
use storage::{Engine, EngineError};
use tokio::sync::oneshot;

use crate::metrics::Metrics;
use crate::transport::{Peer, Peers};

pub(crate) use closed::keep_closed;
pub(crate) use garbage::collect_garbage;
pub(crate) use maintenance::maintain;
pub(crate) use open::bootstrap;
use open::split_point;
pub(crate) use requests::{NodeTransport, Outcome};

/// Who waits for an answer.
pub(crate) enum Waiter {
    /// A coordinator of this node.
    Local(oneshot::Sender<proto::kv::RangeResponse>),
    /// A peer's call.
    Remote(Arc<Peer>, u64),
}

/// One replica and those who wait for it.
pub(crate) struct Cell {
    id: RangeId,
    state: Mutex<CellState>,
    /// In the queue for the next turn.
    queued: AtomicBool,
    /// No longer a member: forgotten after its last turn.
    retired: AtomicBool,
}

struct CellState {
    replica: Replica,
    waiters: HashMap<Token, Waiter>,
}

/// Settings of a store.
#[derive(Debug, Clone)]
pub(crate) struct StoreConfig {
    pub(crate) range_max_bytes: u64,
    pub(crate) range_locks_max: usize,
    pub(crate) copies: usize,
    pub(crate) clock_offset_file: Option<PathBuf>,
}

/// All replicas of a node.
pub(crate) struct Store {
    pub(crate) me: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) config: StoreConfig,
    /// How far the wall clock is told to be wrong.
    clock_offset_ms: AtomicI64,
    open: range::Open,
    pub(crate) engine: Arc<RocksEngine>,
    pub(crate) logs: Arc<RocksLogStore>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) liveness: RwLock<Liveness>,
    closing: Mutex<closed::Closing>,
    /// Nobody reads a snapshot below it any more, as far as this node knows; 0: it does not.
    safe_point: AtomicU64,
    cells: RwLock<BTreeMap<RangeId, Arc<Cell>>>,
    tokens: AtomicU64,
    turns: worker::Turns,
    stopping: AtomicBool,
    start: Instant,
    db: OnceLock<kv::Db>,
    /// What makes less of the rows that peers ask for.
    evaluator: Arc<dyn kv::FragmentEvaluator>,
    runtime: tokio::runtime::Handle,
    fatal: tokio::sync::watch::Sender<Option<String>>,
}

impl Store {
    /// Monotonic microseconds since the store was made.
    pub(crate) fn now(&self) -> u64 {
        // Zero means "never" to some of the state machines.
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX) + 1
    }

    /// Runs `act` with what replicas are told of the world.
    fn with_ctx<T>(&self, act: impl FnOnce(&Ctx<'_>) -> T) -> T {
        let liveness = self.liveness.read();
        let clock = || self.now();
        act(&Ctx {
            engine: self.engine.as_ref(),
            liveness: &liveness,
            clock: &clock,
            wall_ms: wall_ms().saturating_add_signed(self.clock_offset_ms.load(Ordering::Relaxed)),
        })
    }

    /// The replica of a range.
    pub(crate) fn cell(&self, range: RangeId) -> Option<Arc<Cell>> {
        self.cells.read().get(&range).cloned()
    }

    /// All replicas.
    pub(crate) fn all_cells(&self) -> Vec<Arc<Cell>> {
        self.cells.read().values().cloned().collect()
    }

    /// Wires in the client that replicas' own errands run over.
    pub(crate) fn set_db(&self, db: kv::Db) {
        assert!(self.db.set(db).is_ok(), "a store has one client");
    }

    pub(crate) fn db(&self) -> Option<&kv::Db> {
        self.db.get()
    }

    /// Stops the store loop; flushes if this is an orderly end.
    pub(crate) fn stop(&self, orderly: bool) {
        self.stopping.store(true, Ordering::SeqCst);
        if orderly && let Err(error) = self.engine.flush() {
            tracing::error!(%error, "the last flush failed; the log makes up for it");
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Completes with the reason when the node must not go on.
    pub(crate) async fn failed(&self) -> String {
        let mut watch = self.fatal.subscribe();
        let reason = watch.wait_for(Option::is_some).await.ok().and_then(|r| r.clone());
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// A disk that refuses: nobody knows what is durable, so the process ends and recovers.
    fn fail(&self, what: &str, error: &EngineError) {
        tracing::error!(%error, what, "the node can't go on");
        self.stopping.store(true, Ordering::SeqCst);
        self.fatal.send_replace(Some(format!("{what}: {error}")));
    }
}

impl Store {
    /// Reads how wrong the wall clock is to be. A test says so in a file, or nobody does.
    fn read_clock_offset(&self) {
        let Some(path) = &self.config.clock_offset_file else { return };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        self.clock_offset_ms.store(text.trim().parse().unwrap_or(0), Ordering::Relaxed);
    }
}

/// The wall clock, for humans only.
fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
