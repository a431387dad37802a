//! What a node tells one peer of the ranges that it leads.
//!
//! The messages are the differences between what the peer was told and what is. They are numbered: a
//! peer that misses one asks for a full message, and until that arrives keeps what it had, since no
//! promise is ever taken back.

use std::collections::BTreeMap;

use base::{RangeId, Timestamp};
use proto::node::{Closed, ClosedRange};

/// One peer, as far as it was told.
#[derive(Debug, Default)]
pub struct Sender {
    seq: u64,
    /// What the peer has, if every message arrived.
    told: BTreeMap<RangeId, u64>,
    /// The next message is a difference, not all there is.
    follows: bool,
}

impl Sender {
    /// A peer that was told nothing.
    #[must_use]
    pub fn new() -> Self {
        Sender::default()
    }

    /// The peer has missed something, or is another process by now.
    pub fn start_over(&mut self) {
        self.follows = false;
    }

    /// The next message: in each of the ranges `led`, of which the peer has replicas, nothing will be
    /// placed at or below `closed` behind the index given, up to which the leader has applied. `oldest`
    /// is the oldest snapshot open here.
    pub fn next(
        &mut self,
        closed: Timestamp,
        led: &BTreeMap<RangeId, u64>,
        oldest: Option<Timestamp>,
    ) -> Closed {
        if !std::mem::replace(&mut self.follows, true) {
            self.told.clear();
            self.seq += 1;
            return self.message(closed, led, Vec::new(), oldest, true);
        }
        self.seq += 1;
        let removed: Vec<u64> = self
            .told
            .keys()
            .filter(|range| !led.contains_key(range))
            .map(|range| range.0)
            .collect();
        for range in &removed {
            self.told.remove(&RangeId(*range));
        }
        self.message(closed, led, removed, oldest, false)
    }

    fn message(
        &mut self,
        closed: Timestamp,
        led: &BTreeMap<RangeId, u64>,
        removed: Vec<u64>,
        oldest: Option<Timestamp>,
        full: bool,
    ) -> Closed {
        let mut ranges = Vec::new();
        for (&range, &applied) in led {
            if self.told.insert(range, applied) != Some(applied) {
                ranges.push(ClosedRange { range_id: range.0, applied });
            }
        }
        Closed {
            seq: self.seq,
            full,
            closed_ts: closed.0,
            ranges,
            removed,
            oldest_snapshot: oldest.map_or(0, |ts| ts.0),
        }
    }
}
