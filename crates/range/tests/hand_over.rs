//! A planned change of the leader takes the locks along, and it does no harm if that message is lost, late or
//! repeated.

mod cluster;

use base::{Key, NodeId};
use cluster::client::key;
use cluster::{Packet, Purpose, USER, World};
use proto::kv::kv_error::Error;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::kv::write::Kind;
use proto::kv::{
    CommitOnePhase, LockKeys, LockSpans, RangeRequest, RangeResponse, Span, Strength, TxnMeta,
    Write,
};
use proto::node::raft_message::Kind as MessageKind;
use range::Token;
use txn::lock_table::Place;

fn meta(id: u64) -> TxnMeta {
    TxnMeta { id, start_ts: id, coordinator: 1, incarnation: 1, ..Default::default() }
}

fn lock(names: &[&str]) -> Request {
    let keys = names.iter().map(|name| key(name)).collect();
    Request::LockKeys(LockKeys { keys, strength: Strength::Update as i32, ..Default::default() })
}

fn claim(from: &str, to: &str, read_ts: u64) -> Request {
    let spans = vec![Span { start: key(from), end: key(to), ..Default::default() }];
    let strength = Strength::Update as i32;
    Request::LockSpans(LockSpans { spans, strength, read_ts, ..Default::default() })
}

fn commit(names: &[&str], read_ts: u64) -> Request {
    let write = |name: &&str| Write {
        kind: Kind::Put as i32,
        key: key(name),
        value: "new".into(),
        ..Default::default()
    };
    let writes = names.iter().map(write).collect();
    Request::CommitOnePhase(CommitOnePhase { writes, read_ts, ..Default::default() })
}

/// Sends a request to whoever holds the lease.
fn send(world: &mut World, txn: u64, request: Request) -> Token {
    loop {
        if let Some(index) = world.holder(USER)
            && world.nodes[index].replicas[&USER].evaluator().is_some()
        {
            let txn = Some(meta(txn));
            let request = RangeRequest { range_id: USER.0, txn, request: Some(request) };
            return world.request(index, request, Purpose::Client);
        }
        world.run_for(10_000);
    }
}

fn answer(world: &mut World, token: Token) -> RangeResponse {
    for _ in 0..1_000 {
        if let Some(answer) = world.answers.remove(&token) {
            return answer;
        }
        world.run_for(10_000);
    }
    panic!("no answer");
}

fn ask(world: &mut World, txn: u64, request: Request) -> RangeResponse {
    let token = send(world, txn, request);
    answer(world, token)
}

/// Hands the range to the next node, and waits until it serves. Meanwhile `meddle` with what is on its way.
fn hand_over(world: &mut World, mut meddle: impl FnMut(&mut World)) -> usize {
    let old = world.holder(USER).expect("somebody leads");
    let heir = (old + 1) % world.nodes.len();
    world.transfer(USER, heir as u64 + 1);
    meddle(world);
    for _ in 0..1_000 {
        let serves = world.holder(USER).is_some_and(|index| {
            index == heir && world.nodes[index].replicas[&USER].evaluator().is_some()
        });
        if serves {
            return heir;
        }
        world.run_for(5_000);
    }
    panic!("the heir does not serve");
}

/// Who holds what at the leader: transaction and place.
fn held(world: &World, index: usize) -> Vec<(u64, Place)> {
    let evaluator = world.nodes[index].replicas[&USER].evaluator().expect("it leads");
    evaluator.lock_rows().filter(|r| r.granted).map(|r| (r.owner.txn.0, r.place)).collect()
}

fn hand_overs(world: &World) -> Vec<(u64, u64)> {
    let is_one = |packet: &Packet| match packet {
        Packet::Raft(message) => message.kind == MessageKind::HandOver as i32,
        Packet::Live { .. } | Packet::Snapshot { .. } => false,
    };
    let found = world.network.iter().filter(|(_, (_, _, packet))| is_one(packet));
    found.map(|(at, _)| *at).collect()
}

fn is_committed(response: &RangeResponse) -> bool {
    matches!(response.response, Some(Response::Committed(_)))
}

fn calm_world(seed: u64) -> World {
    let mut world = World::new(seed, 3);
    world.spread();
    world.put("a", "old");
    world
}

