//! One transaction: what it read, holds and has written, and the verbs that SQL uses.
//!
//! The object lives on the gateway node. All methods take `&self`: the operators of a parallel plan
//! share one transaction. Protocol: `docs/transactions.md`; one file per verb:
//!
//! ```text
//!   begin_statement   here        snapshot by isolation level
//!   get, scan         read.rs     buffer merged over the snapshot
//!   lock              lock.rs     in-memory locks; the snapshot moves forward where the level allows
//!                     claim.rs    the same for spans that were read FOR UPDATE
//!   rely_on           premise.rs  a key whose changes somebody judges
//!   put, delete       here        buffered
//!   rollback_to       savepoint.rs  buffer undone, younger locks released
//!   commit            commit.rs   nothing / one phase / parallel / two phases
//!   forecast_commit   forecast.rs  what the commit would cost, for EXPLAIN
//!   rollback          end.rs      locks released, replicated locks resolved in the background
//! ```
//!
//! # Invariants
//!
//! - **T1** All that was read (and is not locked) is what the snapshot `read_ts` shows.
//! - **T2** The newest version of a key in `locks` is not above `read_ts`, unless the lock was lost,
//!   which the commit then notices. At READ COMMITTED it may be above the snapshot of the statement that
//!   locked it, not above that of a later one.
//! - **T3** A transaction that was ever told [`KvError::Deadlock`] holds no lock.

mod claim;
mod commit;
mod end;
mod forecast;
mod lock;
mod premise;
mod read;
mod refresh;
mod savepoint;
mod state;

use std::sync::Arc;
use std::time::Duration;

use base::{Key, Timestamp, TxnId};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use proto::kv;
use proto::kv::Isolation;

use crate::activity::Activity;
use crate::buffer::{Savepoint, WriteBuffer};
use crate::db::Shared;
use crate::error::KvError;
use crate::memory::{self, Exhausted, Reservation};
pub use claim::SpanLock;
pub(crate) use claim::{Claim, release_all};
pub(crate) use end::range_refused;
pub use forecast::{CommitForecast, CommitWay, Footprint, Part};
pub use lock::Locked;
pub use premise::Judge;
use premise::Premise;
pub use read::{ScanOptions, ScanPage};
pub(crate) use state::{Phase, State};

/// What kind of transaction to begin.
#[derive(Debug, Clone, Copy, Default)]
pub struct TxnOptions {
    /// The isolation level; SERIALIZABLE by default.
    pub isolation: Isolation,
    /// Refuses writes and locks, and can't fail with a serialization error.
    pub read_only: bool,
    /// Reads this snapshot, which any replica may answer that knows it to be settled; implies
    /// `read_only`.
    pub as_of: Option<Timestamp>,
    /// Holds an advisory lock in the name of its session ([`crate::AdvisoryLocks`]).
    pub session_lock: bool,
}

/// A transaction. Dropped without [`Txn::commit`], it is rolled back in the background.
#[derive(Debug)]
pub struct Txn {
    inner: Arc<Inner>,
    /// What reads see, if not all that the transaction has written by now.
    frozen: Option<Arc<Frozen>>,
}

/// What a lock of a transaction takes in memory, its key included.
const LOCK_BYTES: usize = 224;

/// What a transaction has written, and read, at some point.
#[derive(Debug)]
struct Frozen {
    own: WriteBuffer,
    /// The snapshot; none where all statements read one that only the transaction moves.
    read_ts: Option<Timestamp>,
}

/// What background work shares with the transaction.
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    options: TxnOptions,
    pub(crate) state: Mutex<State>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Txn").field("id", &state.id).field("phase", &state.phase).finish()
    }
}

impl Txn {
    pub(crate) fn new(shared: Arc<Shared>, mut options: TxnOptions) -> Arc<Txn> {
        options.read_only |= options.as_of.is_some();
        let state = Mutex::new(State::default());
        Arc::new(Txn { inner: Arc::new(Inner { shared, options, state }), frozen: None })
    }

    /// Begins a statement and returns the snapshot that it reads. The first statement draws the
    /// start timestamp; at READ COMMITTED every statement gets a snapshot of its own.
    pub async fn begin_statement(&self) -> Result<Timestamp, KvError> {
        self.inner.begin_statement().await
    }

    /// The same transaction, whose reads do not see what it writes from here on, nor a later snapshot:
    /// the parts of one statement, and a cursor, read one state.
    #[must_use]
    pub fn frozen(&self) -> Arc<Txn> {
        let state = self.inner.state.lock();
        let moves = self.inner.options.isolation == Isolation::ReadCommitted;
        let read_ts = moves.then_some(state.read_ts);
        let frozen = Frozen { own: state.buffer.copy(), read_ts };
        Arc::new(Txn { inner: Arc::clone(&self.inner), frozen: Some(Arc::new(frozen)) })
    }

    /// Whether the transaction has written a row since `frozen` was made of it.
    #[must_use]
    pub fn has_written_since(&self, frozen: &Txn, key: &Key) -> bool {
        let before = frozen.frozen.as_ref().and_then(|then| then.own.get(key.as_bytes()));
        self.inner.state.lock().buffer.get(key.as_bytes()) != before
    }

