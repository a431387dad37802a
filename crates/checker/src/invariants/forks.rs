//! Snapshots that no single order of the writes explains, where each key is written once.
//!
//! * Long fork: one snapshot has x and not y, another y and not x. Whichever was written first, one of
//!   the two cannot be.
//! * Causal reverse: x was acknowledged before y began, and a snapshot has y and not x.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use crate::history::{Action, History, Key, Outcome, Scan};

/// A transaction and the keys that one of its scans found.
type Seen = (u64, BTreeSet<Key>);

/// Pairs of snapshots of one span of which neither contains the other.
#[must_use]
pub fn long_forks(history: &History) -> Vec<Violation> {
    let mut spans: BTreeMap<(Key, Key), Vec<Seen>> = BTreeMap::new();
    for txn in &history.txns {
        for scan in txn.scans() {
            let rows = scan.numbers().map(|(key, _)| key).collect();
            spans.entry((scan.from, scan.to)).or_default().push((txn.id, rows));
        }
    }
    let mut found = Vec::new();
    for mut snapshots in spans.into_values() {
        // Sorted by size, snapshots of growing sets form a chain, or neighbours break it.
        snapshots.sort_by_key(|(txn, rows)| (rows.len(), *txn));
        for pair in snapshots.windows(2) {
            let [(one, fewer), (other, more)] = pair else { continue };
            if let Some(only) = fewer.difference(more).next() {
                let also = more.difference(fewer).next().expect("no smaller, and different");
                let text =
                    format!("T{one} saw {only} without {also}, T{other} saw {also} without {only}");
                found.push(Violation::new([*one, *other], text));
            }
        }
    }
    found
}

/// Snapshots with an effect and without its cause.
#[must_use]
pub fn causal_reverses(history: &History) -> Vec<Violation> {
    let mut writes: BTreeMap<Key, (u64, u64, Option<u64>)> = BTreeMap::new();
    for txn in history.txns.iter().filter(|txn| txn.outcome != Outcome::Failed) {
        for op in &txn.ops {
            if let Action::Write(key, _) = op.action {
                writes.insert(key, (txn.id, txn.invoked, txn.acknowledged()));
            }
        }
    }
    let mut found = Vec::new();
    for txn in &history.txns {
        for scan in txn.scans() {
            found.extend(reversed(txn.id, scan, &writes));
        }
    }
    found
}

fn reversed(
    reader: u64,
    scan: &Scan,
    writes: &BTreeMap<Key, (u64, u64, Option<u64>)>,
) -> Option<Violation> {
    let rows: BTreeSet<Key> = scan.numbers().map(|(key, _)| key).collect();
    let (seen, unseen): (Vec<_>, Vec<_>) =
        writes.range(scan.from..scan.to).partition(|(key, _)| rows.contains(key));
    let (effect, (later, began, _)) = seen.into_iter().max_by_key(|(_, (_, began, _))| *began)?;
    let acknowledged =
        |(key, (txn, _, at)): (&Key, &(u64, u64, Option<u64>))| at.map(|at| (at, *key, *txn));
    let (at, cause, earlier) = unseen.into_iter().filter_map(acknowledged).min()?;
    (at < *began).then(|| {
        let text = format!(
            "T{reader} saw {effect} of T{later} and not {cause} of T{earlier}, which had been \
             acknowledged before T{later} began"
        );
        Violation::new([earlier, *later, reader], text)
    })
}
