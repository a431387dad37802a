//! The evaluator, the commit protocol, settlement and deadlock detection together, against what
//! serializability, snapshots and acknowledgements demand, under random interleavings.
//!
//! One range, its keys playing several. Messages are delivered in random order, some twice and late;
//! proposals are applied with a random lag; leaders step down and come back with empty memory; some
//! coordinators die in the middle. In the end everything that was read must be explained by the commit
//! timestamps, and every acknowledged commit must be there.
//!
//! A failure prints its seed: `SEED=17 cargo test -p range --test eval_model`; `SEEDS=5000` runs
//! more of them.

#[path = "eval_model/client.rs"]
mod client;
#[path = "eval_model/verdict.rs"]
mod verdict;
#[path = "eval_model/world.rs"]
mod world;

use world::World;

fn run(seed: u64, faults: world::Faults) -> World {
    let mut world = World::new(seed, faults);
    world.run();
    verdict::check(&world);
    if std::env::var("SEEDS").is_ok() {
        let fates = world.clients.iter().map(|c| c.fate.clone());
        let committed = fates.filter(|f| matches!(f, Some(client::Fate::Committed(Some(_)))));
        eprintln!("{seed}: {} of {} committed", committed.count(), world.clients.len());
    }
    world
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("SEED").ok().and_then(|seed| seed.parse::<u64>().ok()) {
        Some(seed) => seed..seed + 1,
        None => {
            let more = std::env::var("SEEDS").ok().and_then(|count| count.parse::<u64>().ok());
            1..more.unwrap_or(count) + 1
        }
    }
}

#[test]
fn serializable_without_faults() {
    for seed in seeds(60) {
        run(seed, world::Faults::default());
    }
}

#[test]
fn serializable_with_late_duplicates() {
    for seed in seeds(60) {
        run(seed, world::Faults { duplicates: true, ..Default::default() });
    }
}

#[test]
fn serializable_with_leader_changes() {
    for seed in seeds(60) {
        run(seed, world::Faults { duplicates: true, leaders: true, ..Default::default() });
    }
}

#[test]
fn serializable_with_dying_coordinators() {
    for seed in seeds(60) {
        run(
            seed,
            world::Faults { duplicates: true, leaders: true, deaths: true, ..Default::default() },
        );
    }
}

/// What followers read at closed timestamps lasts, however leaders come and go.
#[test]
fn closed_timestamps_hold() {
    let mut followed = 0;
    for seed in seeds(120) {
        let faults =
            world::Faults { duplicates: true, leaders: true, deaths: seed % 2 == 0, closing: true };
        followed += run(seed, faults).followed;
    }
    assert!(followed > 1_000, "{followed} reads by followers prove nothing");
}
