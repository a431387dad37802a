//! Which transaction holds which key of one range, and who waits behind it.
//!
//! Pure state: no clock, no task, no disk. [`LockTable::acquire`] answers with a [`Verdict`] and the
//! caller (`range::eval`) carries it out. Locks here die with the leader; the ones that must outlive it
//! are the replicated locks in `storage::mvcc`. A holder whose lock is replicated as well is marked so:
//! it stays until the replicated lock is settled, whatever becomes of its coordinator.
//!
//! # Order
//!
//! A transaction keeps its start timestamp across restarts; smaller is older.
//!
//! ```text
//!   key      holders           waiters, oldest first
//!   acct/1   U t10             S t12, U t31
//!   acct/2   S t10  KS t12     NKU t14
//! ```
//!
//! # Strengths
//!
//! PostgreSQL's four for rows, each of which includes the weaker ones; x: the two exclude each other.
//!
//! ```text
//!                       KS   S    NKU  U
//!   KS   key share                     x     the row stays, and its key
//!   S    share                    x    x     the row stays as it is
//!   NKU  no key update       x    x    x     changed, but not in its key
//!   U    update          x   x    x    x     changed, deleted
//! ```
//!
//! A holder that wants more (an upgrade) does not queue behind waiters: they wait for it, so waiting for
//! them would be a deadlock of our own making. It waits for other holders.
//!
//! # Invariants
//!
//! - **L1** No two holders of a key exclude each other.
//! - **L2** Waiters are sorted by age; a transaction waits at most once per key.
//! - **L3** Every waiter conflicts with some holder or older waiter. (Otherwise it was owed a grant.)
//! - **L4** A waiter passes another only if it is older, or they go together, or it upgrades.
//! - **L5** A key with no holder and no waiter has no entry.
//!
//! Scripts: `scripts/lock_table/`, one per behaviour. Property test: `tests/lock_table.rs`.

use std::collections::{BTreeMap, BTreeSet};

use base::{Key, NodeId, TxnId};
use smallvec::SmallVec;

use crate::{Owner, Rank};

/// How much a lock excludes: PostgreSQL's strengths of row locks, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// Nobody deletes the row or changes its key.
    KeyShare,
    /// Nobody changes the row.
    Share,
    /// For changing what is not part of the key.
    NoKeyUpdate,
    /// For everything else; compatible with nothing.
    Update,
}

impl Strength {
    /// Whether two locks of different transactions on one key exclude each other. The table on top
    /// happens to be a sum.
    #[must_use]
    pub fn conflicts(self, other: Strength) -> bool {
        self as u8 + other as u8 >= Strength::Update as u8
    }

    /// Whether its holder may write the row.
    #[must_use]
    pub fn may_write(self) -> bool {
        self >= Strength::NoKeyUpdate
    }
}

/// The answer to [`LockTable::acquire`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The transaction holds the key.
    Granted,
    /// It queues. A [`Grant`] will tell when it holds the key.
    Waits,
    /// It does not queue, because it was asked not to, behind this one.
    Refused(Obstacle),
    /// The table is full; nothing has changed.
    Full,
}

/// Who keeps a waiter waiting: a holder, or an older waiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obstacle {
    /// Who.
    pub owner: Owner,
    /// What it holds, or wishes.
    pub strength: Strength,
}

/// A waiter has become a holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Of what.
    pub key: Key,
    /// Who.
    pub txn: TxnId,
}

/// Locks and queues of one range.
#[derive(Debug, Default)]
pub struct LockTable {
    entries: BTreeMap<Key, Entry>,
    txns: BTreeMap<TxnId, Txn>,
    /// Holders and waiters, over all keys.
    claims: usize,
    capacity: usize,
}

#[derive(Debug, Default)]
struct Entry {
    holders: SmallVec<[Holder; 1]>,
    waiters: BTreeMap<Rank, Strength>,
}

#[derive(Debug, Clone, Copy)]
struct Holder {
    rank: Rank,
    strength: Strength,
    replicated: bool,
}

#[derive(Debug)]
struct Txn {
    owner: Owner,
    held: BTreeSet<Key>,
    waits: BTreeSet<Key>,
}

