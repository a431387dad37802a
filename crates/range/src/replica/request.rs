//! Requests in, answers out, under the lease.
//!
//! A read is answered inline, by whichever thread brought it. The time is taken twice: before, for
//! the evaluator, and *after* reading, for the lease. Had the process been paused in between, the
//! second look says so, and the answer is thrown away (N1). What a commit answers needs no second
//! look: it is in the log.

use proto::kv::kv_error::Error;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::kv::{
    Invalid, KvError, NotLeader, RangeRequest, RangeResponse, RangeStatusResult, Unavailable,
    WrongRange,
};

use super::{Life, Replica, Waiter};
use crate::eval::{self, ProposalId, Token};
use crate::{Ctx, Effect};

impl Replica {
    /// Takes a request. It is answered by one [`Effect::Respond`], now or later.
    pub fn request(
        &mut self,
        ctx: &Ctx<'_>,
        token: Token,
        request: RangeRequest,
        out: &mut Vec<Effect>,
    ) {
        if let Some(Request::RangeStatus(_)) = request.request {
            return self.answer_status(token, out);
        }
        if let Err(error) = self.admit(ctx, &request) {
            if let Some(response) = self.read_closed(ctx, &request, out) {
                return out.push(Effect::Respond { token, response });
            }
            self.doubted |= matches!(error, Error::NotLeader(_));
            return refuse(token, error, out);
        }
        let lead = self.lead.as_mut().expect("admitted under the lease");
        if lead.split.as_ref().is_some_and(|split| split.is_proposed()) {
            if lead.held.len() >= self.config.held_max {
                return refuse(token, unavailable("too many wait for a split"), out);
            }
            lead.held.push((token, request));
            return;
        }
        self.dispatch(ctx, token, request, out);
    }

    /// Whether this replica may answer now.
    fn admit(&self, ctx: &Ctx<'_>, request: &RangeRequest) -> Result<(), Error> {
        if self.life != Life::Active || !self.is_initialised() {
            return Err(not_leader(self.id, None));
        }
        let leader = self.group.leader().filter(|leader| *leader != self.node);
        let Some(lead) = &self.lead else { return Err(not_leader(self.id, leader)) };
        if let Some(heir) = lead.heir {
            return Err(not_leader(self.id, Some(heir)));
        }
        if !self.holds_lease(ctx) {
            return Err(unavailable("the leader waits for its lease"));
        }
        if self.applied.term != lead.term {
            return Err(unavailable("the leader is catching up"));
        }
        if !crate::route::is_inside(&self.descriptor.span(), request) {
            let ranges = vec![self.descriptor.clone()];
            return Err(Error::WrongRange(WrongRange { ranges }));
        }
        Ok(())
    }

    fn dispatch(
        &mut self,
        ctx: &Ctx<'_>,
        token: Token,
        request: RangeRequest,
        out: &mut Vec<Effect>,
    ) {
        match request.request {
            Some(Request::Split(split)) => self.request_split(token, split, out),
            Some(Request::ChangeReplicas(change)) => {
                self.request_change(ctx, token, &change, out);
            }
            Some(Request::TransferLeader(transfer)) => {
                self.request_transfer(ctx, token, &transfer, out);
            }
            Some(Request::Oracle(oracle)) => self.request_oracle(ctx, token, oracle, out),
            Some(Request::SystemCommand(command)) => {
                self.request_command(ctx, token, command, out);
            }
            Some(Request::SystemQuery(query)) => self.request_query(ctx, token, &query, out),
            Some(Request::RangeStatus(_)) => self.answer_status(token, out),
            None => refuse(token, invalid("a request of an unknown kind"), out),
            Some(_) => self.evaluate(ctx, token, request, out),
        }
    }

    fn evaluate(
        &mut self,
        ctx: &Ctx<'_>,
        token: Token,
        request: RangeRequest,
        out: &mut Vec<Effect>,
    ) {
        let lead = self.lead.as_mut().expect("admitted under the lease");
        let Some(evaluator) = lead.evaluator.as_mut() else {
            return refuse(token, unavailable("the leader is getting ready"), out);
        };
        if let Some(txn) = &request.txn {
            lead.demand.note(base::NodeId(txn.coordinator), 1);
        }
        let mut effects = Vec::new();
        evaluator.request(ctx.engine, ctx.now(), token, request, &mut effects);
        self.carry_out(ctx, effects, 0, out);
    }

    /// Carries out what the evaluator asks for. The first `durable` answers report what is in the
    /// log already, and need no lease.
    pub(crate) fn carry_out(
        &mut self,
        ctx: &Ctx<'_>,
        effects: Vec<eval::Effect>,
        mut durable: usize,
        out: &mut Vec<Effect>,
    ) {
        // N1: after the reading.
        let leased = self.holds_lease(ctx) && !self.is_splitting();
        let mut refused: Vec<ProposalId> = Vec::new();
        for effect in effects {
            match effect {
                eval::Effect::Respond { token, response } => {
                    let corrupt = self.corruption(&response);
                    if durable > 0 || leased {
                        durable = durable.saturating_sub(1);
                        out.push(Effect::Respond { token, response });
                    } else {
                        refuse(token, not_leader(self.id, self.group.leader()), out);
                    }
                    if let Some(error) = corrupt {
                        self.stop(ctx, error, out);
                    }
                }
                // Behind a split that is under way, a write might land in the part that goes.
                eval::Effect::Propose { proposal, .. } if self.is_splitting() => {
                    refused.push(proposal);
                }
                eval::Effect::Propose { proposal, batch } => {
                    self.propose_batch(proposal, batch, out);
                }
                eval::Effect::Notice { to, mut notice } => {
                    notice.range_id = self.id.0;
                    out.push(Effect::Notice { to, notice });
                }
                eval::Effect::Settle(lock) => out.push(Effect::Settle(lock)),
            }
        }
        let error = not_leader(self.id, Some(self.node));
        self.fail_proposals(ctx, refused, &error, out);
    }

