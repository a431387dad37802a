//! Lists: `append(k, v)` and reads of the whole list.
//!
//! A list is its own history. The longest read of a key gives the order of its versions; every other
//! read must be a prefix of it.
//!
//! ```text
//!   longest read of k     [ 3  7  5 ]           T1 appended 3, T2 7, T3 5
//!   edges                  T1 ─ww▶ T2 ─ww▶ T3
//!   T4 read [3 7]          T2 ─wr▶ T4 ─rw▶ T3
//!   T6's 9 is in no read   T3 ─ww▶ T6           lists only grow, so it comes after all that was read
//! ```
//!
//! Elements of transactions that cannot have committed are reported and left out of the order.

use std::collections::{BTreeMap, BTreeSet};

use crate::anomaly::{Class, Report};
use crate::edge::{Edge, Index, Kind, Proof};
use crate::history::Key;
use crate::trace::{External, Seen, Trace, show_list};

/// The longest read of each key.
pub(crate) struct Lists<'h> {
    longest: BTreeMap<Key, (&'h [i64], Index)>,
}

impl<'h> Lists<'h> {
    /// Finds the orders, reports reads that contradict them, and reveals who committed.
    pub(crate) fn new(trace: &mut Trace<'h>, report: &mut Report) -> Self {
        let mut longest: BTreeMap<Key, (&'h [i64], Index)> = BTreeMap::new();
        for (read, list) in lists(&trace.reads) {
            let entry = longest.entry(read.key).or_insert((list, read.txn));
            if list.len() > entry.0.len() {
                *entry = (list, read.txn);
            }
        }
        let reads = std::mem::take(&mut trace.reads);
        for (&key, &(list, reader)) in &longest {
            elements(trace, report, reader, key, list);
        }
        for (read, list) in lists(&reads) {
            let (order, by) = longest[&read.key];
            if !order.starts_with(list) {
                elements(trace, report, read.txn, read.key, list);
                incompatible(trace, report, &read, list, (order, by));
            }
            if let Some(&last) = list.last() {
                trace.judge_last(read.txn, read.key, last, report);
            }
        }
        trace.reads = reads;
        Lists { longest }
    }

    /// The edges that the orders and the reads prove.
    pub(crate) fn edges(&self, trace: &Trace<'_>, edges: &mut Vec<Edge>) {
        let seen: BTreeSet<(Key, i64)> = self
            .longest
            .iter()
            .flat_map(|(&key, (list, _))| list.iter().map(move |&value| (key, value)))
            .collect();
        let mut unseen: BTreeMap<Key, Vec<(i64, Index)>> = BTreeMap::new();
        for (&(key, value), writer) in &trace.writers {
            if trace.committed[writer.txn.0] && !seen.contains(&(key, value)) {
                unseen.entry(key).or_default().push((value, writer.txn));
            }
        }
        let mut orders: BTreeMap<Key, Order> = BTreeMap::new();
        for (&key, &(list, _)) in &self.longest {
            let order = Order::new(trace, key, list, unseen.remove(&key).unwrap_or_default());
            order.writes(edges);
            orders.insert(key, order);
        }
        for (read, list) in lists(&trace.reads) {
            // A read that is no prefix has been reported; its length does not say what it missed.
            if trace.committed[read.txn.0] && self.longest[&read.key].0.starts_with(list) {
                orders[&read.key].read(&read, list, edges);
            }
        }
    }
}

fn lists<'a, 'h>(
    reads: &'a [External<'h>],
) -> impl Iterator<Item = (External<'h>, &'h [i64])> + use<'a, 'h> {
    reads.iter().filter_map(|read| match read.seen {
        Seen::List(list) => Some((*read, list)),
        Seen::Register(_) => None,
    })
}

/// Judges each element of a list that was read.
fn elements(trace: &mut Trace<'_>, report: &mut Report, reader: Index, key: Key, list: &[i64]) {
    let mut sorted = list.to_vec();
    sorted.sort_unstable();
    let by = trace.txn(reader).id;
    for pair in sorted.windows(2).filter(|pair| pair[0] == pair[1]) {
        report.add_lazily(Class::DuplicateAppend, || {
            let list = show_list(list);
            (vec![by], format!("  T{by} read {} twice in {key}: {list}\n", pair[0]))
        });
    }
    for &value in list {
        if trace.judge(reader, key, value, report) {
            trace.reveal(key, value, report);
        }
    }
}

fn incompatible(
    trace: &Trace<'_>,
    report: &mut Report,
    read: &External<'_>,
    list: &[i64],
    (order, by): (&[i64], Index),
) {
    let (one, other, key) = (trace.txn(read.txn).id, trace.txn(by).id, read.key);
    report.add_lazily(Class::IncompatibleOrder, || {
        let at = list.iter().zip(order).take_while(|(a, b)| a == b).count();
        let story = format!(
            "  T{one} read {key} = {}\n  T{other} read {key} = {}\n  They part after {at} elements.\n",
            show_list(list),
            show_list(order),
        );
        (vec![one, other], story)
    });
}

/// The versions of one key: values with their committed writers.
struct Order {
    key: Key,
    versions: Vec<(i64, Index)>,
    /// For each length of a read: how many of `versions` that is.
    lengths: Vec<usize>,
    /// Committed, but in no read: after all versions, in an order that nobody knows.
    unseen: Vec<(i64, Index)>,
}

impl Order {
    fn new(trace: &Trace<'_>, key: Key, list: &[i64], unseen: Vec<(i64, Index)>) -> Self {
        let mut versions = Vec::new();
        let mut lengths = vec![0];
        for &value in list {
            versions.extend(trace.committed_writer(key, value).map(|txn| (value, txn)));
            lengths.push(versions.len());
        }
        Order { key, versions, lengths, unseen }
    }

    fn writes(&self, edges: &mut Vec<Edge>) {
        let neighbours = self.versions.windows(2).map(|pair| (pair[0], pair[1]));
        let last = self.versions.last().into_iter();
        let after = last.flat_map(|&last| self.unseen.iter().map(move |&next| (last, next)));
        for ((first, from), (then, to)) in neighbours.chain(after) {
            if from != to {
                let proof = Proof::Appended { key: self.key, first, then };
                edges.push(Edge { from, to, kind: Kind::Ww, proof });
            }
        }
    }

    fn read(&self, read: &External<'_>, list: &[i64], edges: &mut Vec<Edge>) {
        let (key, seen) = (self.key, self.lengths[list.len()]);
        let by = read.txn;
        if let Some(&(value, from)) = self.versions[..seen].last()
            && from != by
        {
            let proof = Proof::Saw { key, value, list: true };
            edges.push(Edge { from, to: by, kind: Kind::Wr, proof });
        }
        let kind = if read.predicate { Kind::RwPredicate } else { Kind::Rw };
        let missed = match self.versions.get(seen) {
            Some(next) => std::slice::from_ref(next),
            None => &self.unseen,
        };
        for &(value, to) in missed.iter().filter(|(_, to)| *to != by) {
            let proof = Proof::Missed { key, saw: list.last().copied(), value, list: true };
            edges.push(Edge { from: by, to, kind, proof });
        }
    }
}
