//! Messages in. Here the promises of [`crate::liveness`] are kept: P2, P5, and the epoch on
//! answers.

use base::NodeId;
use bytes::Bytes;
use proto::node::RaftMessage;
use proto::node::raft_message::Kind;
use raft::eraftpb::{Message, MessageType};
use raft::{CAMPAIGN_TRANSFER, StateRole};

use super::{Group, Pledge};
use crate::message::{decode, is_answer, is_leaders, is_whole, put_epoch};
use crate::{Epoch, Liveness, Outbound};

impl Group {
    /// Takes a message of another replica. Malformed ones, and ones for somebody else, are dropped:
    /// to Raft that is a loss like any other.
    pub fn step(&mut self, now: u64, liveness: &Liveness, message: &RaftMessage) {
        let from = NodeId(message.from);
        match Kind::try_from(message.kind) {
            Ok(Kind::Raft) => {}
            Ok(Kind::Resigned) => return self.leader_resigned(from, &message.message),
            Ok(Kind::StillLeading) => return self.asked_whether_leading(from, &message.message),
            Ok(Kind::NoReplica) => return self.force_snapshot(from),
            // That is for the replica as a whole.
            Ok(Kind::Removed | Kind::HandOver) | Err(_) => return,
        }
        let Some(raft_message) = decode(&message.message) else { return };
        let appends = raft_message.get_msg_type() == MessageType::MsgAppend;
        if appends && !is_whole(&raft_message) {
            return;
        }
        if raft_message.to != self.config.node.0 || raft_message.from != from.0 {
            return;
        }
        if self.admits(now, liveness, &raft_message) {
            self.admit(liveness, raft_message, message.support_epoch);
        } else if self.pledge_holds(liveness) {
            // Somebody knows of no leader. Ours may have ended without our hearing of it.
            self.ask_pledged();
        }
    }

    /// Whether the promises allow to hear a message.
    fn admits(&self, now: u64, liveness: &Liveness, message: &Message) -> bool {
        let kind = message.get_msg_type();
        let asks_vote =
            matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        let handed_over = asks_vote && message.context == CAMPAIGN_TRANSFER;
        // P5.
        if asks_vote && !handed_over && liveness.abstains(now) {
            return false;
        }
        if !self.pledge_holds(liveness)
            || self.pledge.is_some_and(|pledge| pledge.to.0 == message.from)
        {
            return true;
        }
        // P2.
        match kind {
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => handed_over,
            MessageType::MsgTimeoutNow => true,
            kind if is_leaders(kind) => true,
            _ => message.term <= self.raw.raft.term,
        }
    }

    /// Whether this replica promised a leader not to replace it, and still must not.
    #[must_use]
    pub(super) fn pledge_holds(&self, liveness: &Liveness) -> bool {
        self.pledge.is_some_and(|pledge| liveness.supports(pledge.to) == Some(pledge.epoch))
    }

    fn admit(&mut self, liveness: &Liveness, mut message: Message, epoch: Epoch) {
        let (kind, from, term) = (message.get_msg_type(), message.from, message.term);
        if is_answer(kind) {
            message.context.clear();
        }
        self.prepare(kind, from, term);
        let sent_before = self.raw.raft.msgs.len();
        // An error means that the message is of no use: from a stranger, or of a kind that does not
        // travel.
        let _ignored = self.raw.step(message);
        if self.is_leader() {
            // Elected over whoever it was given to.
            self.pledge = None;
        }
        if self.raw.raft.term != term {
            return;
        }
        if is_answer(kind) && self.is_leader() && epoch != 0 {
            self.record_ack(from, epoch);
        }
        if is_leaders(kind) && self.raw.raft.leader_id == from {
            self.pledge_to(liveness, from, sent_before);
        }
    }

    /// Clears what would keep raft-rs from hearing a message that the promises allow.
    fn prepare(&mut self, kind: MessageType, from: u64, term: u64) {
        let raft = &mut self.raw.raft;
        // A request of an earlier term may be the one by which our leader was elected, delayed.
        let is_vote = matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote)
            && term > raft.term;
        if is_vote && raft.leader_id == from && raft.state == StateRole::Follower {
            // Our leader asks for votes, so it leads no more. raft-rs would wait for ticks that a
            // supported leader's group does not get.
            let term = raft.term;
            raft.become_follower(term, raft::INVALID_ID);
        }
        if is_vote && self.pledge.is_some_and(|pledge| pledge.to.0 == from) {
            self.pledge = None;
        }
        if is_vote && self.is_leader() && self.members.contains(from) {
            self.nudge = true;
        }
    }

    /// Follower: the answers just made are acknowledgements under the epoch of now; pledges them.
    fn pledge_to(&mut self, liveness: &Liveness, leader: u64, sent_before: usize) {
        // A pledge to an earlier leader is void: by the claim, its lease was over at this election.
        let (to, term) = (NodeId(leader), self.raw.raft.term);
        self.pledge = liveness.supports(to).map(|epoch| Pledge { to, term, epoch });
        let Some(Pledge { epoch, .. }) = self.pledge else { return };
        for message in self.raw.raft.msgs.iter_mut().skip(sent_before) {
            if message.to == leader && is_answer(message.get_msg_type()) {
                put_epoch(message, epoch);
            }
        }
    }

    /// A pledge bars this replica, and yet it knows of no leader: asks whom it was given to.
    pub(super) fn ask_pledged(&mut self) {
        if let Some(Pledge { to, term, .. }) = self.pledge {
            self.notify(to, Kind::StillLeading, term);
        }
    }

    /// Somebody was sent on to the leader that this follower knows of, and came back. If that one's replica
    /// was removed, its last messages may have been lost, or have come out of order: and as long as its
    /// node lives nobody would ever replace it. So it is asked.
    pub fn doubt_leader(&mut self) {
        let raft = &self.raw.raft;
        let known = raft.leader_id != 0 && raft.leader_id != self.config.node.0;
        if known && raft.state == StateRole::Follower {
            let (to, term) = (NodeId(raft.leader_id), raft.term);
            self.notify(to, Kind::StillLeading, term);
        }
    }

    /// A follower is barred by its pledge to this replica as leader of `term`, or doubts it.
    fn asked_whether_leading(&mut self, from: NodeId, term: &[u8]) {
        let asked = number(term);
        let raft = &self.raw.raft;
        if raft.state == StateRole::Leader && raft.term == asked {
            self.nudge = true;
            return;
        }
        // A candidate may yet lead its own term; all others are over for it.
        let over = match raft.state {
            StateRole::Leader | StateRole::Candidate => raft.term - 1,
            StateRole::Follower | StateRole::PreCandidate => raft.term,
        };
        self.notify(from, Kind::Resigned, over);
    }

    /// A replica leads no term up to `term` any more: no need to wait for its node to fail.
    fn leader_resigned(&mut self, from: NodeId, term: &[u8]) {
        let over = number(term);
        let raft = &mut self.raw.raft;
        if raft.leader_id == from.0 && raft.state == StateRole::Follower && raft.term <= over {
            let term = raft.term;
            raft.become_follower(term, raft::INVALID_ID);
        }
        if self.pledge.is_some_and(|pledge| pledge.to == from && pledge.term <= over) {
            self.pledge = None;
        }
    }

    fn notify(&mut self, to: NodeId, kind: Kind, term: u64) {
        let message = RaftMessage {
            range_id: self.config.range.0,
            to: to.0,
            from: self.config.node.0,
            kind: kind as i32,
            message: Bytes::copy_from_slice(&term.to_be_bytes()),
            ..Default::default()
        };
        self.outbox.push(Outbound { to, message, snapshot: false });
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}
