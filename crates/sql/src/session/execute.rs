//! Running one statement, and running it again when it met a conflict.
//!
//! # Who repeats what
//!
//! ```text
//!   overtaken in its own reads  the statement, on a newer snapshot, in the same transaction
//!   first of a transaction      the transaction, which is only this statement so far
//!   a script                    everything since its transaction began (`simple`)
//!   all else                    the transaction so far, if it tells the same again (`repeat`)
//! ```
//!
//! All of it only while the sink can take back what the statement has written (S4). Otherwise 40001
//! goes to the client, who has seen results that a repetition might contradict.

use std::sync::Arc;

use catalog::CatalogSnapshot;
use kv::{Isolation, Savepoint, Txn};
use pgtypes::Datum;

use super::api::{Severity, Sink};
use super::cache::{Plan, Planned, Prepared};
use super::clock::{guard, wall_micros};
use super::engine::count;
use super::repeat::ATTEMPTS_MAX;
use super::script::Parsed;
use super::transaction::Block;
use super::xact::XactId;
use super::{Session, as_of, bound, plan, utility};
use crate::dml::Names;
use crate::error::Retry;
use crate::point::{Outcome, PointContext, PointPlan};
use crate::{SqlError, SqlState, privilege};

/// Fewer rows than these are read by key order however little of them is wanted.
const SMALL_ROWS: f64 = 1_000.0;

/// A statement to run.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) text: &'a str,
    pub(super) parsed: &'a Parsed,
    /// Where its plan is kept.
    pub(super) prepared: Option<&'a Prepared>,
    pub(super) params: &'a Arc<[Datum]>,
    /// Nothing follows it in its implicit transaction, as far as is known.
    pub(super) lone: bool,
}

