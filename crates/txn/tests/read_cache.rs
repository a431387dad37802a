//! The read cache against a list of all reads: it never answers below the truth.

use base::{Key, KeyRange, Timestamp, TxnId};
use proptest::prelude::*;
use txn::read_cache::ReadCache;

fn key(n: u64) -> Key {
    Key::from(format!("k{n:03}").into_bytes())
}

#[derive(Debug, Clone)]
enum Op {
    Point { key: u64, ts: u64, reader: u64 },
    Span { from: u64, to: Option<u64>, ts: u64, reader: u64 },
    Rotate,
    Split { at: u64 },
}

fn op(keys: u64) -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..keys, 1..1000u64, 0..5u64)
            .prop_map(|(key, ts, reader)| Op::Point { key, ts, reader }),
        4 => (0..keys, prop::option::of(0..keys), 1..1000u64, 0..5u64)
            .prop_map(|(from, to, ts, reader)| Op::Span { from, to, ts, reader }),
        1 => Just(Op::Rotate),
        1 => (0..keys).prop_map(|at| Op::Split { at }),
    ]
}

fn span(from: u64, to: Option<u64>) -> KeyRange {
    KeyRange { start: key(from), end: to.map_or(Key::MIN, key) }
}

/// (span, timestamp, reader)
type Truth = Vec<(KeyRange, u64, u64)>;

fn check(cache: &ReadCache, truth: &Truth, keys: std::ops::Range<u64>, owned: &KeyRange) {
    cache.check_invariants();
    for k in keys {
        if !owned.contains(key(k).as_bytes()) {
            continue;
        }
        for writer in 1..5u64 {
            let least = truth
                .iter()
                .filter(|(span, _, reader)| *reader != writer && span.contains(key(k).as_bytes()))
                .map(|&(_, ts, _)| ts)
                .max()
                .unwrap_or(0);
            let got = cache.get(key(k).as_bytes(), TxnId(writer));
            assert!(got >= Timestamp(least), "R1: {} for {writer}: {got} < {least}", key(k));
        }
    }
}

proptest! {
    #[test]
    fn never_below_the_truth(ops in prop::collection::vec(op(120), 1..200)) {
        let mut cache = ReadCache::new(Timestamp(5), 128, 16);
        let mut truth: Truth = Vec::new();
        let mut owned = KeyRange::ALL;
        for op in ops {
            match op {
                Op::Point { key: k, ts, reader } => {
                    cache.read(key(k).as_bytes(), Timestamp(ts), TxnId(reader));
                    truth.push((KeyRange::point(key(k)), ts, reader));
                }
                Op::Span { from, to, ts, reader } => {
                    cache.read_span(&span(from, to), Timestamp(ts), TxnId(reader));
                    truth.push((span(from, to), ts, reader));
                }
                Op::Rotate => cache.rotate(),
                Op::Split { at } => {
                    let at = key(at);
                    if owned.contains(at.as_bytes()) && owned.start != at {
                        let right = cache.split_off(&at);
                        let rest = KeyRange { start: at.clone(), end: owned.end.clone() };
                        check(&right, &truth, 0..120, &rest);
                        owned.end = at;
                    }
                }
            }
        }
        check(&cache, &truth, 0..120, &owned);
    }

    /// With room for everything the answer is the truth: nobody is pushed without need.
    #[test]
    fn exact_while_there_is_room(ops in prop::collection::vec((0..6u64, 10..1000u64, 1..4u64), 1..60)) {
        let mut cache = ReadCache::new(Timestamp(5), 4096, 1024);
        let mut truth: Truth = Vec::new();
        for (k, ts, reader) in ops {
            cache.read_span(&KeyRange::point(key(k)), Timestamp(ts), TxnId(reader));
            truth.push((KeyRange::point(key(k)), ts, reader));
            for k in 0..6 {
                for writer in 1..4u64 {
                    let least = truth
                        .iter()
                        .filter(|(s, _, r)| *r != writer && s.contains(key(k).as_bytes()))
                        .map(|&(_, ts, _)| ts)
                        .max()
                        .unwrap_or(5);
                    let got = cache.get(key(k).as_bytes(), TxnId(writer));
                    prop_assert_eq!(got, Timestamp(least));
                }
            }
        }
    }
}
