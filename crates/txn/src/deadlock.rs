//! Who waits for whom over all ranges, as one node's coordinators know it, and who must go.
//!
//! Pure: notices of leaders and probes of other nodes go in, probes and victims come out. A transaction
//! never dies merely because it waits: only the *youngest* in a real cycle does, or a younger one that
//! itself waits and keeps an older one waiting for seconds.
//!
//! ```text
//!   leader's notice "t30 waits for t10"       at t30's coordinator: probe t30 ─▶ t10
//!   t10 waits for t20                         at t10's: passed on, path t30 ─▶ t10 ─▶ t20
//!   t20 waits for t30, the origin             at t20's: a cycle; the youngest, t30, is told
//! ```
//!
//! A probe is passed on along *all* waits of a blocked transaction: one statement may wait in several
//! ranges at once. Notices are repeated while a wait lasts, and so are the probes they start; a lost one
//! costs time. What every member of one cycle finds names the same victim, so that two cannot go.
//!
//! # The age rule
//!
//! In every cycle some older transaction waits for a younger one that waits. So an older one that has
//! waited `wound_after` has the younger one, if that waits at all, rolled back: no deadlock outlives lost
//! probes or bugs in the probing.
//!
//! # Invariants
//!
//! - **D1** A transaction without waits is never a victim.
//! - **D2** A path names no transaction twice, so no probe lives for ever.
//! - **D3** The victim is the youngest on the path that closed the cycle.
//!
//! Scripts: `scripts/deadlock/`.

use std::collections::BTreeMap;

use base::{Key, NodeId, RangeId, TxnId};

use crate::{Owner, Rank};

/// Longer cycles are left to the age rule.
const PATH_MAX: usize = 64;

/// Microseconds of the monotonic clock.
pub type Micros = u64;

/// One waits for another at a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Who waits.
    pub waiter: Rank,
    /// For whom.
    pub holder: Rank,
    /// Where.
    pub key: Key,
}

/// A search for a cycle through `origin`, on its way to the coordinator of `target`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Where it began.
    pub origin: Owner,
    /// Who keeps the last one of the path waiting.
    pub target: Owner,
    /// From the origin to the target.
    pub path: Vec<Edge>,
    /// The youngest transaction on the path.
    pub youngest: Owner,
    /// No search: the origin has waited too long. The target goes, if it is younger and waits.
    pub wound: bool,
}

/// What the driver must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send the probe to the coordinator of its target.
    Send(Probe),
    /// Roll back a transaction of this node.
    Victim {
        /// Which.
        txn: TxnId,
        /// The cycle that it closes, or the one edge of an older transaction that waited too long.
        cycle: Vec<Edge>,
    },
    /// A lock is held in the name of a transaction of this node that is over: send ReleaseLocks to the
    /// range of the key. (A lock request overtook the release.)
    Orphan {
        /// Whose.
        owner: Owner,
        /// Where.
        key: Key,
    },
}

/// Times of the detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Waiting so long for a younger transaction that itself waits ends that one.
    pub wound_after: Micros,
    /// What a leader said of a wait holds for so long; it repeats itself while the wait lasts.
    pub edge_ttl: Micros,
}

impl Default for Config {
    fn default() -> Self {
        Config { wound_after: 5_000_000, edge_ttl: 1_000_000 }
    }
}

/// The waits of one node's transactions.
#[derive(Debug)]
pub struct Detector {
    node: NodeId,
    incarnation: u64,
    config: Config,
    waiters: BTreeMap<TxnId, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    owner: Owner,
    waits: BTreeMap<RangeId, RangeWait>,
}

#[derive(Debug)]
struct RangeWait {
    since: Micros,
    told: Micros,
    blockers: Vec<(Owner, Key)>,
}

impl Detector {
    /// For the coordinators of one process.
    #[must_use]
    pub fn new(node: NodeId, incarnation: u64, config: Config) -> Self {
        Detector { node, incarnation, config, waiters: BTreeMap::new() }
    }

