//! The claim of `liveness.rs`, under everything that may go wrong between nodes: delays of seconds,
//! losses, duplicates, pauses, restarts, cuts in one direction, transfers of leadership, and clocks
//! that run at different rates. At every event no group has two leases.

mod cluster;

use base::NodeId;
use cluster::World;

fn one_fault(world: &mut World) {
    let node = world.rng.below(3) as usize;
    let other = world.rng.below(3);
    let range = world.ranges[world.rng.below(world.ranges.len() as u64) as usize];
    match world.rng.below(12) {
        0 => world.start(node),
        1 | 2 => world.nodes[node].paused_until = world.now + world.rng.below(5_000_000),
        3 => world.drop_percent = world.rng.below(40),
        4 => world.slow_percent = world.rng.below(30),
        5 | 6 => {
            let pair = (NodeId(node as u64 + 1), NodeId(other + 1));
            world.cut.insert(pair);
        }
        7 => world.cut.clear(),
        8 | 9 => {
            if let Some(leader) = world.leader(range) {
                world.group(leader, range).transfer_leader(NodeId(other + 1));
                world.drain(leader.0 as usize - 1);
            }
        }
        10 => {
            world.drop_percent = 0;
            world.slow_percent = 0;
            world.cut.clear();
        }
        _ => {
            if let Some(leader) = world.leader(range) {
                world.propose(leader, range, b"x");
            }
        }
    }
}

/// Whatever happens, two nodes never hold the lease of one group at one time; and when it is over,
/// some node holds it.
#[test]
fn a_group_never_has_two_leases() {
    let seeds = std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    let only = std::env::var("SEED").ok().and_then(|s| s.parse::<u64>().ok());
    let mut seen = 0;
    for seed in only.map_or(1..seeds + 1, |seed| seed..seed + 1) {
        eprintln!("rerun with SEED={seed}");
        let mut world = World::new(seed, 3, 2);
        for _ in 0..150 {
            let pause = 50_000 + world.rng.below(1_200_000);
            world.run_for(pause);
            one_fault(&mut world);
        }
        world.drop_percent = 0;
        world.slow_percent = 0;
        world.cut.clear();
        world.run_for(15_000_000);
        for range in world.ranges.clone() {
            assert!(world.holder(range).is_some(), "seed {seed}: nobody leads {range} after all");
        }
        world.check_logs();
        seen += world.leases_seen;
    }
    assert!(seen > 0, "leases were held at all");
}
