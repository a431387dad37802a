//! Whether what a transaction has read still holds at its commit timestamp: Refresh, and the read spans
//! of a one-phase commit.
//!
//! It holds if no version lies in `(from, to]` and none can come later: commands in flight that could
//! commit at or below `to` are waited for, the read cache is raised to `to`. For a replicated lock that
//! could, the wait is brief: its transaction may in turn be verifying what ours has locked, a wait that
//! no lock table sees, so it ends in a refusal and not in a deadlock.
//!
//! Of a row that was locked FOR KEY SHARE only its existence is verified: others were welcome to change it.

use base::{Key, KeyRange, Timestamp, TxnId};
use proto::kv::{self, kv_error::Error, range_response::Response};
use storage::EngineRead;
use storage::mvcc::{self, LockKind};

use super::common::{Evaluated, Refusal, point_of, require, span_of};
use super::waits::{Parked, Wait};
use super::{Evaluator, Step};

impl Evaluator {
    pub(super) fn refresh(
        &mut self,
        engine: &dyn EngineRead,
        txn: Option<&kv::TxnMeta>,
        refresh: &kv::Refresh,
        work: &Parked,
    ) -> Evaluated {
        let reader = require(txn)?.txn;
        let (from, to) = (Timestamp(refresh.from_ts), Timestamp(refresh.to_ts));
        if to == Timestamp::MAX {
            return Err(Refusal::invalid("a refresh needs a timestamp from the oracle"));
        }
        self.note_issued(to);
        if let Some(wait) = self.verify(engine, &refresh.spans, from, to, reader, work)? {
            return Ok(Step::Wait(wait));
        }
        self.remember_verified(&refresh.spans, to, reader);
        Ok(Step::Done(Response::Done(kv::Done {})))
    }

    /// Looks for changes of the spans in `(from, to]`, `from` being the default for spans that do not
    /// say. Returns what to wait for before looking again.
    pub(super) fn verify(
        &mut self,
        engine: &dyn EngineRead,
        spans: &[kv::Span],
        from: Timestamp,
        to: Timestamp,
        reader: TxnId,
        work: &Parked,
    ) -> Evaluated<Option<Wait>> {
        let gc_point = self.gc_point(engine)?;
        let spans = if self.config.rules.reads_are_verified { spans } else { &[] };
        for span in spans {
            let since = span.from_ts.map_or(from, Timestamp);
            if since >= to {
                continue;
            }
            // Deletions below the point may have been collected: a change would go unseen.
            if span.from_ts.is_none() && since < gc_point {
                return Err(Refusal::new(Error::BelowGc(kv::BelowGc { safe_point: gc_point.0 })));
            }
            let may_change = span.may_change;
            let span = span_of(span);
            if let Some(command) = self.latches.span_conflict(&span, to) {
                return Ok(Some(Wait::Latch(command)));
            }
            let changed = match point_of(&span) {
                Some(key) if may_change => deleted(engine, key, since, to)?,
                _ => changed(engine, &span, since, to)?,
            };
            if let Some((key, ts)) = changed {
                let by = mvcc::writer_of(engine, key.as_bytes(), ts)?.unwrap_or(TxnId(0));
                return Err(changed_refusal(key.as_bytes(), ts, by));
            }
            let foreign = match point_of(&span) {
                Some(key) if may_change && !self.is_being_deleted(engine, key)? => None,
                Some(key) => self.foreign_on_key(engine, key, to, reader)?,
                None => self.foreign_in_span(engine, &span, to, reader)?,
            };
            match foreign {
                Some(Wait::Foreign(lock)) if work.impatient => {
                    return Err(changed_refusal(
                        lock.key.as_bytes(),
                        lock.min_commit,
                        lock.owner.txn,
                    ));
                }
                Some(wait) => return Ok(Some(wait)),
                None => {}
            }
        }
        Ok(None)
    }

    fn is_being_deleted(&mut self, engine: &dyn EngineRead, key: &Key) -> Evaluated<bool> {
        let lock = self.lock_on(engine, key.as_bytes())?;
        Ok(lock.is_some_and(|lock| lock.kind == LockKind::Delete))
    }

    /// Keeps others from committing in verified spans at or below `to` (E1).
    pub(super) fn remember_verified(&mut self, spans: &[kv::Span], to: Timestamp, reader: TxnId) {
        let spans = if self.config.rules.verified_reads_are_remembered { spans } else { &[] };
        for span in spans {
            let span = span_of(span);
            match point_of(&span) {
                Some(key) => self.cache.read(key.as_bytes(), to, reader),
                None => self.cache.read_span(&span, to, reader),
            }
        }
    }
}

fn changed(
    engine: &dyn EngineRead,
    span: &KeyRange,
    from: Timestamp,
    to: Timestamp,
) -> Evaluated<Option<(Key, Timestamp)>> {
    if let Some(key) = point_of(span) {
        let ts = mvcc::changed_key(engine, key.as_bytes(), from, to)?;
        return Ok(ts.map(|ts| (key.clone(), ts)));
    }
    Ok(mvcc::changed_in_span(engine, span, from, to)?)
}

/// A row under KEY SHARE: whether it was deleted, though it may be back since.
fn deleted(
    engine: &dyn EngineRead,
    key: &Key,
    from: Timestamp,
    to: Timestamp,
) -> Evaluated<Option<(Key, Timestamp)>> {
    let ts = mvcc::deleted_key(engine, key.as_bytes(), from, to)?;
    Ok(ts.map(|ts| (key.clone(), ts)))
}

fn changed_refusal(key: &[u8], version: Timestamp, by: TxnId) -> Refusal {
    Refusal::new(Error::RefreshFailed(kv::RefreshFailed {
        key: bytes::Bytes::copy_from_slice(key),
        version_ts: version.0,
        by_txn: by.0,
    }))
}