#[test]
fn locks_and_spans_move_with_the_leader() {
    for seed in 0..5 {
        let mut world = calm_world(seed);
        let (old, young) = (world.timestamp(), world.timestamp());
        assert!(ask(&mut world, old, lock(&["a", "b"])).error.is_none());
        assert!(ask(&mut world, old, claim("k", "m", old)).error.is_none());
        let waits = send(&mut world, young, lock(&["a"]));
        let inserts = send(&mut world, young, lock(&["kk"]));
        let heir = hand_over(&mut world, |world| {
            assert_eq!(hand_overs(world).len(), 1, "seed {seed}");
        });
        let span = Place::Span(base::KeyRange::new(key("k"), key("m")));
        let keys = ["a", "b"].map(|name| (old, Place::Key(Key(key(name)))));
        let expected = keys.into_iter().chain([(old, span)]).collect::<Vec<_>>();
        assert_eq!(held(&world, heir), expected, "seed {seed}");
        // Who waited was sent away, and waits again.
        for token in [waits, inserts] {
            let refused = answer(&mut world, token).error.and_then(|e| e.error);
            assert!(matches!(refused, Some(Error::NotLeader(_))), "{refused:?}");
        }
        let waits = send(&mut world, young, lock(&["a"]));
        let inserts = send(&mut world, young, lock(&["kk"]));
        world.run_for(300_000);
        for token in [waits, inserts] {
            assert!(!world.answers.contains_key(&token), "seed {seed}: it waits");
        }
        let done = ask(&mut world, old, commit(&["a", "b"], old));
        assert!(is_committed(&done), "seed {seed}: {done:?}");
        for token in [waits, inserts] {
            assert!(answer(&mut world, token).error.is_none(), "seed {seed}");
        }
        world.check_replicas_agree();
    }
}

#[test]
fn a_lost_hand_over_costs_the_locks_only() {
    let mut world = calm_world(7);
    let (old, young) = (world.timestamp(), world.timestamp());
    assert!(ask(&mut world, old, lock(&["a"])).error.is_none());
    let heir = hand_over(&mut world, |world| {
        for at in hand_overs(world) {
            world.network.remove(&at);
        }
    });
    assert!(held(&world, heir).is_empty());
    // Whoever comes first; the other hears of it at its commit.
    assert!(is_committed(&ask(&mut world, young, commit(&["a"], young))));
    let lost = ask(&mut world, old, commit(&["a"], old)).error.and_then(|e| e.error);
    assert!(matches!(lost, Some(Error::WriteConflict(_))), "{lost:?}");
}

/// One that arrives when the heir serves already, twice, and once more when a later leader does: nobody holds
/// what was released meanwhile.
#[test]
fn a_late_or_repeated_hand_over_changes_nothing() {
    for seed in 0..5 {
        let mut world = calm_world(seed);
        let old = world.timestamp();
        assert!(ask(&mut world, old, lock(&["a"])).error.is_none());
        let mut copy = None;
        let heir = hand_over(&mut world, |world| {
            for at in hand_overs(world) {
                copy = world.network.remove(&at);
            }
        });
        let (from, to, packet) = copy.expect("it was on its way");
        let again = |world: &mut World| {
            for delay in [1, 2] {
                let at = (world.now + delay, u64::MAX - delay);
                world.network.insert(at, (from, to, packet.clone()));
            }
            world.run_for(50_000);
        };
        again(&mut world);
        assert!(held(&world, heir).is_empty(), "seed {seed}");
        // Back to the old leader, and from there to the heir again, two terms on.
        let nodes = world.nodes.len();
        while world.holder(USER) != Some((heir + nodes - 1) % nodes) {
            hand_over(&mut world, |_| {});
        }
        again(&mut world);
        assert_eq!(hand_over(&mut world, |world| again(world)), heir);
        assert!(held(&world, heir).is_empty(), "seed {seed}");
        assert!(is_committed(&ask(&mut world, old, commit(&["b"], old))));
    }
}

/// The heir does not answer, so the old leader stands again: with the locks that it had.
#[test]
fn an_heir_that_fails_leaves_the_locks_where_they_were() {
    let mut world = calm_world(3);
    let old = world.timestamp();
    assert!(ask(&mut world, old, lock(&["a"])).error.is_none());
    let leader = world.holder(USER).expect("somebody leads");
    let heir = (leader + 1) % 3;
    let (me, other) = (NodeId(leader as u64 + 1), NodeId(heir as u64 + 1));
    world.transfer(USER, other.0);
    world.network.retain(|_, (from, to, _)| *from != me || *to != other);
    world.kill(heir);
    for _ in 0..1_000 {
        world.run_for(10_000);
        let serves = world
            .holder(USER)
            .filter(|index| world.nodes[*index].replicas[&USER].evaluator().is_some());
        if let Some(index) = serves {
            let kept = held(&world, index);
            if index == leader {
                assert_eq!(kept, [(old, Place::Key(Key(key("a"))))]);
            }
            assert!(is_committed(&ask(&mut world, old, commit(&["a"], old))));
            return;
        }
    }
    panic!("nobody serves");
}
