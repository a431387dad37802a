//! EXPLAIN, as a statement of a session's.
//!
//! ANALYZE runs the statement the way it would run without it, so that what is counted is what happens.
//! If it is all of its transaction, its commit belongs to it:
//!
//! ```text
//!   run ──▶ explain: the statement, measured ──▶ tell_explained: COMMIT, measured ──▶ the rows
//! ```
//!
//! The commit is not left to the guard that ends statements early (S5), hence the two steps.

use std::sync::Arc;
use std::time::Instant;

use kv::{Stats, Txn};

use super::api::Sink;
use super::collect::CollectSink;
use super::execute::{Job, Tag};
use super::transaction::Block;
use super::{CatalogDefaults, Session, bound, result_columns};
use crate::exec::measured::Analysis;
use crate::explain::{Report, Run, Subject};
use crate::ir::{Explain, Statement};
use crate::point::{self, Outcome, PointPlan};
use crate::{SqlError, SqlState};

/// An EXPLAIN that has nothing left to do but to tell, and perhaps to commit.
#[derive(Debug)]
pub(super) struct Explained {
    report: Report,
    columns: Vec<super::ResultColumn>,
    /// Counts the commit, which is part of the statement.
    commit: Option<Arc<Stats>>,
}

impl Session {
    /// Explains a statement, having run it first with ANALYZE.
    pub(super) async fn explain(
        &mut self,
        explain: &Explain,
        job: &Job<'_>,
        txn: &Arc<Txn>,
        sink: &mut dyn Sink,
    ) -> Result<(), SqlError> {
        let catalog = self.tx.catalog.clone().ok_or_else(|| SqlError::internal("no catalog"))?;
        let point = {
            let defaults = CatalogDefaults { view: self.view(&catalog), env: &self.env };
            point::compile(&explain.statement, &defaults)?
        };
        let point = match point {
            Some(point) if self.is_for_leaders(&point, job, txn)? => None,
            point => point,
        };
        // In the extended protocol more may follow before the Sync that commits.
        let alone = job.lone && self.restarts_script && self.is_lone();
        let exec = self.exec_context(job.params, txn);
        let (report, commit) = match explain.analyze {
            false => {
                let cx = self.point_context(&catalog, job, txn);
                let defaults = CatalogDefaults { view: self.view(&catalog), env: &self.env };
                let subject = Subject {
                    explain,
                    point: point.as_ref(),
                    exec: &exec,
                    cx: &cx,
                    defaults: &defaults,
                    alone: job.lone && self.is_lone(),
                };
                (subject.planned().await?, None)
            }
            true => {
                let session = &*self;
                let cx = session.point_context(&catalog, job, txn);
                let defaults = CatalogDefaults { view: session.view(&catalog), env: &session.env };
                let subject = Subject {
                    explain,
                    point: point.as_ref(),
                    exec: &exec,
                    cx: &cx,
                    defaults: &defaults,
                    alone,
                };
                let foretold = subject.foretold_alone().await?;
                let run = self.measure(explain, point.as_ref(), job, txn, sink).await?;
                let cx = self.point_context(&catalog, job, txn);
                let defaults = CatalogDefaults { view: self.view(&catalog), env: &self.env };
                let subject = Subject {
                    explain,
                    point: point.as_ref(),
                    exec: &exec,
                    cx: &cx,
                    defaults: &defaults,
                    alone,
                };
                let report = subject.analyzed(&run, foretold).await?;
                let commits = alone && does_something(&explain.statement);
                (report, commits.then_some(run.whole))
            }
        };
        let columns = result_columns(&explain.columns);
        self.explained = Some(Explained { report, columns, commit });
        Ok(())
    }

    /// Runs the statement and counts. Its rows are dropped.
    async fn measure(
        &mut self,
        explain: &Explain,
        point: Option<&PointPlan>,
        job: &Job<'_>,
        txn: &Arc<Txn>,
        sink: &mut dyn Sink,
    ) -> Result<Run, SqlError> {
        let whole = Stats::new();
        let rest = Stats::under(&whole);
        let analysis = Analysis::new(&whole);
        self.analysis = Some(analysis.clone());
        let retries = self.reruns;
        let mut rows = CollectSink::counting(sink);
        let begin = Instant::now();
        let ran = match point {
            Some(point) => {
                rest.count(self.run_point(point, job, txn, None, &mut rows)).await.map(|outcome| {
                    match outcome {
                        Outcome::Done(count) => Ok(count),
                        Outcome::Stale => Err(SqlError::new(
                            SqlState::SERIALIZATION_FAILURE,
                            "the catalog changed while the statement began",
                        )),
                    }
                })
            }
            None => {
                let run = bound::run(self, &explain.statement, job, txn, &mut rows);
                rest.count(run).await.map(|tag| match tag {
                    Tag::Count(_, count) => Ok(count),
                    Tag::Text(_) | Tag::Empty => Err(SqlError::internal("a statement of data")),
                })
            }
        };
        self.analysis = None;
        let touched = ran??;
        let took = begin.elapsed();
        let returned = rows.count();
        Ok(Run { analysis, whole, rest, took, returned, touched, retries })
    }

    /// Ends an EXPLAIN: commits, if that is part of it, and tells.
    pub(super) async fn tell_explained(&mut self, sink: &mut dyn Sink) -> Result<(), SqlError> {
        let Some(mut explained) = self.explained.take() else { return Ok(()) };
        if let Some(stats) = &explained.commit
            && self.tx.block == Block::Implicit
        {
            let before = stats.cost();
            let begin = Instant::now();
            stats.count(self.commit_transaction()).await?;
            explained.report.add_commit(&before, &stats.cost(), begin.elapsed());
        }
        sink.columns(&explained.columns)?;
        for row in explained.report.rows() {
            sink.row(&row)?;
        }
        Ok(())
    }
}

/// Whether there is something to commit.
fn does_something(statement: &Statement) -> bool {
    match statement {
        Statement::Query(query) => query.rel.has_locks(),
        Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) | Statement::With(_) => {
            true
        }
        Statement::Explain(_) | Statement::Utility(_) => false,
    }
}
