//! Ranges on one node and on three: reads and writes, leaders that die, followers that come back,
//! disks that lost what was not flushed.

mod cluster;

use base::{NodeId, RangeId};
use cluster::{Outcome, SYSTEM, USER, World};
use storage::Engine;

#[test]
fn one_node_serves_alone() {
    let mut world = World::new(1, 1);
    assert_eq!(world.put("a", "1"), Outcome::Done);
    assert_eq!(world.get("a").as_deref(), Some("1"));
    assert_eq!(world.get("b"), None);
    world.restart(0);
    assert_eq!(world.get("a").as_deref(), Some("1"), "replayed from the log");
}

#[test]
fn ranges_spread_to_three_nodes() {
    let mut world = World::new(2, 3);
    assert_eq!(world.put("a", "1"), Outcome::Done);
    world.spread();
    assert_eq!(world.put("b", "2"), Outcome::Done);
    world.check_replicas_agree();
    for node in &world.nodes {
        assert_eq!(node.replicas.len(), 2, "on {}", node.id);
    }
}

#[test]
fn a_dead_leader_is_replaced_and_catches_up() {
    for seed in 0..5 {
        let mut world = World::new(seed, 3);
        world.spread();
        assert_eq!(world.put("a", "1"), Outcome::Done);
        let leader = world.holder(USER).expect("somebody leads");
        world.kill(leader);
        let since = world.now;
        assert_eq!(world.put("a", "2"), Outcome::Done);
        assert!(world.now - since < 5_000_000, "took {} us", world.now - since);
        world.start(leader);
        assert_eq!(world.get("a").as_deref(), Some("2"));
        world.check_replicas_agree();
    }
}

#[test]
fn all_nodes_die_at_once_and_nothing_is_lost() {
    for seed in 0..10 {
        let mut world = World::new(seed, 3);
        world.spread();
        for n in 0..30 {
            assert_eq!(world.put(&format!("k{n}"), "v"), Outcome::Done);
            if n == 10 {
                // Their engines are then at different points, all behind their logs.
                world.nodes[1].engine.flush().expect("memory");
            }
        }
        for index in 0..3 {
            world.kill(index);
        }
        for index in 0..3 {
            world.start(index);
        }
        for n in 0..30 {
            assert_eq!(world.get(&format!("k{n}")).as_deref(), Some("v"), "seed {seed}, k{n}");
        }
        world.check_replicas_agree();
    }
}

#[test]
fn a_follower_behind_the_log_gets_a_snapshot() {
    let mut world = World::new(5, 3);
    world.config.log_entries_max = 100;
    for index in 0..3 {
        world.restart(index);
    }
    world.spread();
    let leader = world.holder(USER).expect("somebody leads");
    let away = (leader + 1) % 3;
    world.kill(away);
    for n in 0..700 {
        assert_eq!(world.put(&format!("k{}", n % 50), &n.to_string()), Outcome::Done);
    }
    for index in (0..3).filter(|index| *index != away) {
        world.nodes[index].engine.flush().expect("memory");
    }
    world.run_for(15_000_000);
    let leader = world.holder(USER).expect("somebody leads");
    let first = world.with(leader, USER, |r, ctx, _| r.view(ctx).raft.first);
    assert!(first > 400, "the log was truncated, up to {first}");
    let before = world.snapshots_sent;
    world.start(away);
    world.run_for(5_000_000);
    assert!(world.snapshots_sent > before, "a snapshot was sent");
    world.check_replicas_agree();
    // What a snapshot installed is durable at once.
    world.restart(away);
    world.check_replicas_agree();
}

#[test]
fn a_log_is_not_truncated_above_what_is_flushed() {
    let mut world = World::new(6, 1);
    for n in 0..600 {
        assert_eq!(world.put(&format!("k{}", n % 20), &n.to_string()), Outcome::Done);
    }
    world.run_for(15_000_000);
    world.restart(0);
    assert_eq!(world.get("k19").as_deref(), Some("599"));
    let first = world.with(0, USER, |r, ctx, _| r.view(ctx).raft.first);
    assert_eq!(first, 11, "nothing was flushed since the beginning");
}

