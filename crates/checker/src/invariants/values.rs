//! Single values: ids that must differ, columns that must hold what some statement put there.

use std::collections::BTreeMap;

use super::Violation;
use crate::history::{Action, History, Key, Outcome, Scan};

/// Ids given out twice. Each `read(k, id)` of a committed transaction is one that was given out; each key
/// is a source of ids, unique for itself.
#[must_use]
pub fn duplicate_ids(history: &History) -> Vec<Violation> {
    let mut given: BTreeMap<(Key, i64), u64> = BTreeMap::new();
    let mut found = Vec::new();
    for txn in history.txns.iter().filter(|txn| txn.outcome == Outcome::Ok) {
        for op in &txn.ops {
            let Action::Read(source, Some(id)) = op.action else { continue };
            if let Some(first) = given.insert((source, id), txn.id) {
                let text = format!("T{first} and T{} were both given {id}", txn.id);
                found.push(Violation::new([first, txn.id], text));
            }
        }
    }
    found
}

/// Rows of scans whose number is none of those allowed: a column added with a default holds the default
/// in old rows and what was written in new ones, and never anything in between.
#[must_use]
pub fn outside(history: &History, allowed: impl Fn(i64) -> bool) -> Vec<Violation> {
    let mut found = Vec::new();
    for txn in &history.txns {
        for (key, number) in txn.scans().flat_map(Scan::numbers) {
            if !allowed(number) {
                let text =
                    format!("T{} saw {number} under {key}, which no statement put there", txn.id);
                found.push(Violation::new([txn.id], text));
            }
        }
    }
    found
}
