//! Who takes part in a group.

use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

/// The configuration of a group, as of an applied entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// Who votes.
    pub voters: Vec<u64>,
    /// Who receives the log only.
    pub learners: Vec<u64>,
    /// During a joint change: the voters before it.
    pub outgoing: Vec<u64>,
    /// During a joint change: voters before it that will be learners after it.
    pub learners_next: Vec<u64>,
    /// Whether the leader ends a joint change by itself.
    pub auto_leave: bool,
}

impl Members {
    /// Only voters.
    #[must_use]
    pub fn voters(nodes: impl IntoIterator<Item = u64>) -> Self {
        Members { voters: nodes.into_iter().collect(), ..Default::default() }
    }

    /// Whether a node takes part in any way.
    #[must_use]
    pub fn contains(&self, node: u64) -> bool {
        [&self.voters, &self.learners, &self.outgoing, &self.learners_next]
            .iter()
            .any(|list| list.contains(&node))
    }

    /// Whether a change is half done.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(crate) fn from_raft(state: &ConfState) -> Self {
        Members {
            voters: sorted(&state.voters),
            learners: sorted(&state.learners),
            outgoing: sorted(&state.voters_outgoing),
            learners_next: sorted(&state.learners_next),
            auto_leave: state.auto_leave,
        }
    }

    pub(crate) fn to_raft(&self) -> ConfState {
        ConfState {
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            voters_outgoing: self.outgoing.clone(),
            learners_next: self.learners_next.clone(),
            auto_leave: self.auto_leave,
        }
    }
}

fn sorted(nodes: &[u64]) -> Vec<u64> {
    let mut nodes = nodes.to_vec();
    nodes.sort_unstable();
    nodes
}

/// One step of a change of members. Several at once go through a joint configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChange {
    /// Adds a voter, or lets a learner vote.
    AddVoter(u64),
    /// Adds a learner.
    AddLearner(u64),
    /// Removes a voter or learner.
    Remove(u64),
}

pub(crate) fn conf_change(changes: &[MemberChange]) -> ConfChangeV2 {
    let single = |change: &MemberChange| {
        let (node_id, kind) = match *change {
            MemberChange::AddVoter(node) => (node, ConfChangeType::AddNode),
            MemberChange::AddLearner(node) => (node, ConfChangeType::AddLearnerNode),
            MemberChange::Remove(node) => (node, ConfChangeType::RemoveNode),
        };
        ConfChangeSingle { change_type: kind as i32, node_id }
    };
    ConfChangeV2 { changes: changes.iter().map(single).collect(), ..Default::default() }
}