    /// A leader says that a request of `waiter`, one of ours, waits in `range` for `blockers`.
    /// `alive` tells whether a transaction of this process still runs.
    pub fn notice(
        &mut self,
        now: Micros,
        waiter: Owner,
        range: RangeId,
        blockers: Vec<(Owner, Key)>,
        alive: &dyn Fn(TxnId) -> bool,
    ) -> Vec<Effect> {
        if !alive(waiter.txn) {
            self.waiters.remove(&waiter.txn);
            return Vec::new();
        }
        let known = self
            .waiters
            .entry(waiter.txn)
            .or_insert_with(|| Waiter { owner: waiter, waits: BTreeMap::new() });
        let wait = known.waits.entry(range).or_insert(RangeWait {
            since: now,
            told: now,
            blockers: Vec::new(),
        });
        wait.told = now;
        wait.blockers.clone_from(&blockers);
        let too_long = now >= wait.since + self.config.wound_after;
        let mut effects = Vec::new();
        for (holder, key) in blockers {
            let edge = Edge { waiter: waiter.rank(), holder: holder.rank(), key };
            let youngest = if holder.rank() > waiter.rank() { holder } else { waiter };
            let path = vec![edge];
            if too_long && holder.rank() > waiter.rank() {
                let wound = Probe {
                    origin: waiter,
                    target: holder,
                    path: path.clone(),
                    youngest,
                    wound: true,
                };
                self.route(now, wound, alive, &mut effects);
            }
            let probe = Probe { origin: waiter, target: holder, path, youngest, wound: false };
            self.route(now, probe, alive, &mut effects);
        }
        effects
    }

    /// A request of one of our transactions that waited in `range` has been answered.
    pub fn wait_over(&mut self, txn: TxnId, range: RangeId) {
        if let Some(known) = self.waiters.get_mut(&txn) {
            known.waits.remove(&range);
            if known.waits.is_empty() {
                self.waiters.remove(&txn);
            }
        }
    }

    /// One of our transactions is over, or waits for nothing any more.
    pub fn ended(&mut self, txn: TxnId) {
        self.waiters.remove(&txn);
    }

    /// A probe has come from another node.
    pub fn probe(
        &mut self,
        now: Micros,
        probe: Probe,
        alive: &dyn Fn(TxnId) -> bool,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.is_ours(probe.target) {
            self.arrived(now, probe, alive, &mut effects);
        }
        effects
    }

    /// Whether nobody here waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// What is known of the waits here, for people to look at.
    pub fn edges(&self) -> impl Iterator<Item = Edge> + '_ {
        self.waiters.values().flat_map(|waiter| {
            let blockers = waiter.waits.values().flat_map(|wait| &wait.blockers);
            blockers.map(|(holder, key)| Edge {
                waiter: waiter.owner.rank(),
                holder: holder.rank(),
                key: key.clone(),
            })
        })
    }

    fn is_ours(&self, owner: Owner) -> bool {
        owner.coordinator == self.node && owner.incarnation == self.incarnation
    }

    /// Towards the coordinator of the target, which may be this one.
    fn route(
        &mut self,
        now: Micros,
        probe: Probe,
        alive: &dyn Fn(TxnId) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        if self.is_ours(probe.target) {
            self.arrived(now, probe, alive, effects);
        } else {
            effects.push(Effect::Send(probe));
        }
    }

    fn arrived(
        &mut self,
        now: Micros,
        probe: Probe,
        alive: &dyn Fn(TxnId) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        let target = probe.target;
        if !alive(target.txn) {
            self.waiters.remove(&target.txn);
            let key = probe.path.last().expect("a path has edges").key.clone();
            effects.push(Effect::Orphan { owner: target, key });
            return;
        }
        let blockers = self.blockers_of(now, target.txn);
        if blockers.is_empty() {
            return;
        }
        if probe.wound {
            if target.rank() > probe.origin.rank() {
                effects.push(Effect::Victim { txn: target.txn, cycle: probe.path });
            }
            return;
        }
        if target.txn == probe.origin.txn {
            // It has come round, or was sent by who saw it close. The path was checked edge by edge.
            effects.push(Effect::Victim { txn: target.txn, cycle: probe.path });
            return;
        }
        for (holder, key) in blockers {
            let edge = Edge { waiter: target.rank(), holder: holder.rank(), key };
            let mut path = probe.path.clone();
            path.push(edge);
            let youngest =
                if holder.rank() > probe.youngest.rank() { holder } else { probe.youngest };
            if holder.txn == probe.origin.txn {
                let closed =
                    Probe { origin: youngest, target: youngest, path, youngest, wound: false };
                self.route(now, closed, alive, effects);
                continue;
            }
            let met = probe.path.iter().any(|edge| edge.waiter.txn == holder.txn);
            if met || path.len() >= PATH_MAX {
                continue;
            }
            let next = Probe { origin: probe.origin, target: holder, path, youngest, wound: false };
            self.route(now, next, alive, effects);
        }
    }

    /// Whom a transaction of ours waits for, as far as leaders have said so lately.
    fn blockers_of(&mut self, now: Micros, txn: TxnId) -> Vec<(Owner, Key)> {
        let ttl = self.config.edge_ttl;
        let Some(known) = self.waiters.get_mut(&txn) else { return Vec::new() };
        known.waits.retain(|_, wait| now < wait.told + ttl);
        if known.waits.is_empty() {
            self.waiters.remove(&txn);
            return Vec::new();
        }
        known.waits.values().flat_map(|wait| wait.blockers.iter().cloned()).collect()
    }
}
