//! What a group is, as seen from one replica.

use base::NodeId;
use raft::StateRole;
use storage::LogPosition;

use super::Group;
use crate::Members;

/// What a replica is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Follows a leader, or knows of none.
    Follower,
    /// Asks for votes, or whether it would get them.
    Candidate,
    /// Leads.
    Leader,
}

/// A leader's view of another replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerStatus {
    /// The replica's node.
    pub node: NodeId,
    /// The last entry known to be in its log.
    pub matched: u64,
    /// The last entry it is known to know as committed.
    pub committed: u64,
    /// Whether it is waiting for a snapshot.
    pub in_snapshot: bool,
}

/// The state of a group as seen here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What this replica is.
    pub role: Role,
    /// The term.
    pub term: u64,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// The last entry known to be committed.
    pub commit: u64,
    /// The last entry applied.
    pub applied: u64,
    /// The last entry of the log.
    pub last: u64,
    /// The first entry of the log.
    pub first: u64,
}

impl Group {
    /// The state as seen here.
    #[must_use]
    pub fn status(&self) -> Status {
        let raft = &self.raw.raft;
        Status {
            role: self.role(),
            term: raft.term,
            leader: self.leader(),
            commit: raft.raft_log.committed,
            applied: raft.raft_log.applied,
            last: raft.raft_log.last_index(),
            first: raft.raft_log.first_index(),
        }
    }

    /// What this replica is.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.raw.raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Follower => Role::Follower,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
        }
    }

    /// Whether this replica leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// The term.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    /// Whom this replica voted for in the term; zero for nobody.
    #[must_use]
    pub fn vote(&self) -> u64 {
        self.raw.raft.vote
    }

    /// The term of the first entry of the log, if it has any.
    #[must_use]
    pub fn first_entry_term(&self) -> Option<u64> {
        let log = &self.raw.raft.raft_log;
        let first = log.first_index();
        if first > log.last_index() { None } else { log.term(first).ok() }
    }

    /// The leader, if one is known.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        Some(NodeId(self.raw.raft.leader_id)).filter(|leader| leader.0 != 0)
    }

    /// What is applied.
    #[must_use]
    pub fn applied_position(&self) -> LogPosition {
        self.raw.store().applied
    }

    /// The last entry dropped from the log.
    #[must_use]
    pub fn truncated(&self) -> LogPosition {
        self.raw.store().truncated
    }

    /// The configuration as of what is applied.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Leader: the other replicas.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus> + '_ {
        let me = self.config.node.0;
        self.raw.raft.prs().iter().filter(move |(id, _)| **id != me).map(|(id, pr)| PeerStatus {
            node: NodeId(*id),
            matched: pr.matched,
            committed: pr.committed_index,
            in_snapshot: pr.state == raft::ProgressState::Snapshot,
        })
    }

    pub(super) fn leader_other(&self) -> Option<NodeId> {
        self.leader().filter(|leader| *leader != self.config.node)
    }

    /// Whether this replica is the only voter.
    #[must_use]
    pub fn is_sole_voter(&self) -> bool {
        self.members.voters == [self.config.node.0] && !self.members.is_joint()
    }
}
