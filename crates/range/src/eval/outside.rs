//! What happens to an evaluator besides requests: its lease ends, processes end, the range is split.

use base::{Key, KeyRange, NodeId, Timestamp, TxnId};
use proto::kv;
use storage::EngineRead;

use super::common::error_response;
use super::{Effect, Evaluator, Micros, Replicated};

impl Evaluator {
    /// The lease has ended: answers everything pending. Commands in flight may be applied or not, so
    /// their requests get `ambiguous`; all others were not carried out and get `error` (not leader).
    pub fn step_down(&mut self, error: &kv::kv_error::Error, out: &mut Vec<Effect>) {
        for (_, proposal) in std::mem::take(&mut self.proposals) {
            let ambiguous = kv::kv_error::Error::Ambiguous(kv::Ambiguous {
                reason: "the range changed its leader".into(),
            });
            let response = error_response(ambiguous);
            out.push(Effect::Respond { token: proposal.token, response });
        }
        for (token, _) in std::mem::take(&mut self.parked) {
            out.push(Effect::Respond { token, response: error_response(error.clone()) });
        }
        let span = self.span.clone();
        *self = Evaluator::new(span, Timestamp::MAX.prev(), self.config.clone());
    }

    /// A process has ended, `incarnation` of the node's or an earlier one: what its transactions hold in
    /// memory is free, and their replicated locks are settled without patience.
    pub fn node_gone(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        node: NodeId,
        incarnation: u64,
        out: &mut Vec<Effect>,
    ) {
        self.know_gone(node, incarnation);
        self.node_silent(engine, now, node, incarnation, out);
    }

    /// For a leader that begins: this process had ended before.
    pub fn know_gone(&mut self, node: NodeId, incarnation: u64) {
        let known = self.gone.entry(node).or_default();
        *known = (*known).max(incarnation);
    }

    /// A process was silent for long: what its transactions hold in memory is free. It may be heard
    /// again, so its replicated locks are settled with the usual patience, and its later requests are
    /// taken.
    pub fn node_silent(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        node: NodeId,
        incarnation: u64,
        out: &mut Vec<Effect>,
    ) {
        let mut grants = Vec::new();
        let gone = self.locks.release_coordinator(node, incarnation, &mut grants);
        for txn in gone {
            self.ended.add(txn);
            self.refuse_parked_of(txn, "its coordinator is gone", out);
        }
        self.wake_granted(grants);
        self.run_ready(engine, now, out);
        if !self.parked.is_empty() {
            self.wants_tick(now);
        }
    }

    /// A transaction that others wait for here was pushed: it commits at or above `min_commit`.
    pub fn pushed(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        txn: TxnId,
        min_commit: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        const PUSHED_MAX: usize = 10_000;
        let known = self.pushed.entry(txn).or_default();
        *known = (*known).max(min_commit);
        if self.pushed.len() > PUSHED_MAX {
            self.pushed.pop_first();
        }
        for tokens in std::mem::take(&mut self.foreign_waits).into_values() {
            self.ready.extend(tokens);
        }
        self.run_ready(engine, now, out);
    }

    /// The range now ends at `at`: returns an evaluator for the rest, with its locks and reads. That one
    /// may be used by the replica that leads the new range only if no other replica has led it before.
    /// Requests that wait here and touch the rest are refused; the driver fails commands in flight that
    /// were ordered behind the split, and calls [`Evaluator::run_woken`].
    pub fn split(&mut self, at: &Key, out: &mut Vec<Effect>) -> Evaluator {
        let rest = KeyRange { start: at.clone(), end: self.span.end.clone() };
        self.span.end = at.clone();
        let mut right = Evaluator::new(rest, Timestamp::ZERO, self.config.clone());
        self.refuse_parked_outside(out);
        let mut grants = Vec::new();
        right.locks = self.locks.split_off(at, &mut grants);
        self.wake_granted(grants);
        right.cache = self.cache.split_off(at);
        right.gone = self.gone.clone();
        right.pushed = self.pushed.clone();
        right.closed = self.closed;
        right.issued = self.issued;
        right.gc_point = self.gc_point;
        right.garbage = self.garbage.split();
        self.replicated = Replicated::Unknown;
        self.pass = None;
        right
    }

    /// Evaluates what a split has set free.
    pub fn run_woken(&mut self, engine: &dyn EngineRead, now: Micros, out: &mut Vec<Effect>) {
        self.run_ready(engine, now, out);
    }

    /// Raises the low-water mark: for an evaluator that comes from a split and is to serve now.
    pub fn raise_low_water(&mut self, to: Timestamp) {
        self.cache.raise_low_water(to);
        self.note_issued(to);
    }
}
