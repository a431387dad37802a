//! The cases for engines: the promises E1 to E4 of [`crate::Engine`], and what each method says.

use std::sync::Arc;

use base::KeyRange;

use super::model::{Model, Sequence};
use super::{EngineCase, EngineHarness};
use crate::{Engine, EngineIter, EngineRead, Family, IterOptions, WriteBatch};

/// All cases for engines.
pub const ENGINE: &[EngineCase] = &[
    ("a value is what was put last", a_value_is_what_was_put_last),
    ("families are apart", families_are_apart),
    ("a batch takes effect in order", a_batch_takes_effect_in_order),
    ("delete range is half open", delete_range_is_half_open),
    ("an iterator stays inside its span", an_iterator_stays_inside_its_span),
    ("an iterator turns around", an_iterator_turns_around),
    ("iterators and snapshots stand still", iterators_and_snapshots_stand_still),
    ("first with prefix finds one entry", first_with_prefix_finds_one_entry),
    ("a crash keeps a prefix of the writes", a_crash_keeps_a_prefix_of_the_writes),
    ("durable is not newer than a flush", durable_is_not_newer_than_a_flush),
    ("bulk data is there and durable", bulk_data_is_there_and_durable),
    ("many operations agree with a model", many_operations_agree_with_a_model),
];

fn put(engine: &Arc<dyn Engine>, family: Family, pairs: &[(&str, &str)]) {
    let mut batch = WriteBatch::new();
    for (key, value) in pairs {
        batch.put(family, key.as_bytes(), value.as_bytes());
    }
    engine.write(&batch).expect("write");
}

fn get(engine: &dyn EngineRead, family: Family, key: &str) -> Option<String> {
    let value = engine.get(family, key.as_bytes()).expect("get");
    value.map(|value| String::from_utf8(value.to_vec()).expect("the tests write text"))
}

fn span(start: &str, end: &str) -> KeyRange {
    KeyRange::new(start.as_bytes().to_vec(), end.as_bytes().to_vec())
}

fn entry(iter: &dyn EngineIter) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the tests write text");
    format!("{}={}", text(iter.key()), text(iter.value().as_slice()))
}

fn all(engine: &dyn EngineRead, family: Family, span: &KeyRange) -> String {
    let mut iter = engine.iter(family, span, IterOptions::default()).expect("iter");
    let mut found = iter.seek_to_first().expect("seek");
    let mut entries = Vec::new();
    while found {
        entries.push(entry(&*iter));
        found = iter.next().expect("next");
    }
    let mut back = Vec::new();
    let mut found = iter.seek_to_last().expect("seek");
    while found {
        back.push(entry(&*iter));
        found = iter.prev().expect("prev");
    }
    back.reverse();
    assert_eq!(entries, back, "both directions");
    entries.join(" ")
}

fn a_value_is_what_was_put_last(harness: &mut dyn EngineHarness) {
    let engine = harness.engine();
    assert_eq!(get(&*engine, Family::Data, "a"), None);
    put(&engine, Family::Data, &[("a", "1"), ("b", "2"), ("", "empty key"), ("c", "")]);
    put(&engine, Family::Data, &[("a", "3")]);
    assert_eq!(get(&*engine, Family::Data, "a").as_deref(), Some("3"));
    assert_eq!(get(&*engine, Family::Data, "").as_deref(), Some("empty key"));
    assert_eq!(get(&*engine, Family::Data, "c").as_deref(), Some(""));
    let mut batch = WriteBatch::new();
    batch.delete(Family::Data, b"a");
    batch.delete(Family::Data, b"never there");
    engine.write(&batch).expect("write");
    assert_eq!(get(&*engine, Family::Data, "a"), None);
    assert_eq!(all(&*engine, Family::Data, &KeyRange::ALL), "=empty key b=2 c=");
}

fn families_are_apart(harness: &mut dyn EngineHarness) {
    let engine = harness.engine();
    for family in Family::ALL {
        put(&engine, family, &[("k", family.name())]);
    }
    for family in Family::ALL {
        assert_eq!(get(&*engine, family, "k").as_deref(), Some(family.name()));
    }
    let mut batch = WriteBatch::new();
    batch.delete_range(Family::Lock, b"", b"");
    engine.write(&batch).expect("write");
    assert_eq!(get(&*engine, Family::Lock, "k"), None);
    assert_eq!(get(&*engine, Family::Data, "k").as_deref(), Some("data"));
}

