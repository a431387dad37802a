//! Committed entries into the engine: one write batch for all that are there.
//!
//! 1. Each entry adds its changes to the batch, in order; at the end the applied index is added
//!    (A1).
//! 2. The engine takes the batch.
//! 3. Only then does anybody hear of it: evaluator, waiting requests, directory.
//!
//! What is applied depends on the entries and the replicated state only. A leader knows more (who
//! waits for what), and that decides nothing.

use base::{NodeId, Timestamp};
use bytes::Bytes;
use consensus::{Committed, Payload};
use prost::Message;
use proto::kv::range_response::Response;
use proto::meta::SystemResult;
use proto::node::{LogEntry, Proposal, SplitCommand};
use storage::{EngineError, LogPosition, WriteBatch};

use super::{Life, Replica, Waiter, respond};
use crate::state::put_applied;
use crate::{Ctx, Effect};

/// What follows from an applied entry.
enum After {
    /// A proposal made in `term` is done.
    Done { term: u64, id: u64 },
    /// A command to the system range is done.
    Command { term: u64, id: u64, result: SystemResult },
    /// The range was split; `took_effect` or found outdated.
    Split { term: u64, id: u64, split: Option<SplitCommand> },
    /// The entry at `index` promised a closed timestamp.
    Closed { index: u64, ts: Timestamp },
    /// Members changed.
    Changed { proposed: bool, term: u64, removed: Vec<NodeId> },
}

impl After {
    /// Whether others may act on it in a way that takes for granted that this replica knows it: see
    /// `op/split.rs` and `op/membership.rs`.
    fn must_be_durable(&self) -> bool {
        match self {
            After::Split { split, .. } => split.is_some(),
            After::Changed { removed, .. } => !removed.is_empty(),
            After::Done { .. } | After::Command { .. } | After::Closed { .. } => false,
        }
    }
}

impl Replica {
    /// Applies what is committed. Must not be called between `ready` and `persisted`.
    pub fn apply(&mut self, ctx: &Ctx<'_>, out: &mut Vec<Effect>) {
        if self.life != Life::Active || self.committed.is_empty() {
            return;
        }
        if let Err(error) = self.apply_committed(ctx, out) {
            self.stop(ctx, error, out);
        }
    }

    fn apply_committed(&mut self, ctx: &Ctx<'_>, out: &mut Vec<Effect>) -> Result<(), EngineError> {
        let mut batch = WriteBatch::new();
        let mut afters = Vec::new();
        let entries = std::mem::take(&mut self.committed);
        let last = entries.back().map(|entry| entry.at).expect("there are entries");
        for entry in entries {
            let next = self.applied.index + 1;
            assert_eq!(entry.at.index, next, "N2: {} out of order", self.id);
            self.apply_entry(ctx, entry, &mut batch, &mut afters)?;
            debug_assert!(self.applied.index == next, "N2: {} did not advance", self.id);
        }
        put_applied(&mut batch, self.id, last);
        ctx.engine.write(&batch)?;
        if afters.iter().any(After::must_be_durable) {
            ctx.engine.flush()?;
        }
        self.group.applied(last.index);
        for after in afters {
            self.after_applied(ctx, after, out);
        }
        // Not before: what was promised for an index behind a split is not about its right part, which
        // has inherited what there was (`op/split.rs`).
        self.closed.applied(last.index);
        if !self.is_member() {
            self.destroy(ctx, out)?;
        }
        self.want_split(out);
        self.after_raft(ctx, out);
        Ok(())
    }

    fn apply_entry(
        &mut self,
        ctx: &Ctx<'_>,
        entry: Committed,
        batch: &mut WriteBatch,
        afters: &mut Vec<After>,
    ) -> Result<(), EngineError> {
        let Committed { at, payload } = entry;
        match payload {
            Payload::Empty => {}
            Payload::Proposal(data) => {
                let LogEntry { proposals, closed_ts } = decode(at, data)?;
                if closed_ts != 0 {
                    afters.push(After::Closed { index: at.index, ts: Timestamp(closed_ts) });
                }
                if proposals.iter().any(|p| p.split.is_some()) && !batch.is_empty() {
                    // The new ranges begin with what the engine holds of their past.
                    put_applied(batch, self.id, self.applied);
                    ctx.engine.write(batch)?;
                    batch.clear();
                }
                for proposal in proposals {
                    let after = self.apply_proposal(ctx, at.term, proposal, batch)?;
                    afters.push(after);
                }
            }
            Payload::Change { change, context } => {
                let removed = self.apply_change(&change, batch);
                let proposed = !context.is_empty();
                afters.push(After::Changed { proposed, term: at.term, removed });
            }
        }
        self.applied = at;
        Ok(())
    }

    fn apply_proposal(
        &mut self,
        ctx: &Ctx<'_>,
        term: u64,
        proposal: Proposal,
        batch: &mut WriteBatch,
    ) -> Result<After, EngineError> {
        let id = proposal.id;
        if let Some(split) = proposal.split {
            let took_effect = self.apply_split(ctx, &split, batch)?;
            return Ok(After::Split { term, id, split: took_effect.then_some(split) });
        }
        if let Some(command) = proposal.system {
            let Some(system) = self.system.as_mut() else {
                return Err(EngineError::malformed("raft log", "a command to no system range"));
            };
            let result = system.apply(command, batch);
            return Ok(After::Command { term, id, result });
        }
        batch.append_encoded(&proposal.batch)?;
        self.bytes += proposal.batch.len() as u64;
        Ok(After::Done { term, id })
    }

    fn after_applied(&mut self, ctx: &Ctx<'_>, after: After, out: &mut Vec<Effect>) {
        match after {
            After::Done { term, id } => {
                if let Some(Waiter::Evaluator(proposal)) = self.take_waiter(term, id) {
                    let lead = self.lead.as_mut().expect("it has a waiter");
                    let Some(evaluator) = lead.evaluator.as_mut() else { return };
                    let mut effects = Vec::new();
                    evaluator.applied(ctx.engine, ctx.now(), proposal, &mut effects);
                    // The first answer is the proposal's own.
                    self.carry_out(ctx, effects, 1, out);
                }
            }
            After::Closed { index, ts } => self.promised(index, ts),
            After::Command { term, id, result } => match self.take_waiter(term, id) {
                Some(Waiter::Command(token)) => respond(token, Response::SystemResult(result), out),
                Some(Waiter::OracleBound) => self.bound_raised(ctx, out),
                Some(Waiter::Evaluator(_) | Waiter::Split) | None => {}
            },
            After::Split { term, id, split } => {
                let mine = self.take_waiter(term, id).is_some();
                self.after_split(ctx, mine, split, out);
            }
            After::Changed { proposed, term, removed } => {
                self.after_change(ctx, proposed, term, removed, out);
            }
        }
    }

    /// Who waits for a proposal: nobody, if another leader made it.
    fn take_waiter(&mut self, term: u64, id: u64) -> Option<Waiter> {
        self.lead.as_mut().filter(|lead| lead.term == term)?.waiters.remove(&id)
    }
}

fn decode(at: LogPosition, data: Bytes) -> Result<LogEntry, EngineError> {
    LogEntry::decode(data)
        .map_err(|_bad| EngineError::malformed("raft log", format!("entry {}", at.index)))
}
