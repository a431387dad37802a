//! Snapshots and timestamps agree: a snapshot at `T` shows, of each row, the version with the highest
//! commit timestamp at or below `T`, wherever it was read and however old it is.
//!
//! Sharper than the search for cycles, which takes the order of snapshots from what they show. It knows
//! the timestamps of acknowledged transactions only; a value of one whose client was not told anything
//! may be of any time.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use checker::{Action, History, Key, Outcome, Row, Txn, Value};

/// What was written to each row.
#[derive(Default)]
struct Written {
    /// Registers: what acknowledged transactions left there, by their timestamps.
    registers: BTreeMap<Key, BTreeMap<u64, i64>>,
    /// Lists: when each value was appended.
    lists: BTreeMap<Key, BTreeMap<i64, u64>>,
    /// Values of transactions of which nobody knows what has become.
    unknown: BTreeSet<(Key, i64)>,
}

/// What snapshots show that they should not, or lack. `read_at`: the timestamps of read-only transactions.
pub(super) fn check(history: &History, read_at: &BTreeMap<u64, Timestamp>) -> Vec<String> {
    let written = Written::of(history);
    let mut wrong = Vec::new();
    let read = history.txns.iter().filter(|txn| txn.outcome == Outcome::Ok);
    for (txn, at) in read.filter_map(|txn| Some((txn, *read_at.get(&txn.id)?))) {
        if let Some(text) = written.contradicts(txn, at.0) {
            wrong.push(format!("T{} read a snapshot at {at}, and {text}", txn.id));
        }
    }
    wrong
}

impl Written {
    fn of(history: &History) -> Self {
        let mut written = Written::default();
        for txn in &history.txns {
            for op in &txn.ops {
                let (key, value) = match &op.action {
                    Action::Append(key, value) | Action::Write(key, value) => (*key, *value),
                    Action::List(..) | Action::Read(..) | Action::Scan(_) => continue,
                };
                match (txn.outcome, txn.commit_ts, &op.action) {
                    (Outcome::Ok, Some(at), Action::Append(..)) => {
                        written.lists.entry(key).or_default().insert(value, at);
                    }
                    (Outcome::Ok, Some(at), _) => {
                        // The last one counts.
                        written.registers.entry(key).or_default().insert(at, value);
                    }
                    (Outcome::Unknown, ..) => {
                        written.unknown.insert((key, value));
                    }
                    (Outcome::Ok | Outcome::Failed, ..) => {}
                }
            }
        }
        written
    }

    fn contradicts(&self, txn: &Txn, at: u64) -> Option<String> {
        txn.ops.iter().find_map(|op| match &op.action {
            Action::List(key, values) => self.list(*key, values, at),
            Action::Read(key, value) => self.register(*key, *value, at),
            Action::Scan(scan) => {
                let rows: BTreeMap<Key, &Value> =
                    scan.rows.iter().map(|Row(key, value)| (*key, value)).collect();
                let of_row = rows.iter().find_map(|(key, value)| match value {
                    Value::Number(number) => self.register(*key, Some(*number), at),
                    Value::List(values) => self.list(*key, values, at),
                });
                let known = self.registers.range(scan.from..scan.to);
                let mut missing = known.filter(|(key, _)| !rows.contains_key(key));
                of_row.or_else(|| missing.find_map(|(key, _)| self.register(*key, None, at)))
            }
            Action::Append(..) | Action::Write(..) => None,
        })
    }

    fn register(&self, key: Key, found: Option<i64>, at: u64) -> Option<String> {
        let versions = self.registers.get(&key)?;
        let newest = versions.range(..=at).next_back();
        let expected = newest.map(|(_, value)| *value);
        let excused = found.is_some_and(|value| self.unknown.contains(&(key, value)));
        // Rows that the workload began with are in no history.
        let from_before = expected.is_none() && !versions.values().any(|v| Some(*v) == found);
        if expected == found || excused || from_before {
            return None;
        }
        Some(format!("{key} was {found:?}; {newest:?} is what was committed there up to then"))
    }

    fn list(&self, key: Key, found: &[i64], at: u64) -> Option<String> {
        let appended = self.lists.get(&key)?;
        let wrong = appended.iter().find(|(value, ts)| found.contains(value) != (**ts <= at));
        let (value, ts) = wrong?;
        let has = if found.contains(value) { "has" } else { "lacks" };
        Some(format!("{key} {has} {value}, which was committed at {ts}"))
    }
}
