//! The cases for log stores: the promises G1 to G4 of [`crate::LogStore`].

use std::sync::Arc;

use base::RangeId;

use super::{LogCase, LogHarness};
use crate::{HardState, LogBatch, LogEntry, LogPosition, LogState, LogStore};

/// All cases for log stores.
pub const LOG: &[LogCase] = &[
    ("entries come back", entries_come_back),
    ("a page holds at least one entry", a_page_holds_at_least_one_entry),
    ("an append replaces the tail", an_append_replaces_the_tail),
    ("compaction drops the front", compaction_drops_the_front),
    ("a reset drops everything", a_reset_drops_everything),
    ("removal forgets one range", removal_forgets_one_range),
    ("what was synced survives", what_was_synced_survives),
    ("a batch takes effect in order", a_batch_takes_effect_in_order),
    ("a long log is read in any part", a_long_log_is_read_in_any_part),
];

const R1: RangeId = RangeId(1);
const R2: RangeId = RangeId(2);

fn entry(index: u64, term: u64) -> LogEntry {
    LogEntry { index, term, data: format!("e{index}t{term}").into_bytes().into() }
}

fn entries(indexes: std::ops::RangeInclusive<u64>, term: u64) -> Vec<LogEntry> {
    indexes.map(|index| entry(index, term)).collect()
}

fn at(index: u64, term: u64) -> LogPosition {
    LogPosition { index, term }
}

fn append(log: &Arc<dyn LogStore>, range: RangeId, entries: Vec<LogEntry>) {
    let mut batch = LogBatch::new();
    batch.append(range, entries);
    log.append(&batch, true).expect("append");
}

/// The whole log, as text.
fn show(log: &Arc<dyn LogStore>, range: RangeId) -> String {
    let Some(state) = log.state(range).expect("state") else { return "none".into() };
    let (low, high) = (state.first_index(), state.last.index + 1);
    let found = log.entries(range, low, high, u64::MAX).expect("entries").expect("in the log");
    let mut text = format!("{}t{}|", state.truncated.index, state.truncated.term);
    for (entry, index) in found.iter().zip(low..) {
        assert_eq!(entry.index, index, "G1");
        let expected = format!("e{}t{}", entry.index, entry.term);
        assert_eq!(entry.data, expected.as_bytes());
        assert_eq!(log.term(range, index).expect("term"), Some(entry.term));
        text += &format!(" {}t{}", entry.index, entry.term);
    }
    assert_eq!(found.len() as u64, high - low, "G1");
    let last = found.last().map_or(state.truncated, |e| at(e.index, e.term));
    assert_eq!(state.last, last);
    let around = [(low.checked_sub(2), None), (Some(low - 1), Some(state.truncated.term))];
    for (index, term) in around {
        if let Some(index) = index {
            assert_eq!(log.term(range, index).expect("term"), term);
        }
    }
    assert_eq!(log.term(range, high).expect("term"), None);
    text
}

fn entries_come_back(harness: &mut dyn LogHarness) {
    let log = harness.log();
    assert_eq!(show(&log, R1), "none");
    assert_eq!(log.entries(R1, 1, 2, u64::MAX).expect("entries"), None);
    assert_eq!(log.ranges().expect("ranges"), vec![]);
    append(&log, R1, entries(1..=3, 1));
    append(&log, R2, entries(1..=1, 2));
    append(&log, R1, entries(4..=4, 2));
    assert_eq!(show(&log, R1), "0t0| 1t1 2t1 3t1 4t2");
    assert_eq!(show(&log, R2), "0t0| 1t2");
    assert_eq!(log.ranges().expect("ranges"), vec![R1, R2]);
    let part = log.entries(R1, 2, 4, u64::MAX).expect("entries").expect("in the log");
    assert_eq!(part, entries(2..=3, 1));
    assert_eq!(log.entries(R1, 2, 2, u64::MAX).expect("entries"), Some(vec![]));
    assert_eq!(log.state(R1).expect("state").expect("known").hard, HardState::default());
}

