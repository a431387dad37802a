//! Registers: `write(k, v)` and `read(k)`, with values that are unique per key.
//!
//! A register forgets, so the order of its versions is known only in part, from three sources:
//!
//! | source | because |
//! |---|---|
//! | nothing, then any value | registers are never deleted |
//! | a transaction read v and then wrote w: v, then w | a version is read before the reader commits |
//! | v's writer was acknowledged before w's began: v, then w | what was acknowledged is below what begins |
//! | commit timestamps, if [`Options::trust_timestamps`] | the database says so |
//!
//! Each gives anti-dependencies: who read v comes before whoever wrote a later w. Of the later ones only
//! the nearest known are used; the others follow.
//!
//! [`Options::trust_timestamps`]: crate::Options::trust_timestamps

use std::collections::{BTreeMap, BTreeSet};

use crate::anomaly::{Class, Report};
use crate::edge::{Edge, Index, Kind, Proof};
use crate::history::{Key, Level};
use crate::trace::{External, Seen, Trace};

/// A value of a register, or its absence.
type Version = Option<i64>;

/// A committed, final write.
#[derive(Debug, Clone, Copy)]
struct Write {
    value: i64,
    txn: Index,
    invoked: u64,
    acknowledged: Option<u64>,
    commit_ts: Option<u64>,
}

/// What is known of one register.
#[derive(Default)]
struct Register {
    /// By the instant at which the writer began.
    writes: Vec<Write>,
    /// From `writes[n]` on: the earliest acknowledgement of any.
    earliest: Vec<u64>,
    /// Versions and those directly after them.
    next: BTreeMap<Version, BTreeSet<i64>>,
    /// Values that are known to replace another value.
    preceded: BTreeSet<i64>,
    /// All of the order is known.
    total: bool,
}

/// Reports impossible reads, and reveals who committed.
pub(crate) fn judge(trace: &mut Trace<'_>, report: &mut Report) {
    let reads = std::mem::take(&mut trace.reads);
    for (read, version) in registers(&reads) {
        let Some(value) = version else { continue };
        if trace.judge(read.txn, read.key, value, report) {
            trace.reveal(read.key, value, report);
            trace.judge_last(read.txn, read.key, value, report);
        }
    }
    trace.reads = reads;
}

/// The edges that reads and writes of registers prove.
pub(crate) fn edges(
    trace: &Trace<'_>,
    trust_timestamps: bool,
    edges: &mut Vec<Edge>,
    report: &mut Report,
) {
    let mut all = collect(trace);
    let own: BTreeMap<(Index, Key), i64> = all
        .iter()
        .flat_map(|(&key, register)| register.writes.iter().map(move |w| ((w.txn, key), w.value)))
        .collect();
    let mut replaced: BTreeMap<(Key, Version), Vec<Index>> = BTreeMap::new();
    for (read, version) in registers(&trace.reads) {
        if let Some(&then) = own.get(&(read.txn, read.key)) {
            all.entry(read.key).or_default().follows(version, then);
            if trace.levels[read.txn.0] >= Level::RepeatableRead {
                replaced.entry((read.key, version)).or_default().push(read.txn);
            }
        }
    }
    for (&key, register) in &mut all {
        register.prepare(trust_timestamps);
        register.ww(trace, key, edges);
    }
    for (read, version) in registers(&trace.reads) {
        if trace.committed[read.txn.0]
            && let Some(register) = all.get(&read.key)
        {
            register.read(trace, &read, version, edges);
        }
    }
    for ((key, version), mut txns) in replaced {
        txns.dedup();
        if txns.len() > 1 {
            lost(trace, report, key, version, &txns);
        }
    }
}