fn a_batch_takes_effect_in_order(harness: &mut dyn EngineHarness) {
    let engine = harness.engine();
    let mut batch = WriteBatch::new();
    batch.put(Family::Data, b"a", b"1");
    batch.delete(Family::Data, b"a");
    batch.put(Family::Data, b"b", b"1");
    batch.put(Family::Data, b"b", b"2");
    batch.put(Family::Data, b"c", b"1");
    batch.put(Family::Data, b"z", b"1");
    batch.delete_range(Family::Data, b"c", b"");
    batch.put(Family::Data, b"d", b"after");
    engine.write(&batch).expect("write");
    assert_eq!(all(&*engine, Family::Data, &KeyRange::ALL), "b=2 d=after");
    engine.write(&WriteBatch::new()).expect("an empty batch is a write too");
}

fn delete_range_is_half_open(harness: &mut dyn EngineHarness) {
    let engine = harness.engine();
    put(&engine, Family::Data, &[("a", "1"), ("b", "1"), ("bb", "1"), ("c", "1"), ("d", "1")]);
    let mut batch = WriteBatch::new();
    batch.delete_range(Family::Data, b"b", b"c");
    batch.delete_range(Family::Data, b"x", b"");
    batch.delete_range(Family::Data, b"d", b"d");
    engine.write(&batch).expect("write");
    assert_eq!(all(&*engine, Family::Data, &KeyRange::ALL), "a=1 c=1 d=1");
    put(&engine, Family::Data, &[("b", "again"), ("\u{7f}", "last")]);
    let mut batch = WriteBatch::new();
    batch.delete_range(Family::Data, b"c", b"");
    engine.write(&batch).expect("write");
    assert_eq!(all(&*engine, Family::Data, &KeyRange::ALL), "a=1 b=again");
    assert_eq!(get(&*engine, Family::Data, "d"), None);
}

