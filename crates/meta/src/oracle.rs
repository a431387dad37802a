//! The timestamp service: strictly increasing numbers, over all leaders there ever are.
//!
//! ```text
//!        issued      last      bound (replicated)
//!   ───────●───●───●──●───────────┤    a successor begins here, above everything issued
//! ```
//!
//! # Invariants
//!
//! - **O1** Every timestamp issued is greater than every one issued before, and below the bound.
//! - **O2** A new leader begins at the bound it found, and issues nothing before a higher one of
//!   its own is replicated: its predecessor issued below the old bound only.
//! - **O3** The wall clock only ever raises. Set back, it changes nothing; set forward, numbers
//!   jump.
//!
//! That the predecessor has stopped issuing is the lease's business: the caller checks it *after*
//! drawing, and throws the numbers away if it is over.

use base::Timestamp;

/// How far ahead of the clock a bound reaches.
const AHEAD_MS: u64 = 3_000;
/// A new bound is asked for when less than this is left.
const RENEW_MS: u64 = 1_500;

/// The timestamp service of one leader.
#[derive(Debug)]
pub struct Oracle {
    /// The greatest timestamp that may have been issued by anybody.
    last: Timestamp,
    /// What is replicated.
    bound: Timestamp,
    /// What was proposed.
    proposed: Timestamp,
    /// O2: a bound of our own is replicated.
    own: bool,
    /// O1 and O2 are kept.
    bounded: bool,
}

/// The answer to a request for timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// The first of as many consecutive timestamps as were asked for.
    Issued(Timestamp),
    /// Not before a higher bound is replicated.
    Wait,
}

impl Oracle {
    /// For a new leader that has applied everything before its term: `bound` is what it found.
    #[must_use]
    pub fn new(bound: Timestamp) -> Self {
        Oracle { last: bound, bound, proposed: bound, own: false, bounded: true }
    }

    /// One that breaks O1 and O2, for simulations that show that it is noticed.
    #[must_use]
    pub fn unbounded() -> Self {
        Oracle { bounded: false, ..Oracle::new(Timestamp::ZERO) }
    }

    /// Draws `count` consecutive timestamps.
    pub fn draw(&mut self, count: u32, wall_ms: u64) -> Draw {
        let count = u64::from(count.max(1));
        let first = self.last.next().max(Timestamp::from_millis(wall_ms));
        let Some(last) = first.0.checked_add(count - 1).map(Timestamp) else { return Draw::Wait };
        if self.bounded && (!self.own || last >= self.bound) {
            return Draw::Wait;
        }
        assert!(first > self.last, "O1: {first} after {}", self.last);
        self.last = last;
        Draw::Issued(first)
    }

    /// The bound to propose now, if one is needed. Asked once per need.
    pub fn propose_bound(&mut self, wall_ms: u64) -> Option<Timestamp> {
        let now = self.last.max(Timestamp::from_millis(wall_ms));
        let has = |bound: Timestamp| bound.0 > now.0.saturating_add(ms(RENEW_MS));
        // O2 asks for a bound of our own, however far the one we found reaches.
        let asked = self.proposed > self.bound || self.own;
        if asked && has(self.proposed) {
            return None;
        }
        let bound = Timestamp(now.0.saturating_add(ms(AHEAD_MS))).max(self.bound.next());
        self.proposed = bound;
        Some(bound)
    }

    /// A bound is replicated and applied.
    pub fn bound_applied(&mut self, bound: Timestamp) {
        if bound > self.bound {
            self.bound = bound;
            self.own = true;
        }
    }

    /// A proposed bound was lost: it may be asked for again.
    pub fn bound_lost(&mut self) {
        self.proposed = self.bound;
        if !self.own {
            // Nothing of ours is replicated, so the next request must propose.
            self.proposed = Timestamp::ZERO;
        }
    }

    /// The greatest timestamp that may have been issued.
    #[must_use]
    pub fn last(&self) -> Timestamp {
        self.last
    }
}

fn ms(millis: u64) -> u64 {
    Timestamp::from_millis(millis).0
}
