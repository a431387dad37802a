//! Adding and removing replicas.
//!
//! *Propose:* a change names the generation it was planned for. A node is added as a learner first,
//! is sent a snapshot, and becomes a voter once it has caught up, so that no quorum ever counts on
//! an empty replica. Several steps at once go through a joint configuration.
//!
//! *Apply:* Raft's configuration changes, and the descriptor is made from it, so that they can't
//! differ.
//!
//! A removal is flushed before anybody hears of it. Otherwise:
//!
//! 1. Of two voters one is removed; it acknowledges, is told, and destroys itself.
//! 2. The other crashes, forgets that this was committed, and waits for the vote of the first, for
//!    ever.
//!
//! *After:* the leader sends snapshots to new replicas and tells removed ones. A replica that is no
//! longer a member destroys itself (`remove.rs`).

use base::NodeId;
use bytes::Bytes;
use consensus::{Group, MemberChange, Members, ProposeError};
use proto::kv::kv_error::Error;
use proto::kv::range_response::Response;
use proto::kv::{ChangeReplicas, Done};
use proto::meta::Replica as ReplicaOf;
use storage::WriteBatch;

use crate::eval::Token;
use crate::replica::{Replica, invalid, not_leader, refuse, respond, unavailable};
use crate::state::put_state;
use crate::{Ctx, Effect};

/// A learner that lacks no more entries than this has caught up.
const NEARLY: u64 = 1_000;

/// Travels beside the change so that one proposed by request can be told from one that Raft makes.
const PROPOSED: &[u8] = b"change";

/// Whether a replica is too far behind to be counted on.
pub(crate) fn is_behind(group: &Group, node: NodeId) -> bool {
    let last = group.status().last;
    group
        .peers()
        .find(|peer| peer.node == node)
        .is_none_or(|peer| peer.in_snapshot || peer.matched == 0 || peer.matched + NEARLY < last)
}

impl Replica {
    // ---- propose ----

    pub(crate) fn request_change(
        &mut self,
        ctx: &Ctx<'_>,
        token: Token,
        change: &ChangeReplicas,
        out: &mut Vec<Effect>,
    ) {
        let changes = match self.plan_change(change) {
            Ok(changes) => changes,
            Err(error) => return refuse(token, error, out),
        };
        if changes.is_empty() {
            return respond(token, Response::Done(Done {}), out);
        }
        match self.group.propose_change(&changes, PROPOSED.to_vec()) {
            Ok(_index) => {
                let lead = self.lead.as_mut().expect("admitted under the lease");
                lead.change = Some(token);
                self.group.announce_commit();
            }
            Err(ProposeError::NotLeader { leader }) => {
                refuse(token, not_leader(self.id, leader), out);
            }
            Err(ProposeError::ChangePending) => {
                refuse(token, unavailable("another change of the range is under way"), out);
            }
        }
        self.after_raft(ctx, out);
    }

    fn plan_change(&self, change: &ChangeReplicas) -> Result<Vec<MemberChange>, Error> {
        let lead = self.lead.as_ref().expect("admitted under the lease");
        if change.generation != 0 && change.generation != self.descriptor.generation {
            return Err(invalid("the range changed since that was planned"));
        }
        if lead.split.is_some() || lead.change.is_some() {
            return Err(unavailable("another change of the range is under way"));
        }
        let members = self.group.members();
        let mut changes = Vec::new();
        for add in &change.add {
            let node = add.node_id;
            let votes = members.voters.contains(&node);
            let learns = members.learners.contains(&node);
            match (add.learner, votes, learns) {
                (true, true, _) => return Err(invalid("a voter is not made a learner")),
                (true, _, true) | (false, true, _) => {}
                (true, false, false) => changes.push(MemberChange::AddLearner(node)),
                (false, false, false) => {
                    return Err(invalid("a replica is added as a learner first"));
                }
                (false, false, true) if is_behind(&self.group, NodeId(node)) => {
                    return Err(unavailable("the learner has not caught up"));
                }
                (false, false, true) => changes.push(MemberChange::AddVoter(node)),
            }
        }
        for &node in &change.remove {
            if node == self.node.0 {
                return Err(invalid("the leader hands over before it is removed"));
            }
            if members.contains(node) {
                changes.push(MemberChange::Remove(node));
            }
        }
        Ok(changes)
    }

    // ---- apply ----

    /// Answers who is no longer a member.
    pub(crate) fn apply_change(&mut self, change: &Bytes, batch: &mut WriteBatch) -> Vec<NodeId> {
        let before = self.group.members().clone();
        let members = self.group.apply_change(change).clone();
        self.descriptor.generation += 1;
        self.descriptor.replicas = replicas(&members);
        put_state(batch, self.id, &self.descriptor, &members);
        let everybody = [before.voters, before.learners, before.outgoing].concat();
        everybody.into_iter().filter(|node| !members.contains(*node)).map(NodeId).collect()
    }

    // ---- after ----

    pub(crate) fn after_change(
        &mut self,
        ctx: &Ctx<'_>,
        proposed: bool,
        term: u64,
        removed: Vec<NodeId>,
        out: &mut Vec<Effect>,
    ) {
        out.push(Effect::DescriptorChanged(self.descriptor.clone()));
        if !self.group.is_leader() {
            return;
        }
        for node in removed.into_iter().filter(|node| *node != self.node) {
            out.push(self.removed_notice(node));
        }
        let fresh: Vec<NodeId> =
            self.group.peers().filter(|peer| peer.matched == 0).map(|peer| peer.node).collect();
        for node in fresh {
            self.group.force_snapshot(node);
        }
        if let Some(lead) = self.lead.as_mut().filter(|lead| proposed && lead.term == term)
            && let Some(token) = lead.change.take()
        {
            respond(token, Response::Done(Done {}), out);
        }
        self.publish_again(ctx, out);
    }

    /// Whether this node is still a member.
    pub(crate) fn is_member(&self) -> bool {
        self.group.members().contains(self.node.0)
    }
}

/// The replicas of a configuration: who takes part in a joint one counts until it is left.
fn replicas(members: &Members) -> Vec<ReplicaOf> {
    let voter = |&node_id: &u64| ReplicaOf { node_id, learner: false };
    let leaving = members.outgoing.iter().filter(|node| !members.voters.contains(node));
    let mut replicas: Vec<ReplicaOf> = members.voters.iter().chain(leaving).map(voter).collect();
    replicas.extend(members.learners.iter().map(|&node_id| ReplicaOf { node_id, learner: true }));
    replicas.sort_by_key(|replica| replica.node_id);
    replicas
}
