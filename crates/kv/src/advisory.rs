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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{Key, KeyRange, NodeId, TxnId, keyspace};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use proto::kv;
use proto::kv::inspect::What;
use proto::kv::{Strength, WaitPolicy};

use crate::activity::Activity;
use crate::db::Db;
use crate::error::{KvError, Remedy};
use crate::runtime::detach;
use crate::txn::{ScanOptions, Txn, TxnOptions};

/// How long a holder's node may take to say whether it still holds.
const REASSERT_WITHIN: Duration = Duration::from_secs(1);
/// Pause before a holder that is on its way back into the lock table is waited for there.
const PAUSE: Duration = Duration::from_millis(20);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Runs of one small transaction before its conflict is reported.
const ATTEMPTS: usize = 50;

/// Names an advisory lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdvisoryKey {
    /// By one bigint.
    One(u32, i64),
    /// By two integers.
    Two(u32, i32, i32),
}

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

/// A holder, as its row tells.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    row: Key,
    txn: TxnId,
    exclusive: bool,
    node: NodeId,
    incarnation: u64,
}

impl AdvisoryKey {
    /// Where the lock is in the key space. Its rows are behind.
    #[must_use]
    pub fn to_key(self) -> Key {
        let mut key = BytesMut::with_capacity(14);
        key.put_u8(keyspace::ADVISORY);
        match self {
            AdvisoryKey::One(database, number) => {
                key.put_u32(database);
                key.put_u8(1);
                key.put_i64(number);
            }
            AdvisoryKey::Two(database, a, b) => {
                key.put_u32(database);
                key.put_u8(2);
                key.put_i32(a);
                key.put_i32(b);
            }
        }
        Key(key.freeze())
    }

    /// Which lock a key of the key space is, if it is one.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<AdvisoryKey> {
        let mut rest = key;
        if key.len() != 14 || rest.get_u8() != keyspace::ADVISORY {
            return None;
        }
        let database = rest.get_u32();
        match rest.get_u8() {
            1 => Some(AdvisoryKey::One(database, rest.get_i64())),
            2 => Some(AdvisoryKey::Two(database, rest.get_i32(), rest.get_i32())),
            _ => None,
        }
    }

    /// The database it is of.
    #[must_use]
    pub fn database(self) -> u32 {
        match self {
            AdvisoryKey::One(database, _) | AdvisoryKey::Two(database, ..) => database,
        }
    }

    fn row(self, holder: TxnId) -> Key {
        let mut key = BytesMut::from(self.to_key().as_bytes());
        key.put_u64(holder.0);
        Key(key.freeze())
    }
}

impl Holder {
    fn read(row: &Key, value: &[u8]) -> Option<Holder> {
        let txn = row.as_bytes().get(14..22)?.try_into().ok()?;
        let mut rest = value;
        (value.len() == 17).then(|| Holder {
            row: row.clone(),
            txn: TxnId(u64::from_be_bytes(txn)),
            exclusive: rest.get_u8() != 0,
            node: NodeId(rest.get_u64()),
            incarnation: rest.get_u64(),
        })
    }
}

impl Holder {
    fn is_in_the_way(&self, key: AdvisoryKey, wish: Strength, waited: Duration) -> KvError {
        KvError::LockNotAvailable {
            key: key.to_key(),
            holder: self.txn,
            wish,
            held: if self.exclusive { Strength::Update } else { Strength::Share },
            waited,
            timed_out: true,
        }
    }
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

    /// Whether a holder still is one; it then is on its way into the lock table. Else its row goes.
    async fn is_alive(&self, key: AdvisoryKey, holder: &Holder) -> Result<bool, KvError> {
        let inspect =
            kv::Inspect { what: What::Reassert as i32, txn_id: holder.txn.0, key: key.to_key().0 };
        let alive = match self.db.ask(holder.node, inspect, REASSERT_WITHIN).await {
            Some(answer) => answer.held && answer.incarnation == holder.incarnation,
            None => !self.db.is_gone(holder.node).await,
        };
        if !alive {
            self.write(key, holder.txn, None).await?;
        }
        Ok(alive)
    }