impl LockTable {
    /// Empty, for at most `capacity` holders and waiters together.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        LockTable { capacity, ..Self::default() }
    }

    /// Whether nobody holds or waits for anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Holders and waiters over all keys.
    #[must_use]
    pub fn claims(&self) -> usize {
        self.claims
    }

    /// Asks for a lock. Asking again for what one holds, or waits for, changes nothing, except that a
    /// stronger wish replaces a weaker one.
    pub fn acquire(&mut self, key: &Key, owner: Owner, wish: Strength, wait: bool) -> Verdict {
        let rank = owner.rank();
        let Some(entry) = self.entries.get_mut(key.as_bytes()) else {
            if self.claims >= self.capacity {
                return Verdict::Full;
            }
            self.insert_holder(key, owner, wish, false);
            return Verdict::Granted;
        };
        let held = entry.holders.iter().position(|h| h.rank.txn == owner.txn);
        if let Some(at) = held {
            if entry.holders[at].strength >= wish {
                return Verdict::Granted;
            }
            if !entry.holders.iter().any(|h| h.excludes(rank, wish)) {
                entry.holders[at].strength = wish;
                entry.waiters.remove(&rank);
                self.forget_wait(key, owner.txn);
                return Verdict::Granted;
            }
        } else if !entry.is_blocked(rank, wish) && !entry.waiters.contains_key(&rank) {
            if self.claims >= self.capacity {
                return Verdict::Full;
            }
            self.insert_holder(key, owner, wish, false);
            return Verdict::Granted;
        }
        if !wait {
            // Who waits already, for more perhaps, is refused by what it waits for.
            let wish = entry.waiters.get(&rank).map_or(wish, |&waiting| waiting.max(wish));
            let ahead = entry.blockers(rank, wish).next().expect("a refusal has a reason");
            return Verdict::Refused(self.obstacle(ahead));
        }
        if let Some(waiting) = entry.waiters.get_mut(&rank) {
            *waiting = wish.max(*waiting);
            return Verdict::Waits;
        }
        if self.claims >= self.capacity {
            return Verdict::Full;
        }
        entry.waiters.insert(rank, wish);
        self.claims += 1;
        self.txn(owner).waits.insert(key.clone());
        Verdict::Waits
    }

    /// Enters the holder of a replicated lock that was met in the data: a new leader knows it from there
    /// only. Whoever holds the key in memory loses it:
    ///
    /// 1. A prewrite of t10 is in the log and not applied yet; its process dies, and its lock in memory
    ///    is granted to t20, who reads the row as it was.
    /// 2. The prewrite is applied, and t10 may be committed by whoever settles it.
    /// 3. If t20 still held the key, it could commit below t10's version, or above it unseen.
    pub fn adopt(&mut self, key: &Key, owner: Owner) {
        if self.held(key.as_bytes(), owner.txn).is_some() {
            return self.mark_replicated(key, owner.txn);
        }
        if let Some(entry) = self.entries.get_mut(key.as_bytes()) {
            for holder in std::mem::take(&mut entry.holders) {
                let txn = holder.rank.txn;
                assert!(!holder.replicated, "{key} is locked by {txn} and by {}", owner.txn);
                self.claims -= 1;
                let known = self.txns.get_mut(&txn).expect("holders are known");
                known.held.remove(key);
                self.forget_if_idle(txn);
            }
        }
        self.insert_holder(key, owner, Strength::Update, true);
        self.end_wait(key.as_bytes(), owner.txn);
    }

    /// The transaction's lock is now replicated too: only [`LockTable::release`] of this key ends it.
    pub fn mark_replicated(&mut self, key: &Key, txn: TxnId) {
        let holder = self
            .entries
            .get_mut(key.as_bytes())
            .and_then(|e| e.holders.iter_mut().find(|h| h.rank.txn == txn));
        if let Some(holder) = holder {
            assert!(holder.strength.may_write(), "{txn} replicates a lock of a reader: {holder:?}");
            holder.replicated = true;
        }
    }

    /// Ends a transaction's lock on one key, replicated or not, or its wait for it.
    pub fn release(&mut self, key: &[u8], txn: TxnId, grants: &mut Vec<Grant>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(at) = entry.holders.iter().position(|h| h.rank.txn == txn) {
            entry.holders.remove(at);
            self.claims -= 1;
            let held = self.txns.get_mut(&txn).expect("holders are known");
            held.held.remove(key);
        }
        self.end_wait(key, txn);
        self.grant(key, grants);
        self.forget_if_idle(txn);
    }

    /// Ends a transaction's wait for a key. It may go on holding it, if it asked for an upgrade.
    pub fn cancel(&mut self, key: &[u8], txn: TxnId, grants: &mut Vec<Grant>) {
        self.end_wait(key, txn);
        self.grant(key, grants);
        self.forget_if_idle(txn);
    }

    /// Ends all of a transaction's locks that are not replicated, and all of its waits.
    pub fn release_txn(&mut self, txn: TxnId, grants: &mut Vec<Grant>) {
        let Some(known) = self.txns.get(&txn) else { return };
        let keys: Vec<Key> = known.held.union(&known.waits).cloned().collect();
        for key in keys {
            if self.is_replicated(key.as_bytes(), txn) {
                self.cancel(key.as_bytes(), txn, grants);
            } else {
                self.release(key.as_bytes(), txn, grants);
            }
        }
    }

    /// Ends what [`LockTable::release_txn`] ends for every transaction of a process that has ended, and
    /// returns who they were.
    pub fn release_coordinator(
        &mut self,
        node: NodeId,
        incarnation: u64,
        grants: &mut Vec<Grant>,
    ) -> Vec<TxnId> {
        let gone: Vec<TxnId> = self
            .txns
            .iter()
            .filter(|(_, known)| known.owner.ran_on(node, incarnation))
            .map(|(&txn, _)| txn)
            .collect();
        for &txn in &gone {
            self.release_txn(txn, grants);
        }
        // Who waited too has no use for what it was granted on the way.
        grants.retain(|grant| !gone.contains(&grant.txn));
        gone
    }

    /// What a transaction holds of a key.
    #[must_use]
    pub fn held(&self, key: &[u8], txn: TxnId) -> Option<Strength> {
        let entry = self.entries.get(key)?;
        entry.holders.iter().find(|h| h.rank.txn == txn).map(|h| h.strength)
    }

    /// Whether somebody holds the key by a replicated lock, and who.
    #[must_use]
    pub fn replicated_holder(&self, key: &[u8]) -> Option<Owner> {
        let entry = self.entries.get(key)?;
        let holder = entry.holders.iter().find(|h| h.replicated)?;
        Some(self.txns[&holder.rank.txn].owner)
    }

    /// Whom a waiter waits for at a key: conflicting holders, and conflicting waiters before it.
    #[must_use]
    pub fn blockers(&self, key: &[u8], txn: TxnId) -> Vec<Obstacle> {
        let Some(entry) = self.entries.get(key) else { return Vec::new() };
        let Some((&rank, &wish)) = entry.waiters.iter().find(|(rank, _)| rank.txn == txn) else {
            return Vec::new();
        };
        entry.blockers(rank, wish).map(|ahead| self.obstacle(ahead)).collect()
    }

    /// What a transaction that waits for a key wishes.
    #[must_use]
    pub fn wish(&self, key: &[u8], txn: TxnId) -> Option<Strength> {
        let known = self.txns.get(&txn)?;
        let rank = Rank { start: known.owner.start, txn };
        self.entries.get(key)?.waiters.get(&rank).copied()
    }

    fn obstacle(&self, (rank, strength): (Rank, Strength)) -> Obstacle {
        Obstacle { owner: self.txns[&rank.txn].owner, strength }
    }

    /// Keys that a transaction holds, in order.
    pub fn keys_of(&self, txn: TxnId) -> impl Iterator<Item = &Key> + '_ {
        self.txns.get(&txn).into_iter().flat_map(|known| known.held.iter())
    }

    /// Keys that a transaction waits for, in order.
    pub fn waits_of(&self, txn: TxnId) -> impl Iterator<Item = &Key> + '_ {
        self.txns.get(&txn).into_iter().flat_map(|known| known.waits.iter())
    }

    /// Every holder and waiter, by key, for people to look at.
    pub fn rows(&self) -> impl Iterator<Item = (&Key, Owner, Strength, bool)> + '_ {
        self.entries.iter().flat_map(move |(key, entry)| {
            let held = entry.holders.iter().map(|h| (h.rank.txn, h.strength, true));
            let waiting = entry.waiters.iter().map(|(rank, &s)| (rank.txn, s, false));
            held.chain(waiting)
                .map(move |(txn, strength, granted)| {
                    (key, self.txns[&txn].owner, strength, granted)
                })
                .collect::<Vec<_>>()
        })
    }

    /// Moves what lies at or behind `at` into a table of its own.
    #[must_use]
    pub fn split_off(&mut self, at: &Key) -> LockTable {
        let entries = self.entries.split_off(at.as_bytes());
        let mut right = LockTable::new(self.capacity);
        for entry in entries.values() {
            right.claims += entry.holders.len() + entry.waiters.len();
        }
        self.claims -= right.claims;
        right.entries = entries;
        let txns = std::mem::take(&mut self.txns);
        for (txn, mut known) in txns {
            let held = known.held.split_off(at.as_bytes());
            let waits = known.waits.split_off(at.as_bytes());
            if !held.is_empty() || !waits.is_empty() {
                right.txns.insert(txn, Txn { owner: known.owner, held, waits });
            }
            if !known.held.is_empty() || !known.waits.is_empty() {
                self.txns.insert(txn, known);
            }
        }
        right
    }

    fn is_replicated(&self, key: &[u8], txn: TxnId) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|e| e.holders.iter().any(|h| h.rank.txn == txn && h.replicated))
    }

    fn insert_holder(&mut self, key: &Key, owner: Owner, strength: Strength, replicated: bool) {
        let holder = Holder { rank: owner.rank(), strength, replicated };
        self.entries.entry(key.clone()).or_default().holders.push(holder);
        self.claims += 1;
        self.txn(owner).held.insert(key.clone());
    }

    fn txn(&mut self, owner: Owner) -> &mut Txn {
        self.txns.entry(owner.txn).or_insert_with(|| Txn {
            owner,
            held: BTreeSet::new(),
            waits: BTreeSet::new(),
        })
    }

    fn forget_wait(&mut self, key: &Key, txn: TxnId) {
        let known = self.txns.get_mut(&txn).expect("holders and waiters are known");
        if known.waits.remove(key.as_bytes()) {
            self.claims -= 1;
        }
    }

    fn end_wait(&mut self, key: &[u8], txn: TxnId) {
        let Some(known) = self.txns.get_mut(&txn) else { return };
        if known.waits.remove(key) {
            let entry = self.entries.get_mut(key).expect("a wait has an entry");
            entry.waiters.remove(&Rank { start: known.owner.start, txn });
            self.claims -= 1;
        }
    }

    fn forget_if_idle(&mut self, txn: TxnId) {
        if self.txns.get(&txn).is_some_and(|t| t.held.is_empty() && t.waits.is_empty()) {
            self.txns.remove(&txn);
        }
    }

    /// Restores L3 and L5 at a key after something left it.
    fn grant(&mut self, key: &[u8], grants: &mut Vec<Grant>) {
        let Some((key, _)) = self.entries.get_key_value(key) else { return };
        let key = key.clone();
        let entry = self.entries.get_mut(key.as_bytes()).expect("looked up just now");
        while let Some((rank, wish)) = entry.next_grant() {
            entry.waiters.remove(&rank);
            let known = self.txns.get_mut(&rank.txn).expect("waiters are known");
            known.waits.remove(key.as_bytes());
            match entry.holders.iter_mut().find(|h| h.rank == rank) {
                Some(upgraded) => {
                    upgraded.strength = wish;
                    self.claims -= 1;
                }
                None => {
                    entry.holders.push(Holder { rank, strength: wish, replicated: false });
                    known.held.insert(key.clone());
                }
            }
            grants.push(Grant { key: key.clone(), txn: rank.txn });
        }
        if entry.holders.is_empty() && entry.waiters.is_empty() {
            self.entries.remove(key.as_bytes());
        }
    }

    /// Asserts L1 to L5 and the counts. Linear in the table, so for tests and simulation.
    pub fn check_invariants(&self) {
        let mut claims = 0;
        for (key, entry) in &self.entries {
            claims += entry.holders.len() + entry.waiters.len();
            for holder in &entry.holders {
                let excluded =
                    entry.holders.iter().any(|h| h.excludes(holder.rank, holder.strength));
                assert!(!excluded, "L1: {holder:?} of {key} is excluded by another: {entry:?}");
                let known = &self.txns[&holder.rank.txn];
                assert!(known.held.contains(key), "{key} is not among the keys of {holder:?}");
            }
            for rank in entry.waiters.keys() {
                let known = &self.txns[&rank.txn];
                assert!(known.waits.contains(key), "L2: {key} is not among the waits of {rank:?}");
                assert_eq!(known.owner.rank(), *rank, "L2: {rank:?} queues at another's place");
            }
            if let Some((&first, &wish)) = entry.waiters.first_key_value() {
                let blocked = entry.holders.iter().any(|h| h.excludes(first, wish));
                assert!(blocked, "L3: {first:?} waits at {key} behind nobody: {entry:?}");
            }
            assert!(entry.next_grant().is_none(), "L3: {key} owes a grant: {entry:?}");
            let empty = entry.holders.is_empty() && entry.waiters.is_empty();
            assert!(!empty, "L5: {key} is empty");
        }
        assert_eq!(claims, self.claims, "the count of claims is wrong");
        for (txn, known) in &self.txns {
            assert!(!known.held.is_empty() || !known.waits.is_empty(), "{txn} has no claim");
            for key in &known.held {
                assert!(self.held(key.as_bytes(), *txn).is_some(), "{txn} does not hold {key}");
            }
        }
    }
}

