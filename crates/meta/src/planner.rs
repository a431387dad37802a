//! Where replicas and leaders should be. A pure function of what is known; carrying a plan out, one
//! step per range at a time, is `node`'s.
//!
//! ```text
//!   too few voters   ──▶ add a learner on the live node with the fewest replicas
//!   a learner        ──▶ promote it (refused until it has caught up), or remove it if its node died
//!   a voter long dead──▶ add a replacement; then there is one too many
//!   too many voters  ──▶ remove the dead one, or the one on the fullest node; never the leader
//!   one gateway asks ──▶ hand over to it, if it is a voter ([`crate::demand`])
//!   leaders uneven   ──▶ hand over to the voter with the fewest, if that evens them out
//! ```
//!
//! Each range gets at most one step per plan, and steps see what earlier ones of the plan will do
//! to the counts, so that a hundred ranges do not all choose the same node.

use std::collections::BTreeMap;

use base::{NodeId, RangeId};
use proto::meta::RangeDescriptor;

use crate::demand::Wish;

/// What the planner goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goal {
    /// Voters per range.
    pub voters: usize,
    /// A node silent for longer than this is replaced, in milliseconds.
    pub dead_after_ms: u64,
}

impl Default for Goal {
    fn default() -> Self {
        Goal { voters: 3, dead_after_ms: 300_000 }
    }
}

/// A node as the planner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeView {
    /// Which.
    pub node: NodeId,
    /// For how long it has been silent, in milliseconds; 0 if it is live.
    pub silent_ms: u64,
}

/// A range as the planner sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeView {
    /// What it is and who holds it.
    pub descriptor: RangeDescriptor,
    /// Who leads it, if known. Ranges without a leader get no step.
    pub leader: Option<NodeId>,
    /// Where its requests want the leader to be; known to the leader only.
    pub wish: Wish,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Adds a learner.
    AddLearner(NodeId),
    /// Lets a learner vote.
    Promote(NodeId),
    /// Removes a voter or learner.
    Remove(NodeId),
    /// Hands leadership over.
    TransferLeader(NodeId),
}

/// A step for a range, as planned for one generation of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Which range.
    pub range: RangeId,
    /// The generation it was planned for.
    pub generation: u64,
    /// What to do.
    pub step: Step,
}

/// Plans. `ranges` should be all that are known, so that counts are right; `mine` selects those to
/// plan for.
pub fn plan(
    goal: Goal,
    nodes: &[NodeView],
    ranges: &[RangeView],
    mine: impl Fn(&RangeView) -> bool,
) -> Vec<Planned> {
    let mut counts = Counts::of(nodes, ranges);
    let mut plan = Vec::new();
    for range in ranges {
        let Some(leader) = range.leader.filter(|_| mine(range)) else { continue };
        if let Some(step) = place(goal, &counts, range, leader) {
            counts.note(step);
            let generation = range.descriptor.generation;
            plan.push(Planned { range: range.descriptor.id(), generation, step });
        }
    }
    // Leaders are evened out only when replicas are where they should be: moves disturb.
    if plan.is_empty() {
        plan.extend(ranges.iter().filter(|r| mine(r)).filter_map(|range| lead(&mut counts, range)));
    }
    plan
}

#[derive(Debug, Default)]
struct Counts {
    silent_ms: BTreeMap<NodeId, u64>,
    replicas: BTreeMap<NodeId, usize>,
    leaders: BTreeMap<NodeId, usize>,
}

impl Counts {
    fn of(nodes: &[NodeView], ranges: &[RangeView]) -> Self {
        let mut counts = Counts::default();
        for node in nodes {
            counts.silent_ms.insert(node.node, node.silent_ms);
            counts.replicas.insert(node.node, 0);
            counts.leaders.insert(node.node, 0);
        }
        for range in ranges {
            for replica in &range.descriptor.replicas {
                *counts.replicas.entry(NodeId(replica.node_id)).or_default() += 1;
            }
            // A leader that is where its requests come from is no reason to move others away.
            if let Some(leader) = range.leader.filter(|leader| range.wish != Wish::At(*leader)) {
                *counts.leaders.entry(leader).or_default() += 1;
            }
        }
        counts
    }

