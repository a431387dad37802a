//! What a group does when nothing goes wrong, and when its leader dies.

mod cluster;

use base::{NodeId, RangeId};
use cluster::World;

const R: RangeId = RangeId(1);

/// A group without anything to do sends nothing: node-level liveness stands in for heartbeats.
#[test]
fn a_quiet_group_sends_nothing() {
    let mut world = World::new(1, 3, 20);
    world.run_for(5_000_000);
    for range in world.ranges.clone() {
        let holder = world.holder(range).expect("somebody leads");
        assert!(world.propose(holder, range, b"hello"));
    }
    world.run_for(2_000_000);
    let before = world.raft_sent;
    world.run_for(20_000_000);
    assert_eq!(world.raft_sent, before, "messages of quiet groups");
    assert!(world.ranges.iter().all(|r| world.holder(*r).is_some()), "leases hold meanwhile");
}

/// A dead leader's groups have a new one within three seconds, and its entries survive.
#[test]
fn a_dead_leader_is_replaced() {
    for seed in 1..20 {
        let mut world = World::new(seed, 3, 3);
        world.run_for(5_000_000);
        let dead = world.holder(R).expect("somebody leads");
        assert!(world.propose(dead, R, b"kept"));
        world.run_for(100_000);
        world.nodes[dead.0 as usize - 1].paused_until = world.now + 60_000_000;
        world.run_for(3_500_000);
        let heir = world.holder(R).expect("a new leader holds the lease");
        assert_ne!(heir, dead);
        assert!(world.propose(heir, R, b"more"));
        world.run_for(1_000_000);
        let applied = &world.nodes[heir.0 as usize - 1].applied[&R];
        let data: Vec<&[u8]> =
            applied.iter().map(|(_, d)| &d[..]).filter(|d| !d.is_empty()).collect();
        assert_eq!(data, [b"kept", b"more"]);
        world.check_logs();
    }
}

/// All nodes restart at once: somebody leads again, and nothing committed is lost.
#[test]
fn a_cluster_restarts() {
    let mut world = World::new(3, 3, 2);
    world.run_for(5_000_000);
    let leader = world.holder(R).expect("somebody leads");
    for n in 0..50_u8 {
        assert!(world.propose(leader, R, &[n]));
    }
    world.run_for(1_000_000);
    for node in 0..3 {
        world.start(node);
    }
    world.run_for(5_000_000);
    let leader = world.holder(R).expect("somebody leads again");
    assert!(world.propose(leader, R, b"after"));
    world.run_for(1_000_000);
    for node in &world.nodes {
        let data = node.applied[&R].iter().filter(|(_, d)| !d.is_empty()).count();
        assert_eq!(data, 51, "on {}", node.id);
    }
    world.check_logs();
}

/// A hand-over moves the lease within a second; without an answer from the heir the old leader is
/// elected anew.
#[test]
fn leadership_is_handed_over() {
    let mut world = World::new(4, 3, 1);
    world.run_for(5_000_000);
    let old = world.holder(R).expect("somebody leads");
    let heir = NodeId(old.0 % 3 + 1);
    world.group(old, R).transfer_leader(heir);
    assert_ne!(world.holder(R), Some(old), "the lease ends before the message leaves");
    world.drain(old.0 as usize - 1);
    world.run_for(1_000_000);
    assert_eq!(world.holder(R), Some(heir));

    let deaf = NodeId(heir.0 % 3 + 1);
    world.cut.insert((heir, deaf));
    world.group(heir, R).transfer_leader(deaf);
    world.drain(heir.0 as usize - 1);
    world.run_for(4_000_000);
    assert!(world.holder(R).is_some(), "somebody leads after a failed hand-over");
}

/// A restarted follower finds a quiet leader: its question for votes makes the leader speak up.
#[test]
fn a_restarted_follower_finds_a_quiet_leader() {
    let mut world = World::new(5, 3, 1);
    world.run_for(5_000_000);
    let leader = world.holder(R).expect("somebody leads");
    let follower = leader.0 as usize % 3;
    world.start(follower);
    world.run_for(5_000_000);
    assert_eq!(world.holder(R), Some(leader), "the leader was not disturbed");
    assert_eq!(world.nodes[follower].groups[&R].leader(), Some(leader));
}

/// The leader's replica goes, and nobody hears of it: its node lives, so all go on trusting it, until
/// somebody who was sent there comes back.
#[test]
fn a_leader_that_is_gone_is_doubted_and_replaced() {
    let mut world = World::new(7, 3, 1);
    world.run_for(5_000_000);
    let old = world.holder(R).expect("somebody leads");
    world.nodes[old.0 as usize - 1].groups.remove(&R);
    world.run_for(10_000_000);
    assert_eq!(world.holder(R), None, "a quiet group has nobody to miss it");
    let doubter = NodeId(old.0 % 3 + 1);
    world.group(doubter, R).doubt_leader();
    world.drain(doubter.0 as usize - 1);
    world.run_for(3_000_000);
    let new = world.holder(R).expect("one of the others");
    // Doubt does a leader no harm.
    let doubter = NodeId(6 - old.0 - new.0);
    world.group(doubter, R).doubt_leader();
    world.drain(doubter.0 as usize - 1);
    world.run_for(2_000_000);
    assert_eq!(world.holder(R), Some(new));
}

/// A group of one voter serves at once after a restart: nobody else can have led.
#[test]
fn a_single_voter_leads_at_once() {
    let mut world = World::new(6, 1, 1);
    world.run_for(2_000_000);
    assert_eq!(world.holder(R), Some(NodeId(1)));
    assert!(world.propose(NodeId(1), R, b"x"));
    world.start(0);
    world.run_for(1_500_000);
    assert_eq!(world.holder(R), Some(NodeId(1)));
}

/// Late and overtaken messages make a leader turn back to what it has sent already. What it then sends
/// must still be in one piece: a follower acknowledges what it takes an append to hold.
#[test]
fn appends_that_overtake_each_other_stay_whole() {
    for seed in 1..30 {
        let mut world = World::new(seed, 3, 1);
        world.run_for(5_000_000);
        (world.slow_percent, world.drop_percent) = (30, 5);
        for n in 0..200_u8 {
            if let Some(leader) = world.holder(R) {
                world.propose(leader, R, &[n]);
            }
            world.run_for(2_000);
        }
        (world.slow_percent, world.drop_percent) = (0, 0);
        world.run_for(10_000_000);
        world.check_logs();
    }
}