/// What CommandComplete says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tag {
    /// `INSERT 0 1`
    Count(&'static str, u64),
    /// `CREATE TABLE`
    Text(&'static str),
    /// EmptyQueryResponse instead.
    Empty,
}

impl Tag {
    pub(super) fn write(&self, sink: &mut dyn Sink) {
        match self {
            Tag::Count(verb, count) => sink.complete(&format!("{verb} {count}")),
            Tag::Text(text) => sink.complete(text),
            Tag::Empty => sink.empty(),
        }
    }
}

/// Whether running the transaction again may help.
pub(crate) fn is_retryable(error: &SqlError) -> bool {
    matches!(error.code(), SqlState::SERIALIZATION_FAILURE | SqlState::DEADLOCK_DETECTED)
}

impl Session {
    /// Runs a statement, again while it meets conflicts and may be taken back.
    pub(super) async fn run(&mut self, job: Job<'_>, sink: &mut dyn Sink) -> Result<Tag, SqlError> {
        count(&self.engine.metrics.statements);
        self.activity.begins(job.text, wall_micros(&self.engine.db).unsigned_abs());
        let mark = sink.mark();
        let cancel = self.cancel.clone();
        let mut attempt = 0;
        loop {
            let block = self.tx.block;
            let fresh = self.tx.statements == 0;
            let undo = self.undo_mark();
            self.advisory.begin_statement();
            self.reruns = attempt;
            self.alone = job.lone;
            // Of one that was cancelled.
            (self.analysis, self.explained) = (None, None);
            self.info.warnings.lock().clear();
            self.info.assignments.lock().clear();
            let result = match job.parsed {
                // A commit is not left alone with its outcome: it watches the clock itself.
                Parsed::Control(_) => self.run_once(job, sink).await,
                _ => guard(&cancel, self.deadline, self.run_once(job, sink)).await,
            };
            let result = match result {
                Ok(tag) => self.tell_explained(sink).await.map(|()| tag),
                Err(error) => Err(error),
            };
            let error = match result {
                Ok(tag) => {
                    self.settle(sink)?;
                    return Ok(tag);
                }
                Err(error) => error,
            };
            attempt += 1;
            // A COMMIT repeats what it has to by itself; what it gave up is gone, and to commit nothing
            // would succeed.
            let controls = matches!(job.parsed, Parsed::Control(_));
            if controls || !is_retryable(&error) || attempt >= ATTEMPTS_MAX || !sink.rewind(mark) {
                self.tell_warnings(sink);
                return Err(error);
            }
            self.advisory.undo_statement().await;
            match undo {
                Some((txn, savepoint)) if self.reruns_statement(&error, &txn) => {
                    txn.rollback_to(savepoint);
                    count(&self.engine.metrics.retries);
                }
                _ if fresh && self.tx.is_first_statement() => {
                    self.note_conflict(&error, attempt);
                    self.restart_transaction(block);
                    count(&self.engine.metrics.retries);
                }
                _ => return Err(error),
            }
            self.back_off(attempt).await?;
        }
    }

    /// What the statement had to say besides.
    pub(super) fn tell_warnings(&self, sink: &mut dyn Sink) {
        for warning in std::mem::take(&mut *self.info.warnings.lock()) {
            sink.notice(Severity::Warning, &warning);
        }
    }

    /// Whether what went wrong can be mended by running the statement alone again.
    fn reruns_statement(&self, error: &SqlError, txn: &Txn) -> bool {
        let mended = match error.retry() {
            Some(Retry::Statement) => true,
            Some(Retry::Transaction) => false,
            // A new snapshot for each statement.
            Some(Retry::Conflict(_)) | None => {
                self.tx.modes.isolation() == Isolation::ReadCommitted
                    && error.code() == SqlState::SERIALIZATION_FAILURE
            }
        };
        mended && txn.is_usable()
    }

    /// Where to return to if the statement must run again in the same transaction.
    fn undo_mark(&self) -> Option<(Arc<Txn>, Savepoint)> {
        if self.tx.statements == 0 {
            return None;
        }
        let txn = self.tx.txn()?;
        if !self.tx.has_savepoints() {
            txn.forget_savepoints();
        }
        Some((txn.clone(), txn.savepoint()))
    }

    async fn run_once(&mut self, job: Job<'_>, sink: &mut dyn Sink) -> Result<Tag, SqlError> {
        if matches!(job.parsed, Parsed::Empty) {
            return Ok(Tag::Empty);
        }
        if !plan::is_bindable(job.parsed) {
            return utility::run(self, job, sink).await;
        }
        self.refuse_if_failed()?;
        self.refresh_env();
        self.begin_implicit();
        let Parsed::AsOf(historic) = job.parsed else { return self.run_bindable(job, sink).await };
        let at = self.time_of(&historic.past, job.text).await?;
        self.enter_past(at).map_err(|e| e.at(historic.past.position))?;
        let result = self.run_bindable(job, sink).await;
        self.leave_past();
        result
    }

    async fn run_bindable(&mut self, job: Job<'_>, sink: &mut dyn Sink) -> Result<Tag, SqlError> {
        self.tick();
        let txn = self.statement_txn().await?;
        Arc::make_mut(&mut self.env).snapshot = as_of::parts(txn.read_ts());
        sink.environment(&self.env);
        if let Some(tag) = self.run_unchecked(&job, &txn, sink).await? {
            return Ok(tag);
        }
        let planned = self.planned(&job, &txn).await?;
        let snapshot = as_of::parts(txn.read_ts());
        if self.env.snapshot != snapshot {
            // A table was closed for a while.
            Arc::make_mut(&mut self.env).snapshot = snapshot;
            sink.environment(&self.env);
        }
        self.find_xact_id(planned.xact_id, &txn).await?;
        match &planned.plan {
            Plan::Point(point) if self.is_for_leaders(point, &job, &txn)? => {
                let statement = self.bind_again(&job)?;
                sink.environment(&self.env);
                bound::run(self, &statement, &job, &txn, sink).await
            }
            Plan::Point(point) => match self.run_point(point, &job, &txn, None, sink).await? {
                Outcome::Done(rows) => Ok(Tag::Count(point.verb(), rows)),
                Outcome::Stale => Err(SqlError::new(
                    SqlState::SERIALIZATION_FAILURE,
                    "the catalog changed while the statement began",
                )),
            },
            Plan::Bound(statement) => {
                if let Some(catalog) = self.tx.catalog.clone() {
                    self.set_names(&catalog);
                }
                sink.environment(&self.env);
                bound::run(self, statement, &job, &txn, sink).await
            }
        }
    }

    /// The fast way for a point plan in a transaction that has not read the catalog's version: it
    /// is read along with the row. `None`: not taken, or the plan was stale.
    async fn run_unchecked(
        &mut self,
        job: &Job<'_>,
        txn: &Arc<Txn>,
        sink: &mut dyn Sink,
    ) -> Result<Option<Tag>, SqlError> {
        if self.tx.catalog.is_some() {
            return Ok(None);
        }
        let Some(planned) = job.prepared.and_then(Prepared::current) else { return Ok(None) };
        let Plan::Point(point) = &planned.plan else { return Ok(None) };
        if planned.xact_id != XactId::Unused || planned.denied.is_some() {
            return Ok(None);
        }
        let cached = self.engine.catalog.cached();
        if planned.version != cached.version() || *planned.context != *self.context {
            return Ok(None);
        }
        if self.closed_to(&cached, &planned.accesses).is_some() {
            return Ok(None);
        }
        let catalog = self.with_temp(cached);
        // Nothing is verified of a transaction that is one SELECT.
        let relies = point.writes() || !(job.lone && self.is_lone());
        if let Some(premise) = self.premise().filter(|_| relies) {
            premise.note(&catalog, &planned.accesses);
        }
        self.tx.catalog = Some(catalog);
        if self.is_for_leaders(point, job, txn)? {
            self.tx.catalog = None;
            return Ok(None);
        }
        match self.run_point(point, job, txn, Some(planned.version), sink).await {
            Ok(Outcome::Done(rows)) => Ok(Some(Tag::Count(point.verb(), rows))),
            Ok(Outcome::Stale) => {
                self.tx.catalog = None;
                Ok(None)
            }
            Err(error) => {
                // Whether the version was read is not known.
                self.tx.catalog = None;
                Err(error)
            }
        }
    }

    /// Whether a plan does better than a point plan, because leaders on other nodes do a part of it.
    pub(super) fn is_for_leaders(
        &self,
        point: &PointPlan,
        job: &Job<'_>,
        txn: &Arc<Txn>,
    ) -> Result<bool, SqlError> {
        let Some(catalog) = &self.tx.catalog else { return Ok(false) };
        let known = &self.engine.statistics;
        let small = |table| known.of(table).is_some_and(|table| table.rows() < SMALL_ROWS);
        point.is_for_leaders(&self.point_context(catalog, job, txn), small)
    }

    pub(super) async fn run_point(
        &mut self,
        point: &PointPlan,
        job: &Job<'_>,
        txn: &Arc<Txn>,
        unchecked_version: Option<u64>,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, SqlError> {
        count(&self.engine.metrics.point_statements);
        if point.writes() {
            self.refuse_if_read_only(point.command())?;
        }
        let catalog = self.tx.catalog.clone().expect("set before a point plan runs");
        let mut cx = self.point_context(&catalog, job, txn);
        cx.unchecked_version = unchecked_version;
        let outcome = point.run(&cx, sink).await?;
        if let (Some(table), Outcome::Done(rows @ 1..)) = (point.written(), outcome) {
            self.engine.statistics.note_written(table, rows);
        }
        Ok(outcome)
    }

    /// What a point plan that writes may use.
    pub(super) fn point_context<'a>(
        &'a self,
        catalog: &'a CatalogSnapshot,
        job: &'a Job<'_>,
        txn: &'a Arc<Txn>,
    ) -> PointContext<'a> {
        PointContext {
            db: &self.engine.db,
            sequences: &self.engine.sequences,
            own_sequences: &self.info.sequences,
            deferrals: &self.tx.deferrals,
            txn,
            env: &self.env,
            params: job.params,
            catalog,
            unchecked_version: None,
            // What failed may have failed because of that.
            version_seen_at: match self.tx.is_rerun {
                false => self.engine.catalog.seen_at(catalog.version()),
                true => None,
            },
            lone: job.lone && self.is_lone(),
        }
    }

    /// The plan under the catalog that the transaction sees, which is read if it has not been; once no table
    /// that it writes is closed.
    pub(super) async fn planned(
        &mut self,
        job: &Job<'_>,
        txn: &Arc<Txn>,
    ) -> Result<Arc<Planned>, SqlError> {
        loop {
            let catalog = self.visible_catalog(txn).await?;
            let planned = match job.prepared {
                Some(prepared) => self.plan_for(prepared, &catalog)?,
                None => Arc::new(self.plan(job.text, job.parsed, &[], &catalog)?.0),
            };
            if self.tx.modes.as_of.is_some() {
                // What may be read of the past is what may be read of it now.
                let now = self.engine.catalog.cached();
                let authority = self.who.authority(&now);
                privilege::check(&now, self.database, &authority, &planned.accesses)?;
                return Ok(planned);
            }
            let denied = planned.denied.clone();
            if denied.is_none() && self.heed_closing(&catalog, &planned.accesses, txn).await? {
                continue;
            }
            if let Some(premise) = self.premise() {
                premise.note(&catalog, &planned.accesses);
            }
            return match denied {
                Some(error) => Err(error),
                None => Ok(planned),
            };
        }
    }

    /// 25P02 in a failed block.
    pub(super) fn refuse_if_failed(&self) -> Result<(), SqlError> {
        if self.tx.block == Block::Failed {
            return Err(SqlError::new(
                SqlState::IN_FAILED_SQL_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        Ok(())
    }

    /// 25006 for a write in a read-only transaction.
    pub(crate) fn refuse_if_read_only(&self, what: &str) -> Result<(), SqlError> {
        if self.tx.modes.read_only {
            let what = what.trim_end_matches(" 0");
            return Err(SqlError::new(
                SqlState::READ_ONLY_SQL_TRANSACTION,
                format!("cannot execute {what} in a read-only transaction"),
            ));
        }
        Ok(())
    }

    /// Whether BEGIN was said.
    pub(crate) fn is_in_block(&self) -> bool {
        self.tx.block == Block::Explicit
    }

    pub(super) fn begin_implicit(&mut self) {
        if self.tx.block == Block::Idle {
            self.tx.modes = self.modes();
            self.tx.block = Block::Implicit;
        }
    }

    /// The client was told of an error that the session does not know of (a parameter it could not
    /// read): a transaction block fails all the same.
    pub fn fail_statement(&mut self) {
        self.fail();
    }

    /// An error struck: the transaction block fails, an implicit transaction ends.
    pub(super) fn fail(&mut self) {
        self.fail_with(false);
    }

    /// The same, for an error that is known.
    pub(super) fn fail_by(&mut self, error: &SqlError) {
        let timed_out = [SqlState::LOCK_NOT_AVAILABLE, SqlState::QUERY_CANCELED];
        self.fail_with(is_retryable(error) || timed_out.contains(&error.code()));
    }

    /// `unlearned`: the client has learned nothing of the data by the error, so the transaction can be
    /// repeated without the statement.
    fn fail_with(&mut self, unlearned: bool) {
        count(&self.engine.metrics.errors);
        // A statement of the past may have been cut off in the middle.
        self.leave_past();
        match self.tx.block {
            _ if self.tx.commit_failed => self.drop_transaction(),
            Block::Explicit => {
                self.tx.block = Block::Failed;
                // Nothing could bring any of it back: others need not wait for its locks.
                if !self.tx.has_savepoints() {
                    self.tx.release_txn();
                    self.release_advisory();
                }
                if !unlearned {
                    self.tx.history.lose();
                }
            }
            Block::Implicit => self.drop_transaction(),
            Block::Idle | Block::Failed => {}
        }
        self.tx.forget();
    }

    /// How this session names keys in errors.
    pub(super) fn describe_kv_error(&self, error: kv::KvError) -> SqlError {
        let catalog = self.known_catalog();
        let names = Names { catalog: &catalog, env: &self.env };
        names.kv_error(error)
    }
}