    /// Tells the evaluator of proposals that will never be applied.
    pub(crate) fn fail_proposals(
        &mut self,
        ctx: &Ctx<'_>,
        proposals: Vec<ProposalId>,
        error: &Error,
        out: &mut Vec<Effect>,
    ) {
        for proposal in proposals {
            let evaluator = self.lead.as_mut().and_then(|lead| lead.evaluator.as_mut());
            let Some(evaluator) = evaluator else { return };
            let mut effects = Vec::new();
            evaluator.failed(ctx.engine, ctx.now(), proposal, error.clone(), &mut effects);
            // The first answer is the refusal itself, whatever the lease.
            self.carry_out(ctx, effects, 1, out);
        }
    }

    fn propose_batch(
        &mut self,
        proposal: ProposalId,
        batch: storage::WriteBatch,
        out: &mut Vec<Effect>,
    ) {
        let message = proto::node::Proposal { batch: batch.into_bytes(), ..Default::default() };
        self.enqueue(message, Waiter::Evaluator(proposal), out);
    }

    /// An answer that tells of a broken engine ends this replica.
    fn corruption(&self, response: &RangeResponse) -> Option<storage::EngineError> {
        match response.error.as_ref()?.error.as_ref()? {
            Error::Corrupt(corrupt) => {
                Some(storage::EngineError::malformed(corrupt.file.clone(), corrupt.detail.clone()))
            }
            _ => None,
        }
    }

    fn answer_status(&self, token: Token, out: &mut Vec<Effect>) {
        let status = self.group.status();
        let result = RangeStatusResult {
            descriptor: Some(self.descriptor.clone()),
            leader: status.leader.map_or(0, |leader| leader.0),
            term: status.term,
            applied_index: self.applied.index,
            bytes: self.bytes,
        };
        respond(token, Response::RangeStatus(result), out);
    }

    /// Lets the evaluator of a leader hear of something, and carries out what comes of it.
    fn tell_evaluator(
        &mut self,
        ctx: &Ctx<'_>,
        out: &mut Vec<Effect>,
        tell: impl FnOnce(&mut eval::Evaluator, u64, &mut Vec<eval::Effect>),
    ) {
        let Some(evaluator) = self.lead.as_mut().and_then(|lead| lead.evaluator.as_mut()) else {
            return;
        };
        let mut effects = Vec::new();
        tell(evaluator, ctx.now(), &mut effects);
        self.carry_out(ctx, effects, 0, out);
    }

    /// A process ended: what its transactions hold in memory is free.
    pub fn node_gone(
        &mut self,
        ctx: &Ctx<'_>,
        node: base::NodeId,
        incarnation: u64,
        out: &mut Vec<Effect>,
    ) {
        self.tell_evaluator(ctx, out, |evaluator, now, effects| {
            evaluator.node_gone(ctx.engine, now, node, incarnation, effects);
        });
    }

    /// A process was silent for long, and may yet be heard again: what its transactions hold in memory
    /// is free.
    pub fn node_silent(
        &mut self,
        ctx: &Ctx<'_>,
        node: base::NodeId,
        incarnation: u64,
        out: &mut Vec<Effect>,
    ) {
        self.tell_evaluator(ctx, out, |evaluator, now, effects| {
            evaluator.node_silent(ctx.engine, now, node, incarnation, effects);
        });
    }

    /// The answer to [`Effect::Settle`] where a transaction was pushed: it commits above.
    pub fn pushed(
        &mut self,
        ctx: &Ctx<'_>,
        txn: base::TxnId,
        min_commit: base::Timestamp,
        out: &mut Vec<Effect>,
    ) {
        self.tell_evaluator(ctx, out, |evaluator, now, effects| {
            evaluator.pushed(ctx.engine, now, txn, min_commit, effects);
        });
    }
}

pub(crate) fn respond(token: Token, response: Response, out: &mut Vec<Effect>) {
    let response = RangeResponse { error: None, response: Some(response) };
    out.push(Effect::Respond { token, response });
}

pub(crate) fn refuse(token: Token, error: Error, out: &mut Vec<Effect>) {
    let response = RangeResponse { error: Some(KvError { error: Some(error) }), response: None };
    out.push(Effect::Respond { token, response });
}

pub(crate) fn not_leader(range: base::RangeId, leader: Option<base::NodeId>) -> Error {
    Error::NotLeader(NotLeader { range_id: range.0, leader: leader.map_or(0, |node| node.0) })
}

pub(crate) fn unavailable(reason: &str) -> Error {
    Error::Unavailable(Unavailable { reason: reason.to_owned() })
}

pub(crate) fn invalid(reason: &str) -> Error {
    Error::Invalid(Invalid { reason: reason.to_owned() })
}