fn a_page_holds_at_least_one_entry(harness: &mut dyn LogHarness) {
    let log = harness.log();
    append(&log, R1, entries(1..=9, 1));
    let page = |max| log.entries(R1, 2, 9, max).expect("entries").expect("in the log").len();
    assert_eq!([page(0), page(4), page(7), page(8), page(13), page(1000)], [1, 1, 1, 2, 3, 7]);
}

fn an_append_replaces_the_tail(harness: &mut dyn LogHarness) {
    append(&harness.log(), R1, entries(1..=5, 1));
    append(&harness.log(), R1, entries(3..=3, 2));
    assert_eq!(show(&harness.log(), R1), "0t0| 1t1 2t1 3t2");
    append(&harness.log(), R1, entries(1..=2, 3));
    assert_eq!(show(&harness.log(), R1), "0t0| 1t3 2t3");
    harness.restart();
    assert_eq!(show(&harness.log(), R1), "0t0| 1t3 2t3");
}

fn compaction_drops_the_front(harness: &mut dyn LogHarness) {
    append(&harness.log(), R1, entries(1..=5, 1));
    append(&harness.log(), R2, entries(1..=5, 1));
    for (upto, left) in [(2, "2t1| 3t1 4t1 5t1"), (2, "2t1| 3t1 4t1 5t1"), (5, "5t1|")] {
        let mut batch = LogBatch::new();
        batch.compact(R1, at(upto, 1));
        harness.log().append(&batch, true).expect("append");
        assert_eq!(show(&harness.log(), R1), left);
        harness.restart();
        assert_eq!(show(&harness.log(), R1), left);
    }
    assert_eq!(harness.log().entries(R1, 5, 6, u64::MAX).expect("entries"), None);
    append(&harness.log(), R1, entries(6..=6, 2));
    assert_eq!(show(&harness.log(), R1), "5t1| 6t2");
    assert_eq!(show(&harness.log(), R2), "0t0| 1t1 2t1 3t1 4t1 5t1");
}

fn a_reset_drops_everything(harness: &mut dyn LogHarness) {
    append(&harness.log(), R1, entries(1..=5, 1));
    append(&harness.log(), R2, entries(1..=1, 1));
    let mut batch = LogBatch::new();
    batch.reset(R1, at(100, 7));
    batch.hard_state(R1, HardState { term: 7, vote: 0, commit: 100 });
    harness.log().append(&batch, true).expect("append");
    assert_eq!(show(&harness.log(), R1), "100t7|");
    append(&harness.log(), R1, entries(101..=102, 7));
    harness.restart();
    assert_eq!(show(&harness.log(), R1), "100t7| 101t7 102t7");
    assert_eq!(show(&harness.log(), R2), "0t0| 1t1");
    let mut batch = LogBatch::new();
    batch.reset(R1, at(101, 7));
    harness.log().append(&batch, true).expect("append");
    assert_eq!(show(&harness.log(), R1), "101t7|", "entries above the snapshot go too");
}

fn removal_forgets_one_range(harness: &mut dyn LogHarness) {
    for range in [R1, R2, RangeId(3)] {
        append(&harness.log(), range, entries(1..=3, 1));
    }
    let mut batch = LogBatch::new();
    batch.hard_state(R2, HardState { term: 1, vote: 2, commit: 3 });
    batch.remove(R2);
    harness.log().append(&batch, true).expect("append");
    for _ in 0..2 {
        assert_eq!(harness.log().ranges().expect("ranges"), vec![R1, RangeId(3)]);
        assert_eq!(show(&harness.log(), R2), "none");
        assert_eq!(harness.log().term(R2, 1).expect("term"), None);
        assert_eq!(show(&harness.log(), RangeId(3)), "0t0| 1t1 2t1 3t1");
        harness.restart();
    }
    append(&harness.log(), R2, entries(1..=1, 9));
    assert_eq!(show(&harness.log(), R2), "0t0| 1t9");
}

