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
//! A session can wait in one transaction and be waited for in another: its advisory locks are held by
//! transactions of their own. Such a *family* is one member of the graph: a probe for one of them goes on
//! along the waits of all.
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
//! - **D3** The victim is the youngest of those that wait on the path that closed the cycle, and everybody
//!   on a closed path waits.
//!
//! Scripts: `scripts/deadlock/`.

use std::collections::BTreeMap;

use base::{Key, NodeId, RangeId, TxnId};

use crate::lock_table::Strength;
use crate::{Owner, Rank};

/// Longer cycles are left to the age rule.
const PATH_MAX: usize = 64;

/// Microseconds of the monotonic clock.
pub type Micros = u64;

/// Who keeps a request waiting, where and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// Who.
    pub holder: Owner,
    /// Where.
    pub key: Key,
    /// What the waiter wishes.
    pub wish: Strength,
    /// What the holder holds, or wished earlier.
    pub held: Strength,
    /// How long the request has waited.
    pub waited: Micros,
}

/// One waits for another at a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Who waits.
    pub waiter: Rank,
    /// For whom.
    pub holder: Rank,
    /// Where.
    pub key: Key,
    /// What the waiter wishes.
    pub wish: Strength,
    /// What the holder holds, or wished earlier.
    pub held: Strength,
    /// How long it had waited when its leader told so.
    pub waited: Micros,
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
    /// The youngest of those that wait on the path.
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
    blockers: Vec<Blocker>,
}

/// What a node's coordinators know of a transaction: itself and those of the same session. Empty if it is
/// over.
pub type Family<'a> = &'a dyn Fn(TxnId) -> Vec<TxnId>;

impl Detector {
    /// For the coordinators of one process.
    #[must_use]
    pub fn new(node: NodeId, incarnation: u64, config: Config) -> Self {
        Detector { node, incarnation, config, waiters: BTreeMap::new() }
    }

    /// A leader says that a request of `waiter`, one of ours, waits in `range` for `blockers`.
    /// `family` tells which transactions of this process still run.
    pub fn notice(
        &mut self,
        now: Micros,
        waiter: Owner,
        range: RangeId,
        blockers: Vec<Blocker>,
        family: Family<'_>,
    ) -> Vec<Effect> {
        if family(waiter.txn).is_empty() {
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
        for blocker in blockers {
            let holder = blocker.holder;
            let youngest = waiter;
            let path = vec![edge(waiter, blocker)];
            if too_long && holder.rank() > waiter.rank() {
                let wound = Probe {
                    origin: waiter,
                    target: holder,
                    path: path.clone(),
                    youngest,
                    wound: true,
                };
                self.route(now, wound, family, &mut effects);
            }
            let probe = Probe { origin: waiter, target: holder, path, youngest, wound: false };
            self.route(now, probe, family, &mut effects);
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
    pub fn probe(&mut self, now: Micros, probe: Probe, family: Family<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let target = probe.target;
        if self.is_ours(target) {
            self.arrived(now, probe, family, &mut effects);
        } else if target.ran_on(self.node, self.incarnation) {
            // Of an earlier process on this node. Its requests may arrive after its end became known.
            let key = probe.path.last().expect("a path has edges").key.clone();
            effects.push(Effect::Orphan { owner: target, key });
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
            blockers.map(|blocker| edge(waiter.owner, blocker.clone()))
        })
    }

    fn is_ours(&self, owner: Owner) -> bool {
        owner.coordinator == self.node && owner.incarnation == self.incarnation
    }

    /// Towards the coordinator of the target, which may be this one.
    fn route(&mut self, now: Micros, probe: Probe, family: Family<'_>, effects: &mut Vec<Effect>) {
        let target = probe.target;
        if self.is_ours(target) {
            self.arrived(now, probe, family, effects);
        } else if target.ran_on(self.node, self.incarnation) {
            effects.extend(self.probe(now, probe, family));
        } else {
            effects.push(Effect::Send(probe));
        }
    }

    fn arrived(
        &mut self,
        now: Micros,
        probe: Probe,
        family: Family<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let target = probe.target;
        let relatives = family(target.txn);
        if relatives.is_empty() {
            self.waiters.remove(&target.txn);
            let key = probe.path.last().expect("a path has edges").key.clone();
            effects.push(Effect::Orphan { owner: target, key });
            return;
        }
        for relative in &relatives {
            let Some((waiter, blockers)) = self.waits_of(now, *relative) else { continue };
            if probe.wound {
                if waiter.rank() > probe.origin.rank() {
                    let cycle = probe.path.clone();
                    effects.push(Effect::Victim { txn: waiter.txn, cycle });
                }
            } else if target.txn == probe.origin.txn {
                // Sent by who saw it close. The path was checked edge by edge.
                if waiter.txn == target.txn {
                    effects.push(Effect::Victim { txn: target.txn, cycle: probe.path.clone() });
                }
            } else if relatives.contains(&probe.origin.txn) {
                // It has come round by a relative of the origin, which is the one that waits.
                if waiter.txn == probe.origin.txn {
                    self.close(now, probe.path.clone(), probe.youngest, family, effects);
                }
            } else {
                self.pass_on(now, &probe, waiter, blockers, family, effects);
            }
        }
    }

    /// Along the waits of `waiter`, who is the target or stands for it.
    fn pass_on(
        &mut self,
        now: Micros,
        probe: &Probe,
        waiter: Owner,
        blockers: Vec<Blocker>,
        family: Family<'_>,
        effects: &mut Vec<Effect>,
    ) {
        if probe.path.iter().any(|edge| edge.waiter.txn == waiter.txn) {
            return;
        }
        let youngest = if waiter.rank() > probe.youngest.rank() { waiter } else { probe.youngest };
        for blocker in blockers {
            let holder = blocker.holder;
            let mut path = probe.path.clone();
            path.push(edge(waiter, blocker));
            if holder.txn == probe.origin.txn {
                self.close(now, path, youngest, family, effects);
                continue;
            }
            let met = probe.path.iter().any(|edge| edge.waiter.txn == holder.txn);
            if met || path.len() >= PATH_MAX {
                continue;
            }
            let next = Probe { origin: probe.origin, target: holder, path, youngest, wound: false };
            self.route(now, next, family, effects);
        }
    }

    /// Tells the youngest of a cycle.
    fn close(
        &mut self,
        now: Micros,
        path: Vec<Edge>,
        youngest: Owner,
        family: Family<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let closed = Probe { origin: youngest, target: youngest, path, youngest, wound: false };
        self.route(now, closed, family, effects);
    }

    /// Whom a transaction of ours waits for, as far as leaders have said so lately.
    fn waits_of(&mut self, now: Micros, txn: TxnId) -> Option<(Owner, Vec<Blocker>)> {
        let ttl = self.config.edge_ttl;
        let known = self.waiters.get_mut(&txn)?;
        known.waits.retain(|_, wait| now < wait.told + ttl);
        if known.waits.is_empty() {
            self.waiters.remove(&txn);
            return None;
        }
        let blockers = known.waits.values().flat_map(|wait| wait.blockers.iter().cloned());
        Some((known.owner, blockers.collect()))
    }
}

fn edge(waiter: Owner, blocker: Blocker) -> Edge {
    let Blocker { holder, key, wish, held, waited } = blocker;
    Edge { waiter: waiter.rank(), holder: holder.rank(), key, wish, held, waited }
}
