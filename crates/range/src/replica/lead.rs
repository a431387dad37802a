//! Leading: what begins and ends with a term of leadership.
//!
//! ```text
//!   elected ──▶ an entry of the term applied ──▶ lease valid ──▶ timestamp drawn ──▶ serving
//!                                                                  (system range: none needed)
//! ```
//!
//! A lease that lapses and comes back *within the term* changes nothing: nobody else can have led
//! in between (`consensus::liveness`), so locks and reads remembered here are complete. With the
//! term everything here ends.

use std::collections::{BTreeMap, VecDeque};

use base::{NodeId, RangeId, Timestamp};
use bytes::Bytes;
use consensus::Role;
use meta::{Demand, Oracle};
use proto::kv::kv_error::Error;
use proto::kv::{Ambiguous, RangeRequest};
use proto::node::raft_message::Kind;
use proto::node::{Proposal, RaftMessage};

use super::{Life, Replica, not_leader, refuse};
use crate::eval::{Evaluator, ProposalId, Token};
use crate::op::SplitUnderWay;
use crate::state::INIT_AT;
use crate::{Ctx, Effect};

/// A stopped replica repeats that it leads no more, as messages may be lost.
const RESIGN_TICKS: u64 = 10;
/// A timestamp that does not come is asked for again.
const DRAW_AGAIN_TICKS: u64 = 10;
/// Ticks of one interval of [`Demand`].
const DEMAND_TICKS: u64 = 10;

/// A term of leadership.
pub(crate) struct Lead {
    pub term: u64,
    pub evaluator: Option<Box<Evaluator>>,
    /// When the timestamp for the evaluator was asked for, in ticks.
    pub drawing: Option<u64>,
    /// Proposals that are not in the log yet.
    pub queue: VecDeque<Proposal>,
    /// Who waits for which proposal, in the queue or in the log.
    pub waiters: BTreeMap<u64, Waiter>,
    pub next_proposal: u64,
    pub oracle: Option<Oracle>,
    /// Who waits for the oracle's bound.
    pub oracle_waiters: VecDeque<(Token, u32)>,
    pub split: Option<SplitUnderWay>,
    /// Requests that came during a split.
    pub held: Vec<(Token, RangeRequest)>,
    /// A change of members under way: who waits for it.
    pub change: Option<Token>,
    /// Leadership is being handed to this node.
    pub heir: Option<NodeId>,
    /// The generation that the directory has.
    pub published: u64,
    pub published_at: u64,
    /// Whom its requests come from.
    pub demand: Demand,
}

/// Who waits for a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiter {
    Evaluator(ProposalId),
    Command(Token),
    OracleBound,
    Split,
}

impl Lead {
    fn new(term: u64) -> Self {
        Lead {
            term,
            evaluator: None,
            drawing: None,
            queue: VecDeque::new(),
            waiters: BTreeMap::new(),
            next_proposal: 1,
            oracle: None,
            oracle_waiters: VecDeque::new(),
            split: None,
            held: Vec::new(),
            change: None,
            heir: None,
            published: 0,
            published_at: 0,
            demand: Demand::default(),
        }
    }
}

impl Replica {
    /// Whether this replica leads and nobody else can.
    #[must_use]
    pub(crate) fn holds_lease(&self, ctx: &Ctx<'_>) -> bool {
        let leased = match self.config.eval.rules.leases_are_checked {
            true => self.group.lease_until(ctx.liveness) > ctx.now(),
            false => self.group.is_leader() && ctx.now() > 0,
        };
        self.life == Life::Active && leased
    }

    pub(crate) fn is_splitting(&self) -> bool {
        let split = self.lead.as_ref().and_then(|lead| lead.split.as_ref());
        split.is_some_and(|split| split.is_proposed())
    }

    /// Time passes: call every 100 ms or so. Costs next to nothing for a quiet replica.
    pub fn tick(&mut self, ctx: &Ctx<'_>, out: &mut Vec<Effect>) {
        self.ticks += 1;
        if self.life == Life::Stopped && self.ticks.is_multiple_of(RESIGN_TICKS) {
            self.resign(out);
        }
        if self.life != Life::Active {
            return;
        }
        self.group.tick(ctx.now(), ctx.liveness);
        if std::mem::take(&mut self.doubted) {
            self.group.doubt_leader();
        }
        self.campaign_eagerly(ctx, out);
        self.tick_lead(ctx, out);
        self.consider_truncation();
        self.after_raft(ctx, out);
    }

