//! Splits: by request and by size, under load, and with a crash at every step of every store loop.

mod cluster;

use std::collections::BTreeMap;

use cluster::{Outcome, USER, World};
use proto::kv::kv_error::Error;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::kv::{Get, RangeRequest, RangeResponse, TxnMeta};
use storage::Engine;

fn ranges(answer: &RangeResponse) -> usize {
    match &answer.response {
        Some(Response::Split(split)) => split.ranges.len(),
        other => panic!("split: {other:?} {:?}", answer.error),
    }
}

#[test]
fn a_range_splits_and_both_sides_serve() {
    let mut world = World::new(1, 3);
    world.spread();
    for name in ["a", "m", "z"] {
        assert_eq!(world.put(name, "1"), Outcome::Done);
    }
    assert_eq!(ranges(&world.split(&["h", "q"])), 3);
    for name in ["a", "m", "z"] {
        assert_eq!(world.get(name).as_deref(), Some("1"));
        assert_eq!(world.put(name, "2"), Outcome::Done);
        assert_eq!(world.get(name).as_deref(), Some("2"));
    }
    // At a border there is nothing left to do.
    assert_eq!(ranges(&world.split(&["h"])), 1);
    world.check_replicas_agree();
    for node in &world.nodes {
        assert_eq!(node.replicas.len(), 4, "on {}", node.id);
    }
}

#[test]
fn a_split_interrupts_service_for_a_moment_only() {
    let mut world = World::new(2, 3);
    world.spread();
    assert_eq!(world.put("a", "1"), Outcome::Done);
    assert_eq!(world.put("z", "1"), Outcome::Done);
    let before = world.now;
    assert_eq!(ranges(&world.split(&["m"])), 2);
    assert_eq!(world.put("a", "2"), Outcome::Done);
    assert_eq!(world.put("z", "2"), Outcome::Done);
    assert!(world.now - before < 600_000, "took {} us", world.now - before);
}

#[test]
fn a_large_range_asks_to_be_split() {
    let mut world = World::new(3, 1);
    world.config.split_bytes = 10_000;
    world.restart(0);
    let big = "x".repeat(500);
    for n in 0..40 {
        assert_eq!(world.put(&format!("k{n:02}"), &big), Outcome::Done);
    }
    assert!(world.splits_wanted.contains(&USER));
    let node = &world.nodes[0];
    let span = node.replicas[&USER].descriptor().span();
    let at = storage::mvcc::split_key(&*node.engine, &span).expect("memory").expect("many keys");
    let name = String::from_utf8(at.as_bytes()[1..].to_vec()).expect("text");
    assert_eq!(ranges(&world.split(&[&name])), 2);
    for n in 0..40 {
        assert_eq!(world.get(&format!("k{n:02}")).as_deref(), Some(&big[..]));
    }
}

#[test]
fn a_request_for_the_part_that_went_is_sent_on() {
    let mut world = World::new(4, 1);
    assert_eq!(world.put("z", "1"), Outcome::Done);
    assert_eq!(ranges(&world.split(&["m"])), 2);
    let get = Get { keys: vec![cluster_key("z")], read_ts: world.timestamp() };
    let txn = TxnMeta { id: get.read_ts, start_ts: get.read_ts, ..Default::default() };
    let request = RangeRequest { range_id: 2, txn: Some(txn), request: Some(Request::Get(get)) };
    let token = world.request(0, request, cluster::Purpose::Client);
    let answer = world.answers.remove(&token).expect("answered at once");
    match answer.error.and_then(|e| e.error) {
        Some(Error::WrongRange(wrong)) => assert_eq!(wrong.ranges[0].range_id, 2),
        other => panic!("expected wrong range, got {other:?}"),
    }
}

/// Kills one node at the n-th step of its store loop after a split was asked for, for every n,
/// while some engines are flushed and others are not; then everything is there, and everybody
/// agrees.
#[test]
fn a_split_survives_a_crash_at_every_step() {
    for node in 1..=3_u64 {
        for step in 0..40 {
            let mut world = World::new(node * 100 + step, 3);
            world.spread();
            let mut expected = BTreeMap::new();
            for n in 0..12 {
                let name = format!("k{n:02}");
                assert_eq!(world.put(&name, "old"), Outcome::Done);
                expected.insert(name, "old");
            }
            for index in 0..3 {
                if world.rng.chance(50) {
                    world.nodes[index].engine.flush().expect("memory");
                }
            }
            world.doom = Some((base::NodeId(node), step));
            world.split(&["k06"]);
            for n in [1, 7, 11] {
                let name = format!("k{n:02}");
                while world.put(&name, "new") != Outcome::Done {}
                expected.insert(name, "new");
            }
            world.run_for(200_000);
            world.doom = None;
            for index in 0..3 {
                if !world.nodes[index].up {
                    world.start(index);
                }
            }
            world.run_for(3_000_000);
            // Then all at once, so that the split is applied again from the log where it was lost.
            for index in 0..3 {
                world.restart(index);
            }
            for (name, value) in &expected {
                let found = world.get(name);
                assert_eq!(found.as_deref(), Some(*value), "n{node} died at step {step}: {name}");
            }
            world.check_replicas_agree();
        }
    }
}

/// The new range's vote and log outlive a crash of everybody.
#[test]
fn a_new_range_survives_a_crash_of_all_nodes() {
    let mut world = World::new(6, 3);
    world.spread();
    for index in 0..3 {
        world.nodes[index].engine.flush().expect("memory");
    }
    assert_eq!(world.put("z", "1"), Outcome::Done);
    assert_eq!(ranges(&world.split(&["m"])), 2);
    for n in 0..20 {
        assert_eq!(world.put("z", &n.to_string()), Outcome::Done);
    }
    let right = world.locate(&cluster_key("z"));
    let before = world.with(0, right, |r, ctx, _| r.view(ctx).raft.last);
    assert!(before > 20, "the new range has a log, up to {before}");
    for index in 0..3 {
        world.restart(index);
    }
    assert_eq!(world.get("z").as_deref(), Some("19"));
    assert_eq!(world.locate(&cluster_key("z")), right);
    world.check_replicas_agree();
}

fn cluster_key(name: &str) -> bytes::Bytes {
    bytes::Bytes::from([&[0x10], name.as_bytes()].concat())
}
