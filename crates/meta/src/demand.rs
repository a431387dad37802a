//! From which gateway the requests of a range come, and whether its leader should be there.
//!
//! A request to a local leader is a function call; to another node it is a frame there and one back.
//! Where nearly all requests of a range come from one gateway, its leader belongs there: the
//! timestamp oracle above all, which every transaction visits. Where they come from several, there
//! is nothing to gain, and leaders are evened out over the nodes ([`crate::planner`]).
//!
//! One leader's knowledge; a new leader learns anew.
//!
//! # Invariants
//!
//! - **D1** Nothing is said before [`SETTLED_AFTER`] intervals: a leader that was just moved must
//!   not move again for lack of figures.
//! - **D2** A range that falls silent stays where it is: moving it would gain nothing.

use base::NodeId;

/// Intervals after which a leader's figures count.
pub const SETTLED_AFTER: u32 = 4;
/// Fewer requests than this, in about two intervals, are not worth a move.
const BUSY: u64 = 100;

/// Whom a leader's requests come from, halved with every interval.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    counts: Vec<(NodeId, u64)>,
    intervals: u32,
    wish: Option<NodeId>,
}

/// Where a range's leader should be, as far as its requests tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// Not known yet: leave it where it is.
    #[default]
    Unknown,
    /// Anywhere.
    Anywhere,
    /// On this node, from which nearly all requests come.
    At(NodeId),
}

impl Demand {
    /// Requests came from a gateway.
    pub fn note(&mut self, gateway: NodeId, requests: u64) {
        match self.counts.iter_mut().find(|(node, _)| *node == gateway) {
            Some((_, count)) => *count += requests,
            None => self.counts.push((gateway, requests)),
        }
    }

    /// An interval (a second or so) has passed.
    pub fn next_interval(&mut self) {
        self.intervals = self.intervals.saturating_add(1);
        let total: u64 = self.counts.iter().map(|(_, count)| count).sum();
        if total >= BUSY {
            let most = self.counts.iter().max_by_key(|(node, count)| (*count, *node));
            // Four in five: with less, moving the leader costs others what it gains the one.
            self.wish = most.filter(|(_, count)| *count * 5 >= total * 4).map(|(node, _)| *node);
        }
        for (_, count) in &mut self.counts {
            *count /= 2;
        }
        self.counts.retain(|(_, count)| *count > 0);
    }

    /// Where the leader should be.
    #[must_use]
    pub fn wish(&self) -> Wish {
        match self.wish {
            _ if self.intervals < SETTLED_AFTER => Wish::Unknown,
            Some(node) => Wish::At(node),
            None => Wish::Anywhere,
        }
    }
}
