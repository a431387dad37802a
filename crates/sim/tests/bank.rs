//! Money is neither made nor lost while nodes die, clocks jump, ranges split and replicas move.

use kv::Isolation;
use sim::workload::bank::Bank;
use sim::{Nemesis, Network, Retention, Rng, Settings, Tally, World, survey};

const SECOND: u64 = 1_000_000;

/// A run: what came of it, and the number that stands for all that happened.
fn run(seed: u64, level: Isolation) -> (Tally, (u64, u64)) {
    let mut rng = Rng::new(seed);
    let nodes = 3 + rng.index(3);
    let retention = Retention { ttl_ms: 3_000, records_ttl_ms: 4_000, hold_max_ms: 3_000 };
    let retention = rng.chance(500_000).then_some(retention);
    let settings = Settings { nodes, network: Network::ROUGH, retention, ..Settings::new(seed) };
    let mut world = World::new(settings);
    let bank = Bank { accounts: 16, clients: 5, micros: 18 * SECOND, level };
    let shared = bank.start(&mut world);
    let struck = Nemesis::everything(bank.accounts).run(&mut world, &mut rng, 10 * SECOND);
    let healed = world.now();
    world.run_for(9 * SECOND);
    let outcome = bank.finish(&mut world, &shared);
    assert!(outcome.wrong.is_empty(), "{:#?}", outcome.wrong);
    let failures = world.failures();
    assert!(failures.is_empty(), "{failures:#?}");
    let progress = outcome.last_commit > healed + 5 * SECOND;
    assert!(progress, "nothing was committed when all was well again: {outcome:?}");
    world.check_invariants();
    let tally = Tally {
        runs: 1,
        acknowledged: outcome.committed + outcome.looks,
        refused: outcome.failed,
        unknown: outcome.unknown,
        struck,
        deeds: world.deeds(),
    };
    (tally, world.digest())
}

#[test]
fn transfers_keep_the_total_at_serializable() {
    survey("bank_at_serializable", 8, |seed| run(seed, Isolation::Serializable).0);
}

#[test]
fn transfers_keep_the_total_at_repeatable_read() {
    survey("bank_at_repeatable_read", 8, |seed| run(seed, Isolation::RepeatableRead).0);
}

#[test]
fn transfers_keep_the_total_at_read_committed() {
    survey("bank_at_read_committed", 8, |seed| run(seed, Isolation::ReadCommitted).0);
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..5 {
        let first = run(seed, Isolation::Serializable).1;
        let second = run(seed, Isolation::Serializable).1;
        assert_eq!(first, second, "seed {seed} ran differently");
    }
}
