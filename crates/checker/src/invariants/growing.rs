//! Sets that only grow: each key is inserted once (`write(k, …)`) and never removed.
//!
//! For a scan of the span in which a key lies:
//!
//! | the key | must |
//! |---|---|
//! | was acknowledged before the scan's transaction began | be there |
//! | was seen by a transaction that was acknowledged before it began | be there |
//! | was never inserted, or its insert failed | not be there |
//! | was in an earlier scan of the same transaction | be there |
//!
//! The second row is what makes snapshots monotonic also for inserts of unknown outcome.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use crate::history::{Action, History, Key, Outcome, Scan, Txn};

#[derive(Debug, Clone, Copy)]
struct Insert {
    txn: u64,
    outcome: Outcome,
    acknowledged: Option<u64>,
}

/// Elements lost, made up, or seen and gone again.
#[must_use]
pub fn check(history: &History) -> Vec<Violation> {
    let mut inserts: BTreeMap<Key, Insert> = BTreeMap::new();
    // Who saw a key first, counted by when that was acknowledged.
    let mut witnesses: BTreeMap<Key, (u64, u64)> = BTreeMap::new();
    for txn in &history.txns {
        for op in &txn.ops {
            if let Action::Write(key, _) = op.action {
                let (outcome, acknowledged) = (txn.outcome, txn.acknowledged());
                inserts.insert(key, Insert { txn: txn.id, outcome, acknowledged });
            }
        }
        let Some(at) = txn.acknowledged() else { continue };
        for (key, _) in txn.scans().flat_map(Scan::numbers) {
            let witness = witnesses.entry(key).or_insert((at, txn.id));
            *witness = (*witness).min((at, txn.id));
        }
    }
    let mut found = Vec::new();
    for txn in &history.txns {
        let mut before: BTreeSet<Key> = BTreeSet::new();
        for scan in txn.scans() {
            let rows: BTreeSet<Key> = scan.numbers().map(|(key, _)| key).collect();
            made_up(txn, &rows, &inserts, &mut found);
            lost(txn, scan, &rows, &inserts, &mut found);
            gone(txn, scan, &rows, &witnesses, &mut found);
            for key in before.difference(&rows).filter(|key| (scan.from..scan.to).contains(key)) {
                let text = format!("T{} saw {key}, and then did not", txn.id);
                found.push(Violation::new([txn.id], text));
            }
            before.extend(rows);
        }
    }
    found
}

fn made_up(
    txn: &Txn,
    rows: &BTreeSet<Key>,
    inserts: &BTreeMap<Key, Insert>,
    found: &mut Vec<Violation>,
) {
    for key in rows {
        match inserts.get(key) {
            None => {
                let text = format!("T{} saw {key}, which nobody inserted", txn.id);
                found.push(Violation::new([txn.id], text));
            }
            Some(insert) if insert.outcome == Outcome::Failed && insert.txn != txn.id => {
                let text = format!("T{} saw {key}, but T{} was rolled back", txn.id, insert.txn);
                found.push(Violation::new([insert.txn, txn.id], text));
            }
            Some(_) => {}
        }
    }
}

fn lost(
    txn: &Txn,
    scan: &Scan,
    rows: &BTreeSet<Key>,
    inserts: &BTreeMap<Key, Insert>,
    found: &mut Vec<Violation>,
) {
    let Some(since) = txn.sees_since() else { return };
    for (key, insert) in inserts.range(scan.from..scan.to) {
        if insert.acknowledged.is_some_and(|at| at < since) && !rows.contains(key) {
            let text = format!(
                "T{} did not see {key}, although T{} had been acknowledged before it began",
                txn.id, insert.txn
            );
            found.push(Violation::new([insert.txn, txn.id], text));
        }
    }
}

fn gone(
    txn: &Txn,
    scan: &Scan,
    rows: &BTreeSet<Key>,
    witnesses: &BTreeMap<Key, (u64, u64)>,
    found: &mut Vec<Violation>,
) {
    let Some(since) = txn.sees_since() else { return };
    for (key, &(at, witness)) in witnesses.range(scan.from..scan.to) {
        if at < since && !rows.contains(key) {
            let text = format!("T{} did not see {key}, which T{witness} had seen before", txn.id);
            found.push(Violation::new([witness, txn.id], text));
        }
    }
}
