//! LockSpans: keeps others from inserting into what was read FOR UPDATE.
//!
//! 1. The lock table is told of what it does not know: replicated locks in the span, and which of the
//!    locked keys in it have a row.
//! 2. The span is claimed: behind those who are inserting, in the order of age like everybody.
//! 3. Its sender has read it before; a change since then is told, as a newer version of a locked row is.
//!
//! The claim is in memory only, and gone when the leader is. That costs nothing but what it was for: the
//! commit verifies what was read whether or not it is still there. For the same reason a span is passed over
//! for which there is no room (`txn::lock_table::spans`), and one that NOWAIT or SKIP LOCKED would have to
//! wait for: those are about rows.

use base::{Key, KeyRange, Timestamp, TxnId};
use proto::kv::{self, range_response::Response};
use storage::EngineRead;
use storage::mvcc;
use txn::Owner;
use txn::lock_table::{Grant, Place, Strength, Verdict};

use super::common::{Evaluated, Refusal, holder_of, require, span_of};
use super::lock::{is_vacant, strength_in};
use super::waits::{Parked, Wait};
use super::{Evaluator, Micros, Step};

/// Keys looked at for one span. Of more replicated locks, the rest is found by who locks their keys; of
/// more locks in memory, the rest counts as inserts, which are waited for.
const PREPARED_MAX: usize = 1000;

impl Evaluator {
    pub(super) fn lock_spans(
        &mut self,
        engine: &dyn EngineRead,
        now: Micros,
        txn: Option<&kv::TxnMeta>,
        lock: &kv::LockSpans,
        work: &mut Parked,
    ) -> Evaluated {
        let owner = require(txn)?;
        self.check_may_lock(owner)?;
        let strength = strength_in(lock.strength());
        if strength == Strength::KeyShare {
            return Err(Refusal::invalid("a span in a mode that lets others write"));
        }
        while let Some(span) = lock.spans.get(work.next).map(span_of) {
            self.prepare(engine, &span)?;
            let block = lock.wait() == kv::WaitPolicy::Block;
            match self.claim(&span, owner, strength, block) {
                Verdict::Granted | Verdict::Crowded | Verdict::Refused(_) => {}
                Verdict::Waits => {
                    if lock.timeout_ms > 0 {
                        work.deadline = Some(work.since + lock.timeout_ms * 1000);
                    }
                    return Ok(Step::Wait(Wait::Lock(Place::Span(span))));
                }
                Verdict::Full => return Err(Refusal::lock_table_full()),
            }
            work.next += 1;
            work.deadline = None;
        }
        let waited_us = if work.was_parked { now - work.since } else { 0 };
        let mut result = kv::LockedSpans { waited_us, ..kv::LockedSpans::default() };
        for span in lock.spans.iter().map(span_of) {
            let since = Timestamp(lock.read_ts);
            let changed = mvcc::changed_in_span(engine, &span, since, Timestamp::MAX.prev())?;
            if let Some((key, ts)) = changed.filter(|(_, ts)| ts.0 > result.version_ts) {
                let by = mvcc::writer_of(engine, key.as_bytes(), ts)?.unwrap_or(TxnId(0));
                let (version_ts, key, by_txn) = (ts.0, key.0, by.0);
                result = kv::LockedSpans { version_ts, key, by_txn, waited_us };
            }
        }
        Ok(Step::Done(Response::LockedSpans(result)))
    }

    fn claim(&mut self, span: &KeyRange, owner: Owner, strength: Strength, wait: bool) -> Verdict {
        let mut grants = Vec::new();
        let verdict = self.locks.acquire_span(span, owner, strength, wait, &mut grants);
        self.wake_granted(grants);
        verdict
    }

    /// Makes the lock table know what is in a span.
    fn prepare(&mut self, engine: &dyn EngineRead, span: &KeyRange) -> Evaluated<()> {
        if self.may_have_locks(engine)? {
            let mut grants = Vec::new();
            for (key, lock) in mvcc::locks_in_span(engine, span, PREPARED_MAX, |_| true)? {
                if self.locks.replicated_holder(key.as_bytes()).is_none() {
                    self.locks.adopt(&key, holder_of(&lock), &mut grants);
                }
            }
            self.wake_granted(grants);
        }
        let locked: Vec<Key> = self.locks.to_judge(span).take(PREPARED_MAX).cloned().collect();
        for key in locked {
            self.locks.judge(&key, is_vacant(engine, &key)?);
        }
        Ok(())
    }

    /// Gives a part of a transaction's spans back.
    pub(super) fn release_span(&mut self, part: &KeyRange, txn: TxnId, grants: &mut Vec<Grant>) {
        // A request that still waits for a span inside starts over.
        let inside = |place: &Place| match place {
            Place::Key(_) => false,
            Place::Span(span) => part.contains_range(span),
        };
        for place in self.locks.waits_of(txn).filter(inside) {
            if let Some(tokens) = self.lock_waits.remove(&(place, txn)) {
                self.ready.extend(tokens);
            }
        }
        self.locks.release_span(part, txn, grants);
    }
}
