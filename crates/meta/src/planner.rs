//! What the leader of a range should do about its replicas: a pure function of what is known.
//!
//! One step at a time: a plan is made anew after each change, from the descriptor it left.
//!
//! # Rules, in this order
//!
//! - **P1** A learner that lives is to be promoted before anything else is begun.
//! - **P2** A dead node's replica goes when the live voters without it are a majority of the rest,
//!   and a live node can take its place; a dead learner goes at once.
//! - **P3** Below the wanted number of voters, the live node with the fewest replicas is added.
//! - **P4** Above it, a replica goes: of a dead node, else of the node with the most, never the
//!   leader's.
//! - **P5** A leader moves to a live voter that leads at least two fewer ranges.

use std::collections::BTreeMap;

use base::NodeId;
use proto::meta::RangeDescriptor;

/// What is known of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodeLoad {
    /// Heard from of late.
    pub live: bool,
    /// Silent for so long that its replicas should be replaced.
    pub dead: bool,
    /// Replicas it holds.
    pub replicas: usize,
    /// Ranges it leads.
    pub leaders: usize,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Add a replica there.
    Add(NodeId),
    /// Remove the replica there.
    Remove(NodeId),
    /// Make the learner there a voter.
    Promote(NodeId),
    /// Hand the leadership over.
    Transfer(NodeId),
}

/// The next step for a range led by `leader`, or none.
#[must_use]
pub fn plan(
    range: &RangeDescriptor,
    leader: NodeId,
    nodes: &BTreeMap<NodeId, NodeLoad>,
    copies: usize,
) -> Option<Action> {
    let load = |id: NodeId| nodes.get(&id).copied().unwrap_or_default();
    let learners = || range.replicas.iter().filter(|r| r.learner).map(|r| NodeId(r.node_id));
    if let Some(learner) = learners().next() {
        let load = load(learner);
        return if load.live {
            Some(Action::Promote(learner))
        } else {
            load.dead.then_some(Action::Remove(learner))
        };
    }
    let voters: Vec<NodeId> = range.voters().collect();
    let spare = nodes
        .iter()
        .filter(|(id, load)| load.live && !range.has_replica(**id))
        .min_by_key(|(id, load)| (load.replicas, **id))
        .map(|(id, _)| *id);
    let wanted = copies.min(nodes.values().filter(|n| !n.dead).count()).max(1);
    if voters.len() > wanted {
        let surplus = voters
            .iter()
            .copied()
            .filter(|id| *id != leader)
            .max_by_key(|id| (load(*id).dead, load(*id).replicas, *id))?;
        // With only live replicas and too few nodes for all copies there is nothing to gain.
        if load(surplus).dead || voters.len() > copies {
            return Some(Action::Remove(surplus));
        }
    }
    if let Some(dead) = voters.iter().copied().find(|id| load(*id).dead) {
        let live = voters.iter().filter(|id| load(**id).live).count();
        if spare.is_some() && live * 2 > voters.len() - 1 {
            return Some(Action::Remove(dead));
        }
    }
    if voters.len() < copies && spare.is_some() {
        return spare.map(Action::Add);
    }
    let here = load(leader).leaders;
    voters
        .into_iter()
        .filter(|id| *id != leader && load(*id).live && load(*id).leaders + 2 <= here)
        .min_by_key(|id| (load(*id).leaders, *id))
        .map(Action::Transfer)
}
