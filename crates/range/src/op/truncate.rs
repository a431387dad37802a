//! Dropping the beginning of the log.
//!
//! Never above what the engine has *durably* applied: after a crash the rest is applied again from
//! the log. Below that, a leader keeps what live replicas lack, up to a limit beyond which they get
//! a snapshot; a follower keeps some in case it comes to lead.

use storage::{Engine, EngineError, Family, LogBatch};

use crate::replica::Replica;
use crate::state::{applied_key, decode_applied};
use crate::{Ctx, Effect};

impl Replica {
    pub(crate) fn consider_truncation(&mut self) {
        // Spread over the ranges, so that they do not all come at once.
        if (self.ticks + self.id.0).is_multiple_of(self.config.truncate_ticks) {
            let kept = self.applied.index.saturating_sub(self.group.truncated().index);
            self.truncate_due = self.is_initialised() && kept >= self.config.log_entries_min;
        }
    }

    pub(crate) fn truncate(&mut self, ctx: &Ctx<'_>, log: &mut LogBatch, out: &mut Vec<Effect>) {
        if !std::mem::take(&mut self.truncate_due) {
            return;
        }
        match self.truncation_point(ctx) {
            Ok(upto) => {
                if upto >= self.group.truncated().index + self.config.log_entries_min {
                    self.group.compact(upto, log);
                }
            }
            Err(error) => self.stop(ctx, error, out),
        }
    }

    fn truncation_point(&self, ctx: &Ctx<'_>) -> Result<u64, EngineError> {
        let durable = match self.config.eval.rules.logs_wait_for_flush {
            true => durable_applied(ctx.engine, self)?,
            false => self.applied.index,
        };
        let last = self.group.status().last;
        let kept = if self.group.is_leader() {
            let now = ctx.now();
            let slowest = self
                .group
                .peers()
                .filter(|peer| ctx.liveness.is_live(peer.node, now))
                .map(|peer| peer.matched)
                .min()
                .unwrap_or(last);
            slowest.max(last.saturating_sub(self.config.log_entries_max))
        } else {
            last.saturating_sub(self.config.log_entries_kept)
        };
        Ok(durable.min(kept))
    }
}

fn durable_applied(engine: &dyn Engine, replica: &Replica) -> Result<u64, EngineError> {
    let found = engine.get_durable(Family::Local, &applied_key(replica.id))?;
    Ok(found.and_then(|value| decode_applied(&value)).map_or(0, |at| at.index))
}
