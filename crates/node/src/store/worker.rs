//! The store loop: one thread that makes progress durable for all groups of the node at once.
//!
//! One turn takes every replica in the queue: collects what is ready, sends the leaders' appends,
//! appends to the log with one sync, and then lets the replicas acknowledge, apply and answer. What
//! arrives during a turn waits for the next, so that load makes turns larger and syncs rarer per
//! request.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use range::Effect;
use storage::{LogBatch, LogOp, LogStore};

use super::{Cell, Store};

/// How often an idle loop looks whether it should stop.
const IDLE: Duration = Duration::from_millis(100);
/// Replicas taken into one turn.
const TURN_MAX: usize = 1024;

impl Store {
    /// Starts the loop's thread.
    pub(crate) fn start_loop(self: &Arc<Self>) -> std::io::Result<()> {
        let store = Arc::clone(self);
        std::thread::Builder::new().name("store".to_owned()).spawn(move || store.run()).map(drop)
    }

    fn run(self: Arc<Self>) {
        let mut turn: Vec<Arc<Cell>> = Vec::new();
        while !self.is_stopping() {
            if let Ok(first) = self.queue_end.recv_timeout(IDLE) {
                turn.push(first);
                turn.extend(self.queue_end.try_iter().take(TURN_MAX));
                self.turn(&turn);
                turn.clear();
            }
        }
    }

    fn turn(self: &Arc<Self>, cells: &[Arc<Cell>]) {
        let mut log = LogBatch::new();
        let mut touched = Vec::with_capacity(cells.len());
        for cell in cells {
            // From here on, news about the replica are for the next turn.
            cell.queued.store(false, Ordering::Release);
            let mut persists = false;
            self.touch(cell, |replica, ctx, effects| {
                persists = replica.ready(ctx, &mut log, effects);
            });
            touched.push(persists);
        }
        if !log.is_empty() {
            let entries = log.ops.iter().map(|(_, op)| match op {
                LogOp::Append(entries) => entries.len() as u64,
                LogOp::HardState(_) | LogOp::Compact(_) | LogOp::Reset(_) | LogOp::Remove => 0,
            });
            self.metrics.log_entries.inc_by(entries.sum());
            self.metrics.log_syncs.inc();
            let timer = self.metrics.log_sync_seconds.start_timer();
            let appended = self.logs.append(&log, true);
            timer.observe_duration();
            if let Err(error) = appended {
                return self.fail("the Raft log", &error);
            }
        }
        for (cell, persists) in cells.iter().zip(touched) {
            self.touch(cell, |replica, ctx, effects| {
                if persists {
                    replica.persisted(ctx, effects);
                }
                replica.apply(ctx, effects);
            });
            // Not before its log is gone, or a new replica of the range would lose its own.
            if cell.retired.load(Ordering::Acquire) && cell.state.lock().replica.is_gone() {
                self.forget(cell);
            }
        }
    }

    /// Lets a replica do something and carries out what comes of it.
    pub(super) fn touch(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        act: impl FnOnce(&mut range::Replica, &range::Ctx<'_>, &mut Vec<Effect>),
    ) {
        let mut effects = Vec::new();
        let answers = {
            let mut state = cell.state.lock();
            self.with_ctx(|ctx| act(&mut state.replica, ctx, &mut effects));
            state.take_answers(&mut effects)
        };
        self.deliver(answers);
        if !effects.is_empty() {
            self.carry_out(cell, effects);
        }
    }
}
