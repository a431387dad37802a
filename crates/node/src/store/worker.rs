//! Turns of the store: what makes progress durable for all groups of the node at once.
//!
//! One turn takes every replica in the queue: collects what is ready, sends the leaders' appends,
//! appends to the log with one sync, and then lets the replicas acknowledge, apply and answer. What
//! arrives during a turn waits for the next, so that load makes turns larger and syncs rarer per
//! request.
//!
//! ```text
//!   whoever brought the work          the store thread
//!   ───────────────────────          ────────────────
//!   begin: ready, send ──┬─ nothing to append, or a quick disk and nobody was sent anything:
//!                        │  finish here
//!                        └─ else ───▶ finish: append, sync, acknowledge, apply, answer
//!   somebody runs a turn: leave it ─▶ what is left when a turn ends is the thread's
//! ```
//!
//! A thread that has to be woken costs more than a quick sync, so a quiet node runs its turns where
//! the work comes in: a follower appends and acknowledges on the task that read the leader's frame,
//! and a leader applies and answers on the task that read the acknowledgement. A leader's own append
//! is the thread's: the tasks that send to the followers want this worker, and the sync is over
//! before they have answered. Under load turns follow each other, and all of them are the thread's.
//!
//! # Invariants
//!
//! - **W1** One turn at a time: `running` is set from its begin to its end, also while it is handed
//!   over. A replica is in it once: its append comes between `ready` and `persisted`.
//! - **W2** What is in the queue is seen by the turn under way when that ends, or by whoever put it
//!   there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use crossbeam::queue::SegQueue;
use crossbeam::sync::{Parker, Unparker};
use parking_lot::Mutex;
use range::Effect;
use storage::{LogBatch, LogOp, LogStore};

use super::{Cell, Store};

/// How often an idle thread looks whether it should stop.
const IDLE: Duration = Duration::from_millis(100);
/// Replicas taken into one turn.
const TURN_MAX: usize = 1024;
/// Replicas in a turn that is run where the work came in.
const INLINE_MAX: usize = 8;
/// A sync that takes longer than this on average is worth waking a thread for.
const QUICK_SYNC_US: u64 = 200;

/// What waits for a turn, and who runs one.
pub(super) struct Turns {
    queue: SegQueue<Arc<Cell>>,
    running: AtomicBool,
    /// A turn that was begun elsewhere and is the thread's to finish.
    handed_over: Mutex<Option<Turn>>,
    parker: Mutex<Option<Parker>>,
    unparker: Unparker,
    /// Turns begun and turns finished: equal, but while one is under way (W1).
    begun: AtomicU64,
    finished: AtomicU64,
    /// A moving average of a synced append, in microseconds.
    sync_us: AtomicU64,
}

/// A turn under way: begun, not finished.
struct Turn {
    /// The replicas, and whether each waits for the append.
    cells: Vec<(Arc<Cell>, bool)>,
    log: LogBatch,
    /// Other nodes were sent something that they will answer.
    sent: bool,
}

impl Turns {
    pub(super) fn new() -> Self {
        let parker = Parker::new();
        let unparker = parker.unparker().clone();
        Turns {
            queue: SegQueue::new(),
            running: AtomicBool::new(false),
            handed_over: Mutex::new(None),
            parker: Mutex::new(Some(parker)),
            unparker,
            begun: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            sync_us: AtomicU64::new(0),
        }
    }

    fn acquire(&self) -> bool {
        // After the push, before the look at `running` (W2).
        fence(Ordering::SeqCst);
        !self.running.swap(true, Ordering::SeqCst)
    }

    fn release(&self) {
        self.running.store(false, Ordering::SeqCst);
        // After `running` is clear, before the look at the queue (W2).
        fence(Ordering::SeqCst);
    }

    fn synced_in(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let average = self.sync_us.load(Ordering::Relaxed);
        self.sync_us.store(average - average / 8 + took / 8, Ordering::Relaxed);
    }

    fn is_quick(&self) -> bool {
        self.sync_us.load(Ordering::Relaxed) < QUICK_SYNC_US
    }
}

impl Store {
    /// Starts the thread.
    pub(crate) fn start_loop(self: &Arc<Self>) -> std::io::Result<()> {
        let store = Arc::clone(self);
        let parker = self.turns.parker.lock().take().expect("started once");
        let run = move || {
            while !store.is_stopping() {
                parker.park_timeout(IDLE);
                store.run_turns();
            }
        };
        std::thread::Builder::new().name("store".to_owned()).spawn(run).map(drop)
    }

    /// Puts a replica into the queue, once. The caller sees to it that a turn follows:
    /// [`Store::kick`] or [`Store::drive`].
    pub(super) fn schedule(&self, cell: &Arc<Cell>) {
        if !cell.queued.swap(true, Ordering::AcqRel) {
            self.turns.queue.push(Arc::clone(cell));
        }
    }

    /// Wakes the thread if there is anything to do.
    pub(super) fn kick(&self) {
        if !self.turns.queue.is_empty() {
            self.turns.unparker.unpark();
        }
    }

