//! Dependencies between transactions, each with what proves it.

use crate::history::Key;

/// Position of a transaction in its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Index(pub(crate) usize);

/// How one transaction depends on another, in Adya's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Write-write: the later one replaced what the earlier one wrote.
    Ww,
    /// Write-read: the later one saw it.
    Wr,
    /// Read-write, an anti-dependency: the earlier one did not see what the later one wrote.
    Rw,
    /// An anti-dependency of a predicate: a scan did not see it.
    RwPredicate,
    /// Real time: acknowledged before the other began.
    RealTime,
}

/// `from` comes before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) from: Index,
    pub(crate) to: Index,
    pub(crate) kind: Kind,
    pub(crate) proof: Proof,
}

/// What was seen or written, for the explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Lists, ww: `first` precedes `then` in `key`, or nobody has seen `then` yet.
    Appended { key: Key, first: i64, then: i64 },
    /// Registers, ww.
    Overwrote { key: Key, first: i64, then: i64 },
    /// wr: the reader saw `value` (of a list: as its last element).
    Saw { key: Key, value: i64, list: bool },
    /// rw: the reader saw `key` without `value`, which the other one wrote or appended.
    Missed { key: Key, saw: Option<i64>, value: i64, list: bool },
    /// Acknowledged before the other began; nothing more to tell.
    Clock,
}
