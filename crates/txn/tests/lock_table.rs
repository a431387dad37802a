//! Random schedules over the lock table: the invariants hold after every step, and with the youngest of
//! every cycle rolled back nobody waits for ever.

use std::collections::{BTreeMap, BTreeSet};

use base::{Key, NodeId, Timestamp, TxnId};
use proptest::prelude::*;
use txn::Owner;
use txn::lock_table::{Grant, LockTable, Strength, Verdict};

fn owner(n: u64) -> Owner {
    Owner { txn: TxnId(n), start: Timestamp(n), coordinator: NodeId(n % 3 + 1), incarnation: 1 }
}

fn key(n: u64) -> Key {
    Key::from(format!("k{n}").into_bytes())
}

#[derive(Debug, Clone)]
enum Op {
    Acquire { txn: u64, key: u64, wish: Strength, wait: bool },
    Release { txn: u64, key: u64 },
    Cancel { txn: u64, key: u64 },
    ReleaseTxn { txn: u64 },
    Replicate { txn: u64, key: u64 },
    Adopt { txn: u64, key: u64 },
    Gone { node: u64 },
    Split { key: u64 },
}

fn strength() -> impl Strategy<Value = Strength> {
    prop::sample::select(vec![
        Strength::KeyShare,
        Strength::Share,
        Strength::NoKeyUpdate,
        Strength::Update,
    ])
}

fn op() -> impl Strategy<Value = Op> {
    let (txn, key) = (1..8u64, 0..5u64);
    prop_oneof![
        8 => (txn.clone(), key.clone(), strength(), prop::bool::weighted(0.8))
            .prop_map(|(txn, key, wish, wait)| Op::Acquire { txn, key, wish, wait }),
        3 => (txn.clone(), key.clone()).prop_map(|(txn, key)| Op::Release { txn, key }),
        1 => (txn.clone(), key.clone()).prop_map(|(txn, key)| Op::Cancel { txn, key }),
        2 => txn.clone().prop_map(|txn| Op::ReleaseTxn { txn }),
        1 => (txn.clone(), key.clone()).prop_map(|(txn, key)| Op::Replicate { txn, key }),
        1 => (txn, key.clone()).prop_map(|(txn, key)| Op::Adopt { txn, key }),
        1 => (1..4u64).prop_map(|node| Op::Gone { node }),
        1 => key.prop_map(|key| Op::Split { key }),
    ]
}

