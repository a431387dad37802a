//! Handing leadership over, and with it what the leader has in memory.
//!
//! ```text
//!   leader of term T                                heir
//!   serves no more; refuses who waits
//!   hand-over: who holds what          ──────────▶  kept, if it is in T, or in T + 1 and does not serve
//!   "campaign now" (Raft)              ──────────▶  elected in T + 1, lease, timestamp drawn:
//!                                                   installs it, and serves
//! ```
//!
//! The lease of T ends for good before the message is written, so nobody serves between the hand-over and
//! the leader of T + 1; in any later term somebody may have, and it is dropped. Lost, late or repeated, it
//! costs transactions their locks in memory, or nothing. If nobody else is elected the old leader stands
//! again, and has kept a copy for itself.
//!
//! Locks of nodes that are not live are left out: the heir may have been told of their end before it led.

use base::{Key, KeyRange, NodeId, Timestamp, TxnId};
use bytes::Bytes;
use prost::Message;
use proto::kv;
use proto::node::raft_message::Kind;
use proto::node::{self, HeldLock, RaftMessage};
use txn::Owner;
use txn::lock_table::{Carried, Place};

use super::{Replica, not_leader, refuse, respond, unavailable};
use crate::eval::{self, Evaluator, Token, strength_in, strength_out};
use crate::op::is_behind;
use crate::{Ctx, Effect};

/// Bytes of one hand-over. What does not fit is lost, that of the youngest transactions.
const BYTES_MAX: usize = 1 << 20;

/// What the leader of `term` had in memory.
pub(crate) struct Handed {
    term: u64,
    locks: Vec<Carried>,
}

impl Replica {
    /// Hands leadership to another voter.
    pub(crate) fn request_transfer(
        &mut self,
        ctx: &Ctx<'_>,
        token: Token,
        transfer: &kv::TransferLeader,
        out: &mut Vec<Effect>,
    ) {
        let to = NodeId(transfer.to);
        let done = kv::range_response::Response::Done(kv::Done {});
        if to == self.node {
            return respond(token, done, out);
        }
        let votes = self.group.members().voters.contains(&to.0);
        let ready = ctx.liveness.is_live(to, ctx.now()) && !is_behind(&self.group, to);
        let lead = self.lead.as_mut().expect("admitted under the lease");
        let busy = lead.split.is_some() || lead.change.is_some();
        if !votes || !ready || busy {
            let why = unavailable("that replica can't take over now");
            return refuse(token, why, out);
        }
        lead.heir = Some(to);
        self.group.transfer_leader(to);
        self.hand_over(to, out);
        respond(token, done, out);
        self.after_raft(ctx, out);
    }

    /// Tells the heir what is in memory here. The lease has ended, and Raft's own message goes after this.
    fn hand_over(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        let error = not_leader(self.id, Some(to));
        let Some(evaluator) = self.lead.as_mut().and_then(|lead| lead.evaluator.as_mut()) else {
            return;
        };
        let mut refusals = Vec::new();
        let locks = evaluator.hand_over(&error, &mut refusals);
        for refusal in refusals {
            if let eval::Effect::Respond { token, response } = refusal {
                out.push(Effect::Respond { token, response });
            }
        }
        if locks.is_empty() {
            return;
        }
        let term = self.group.term();
        out.push(Effect::Send(RaftMessage {
            range_id: self.id.0,
            to: to.0,
            from: self.node.0,
            kind: Kind::HandOver as i32,
            message: encode(term, &locks),
            ..Default::default()
        }));
        self.handed = Some(Handed { term, locks });
    }

    /// A leader tells what it has in memory, and that this replica is to take over.
    pub(crate) fn receive_hand_over(&mut self, message: &RaftMessage) {
        let Some(handed) = decode(&message.message) else { return };
        let term = self.group.term();
        let serves = self.lead.as_ref().is_some_and(|lead| lead.evaluator.is_some());
        // Overtaken by Raft's message it still comes in time, until this replica serves.
        if handed.term == term || (handed.term + 1 == term && !serves) {
            self.handed = Some(handed);
        }
    }

    /// Forgets a hand-over that nobody will install.
    pub(crate) fn forget_hand_over(&mut self) {
        let Some(handed) = &self.handed else { return };
        let (term, next) = (self.group.term(), handed.term + 1);
        let leads_other = self.group.leader().is_some_and(|leader| leader != self.node);
        if term > next || (term == next && leads_other) {
            self.handed = None;
        }
    }

    /// What was handed over, into the evaluator of a leader of `term` that has not served yet.
    pub(crate) fn install_handed(&mut self, ctx: &Ctx<'_>, term: u64, evaluator: &mut Evaluator) {
        let Some(handed) = self.handed.take().filter(|handed| handed.term + 1 == term) else {
            return;
        };
        let now = ctx.now();
        let is_live = |node| node == self.node || ctx.liveness.is_live(node, now);
        for lock in handed.locks.iter().filter(|lock| is_live(lock.owner.coordinator)) {
            evaluator.install(lock);
        }
    }
}

fn encode(term: u64, locks: &[Carried]) -> Bytes {
    let mut bytes = 0;
    let fits = |lock: &HeldLock| {
        // The message around it takes a few bytes.
        bytes += lock.encoded_len() + 8;
        bytes <= BYTES_MAX
    };
    let locks = locks.iter().map(held_out).take_while(fits).collect();
    node::HandOver { term, locks }.encode_to_vec().into()
}

/// Nothing, if it is malformed.
fn decode(message: &Bytes) -> Option<Handed> {
    let node::HandOver { term, locks } = node::HandOver::decode(message.clone()).ok()?;
    let locks = locks.iter().map(held_in).collect::<Option<_>>()?;
    Some(Handed { term, locks })
}

fn held_out(lock: &Carried) -> HeldLock {
    let Carried { place, owner, strength, vacant } = lock;
    let (key, span) = match place {
        Place::Key(key) => (key.0.clone(), None),
        Place::Span(span) => (Bytes::new(), Some(span.clone().into())),
    };
    let txn = kv::TxnMeta {
        id: owner.txn.0,
        start_ts: owner.start.0,
        isolation: 0,
        coordinator: owner.coordinator.0,
        incarnation: owner.incarnation,
    };
    let strength = strength_out(*strength) as i32;
    HeldLock { txn: Some(txn), key, span, strength, vacant: *vacant }
}

fn held_in(lock: &HeldLock) -> Option<Carried> {
    let txn = lock.txn.as_ref()?;
    let owner = Owner {
        txn: TxnId(txn.id),
        start: Timestamp(txn.start_ts),
        coordinator: NodeId(txn.coordinator),
        incarnation: txn.incarnation,
    };
    let place = match &lock.span {
        None => Place::Key(Key(lock.key.clone())),
        Some(span) => Place::Span(KeyRange::from(span.clone())),
    };
    Some(Carried { place, owner, strength: strength_in(lock.strength()), vacant: lock.vacant })
}
