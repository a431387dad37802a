//! Which seeds a test runs.

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
#[expect(clippy::print_stderr, reason = "the one line that reruns a failed seed")]
pub fn for_each(usual: u64, test: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let mut failed = Vec::new();
    for seed in seeds(usual) {
        if std::panic::catch_unwind(|| test(seed)).is_err() {
            eprintln!("failed: rerun with SIM_SEED={seed}");
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "these seeds fail, rerun with SIM_SEED=: {failed:?}");
}