#[test]
fn a_replica_is_removed_and_comes_back() {
    let mut world = World::new(7, 3);
    world.spread();
    assert_eq!(world.put("a", "1"), Outcome::Done);
    let leader = world.holder(USER).expect("somebody leads");
    let gone = (leader + 1) % 3;
    let node = gone as u64 + 1;
    cluster_done(&world.change(USER, &[], &[node]));
    world.run_for(1_000_000);
    world.collect_garbage();
    assert!(!world.nodes[gone].replicas.contains_key(&USER), "destroyed");
    world.restart(gone);
    assert!(!world.nodes[gone].replicas.contains_key(&USER), "for good");
    assert_eq!(world.put("a", "2"), Outcome::Done);
    world.add_voter(USER, node);
    world.check_replicas_agree();
    assert!(world.nodes[gone].replicas[&USER].descriptor().has_replica(NodeId(node)));
}

#[test]
fn leadership_moves_on_request() {
    let mut world = World::new(8, 3);
    world.spread();
    assert_eq!(world.put("a", "1"), Outcome::Done);
    for to in [2, 3, 1, 2] {
        cluster_done(&world.transfer(USER, to));
        world.run_for(1_000_000);
        assert_eq!(world.holder(USER), Some(to as usize - 1));
        assert_eq!(world.get("a").as_deref(), Some("1"));
        cluster_done(&world.transfer(SYSTEM, to));
        world.run_for(1_000_000);
        assert_eq!(world.put("a", "1"), Outcome::Done);
    }
}

#[test]
fn timestamps_rise_over_leaders_restarts_and_clocks() {
    let mut world = World::new(9, 3);
    world.spread();
    let mut last = 0;
    for round in 0..12 {
        for _ in 0..20 {
            let ts = world.timestamp();
            assert!(ts > last, "{ts} after {last}");
            last = ts;
        }
        match round % 3 {
            0 => world.run_for(4_000_000),
            1 => {
                let leader = world.holder(SYSTEM).expect("somebody leads");
                world.restart(leader);
            }
            _ => {
                let to = world.rng.below(3) + 1;
                world.transfer(SYSTEM, to);
            }
        }
    }
}

#[test]
fn quiet_ranges_send_nothing() {
    let mut world = World::new(10, 3);
    world.spread();
    assert_eq!(world.put("a", "1"), Outcome::Done);
    cluster_done(&world.split(&["b", "c", "d", "e", "f", "g"]));
    world.run_for(5_000_000);
    let before = world.raft_sent;
    world.run_for(20_000_000);
    assert_eq!(world.raft_sent, before);
    assert_eq!(world.put("c", "1"), Outcome::Done, "and yet somebody leads");
}

#[test]
fn a_stale_message_does_not_bring_a_removed_replica_back() {
    let mut world = World::new(11, 3);
    world.spread();
    let leader = world.holder(USER).expect("somebody leads");
    let gone = (leader + 1) % 3;
    let open = world.open(gone);
    let generation = world.nodes[leader].replicas[&USER].descriptor().generation;
    cluster_done(&world.change(USER, &[], &[gone as u64 + 1]));
    world.run_for(500_000);
    world.collect_garbage();
    let made =
        range::Replica::uninitialised(&*world.nodes[gone].engine, &open, RangeId(2), generation);
    assert!(made.expect("memory").is_none(), "a snapshot of before the removal is refused");
}

/// Of two voters one is removed, and goes; the other, who led, crashes before it has noted that the removal is
/// committed. It asks for a vote that nobody can give any more, and learns what it needs to know.
#[test]
fn a_removed_voter_is_not_missed() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3);
        world.spread();
        let leader = world.holder(USER).expect("somebody leads");
        let others = [(leader + 1) % 3, (leader + 2) % 3].map(|index| index as u64 + 1);
        cluster_done(&world.change(USER, &[], &[others[0]]));
        assert_eq!(world.put("a", "1"), Outcome::Done);
        cluster_done(&world.change(USER, &[], &[others[1]]));
        let gone = others[1] as usize - 1;
        for _ in 0..1_000 {
            world.collect_garbage();
            if !world.nodes[gone].replicas.contains_key(&USER) {
                break;
            }
            world.run_for(100);
        }
        world.restart(leader);
        assert_eq!(world.put("a", "2"), Outcome::Done, "seed {seed}");
        assert_eq!(world.get("a").as_deref(), Some("2"), "seed {seed}");
    }
}

fn cluster_done(answer: &proto::kv::RangeResponse) {
    assert!(answer.error.is_none(), "refused: {:?}", answer.error);
}
