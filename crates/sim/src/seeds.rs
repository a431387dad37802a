//! Which seeds a test runs.

use std::panic::{RefUnwindSafe, catch_unwind};

use crate::tally::Tally;

/// The seeds of a test: `usual` fixed ones, or as many as `SIM_SEEDS` says, or the one in `SIM_SEED`.
#[must_use]
pub fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(first), Some(count)) => first..first + count,
        (Some(only), None) => only..only + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..usual,
    }
}

/// Runs a test for each of its seeds. One that fails does not keep the others from running; at the end
/// all that failed are named.
pub fn for_each(usual: u64, test: impl Fn(u64) + RefUnwindSafe) {
    run(usual, |seed| {
        test(seed);
        Tally::default()
    });
}

/// The same for a test that counts what happened: one line at the end tells it, with the verdict.
#[expect(clippy::print_stderr, reason = "what a person wants to see of many seeds")]
pub fn survey(name: &str, usual: u64, test: impl Fn(u64) -> Tally + RefUnwindSafe) {
    let (tally, failed) = run_all(usual, test);
    let verdict = match failed.len() {
        0 => "nothing wrong".to_owned(),
        many => format!("{many} SEEDS FAILED: {failed:?}"),
    };
    eprintln!("{name}: {tally}: {verdict}");
    assert_none(&failed);
}

fn run(usual: u64, test: impl Fn(u64) -> Tally + RefUnwindSafe) {
    assert_none(&run_all(usual, test).1);
}

#[expect(clippy::print_stderr, reason = "the one line that reruns a failed seed")]
fn run_all(usual: u64, test: impl Fn(u64) -> Tally + RefUnwindSafe) -> (Tally, Vec<u64>) {
    let (mut tally, mut failed) = (Tally::default(), Vec::new());
    for seed in seeds(usual) {
        match catch_unwind(|| test(seed)) {
            Ok(of_seed) => tally.add(&of_seed),
            Err(_) => {
                eprintln!("failed: rerun with SIM_SEED={seed}");
                failed.push(seed);
            }
        }
    }
    (tally, failed)
}

fn assert_none(failed: &[u64]) {
    assert!(failed.is_empty(), "these seeds fail, rerun with SIM_SEED=: {failed:?}");
}
