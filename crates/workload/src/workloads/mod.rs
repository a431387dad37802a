//! What clients do, and what must hold of what they saw.
//!
//! | workload | does | checked |
//! |---|---|---|
//! | append | lists over several ranges: append, read, scan, long snapshots | dependency cycles |
//! | register | the same with single values | dependency cycles |
//! | bank | transfers | the total, in every snapshot |
//! | skew | withdrawals covered by the sum of entries, found by an index | no sum below zero; cycles |
//! | long-fork | inserts into groups over several ranges | any two snapshots are comparable; cycles |
//! | causal-reverse | inserts one after another, by different clients | no effect without its cause; cycles |
//! | set | inserts; scans | no acknowledged row lost, none from nowhere, none seen and gone |
//! | ids | a counter row, and a SERIAL column | no id twice |
//! | defaults | columns are added with defaults while rows are | every row has the value it was given |
//!
//! Every workload keeps read-only snapshots open across many commits of others, because the worst orders
//! show only to them; of the past too (`AS OF SYSTEM TIME`) where the server can.

mod bank;
mod defaults;
mod ids;
mod inserts;
mod items;
mod skew;

use std::time::Duration;

use checker::invariants::Violation;
use checker::{History, HistoryError, Level, Options, check};
use clap::ValueEnum;
use rand::Rng;
use rand::rngs::StdRng;

use crate::session::{Ended, Row, Session};

/// Workloads by their names on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Workload {
    /// Lists that are appended to.
    Append,
    /// Single values.
    Register,
    /// Transfers between accounts.
    Bank,
    /// Sums over a predicate that must stay positive.
    Skew,
    /// Snapshots that disagree on who came first.
    LongFork,
    /// Effects without their cause.
    CausalReverse,
    /// Unique ids.
    Ids,
    /// Rows that are never removed.
    Set,
    /// Columns added with a default.
    Defaults,
}

/// What a workload's check found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    /// What was checked, in a line.
    pub(crate) checked: String,
    /// Each a story of several lines; of many the first ones.
    pub(crate) anomalies: Vec<String>,
    /// How many there were.
    pub(crate) count: usize,
}

/// What all clients of a workload share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared {
    pub(crate) level: Level,
    /// The server understands AS OF SYSTEM TIME.
    pub(crate) as_of: bool,
}

impl Shared {
    /// How old a snapshot is to be: every third is of the past, where the server has those.
    fn age(&self, rng: &mut StdRng) -> Option<Duration> {
        let past = self.as_of && rng.random_ratio(1, 3);
        past.then(|| Duration::from_millis(rng.random_range(1..5_000)))
    }
}

/// A workload with its state.
pub(crate) enum Running {
    Items(items::Items),
    Bank(bank::Bank),
    Skew(skew::Skew),
    Inserts(inserts::Inserts),
    Ids(ids::Ids),
    Defaults(defaults::Defaults),
}

impl Running {
    pub(crate) fn new(workload: Workload, shared: Shared) -> Self {
        match workload {
            Workload::Append => Running::Items(items::Items::new(shared, true)),
            Workload::Register => Running::Items(items::Items::new(shared, false)),
            Workload::Bank => Running::Bank(bank::Bank::new(shared)),
            Workload::Skew => Running::Skew(skew::Skew::new(shared)),
            Workload::LongFork | Workload::CausalReverse | Workload::Set => {
                Running::Inserts(inserts::Inserts::new(shared, workload))
            }
            Workload::Ids => Running::Ids(ids::Ids::new(shared)),
            Workload::Defaults => Running::Defaults(defaults::Defaults::new(shared)),
        }
    }

    /// The statements that make its tables, one after another.
    pub(crate) fn schema(&self) -> Vec<String> {
        match self {
            Running::Items(items) => items.schema(),
            Running::Bank(bank) => bank.schema(),
            Running::Skew(skew) => skew.schema(),
            Running::Inserts(inserts) => inserts.schema(),
            Running::Ids(ids) => ids.schema(),
            Running::Defaults(defaults) => defaults.schema(),
        }
    }

    /// One transaction of one client.
    pub(crate) async fn step(
        &self,
        session: &mut Session,
        rng: &mut StdRng,
        process: u32,
    ) -> Result<(), Ended> {
        match self {
            Running::Items(items) => items.step(session, rng).await,
            Running::Bank(bank) => bank.step(session, rng).await,
            Running::Skew(skew) => skew.step(session, rng).await,
            Running::Inserts(inserts) => inserts.step(session, rng).await,
            Running::Ids(ids) => ids.step(session, rng).await,
            Running::Defaults(defaults) => defaults.step(session, rng, process).await,
        }
    }

    /// Reads everything, when all is quiet: what was acknowledged and is lost shows here at the latest.
    pub(crate) async fn last(&self, session: &mut Session) -> Result<(), Ended> {
        match self {
            Running::Items(items) => items.last(session).await,
            Running::Bank(bank) => bank.last(session).await,
            Running::Skew(skew) => skew.last(session).await,
            Running::Inserts(inserts) => inserts.last(session).await,
            // Each id was judged when it was given.
            Running::Ids(_) => Ok(()),
            Running::Defaults(defaults) => defaults.last(session).await,
        }
    }

    /// What its history shows.
    pub(crate) fn verdict(&self, history: &History) -> Result<Findings, HistoryError> {
        match self {
            Running::Items(_) => cycles(history),
            Running::Bank(bank) => Ok(bank.verdict(history)),
            Running::Skew(skew) => skew.verdict(history),
            Running::Inserts(inserts) => inserts.verdict(history),
            Running::Ids(ids) => Ok(ids.verdict(history)),
            Running::Defaults(defaults) => Ok(defaults.verdict(history)),
        }
    }
}

/// The graph's check, each transaction at its own level.
pub(crate) fn cycles(history: &History) -> Result<Findings, HistoryError> {
    let report = check(history, &Options::default())?;
    Ok(Findings {
        checked: format!("{} dependencies of {} transactions", report.edges, report.committed),
        count: report.counts.values().sum(),
        anomalies: report.anomalies.iter().map(ToString::to_string).collect(),
    })
}

/// How many violations are told in full.
const TOLD: usize = 5;

impl Findings {
    fn of(checked: &str, violations: Vec<Violation>) -> Self {
        Findings {
            checked: checked.to_owned(),
            count: violations.len(),
            anomalies: violations.into_iter().take(TOLD).map(|v| v.text).collect(),
        }
    }

    fn and(mut self, other: Findings) -> Self {
        self.checked = format!("{}; {}", self.checked, other.checked);
        self.count += other.count;
        self.anomalies.extend(other.anomalies);
        self
    }
}

/// A number of a row; rows that hold none are a bug of the workload or of the server.
fn number(row: &Row, column: usize) -> i64 {
    let text = row.get(column).cloned().flatten();
    text.and_then(|text| text.parse().ok()).unwrap_or(i64::MIN)
}

/// Lets others commit between two reads of one snapshot.
async fn linger(rng: &mut StdRng) {
    let milliseconds = if rng.random_ratio(1, 4) { 1_000 } else { 100 };
    let pause = rng.random_range(0..milliseconds);
    tokio::time::sleep(Duration::from_millis(pause)).await;
}