    /// Writes a row; the lock on it is the caller's business ([`Txn::lock`]), a row written without
    /// is checked at the commit.
    pub fn put(&self, key: Key, value: Bytes) -> Result<(), KvError> {
        self.inner.write(|state| {
            state.buffer.put(key, Some(value));
            Ok(())
        })
    }

    /// Deletes a row.
    pub fn delete(&self, key: Key) -> Result<(), KvError> {
        self.inner.write(|state| {
            state.buffer.put(key, None);
            Ok(())
        })
    }

    /// Writes a row that must be new. Whether the store has it already is checked at the commit, if
    /// not before by [`Txn::lock`]; a row that this transaction wrote is refused at once.
    pub fn insert(&self, key: Key, value: Bytes) -> Result<(), KvError> {
        self.inner.write(|state| {
            let duplicate = state.buffer.insert(key.clone(), value);
            duplicate.map_err(|_| KvError::DuplicateKey { key })
        })
    }

    /// Marks the writes made so far.
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        let mut state = self.inner.state.lock();
        let locks = state.lock_requests;
        state.buffer.savepoint(locks)
    }

    /// Gives up all marks: a large transaction pays for undoing only while somebody may ask for it.
    pub fn forget_savepoints(&self) {
        self.inner.state.lock().buffer.forget_savepoints();
    }

    /// Undoes the writes made since a mark; since the beginning, without one. Locks taken since on
    /// rows that are not written any more are released, and others waiting for them go on. What the
    /// transaction has learned under them stays as protected as any other read of its level.
    pub async fn rollback_to_and_release(
        &self,
        savepoint: Option<Savepoint>,
    ) -> Result<(), KvError> {
        savepoint::rollback_to_and_release(self, savepoint).await
    }

    /// Undoes the writes made since a mark. Marks set after it are void, it itself stays. Locks stay
    /// until the transaction ends.
    pub fn rollback_to(&self, savepoint: Savepoint) {
        self.inner.state.lock().buffer.rollback_to(savepoint);
    }

    /// Makes what the current statement reads from here on hold at the commit, as SERIALIZABLE does of
    /// itself: for statements that are right at no other level.
    pub fn track_reads(&self) {
        self.inner.state.lock().tracks = true;
    }

    /// Tells that the client has seen something of the current statement: from now on it can't be
    /// run again silently.
    pub fn results_returned(&self) {
        self.inner.state.lock().statement.returned = true;
    }

    /// Tells whose transaction it is, and that the session's current statement uses it.
    pub fn attach(&self, activity: &Arc<Activity>) {
        let mut state = self.inner.state.lock();
        state.activity = Some((activity.clone(), activity.statement()));
    }

    /// How long each lock request of this transaction may wait; None: for ever.
    pub fn set_lock_timeout(&self, timeout: Option<Duration>) {
        self.inner.state.lock().lock_timeout = timeout;
    }

    /// Undoes everything and makes the transaction ready to run again, as old as it was: it keeps
    /// its place in every queue. For errors whose remedy is a restart, while the client has seen
    /// nothing of it.
    pub fn restart(&self) {
        self.inner.restart();
    }

    /// Commits. Returns the commit timestamp, or none if nothing was written. Whatever the answer,
    /// the transaction has ended. Dropping the future does not stop the commit.
    pub async fn commit(&self) -> Result<Option<Timestamp>, KvError> {
        commit::commit(self.inner.clone()).await
    }

    /// Asks a commit that is under way to give up if it waits. [`Txn::commit`] answers what became of
    /// it, which may be a success all the same.
    pub fn interrupt(&self) {
        self.inner.interrupt();
    }

    /// Whether statements may run in it: it has neither ended nor lost a deadlock.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.inner.state.lock().usable().is_ok()
    }

    /// Drops the writes and releases the locks. Never fails, and needs no consensus.
    pub async fn rollback(&self) {
        self.inner.rollback();
        self.inner.forget_xact();
    }

    /// The id, once the first statement has begun.
    #[must_use]
    pub fn id(&self) -> Option<TxnId> {
        let state = self.inner.state.lock();
        (state.phase != Phase::New).then_some(state.id)
    }

    /// The snapshot of the current statement; zero before the first.
    #[must_use]
    pub fn read_ts(&self) -> Timestamp {
        self.inner.state.lock().read_ts
    }

    /// The id by which anybody may ask what has become of this transaction, after its end and wherever
    /// it ran ([`crate::Db::xact_status`]); none before a statement has begun. The first call costs a
    /// commit of its own. Runs again under the same id.
    pub async fn xact_id(&self) -> Result<Timestamp, KvError> {
        crate::xact::assign(&self.inner).await
    }

    /// Likewise, if [`Txn::xact_id`] has been called.
    #[must_use]
    pub fn assigned_xact_id(&self) -> Option<Timestamp> {
        self.inner.state.lock().xact.as_ref().map(|xact| xact.id())
    }

    /// The options it was begun with.
    #[must_use]
    pub fn options(&self) -> TxnOptions {
        self.inner.options
    }

    /// Whether something is written and not yet committed.
    #[must_use]
    pub fn has_writes(&self) -> bool {
        !self.inner.state.lock().buffer.is_empty()
    }

    /// Whether it holds locks on rows.
    #[must_use]
    pub fn has_locks(&self) -> bool {
        !self.inner.state.lock().locks.is_empty()
    }

    /// Bytes that the buffered writes take.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.inner.state.lock().buffer.bytes()
    }
}

