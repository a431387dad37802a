//! Sums over the rows of a scan: what a bank holds, how many doctors are on call.
//!
//! Every scan counts, also of transactions that failed later or whose outcome is unknown: a statement
//! shows committed states only, at every level.

use super::Violation;
use crate::history::{History, Txn};

/// What the numbers of a scan's rows must add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Total {
    /// Exactly this: money is moved, never made.
    Exactly(i64),
    /// This or more: each transaction looks before it takes.
    AtLeast(i64),
}

impl Total {
    fn holds(self, sum: i64) -> bool {
        match self {
            Total::Exactly(total) => sum == total,
            Total::AtLeast(floor) => sum >= floor,
        }
    }
}

/// Scans whose sum is wrong. Scans of transactions that wrote themselves are left out, as they see their
/// own half-done work.
#[must_use]
pub fn check(history: &History, total: Total) -> Vec<Violation> {
    let mut found = Vec::new();
    for txn in &history.txns {
        for scan in txn.scans().filter(|_| only_reads(txn)) {
            let sum: i64 = scan.numbers().map(|(_, number)| number).sum();
            if !total.holds(sum) {
                let (from, to, id) = (scan.from, scan.to, txn.id);
                let text =
                    format!("T{id} saw {from} to {to} add up to {sum}, which must be {total:?}");
                found.push(Violation::new([id], text));
            }
        }
    }
    found
}

fn only_reads(txn: &Txn) -> bool {
    use crate::history::Action;
    txn.ops.iter().all(|op| match op.action {
        Action::Append(..) | Action::Write(..) => false,
        Action::List(..) | Action::Read(..) | Action::Scan(_) => true,
    })
}
