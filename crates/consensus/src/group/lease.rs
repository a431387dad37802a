//! How long this leader may answer reads without asking anybody: P3 and P4 of [`crate::liveness`].

use base::NodeId;
use raft::StateRole;

use super::Group;
use crate::{Epoch, Liveness};

impl Group {
    /// Until when, by this node's clock, no other replica can have been elected. Zero for no lease.
    ///
    /// It is a lease to *lead*. Whether the state machine is current (an entry of this term is
    /// applied) is the caller's to check.
    #[must_use]
    pub fn lease_until(&self, liveness: &Liveness) -> u64 {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader || self.surrendered == raft.term {
            return 0;
        }
        let incoming = self.quorum_until(&self.members.voters, liveness);
        match self.members.outgoing.as_slice() {
            [] => incoming,
            outgoing => incoming.min(self.quorum_until(outgoing, liveness)),
        }
    }

    /// When the support of a majority ends.
    fn quorum_until(&self, voters: &[u64], liveness: &Liveness) -> u64 {
        // The majority's weakest member decides: the (n/2)-th largest, counted from zero. Groups
        // are small, so the quadratic selection beats sorting a copy.
        let majority = voters.len() / 2 + 1;
        let until = |voter: u64| self.voter_until(voter, liveness);
        voters
            .iter()
            .map(|&voter| until(voter))
            .filter(|&t| voters.iter().filter(|&&other| until(other) >= t).count() >= majority)
            .max()
            .unwrap_or(0)
    }

    fn voter_until(&self, voter: u64, liveness: &Liveness) -> u64 {
        if voter == self.config.node.0 {
            return u64::MAX;
        }
        match liveness.supported_by(NodeId(voter)) {
            (epoch, until) if epoch != 0 && self.ack_of(voter) == epoch => until,
            _ => 0,
        }
    }

    /// The epoch under which a replica last answered at this term.
    pub(super) fn ack_of(&self, node: u64) -> Epoch {
        if self.acks_term != self.raw.raft.term {
            return 0;
        }
        self.acks.get(&node).copied().unwrap_or(0)
    }

    /// Leader: a replica answered at this term, under this epoch of its support.
    pub(super) fn record_ack(&mut self, from: u64, epoch: Epoch) {
        let term = self.raw.raft.term;
        if self.acks_term != term {
            self.acks.clear();
            self.acks_term = term;
        }
        let newest = self.acks.entry(from).or_default();
        *newest = epoch.max(*newest);
    }

    /// Hands leadership to another voter. The lease of this term ends here, for good (P4), before
    /// any message leaves.
    pub fn transfer_leader(&mut self, to: NodeId) {
        if self.is_leader() && to != self.config.node && self.members.voters.contains(&to.0) {
            self.surrendered = self.raw.raft.term;
            self.raw.transfer_leader(to.0);
        }
    }

    /// Whether leadership of this term was offered to another.
    #[must_use]
    pub fn is_surrendered(&self) -> bool {
        self.is_leader() && self.surrendered == self.raw.raft.term
    }
}
