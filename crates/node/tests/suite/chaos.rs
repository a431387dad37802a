//! Lists and a bank on a cluster of three processes, one of which is always being killed, stopped or cut
//! off: no anomaly, and the other nodes go on within seconds of each fault.
//!
//! `CONCLAVE_CHAOS_SECONDS=600 cargo nextest run --workspace chaos::` runs it for ten minutes; the
//! suite has it for 24 seconds. `CONCLAVE_CHAOS_PAUSE` is the longest pause allowed, in seconds.

use std::time::Duration;

use workload::{CheckArgs, FaultKind, Strength, Workload};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number of seconds"))
}

/// What each test asks of a run.
async fn check(args: CheckArgs) {
    let seconds = args.seconds;
    let outlook = workload::run(&args).await.expect("the check can be made");
    for checked in &outlook.checked {
        eprintln!(
            "{:?}: {} ok, {} failed, {} unknown, {} snapshots; {}",
            checked.workload,
            checked.ok,
            checked.failed,
            checked.unknown,
            checked.snapshots,
            checked.checked
        );
        let stories = checked.anomalies.join("\n");
        assert_eq!(checked.count, 0, "{:?}:\n{stories}", checked.workload);
        // A run that did next to nothing proves next to nothing.
        assert!(checked.ok as u64 > 2 * seconds, "{:?}: only {}", checked.workload, checked.ok);
        assert!(checked.snapshots > 0, "{:?}: no snapshots", checked.workload);
    }
    assert!(outlook.exits.is_empty(), "{:?}", outlook.exits);
    assert!(outlook.internal.is_empty(), "{:?}", outlook.internal);
    for (fault, pause) in &outlook.pauses {
        eprintln!("{fault}: longest pause {pause:?}");
    }
    let allowed = Duration::from_secs(number("CONCLAVE_CHAOS_PAUSE", 5));
    let longest = outlook.longest_pause();
    assert!(longest < allowed, "nothing went on for {longest:?}: {:?}", outlook.pauses);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_a_bank_survive_kills_pauses_and_partitions() {
    check(CheckArgs {
        workload: vec![Workload::Append, Workload::Bank],
        start: Some(3),
        seconds: number("CONCLAVE_CHAOS_SECONDS", 24),
        clients: 6,
        faults: vec![FaultKind::Kill, FaultKind::Pause, FaultKind::Partition],
        fault_every: 7,
        binary: Some(env!("CARGO_BIN_EXE_conclave").into()),
        ..CheckArgs::default()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_jump_by_hours_change_nothing() {
    check(CheckArgs {
        workload: vec![Workload::Register, Workload::Skew],
        start: Some(3),
        level: Strength::Serializable,
        seconds: number("CONCLAVE_CHAOS_SECONDS", 12),
        clients: 4,
        faults: vec![FaultKind::Clock],
        fault_every: 4,
        binary: Some(env!("CARGO_BIN_EXE_conclave").into()),
        ..CheckArgs::default()
    })
    .await;
}