fn an_iterator_stays_inside_its_span(harness: &mut dyn EngineHarness) {
    let engine = harness.engine();
    put(&engine, Family::Data, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")]);
    assert_eq!(all(&*engine, Family::Data, &span("b", "d")), "b=2 c=3");
    assert_eq!(all(&*engine, Family::Data, &span("bb", "")), "c=3 d=4 e=5");
    assert_eq!(all(&*engine, Family::Data, &span("", "b")), "a=1");
    assert_eq!(all(&*engine, Family::Data, &span("x", "")), "");
    assert_eq!(all(&*engine, Family::Lock, &span("", "")), "");

    let mut iter =
        engine.iter(Family::Data, &span("b", "e"), IterOptions::default()).expect("iter");
    assert!(iter.seek(b"a").expect("seek"), "a seek below the span lands at its start");
    assert_eq!(entry(&*iter), "b=2");
    assert!(!iter.prev().expect("prev"));
    assert!(iter.seek(b"bb").expect("seek"));
    assert_eq!(entry(&*iter), "c=3");
    assert!(!iter.seek(b"e").expect("seek"));
    assert!(!iter.seek(b"zz").expect("seek"));
    assert!(iter.seek_for_prev(b"zz").expect("seek"), "above the span lands at its end");
    assert_eq!(entry(&*iter), "d=4");
    assert!(!iter.next().expect("next"));
    assert!(iter.seek_for_prev(b"c").expect("seek"));
    assert_eq!(entry(&*iter), "c=3");
    assert!(iter.seek_for_prev(b"cc").expect("seek"));
    assert_eq!(entry(&*iter), "c=3");
    assert!(!iter.seek_for_prev(b"a").expect("seek"));
}

fn an_iterator_turns_around(harness: &mut dyn EngineHarness) {
    let engine = harness.engine();
    put(&engine, Family::Data, &[("a", "1"), ("b", "2"), ("c", "3")]);
    engine.flush().expect("flush");
    put(&engine, Family::Data, &[("ab", "x"), ("b", "y")]);
    let mut iter = engine.iter(Family::Data, &KeyRange::ALL, IterOptions::default()).expect("iter");
    assert!(iter.seek(b"b").expect("seek"));
    assert_eq!(entry(&*iter), "b=y");
    assert!(iter.prev().expect("prev"));
    assert_eq!(entry(&*iter), "ab=x");
    assert!(iter.next().expect("next"));
    assert_eq!(entry(&*iter), "b=y");
    assert!(iter.next().expect("next"));
    assert_eq!(entry(&*iter), "c=3");
    assert!(!iter.next().expect("next"));
    assert!(iter.seek_to_first().expect("seek"));
    assert_eq!(entry(&*iter), "a=1");
}

fn iterators_and_snapshots_stand_still(harness: &mut dyn EngineHarness) {
    let engine = harness.engine();
    put(&engine, Family::Data, &[("a", "1"), ("b", "1")]);
    let snapshot = engine.snapshot();
    let mut iter = engine.iter(Family::Data, &KeyRange::ALL, IterOptions::default()).expect("iter");
    let mut batch = WriteBatch::new();
    batch.put(Family::Data, b"a", b"2");
    batch.delete(Family::Data, b"b");
    batch.put(Family::Data, b"c", b"2");
    engine.write(&batch).expect("write");
    let later = engine.snapshot();
    let mut batch = WriteBatch::new();
    batch.delete_range(Family::Data, b"", b"");
    engine.write(&batch).expect("write");
    engine.flush().expect("flush");

    assert!(iter.seek(b"").expect("seek"));
    assert_eq!(entry(&*iter), "a=1");
    assert!(iter.next().expect("next"));
    assert_eq!(entry(&*iter), "b=1");
    assert!(!iter.next().expect("next"));
    assert_eq!(all(&*snapshot, Family::Data, &KeyRange::ALL), "a=1 b=1");
    assert_eq!(get(&*snapshot, Family::Data, "b").as_deref(), Some("1"));
    assert_eq!(all(&*later, Family::Data, &KeyRange::ALL), "a=2 c=2");
    assert_eq!(get(&*later, Family::Data, "b"), None);
    assert_eq!(all(&*engine, Family::Data, &KeyRange::ALL), "");
}

fn first_with_prefix_finds_one_entry(harness: &mut dyn EngineHarness) {
    let engine = harness.engine();
    let key = |user: &str, version: u64| [user.as_bytes(), &version.to_be_bytes()].concat();
    let first = |engine: &dyn EngineRead, user: &str, version: u64| {
        let mut seen = None;
        let from = key(user, version);
        let found = engine
            .first_with_prefix(Family::Data, &from, user.len(), &mut |key, value| {
                assert!(seen.is_none(), "visited twice");
                seen = Some((key.to_vec(), value.to_bytes(1)));
            })
            .expect("first_with_prefix");
        assert_eq!(found, seen.is_some());
        seen.map(|(key, value)| (key, String::from_utf8(value.to_vec()).expect("text")))
    };
    let mut batch = WriteBatch::new();
    for (user, version, value) in [("k1", 3, "-a"), ("k1", 7, "-b"), ("k3", 5, "-c")] {
        batch.put(Family::Data, &key(user, version), value.as_bytes());
    }
    engine.write(&batch).expect("write");
    let snapshot = engine.snapshot();
    for flushed in [false, true] {
        let check = |engine: &dyn EngineRead| {
            assert_eq!(first(engine, "k1", 0), Some((key("k1", 3), "a".into())));
            assert_eq!(first(engine, "k1", 4), Some((key("k1", 7), "b".into())));
            assert_eq!(first(engine, "k1", 7), Some((key("k1", 7), "b".into())));
            assert_eq!(first(engine, "k1", 8), None);
            assert_eq!(first(engine, "k2", 0), None);
            assert_eq!(first(engine, "k3", 0), Some((key("k3", 5), "c".into())));
        };
        check(&*engine);
        check(&*snapshot);
        if !flushed {
            engine.flush().expect("flush");
        }
    }
    let mut batch = WriteBatch::new();
    batch.delete(Family::Data, &key("k1", 3));
    engine.write(&batch).expect("write");
    assert_eq!(first(&*engine, "k1", 0), Some((key("k1", 7), "b".into())));
    assert_eq!(first(&*snapshot, "k1", 0), Some((key("k1", 3), "a".into())));
}

fn a_crash_keeps_a_prefix_of_the_writes(harness: &mut dyn EngineHarness) {
    let write = |engine: &Arc<dyn Engine>, n: u8| {
        let mut batch = WriteBatch::new();
        for family in Family::ALL {
            batch.put(family, b"n", &[n]);
            batch.put(family, &[b'k', n], &[n]);
            batch.delete(family, &[b'k', n.wrapping_sub(2)]);
        }
        engine.write(&batch).expect("write");
    };
    for n in 0..10 {
        write(&harness.engine(), n);
    }
    harness.engine().flush().expect("flush");
    for n in 10..20 {
        write(&harness.engine(), n);
    }
    harness.restart();
    let engine = harness.engine();
    let last = engine.get(Family::Local, b"n").expect("get").expect("flushed")[0];
    assert!(last >= 9, "E2: write 9 was flushed, {last} is the last one kept");
    for family in Family::ALL {
        let mut iter = engine.iter(family, &KeyRange::ALL, IterOptions::default()).expect("iter");
        let mut keys = Vec::new();
        let mut found = iter.seek_to_first().expect("seek");
        while found {
            keys.push(iter.key().to_vec());
            found = iter.next().expect("next");
        }
        let expected = vec![vec![b'k', last - 1], vec![b'k', last], b"n".to_vec()];
        assert_eq!(keys, expected, "E1: {family:?} is not where local is");
        assert_eq!(engine.get(family, b"n").expect("get").as_deref(), Some(&[last][..]), "E1");
    }
}

fn durable_is_not_newer_than_a_flush(harness: &mut dyn EngineHarness) {
    let engine = harness.engine();
    let durable = |engine: &Arc<dyn Engine>, key: &str| {
        engine
            .get_durable(Family::Local, key.as_bytes())
            .expect("get_durable")
            .map(|value| String::from_utf8(value.to_vec()).expect("text"))
    };
    put(&engine, Family::Local, &[("applied", "1")]);
    engine.flush().expect("flush");
    assert_eq!(durable(&engine, "applied").as_deref(), Some("1"));
    put(&engine, Family::Local, &[("applied", "2"), ("new", "2")]);
    // The engine may have flushed by itself; what it says must survive the crash.
    let claimed = durable(&engine, "applied").expect("it was flushed");
    drop(engine);
    harness.restart();
    let engine = harness.engine();
    let kept = get(&*engine, Family::Local, "applied").expect("it was flushed");
    assert!(kept >= claimed, "{claimed} was said to be durable, {kept} is there");
    assert_eq!(durable(&engine, "applied"), Some(kept));
}

fn bulk_data_is_there_and_durable(harness: &mut dyn EngineHarness) {
    let engine = harness.engine();
    put(&engine, Family::Data, &[("a", "old"), ("k00500", "old"), ("z", "old")]);
    let mut batch = WriteBatch::new();
    batch.delete_range(Family::Data, b"k", b"l");
    engine.write(&batch).expect("write");
    let mut bulk = engine.bulk_writer().expect("bulk writer");
    for n in 0..1000 {
        bulk.put(Family::Data, format!("k{n:05}").as_bytes(), b"new").expect("put");
    }
    bulk.put(Family::Lock, b"l", b"new").expect("put");
    bulk.finish().expect("finish");
    engine.bulk_writer().expect("bulk writer").finish().expect("nothing at all");
    assert_eq!(get(&*engine, Family::Data, "k00500").as_deref(), Some("new"));
    drop(engine);
    harness.restart();
    let engine = harness.engine();
    for n in 0..1000 {
        assert_eq!(get(&*engine, Family::Data, &format!("k{n:05}")).as_deref(), Some("new"));
    }
    assert_eq!(get(&*engine, Family::Lock, "l").as_deref(), Some("new"));
    let size = engine.approximate_size(Family::Data, &span("k", "l")).expect("size");
    assert!(size > 0, "a thousand entries take room");
    put(&engine, Family::Data, &[("k00001", "newer")]);
    assert_eq!(get(&*engine, Family::Data, "k00001").as_deref(), Some("newer"));
}

fn many_operations_agree_with_a_model(harness: &mut dyn EngineHarness) {
    let mut random = Sequence::new(7);
    let mut model = Model::default();
    for round in 0..60 {
        let engine = harness.engine();
        let mut batch = WriteBatch::new();
        for _ in 0..random.below(12) {
            model.random_op(&mut random, &mut batch);
        }
        engine.write(&batch).expect("write");
        if random.below(8) == 0 {
            engine.flush().expect("flush");
        }
        let snapshot = engine.snapshot();
        model.check(&*engine, &mut random);
        model.check(&*snapshot, &mut random);
        drop((snapshot, engine));
        if round % 20 == 19 {
            harness.engine().flush().expect("flush");
            harness.restart();
            model.check(&*harness.engine(), &mut random);
        }
    }
}