    /// Runs a turn here, as far as that is better than waking the thread.
    pub(super) fn drive(self: &Arc<Self>) {
        if self.turns.queue.is_empty() {
            return;
        }
        if self.turns.queue.len() > INLINE_MAX || self.is_stopping() {
            return self.kick();
        }
        if !self.turns.acquire() {
            return;
        }
        let turn = self.begin_turn(INLINE_MAX);
        if turn.log.is_empty() || (!turn.sent && self.turns.is_quick()) {
            self.finish_turn(turn);
            self.turns.release();
            self.kick();
        } else {
            *self.turns.handed_over.lock() = Some(turn);
            self.turns.unparker.unpark();
        }
    }

    /// Runs turns until there is nothing to do. On the thread only.
    fn run_turns(self: &Arc<Self>) {
        let handed_over = self.turns.handed_over.lock().take();
        if let Some(turn) = handed_over {
            self.finish_turn(turn);
            self.turns.release();
        }
        while !self.is_stopping() && !self.turns.queue.is_empty() && self.turns.acquire() {
            let turn = self.begin_turn(TURN_MAX);
            self.finish_turn(turn);
            self.turns.release();
        }
    }

    fn begin_turn(self: &Arc<Self>, max: usize) -> Turn {
        let _unharmed = EndOnPanic;
        let begun = self.turns.begun.fetch_add(1, Ordering::SeqCst);
        let finished = self.turns.finished.load(Ordering::SeqCst);
        assert_eq!(begun, finished, "W1: a turn was begun while another was under way");
        let mut turn = Turn { cells: Vec::new(), log: LogBatch::new(), sent: false };
        // All are taken first, so that a replica that comes back meanwhile is not taken twice.
        let cells: Vec<Arc<Cell>> =
            std::iter::from_fn(|| self.turns.queue.pop()).take(max).collect();
        for cell in cells {
            // From here on, news about the replica are for the next turn.
            cell.queued.store(false, Ordering::Release);
            let mut persists = false;
            let log = &mut turn.log;
            let sent = self.act(&cell, |replica, ctx, effects| {
                persists = replica.ready(ctx, log, effects);
            });
            turn.sent |= sent;
            turn.cells.push((cell, persists));
        }
        turn
    }

    fn finish_turn(self: &Arc<Self>, turn: Turn) {
        let _unharmed = EndOnPanic;
        if !turn.log.is_empty() && !self.append(&turn.log) {
            return;
        }
        for (cell, persists) in turn.cells {
            self.act(&cell, |replica, ctx, effects| {
                if persists {
                    replica.persisted(ctx, effects);
                }
                replica.apply(ctx, effects);
            });
            // Not before its log is gone, or a new replica of the range would lose its own.
            if cell.retired.load(Ordering::Acquire) && cell.state.lock().replica.is_gone() {
                self.forget(&cell);
            }
        }
        self.turns.finished.fetch_add(1, Ordering::SeqCst);
    }

    /// One synced write for all groups. False if it failed, and with it the node.
    fn append(&self, log: &LogBatch) -> bool {
        let entries = log.ops.iter().map(|(_, op)| match op {
            LogOp::Append(entries) => entries.len() as u64,
            LogOp::HardState(_) | LogOp::Compact(_) | LogOp::Reset(_) | LogOp::Remove => 0,
        });
        self.metrics.log_entries.inc_by(entries.sum());
        self.metrics.log_syncs.inc();
        let begun = Instant::now();
        let appended = self.logs.append(log, true);
        let took = begun.elapsed();
        self.metrics.log_sync_seconds.observe(took.as_secs_f64());
        self.turns.synced_in(took);
        if let Err(error) = &appended {
            self.fail("the Raft log", error);
        }
        appended.is_ok()
    }

    /// Lets a replica do something and carries out what comes of it. A turn follows, on the thread.
    pub(super) fn touch(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        act: impl FnOnce(&mut range::Replica, &range::Ctx<'_>, &mut Vec<Effect>),
    ) {
        self.act(cell, act);
        self.kick();
    }

    /// As [`Store::touch`], without the turn. Tells whether other replicas were sent anything.
    pub(super) fn act(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        act: impl FnOnce(&mut range::Replica, &range::Ctx<'_>, &mut Vec<Effect>),
    ) -> bool {
        let mut effects = Vec::new();
        let unharmed = EndOnPanic;
        let answers = {
            let mut state = cell.state.lock();
            self.with_ctx(|ctx| act(&mut state.replica, ctx, &mut effects));
            state.take_answers(&mut effects)
        };
        drop(unharmed);
        self.deliver(answers);
        let sent = effects.iter().any(|effect| matches!(effect, Effect::Send(_)));
        if !effects.is_empty() {
            self.carry_out(cell, effects);
        }
        sent
    }
}

/// Ends the process when a replica breaks one of its invariants: what it holds in memory can't be
/// trusted any more, and a node that hangs holds up its leases. The log brings everything back.
pub(super) struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a broken invariant: the process ends");
            std::process::abort();
        }
    }
}
