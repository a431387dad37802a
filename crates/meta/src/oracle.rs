//! The timestamp service: strictly increasing numbers, whatever happens to clocks and leaders.
//!
//! ```text
//!   begin(bound applied) ──▶ waiting ──bound_committed──▶ issuing ──step_down──▶ idle
//!                               │ wanted_bound: now + 3 s, through the Raft group of range 1
//! ```
//!
//! A leader issues only numbers above the bound it found when it took office, because its
//! predecessor may have issued everything up to that bound, and only up to a bound that the group
//! has committed since, because its successor starts there. The physical clock decides how numbers
//! look, never their order: one that jumps ahead is cut off at the bound, one that jumps back is
//! ignored.
//!
//! That the leader still is one is checked by the caller, under its lease, *after* drawing.
//!
//! # Invariants
//!
//! - **O1** `floor < issued <= bound` for every number issued.
//! - **O2** Every number is above every earlier one, over all leaders.

use base::Timestamp;

/// How far the bound is raised ahead of the clock.
const AHEAD_MS: u64 = 3_000;
/// The bound is raised when less than this is left.
const LOW_MS: u64 = 1_500;

/// The issuing state of one leader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Oracle {
    last: Timestamp,
    bound: Timestamp,
    asked: Timestamp,
    issuing: bool,
}

impl Oracle {
    /// Takes office: nothing at or below the applied bound may be issued again.
    pub fn begin(&mut self, applied_bound: Timestamp) {
        *self = Oracle {
            last: applied_bound,
            bound: applied_bound,
            asked: Timestamp::ZERO,
            issuing: true,
        };
    }

    /// Leaves office.
    pub fn step_down(&mut self) {
        self.issuing = false;
    }

    /// The bound to propose, if what is left has become little and none is under way.
    pub fn wanted_bound(&mut self, now_ms: u64) -> Option<Timestamp> {
        if !self.issuing || self.asked > self.bound {
            return None;
        }
        let now = Timestamp::from_millis(now_ms).max(self.last);
        if self.bound.millis() >= now.millis() + LOW_MS {
            return None;
        }
        self.asked = Timestamp::from_millis(now.millis() + AHEAD_MS);
        Some(self.asked)
    }

    /// The proposal of a bound failed; it may be asked for again.
    pub fn bound_failed(&mut self) {
        self.asked = self.bound;
    }

    /// A bound has been applied.
    pub fn bound_committed(&mut self, bound: Timestamp) {
        self.bound = self.bound.max(bound);
    }

    /// Draws `count` numbers in a row and answers the first; `None` until a bound is committed that
    /// leaves room.
    pub fn issue(&mut self, now_ms: u64, count: u32) -> Option<Timestamp> {
        let count = u64::from(count.max(1));
        let latest_first = self.bound.0.checked_sub(count - 1)?;
        let by_clock = Timestamp::from_millis(now_ms).0.min(latest_first);
        let first = by_clock.max(self.last.0 + 1);
        if !self.issuing || first > latest_first {
            return None;
        }
        let floor = self.last;
        self.last = Timestamp(first + count - 1);
        assert!(floor.0 < first && self.last <= self.bound, "O1: {floor} {first} {self:?}");
        Some(Timestamp(first))
    }
}