proptest! {
    #[test]
    fn invariants_hold(ops in prop::collection::vec(op(), 1..120)) {
        let mut table = LockTable::new(24);
        for op in ops {
            let mut grants: Vec<Grant> = Vec::new();
            match op {
                Op::Acquire { txn, key: k, wish, wait } => {
                    let verdict = table.acquire(&key(k), owner(txn), wish, wait);
                    let held = table.held(key(k).as_bytes(), TxnId(txn));
                    prop_assert_eq!(verdict == Verdict::Granted, held >= Some(wish));
                }
                Op::Release { txn, key: k } => {
                    table.release(key(k).as_bytes(), TxnId(txn), &mut grants);
                    prop_assert_eq!(table.held(key(k).as_bytes(), TxnId(txn)), None);
                }
                Op::Cancel { txn, key: k } => table.cancel(key(k).as_bytes(), TxnId(txn), &mut grants),
                Op::ReleaseTxn { txn } => table.release_txn(TxnId(txn), &mut grants),
                Op::Replicate { txn, key: k } => {
                    if table.held(key(k).as_bytes(), TxnId(txn)).is_some_and(Strength::may_write) {
                        table.mark_replicated(&key(k), TxnId(txn));
                    }
                }
                Op::Adopt { txn, key: k } => {
                    let held = table.held(key(k).as_bytes(), TxnId(txn));
                    // Two transactions never have replicated locks on one key.
                    let other = table.replicated_holder(key(k).as_bytes());
                    let alone = other.is_none_or(|holder| holder.txn == TxnId(txn));
                    if alone && held.is_none_or(Strength::may_write) {
                        table.adopt(&key(k), owner(txn));
                    }
                }
                Op::Gone { node } => {
                    table.release_coordinator(NodeId(node), 1, &mut grants);
                }
                Op::Split { key: k } => {
                    let right = table.split_off(&key(k));
                    right.check_invariants();
                }
            }
            table.check_invariants();
            for grant in grants {
                prop_assert!(table.held(grant.key.as_bytes(), grant.txn).is_some());
            }
        }
    }

    /// Each transaction takes its keys in its own order and then ends. Deadlocks are certain.
    #[test]
    fn nobody_waits_for_ever(
        plans in prop::collection::vec(
            prop::collection::vec((0..5u64, strength()), 1..6), 2..9),
        schedule in prop::collection::vec(any::<prop::sample::Index>(), 400),
    ) {
        let mut table = LockTable::new(1_000);
        let mut left: BTreeMap<u64, Vec<(u64, Strength)>> =
            plans.into_iter().enumerate().map(|(n, plan)| (n as u64 + 1, plan)).collect();
        let mut waiting: BTreeMap<u64, u64> = BTreeMap::new();
        let mut turns = schedule.into_iter();
        while !left.is_empty() {
            let mut grants = Vec::new();
            let able: Vec<u64> =
                left.keys().copied().filter(|txn| !waiting.contains_key(txn)).collect();
            if able.is_empty() {
                // Everybody waits, so there is a cycle: its youngest goes.
                let victim = youngest_in_cycle(&table, &waiting);
                left.remove(&victim);
                waiting.remove(&victim);
                table.release_txn(TxnId(victim), &mut grants);
            } else {
                let Some(turn) = turns.next() else { break };
                let txn = *turn.get(&able);
                match left.get_mut(&txn).expect("able").pop() {
                    Some((k, wish)) => {
                        if table.acquire(&key(k), owner(txn), wish, true) == Verdict::Waits {
                            waiting.insert(txn, k);
                        }
                    }
                    None => {
                        left.remove(&txn);
                        table.release_txn(TxnId(txn), &mut grants);
                    }
                }
            }
            for grant in grants {
                waiting.remove(&grant.txn.0);
            }
            table.check_invariants();
            for (&txn, &k) in &waiting {
                prop_assert!(!table.blockers(key(k).as_bytes(), TxnId(txn)).is_empty());
            }
        }
        if left.is_empty() {
            prop_assert!(table.is_empty());
            prop_assert_eq!(table.claims(), 0);
        }
    }
}

/// PostgreSQL's table of conflicting row locks, as its documentation has it.
#[test]
fn conflicts_are_those_of_postgresql() {
    use Strength::{KeyShare, NoKeyUpdate, Share, Update};
    let all = [KeyShare, Share, NoKeyUpdate, Update];
    let table = [
        [false, false, false, true],
        [false, false, true, true],
        [false, true, true, true],
        [true, true, true, true],
    ];
    for (row, a) in table.into_iter().zip(all) {
        for (conflicts, b) in row.into_iter().zip(all) {
            assert_eq!(a.conflicts(b), conflicts, "{a:?} and {b:?}");
        }
    }
}

fn youngest_in_cycle(table: &LockTable, waiting: &BTreeMap<u64, u64>) -> u64 {
    let mut at = *waiting.keys().next().expect("somebody waits");
    let mut seen = Vec::new();
    let mut met = BTreeSet::new();
    while met.insert(at) {
        seen.push(at);
        let k = waiting[&at];
        let blockers = table.blockers(key(k).as_bytes(), TxnId(at));
        let next =
            blockers.iter().map(|ahead| ahead.owner.txn.0).find(|txn| waiting.contains_key(txn));
        at = next.expect("who waits behind somebody that runs is not stuck");
    }
    let start = seen.iter().position(|&txn| txn == at).expect("met before");
    *seen[start..].iter().max().expect("a cycle has members")
}