impl Holder {
    fn excludes(&self, rank: Rank, wish: Strength) -> bool {
        self.rank.txn != rank.txn && self.strength.conflicts(wish)
    }
}

impl Entry {
    /// Who keeps `rank` from getting `wish`: conflicting holders, and, unless it upgrades, conflicting
    /// waiters that are older.
    fn blockers(&self, rank: Rank, wish: Strength) -> impl Iterator<Item = (Rank, Strength)> + '_ {
        let upgrades = self.holders.iter().any(|h| h.rank == rank);
        let holders = self.holders.iter().filter(move |h| h.excludes(rank, wish));
        let holders = holders.map(|h| (h.rank, h.strength));
        let older = self
            .waiters
            .range(..rank)
            .filter(move |(_, other)| !upgrades && other.conflicts(wish))
            .map(|(&rank, &strength)| (rank, strength));
        holders.chain(older)
    }

    fn is_blocked(&self, rank: Rank, wish: Strength) -> bool {
        self.blockers(rank, wish).next().is_some()
    }

    /// The upgrade, or else the oldest waiter, that nothing keeps waiting.
    fn next_grant(&self) -> Option<(Rank, Strength)> {
        if self.waiters.is_empty() {
            return None;
        }
        let upgrade = self.holders.iter().find_map(|holder| {
            let &wish = self.waiters.get(&holder.rank)?;
            let excluded = self.holders.iter().any(|h| h.excludes(holder.rank, wish));
            (!excluded).then_some((holder.rank, wish))
        });
        if upgrade.is_some() {
            return upgrade;
        }
        // What conflicts with a strength conflicts with all above it, so the strongest ahead decides.
        let mut ahead = self.holders.iter().map(|h| h.strength).max();
        for (&rank, &wish) in &self.waiters {
            match ahead {
                // Not even an upgrade gets past it.
                Some(Strength::Update) => return None,
                Some(strongest) if strongest.conflicts(wish) => {}
                Some(_) | None => return Some((rank, wish)),
            }
            ahead = ahead.max(Some(wish));
        }
        None
    }
}