    fn tick_lead(&mut self, ctx: &Ctx<'_>, out: &mut Vec<Effect>) {
        self.tick_split(out);
        self.publish_again(ctx, out);
        let now = ctx.now();
        let Some(lead) = self.lead.as_mut() else { return };
        if self.ticks.is_multiple_of(DEMAND_TICKS) {
            lead.demand.next_interval();
        }
        let Some(evaluator) = lead.evaluator.as_mut() else { return };
        if evaluator.next_tick().is_some_and(|due| due <= now) {
            let mut effects = Vec::new();
            evaluator.tick(ctx.engine, now, &mut effects);
            self.carry_out(ctx, effects, 0, out);
        }
    }

    /// Asks to be elected without waiting for timeouts: a split made this range here, where its
    /// leader is.
    pub(crate) fn campaign_eagerly(&mut self, ctx: &Ctx<'_>, out: &mut Vec<Effect>) {
        if self.eager == 0 {
            return;
        }
        self.eager -= 1;
        if self.group.leader().is_some() {
            self.eager = 0;
            return;
        }
        self.group.campaign(ctx.now(), ctx.liveness);
        self.after_raft(ctx, out);
    }

    /// To be called after anything that may have moved Raft: notices gained and lost leadership,
    /// and asks to be scheduled.
    pub(crate) fn after_raft(&mut self, ctx: &Ctx<'_>, out: &mut Vec<Effect>) {
        if self.life != Life::Active {
            return;
        }
        if let Some(error) = self.group.take_failure() {
            return self.stop(ctx, error, out);
        }
        self.forget_hand_over();
        let leads = self.group.is_leader();
        if self.lead.as_ref().is_some_and(|lead| !leads || lead.term != self.group.term()) {
            self.step_down(ctx, out);
        }
        if leads && self.lead.is_none() {
            self.lead = Some(Lead::new(self.group.term()));
        }
        self.get_ready(ctx, out);
        if self.has_work() {
            out.push(Effect::Schedule);
        }
    }

    pub(crate) fn has_work(&self) -> bool {
        let queued = self.lead.as_ref().is_some_and(|lead| !lead.queue.is_empty());
        queued || !self.committed.is_empty() || self.truncate_due || self.group.has_ready()
    }

    /// Takes the next step towards serving.
    pub(crate) fn get_ready(&mut self, ctx: &Ctx<'_>, out: &mut Vec<Effect>) {
        let leased = self.holds_lease(ctx);
        let (applied, ticks) = (self.applied, self.ticks);
        let Some(lead) = self.lead.as_mut() else { return };
        if !leased || applied.term != lead.term {
            return;
        }
        if self.id == RangeId::SYSTEM {
            if lead.oracle.is_none() {
                let bound = self.system.as_ref().map_or(Timestamp::ZERO, |s| s.oracle_bound());
                let oracle = match self.config.eval.rules.oracle_bounds_are_replicated {
                    true => Oracle::new(bound),
                    false => Oracle::unbounded(),
                };
                lead.oracle = Some(oracle);
                self.raise_bound(ctx, out);
            }
            return self.publish_again(ctx, out);
        }
        let asked_lately = lead.drawing.is_some_and(|at| ticks < at + DRAW_AGAIN_TICKS);
        if lead.evaluator.is_none() && !asked_lately {
            lead.drawing = Some(ticks);
            out.push(Effect::DrawTimestamp { term: lead.term });
        }
    }

