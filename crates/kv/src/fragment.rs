//! Plan fragments: what a reader is going to make of rows, made of them where they are led.
//!
//! To this crate a fragment is opaque. Ranges read as they do without one; the node that serves a request of
//! *another* node hands the rows to its [`FragmentEvaluator`] before the answer travels:
//!
//! ```text
//!   Txn::scan_reduced ── Scan, fragment ──▶ node ──▶ range      locks, read timestamps, limits as ever
//!          ▲                                 ▼ rows
//!          │                          FragmentEvaluator
//!          └──── rows that are left, or states ◀──┘
//! ```
//!
//! # Invariants
//!
//! - **F1** Rows are always an answer: a node without an evaluator, one that does not know the fragment, and
//!   one on which its evaluation fails, answer with all of them, and so does a local leader. The reader goes
//!   on with rows as if it had sent no fragment.
//! - **F2** Rows that a fragment leaves are in the order of the scan and have their keys, so that the
//!   transaction's own writes are put over them as over others.
//! - **F3** States have no place for own writes: where a transaction has written, its fragments that
//!   aggregate are not sent.

use bytes::Bytes;
use futures::future::BoxFuture;
use proto::kv::KeyValue;

/// A fragment as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// What the evaluator reads.
    pub content: Bytes,
    /// Rows become states that are merged by whoever reads them. Otherwise rows stay rows: fewer, or smaller.
    pub aggregates: bool,
}

/// What evaluates fragments on a node.
pub trait FragmentEvaluator: Send + Sync + 'static {
    /// Begins to evaluate a fragment over pages of rows; nothing if it is not understood here.
    fn begin(&self, content: &Bytes) -> Option<Box<dyn FragmentRun>>;
}

/// One evaluation, for one answer.
pub trait FragmentRun: Send {
    /// Takes the next rows in the order of the scan.
    fn add(&mut self, rows: Vec<KeyValue>) -> BoxFuture<'_, Result<(), Unreduced>>;

    /// Rows that are left so far, and bytes of all that is left.
    fn left(&self) -> (u64, u64);

    /// What is left of all rows.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Reduced, Unreduced>>;
}

/// What is left of rows.
#[derive(Debug, Default)]
pub struct Reduced {
    /// Rows (F2).
    pub rows: Vec<KeyValue>,
    /// States, if the fragment aggregates.
    pub states: Vec<Bytes>,
}

/// The rows are to be answered as they are: the evaluation failed, which the reader will find out by itself,
/// or it makes nothing less of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreduced;
