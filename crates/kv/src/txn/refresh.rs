//! Moving the snapshot forward when a row to be written turns out to be newer than it.
//!
//! ```text
//!   level             nothing read        only this statement has read    an earlier one has, too
//!   READ COMMITTED    to the version      fresh, statement runs again     the same
//!   REPEATABLE READ   to the version      fresh, statement runs again     40001
//!   SERIALIZABLE      to the version      refresh all that was read; if this statement's reads are
//!                                         what has changed, it runs again; else 40001
//! ```
//!
//! "Runs again" turns into 40001 once the client has seen something of the statement. Rows that are
//! locked count as not read: they can't change.

use base::{Key, KeyRange, Timestamp, TxnId};
use proto::kv;
use proto::kv::Isolation;
use proto::kv::kv_error::Error as RangeError;
use proto::kv::range_request::Request;
use txn::read_set::ReadSet;

use super::Inner;
use super::state::Statement;
use crate::error::{KvError, SerializationCause};
use crate::router::{Refusal, Replay};
use crate::scatter::{Piece, scatter};

/// What must not have changed since.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) from: Timestamp,
    pub(super) span: KeyRange,
    /// Others may change the row, but not delete it.
    pub(super) may_change: bool,
}

/// What was changed under a reader, or why that can't be told.
pub(super) enum NotRefreshed {
    Changed { key: Key, version: Timestamp, by: Option<TxnId> },
    Failed(KvError),
}

impl Inner {
    /// Makes the snapshot show the version `newest` of `key`.
    pub(super) async fn move_snapshot(
        &self,
        newest: Timestamp,
        key: &Key,
        by: Option<TxnId>,
    ) -> Result<(), KvError> {
        let metrics = &self.shared.router.metrics;
        let conflict = KvError::Serialization {
            key: Some(key.clone()),
            by,
            cause: SerializationCause::WriteConflict(newest),
        };
        let (read_before, has_read, returned) = {
            let mut state = self.active()?;
            if !state.read_before && !state.statement.has_read {
                state.read_ts = state.read_ts.max(newest);
                metrics.snapshot_moves.inc();
                return Ok(());
            }
            (state.read_before, state.statement.has_read, state.statement.returned)
        };
        let moved = match self.options.isolation {
            // Earlier statements had snapshots of their own.
            Isolation::ReadCommitted if !has_read => {
                let mut state = self.active()?;
                state.read_ts = state.read_ts.max(newest);
                metrics.snapshot_moves.inc();
                return Ok(());
            }
            Isolation::ReadCommitted => !returned,
            Isolation::RepeatableRead => !read_before && !returned,
            Isolation::Serializable => return self.refresh_snapshot(conflict).await,
        };
        if !moved {
            metrics.serialization_errors.inc();
            return Err(conflict);
        }
        let fresh = self.shared.oracle.draw(&self.shared.router).await?;
        self.rerun_statement(fresh)
    }

    /// SERIALIZABLE: verifies that what was read is the same at a fresh timestamp.
    async fn refresh_snapshot(&self, conflict: KvError) -> Result<(), KvError> {
        let metrics = &self.shared.router.metrics;
        let fresh = self.shared.oracle.draw(&self.shared.router).await?;
        let (all, earlier, from, returned, mut premise) = {
            let state = self.active()?;
            let earlier: Vec<_> = state.reads.iter().flat_map(ReadSet::iter).collect();
            let premise = state.premise.clone();
            (state.all_reads(), earlier, state.read_ts, state.statement.returned, premise)
        };
        match self.refresh_with(|| as_of(from, &all), &mut premise, fresh).await {
            Ok(()) => {
                let mut state = self.active()?;
                state.premise.clone_from(&premise);
                // Unless a parallel operator has read more at the old snapshot meanwhile.
                if state.all_reads() == all {
                    state.read_ts = state.read_ts.max(fresh);
                    metrics.snapshot_moves.inc();
                    return Ok(());
                }
            }
            Err(NotRefreshed::Failed(error)) => return Err(error),
            Err(NotRefreshed::Changed { .. }) => {}
        }
        if returned {
            metrics.serialization_errors.inc();
            return Err(conflict);
        }
        // It may be just what this statement has read that has changed.
        match self.refresh_with(|| as_of(from, &earlier), &mut premise, fresh).await {
            Ok(()) => {
                self.active()?.premise = premise;
                self.rerun_statement(fresh)
            }
            Err(NotRefreshed::Failed(error)) => Err(error),
            Err(NotRefreshed::Changed { .. }) => {
                metrics.serialization_errors.inc();
                Err(conflict)
            }
        }
    }

    /// Takes the snapshot, and forgets what the statement has read so far.
    fn rerun_statement(&self, fresh: Timestamp) -> Result<(), KvError> {
        let mut state = self.active()?;
        state.read_ts = state.read_ts.max(fresh);
        state.statement = Statement::default();
        self.shared.router.metrics.restatements.inc();
        Err(KvError::Restatement)
    }

    /// Asks the leaders whether spans are the same at `to` as at the timestamp given with each, and
    /// to let nobody write into them at or below `to` from now on.
    pub(super) async fn refresh(
        &self,
        spans: Vec<Verified>,
        to: Timestamp,
    ) -> Result<(), NotRefreshed> {
        if spans.is_empty() {
            return Ok(());
        }
        let router = &self.shared.router;
        router.metrics.refreshes.inc();
        let meta = self.meta(&self.state.lock());
        let build = |items: &[Verified]| {
            Request::Refresh(kv::Refresh {
                spans: items.iter().map(Verified::to_span).collect(),
                from_ts: items[0].from.0,
                to_ts: to.0,
            })
        };
        let answers = scatter(router, meta.as_ref(), Replay::Safe, spans, build)
            .await
            .map_err(NotRefreshed::Failed)?;
        for (_, answer) in answers {
            match answer {
                Ok(_) => {}
                Err(Refusal::Range(RangeError::RefreshFailed(changed))) => {
                    let version = Timestamp(changed.version_ts);
                    let by = (changed.by_txn != 0).then_some(TxnId(changed.by_txn));
                    return Err(NotRefreshed::Changed { key: Key(changed.key), version, by });
                }
                Err(refusal) => return Err(NotRefreshed::Failed(self.refused(refusal))),
            }
        }
        Ok(())
    }
}

pub(super) fn as_of(from: Timestamp, spans: &[KeyRange]) -> Vec<Verified> {
    spans.iter().map(|span| Verified { from, span: span.clone(), may_change: false }).collect()
}

impl Verified {
    pub(super) fn to_span(&self) -> kv::Span {
        kv::Span {
            start: self.span.start.0.clone(),
            end: self.span.end.0.clone(),
            from_ts: Some(self.from.0),
            may_change: self.may_change,
        }
    }
}

impl Piece for Verified {
    fn anchor(&self) -> &[u8] {
        self.span.anchor()
    }

    fn cut(self, span: &KeyRange) -> (Self, Option<Self>) {
        let (inside, rest) = self.span.cut(span);
        let (from, may_change) = (self.from, self.may_change);
        let part = |span| Verified { from, span, may_change };
        (part(inside), rest.map(part))
    }
}
