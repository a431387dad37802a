//! Reads, scans and garbage collection agree with a naive model, and encodings keep order and
//! content.

use std::collections::BTreeMap;

use base::{Key, KeyRange, NodeId, Timestamp, TxnId};
use proptest::prelude::*;
use storage::mvcc::{self, Lock, LockKind, ScanOptions};
use storage::{
    Engine as _, EngineError, EngineRead, Family, MemEngine, Op, WriteBatch, local_key, local_span,
};

type Model = BTreeMap<Vec<u8>, BTreeMap<u64, Option<Vec<u8>>>>;

fn key() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => Just(0u8), 1 => Just(1), 2 => Just(b'a'), 1 => Just(255)];
    prop::collection::vec(byte, 0..4)
}

/// Key, timestamp, and value or deletion.
type Put = (Vec<u8>, u64, Option<Vec<u8>>);

fn versions() -> impl Strategy<Value = Vec<Put>> {
    let value = prop::option::weighted(0.8, prop::collection::vec(any::<u8>(), 0..8));
    prop::collection::vec((key(), 1u64..20, value), 0..60)
}

fn build(versions: &[Put]) -> (MemEngine, Model) {
    let (engine, mut model, mut batch) = (MemEngine::new(), Model::new(), WriteBatch::new());
    for (key, ts, value) in versions {
        mvcc::put_version(&mut batch, key, Timestamp(*ts), TxnId(*ts), value.as_deref());
        model.entry(key.clone()).or_default().insert(*ts, value.clone());
    }
    engine.write(&batch).expect("write");
    (engine, model)
}

fn model_get(model: &Model, key: &[u8], ts: u64) -> Option<(u64, Vec<u8>)> {
    let (at, value) = model.get(key)?.range(..=ts).next_back()?;
    Some((*at, value.clone()?))
}

fn model_scan(model: &Model, span: &KeyRange, ts: u64) -> Vec<(Vec<u8>, u64, Vec<u8>)> {
    let inside = model.keys().filter(|key| span.contains(key));
    inside
        .filter_map(|key| model_get(model, key, ts).map(|(at, value)| (key.clone(), at, value)))
        .collect()
}

/// All pages of a scan, joined, in key order.
fn scan(
    engine: &dyn EngineRead,
    span: &KeyRange,
    ts: u64,
    options: ScanOptions,
) -> Vec<(Vec<u8>, u64, Vec<u8>)> {
    let (mut rows, mut rest) = (Vec::new(), Some(span.clone()));
    while let Some(span) = rest {
        let page = mvcc::scan_at(engine, &span, Timestamp(ts), options).expect("scan");
        assert!(page.resume.is_none() || !page.rows.is_empty(), "a page that ends has a row");
        let row = |row: mvcc::Row| (row.key.0.to_vec(), row.ts.0, row.value.to_vec());
        rows.extend(page.rows.into_iter().map(row));
        rest = page.resume;
    }
    if options.reverse {
        rows.reverse();
    }
    rows
}

fn ranges_of(a: Vec<u8>, b: Vec<u8>) -> [KeyRange; 2] {
    [KeyRange::ALL, KeyRange::new(a.clone().min(b.clone()), a.max(b))]
}

