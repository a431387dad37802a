//! Which instants must come before which: the points of all transactions, by what their levels promise.
//!
//! Each transaction is two points, its begin `b` (nothing it read is older) and its commit `c`. A
//! dependency joins the points between which the *level* promises an order, so that a cycle of points is
//! exactly what the levels forbid, also where transactions of several levels meet:
//!
//! | edge | READ COMMITTED | REPEATABLE READ | SERIALIZABLE |
//! |---|---|---|---|
//! | `T1 ─ww▶ T2` | c1 ▶ c2 | c1 ▶ b2: the first committer wins | c1 ▶ c2 |
//! | `T1 ─wr▶ T2` | c1 ▶ c2: some statement saw it | c1 ▶ b2: the one snapshot | c1 ▶ c2: one instant |
//! | `T1 ─rw▶ T2` | b1 ▶ c2 | b1 ▶ c2 | c1 ▶ c2: reads hold at commit |
//! | T1 acknowledged before T2 begins | c1 ▶ b2 | c1 ▶ b2 | c1 ▶ b2 |
//!
//! The level meant is the reader's, for ww the later writer's. Write skew is thereby no cycle at
//! REPEATABLE READ, read skew none at READ COMMITTED, and a stale read is one everywhere.
//!
//! # Real time
//!
//! Instead of an edge for each pair, acknowledgements form a chain of points of their own:
//!
//! ```text
//!        c1             c2              c3                each commit enters at its acknowledgement
//!         ╲              ╲               ╲
//!     ─────●──────────────●───────────────●─────▶
//!           ╲              ╲
//!            b4             b5                            each begin leaves after the last one before it
//! ```
//!
//! *Invariant* **O1**: a path along the chain from `c` to `b` exists exactly if the one was acknowledged
//! before the other began; so the points and their edges are linear in the history.

use crate::edge::{Edge, Index, Kind};
use crate::history::Level;
use crate::trace::Trace;

/// A begin, a commit, or an acknowledgement on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point(pub(crate) u32);

impl Point {
    pub(crate) fn begin(txn: Index) -> Self {
        Point(small(2 * txn.0))
    }

    pub(crate) fn commit(txn: Index) -> Self {
        Point(small(2 * txn.0 + 1))
    }

    pub(crate) fn at(self) -> usize {
        self.0 as usize
    }
}

fn small(n: usize) -> u32 {
    u32::try_from(n).expect("histories have less than 2^31 transactions")
}

/// What a step from one point to another is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// A dependency, by its position among the edges.
    Edge(u32),
    /// From begin to commit of one transaction.
    Within,
    /// From a commit to the chain: counts as the real-time edge.
    Acknowledged,
    /// Along the chain, or off it to a begin.
    Chain,
}

/// The points and the steps between them, sorted by where they start.
pub(crate) struct Order {
    transactions: usize,
    starts: Vec<u32>,
    steps: Vec<(Point, Link)>,
}

impl Order {
    pub(crate) fn new(trace: &Trace<'_>, edges: &[Edge]) -> Self {
        let transactions = trace.history.txns.len();
        let mut steps: Vec<(Point, Point, Link)> = Vec::new();
        for (n, edge) in edges.iter().enumerate() {
            let (from, to) = ends(edge, &trace.levels);
            steps.push((from, to, Link::Edge(small(n))));
        }
        for n in (0..transactions).filter(|&n| trace.committed[n]) {
            steps.push((Point::begin(Index(n)), Point::commit(Index(n)), Link::Within));
        }
        let points = 2 * transactions + chain(trace, &mut steps);
        steps.sort_by_key(|(from, ..)| *from);
        let mut starts = vec![0; points + 1];
        for (from, ..) in &steps {
            starts[from.at() + 1] += 1;
        }
        for n in 0..points {
            starts[n + 1] += starts[n];
        }
        let steps = steps.into_iter().map(|(_, to, link)| (to, link)).collect();
        Order { transactions, starts, steps }
    }

    pub(crate) fn points(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn steps(&self, from: Point) -> &[(Point, Link)] {
        &self.steps[self.starts[from.at()] as usize..self.starts[from.at() + 1] as usize]
    }

    /// The transaction of a point; `None` on the chain.
    pub(crate) fn txn(&self, point: Point) -> Option<Index> {
        (point.at() < 2 * self.transactions).then_some(Index(point.at() / 2))
    }
}

/// The points that an edge joins; see the table above.
pub(crate) fn ends(edge: &Edge, levels: &[Level]) -> (Point, Point) {
    let commits = (Point::commit(edge.from), Point::commit(edge.to));
    match edge.kind {
        Kind::Ww | Kind::Wr => match levels[edge.to.0] {
            Level::RepeatableRead => (commits.0, Point::begin(edge.to)),
            Level::ReadCommitted | Level::Serializable => commits,
        },
        Kind::Rw | Kind::RwPredicate => match levels[edge.from.0] {
            Level::Serializable => commits,
            Level::ReadCommitted | Level::RepeatableRead => (Point::begin(edge.from), commits.1),
        },
        Kind::RealTime => (commits.0, Point::begin(edge.to)),
    }
}

/// Adds the chain of acknowledgements; answers how many points it has.
fn chain(trace: &Trace<'_>, steps: &mut Vec<(Point, Point, Link)>) -> usize {
    let txns = &trace.history.txns;
    let mut acknowledged: Vec<(u64, usize)> = txns
        .iter()
        .enumerate()
        .filter_map(|(n, txn)| txn.acknowledged().map(|at| (at, n)))
        .collect();
    acknowledged.sort_unstable();
    let on_chain = |n: usize| Point(small(2 * txns.len() + n));
    for (n, &(_, txn)) in acknowledged.iter().enumerate() {
        steps.push((Point::commit(Index(txn)), on_chain(n), Link::Acknowledged));
        if n + 1 < acknowledged.len() {
            steps.push((on_chain(n), on_chain(n + 1), Link::Chain));
        }
    }
    for (n, txn) in txns.iter().enumerate().filter(|(n, _)| trace.committed[*n]) {
        let Some(since) = txn.sees_since() else { continue };
        let before = acknowledged.partition_point(|&(at, _)| at < since);
        if before > 0 {
            steps.push((on_chain(before - 1), Point::begin(Index(n)), Link::Chain));
        }
    }
    acknowledged.len()
}
