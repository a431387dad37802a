//! Random schedules over the lock table: the invariants hold after every step, and with the youngest of
//! every cycle rolled back nobody waits for ever.

use std::collections::{BTreeMap, BTreeSet};

use base::{Key, KeyRange, NodeId, Timestamp, TxnId};
use proptest::prelude::*;
use txn::Owner;
use txn::lock_table::{Grant, LockTable, Place, SPANS_PER_TXN, Strength, Verdict};

fn owner(n: u64) -> Owner {
    Owner { txn: TxnId(n), start: Timestamp(n), coordinator: NodeId(n % 3 + 1), incarnation: 1 }
}

fn key(n: u64) -> Key {
    Key::from(format!("k{n}").into_bytes())
}

/// From one key to another, or to the end of all.
fn span((from, to): (u64, u64)) -> KeyRange {
    let end = if to >= 5 { Key::MIN } else { key(from.max(to)) };
    KeyRange { start: key(from.min(to)), end }
}

#[derive(Debug, Clone)]
enum Op {
    AcquireSpan { txn: u64, span: (u64, u64), wish: Strength, wait: bool },
    ReleaseSpan { txn: u64, span: (u64, u64) },
    CancelSpan { txn: u64, nth: usize },
    HandOver,
    Acquire { txn: u64, key: u64, wish: Strength, vacant: bool, wait: bool },
    Judge { key: u64, vacant: bool },
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
    let span = (0..5u64, 0..6u64);
    prop_oneof![
        4 => (txn.clone(), span.clone(), span_strength(), prop::bool::weighted(0.8))
            .prop_map(|(txn, span, wish, wait)| Op::AcquireSpan { txn, span, wish, wait }),
        1 => (txn.clone(), span).prop_map(|(txn, span)| Op::ReleaseSpan { txn, span }),
        1 => (txn.clone(), 0..3usize).prop_map(|(txn, nth)| Op::CancelSpan { txn, nth }),
        1 => Just(Op::HandOver),
        8 => (
            txn.clone(),
            key.clone(),
            strength(),
            prop::bool::weighted(0.7),
            prop::bool::weighted(0.8),
        )
            .prop_map(|(txn, key, wish, vacant, wait)| {
                Op::Acquire { txn, key, wish, vacant, wait }
            }),
        1 => (key.clone(), any::<bool>()).prop_map(|(key, vacant)| Op::Judge { key, vacant }),
        3 => (txn.clone(), key.clone()).prop_map(|(txn, key)| Op::Release { txn, key }),
        1 => (txn.clone(), key.clone()).prop_map(|(txn, key)| Op::Cancel { txn, key }),
        2 => txn.clone().prop_map(|txn| Op::ReleaseTxn { txn }),
        1 => (txn.clone(), key.clone()).prop_map(|(txn, key)| Op::Replicate { txn, key }),
        1 => (txn, key.clone()).prop_map(|(txn, key)| Op::Adopt { txn, key }),
        1 => (1..4u64).prop_map(|node| Op::Gone { node }),
        1 => key.prop_map(|key| Op::Split { key }),
    ]
}

fn span_strength() -> impl Strategy<Value = Strength> {
    prop::sample::select(vec![Strength::Share, Strength::NoKeyUpdate, Strength::Update])
}