impl Drop for Txn {
    fn drop(&mut self) {
        if self.frozen.is_none() {
            self.inner.rollback();
            self.inner.forget_xact();
        }
    }
}

impl Inner {
    async fn begin_statement(self: &Arc<Self>) -> Result<Timestamp, KvError> {
        let draw = {
            let mut state = self.state.lock();
            state.usable()?;
            state.begin_statement();
            match self.options.as_of {
                Some(as_of) => {
                    if state.phase == Phase::New {
                        state.hold = Some(self.shared.snapshots.hold(as_of));
                    }
                    state.phase = Phase::Active;
                    state.read_ts = as_of;
                    return Ok(as_of);
                }
                None => {
                    state.phase == Phase::New
                        || state.stale_snapshot
                        || self.options.isolation == Isolation::ReadCommitted
                }
            }
        };
        if !draw {
            return Ok(self.state.lock().read_ts);
        }
        let ts = self.shared.oracle.draw(&self.shared.router).await?;
        let mut state = self.state.lock();
        state.usable()?;
        if state.phase == Phase::New {
            self.shared.router.metrics.txns_begun.inc();
            state.begin(ts);
            // The holder of a session's lock never reads nor writes.
            if !self.options.session_lock {
                state.hold = Some(self.shared.snapshots.hold(ts));
            }
            if !self.options.read_only {
                self.shared.registry.insert(state.id, self);
                if let Some((activity, _)) = &state.activity {
                    activity.joins(state.id);
                }
            }
        } else {
            state.read_ts = state.read_ts.max(ts).max(state.floor);
            state.stale_snapshot = false;
            if self.options.read_only {
                state.hold = Some(self.shared.snapshots.hold(state.read_ts));
            }
        }
        Ok(state.read_ts)
    }

    fn write(&self, write: impl FnOnce(&mut State) -> Result<(), KvError>) -> Result<(), KvError> {
        if self.options.read_only {
            return Err(KvError::NotUsable("it is read-only"));
        }
        let mut state = self.active()?;
        write(&mut state)?;
        let (used, limit) = (state.buffer.bytes(), self.shared.router.config.txn_memory);
        if used > limit {
            return Err(KvError::TooLarge { used, limit });
        }
        self.reserve(&mut state)
    }

    /// Reserves what the transaction keeps in memory.
    fn reserve(&self, state: &mut State) -> Result<(), KvError> {
        let used = state.buffer.bytes() + state.locks.len() * LOCK_BYTES;
        if used <= memory::FREE {
            return Ok(());
        }
        let budget = &self.shared.router.config.memory;
        let reservation = state.memory.get_or_insert_with(|| Reservation::new(Arc::clone(budget)));
        let covered = reservation.cover(used);
        covered.map_err(|Exhausted { limit }| KvError::OutOfMemory { limit })
    }

    /// Whose transaction it is, and its last statement.
    pub(crate) fn activity(&self) -> Option<(Arc<Activity>, Arc<str>)> {
        self.state.lock().activity.clone()
    }

    /// For people to look at.
    pub(crate) fn info(&self) -> kv::TxnInfo {
        let state = self.state.lock();
        let activity = state.activity.as_ref().map(|(activity, statement)| {
            let mut activity = activity.snapshot();
            activity.statement = statement.to_string();
            activity
        });
        kv::TxnInfo {
            txn: self.meta(&state),
            activity,
            phase: state.phase.name().to_owned(),
            locks: (state.locks.len() + state.spans.len()) as u64,
            buffered_bytes: state.buffer.bytes() as u64,
            waits: !state.waits.is_empty(),
            advisory: self.options.session_lock,
            uses: state.premise.as_ref().map(Premise::uses).unwrap_or_default(),
        }
    }

    /// The state, if statements may run.
    fn active(&self) -> Result<MutexGuard<'_, State>, KvError> {
        let state = self.state.lock();
        state.usable()?;
        if state.phase == Phase::New {
            return Err(KvError::NotUsable("no statement has begun"));
        }
        Ok(state)
    }

    /// Who asks, to be sent with every request. Reads of an old snapshot are nobody's.
    fn meta(&self, state: &State) -> Option<kv::TxnMeta> {
        if self.options.as_of.is_some() {
            return None;
        }
        let (node, incarnation) = self.shared.router.transport.local_node();
        Some(kv::TxnMeta {
            id: state.id.0,
            start_ts: state.start.0,
            isolation: self.options.isolation as i32,
            coordinator: node.0,
            incarnation,
        })
    }
}
