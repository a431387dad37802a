//! What any replica answers about the past stays true: while leaders die and move, ranges are split, and
//! replicas come back without what they had not flushed. `SEEDS=500` runs more of it.

mod cluster;

use bytes::Bytes;
use cluster::client::key;
use cluster::{Outcome, Purpose, USER, World};
use proto::kv::kv_error::Error;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::kv::{Get, RangeRequest};

/// A read that a replica has answered without asking anybody.
struct Seen {
    name: String,
    ts: u64,
    value: Option<Bytes>,
}

/// Nothing lags behind, so that promises and writes meet.
fn world(seed: u64) -> World {
    let mut world = World::new(seed, 3);
    world.config.eval.close_lag_ms = 0;
    for index in 0..3 {
        world.restart(index);
    }
    world.spread();
    world
}

/// Every leader promises what it can, and some of the others hear of it.
fn close(world: &mut World) {
    let issued = base::Timestamp(world.timestamp());
    for index in 0..3 {
        if !world.is_running(index) {
            continue;
        }
        let ranges: Vec<_> = world.nodes[index].replicas.keys().copied().collect();
        for range in ranges {
            let promised = world.with(index, range, |r, ctx, _| r.close(ctx, issued));
            let Some((at, ts)) = promised else { continue };
            for other in 0..3 {
                if world.is_running(other) && world.rng.chance(70) {
                    world.with(other, range, |r, _, _| r.promised(at, ts));
                }
            }
        }
    }
}

/// Reads on one node; nothing if it turns to the leader.
fn read(world: &mut World, index: usize, name: &str, ts: u64) -> Option<Option<Bytes>> {
    let range = world.locate(&key(name));
    let get = Request::Get(Get { keys: vec![key(name)], read_ts: ts });
    let request = RangeRequest { range_id: range.0, txn: None, request: Some(get) };
    let token = world.request(index, request, Purpose::Client);
    let answer = world.answers.remove(&token)?;
    match answer.response {
        Some(Response::Get(found)) => {
            let value = found.values.into_iter().next().expect("one key");
            Some(value.present.then_some(value.value))
        }
        _ => None,
    }
}

/// A read by a replica that does not lead, of what it takes for settled.
fn follow(world: &mut World, seen: &mut Vec<Seen>) {
    let index = usize::try_from(world.rng.below(3)).expect("small");
    let name = format!("k{}", world.rng.below(8));
    let range = world.locate(&key(&name));
    if !world.is_running(index) || world.holder(range) == Some(index) {
        return;
    }
    let closed = world.with(index, range, |r, _, _| Some(r.closed().0));
    // Among the last half second.
    let back = world.rng.below(500) << base::Timestamp::LOGICAL_BITS;
    let Some(ts) = closed.filter(|ts| *ts > back).map(|ts| ts - back) else { return };
    if let Some(value) = read(world, index, &name, ts) {
        seen.push(Seen { name, ts, value });
    }
}

#[test]
fn a_follower_answers_while_the_leader_is_away() {
    let mut world = World::new(3, 3);
    world.spread();
    assert_eq!(world.put("a", "1"), Outcome::Done);
    let then = world.timestamp();
    let leader = world.holder(USER).expect("somebody leads");
    // Some seconds later, because promises lag behind.
    let issued = base::Timestamp(then + (5_000 << base::Timestamp::LOGICAL_BITS));
    let promised = world.with(leader, USER, |r, ctx, _| r.close(ctx, issued));
    let (at, ts) = promised.expect("it leads");
    assert!(ts.0 >= then, "nothing is in flight");
    world.run_for(200_000);
    let then = ts.0;
    let follower = (leader + 1) % 3;
    assert_eq!(read(&mut world, follower, "a", then), None, "nobody has told it");
    world.kill(leader);
    world.with(follower, USER, |r, _, _| r.promised(at, ts));
    assert_eq!(read(&mut world, follower, "a", then), Some(Some(Bytes::from_static(b"1"))));
    assert_eq!(read(&mut world, follower, "a", then + 1), None, "that is not settled");
}

#[test]
fn promises_are_kept() {
    let mut answered = 0;
    let seeds = std::env::var("SEEDS").ok().and_then(|count| count.parse::<u64>().ok());
    for seed in 0..seeds.unwrap_or(25) {
        let mut world = world(seed);
        let mut seen = Vec::new();
        for step in 0..120 {
            match world.rng.below(12) {
                0..=3 => {
                    let name = format!("k{}", world.rng.below(8));
                    // Lost or not, what followers say must agree with it.
                    let _outcome: Outcome = world.put(&name, &step.to_string());
                }
                4..=6 => close(&mut world),
                7 => {
                    let victim = usize::try_from(world.rng.below(3)).expect("small");
                    if (0..3).all(|index| world.is_running(index)) {
                        world.kill(victim);
                    } else {
                        world.heal();
                    }
                }
                8 => {
                    let to = 1 + world.rng.below(3);
                    let range = world.locate(&key("k3"));
                    world.transfer(range, to);
                }
                9 if step % 3 == 0 => {
                    let at = format!("k{}", 1 + world.rng.below(7));
                    world.split(&[&at]);
                }
                _ => {
                    let pause = world.rng.below(200_000);
                    world.run_for(pause);
                }
            }
            for _ in 0..4 {
                follow(&mut world, &mut seen);
            }
        }
        world.heal();
        world.run_for(5_000_000);
        answered += seen.len();
        for Seen { name, ts, value } in seen {
            let now = at_leader(&mut world, &name, ts);
            assert_eq!(now, value, "seed {seed}: {name} at {ts} was another on a follower");
        }
    }
    assert!(answered > 500, "{answered} reads by followers prove nothing");
}

fn at_leader(world: &mut World, name: &str, ts: u64) -> Option<Bytes> {
    let at = key(name);
    let get = Request::Get(Get { keys: vec![at.clone()], read_ts: ts });
    let answer = world.retry(|world| world.locate(&at), get);
    match (answer.response, answer.error.and_then(|e| e.error)) {
        (Some(Response::Get(found)), None) => {
            let value = found.values.into_iter().next().expect("one key");
            value.present.then_some(value.value)
        }
        (_, Some(Error::BelowGc(gc))) => panic!("nothing is collected here: {gc:?}"),
        other => panic!("get {name} at {ts}: {other:?}"),
    }
}