    /// The answer to [`Effect::DrawTimestamp`]: no read that an earlier leader answered was above
    /// `ts`.
    pub fn timestamp_drawn(
        &mut self,
        ctx: &Ctx<'_>,
        term: u64,
        ts: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let span = self.descriptor.span();
        let config = self.config.eval.clone();
        let ts = if config.rules.leaders_begin_with_reads { ts } else { Timestamp::ZERO };
        // Nobody else has led the range since the split: all entries so far are of this term.
        let first = self.group.truncated() == INIT_AT && self.first_term_is(term);
        let Some(lead) = &self.lead else { return };
        if lead.term != term || lead.evaluator.is_some() || lead.drawing.is_none() {
            return;
        }
        let mut fresh = false;
        let mut evaluator = match self.inherited.take() {
            Some(mut inherited) if first => {
                inherited.raise_low_water(ts);
                inherited
            }
            _ => {
                fresh = true;
                Box::new(Evaluator::new(span, ts, config))
            }
        };
        // What they left here need not wait until this leader has missed their heartbeats.
        for (node, incarnation) in ctx.liveness.ended() {
            evaluator.know_gone(node, incarnation);
        }
        if fresh {
            self.install_handed(ctx, term, &mut evaluator);
        }
        self.lead.as_mut().expect("looked at above").evaluator = Some(evaluator);
        self.publish_again(ctx, out);
    }

    fn first_term_is(&self, term: u64) -> bool {
        self.group.first_entry_term() == Some(term)
    }

    /// A term of leadership is over: answers everybody. What is in the log may still be applied.
    pub(crate) fn step_down(&mut self, ctx: &Ctx<'_>, out: &mut Vec<Effect>) {
        let Some(mut lead) = self.lead.take() else { return };
        let error = not_leader(self.id, self.group.leader().filter(|n| *n != self.node));
        let queued: Vec<u64> = lead.queue.iter().map(|proposal| proposal.id).collect();
        let mut effects = Vec::new();
        for id in queued {
            // Never reached the log, so it was not done.
            match lead.waiters.remove(&id) {
                Some(Waiter::Evaluator(proposal)) => {
                    if let Some(evaluator) = lead.evaluator.as_mut() {
                        let now = ctx.now();
                        evaluator.failed(ctx.engine, now, proposal, error.clone(), &mut effects);
                    }
                }
                Some(Waiter::Command(token)) => refuse(token, error.clone(), out),
                Some(Waiter::OracleBound | Waiter::Split) | None => {}
            }
        }
        if let Some(mut evaluator) = lead.evaluator.take() {
            evaluator.step_down(&error, &mut effects);
        }
        for effect in effects {
            if let crate::eval::Effect::Respond { token, response } = effect {
                let failed = response.error.is_some();
                match failed {
                    true => out.push(Effect::Respond { token, response }),
                    // Read while the lease was already gone.
                    false => refuse(token, error.clone(), out),
                }
            }
        }
        for waiter in lead.waiters.into_values() {
            if let Waiter::Command(token) = waiter {
                refuse(token, ambiguous(), out);
            }
        }
        for (token, _) in lead.oracle_waiters {
            refuse(token, error.clone(), out);
        }
        for (token, _) in lead.held {
            refuse(token, error.clone(), out);
        }
        let admin = lead.change.into_iter().chain(lead.split.map(|split| split.token));
        for token in admin {
            refuse(token, ambiguous(), out);
        }
    }

    /// Puts a proposal in line for the next log entry.
    pub(crate) fn enqueue(
        &mut self,
        mut proposal: Proposal,
        waiter: Waiter,
        out: &mut Vec<Effect>,
    ) {
        let lead = self.lead.as_mut().expect("only a leader proposes");
        proposal.id = lead.next_proposal;
        lead.next_proposal += 1;
        lead.waiters.insert(proposal.id, waiter);
        let first = lead.queue.is_empty();
        lead.queue.push_back(proposal);
        if first {
            out.push(Effect::Schedule);
        }
    }

    /// Tells the others that this replica, stopped, leads no more and never will, so that they need
    /// not wait for its node to fail.
    pub(crate) fn resign(&self, out: &mut Vec<Effect>) {
        let over = match self.group.role() {
            Role::Leader | Role::Follower => self.group.term(),
            Role::Candidate => self.group.term() - 1,
        };
        for replica in self.descriptor.replicas.iter().filter(|r| r.node_id != self.node.0) {
            out.push(Effect::Send(RaftMessage {
                range_id: self.id.0,
                to: replica.node_id,
                from: self.node.0,
                kind: Kind::Resigned as i32,
                message: Bytes::copy_from_slice(&over.to_be_bytes()),
                ..Default::default()
            }));
        }
    }
}

fn ambiguous() -> Error {
    Error::Ambiguous(Ambiguous { reason: "the range changed its leader".to_owned() })
}
