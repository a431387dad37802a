//! The advisory locks of one session.
//!
//! # Two halves
//!
//! ```text
//!   0F | database | kind | number            locked in its range's lock table: queueing, NOWAIT, deadlocks
//!   0F | database | kind | number | holder   a row while it is held: mode, node, process
//! ```
//!
//! The lock in memory makes waiting fair and lets the deadlock detector see it, together with row locks;
//! it dies with the range's leader. The row is what the lock *is*: replicated like any other, written by a
//! SERIALIZABLE transaction that has read all rows of that lock and found no holder in its way. So a new
//! leader, whose lock table is empty, can grant nothing that somebody still has: who is first in its queue
//! finds the row, asks the holder's node to take its place in the lock table again, and queues behind it.
//! No timer is involved, and a holder that is not asked does nothing.
//!
//! Ruled out: locks in memory alone with a time of grace after each change of leader. A holder that is
//! slow to hear of the change would share its lock with the next.
//!
//! # Whose row is it
//!
//! Of a process on a node. The row is void when the node answers and knows nothing of it (its release was
//! lost), when a later process of the node answers, or when no node of the cluster hears of that one: then
//! its transactions are over everywhere (docs/transactions.md, section 9), and so are its sessions. A
//! session that is cut off together with its node for so long has lost its locks.
//!
//! # Counting
//!
//! A session holds a lock as often as it took it, in either mode, for the session or the transaction; the
//! cluster knows the strongest. All of them are held by *one* transaction of their own per lock, that
//! never writes: transactions come and go while the session keeps its locks.
//!
//! - **A1** Every count above zero has a row of at least its mode.
//! - **A2** A row whose counts are all zero is being deleted, or its holder's process has ended.

mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto::kv;
use proto::kv::{Strength, WaitPolicy};

use crate::activity::Activity;
use crate::db::Db;
use crate::error::KvError;
use crate::runtime::detach;
use crate::txn::{Txn, TxnOptions};
pub use rows::AdvisoryKey;

/// Pause before a holder that is on its way back into the lock table is waited for there.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// How long a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Until it is unlocked, or the session ends.
    Session,
    /// Until the transaction ends.
    Transaction,
}

/// What a session holds, and how often.
#[derive(Debug)]
struct Held {
    /// Who is in the lock table.
    owner: Arc<Txn>,
    /// Counts for the session: shared, exclusive.
    session: [u32; 2],
    /// Counts for the transaction.
    transaction: [u32; 2],
}

/// The advisory locks of one session.
#[derive(Debug)]
pub struct AdvisoryLocks {
    db: Db,
    activity: Arc<Activity>,
    held: Mutex<BTreeMap<AdvisoryKey, Held>>,
    /// Those for the transaction, in the order in which they were taken.
    taken: Mutex<Vec<(AdvisoryKey, bool)>>,
    /// All that the current statement has taken: given back if it has to run again.
    recent: Mutex<Vec<(AdvisoryKey, bool, Scope)>>,
    /// One at a time: a statement may ask in parallel.
    turn: tokio::sync::Mutex<()>,
}

impl Held {
    fn is_free(&self) -> bool {
        self.session == [0, 0] && self.transaction == [0, 0]
    }

    fn exclusive(&self) -> bool {
        self.session[1] + self.transaction[1] > 0
    }

    fn count(&mut self, scope: Scope, exclusive: bool) -> &mut u32 {
        let counts = match scope {
            Scope::Session => &mut self.session,
            Scope::Transaction => &mut self.transaction,
        };
        &mut counts[usize::from(exclusive)]
    }
}

