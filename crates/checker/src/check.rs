//! The check itself: from a history to a report.

use crate::anomaly::Report;
use crate::history::{History, HistoryError, Level, Txn};
use crate::lists::Lists;
use crate::order::Order;
use crate::trace::Trace;
use crate::{cycles, explain, registers};

/// What a history is held to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Hold every transaction to this level instead of its own. Snapshots are held to REPEATABLE READ at
    /// least.
    pub level: Option<Level>,
    /// Take the order of a register's versions from the commit timestamps that the database told.
    pub trust_timestamps: bool,
}

impl Options {
    /// Holds everything to one level.
    #[must_use]
    pub fn at(level: Level) -> Self {
        Options { level: Some(level), trust_timestamps: false }
    }

    pub(crate) fn level_of(&self, txn: &Txn) -> Level {
        let level = self.level.unwrap_or(txn.level);
        if txn.snapshot.is_some() { level.max(Level::RepeatableRead) } else { level }
    }
}

/// Searches a history of lists, registers and scans for whatever its isolation levels forbid.
pub fn check(history: &History, options: &Options) -> Result<Report, HistoryError> {
    let mut report = Report::default();
    let mut trace = Trace::new(history, options, &mut report)?;
    let lists = Lists::new(&mut trace, &mut report);
    registers::judge(&mut trace, &mut report);

    let mut edges = Vec::new();
    lists.edges(&trace, &mut edges);
    registers::edges(&trace, options.trust_timestamps, &mut edges, &mut report);
    report.committed = trace.committed.iter().filter(|committed| **committed).count();
    report.edges = edges.len();

    let order = Order::new(&trace, &edges);
    for cycle in cycles::find(&order, &edges, &trace) {
        report.add(explain::anomaly(&trace, cycle));
    }
    report.anomalies.sort_by_key(|anomaly| (anomaly.real_time, anomaly.class));
    Ok(report)
}
