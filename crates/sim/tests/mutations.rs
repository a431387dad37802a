//! The checkers can fail: with each rule of safety switched off in turn, some seed finds out.

use std::panic::catch_unwind;

use kv::Isolation;
use sim::workload::mixed::Kind;
use sim::{Fault, Nemesis, Network, Run};
use txn::Rules;

/// Runs seeds until one notices, at most `seeds`, and says what it noticed.
fn noticed(seeds: u64, run: impl Fn(u64) -> Run + std::panic::RefUnwindSafe) -> Option<String> {
    (0..seeds).find_map(|seed| match catch_unwind(|| run(seed).go()) {
        // An assertion of the code itself.
        Err(panic) => Some(format!("seed {seed}: panicked, {}", message(&panic))),
        Ok(verdict) => verdict.wrong.first().map(|wrong| format!("seed {seed}: {wrong}")),
    })
}

fn message(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// That somebody notices, and that nobody complains where all rules are kept.
fn must_be_noticed(seeds: u64, rules: Rules, run: impl Fn(u64) -> Run + std::panic::RefUnwindSafe) {
    let found = noticed(seeds, |seed| Run { rules, ..run(seed) });
    let found = found.unwrap_or_else(|| panic!("{seeds} seeds found nothing without {rules:?}"));
    eprintln!("{found}");
    let seed = found.trim_start_matches("seed ").split(':').next().and_then(|n| n.parse().ok());
    let kept = run(seed.expect("it says its seed")).go();
    assert!(kept.wrong.is_empty(), "with all rules: {:?}", kept.wrong);
}

/// Much contention, and nothing goes wrong but that leaders move.
fn busy(kind: Kind, level: Isolation) -> impl Fn(u64) -> Run {
    move |seed| Run {
        nemesis: Some(Nemesis::new(&[Fault::Leader], 500_000, 8)),
        torment: 5_000_000,
        nodes: Some(3),
        network: Network::CALM,
        ..Run::new(seed, kind, level)
    }
}

/// Everything goes wrong.
fn rough(kind: Kind, level: Isolation) -> impl Fn(u64) -> Run {
    move |seed| Run::new(seed, kind, level)
}

#[test]
fn reads_that_are_not_remembered() {
    let rules = Rules { reads_are_remembered: false, ..Rules::ALL };
    must_be_noticed(100, rules, busy(Kind::Registers, Isolation::Serializable));
}

#[test]
fn reads_that_are_not_verified() {
    let rules = Rules { reads_are_verified: false, ..Rules::ALL };
    must_be_noticed(100, rules, busy(Kind::Skew, Isolation::Serializable));
}

#[test]
fn reads_that_do_not_wait_for_commands() {
    let rules = Rules { reads_wait_for_commands: false, ..Rules::ALL };
    must_be_noticed(100, rules, busy(Kind::Registers, Isolation::Serializable));
}

#[test]
fn reads_that_do_not_wait_for_locks() {
    let rules = Rules { reads_wait_for_locks: false, ..Rules::ALL };
    must_be_noticed(100, rules, busy(Kind::Registers, Isolation::Serializable));
}

#[test]
fn leaders_that_do_not_know_what_was_read() {
    let rules = Rules { leaders_begin_with_reads: false, ..Rules::ALL };
    must_be_noticed(200, rules, |seed| Run {
        nemesis: Some(Nemesis::new(&[Fault::Leader], 60_000, 8)),
        ..busy(Kind::Registers, Isolation::Serializable)(seed)
    });
}

#[test]
fn oracle_bounds_that_are_not_replicated() {
    let rules = Rules { oracle_bounds_are_replicated: false, ..Rules::ALL };
    must_be_noticed(100, rules, |seed| Run {
        nemesis: Some(Nemesis::new(&[Fault::Clock, Fault::Leader, Fault::Kill], 300_000, 8)),
        ..rough(Kind::Registers, Isolation::Serializable)(seed)
    });
}

#[test]
fn logs_that_do_not_wait_for_a_flush() {
    let rules = Rules { logs_wait_for_flush: false, ..Rules::ALL };
    must_be_noticed(100, rules, rough(Kind::Lists, Isolation::Serializable));
}

#[test]
fn commits_that_do_not_wait_for_the_oracle() {
    let rules = Rules { commits_wait_for_oracle: false, ..Rules::ALL };
    must_be_noticed(200, rules, busy(Kind::Lists, Isolation::ReadCommitted));
}

#[test]
fn lost_locks_that_nobody_notices() {
    let rules = Rules { lost_locks_are_noticed: false, ..Rules::ALL };
    must_be_noticed(100, rules, |seed| Run {
        nemesis: Some(Nemesis::new(&[Fault::Leader], 60_000, 8)),
        ..busy(Kind::Lists, Isolation::ReadCommitted)(seed)
    });
}
