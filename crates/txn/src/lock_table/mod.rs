//! Which transaction holds which key or span of one range, and who waits behind it.
//!
//! Pure state: no clock, no task, no disk. [`LockTable::acquire`] answers with a [`Verdict`] and the
//! caller (`range::eval`) carries it out. Locks here die with the leader, unless it hands them over
//! ([`LockTable::carried`]); the ones that must outlive it are the replicated locks in `storage::mvcc`. A
//! holder whose lock is replicated as well is marked so: it stays until the replicated lock is settled,
//! whatever becomes of its coordinator.
//!
//! # Order
//!
//! A transaction keeps its start timestamp across restarts; smaller is older.
//!
//! ```text
//!   place              holders           waiters, oldest first
//!   acct/1             U t10             S t12, U t31
//!   acct/2             S t10  KS t12     NKU t14
//!   [acct/1, acct/9)   U t10             U t40
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
//! A span excludes other spans by the same table, and whoever wants to insert a key inside: see `spans`.
//!
//! A holder that wants more (an upgrade) does not queue behind waiters: they wait for it, so waiting for
//! them would be a deadlock of our own making. It waits for other holders. The same goes for who holds a
//! span and wants a key inside of it; and who wants a span does not queue behind those whom it keeps
//! waiting itself.
//!
//! # Invariants
//!
//! - **L1** No two holders exclude each other; but a replicated lock may lie in another's span.
//! - **L2** Waiters are sorted by age; a transaction waits at most once per key or span.
//! - **L3** Every waiter conflicts with some holder or older waiter. (Otherwise it was owed a grant.)
//! - **L4** A waiter passes another only if it is older, or they go together, or that one waits for it.
//! - **L5** A key with no holder and no waiter has no entry.
//!
//! Scripts: `scripts/lock_table/`, one per behaviour. Property test: `tests/lock_table.rs`.

mod ahead;
mod carry;
mod check;
mod entry;
mod grant;
mod spans;
mod strength;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base::{Key, KeyRange, NodeId, TxnId};

use crate::{Owner, Rank};
use entry::{Entry, Holder};
use spans::{SpanClaim, Spans};

pub use carry::Carried;
pub use spans::{SPANS_MAX, SPANS_PER_TXN};
pub use strength::Strength;

/// What is locked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// One key.
    Key(Key),
    /// All keys of a span, those of no row among them: nobody else inserts there.
    Span(KeyRange),
}

impl Place {
    /// Its first key.
    #[must_use]
    pub fn start(&self) -> &Key {
        match self {
            Place::Key(key) => key,
            Place::Span(span) => &span.start,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Key(key) => key.fmt(f),
            Place::Span(span) => span.fmt(f),
        }
    }
}

/// The answer to [`LockTable::acquire`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The transaction holds the place.
    Granted,
    /// It queues. A [`Grant`] will tell when it holds the place.
    Waits,
    /// It does not queue, because it was asked not to, behind this one.
    Refused(Obstacle),
    /// The table is full; nothing has changed.
    Full,
    /// There are too many spans already; nothing has changed, and nobody is kept out. Only for a span.
    Crowded,
}

/// Who keeps a waiter waiting: a holder, or an older waiter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// Who.
    pub owner: Owner,
    /// What it holds, or wishes.
    pub strength: Strength,
    /// Where the two meet: a key that both claim, be it as part of a span.
    pub key: Key,
}

/// A waiter has become a holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Of what.
    pub place: Place,
    /// Who.
    pub txn: TxnId,
}

