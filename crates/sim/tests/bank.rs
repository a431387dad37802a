//! Money is neither made nor lost while nodes die, clocks jump, ranges split and replicas move.

use kv::Isolation;
use sim::workload::bank::{Bank, Outcome};
use sim::{Nemesis, Network, Rng, Settings, World, for_each};

const SECOND: u64 = 1_000_000;

/// A run: what came of it, and the number that stands for all that happened.
fn run(seed: u64, level: Isolation) -> (Outcome, (u64, u64)) {
    let mut rng = Rng::new(seed);
    let nodes = 3 + rng.index(3);
    let settings = Settings { nodes, network: Network::ROUGH, ..Settings::new(seed) };
    let mut world = World::new(settings);
    let bank = Bank { accounts: 16, clients: 5, micros: 18 * SECOND, level };
    let shared = bank.start(&mut world);
    Nemesis::everything(bank.accounts).run(&mut world, &mut rng, 10 * SECOND);
    let healed = world.now();
    world.run_for(9 * SECOND);
    let outcome = bank.finish(&mut world, &shared);
    assert!(outcome.wrong.is_empty(), "{:#?}", outcome.wrong);
    let failures = world.failures();
    assert!(failures.is_empty(), "{failures:#?}");
    let progress = outcome.last_commit > healed + 5 * SECOND;
    assert!(progress, "nothing was committed when all was well again: {outcome:?}");
    world.check_invariants();
    (outcome, world.digest())
}

#[test]
fn transfers_keep_the_total_at_serializable() {
    for_each(8, |seed| drop(run(seed, Isolation::Serializable)));
}

#[test]
fn transfers_keep_the_total_at_repeatable_read() {
    for_each(8, |seed| drop(run(seed, Isolation::RepeatableRead)));
}

#[test]
fn transfers_keep_the_total_at_read_committed() {
    for_each(8, |seed| drop(run(seed, Isolation::ReadCommitted)));
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..5 {
        let first = run(seed, Isolation::Serializable).1;
        let second = run(seed, Isolation::Serializable).1;
        assert_eq!(first, second, "seed {seed} ran differently");
    }
}