fn what_was_synced_survives(harness: &mut dyn LogHarness) {
    let hard = HardState { term: 3, vote: 2, commit: 4 };
    let mut batch = LogBatch::new();
    batch.append(R1, entries(1..=2, 1));
    batch.append(R2, entries(1..=1, 1));
    harness.log().append(&batch, false).expect("append");
    let mut batch = LogBatch::new();
    batch.append(R1, entries(3..=4, 3));
    batch.hard_state(R1, hard);
    harness.log().append(&batch, true).expect("append");
    let mut batch = LogBatch::new();
    batch.append(R1, entries(5..=5, 3));
    batch.append(R2, entries(2..=2, 3));
    harness.log().append(&batch, false).expect("append");
    harness.restart();
    let log = harness.log();
    let (r1, r2) = (show(&log, R1), show(&log, R2));
    if r1.contains(" 5t3") {
        assert_eq!((&*r1, &*r2), ("0t0| 1t1 2t1 3t3 4t3 5t3", "0t0| 1t1 2t3"), "G4");
    } else {
        assert_eq!((&*r1, &*r2), ("0t0| 1t1 2t1 3t3 4t3", "0t0| 1t1"), "G3");
    }
    let state = log.state(R1).expect("state").expect("known");
    assert_eq!(state.hard, hard);
    append(&log, R1, entries(5..=5, 4));
    log.sync().expect("sync");
}

fn a_batch_takes_effect_in_order(harness: &mut dyn LogHarness) {
    let mut batch = LogBatch::new();
    batch.append(R1, entries(1..=4, 1));
    batch.append(R2, entries(1..=2, 1));
    batch.append(R1, entries(3..=6, 2));
    batch.compact(R1, at(3, 2));
    batch.hard_state(R1, HardState { term: 1, vote: 1, commit: 1 });
    batch.hard_state(R1, HardState { term: 2, vote: 1, commit: 3 });
    batch.remove(R2);
    batch.append(R2, entries(1..=1, 5));
    harness.log().append(&batch, true).expect("append");
    for _ in 0..2 {
        assert_eq!(show(&harness.log(), R1), "3t2| 4t2 5t2 6t2");
        assert_eq!(show(&harness.log(), R2), "0t0| 1t5");
        let LogState { hard, .. } = harness.log().state(R1).expect("state").expect("known");
        assert_eq!(hard, HardState { term: 2, vote: 1, commit: 3 });
        harness.restart();
    }
}

fn a_long_log_is_read_in_any_part(harness: &mut dyn LogHarness) {
    let big = |index: u64| LogEntry {
        index,
        term: 1 + index / 100,
        data: vec![index as u8; 10_000].into(),
    };
    for first in (1..=600).step_by(20) {
        append(&harness.log(), R1, (first..first + 20).map(big).collect());
    }
    let check = |log: &Arc<dyn LogStore>| {
        for (low, high) in [(1, 3), (90, 110), (599, 601), (1, 601)] {
            let found = log.entries(R1, low, high, u64::MAX).expect("entries").expect("in the log");
            assert_eq!(found, (low..high).map(big).collect::<Vec<_>>());
        }
        for index in [1, 99, 100, 350, 600] {
            assert_eq!(log.term(R1, index).expect("term"), Some(1 + index / 100));
        }
    };
    check(&harness.log());
    harness.restart();
    check(&harness.log());
    let mut batch = LogBatch::new();
    batch.compact(R1, at(500, 6));
    harness.log().append(&batch, true).expect("append");
    assert_eq!(harness.log().term(R1, 499).expect("term"), None);
    assert_eq!(harness.log().term(R1, 500).expect("term"), Some(6));
    let rest = harness.log().entries(R1, 501, 601, u64::MAX).expect("entries");
    assert_eq!(rest.expect("in the log").len(), 100);
}
