//! What a node was told by its peers of the ranges that they lead.
//!
//! # Invariants
//!
//! - **R1** What is looked up was promised by a leader, for the index that is given with it.
//! - **R2** A promise is handed over ([`Promise`]) before the peer's next one takes its place, so a
//!   replica whose log is a little behind loses nothing.

use std::collections::BTreeMap;

use base::{NodeId, RangeId, Timestamp};
use proto::node::Closed;

/// Nothing will be placed at or below `ts` behind `index` of the range's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// The range.
    pub range: RangeId,
    /// For who has applied so much.
    pub index: u64,
    /// Up to where.
    pub ts: Timestamp,
}

#[derive(Debug, Default)]
struct Peer {
    incarnation: u64,
    seq: u64,
    closed: Timestamp,
    ranges: BTreeMap<RangeId, u64>,
    oldest: Option<Timestamp>,
}

/// All peers' promises.
#[derive(Debug, Default)]
pub struct Receiver {
    peers: BTreeMap<NodeId, Peer>,
    /// Who named the range last.
    leaders: BTreeMap<RangeId, NodeId>,
}

impl Receiver {
    /// Takes a message. Returns promises to be handed to their replicas now; none if a message
    /// before this one was lost, and the peer has to be asked for a full one.
    pub fn receive(
        &mut self,
        from: NodeId,
        incarnation: u64,
        message: &Closed,
    ) -> Option<Vec<Promise>> {
        let peer = self.peers.entry(from).or_default();
        let follows = peer.incarnation == incarnation && message.seq == peer.seq + 1;
        if !message.full && !follows {
            return None;
        }
        let (before, closed) = (peer.closed, Timestamp(message.closed_ts));
        let mut due = Vec::new();
        let last = |range, index| Promise { range, index, ts: before };
        if message.full {
            let all = std::mem::take(&mut peer.ranges);
            due.extend(all.into_iter().map(|(range, index)| last(range, index)));
        }
        for range in message.removed.iter().copied().map(RangeId) {
            due.extend(peer.ranges.remove(&range).map(|index| last(range, index)));
        }
        for named in &message.ranges {
            let (range, index) = (RangeId(named.range_id), named.applied);
            due.extend(peer.ranges.insert(range, index).map(|index| last(range, index)));
            self.leaders.insert(range, from);
            due.push(Promise { range, index, ts: closed });
        }
        peer.incarnation = incarnation;
        peer.seq = message.seq;
        peer.closed = closed;
        peer.oldest = Some(Timestamp(message.oldest_snapshot)).filter(|ts| *ts != Timestamp::ZERO);
        let named = |range: &RangeId| peer.ranges.contains_key(range);
        self.leaders.retain(|range, leader| *leader != from || named(range));
        Some(due)
    }

    /// The newest promise for a range, if any peer keeps one up.
    #[must_use]
    pub fn lookup(&self, range: RangeId) -> Option<Promise> {
        let peer = self.peers.get(self.leaders.get(&range)?)?;
        let index = *peer.ranges.get(&range)?;
        Some(Promise { range, index, ts: peer.closed })
    }

    /// The oldest snapshot open on a peer, as it said last.
    #[must_use]
    pub fn oldest_snapshot(&self, peer: NodeId) -> Option<Timestamp> {
        self.peers.get(&peer)?.oldest
    }

    /// Whether a peer has been heard.
    #[must_use]
    pub fn has_heard(&self, peer: NodeId) -> bool {
        self.peers.contains_key(&peer)
    }
}
