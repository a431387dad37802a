//! The checkers can fail: with each rule of safety switched off in turn, some seed finds out. What takes
//! more than chance to provoke is in `leases.rs`.

use std::panic::catch_unwind;

use std::sync::Arc;
use std::time::Duration;

use kv::Isolation;
use sim::workload::mixed::Kind;
use sim::{Duties, Fault, Nemesis, Network, Retention, Run, Settings};
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
    must_be_noticed_without(seeds, (rules, Duties::ALL), run);
}

fn must_be_noticed_without(
    seeds: u64,
    (rules, duties): (Rules, Duties),
    run: impl Fn(u64) -> Run + std::panic::RefUnwindSafe,
) {
    let found = noticed(seeds, |seed| Run { rules, duties, ..run(seed) });
    let found = found.unwrap_or_else(|| panic!("{seeds} seeds found nothing: {rules:?}"));
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

/// Messages take longer than a coordinator may be silent, so that transactions are taken for dead and
/// settled while what they sent is still on its way.
fn impatient(kind: Kind, level: Isolation) -> impl Fn(u64) -> Run {
    const SLOW: Network = Network {
        delay_min: 500,
        delay_max: 60_000,
        loss: 2_000,
        duplicate: 20_000,
        straggler: 60_000,
    };
    fn tweak(settings: &mut Settings) {
        settings.kv.lock_ttl = Duration::from_millis(100);
        settings.kv.heartbeat_every = Duration::from_secs(2);
        settings.kv.parallel_commit_keys = 256;
        settings.retention = None;
        let eval = &mut Arc::make_mut(&mut settings.range).eval;
        (eval.lock_ttl, eval.settle_after, eval.settle_every) = (100_000, 20_000, 50_000);
    }
    move |seed| Run {
        nemesis: Some(Nemesis::new(&[], 500_000, 8)),
        torment: 4_000_000,
        nodes: Some(3),
        network: SLOW,
        tweak,
        ..Run::new(seed, kind, level)
    }
}

/// Promises of closed timestamps as near to the present as can be, and read much.
fn close(kind: Kind, level: Isolation) -> impl Fn(u64) -> Run {
    fn tweak(settings: &mut Settings) {
        Arc::make_mut(&mut settings.range).eval.close_lag_ms = 0;
        settings.close_every_ms = 20;
        settings.retention = None;
    }
    move |seed| Run { tweak, ..busy(kind, level)(seed) }
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
    // An oracle whose clock is behind what was issued goes up by one at a time, and is overtaken.
    must_be_noticed(100, rules, |seed| Run {
        nemesis: Some(Nemesis::new(&[Fault::Clock, Fault::Leader], 200_000, 8)),
        ..busy(Kind::Lists, Isolation::ReadCommitted)(seed)
    });
}

#[test]
fn lost_locks_that_nobody_notices() {
    let rules = Rules { lost_locks_are_noticed: false, ..Rules::ALL };
    must_be_noticed(100, rules, |seed| Run {
        nemesis: Some(Nemesis::new(&[Fault::Leader], 60_000, 8)),
        ..busy(Kind::Lists, Isolation::ReadCommitted)(seed)
    });
}

#[test]
fn verified_reads_that_are_not_remembered() {
    let rules = Rules { verified_reads_are_remembered: false, ..Rules::ALL };
    must_be_noticed(200, rules, busy(Kind::Registers, Isolation::Serializable));
}

#[test]
fn commits_above_what_was_verified() {
    let rules = Rules { commits_land_where_verified: false, ..Rules::ALL };
    must_be_noticed(100, rules, busy(Kind::Registers, Isolation::Serializable));
}

/// Places a lock that somebody has already declared will never come.
#[test]
fn prewrites_after_a_rollback() {
    let rules = Rules { rollback_marks_count: false, ..Rules::ALL };
    must_be_noticed(100, rules, impatient(Kind::Lists, Isolation::Serializable));
}

#[test]
fn parallel_commits_that_are_pushed() {
    let rules = Rules { parallel_commits_are_not_pushed: false, ..Rules::ALL };
    must_be_noticed(100, rules, |seed| Run {
        tweak: |settings| settings.kv.parallel_commit_keys = 256,
        ..impatient(Kind::Registers, Isolation::ReadCommitted)(seed)
    });
}

#[test]
fn parallel_commits_that_are_rolled_back_unseen() {
    let rules = Rules { parallel_commits_are_recovered: false, ..Rules::ALL };
    must_be_noticed(100, rules, impatient(Kind::Lists, Isolation::Serializable));
}

#[test]
fn plain_commits_acknowledged_before_their_record() {
    let rules = Rules { records_decide: false, ..Rules::ALL };
    must_be_noticed(100, rules, |seed| Run {
        tweak: |settings| {
            settings.kv.parallel_commit_keys = 1;
            settings.kv.lock_ttl = Duration::from_millis(50);
        },
        ..impatient(Kind::Lists, Isolation::Serializable)(seed)
    });
}

#[test]
fn writes_below_what_is_closed() {
    let rules = Rules { closed_is_closed: false, ..Rules::ALL };
    must_be_noticed(100, rules, close(Kind::Lists, Isolation::ReadCommitted));
}

#[test]
fn closing_over_commands_in_flight() {
    let rules = Rules { closing_waits_for_commands: false, ..Rules::ALL };
    must_be_noticed(200, rules, |seed| Run {
        nemesis: Some(Nemesis::new(&[Fault::Disk], 200_000, 8)),
        ..close(Kind::Lists, Isolation::ReadCommitted)(seed)
    });
}

#[test]
fn followers_that_answer_before_they_know() {
    let rules = Rules { followers_wait_for_the_log: false, ..Rules::ALL };
    must_be_noticed(100, rules, |seed| Run {
        nemesis: Some(Nemesis::new(&[Fault::Partition, Fault::Pause], 500_000, 8)),
        network: Network::ROUGH,
        ..close(Kind::Lists, Isolation::ReadCommitted)(seed)
    });
}

/// The past goes at once, and nothing keeps it for those who read it.
fn forgetful(settings: &mut Settings) {
    settings.retention = Some(Retention { ttl_ms: 200, records_ttl_ms: 200, hold_max_ms: 0 });
}

#[test]
fn reads_of_what_was_collected() {
    let rules = Rules { collected_reads_are_refused: false, ..Rules::ALL };
    must_be_noticed(100, rules, |seed| Run {
        tweak: forgetful,
        ..busy(Kind::Lists, Isolation::ReadCommitted)(seed)
    });
}

#[test]
fn writes_whose_rollback_was_collected() {
    let rules = Rules { collected_writes_are_refused: false, ..Rules::ALL };
    must_be_noticed(300, rules, |seed| Run {
        tweak: |settings| {
            settings.kv.lock_ttl = Duration::from_millis(100);
            settings.kv.heartbeat_every = Duration::from_secs(2);
            let eval = &mut Arc::make_mut(&mut settings.range).eval;
            (eval.lock_ttl, eval.settle_after, eval.settle_every) = (100_000, 20_000, 50_000);
            forgetful(settings);
        },
        ..impatient(Kind::Lists, Isolation::ReadCommitted)(seed)
    });
}

#[test]
fn logs_that_are_synced_too_late() {
    let duties = Duties { syncs_first: false, ..Duties::ALL };
    must_be_noticed_without(100, (Rules::ALL, duties), |seed| Run {
        nemesis: Some(Nemesis::new(&[Fault::KillAll, Fault::Kill, Fault::Disk], 500_000, 8)),
        ..rough(Kind::Lists, Isolation::Serializable)(seed)
    });
}