    fn note(&mut self, step: Step) {
        match step {
            Step::AddLearner(node) => *self.replicas.entry(node).or_default() += 1,
            Step::Remove(node) => {
                let count = self.replicas.entry(node).or_default();
                *count = count.saturating_sub(1);
            }
            Step::Promote(_) | Step::TransferLeader(_) => {}
        }
    }

    fn is_live(&self, node: NodeId) -> bool {
        self.silent_ms.get(&node) == Some(&0)
    }

    fn replicas(&self, node: NodeId) -> usize {
        self.replicas.get(&node).copied().unwrap_or(0)
    }

    fn leaders(&self, node: NodeId) -> usize {
        self.leaders.get(&node).copied().unwrap_or(0)
    }

    /// The emptiest live node without a replica of the range.
    fn spare(&self, range: &RangeDescriptor) -> Option<NodeId> {
        let live = self.silent_ms.iter().filter(|(_, silent)| **silent == 0).map(|(node, _)| *node);
        live.filter(|node| !range.has_replica(*node)).min_by_key(|n| (self.replicas(*n), *n))
    }
}

fn place(goal: Goal, counts: &Counts, range: &RangeView, leader: NodeId) -> Option<Step> {
    let descriptor = &range.descriptor;
    let voters: Vec<NodeId> = descriptor.voters().collect();
    let is_dead = |node: NodeId| {
        counts.silent_ms.get(&node).is_none_or(|silent| *silent > goal.dead_after_ms)
    };
    let learner = descriptor.replicas.iter().find(|r| r.learner).map(|r| NodeId(r.node_id));
    if let Some(learner) = learner {
        return match (counts.is_live(learner), is_dead(learner)) {
            (true, _) => Some(Step::Promote(learner)),
            (false, true) => Some(Step::Remove(learner)),
            (false, false) => None,
        };
    }
    let dead = voters.iter().copied().find(|voter| is_dead(*voter));
    if voters.len() > goal.voters {
        let fullest = || {
            let others = voters.iter().copied().filter(|voter| *voter != leader);
            others.max_by_key(|voter| (counts.replicas(*voter), *voter))
        };
        return dead.filter(|dead| *dead != leader).or_else(fullest).map(Step::Remove);
    }
    if voters.len() < goal.voters || dead.is_some() {
        return counts.spare(descriptor).map(Step::AddLearner);
    }
    None
}

/// Moves a range's leader to where its requests come from, or else to even leaders out.
fn lead(counts: &mut Counts, range: &RangeView) -> Option<Planned> {
    let leader = range.leader?;
    let to = match range.wish {
        Wish::Unknown => return None,
        Wish::At(node) if node == leader => return None,
        Wish::At(node) if range.descriptor.voters().any(|v| v == node) && counts.is_live(node) => {
            node
        }
        Wish::At(_) | Wish::Anywhere => even_out(counts, range, leader)?,
    };
    let step = Step::TransferLeader(to);
    Some(Planned { range: range.descriptor.id(), generation: range.descriptor.generation, step })
}

fn even_out(counts: &mut Counts, range: &RangeView, leader: NodeId) -> Option<NodeId> {
    let (to, fewest) = range
        .descriptor
        .voters()
        .filter(|voter| *voter != leader && counts.is_live(*voter))
        .map(|voter| (voter, counts.leaders(voter)))
        .min_by_key(|(voter, leads)| (*leads, *voter))?;
    // A difference of one is as even as it gets.
    if counts.leaders(leader) < fewest + 2 {
        return None;
    }
    *counts.leaders.entry(leader).or_default() -= 1;
    *counts.leaders.entry(to).or_default() += 1;
    Some(to)
}