    /// Writes the row, unless others are in the way, who are returned.
    async fn claim(
        &self,
        key: AdvisoryKey,
        own: TxnId,
        exclusive: bool,
    ) -> Result<Vec<Holder>, KvError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let txn = self.db.begin(TxnOptions::default());
            let tried = async {
                txn.begin_statement().await?;
                let holders = holders(&txn, key).await?;
                let excludes = |h: &Holder| h.txn != own && (exclusive || h.exclusive);
                let in_the_way: Vec<Holder> = holders.into_iter().filter(excludes).collect();
                if in_the_way.is_empty() {
                    txn.put(key.row(own), self.value(exclusive))?;
                    txn.commit().await?;
                }
                Ok(in_the_way)
            };
            match tried.await {
                Err(error) if is_transient(&error) && attempt < ATTEMPTS => {}
                done => return done,
            }
        }
    }

    /// Writes or deletes a row, whoever is in the way.
    async fn write(
        &self,
        key: AdvisoryKey,
        holder: TxnId,
        exclusive: Option<bool>,
    ) -> Result<(), KvError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let txn = self.db.begin(TxnOptions::default());
            let tried = async {
                txn.begin_statement().await?;
                match exclusive {
                    Some(exclusive) => txn.put(key.row(holder), self.value(exclusive))?,
                    None => txn.delete(key.row(holder))?,
                }
                txn.commit().await.map(drop)
            };
            match tried.await {
                Err(error) if is_transient(&error) && attempt < ATTEMPTS => {}
                done => return done,
            }
        }
    }

    fn value(&self, exclusive: bool) -> Bytes {
        let (node, incarnation) = self.db.shared.router.transport.local_node();
        let mut value = BytesMut::with_capacity(17);
        value.put_u8(u8::from(exclusive));
        value.put_u64(node.0);
        value.put_u64(incarnation);
        value.freeze()
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

fn is_transient(error: &KvError) -> bool {
    matches!(error.remedy(), Remedy::RerunStatement | Remedy::RestartTransaction)
}

async fn holders(txn: &Txn, key: AdvisoryKey) -> Result<Vec<Holder>, KvError> {
    let mut left: Option<KeyRange> = Some(key.to_key().prefix_range());
    let mut holders = Vec::new();
    while let Some(span) = left {
        let page = txn.scan(span, ScanOptions::default()).await?;
        holders.extend(page.rows.iter().filter_map(|(row, value)| Holder::read(row, value)));
        left = page.resume;
    }
    Ok(holders)
}

impl Db {
    /// A new leader asks whether a session here still has a lock. If so, it queues for it again, in the
    /// background: at the head, as old as it is.
    pub(crate) fn reassert(&self, txn: TxnId, key: &Key) -> bool {
        let Some(inner) = self.shared.registry.get(txn) else { return false };
        let Some(strength) = inner.session_lock_on(key) else { return false };
        let key = key.clone();
        detach(&*self.shared.router.runtime, async move {
            // If it fails, who asked will ask again.
            drop(inner.lock_again(&key, strength).await);
        });
        true
    }

    /// Whether no node of the cluster has heard of a node for so long that its transactions are over.
    async fn is_gone(&self, node: NodeId) -> bool {
        let transport = &self.shared.router.transport;
        if transport.hears_of(node) {
            return false;
        }
        let others = transport.nodes().into_iter().filter(|other| *other != node);
        let asked = others.map(|other| {
            let inspect =
                kv::Inspect { what: What::Alive as i32, txn_id: node.0, key: Bytes::new() };
            self.ask(other, inspect, REASSERT_WITHIN)
        });
        let answers = futures::future::join_all(asked).await;
        !answers.into_iter().flatten().any(|answer| answer.held)
    }
}
