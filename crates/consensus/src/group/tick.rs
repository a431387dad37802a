//! Time passing. A quiet group gets no ticks: its leader's node is watched instead.
//!
//! ```text
//!   leader     ticked while a live replica lacks entries, the commit index, or an acknowledgement
//!              under its newest epoch; or while there is no lease
//!   follower   ticked while it knows no leader, or no longer supports the leader's node
//! ```

use base::NodeId;
use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

use super::{ELECTION_TICKS, Group, MAX_ELECTION_TICKS};
use crate::Liveness;

impl Group {
    /// Lets a tick pass, if this group needs any.
    pub fn tick(&mut self, now: u64, liveness: &Liveness) {
        match self.raw.raft.state {
            StateRole::Leader => self.tick_leader(now, liveness),
            StateRole::Follower | StateRole::Candidate | StateRole::PreCandidate => {
                self.tick_follower(now, liveness);
            }
        }
    }

    fn tick_leader(&mut self, now: u64, liveness: &Liveness) {
        let leased = self.lease_until(liveness) > now;
        if leased {
            // A quorum's support says more than raft-rs' own count of who was heard of lately,
            // which starves in a group that is not ticked.
            self.raw.raft.election_elapsed = 0;
        }
        let offered = self.is_surrendered() && self.raw.raft.lead_transferee.is_none();
        if offered {
            return self.win_back();
        }
        if !leased || self.nudge || self.lags(now, liveness) || self.is_surrendered() {
            self.nudge = false;
            self.raw.tick();
        }
        self.leave_joint();
    }

    /// Whether some live replica lacks something that a heartbeat would bring or bring about.
    fn lags(&self, now: u64, liveness: &Liveness) -> bool {
        let raft = &self.raw.raft;
        let (last, commit) = (raft.raft_log.last_index(), raft.raft_log.committed);
        self.peers().any(|peer| {
            let (epoch, until) = liveness.supported_by(peer.node);
            until > now
                && (peer.matched < last
                    || peer.committed < commit
                    || self.ack_of(peer.node.0) != epoch)
        })
    }

    /// A transfer came to nothing. Term T must never hold a lease again, so this replica asks to be
    /// elected anew, the others being free to vote as for any hand-over.
    fn win_back(&mut self) {
        if !self.waiting.is_empty() || self.has_unpersisted() {
            return;
        }
        let raft = &mut self.raw.raft;
        let term = raft.term;
        raft.become_follower(term, raft::INVALID_ID);
        let mut message = Message { to: raft.id, from: raft.id, term, ..Default::default() };
        message.set_msg_type(MessageType::MsgTimeoutNow);
        let _ignored = self.raw.step(message);
    }

    /// raft-rs leaves a joint configuration by itself only on the leader that entered it.
    fn leave_joint(&mut self) {
        if self.members.is_joint() && !self.raw.raft.has_pending_conf() {
            let leave = raft::eraftpb::ConfChangeV2::default();
            let _retried_next_tick = self.raw.propose_conf_change(Vec::new(), leave);
        }
    }

    fn tick_follower(&mut self, now: u64, liveness: &Liveness) {
        // P1, P5.
        let pledged = self.pledge_holds(liveness);
        let barred = pledged || liveness.abstains(now);
        let leader = self.raw.raft.leader_id;
        if pledged && leader == 0 {
            self.ask_pledged();
        }
        if (barred && !self.is_sole_voter()) || self.has_unpersisted() {
            return;
        }
        if leader != 0 && self.raw.raft.state == StateRole::Follower {
            if liveness.supports(NodeId(leader)).is_some() {
                return;
            }
            self.forget_leader();
        }
        let timeout = self.election_timeout();
        self.raw.raft.set_randomized_election_timeout(timeout);
        self.raw.tick();
    }

    /// The leader's node is gone. Its support lasted longer than any election timeout, so the first
    /// voter in line need not wait for one more.
    fn forget_leader(&mut self) {
        let raft = &mut self.raw.raft;
        let term = raft.term;
        raft.become_follower(term, raft::INVALID_ID);
        raft.election_elapsed = ELECTION_TICKS - 1;
        self.pledge = None;
    }

    /// R4: voters stand in line, two ticks apart; the order changes with range and term.
    fn election_timeout(&self) -> usize {
        let voters = &self.members.voters;
        let Some(rank) = voters.iter().position(|&v| v == self.config.node.0) else {
            return MAX_ELECTION_TICKS - 1;
        };
        let n = voters.len() as u64;
        let turn = (rank as u64 + self.config.range.0 + self.raw.raft.term) % n;
        let ticks = ELECTION_TICKS + 2 * usize::try_from(turn).unwrap_or(0);
        ticks.min(MAX_ELECTION_TICKS - 1)
    }

    /// Asks to be elected now, if the promises allow it.
    pub fn campaign(&mut self, now: u64, liveness: &Liveness) {
        let barred = self.pledge_holds(liveness) || liveness.abstains(now);
        let free = !barred || self.is_sole_voter();
        if free && !self.is_leader() && self.raw.raft.promotable() && !self.has_unpersisted() {
            let _ignored = self.raw.campaign();
        }
    }

    /// raft-rs requires a log that is durable as a whole of whoever becomes leader.
    pub(super) fn has_unpersisted(&self) -> bool {
        let log = &self.raw.raft.raft_log;
        log.persisted < log.last_index() || !log.unstable_entries().is_empty()
    }
}
