//! Histories of every workload at every level, under every fault, judged by the checker.

use kv::Isolation;
use sim::workload::mixed::Kind;
use sim::{Run, Tally, survey};

fn judge(run: &Run) -> Tally {
    let verdict = run.go();
    assert!(verdict.wrong.is_empty(), "{}", verdict.wrong.join("\n"));
    let few = verdict.tally.acknowledged < 10;
    assert!(!few, "only {} transactions were acknowledged", verdict.tally.acknowledged);
    verdict.tally
}

macro_rules! histories {
    ($($name:ident: $kind:ident at $level:ident, $seeds:literal;)*) => {
        $(#[test]
        fn $name() {
            let run = |seed| Run::new(seed, Kind::$kind, Isolation::$level);
            survey(stringify!($name), $seeds, |seed| judge(&run(seed)));
        })*
    };
}

histories! {
    lists_at_serializable: Lists at Serializable, 12;
    lists_at_repeatable_read: Lists at RepeatableRead, 8;
    lists_at_read_committed: Lists at ReadCommitted, 8;
    registers_at_serializable: Registers at Serializable, 12;
    registers_at_repeatable_read: Registers at RepeatableRead, 8;
    registers_at_read_committed: Registers at ReadCommitted, 8;
    sums_keep_their_floor_at_serializable: Skew at Serializable, 12;
    sets_grow_at_serializable: Set at Serializable, 8;
    sets_grow_at_repeatable_read: Set at RepeatableRead, 6;
    sets_grow_at_read_committed: Set at ReadCommitted, 6;
    ids_are_unique: Ids at Serializable, 6;
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..5 {
        let digest = || Run::new(seed, Kind::Lists, Isolation::Serializable).go().digest;
        assert_eq!(digest(), digest(), "seed {seed} ran differently");
    }
}
