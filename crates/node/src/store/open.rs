//! Making cells: from the disk at the start, after a split, for a snapshot that arrives.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use base::{Key, KeyRange, NodeId, RangeId};
use bytes::Bytes;
use consensus::{Liveness, LivenessConfig};
use parking_lot::{Mutex, RwLock};
use proto::meta::RangeDescriptor;
use proto::node::{RaftMessage, SnapshotHeader};
use range::{NewRange, Replica};
use rocks::{RocksEngine, RocksLogStore};
use storage::{Engine, EngineError, LogStore, mvcc};

use super::maintenance::size_of;
use super::{Cell, CellState, Store, StoreConfig};
use crate::metrics::Metrics;
use crate::transport::Peers;

/// Makes the first ranges of a cluster, durably.
pub(crate) fn bootstrap(
    engine: &RocksEngine,
    logs: &Arc<RocksLogStore>,
    node: NodeId,
    ranges: &[RangeDescriptor],
) -> Result<(), EngineError> {
    let logs = Arc::clone(logs) as Arc<dyn LogStore>;
    let open = range::Open { node, logs, config: Arc::default() };
    for descriptor in ranges {
        Replica::bootstrap(engine, &open, descriptor)?;
    }
    engine.flush()
}

/// Where a range should be split, and how large it really is.
pub(super) fn split_point(
    engine: &Arc<RocksEngine>,
    span: &KeyRange,
) -> Result<(Option<Key>, u64), EngineError> {
    let (stats, key) = mvcc::split_point(&*engine.snapshot(), span)?;
    Ok((key, stats.bytes))
}

impl Store {
    /// Opens all replicas found in the engine.
    pub(crate) fn open(
        peers: Arc<Peers>,
        config: StoreConfig,
        engine: Arc<RocksEngine>,
        logs: Arc<RocksLogStore>,
        metrics: Arc<Metrics>,
        evaluator: Arc<dyn kv::FragmentEvaluator>,
        fresh: bool,
    ) -> Result<Arc<Self>, EngineError> {
        let (me, incarnation) = (peers.local, peers.incarnation);
        let liveness = Liveness::new(me, incarnation, 1, LivenessConfig::default(), fresh);
        let store = Arc::new(Store {
            me,
            incarnation,
            open: range::Open {
                node: me,
                logs: Arc::clone(&logs) as Arc<dyn LogStore>,
                config: Arc::new(range::Config {
                    split_bytes: config.range_max_bytes,
                    eval: range::eval::Config {
                        lock_claims_max: config.range_locks_max,
                        ..range::eval::Config::default()
                    },
                    ..range::Config::default()
                }),
            },
            config,
            clock_offset_ms: AtomicI64::new(0),
            engine,
            logs,
            peers,
            metrics,
            liveness: RwLock::new(liveness),
            closing: Mutex::default(),
            safe_point: AtomicU64::new(0),
            cells: RwLock::default(),
            tokens: AtomicU64::new(0),
            turns: super::worker::Turns::new(),
            stopping: AtomicBool::new(false),
            start: Instant::now(),
            db: OnceLock::new(),
            evaluator,
            runtime: tokio::runtime::Handle::current(),
            fatal: tokio::sync::watch::Sender::new(None),
        });
        let mut cells = BTreeMap::new();
        for mut replica in Replica::load(store.engine.as_ref(), &store.open)? {
            replica.set_size(size_of(store.engine.as_ref(), &replica.descriptor().span()));
            cells.insert(replica.id(), new_cell(replica));
        }
        *store.cells.write() = cells;
        for cell in store.all_cells() {
            store.schedule(&cell);
        }
        Ok(store)
    }

    /// The span of a replica, if it has one.
    pub(super) fn span_of(&self, cell: &Arc<Cell>) -> Option<KeyRange> {
        self.view(cell).map(|view| view.descriptor.span())
    }