impl AdvisoryLocks {
    /// None yet.
    #[must_use]
    pub fn new(db: Db, activity: Arc<Activity>) -> AdvisoryLocks {
        AdvisoryLocks {
            db,
            activity,
            held: Mutex::default(),
            taken: Mutex::default(),
            recent: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Takes a lock; false if it was to be tried only, and is taken.
    pub async fn lock(
        &self,
        key: AdvisoryKey,
        exclusive: bool,
        scope: Scope,
        wait: bool,
        timeout: Option<Duration>,
    ) -> Result<bool, KvError> {
        let _turn = self.turn.lock().await;
        let known = {
            let held = self.held.lock();
            held.get(&key).map(|held| (held.owner.clone(), held.exclusive() || !exclusive))
        };
        match known {
            Some((_, true)) => {}
            Some((owner, false)) => {
                if !self.acquire(key, &owner, true, wait, timeout).await? {
                    return Ok(false);
                }
            }
            None => {
                let limit = self.db.shared.router.config.advisory_locks;
                if self.held.lock().len() >= limit {
                    return Err(KvError::LocksExhausted { what: "the session's advisory locks" });
                }
                let owner = self.owner().await?;
                if !self.acquire(key, &owner, exclusive, wait, timeout).await? {
                    return Ok(false);
                }
                let held = Held { owner, session: [0; 2], transaction: [0; 2] };
                self.held.lock().insert(key, held);
            }
        }
        if let Some(held) = self.held.lock().get_mut(&key) {
            *held.count(scope, exclusive) += 1;
        }
        if scope == Scope::Transaction {
            self.taken.lock().push((key, exclusive));
        }
        self.recent.lock().push((key, exclusive, scope));
        Ok(true)
    }

    /// A statement begins.
    pub fn begin_statement(&self) {
        self.recent.lock().clear();
    }

    /// The statement has to run again: what it took so far is given back.
    pub async fn undo_statement(&self) {
        let recent = std::mem::take(&mut *self.recent.lock());
        if recent.is_empty() {
            return;
        }
        let _turn = self.turn.lock().await;
        for (key, exclusive, scope) in recent.into_iter().rev() {
            if scope == Scope::Transaction {
                let mut taken = self.taken.lock();
                if let Some(at) = taken.iter().rposition(|t| *t == (key, exclusive)) {
                    taken.remove(at);
                }
            }
            if self.uncount(key, scope, exclusive) {
                self.settle(key, exclusive).await;
            }
        }
    }

    /// Gives back a lock of the session once; false if it does not have it in this mode.
    pub async fn unlock(&self, key: AdvisoryKey, exclusive: bool) -> bool {
        let _turn = self.turn.lock().await;
        if !self.uncount(key, Scope::Session, exclusive) {
            return false;
        }
        self.settle(key, exclusive).await;
        true
    }

    /// Gives back all locks of the session; those of the transaction stay.
    pub async fn unlock_all(&self) {
        let _turn = self.turn.lock().await;
        let mut changed = Vec::new();
        for (key, held) in self.held.lock().iter_mut() {
            if held.session != [0, 0] {
                changed.push((*key, held.exclusive()));
                held.session = [0, 0];
            }
        }
        for (key, was_exclusive) in changed {
            self.settle(key, was_exclusive).await;
        }
    }

    /// Whether the session holds any lock.
    #[must_use]
    pub fn holds_any(&self) -> bool {
        self.held.lock().values().any(|held| !held.is_free())
    }

    /// How many locks were taken for the transaction so far: what a savepoint returns to.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.taken.lock().len()
    }

    /// What was taken for the transaction since a mark, to be given to [`AdvisoryLocks::release`].
    #[must_use]
    pub fn take_since(&self, mark: usize) -> Vec<(AdvisoryKey, bool)> {
        let mut taken = self.taken.lock();
        let mark = mark.min(taken.len());
        taken.split_off(mark)
    }

    /// Gives back what was taken for the transaction since a mark; zero: the transaction has ended.
    pub async fn release_to(&self, mark: usize) {
        let since = self.take_since(mark);
        if !since.is_empty() {
            self.release(since).await;
        }
    }

    /// Gives back what was taken for a transaction.
    pub async fn release(&self, taken: Vec<(AdvisoryKey, bool)>) {
        let _turn = self.turn.lock().await;
        for (key, exclusive) in taken {
            if self.uncount(key, Scope::Transaction, exclusive) {
                self.settle(key, exclusive).await;
            }
        }
    }

    /// Gives everything back: the session ends.
    pub async fn release_all(&self) {
        let _turn = self.turn.lock().await;
        self.taken.lock().clear();
        let all = std::mem::take(&mut *self.held.lock());
        for (key, held) in all {
            self.forget(key, held.owner).await;
        }
    }

    fn uncount(&self, key: AdvisoryKey, scope: Scope, exclusive: bool) -> bool {
        let mut held = self.held.lock();
        let Some(held) = held.get_mut(&key) else { return false };
        let count = held.count(scope, exclusive);
        if *count == 0 {
            return false;
        }
        *count -= 1;
        true
    }

    /// Makes the cluster know what is left of a lock after a count has changed.
    async fn settle(&self, key: AdvisoryKey, was_exclusive: bool) {
        let gone = {
            let mut held = self.held.lock();
            let is_free = held.get(&key).is_some_and(Held::is_free);
            if is_free { held.remove(&key) } else { None }
        };
        if let Some(held) = gone {
            return self.forget(key, held.owner).await;
        }
        let left = self.held.lock().get(&key).map(|held| (held.owner.clone(), held.exclusive()));
        if let Some((owner, false)) = left
            && was_exclusive
            && let Some(id) = owner.id()
            && self.write(key, id, Some(false)).await.is_ok()
        {
            // The row says shared by now. Others may get in between, but only shared ones.
            owner.unlock(&[key.to_key()]).await;
            let again = [key.to_key()];
            drop(owner.lock(&again, Strength::Share, WaitPolicy::Nowait).await);
        }
    }

    /// Deletes the row, then lets go in memory. What fails is found out by who meets the row.
    async fn forget(&self, key: AdvisoryKey, owner: Arc<Txn>) {
        if let Some(id) = owner.id() {
            drop(self.write(key, id, None).await);
        }
        owner.rollback().await;
    }

    /// A transaction that holds a lock in memory, and does nothing else.
    async fn owner(&self) -> Result<Arc<Txn>, KvError> {
        let options = TxnOptions {
            isolation: kv::Isolation::ReadCommitted,
            session_lock: true,
            ..TxnOptions::default()
        };
        let owner = self.db.begin(options);
        owner.attach(&self.activity);
        owner.begin_statement().await?;
        Ok(owner)
    }

    /// Takes the lock in memory, then writes the row, unless a holder is in the way whom the lock table
    /// does not know.
    async fn acquire(
        &self,
        key: AdvisoryKey,
        owner: &Arc<Txn>,
        exclusive: bool,
        wait: bool,
        timeout: Option<Duration>,
    ) -> Result<bool, KvError> {
        let (at, id) = ([key.to_key()], owner.id().expect("it has begun"));
        let had = self.held.lock().contains_key(&key);
        let strength = if exclusive { Strength::Update } else { Strength::Share };
        let policy = if wait { WaitPolicy::Block } else { WaitPolicy::SkipLocked };
        let runtime = self.db.shared.router.runtime.clone();
        let started = runtime.now();
        let mut pause = PAUSE;
        loop {
            let left = timeout.map(|t| t.saturating_sub(runtime.now().saturating_sub(started)));
            owner.set_lock_timeout(left.map(|t| t.max(Duration::from_millis(1))));
            let locked = match owner.lock(&at, strength, policy).await {
                Ok(locked) => locked,
                Err(error) => {
                    if !had {
                        owner.rollback().await;
                    }
                    return Err(error);
                }
            };
            if locked.iter().any(|row| row.skipped) {
                return Ok(false);
            }
            let found = self.claim(key, id, exclusive).await;
            let in_the_way = match found {
                Ok(in_the_way) if in_the_way.is_empty() => return Ok(true),
                Ok(in_the_way) => in_the_way,
                Err(error) => {
                    if !had {
                        owner.rollback().await;
                    }
                    return Err(error);
                }
            };
            // They are not in this leader's lock table: it is a new one, or they have ended.
            if !had {
                owner.unlock(&at).await;
            }
            let mut alive = None;
            for holder in in_the_way {
                if self.is_alive(key, &holder).await? {
                    alive = Some(holder);
                }
            }
            let Some(holder) = alive else { continue };
            if !wait {
                return Ok(false);
            }
            let waited = runtime.now().saturating_sub(started);
            if timeout.is_some_and(|t| waited >= t) {
                if !had {
                    owner.rollback().await;
                }
                return Err(holder.is_in_the_way(key, strength, waited));
            }
            runtime.sleep(pause).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }
}

impl Drop for AdvisoryLocks {
    /// A session that was not closed in an orderly way.
    fn drop(&mut self) {
        let held = std::mem::take(&mut *self.held.lock());
        if held.is_empty() {
            return;
        }
        let last = AdvisoryLocks::new(self.db.clone(), self.activity.clone());
        let runtime = self.db.shared.router.runtime.clone();
        detach(&*runtime, async move {
            for (key, held) in held {
                last.forget(key, held.owner).await;
            }
        });
    }
}