proptest! {
    #[test]
    fn invariants_hold(ops in prop::collection::vec(op(), 1..120)) {
        let mut table = LockTable::new(24);
        for op in ops {
            let mut grants: Vec<Grant> = Vec::new();
            let mut right = LockTable::new(24);
            match op {
                Op::Judge { key: k, vacant } => table.judge(&key(k), vacant),
                Op::Acquire { txn, key: k, wish, vacant, wait } => {
                    let (k, who) = (key(k), owner(txn));
                    let verdict = table.acquire(&k, who, wish, vacant, wait, &mut grants);
                    let k = &k;
                    let held = table.held(k.as_bytes(), TxnId(txn));
                    prop_assert_eq!(verdict == Verdict::Granted, held >= Some(wish));
                }
                Op::Release { txn, key: k } => {
                    table.release(key(k).as_bytes(), TxnId(txn), &mut grants);
                    prop_assert_eq!(table.held(key(k).as_bytes(), TxnId(txn)), None);
                }
                Op::AcquireSpan { txn, span: s, wish, wait } => {
                    let verdict = table.acquire_span(&span(s), owner(txn), wish, wait, &mut grants);
                    let held = span(s).is_empty() || table.holds_span(&span(s), TxnId(txn), wish);
                    prop_assert_eq!(verdict == Verdict::Granted, held);
                }
                Op::ReleaseSpan { txn, span: s } => {
                    table.release_span(&span(s), TxnId(txn), &mut grants);
                    let free = span(s).is_empty()
                        || !table.holds_span(&span(s), TxnId(txn), Strength::Share);
                    prop_assert!(free);
                }
                Op::CancelSpan { txn, nth } => {
                    let place = table.waits_of(TxnId(txn)).nth(nth);
                    if let Some(place) = place {
                        table.cancel(&place, TxnId(txn), &mut grants);
                    }
                }
                Op::HandOver => {
                    let mut heir = LockTable::new(24);
                    for lock in table.carried() {
                        // What a replicated lock has made of a span is not handed over as it was.
                        heir.install(&lock);
                    }
                    heir.check_invariants();
                }
                Op::Cancel { txn, key: k } => {
                    table.cancel(&Place::Key(key(k)), TxnId(txn), &mut grants);
                }
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
                        table.adopt(&key(k), owner(txn), &mut grants);
                    }
                }
                Op::Gone { node } => {
                    table.release_coordinator(NodeId(node), 1, &mut grants);
                }
                Op::Split { key: k } => {
                    right = table.split_off(&key(k), &mut grants);
                    right.check_invariants();
                }
            }
            table.check_invariants();
            for grant in grants {
                let here = holds(&table, &grant.place, grant.txn);
                prop_assert!(here || holds(&right, &grant.place, grant.txn));
            }
        }
    }

    /// Each transaction takes its keys and spans in its own order and then ends. Deadlocks are certain.
    #[test]
    fn nobody_waits_for_ever(
        plans in prop::collection::vec(prop::collection::vec(claim(), 1..6), 2..9),
        schedule in prop::collection::vec(any::<prop::sample::Index>(), 400),
    ) {
        let mut table = LockTable::new(1_000);
        let mut left: BTreeMap<u64, Vec<(Place, Strength)>> =
            plans.into_iter().enumerate().map(|(n, plan)| (n as u64 + 1, plan)).collect();
        let mut waiting: BTreeMap<u64, Place> = BTreeMap::new();
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
                    Some((place, wish)) => {
                        let verdict = match &place {
                            Place::Key(key) => {
                                table.acquire(key, owner(txn), wish, true, true, &mut grants)
                            }
                            Place::Span(span) => {
                                table.acquire_span(span, owner(txn), wish, true, &mut grants)
                            }
                        };
                        if verdict == Verdict::Waits {
                            waiting.insert(txn, place);
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
            for (&txn, place) in &waiting {
                prop_assert!(!table.blockers(place, TxnId(txn)).is_empty());
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

/// A span or a key, and how it is wanted.
fn claim() -> impl Strategy<Value = (Place, Strength)> {
    prop_oneof![
        2 => (0..5u64, strength()).prop_map(|(k, wish)| (Place::Key(key(k)), wish)),
        1 => ((0..5u64, 0..6u64), span_strength())
            .prop_map(|(s, wish)| (Place::Span(span(s)), wish)),
    ]
}

fn holds(table: &LockTable, place: &Place, txn: TxnId) -> bool {
    match place {
        Place::Key(key) => table.held(key.as_bytes(), txn).is_some(),
        Place::Span(span) => table.holds_span(span, txn, Strength::Share),
    }
}

/// One transaction may claim so many spans and no more; those that touch count as one, and others have
/// room.
#[test]
fn spans_of_one_transaction_are_few() {
    let mut table = LockTable::new(10_000);
    let at = |n: usize| Key::from(format!("k{n:05}").into_bytes());
    let between = |a: usize, b: usize| KeyRange { start: at(a), end: at(b) };
    let mut ask = |a, b, txn| {
        let mode = Strength::Update;
        table.acquire_span(&between(a, b), owner(txn), mode, true, &mut Vec::new())
    };
    for n in 0..SPANS_PER_TXN {
        assert_eq!(ask(3 * n, 3 * n + 1, 7), Verdict::Granted, "{n}");
    }
    assert_eq!(ask(5_000, 5_001, 7), Verdict::Crowded);
    assert_eq!(ask(1, 2, 7), Verdict::Granted, "touches one that it has");
    assert_eq!(ask(5_000, 5_001, 8), Verdict::Granted);
    table.check_invariants();
    assert_eq!(table.claims(), SPANS_PER_TXN + 1);
}

fn youngest_in_cycle(table: &LockTable, waiting: &BTreeMap<u64, Place>) -> u64 {
    let mut at = *waiting.keys().next().expect("somebody waits");
    let mut seen = Vec::new();
    let mut met = BTreeSet::new();
    while met.insert(at) {
        seen.push(at);
        let blockers = table.blockers(&waiting[&at], TxnId(at));
        let next =
            blockers.iter().map(|ahead| ahead.owner.txn.0).find(|txn| waiting.contains_key(txn));
        at = next.expect("who waits behind somebody that runs is not stuck");
    }
    let start = seen.iter().position(|&txn| txn == at).expect("met before");
    *seen[start..].iter().max().expect("a cycle has members")
}