    /// Takes in a range that a split made here.
    pub(super) fn open_split(self: &Arc<Self>, new: NewRange) -> Result<(), EngineError> {
        let id = new.descriptor.id();
        let mut effects = Vec::new();
        let cell = {
            let mut cells = self.cells.write();
            // One without data may be there, made by a request for its vote. What it has promised is in
            // the log; what it has not written yet must never be said.
            if let Some(empty) = cells.remove(&id) {
                empty.state.lock().replica.retire();
            }
            let replica =
                self.with_ctx(|ctx| Replica::open_split(ctx, &self.open, new, &mut effects))?;
            let cell = new_cell(replica);
            cells.insert(id, Arc::clone(&cell));
            cell
        };
        self.carry_out(&cell, effects);
        self.schedule(&cell);
        Ok(())
    }

    /// Hands a received snapshot to its replica, which is made when there is none. An error says
    /// why it was refused.
    pub(super) fn install(
        self: &Arc<Self>,
        header: SnapshotHeader,
        chunks: Vec<Bytes>,
    ) -> Result<(), String> {
        let id = RangeId(header.range_id);
        let descriptor = header.descriptor.clone().ok_or("no descriptor")?;
        let cell = {
            // Under this lock no other snapshot can reserve any of the span.
            let mut cells = self.cells.write();
            for (other, cell) in cells.iter() {
                let occupied = cell.state.lock().replica.occupies();
                // A replica that waits for its first snapshot, of which nothing has come, has no
                // span yet.
                if *other != id
                    && occupied != KeyRange::ALL
                    && occupied.overlaps(&descriptor.span())
                {
                    // A split not applied here yet, most likely: it makes the range.
                    return Err(format!("overlaps {other} here"));
                }
            }
            let cell = match cells.get(&id) {
                Some(cell) => Arc::clone(cell),
                None => {
                    let replica = Replica::uninitialised(
                        self.engine.as_ref(),
                        &self.open,
                        id,
                        descriptor.generation,
                    )
                    .map_err(|e| e.to_string())?
                    .ok_or("the replica was removed here")?;
                    let cell = new_cell(replica);
                    cells.insert(id, Arc::clone(&cell));
                    cell
                }
            };
            cell.state.lock().replica.reserve(&descriptor);
            cell
        };
        let mut outcome = Ok(());
        self.touch(&cell, |replica, ctx, out| {
            outcome = replica.receive_snapshot(ctx, header, &chunks, out);
        });
        outcome.map_err(|error| error.to_string())
    }

    /// Makes a replica without data that may vote, for a request for its vote, where one should be.
    pub(super) fn open_for_message(&self, message: &RaftMessage) -> Option<Arc<Cell>> {
        let id = RangeId(message.range_id);
        let mut cells = self.cells.write();
        if let Some(cell) = cells.get(&id) {
            return Some(Arc::clone(cell));
        }
        match Replica::for_message(self.engine.as_ref(), &self.open, message) {
            Ok(replica) => {
                let cell = new_cell(replica?);
                cells.insert(id, Arc::clone(&cell));
                Some(cell)
            }
            Err(error) => {
                tracing::error!(range = %id, %error, "no replica could be made");
                None
            }
        }
    }

    /// Lets the loop put the removal of a replica's log into its next append, and forgets it then.
    pub(super) fn retire(self: &Arc<Self>, cell: &Arc<Cell>) {
        cell.retired.store(true, Ordering::Release);
        self.schedule(cell);
    }

    /// Forgets a retired replica.
    pub(super) fn forget(&self, cell: &Arc<Cell>) {
        let mut cells = self.cells.write();
        if cells.get(&cell.id).is_some_and(|known| Arc::ptr_eq(known, cell)) {
            cells.remove(&cell.id);
        }
    }
}

fn new_cell(replica: Replica) -> Arc<Cell> {
    Arc::new(Cell {
        id: replica.id(),
        state: Mutex::new(CellState { replica, waiters: HashMap::new() }),
        queued: AtomicBool::new(false),
        retired: AtomicBool::new(false),
    })
}
