//! The system range: commands to its state, questions about it, and the oracle.
//!
//! A timestamp is drawn first and the lease looked at after: a leader that lost it in between
//! throws the number away, so none below its successor's is ever handed out.

use base::{NodeId, Timestamp};
use meta::Draw;
use proto::kv::OracleResult;
use proto::kv::range_response::Response;
use proto::meta::system_command::Command;
use proto::meta::{RaiseOracleBound, SystemCommand, SystemQuery};
use proto::node::Proposal;

use crate::eval::Token;
use crate::replica::{Replica, Waiter, invalid, not_leader, refuse, respond, unavailable};
use crate::{Ctx, Effect};

/// Most timestamps drawn at once.
const COUNT_MAX: u32 = 1 << 16;
/// Most requests waiting for a bound.
const WAITERS_MAX: usize = 10_000;

impl Replica {
    pub(crate) fn request_command(
        &mut self,
        ctx: &Ctx<'_>,
        token: Token,
        command: SystemCommand,
        out: &mut Vec<Effect>,
    ) {
        if self.system.is_none() {
            return refuse(token, invalid("not the system range"), out);
        }
        if let Some(Command::RaiseOracleBound(_)) = command.command {
            return refuse(token, invalid("the oracle's bound is its own business"), out);
        }
        let proposal = Proposal { system: Some(command), ..Default::default() };
        self.enqueue(proposal, Waiter::Command(token), out);
        self.after_raft(ctx, out);
    }

    pub(crate) fn request_query(
        &mut self,
        ctx: &Ctx<'_>,
        token: Token,
        query: &SystemQuery,
        out: &mut Vec<Effect>,
    ) {
        let Some(system) = &self.system else {
            return refuse(token, invalid("not the system range"), out);
        };
        let answer = system.query(query);
        match self.holds_lease(ctx) {
            true => respond(token, Response::SystemAnswer(answer), out),
            false => refuse(token, not_leader(self.id, None), out),
        }
    }

    pub(crate) fn request_oracle(
        &mut self,
        ctx: &Ctx<'_>,
        token: Token,
        request: proto::kv::Oracle,
        out: &mut Vec<Effect>,
    ) {
        let count = request.count.clamp(1, COUNT_MAX);
        let lead = self.lead.as_mut().expect("admitted under the lease");
        lead.demand.note(NodeId(request.gateway), u64::from(count));
        let Some(oracle) = lead.oracle.as_mut() else {
            let error = match self.system {
                Some(_) => unavailable("the oracle is getting ready"),
                None => invalid("not the system range"),
            };
            return refuse(token, error, out);
        };
        match oracle.draw(count, ctx.wall_ms) {
            Draw::Issued(first) => self.answer_oracle(ctx, token, first, count, out),
            Draw::Wait if lead.oracle_waiters.len() < WAITERS_MAX => {
                lead.oracle_waiters.push_back((token, count));
            }
            Draw::Wait => refuse(token, unavailable("too many wait for the oracle"), out),
        }
        self.raise_bound(ctx, out);
    }

    fn answer_oracle(
        &self,
        ctx: &Ctx<'_>,
        token: Token,
        first: Timestamp,
        count: u32,
        out: &mut Vec<Effect>,
    ) {
        match self.holds_lease(ctx) {
            true => respond(token, Response::Oracle(OracleResult { first: first.0, count }), out),
            false => refuse(token, not_leader(self.id, None), out),
        }
    }

    /// Proposes a higher bound if the oracle needs one.
    pub(crate) fn raise_bound(&mut self, ctx: &Ctx<'_>, out: &mut Vec<Effect>) {
        let oracle = self.lead.as_mut().and_then(|lead| lead.oracle.as_mut());
        let Some(bound) = oracle.and_then(|oracle| oracle.propose_bound(ctx.wall_ms)) else {
            return;
        };
        let command = Command::RaiseOracleBound(RaiseOracleBound { bound: bound.0 });
        let command = SystemCommand { command: Some(command) };
        let proposal = Proposal { system: Some(command), ..Default::default() };
        self.enqueue(proposal, Waiter::OracleBound, out);
    }

    /// A bound of this leader is applied: those who waited for it are served.
    pub(crate) fn bound_raised(&mut self, ctx: &Ctx<'_>, out: &mut Vec<Effect>) {
        let bound = self.system.as_ref().map_or(Timestamp::ZERO, |system| system.oracle_bound());
        let Some(lead) = self.lead.as_mut() else { return };
        let Some(oracle) = lead.oracle.as_mut() else { return };
        oracle.bound_applied(bound);
        let mut issued = Vec::new();
        while let Some(&(token, count)) = lead.oracle_waiters.front() {
            let Draw::Issued(first) = oracle.draw(count, ctx.wall_ms) else { break };
            lead.oracle_waiters.pop_front();
            issued.push((token, first, count));
        }
        for (token, first, count) in issued {
            self.answer_oracle(ctx, token, first, count, out);
        }
        self.raise_bound(ctx, out);
    }

    pub(crate) fn bound_lost(&mut self) {
        if let Some(oracle) = self.lead.as_mut().and_then(|lead| lead.oracle.as_mut()) {
            oracle.bound_lost();
        }
    }
}