/// Locks and queues of one range.
#[derive(Debug, Default)]
pub struct LockTable {
    entries: BTreeMap<Key, Entry>,
    spans: Spans,
    txns: BTreeMap<TxnId, Txn>,
    /// Holders and waiters, over all keys.
    claims: usize,
    capacity: usize,
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
        self.entries.is_empty() && self.spans.is_empty()
    }

    /// Holders and waiters over all keys and spans.
    #[must_use]
    pub fn claims(&self) -> usize {
        self.claims + self.spans.len()
    }

    fn is_full(&self) -> bool {
        self.claims() >= self.capacity
    }

    /// Asks for a key. Asking again for what one holds, or waits for, changes nothing, except that a
    /// stronger wish replaces a weaker one. (Where there are spans, others may go on by that: `grants`.)
    /// `vacant`: there is no row, so to write would be to insert; of interest only where there are spans.
    pub fn acquire(
        &mut self,
        key: &Key,
        owner: Owner,
        wish: Strength,
        vacant: bool,
        wait: bool,
        grants: &mut Vec<Grant>,
    ) -> Verdict {
        let rank = owner.rank();
        let entry = self.entries.get(key.as_bytes());
        let vacant = entry.map_or(vacant, |entry| entry.vacant);
        if entry.is_none() && self.spans.is_empty() {
            if self.is_full() {
                return Verdict::Full;
            }
            self.insert_holder(key, owner, wish, false);
            return Verdict::Granted;
        }
        let inserts = vacant && wish.may_write();
        let held = entry.and_then(|entry| entry.held(owner.txn));
        let waiting = entry.and_then(|entry| entry.waiters.get(&rank).copied());
        if held.is_some_and(|held| held >= wish) {
            return Verdict::Granted;
        }
        let is_free = self.ahead_of_key(key, rank, wish, inserts).next().is_none();
        if is_free && held.is_some() {
            let entry = self.entries.get_mut(key.as_bytes()).expect("a holder has an entry");
            let own = entry.holders.iter_mut().find(|h| h.rank == rank).expect("it holds");
            own.strength = wish;
            // A wish for yet more keeps its place: others queue behind it.
            if waiting.is_some_and(|waiting| waiting <= wish) {
                entry.waiters.remove(&rank);
                self.forget_wait(key, owner.txn);
            }
            self.regrant_waits_of(owner.txn, grants);
            return Verdict::Granted;
        }
        if is_free && waiting.is_none() {
            if self.is_full() {
                return Verdict::Full;
            }
            self.insert_holder(key, owner, wish, false);
            self.entries.get_mut(key.as_bytes()).expect("it holds").vacant = vacant;
            self.regrant_waits_of(owner.txn, grants);
            return Verdict::Granted;
        }
        if !wait {
            // Who waits already, for more perhaps, is refused by what it waits for.
            let wish = waiting.map_or(wish, |waiting| waiting.max(wish));
            let inserts = vacant && wish.may_write();
            let ahead = self.ahead_of_key(key, rank, wish, inserts).next();
            return Verdict::Refused(self.obstacle(ahead.expect("a refusal has a reason")));
        }
        if waiting.is_none() && self.is_full() {
            return Verdict::Full;
        }
        let entry = self.entries.entry(key.clone()).or_default();
        entry.vacant = vacant;
        let wishes = entry.waiters.entry(rank).or_insert(wish);
        *wishes = wish.max(*wishes);
        match waiting {
            None => {
                self.claims += 1;
                self.txn(owner).waits.insert(key.clone());
            }
            Some(weaker) if weaker < wish && !self.spans.is_empty() => {
                self.regrant_key(key.as_bytes(), grants);
            }
            Some(_) => {}
        }
        Verdict::Waits
    }

    /// Whether anybody claims a span: then it matters whether there is a row.
    #[must_use]
    pub fn has_spans(&self) -> bool {
        !self.spans.is_empty()
    }

    /// Locked keys in a span of which the caller should look whether there is a row, before it asks for the
    /// span: those that no other span is around yet.
    pub fn to_judge(&self, span: &KeyRange) -> impl Iterator<Item = &Key> + '_ {
        let keys = self.entries_in(span).map(|(key, _)| key);
        keys.filter(|key| !self.spans.is_around(key.as_bytes()))
    }

    /// Whether there is no row at a key of [`LockTable::to_judge`].
    pub fn judge(&mut self, key: &Key, vacant: bool) {
        let free = !self.spans.is_around(key.as_bytes());
        if let Some(entry) = self.entries.get_mut(key.as_bytes()).filter(|_| free) {
            entry.vacant = vacant;
        }
    }

    /// Asks for a span, to keep others from inserting into it. As [`LockTable::acquire`], but it may also
    /// be [`Verdict::Crowded`].
    pub fn acquire_span(
        &mut self,
        span: &KeyRange,
        owner: Owner,
        wish: Strength,
        wait: bool,
        grants: &mut Vec<Grant>,
    ) -> Verdict {
        let rank = owner.rank();
        if span.is_empty() || self.spans.covers(owner.txn, span, wish) {
            return Verdict::Granted;
        }
        let waiting = self.spans.waiter(owner.txn, span).map(|waiting| waiting.strength);
        let wish = waiting.map_or(wish, |waiting| waiting.max(wish));
        let ahead = self.ahead_of_span(span, rank, wish).next();
        if let (Some(ahead), false) = (&ahead, wait) {
            return Verdict::Refused(self.obstacle(ahead.clone()));
        }
        if waiting.is_none() && self.spans.is_crowded(owner.txn, span, wish) {
            return Verdict::Crowded;
        }
        if waiting.is_none() && self.is_full() {
            return Verdict::Full;
        }
        // Known from now on.
        self.txn(owner);
        let claim = SpanClaim { rank, span: span.clone(), strength: wish };
        match ahead {
            None => {
                self.spans.end_wait(owner.txn, span);
                self.spans.hold(claim);
                self.regrant_waits_of(owner.txn, grants);
                Verdict::Granted
            }
            Some(_) => {
                self.spans.wait(claim);
                if waiting.is_some_and(|weaker| weaker < wish) {
                    self.regrant_span(span, grants);
                }
                Verdict::Waits
            }
        }
    }

    /// Enters the holder of a replicated lock that was met in the data: a new leader knows it from there
    /// only. Whoever holds the key in memory loses it:
    ///
    /// 1. A prewrite of t10 is in the log and not applied yet; its process dies, and its lock in memory
    ///    is granted to t20, who reads the row as it was.
    /// 2. The prewrite is applied, and t10 may be committed by whoever settles it.
    /// 3. If t20 still held the key, it could commit below t10's version, or above it unseen.
    ///
    /// Whoever holds a span around it keeps that: it was verified to be as it was read, or will be.
    pub fn adopt(&mut self, key: &Key, owner: Owner, grants: &mut Vec<Grant>) {
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
        // Who waits for it now keeps it no longer waiting elsewhere.
        self.regrant_waits_of(owner.txn, grants);
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
        self.drop_holder(key, txn);
        self.end_wait(key, txn);
        self.regrant_key(key, grants);
        self.forget_if_idle(txn);
    }

    /// Ends a transaction's claim on a part of its spans, and its waits for spans inside of that.
    pub fn release_span(&mut self, part: &KeyRange, txn: TxnId, grants: &mut Vec<Grant>) {
        self.spans.cut_out(txn, part);
        self.regrant_span(part, grants);
        self.forget_if_idle(txn);
    }

    /// Ends a transaction's wait. It may go on holding the key, if it asked for an upgrade.
    pub fn cancel(&mut self, place: &Place, txn: TxnId, grants: &mut Vec<Grant>) {
        match place {
            Place::Key(key) => {
                self.end_wait(key.as_bytes(), txn);
                self.regrant_key(key.as_bytes(), grants);
            }
            Place::Span(span) => {
                self.spans.end_wait(txn, span);
                self.regrant_span(span, grants);
            }
        }
        self.forget_if_idle(txn);
    }

    /// Ends all of a transaction's locks that are not replicated, and all of its waits.
    pub fn release_txn(&mut self, txn: TxnId, grants: &mut Vec<Grant>) {
        let Some(known) = self.txns.get(&txn) else { return };
        let keys: Vec<Key> = known.held.union(&known.waits).cloned().collect();
        for key in &keys {
            self.end_wait(key.as_bytes(), txn);
            if !self.is_replicated(key.as_bytes(), txn) {
                self.drop_holder(key.as_bytes(), txn);
            }
        }
        let spans = if self.spans.is_empty() { Vec::new() } else { self.spans.remove(txn) };
        self.regrant(keys, &spans, grants);
        self.forget_if_idle(txn);
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
        self.entries.get(key)?.held(txn)
    }

    /// Whether a transaction holds all of a span, in the mode of `wish` or a stronger one.
    #[must_use]
    pub fn holds_span(&self, span: &KeyRange, txn: TxnId, wish: Strength) -> bool {
        self.spans.covers(txn, span, wish)
    }

    /// Whether somebody holds the key by a replicated lock, and who.
    #[must_use]
    pub fn replicated_holder(&self, key: &[u8]) -> Option<Owner> {
        let entry = self.entries.get(key)?;
        let holder = entry.holders.iter().find(|h| h.replicated)?;
        Some(self.txns[&holder.rank.txn].owner)
    }

    /// Whom a waiter waits for: conflicting holders, and conflicting waiters before it.
    #[must_use]
    pub fn blockers(&self, place: &Place, txn: TxnId) -> Vec<Obstacle> {
        let (Some(wish), Some(known)) = (self.wish(place, txn), self.txns.get(&txn)) else {
            return Vec::new();
        };
        let rank = known.owner.rank();
        let obstacle = |ahead| self.obstacle(ahead);
        match place {
            Place::Key(key) => {
                let entry = &self.entries[key];
                let inserts = entry.inserts(wish);
                self.ahead_of_key(key, rank, wish, inserts).map(obstacle).collect()
            }
            Place::Span(span) => self.ahead_of_span(span, rank, wish).map(obstacle).collect(),
        }
    }

    /// What a transaction that waits for a place wishes.
    #[must_use]
    pub fn wish(&self, place: &Place, txn: TxnId) -> Option<Strength> {
        match place {
            Place::Key(key) => {
                let rank = self.txns.get(&txn)?.owner.rank();
                self.entries.get(key.as_bytes())?.waiters.get(&rank).copied()
            }
            Place::Span(span) => self.spans.waiter(txn, span).map(|waiter| waiter.strength),
        }
    }

    /// What a transaction waits for, keys first, in order.
    pub fn waits_of(&self, txn: TxnId) -> impl Iterator<Item = Place> + '_ {
        let keys = self.txns.get(&txn).into_iter().flat_map(|known| known.waits.iter());
        let spans = self.spans.waiters.iter().filter(move |w| w.rank.txn == txn);
        keys.cloned().map(Place::Key).chain(spans.map(|w| Place::Span(w.span.clone())))
    }

    /// Every holder and waiter, keys first, for people to look at.
    pub fn rows(&self) -> impl Iterator<Item = (Place, Owner, Strength, bool)> + '_ {
        let keys = self.entries.iter().flat_map(|(key, entry)| {
            let held = entry.holders.iter().map(|h| (h.rank.txn, h.strength, true));
            let waiting = entry.waiters.iter().map(|(rank, &s)| (rank.txn, s, false));
            held.chain(waiting)
                .map(|(txn, strength, granted)| (Place::Key(key.clone()), txn, strength, granted))
        });
        let row = |claim: &SpanClaim, granted| {
            (Place::Span(claim.span.clone()), claim.rank.txn, claim.strength, granted)
        };
        let held = self.spans.holders.iter().map(move |claim| row(claim, true));
        let waiting = self.spans.waiters.iter().map(move |claim| row(claim, false));
        keys.chain(held).chain(waiting).map(|(place, txn, strength, granted)| {
            (place, self.txns[&txn].owner, strength, granted)
        })
    }

    /// Moves what lies at or behind `at` into a table of its own. A span around it is divided; who waits
    /// for one must ask anew.
    #[must_use]
    pub fn split_off(&mut self, at: &Key, grants: &mut Vec<Grant>) -> LockTable {
        let around = |w: &&SpanClaim| w.span.start < *at && w.span.contains(at.as_bytes());
        let waiting: Vec<SpanClaim> = self.spans.waiters.iter().filter(around).cloned().collect();
        for claim in &waiting {
            self.spans.end_wait(claim.rank.txn, &claim.span);
        }
        // All of them first, or the end of one wait would grant the next.
        for claim in waiting {
            self.cancel(&Place::Span(claim.span), claim.rank.txn, grants);
        }
        let entries = self.entries.split_off(at.as_bytes());
        let mut right = LockTable::new(self.capacity);
        for entry in entries.values() {
            right.claims += entry.holders.len() + entry.waiters.len();
        }
        self.claims -= right.claims;
        right.entries = entries;
        right.spans = self.spans.split_off(at);
        let txns = std::mem::take(&mut self.txns);
        for (txn, mut known) in txns {
            let held = known.held.split_off(at.as_bytes());
            let waits = known.waits.split_off(at.as_bytes());
            right.txns.insert(txn, Txn { owner: known.owner, held, waits });
            self.txns.insert(txn, known);
            right.forget_if_idle(txn);
            self.forget_if_idle(txn);
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

    fn drop_holder(&mut self, key: &[u8], txn: TxnId) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(at) = entry.holders.iter().position(|h| h.rank.txn == txn) {
            entry.holders.remove(at);
            self.claims -= 1;
            let held = self.txns.get_mut(&txn).expect("holders are known");
            held.held.remove(key);
        }
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
        let idle = self.txns.get(&txn).is_some_and(|t| t.held.is_empty() && t.waits.is_empty());
        if idle && (self.spans.is_empty() || self.spans.count_of(txn) == 0) {
            self.txns.remove(&txn);
        }
    }
}
