//! What runs did, in one line: so that a person sees that they really did something.

use std::fmt;

use checker::{History, Outcome};

use crate::nemesis::Struck;

/// Counts of one run, or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs.
    pub runs: u64,
    /// Transactions acknowledged.
    pub acknowledged: u64,
    /// Transactions of which the client was told that nothing happened.
    pub refused: u64,
    /// Transactions of which nobody knows.
    pub unknown: u64,
    /// Faults.
    pub struck: Struck,
    /// What nodes did that only counters show.
    pub deeds: Deeds,
}

/// What nodes did beside serving transactions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Reads of the past answered by a replica that does not lead.
    pub follower_reads: u64,
    /// Versions and records that garbage collection has dropped.
    pub collected: u64,
    /// Locks of others that somebody settled, or tried to.
    pub settled: u64,
}

impl Tally {
    /// Of one run.
    #[must_use]
    pub fn of(history: &History, struck: Struck, deeds: Deeds) -> Self {
        let count = |outcome| history.count(outcome) as u64;
        Tally {
            runs: 1,
            acknowledged: count(Outcome::Ok),
            refused: count(Outcome::Failed),
            unknown: count(Outcome::Unknown),
            struck,
            deeds,
        }
    }

    /// Takes in another one.
    pub fn add(&mut self, other: &Tally) {
        self.runs += other.runs;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        for (fault, times) in &other.struck {
            *self.struck.entry(*fault).or_default() += times;
        }
        self.deeds.follower_reads += other.deeds.follower_reads;
        self.deeds.collected += other.deeds.collected;
        self.deeds.settled += other.deeds.settled;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { runs, acknowledged, refused, unknown, struck, deeds } = self;
        let faults: u64 = struck.values().sum();
        write!(f, "{runs} seeds, {acknowledged} transactions acknowledged, {refused} refused, ")?;
        write!(f, "{unknown} unknown; {faults} faults")?;
        for (place, (fault, times)) in struck.iter().enumerate() {
            let separator = if place == 0 { " (" } else { ", " };
            write!(f, "{separator}{fault:?} {times}")?;
        }
        let Deeds { follower_reads, collected, settled } = deeds;
        let close = if struck.is_empty() { "" } else { ")" };
        write!(f, "{close}; {settled} locks of others, {follower_reads} reads by followers, ")?;
        write!(f, "{collected} versions collected")
    }
}
