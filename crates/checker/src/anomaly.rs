//! What can go wrong, by the names of the literature, and the report of a check.

use std::collections::BTreeMap;
use std::fmt;

use crate::edge::Edge;

/// Kinds of anomalies, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A read of a value that nobody wrote.
    Garbage,
    /// One value twice in a list.
    DuplicateAppend,
    /// Two reads of one list of which neither is a prefix of the other.
    IncompatibleOrder,
    /// A read of what was rolled back.
    G1a,
    /// A read of a value that its own writer replaced before it committed.
    G1b,
    /// A transaction does not see its own writes, or its snapshot changes.
    Internal,
    /// Writes in a cycle: dirty writes.
    G0,
    /// Writes and reads in a cycle: circular information flow.
    G1c,
    /// Two transactions replaced the same version; the first one's write is lost.
    LostUpdate,
    /// A cycle with one anti-dependency: read skew.
    GSingle,
    /// A cycle with anti-dependencies that are never adjacent: what no snapshot shows. Long fork.
    GNonadjacent,
    /// A cycle with adjacent anti-dependencies on rows: write skew.
    G2Item,
    /// The same with an anti-dependency on a predicate: phantoms.
    G2,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Garbage => "a value from nowhere",
            Class::DuplicateAppend => "duplicate append",
            Class::IncompatibleOrder => "incompatible orders",
            Class::G1a => "G1a (aborted read)",
            Class::G1b => "G1b (intermediate read)",
            Class::Internal => "internal inconsistency",
            Class::G0 => "G0 (dirty write)",
            Class::G1c => "G1c (circular information flow)",
            Class::LostUpdate => "lost update",
            Class::GSingle => "G-single (read skew)",
            Class::GNonadjacent => "G-nonadjacent (long fork)",
            Class::G2Item => "G2-item (write skew)",
            Class::G2 => "G2 (predicate write skew)",
        })
    }
}

/// Something that the isolation level forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// What it is called.
    pub class: Class,
    /// Whether real-time order takes part: the cycle would be allowed if nobody had a clock.
    pub real_time: bool,
    /// The transactions that take part, by [`crate::Txn::id`].
    pub txns: Vec<u64>,
    /// The story, several lines.
    pub text: String,
    pub(crate) cycle: Vec<Edge>,
}

impl Anomaly {
    /// As one line: the class and whether real time takes part.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}{}", self.class, if self.real_time { ", by real time" } else { "" })
    }

    /// The kinds of the cycle's edges, in its order; empty for what is no cycle.
    pub fn kinds(&self) -> impl Iterator<Item = crate::Kind> + '_ {
        self.cycle.iter().map(|edge| edge.kind)
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title())?;
        f.write_str(&self.text)
    }
}

/// How many anomalies of one class are kept with their story; the others are counted.
pub(crate) const KEPT_PER_CLASS: usize = 8;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The worst first; of each class at most a handful.
    pub anomalies: Vec<Anomaly>,
    /// How many of each class there were.
    pub counts: BTreeMap<Class, usize>,
    /// Transactions that count as committed.
    pub committed: usize,
    /// Transactions of unknown outcome of which somebody saw a write.
    pub revealed: usize,
    /// Dependencies found, real time apart.
    pub edges: usize,
}

impl Report {
    /// Whether nothing was found.
    #[must_use]
    pub fn valid(&self) -> bool {
        self.counts.is_empty()
    }

    pub(crate) fn add(&mut self, anomaly: Anomaly) {
        let count = self.counts.entry(anomaly.class).or_default();
        *count += 1;
        if *count <= KEPT_PER_CLASS {
            self.anomalies.push(anomaly);
        }
    }

    /// Counts an anomaly whose story is made only if it is kept.
    pub(crate) fn add_lazily(&mut self, class: Class, story: impl FnOnce() -> (Vec<u64>, String)) {
        if self.counts.get(&class).is_some_and(|&count| count >= KEPT_PER_CLASS) {
            *self.counts.entry(class).or_default() += 1;
        } else {
            let (txns, text) = story();
            self.add(Anomaly { class, real_time: false, txns, text, cycle: Vec::new() });
        }
    }
}