proptest! {
    #[test]
    fn user_keys_keep_their_order(
        a in key(), b in key(), zeros in 0usize..320, tail in key(), ts in 0u64..3
    ) {
        let long = |key: &[u8]| [key, &vec![0; zeros], &tail].concat();
        for (a, b) in [(a.clone(), b.clone()), (long(&a), long(&b)), (long(&a), b.clone())] {
            let [ea, eb] = [&a, &b].map(|key| mvcc::encoding::encode_user_key(key));
            prop_assert_eq!(a.cmp(&b), ea.cmp(&eb), "{:?} {:?}", a, b);
            prop_assert!(a == b || !eb.starts_with(&ea), "{:?} {:?}", a, b);
            let mut back = Vec::new();
            mvcc::encoding::decode_user_key(&ea, &mut back).expect("it was encoded");
            prop_assert_eq!(&back, &a);
            let newer = mvcc::encoding::data_key(&a, Timestamp(ts + 1));
            let older = mvcc::encoding::data_key(&a, Timestamp(ts));
            prop_assert!(newer < older, "newest first");
            let (user, at) = mvcc::encoding::split_data_key(&newer).expect("a data key");
            prop_assert_eq!((user, at), (&ea[..], Timestamp(ts + 1)));
            let span = mvcc::encoding::encoded_span(&KeyRange::point(a.clone().into()));
            prop_assert!(span.contains(&newer) && span.contains(&ea));
            prop_assert_eq!(span.contains(&eb), a == b);
        }
    }

    #[test]
    fn damaged_user_keys_are_refused_not_misread(
        bytes in prop::collection::vec(any::<u8>(), 0..12)
    ) {
        let mut key = Vec::new();
        if mvcc::encoding::decode_user_key(&bytes, &mut key).is_ok() {
            // What decodes is the only encoding of it, or a longer way to write a run of zeros.
            let again = mvcc::encoding::encode_user_key(&key);
            let mut back = Vec::new();
            mvcc::encoding::decode_user_key(&again, &mut back).expect("it was encoded");
            prop_assert_eq!(back, key);
        }
    }

    #[test]
    fn reads_agree_with_the_model(
        all in versions(), a in key(), b in key(), ts in 0u64..22, rows in 0usize..4,
        bytes in 0usize..12
    ) {
        let (engine, model) = build(&all);
        let keys: Vec<_> = model.keys().cloned().chain([a.clone()]).collect();
        for key in &keys {
            let got = mvcc::get_at(&engine, key, Timestamp(ts)).expect("get");
            let got = got.map(|version| (version.ts.0, version.value.to_vec()));
            prop_assert_eq!(got, model_get(&model, key, ts));
            let newest = mvcc::newest_version(&engine, key).expect("newest");
            let newest = newest.map(|n| (n.ts.0, n.txn.0, n.value.map(|v| v.to_vec())));
            let expected = model.get(key).and_then(|versions| versions.last_key_value());
            prop_assert_eq!(newest, expected.map(|(ts, value)| (*ts, *ts, value.clone())));
        }
        for span in ranges_of(a, b) {
            let expected = model_scan(&model, &span, ts);
            for reverse in [false, true] {
                for (max_rows, max_bytes) in [(0, 0), (rows, bytes)] {
                    let options =
                        ScanOptions { reverse, max_rows, max_bytes, ..ScanOptions::default() };
                    prop_assert_eq!(&scan(&engine, &span, ts, options), &expected, "{:?}", options);
                }
            }
        }
    }

    #[test]
    fn changes_agree_with_the_model(
        all in versions(), a in key(), b in key(), from in 0u64..20, to in 0u64..20
    ) {
        let (engine, model) = build(&all);
        let (from, to) = (from.min(to), from.max(to));
        let changed = |versions: &BTreeMap<u64, _>| {
            versions.keys().rev().copied().find(|ts| (from + 1..=to).contains(ts))
        };
        for (key, versions) in &model {
            let got = mvcc::changed_key(&engine, key, Timestamp(from), Timestamp(to));
            prop_assert_eq!(got.expect("changed").map(|ts| ts.0), changed(versions));
        }
        for span in ranges_of(a, b) {
            let mut inside = model.iter().filter(|(key, _)| span.contains(key));
            let expected =
                inside.find_map(|(key, versions)| Some((key.clone(), changed(versions)?)));
            let got = mvcc::changed_in_span(&engine, &span, Timestamp(from), Timestamp(to));
            let got = got.expect("changed").map(|(key, ts)| (key.0.to_vec(), ts.0));
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn collection_changes_no_allowed_read(
        all in versions(), safe in 0u64..22, bytes in 1usize..60, examined in 0usize..5
    ) {
        let (engine, model) = build(&all);
        let all_at = |ts| scan(&engine, &KeyRange::ALL, ts, ScanOptions::default());
        let before: Vec<_> = (safe..22).map(all_at).collect();
        let mut span = KeyRange::ALL;
        loop {
            let page = mvcc::gc(&engine, &span, Timestamp(safe), bytes, examined).expect("gc");
            prop_assert!(page.batch.byte_size() < bytes + 40);
            engine.write(&page.batch).expect("write");
            for (ts, expected) in (safe..22).zip(&before) {
                prop_assert_eq!(&all_at(ts), expected, "V4: at {} with safe point {}", ts, safe);
            }
            let Some(resume) = page.resume else { break };
            prop_assert!(page.dropped > 0 || resume > span.start, "the collection does not end");
            span.start = resume;
        }
        // What is left is exactly what somebody may see, and the deletions above the safe point.
        let kept: u64 = model.values().map(|versions| {
            let above = versions.range(safe + 1..).count() as u64;
            let below = versions.range(..=safe).next_back();
            let visible = below.is_some_and(|(_, value)| value.is_some());
            above + u64::from(visible)
        }).sum();
        prop_assert_eq!(mvcc::span_stats(&engine, &KeyRange::ALL).expect("stats").versions, kept);
    }

    #[test]
    fn a_split_leaves_keys_on_both_sides(all in versions(), a in key(), b in key()) {
        let (engine, model) = build(&all);
        for span in ranges_of(a, b) {
            let keys: Vec<_> = model.keys().filter(|key| span.contains(key)).collect();
            let cut = mvcc::split_key(&engine, &span).expect("split");
            prop_assert_eq!(cut.is_some(), keys.len() > 1);
            if let Some(cut) = cut {
                prop_assert!(keys[0] < &cut.0 && keys.iter().any(|key| *key == &cut.0));
                let half = |start: &Key, end: &Key| {
                    let span = KeyRange { start: start.clone(), end: end.clone() };
                    mvcc::span_stats(&engine, &span).expect("stats").bytes
                };
                let (left, right) = (half(&span.start, &cut), half(&cut, &span.end));
                prop_assert_eq!(left + right, half(&span.start, &span.end));
            }
        }
    }

    #[test]
    fn locks_come_back(
        numbers in prop::array::uniform6(any::<u64>()), kind in 0..3, parallel: bool,
        primary in key(), value in key(),
        secondaries in prop::collection::vec(key(), 0..4), at in key(),
    ) {
        let [txn, start, min, ttl, node, incarnation] = numbers;
        let lock = Lock {
            txn: TxnId(txn),
            start_ts: Timestamp(start),
            primary: primary.into(),
            kind: [LockKind::Put, LockKind::Delete, LockKind::LockOnly][kind as usize],
            value: value.into(),
            ttl_ms: ttl,
            min_commit_ts: Timestamp(min),
            parallel,
            secondaries: secondaries.into_iter().map(Key::from).collect(),
            coordinator: NodeId(node),
            incarnation,
        };
        let (engine, mut batch) = (MemEngine::new(), WriteBatch::new());
        mvcc::put_lock(&mut batch, &at, &lock);
        engine.write(&batch).expect("write");
        prop_assert_eq!(mvcc::get_lock(&engine, &at).expect("get"), Some(lock.clone()));
        let found = mvcc::locks_in_span(&engine, &KeyRange::ALL, 0, |_| true).expect("locks");
        prop_assert_eq!(found, vec![(Key::from(at), lock)]);
    }

    #[test]
    fn a_version_remembers_its_transaction(ts: u64, txn: u64, value in prop::option::of(key())) {
        let (engine, mut batch) = (MemEngine::new(), WriteBatch::new());
        mvcc::put_version(&mut batch, b"k", Timestamp(ts), TxnId(txn), value.as_deref());
        engine.write(&batch).expect("write");
        let newest = mvcc::newest_version(&engine, b"k").expect("newest").expect("put");
        prop_assert_eq!((newest.ts.0, newest.txn.0), (ts, txn));
        prop_assert_eq!(newest.value.as_deref(), value.as_deref());
        let by = mvcc::version_by(&engine, b"k", TxnId(txn), Timestamp::ZERO).expect("by");
        prop_assert_eq!(by, Some(Timestamp(ts)));
    }

    #[test]
    fn batches_come_back(
        ops in prop::collection::vec((0usize..4, 0..3, key(), key()), 0..20),
        cut: prop::sample::Index,
    ) {
        let mut batch = WriteBatch::new();
        for (family, kind, a, b) in &ops {
            let family = Family::ALL[*family];
            match kind {
                0 => batch.put(family, a, b),
                1 => batch.delete(family, a),
                _ => batch.delete_range(family, a, b),
            }
        }
        prop_assert_eq!(batch.len(), ops.len());
        for (op, (family, kind, a, b)) in batch.iter().zip(&ops) {
            let family = Family::ALL[*family];
            let expected = match kind {
                0 => Op::Put { family, key: a, value: b },
                1 => Op::Delete { family, key: a },
                _ => Op::DeleteRange { family, start: a, end: b },
            };
            prop_assert_eq!(op, expected);
        }
        let encoded = batch.encode();
        prop_assert_eq!(encoded.len(), batch.byte_size());
        prop_assert_eq!(&WriteBatch::decode(&encoded).expect("it was encoded"), &batch);
        // A batch cut anywhere is shorter or refused; it never panics and never grows.
        let cut = cut.index(encoded.len() + 1);
        if let Ok(part) = WriteBatch::decode(&encoded[..cut]) {
            prop_assert!(part.len() <= batch.len());
            prop_assert!(part.iter().zip(&batch).all(|(a, b)| a == b));
        }
    }

    #[test]
    fn garbage_is_no_batch(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(batch) = WriteBatch::decode(&bytes) {
            prop_assert_eq!(batch.iter().count(), batch.len());
        }
    }

    #[test]
    fn a_snapshot_arrives_whole(
        all in versions(), a in key(), b in key(), max in 1usize..200, flip: prop::sample::Index
    ) {
        let (source, model) = build(&all);
        let mut batch = WriteBatch::new();
        let id = base::RangeId(3);
        batch.put(Family::Local, &local_key(id, b"state"), b"7");
        batch.put(Family::Local, &local_key(base::RangeId(4), b"state"), b"8");
        mvcc::put_record(&mut batch, &a, TxnId(5), mvcc::TxnRecord::RolledBack);
        source.write(&batch).expect("write");
        let [_, span] = ranges_of(a.clone(), b);
        let mut spans = mvcc::range_spans(&span);
        spans.push((Family::Local, local_span(id)));

        let snapshot = source.snapshot();
        let mut reader = mvcc::RawReader::new(spans.clone());
        let target = MemEngine::new();
        let mut writer = target.bulk_writer().expect("bulk");
        while let Some(chunk) = reader.next_chunk(&*snapshot, max).expect("chunk") {
            let mut damaged = chunk.to_vec();
            damaged[flip.index(chunk.len())] ^= 0x10;
            let mut nowhere = target.bulk_writer().expect("bulk");
            let refused = mvcc::apply_chunk(&damaged, &spans, &mut *nowhere);
            prop_assert!(matches!(refused, Err(EngineError::Corrupt { .. })), "{:?}", refused);
            mvcc::apply_chunk(&chunk, &spans, &mut *writer).expect("apply");
        }
        writer.finish().expect("finish");
        let expected = if span.is_empty() { vec![] } else { model_scan(&model, &span, 99) };
        prop_assert_eq!(&scan(&target, &KeyRange::ALL, 99, ScanOptions::default()), &expected);
        let state = |id| {
            let value = target.get(Family::Local, &local_key(base::RangeId(id), b"state"));
            value.expect("get").map(|value| value.to_vec())
        };
        prop_assert_eq!(state(3), Some(b"7".to_vec()));
        prop_assert_eq!(state(4), None);

        let mut batch = WriteBatch::new();
        mvcc::clear_spans(&mut batch, &spans);
        source.write(&batch).expect("write");
        let mut left = mvcc::RawReader::new(spans);
        prop_assert_eq!(left.next_chunk(&source, 1000).expect("chunk"), None);
        let others = model.keys().filter(|key| !span.contains(key)).count() as u64;
        prop_assert_eq!(mvcc::span_stats(&source, &KeyRange::ALL).expect("stats").keys, others);
    }
}
