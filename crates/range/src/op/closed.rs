//! Reading the past from any replica: what the leader promises, and what the others do with it. Why it
//! is right: [`crate::closed`].

use base::Timestamp;
use proto::kv::{RangeRequest, RangeResponse};

use crate::replica::{Life, Replica};
use crate::{Ctx, Effect, eval};

impl Replica {
    /// Leader: promises as much as is possible now, given that the oracle has issued `issued`. Returns
    /// the index of the log for which the promise holds, and the timestamp. Nothing without a lease,
    /// or while a split is on its way (T2).
    pub fn close(&mut self, ctx: &Ctx<'_>, issued: Timestamp) -> Option<(u64, Timestamp)> {
        if self.is_splitting() || !self.holds_lease(ctx) {
            return None;
        }
        let evaluator = self.lead.as_mut()?.evaluator.as_mut()?;
        let ts = evaluator.close(issued);
        self.promised(self.applied.index, ts);
        Some((self.applied.index, ts))
    }

    /// A leader has promised that nothing is placed at or below `ts` behind `index` of the log.
    pub fn promised(&mut self, index: u64, ts: Timestamp) {
        let waits = self.config.eval.rules.followers_wait_for_the_log;
        let index = if waits { index } else { 0 };
        self.closed.promised(index, ts, self.applied.index);
    }

    /// Up to where this replica may answer reads by itself.
    #[must_use]
    pub fn closed(&self) -> Timestamp {
        self.closed.closed()
    }

    /// Whether a pass of garbage collection is worth it here: on the leader only.
    #[must_use]
    pub fn is_worth_collecting(&self, safe_point: Timestamp, records_below: Timestamp) -> bool {
        self.evaluator()
            .is_some_and(|e| e.is_worth_collecting(safe_point, records_below, self.bytes))
    }

    /// Answers what this replica can although it does not lead.
    pub(crate) fn read_closed(
        &mut self,
        ctx: &Ctx<'_>,
        request: &RangeRequest,
        out: &mut Vec<Effect>,
    ) -> Option<RangeResponse> {
        if self.life != Life::Active || !self.is_initialised() {
            return None;
        }
        let span = self.descriptor.span();
        // A split that is not applied here yet would be found by the leader.
        if !crate::route::is_inside(&span, request) {
            return None;
        }
        let (closed, rules) = (self.closed.closed(), &self.config.eval.rules);
        match eval::read_closed(ctx.engine, &span.start, closed, rules, request) {
            Ok(answer) => answer,
            Err(error) => {
                self.stop(ctx, error, out);
                None
            }
        }
    }
}
