//! What must hold in every snapshot, whatever the order of transactions: checks that need no graph.
//!
//! | check | of which workload | violated means |
//! |---|---|---|
//! | [`sums`] | bank; on-call doctors, sums over a predicate | a total moved, a floor was passed |
//! | [`growing`] | set; monotonic snapshots | a row is lost, comes from nowhere, or goes again |
//! | [`forks`] | long fork; causal reverse | snapshots that no order explains; effect without cause |
//! | [`values`] | unique ids; defaults after DDL | an id given twice; a value no statement explains |
//!
//! They read the same [`crate::History`] as the graph's check, where [`crate::Action::Scan`] is one
//! statement's snapshot. Values need not be unique here.

pub mod forks;
pub mod growing;
pub mod sums;
pub mod values;

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The transactions that show it, by [`crate::Txn::id`].
    pub txns: Vec<u64>,
    /// What is wrong, in one line.
    pub text: String,
}

impl Violation {
    fn new(txns: impl Into<Vec<u64>>, text: String) -> Self {
        Violation { txns: txns.into(), text }
    }
}