fn registers<'a>(
    reads: &'a [External<'_>],
) -> impl Iterator<Item = (External<'a>, Version)> + use<'a> {
    reads.iter().filter_map(|read| match read.seen {
        Seen::Register(version) => Some((*read, version)),
        Seen::List(_) => None,
    })
}

fn collect(trace: &Trace<'_>) -> BTreeMap<Key, Register> {
    let mut all: BTreeMap<Key, Register> = BTreeMap::new();
    for (&(key, value), writer) in &trace.writers {
        let txn = trace.txn(writer.txn);
        if writer.last && trace.committed[writer.txn.0] && !trace.is_list(key) {
            all.entry(key).or_default().writes.push(Write {
                value,
                txn: writer.txn,
                invoked: txn.invoked,
                acknowledged: txn.acknowledged(),
                commit_ts: txn.commit_ts,
            });
        }
    }
    all
}

impl Register {
    fn follows(&mut self, before: Version, then: i64) {
        self.next.entry(before).or_default().insert(then);
        if before.is_some() {
            self.preceded.insert(then);
        }
    }

    fn prepare(&mut self, trust_timestamps: bool) {
        if trust_timestamps && self.writes.iter().all(|w| w.commit_ts.is_some()) {
            self.total = true;
            self.writes.sort_by_key(|w| w.commit_ts);
            let values: Vec<i64> = self.writes.iter().map(|w| w.value).collect();
            let before = std::iter::once(None).chain(values.iter().map(|v| Some(*v)));
            for (before, then) in before.zip(values.clone()) {
                self.follows(before, then);
            }
        }
        self.writes.sort_by_key(|w| (w.invoked, w.txn));
        let mut earliest = u64::MAX;
        self.earliest = vec![u64::MAX; self.writes.len()];
        for (n, write) in self.writes.iter().enumerate().rev() {
            earliest = earliest.min(write.acknowledged.unwrap_or(u64::MAX));
            self.earliest[n] = earliest;
        }
    }

    /// The writes nearest after an instant: those that no other one lies before in real time.
    fn begun_after(&self, instant: Option<u64>) -> impl Iterator<Item = &Write> {
        let first = instant.map_or(0, |at| self.writes.partition_point(|w| w.invoked <= at));
        let until = self.earliest.get(first).copied().unwrap_or(0);
        self.writes[first..].iter().take_while(move |w| w.invoked <= until)
    }

    fn ww(&self, trace: &Trace<'_>, key: Key, edges: &mut Vec<Edge>) {
        for (&before, after) in &self.next {
            let Some(first) = before else { continue };
            let Some(from) = trace.committed_writer(key, first) else { continue };
            for &then in after {
                let to = trace.writers[&(key, then)].txn;
                if from != to {
                    let proof = Proof::Overwrote { key, first, then };
                    edges.push(Edge { from, to, kind: Kind::Ww, proof });
                }
            }
        }
    }

    fn read(
        &self,
        trace: &Trace<'_>,
        read: &External<'_>,
        version: Version,
        edges: &mut Vec<Edge>,
    ) {
        let (key, by) = (read.key, read.txn);
        let writer = version.and_then(|value| trace.committed_writer(key, value));
        if let (Some(value), Some(from)) = (version, writer)
            && from != by
        {
            let proof = Proof::Saw { key, value, list: false };
            edges.push(Edge { from, to: by, kind: Kind::Wr, proof });
        }
        let mut later: BTreeSet<(i64, Index)> = BTreeSet::new();
        for &then in self.next.get(&version).into_iter().flatten() {
            later.insert((then, trace.writers[&(key, then)].txn));
        }
        if !self.total {
            let acknowledged = writer.map(|w| trace.txn(w).acknowledged());
            match (version, acknowledged) {
                (None, _) => {
                    let first =
                        self.begun_after(None).filter(|w| !self.preceded.contains(&w.value));
                    later.extend(first.map(|w| (w.value, w.txn)));
                }
                (Some(_), Some(Some(at))) => {
                    later.extend(self.begun_after(Some(at)).map(|w| (w.value, w.txn)));
                }
                // Never acknowledged, or not committed: real time says nothing.
                (Some(_), Some(None) | None) => {}
            }
        }
        let kind = if read.predicate { Kind::RwPredicate } else { Kind::Rw };
        for (value, to) in later.into_iter().filter(|(_, to)| *to != by) {
            let proof = Proof::Missed { key, saw: version, value, list: false };
            edges.push(Edge { from: by, to, kind, proof });
        }
    }
}

fn lost(trace: &Trace<'_>, report: &mut Report, key: Key, version: Version, txns: &[Index]) {
    report.add_lazily(Class::LostUpdate, || {
        let ids: Vec<u64> = txns.iter().map(|&txn| trace.txn(txn).id).collect();
        let read = version.map_or_else(|| "nothing".to_owned(), |v| v.to_string());
        let names: Vec<String> = ids.iter().map(|id| format!("T{id}")).collect();
        let story = format!(
            "  {} each read {read} from {key} and replaced it: only the last one's write is left\n",
            names.join(", ")
        );
        (ids, story)
    });
}
