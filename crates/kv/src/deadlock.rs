//! Waits of this node's transactions: feeds [`txn::deadlock`] and carries out what it finds.
//!
//! Leaders tell a transaction's coordinator when one of its requests has waited for a while; probes
//! travel from coordinator to coordinator. Whoever is found to be the youngest in a cycle is killed:
//! its waits end with [`KvError::Deadlock`] and its locks are released.

use std::time::Duration;

use base::{Key, NodeId, RangeId, Timestamp, TxnId};
use proto::kv;
use txn::deadlock::{Blocker, Detector, Edge, Effect, Family, Probe};
use txn::lock_table::Strength;
use txn::{Owner, Rank};

use crate::db::{Db, Shared};
use crate::error::{KvError, WaitEdge};
use crate::router::Replay;
use crate::runtime::detach;
use crate::scatter::scatter;
use crate::txn::{Claim, release_all};

impl Db {
    /// A leader tells that a request of one of our transactions waits.
    pub fn on_wait_notice(&self, notice: kv::WaitNotice) {
        let (node, incarnation) = self.shared.router.transport.local_node();
        let waiter = Owner {
            txn: TxnId(notice.waiter),
            start: Timestamp(notice.waiter_start_ts),
            coordinator: node,
            incarnation,
        };
        let range = RangeId(notice.range_id);
        let blockers = notice.blockers.iter().filter_map(|blocker| {
            Some(Blocker {
                holder: owner(blocker.txn.as_ref()?),
                key: Key(blocker.key.clone()),
                wish: strength_in(notice.wish()),
                held: strength_in(blocker.held()),
                waited: notice.waited_ms * 1000,
            })
        });
        let blockers = blockers.collect();
        self.detect(|detector, now, family| detector.notice(now, waiter, range, blockers, family));
    }

    /// A deadlock probe arrives.
    pub fn on_probe(&self, probe: kv::Probe) {
        let Some(probe) = probe_in(&probe) else { return };
        self.detect(|detector, now, family| detector.probe(now, probe, family));
    }

    fn detect(&self, step: impl FnOnce(&mut Detector, u64, Family<'_>) -> Vec<Effect>) {
        let shared = &self.shared;
        let now = shared.router.runtime.now().as_micros() as u64;
        let family = |txn| shared.registry.family(txn);
        let effects = step(&mut shared.detector.lock(), now, &family);
        for effect in effects {
            match effect {
                Effect::Send(probe) => {
                    let to = probe.target.coordinator;
                    shared.router.transport.send_probe(to, probe_out(&probe));
                }
                Effect::Victim { txn, cycle } => {
                    let cycle = cycle.into_iter().map(WaitEdge::from).collect();
                    if let Some(victim) = shared.registry.get(txn) {
                        victim.kill(&KvError::Deadlock { victim: txn, cycle });
                    }
                }
                Effect::Orphan { owner, key } => release_orphan(shared, owner, key),
            }
        }
    }
}

/// Releases a lock that was granted to a transaction of ours after it was over.
fn release_orphan(shared: &std::sync::Arc<Shared>, owner: Owner, key: Key) {
    let (shared, runtime) = (shared.clone(), shared.router.runtime.clone());
    detach(&*runtime, async move {
        let build = release_all;
        let meta = meta(owner);
        // If it fails, the next notice brings us here again.
        let held = vec![Claim::Key(key)];
        drop(scatter(&shared.router, Some(&meta), Replay::Safe, held, build).await);
    });
}

fn owner(meta: &kv::TxnMeta) -> Owner {
    Owner {
        txn: meta.txn_id(),
        start: meta.start(),
        coordinator: NodeId(meta.coordinator),
        incarnation: meta.incarnation,
    }
}

fn meta(owner: Owner) -> kv::TxnMeta {
    kv::TxnMeta {
        id: owner.txn.0,
        start_ts: owner.start.0,
        isolation: kv::Isolation::Serializable as i32,
        coordinator: owner.coordinator.0,
        incarnation: owner.incarnation,
    }
}

fn probe_in(probe: &kv::Probe) -> Option<Probe> {
    let path = probe.path.iter().map(|edge| Edge {
        waiter: Rank { start: Timestamp(edge.waiter_start_ts), txn: TxnId(edge.waiter) },
        holder: Rank { start: Timestamp(edge.holder_start_ts), txn: TxnId(edge.holder) },
        key: Key(edge.key.clone()),
        wish: strength_in(edge.wish()),
        held: strength_in(edge.held()),
        waited: edge.waited_ms * 1000,
    });
    let path: Vec<_> = path.collect();
    if path.is_empty() {
        return None;
    }
    Some(Probe {
        origin: owner(probe.origin.as_ref()?),
        target: owner(probe.target.as_ref()?),
        path,
        youngest: owner(probe.youngest_txn.as_ref()?),
        wound: probe.wound,
    })
}

fn probe_out(probe: &Probe) -> kv::Probe {
    let path = probe.path.iter().map(|edge| kv::WaitEdge {
        waiter: edge.waiter.txn.0,
        holder: edge.holder.txn.0,
        key: edge.key.0.clone(),
        waiter_start_ts: edge.waiter.start.0,
        holder_start_ts: edge.holder.start.0,
        wish: strength_out(edge.wish) as i32,
        held: strength_out(edge.held) as i32,
        waited_ms: edge.waited / 1000,
    });
    kv::Probe {
        origin: Some(meta(probe.origin)),
        target: Some(meta(probe.target)),
        path: path.collect(),
        youngest: probe.youngest.txn.0,
        youngest_start_ts: probe.youngest.start.0,
        youngest_txn: Some(meta(probe.youngest)),
        wound: probe.wound,
    }
}

impl From<Edge> for WaitEdge {
    fn from(edge: Edge) -> Self {
        WaitEdge {
            waiter: edge.waiter.txn,
            waiter_start: edge.waiter.start,
            holder: edge.holder.txn,
            holder_start: edge.holder.start,
            key: edge.key,
            wish: strength_out(edge.wish),
            held: strength_out(edge.held),
            waited: Duration::from_micros(edge.waited),
        }
    }
}

fn strength_in(strength: kv::Strength) -> Strength {
    match strength {
        kv::Strength::KeyShare => Strength::KeyShare,
        kv::Strength::Share => Strength::Share,
        kv::Strength::NoKeyUpdate => Strength::NoKeyUpdate,
        kv::Strength::Update => Strength::Update,
    }
}

fn strength_out(strength: Strength) -> kv::Strength {
    match strength {
        Strength::KeyShare => kv::Strength::KeyShare,
        Strength::Share => kv::Strength::Share,
        Strength::NoKeyUpdate => kv::Strength::NoKeyUpdate,
        Strength::Update => kv::Strength::Update,
    }
}
