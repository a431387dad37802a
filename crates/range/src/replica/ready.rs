//! The turn of the store loop: what was proposed becomes one log entry; messages and log changes
//! leave.
//!
//! ```text
//!   ready(log)    messages that may go at once (a leader's appends), log changes   ── all ranges
//!   ── one append, synced if any ready() said so ──
//!   persisted()   messages that promise something; what got committed by it        ── those ranges
//!   apply()       one write batch                                                  ── those with entries
//! ```

use base::Timestamp;
use prost::Message;
use proto::node::raft_message::Kind;
use proto::node::{LogEntry, Proposal, RaftMessage};
use storage::LogBatch;

use super::{Life, Replica, Waiter, not_leader, refuse};
use crate::{Ctx, Effect};
use consensus::{Group, Outbound, Ready};

impl Replica {
    /// Takes a message of another replica of the range.
    pub fn step(&mut self, ctx: &Ctx<'_>, message: RaftMessage, out: &mut Vec<Effect>) {
        match self.life {
            Life::Active => {}
            // Whoever still follows this replica must look for another.
            Life::Stopped => return self.resign(out),
            Life::Destroyed | Life::Gone => return,
        }
        if message.kind == Kind::Removed as i32 {
            return self.told_removed(ctx, &message.message, out);
        }
        if message.kind == Kind::HandOver as i32 {
            return self.receive_hand_over(&message);
        }
        self.tell_stranger(&message, out);
        self.group.step(ctx.now(), ctx.liveness, &message);
        self.after_raft(ctx, out);
    }

    /// Hands out messages and log changes. True: the append must be synced, and `persisted` called
    /// after it. Committed entries wait for `apply`.
    pub fn ready(&mut self, ctx: &Ctx<'_>, log: &mut LogBatch, out: &mut Vec<Effect>) -> bool {
        match self.life {
            Life::Active => {}
            Life::Destroyed => {
                self.life = Life::Gone;
                log.remove(self.id);
                return true;
            }
            Life::Gone | Life::Stopped => return false,
        }
        self.propose_queued(ctx, out);
        let mut changes = LogBatch::new();
        self.truncate(ctx, &mut changes, out);
        let ready = self.group.ready(&mut changes);
        if let Some(error) = self.group.take_failure() {
            self.stop(ctx, error, out);
            return false;
        }
        let must_persist = self.take_ready(ctx, ready, out);
        // N3, and a log must not be reset to a snapshot that could not be installed.
        if self.life != Life::Active {
            return false;
        }
        log.ops.append(&mut changes.ops);
        must_persist
    }

    /// The append after `ready` is durable.
    pub fn persisted(&mut self, ctx: &Ctx<'_>, out: &mut Vec<Effect>) {
        if self.life != Life::Active {
            return;
        }
        let messages = self.group.persisted();
        self.send(ctx, messages, out);
        if let Some(ready) = self.group.ready_without_log() {
            self.take_ready(ctx, ready, out);
        }
        self.after_raft(ctx, out);
    }

    /// Whether `apply` has anything to do.
    #[must_use]
    pub fn has_committed(&self) -> bool {
        self.life == Life::Active && !self.committed.is_empty()
    }

    fn take_ready(&mut self, ctx: &Ctx<'_>, ready: Ready, out: &mut Vec<Effect>) -> bool {
        if let Some(point) = &ready.snapshot
            && let Err(error) = self.install(ctx, point, out)
        {
            self.stop(ctx, error, out);
            return false;
        }
        // Raft has taken it, or did not want it.
        (self.staged, self.reserved) = (None, None);
        self.send(ctx, ready.messages, out);
        self.committed.extend(ready.committed);
        ready.must_persist
    }

    fn send(&mut self, ctx: &Ctx<'_>, messages: Vec<Outbound>, out: &mut Vec<Effect>) {
        for message in messages {
            let effect = match message.snapshot {
                true => self.snapshot_source(ctx, &message),
                false => Effect::Send(message.message),
            };
            out.push(effect);
        }
    }

    /// Merges what was proposed since the last turn.
    fn propose_queued(&mut self, ctx: &Ctx<'_>, out: &mut Vec<Effect>) {
        while let Some(proposals) = self.next_entry() {
            let closed_ts = self.close(ctx, Timestamp::ZERO).map_or(0, |(_, ts)| ts.0);
            let entry = LogEntry { proposals, closed_ts };
            let mut data = Vec::with_capacity(1 + entry.encoded_len());
            data.push(Group::PROPOSAL);
            entry.encode(&mut data).expect("a vector grows");
            if self.group.propose(data).is_err() {
                return self.refuse_proposals(ctx, &entry.proposals, out);
            }
            if entry.proposals.iter().any(|proposal| proposal.split.is_some()) {
                self.group.announce_commit();
            }
        }
    }

    fn next_entry(&mut self) -> Option<Vec<Proposal>> {
        let max = self.config.entry_bytes;
        let queue = &mut self.lead.as_mut()?.queue;
        let mut bytes = 0;
        let mut proposals = Vec::with_capacity(queue.len());
        while let Some(next) = queue.front() {
            bytes += next.batch.len();
            // A split has an entry of its own: what is before it must be in the engine when it is
            // applied.
            let alone = next.split.is_some();
            if (bytes > max || alone) && !proposals.is_empty() {
                break;
            }
            proposals.push(queue.pop_front().expect("there is a first"));
            if alone {
                break;
            }
        }
        (!proposals.is_empty()).then_some(proposals)
    }

    /// Raft did not take them, so they will never be applied.
    fn refuse_proposals(&mut self, ctx: &Ctx<'_>, refused: &[Proposal], out: &mut Vec<Effect>) {
        let leader = self.group.leader().filter(|leader| *leader != self.node);
        let error = not_leader(self.id, leader);
        let mut of_evaluator = Vec::new();
        for proposal in refused {
            let Some(lead) = self.lead.as_mut() else { return };
            match lead.waiters.remove(&proposal.id) {
                Some(Waiter::Evaluator(id)) => of_evaluator.push(id),
                Some(Waiter::Command(token)) => refuse(token, error.clone(), out),
                Some(Waiter::OracleBound) => self.bound_lost(),
                Some(Waiter::Split) => self.split_refused(ctx, &error, out),
                None => {}
            }
        }
        self.fail_proposals(ctx, of_evaluator, &error, out);
    }
}
