//! The simple protocol: a string of statements, one implicit transaction unless they say otherwise.

use std::sync::Arc;

use pgtypes::Datum;

use super::api::Sink;
use super::cache::Prepared;
use super::engine::count;
use super::execute::{Job, Tag, guard, is_retryable, pause};
use super::script::{Parsed, Piece, parse_one, split};
use super::transaction::Block;
use super::{Session, plan};
use crate::SqlError;

/// Most runs of a script because of conflicts.
const ATTEMPTS_MAX: u32 = 100;

/// One statement of a script.
enum Step {
    /// From the cache.
    Prepared(Arc<Prepared>),
    /// Parsed, to be planned when it runs: an earlier statement may change the catalog.
    Parsed(Parsed),
}

/// Since when the transaction runs that is open now.
#[derive(Clone, Copy)]
struct Began {
    step: usize,
    mark: u64,
}

impl Session {
    /// Runs a script. The results of each statement go to the sink, an error ends it.
    pub async fn simple(&mut self, sql: &str, sink: &mut dyn Sink) -> Result<(), SqlError> {
        self.cancel.clear();
        self.replay = None;
        let mut result = self.script(sql, sink).await;
        if let Err(error) = result {
            result = Err(self.explained(error).await);
            self.fail();
        }
        self.rest();
        // A portal of the extended protocol may have left an implicit transaction open.
        result
    }

    async fn script(&mut self, sql: &str, sink: &mut dyn Sink) -> Result<(), SqlError> {
        let pieces = split(sql);
        if pieces.is_empty() {
            sink.empty();
            return Ok(());
        }
        let mut steps: Vec<Option<Step>> = Vec::new();
        steps.resize_with(pieces.len(), || None);
        // A syntax error anywhere keeps all of the script from running, as in PostgreSQL.
        for (step, piece) in steps.iter_mut().zip(&pieces) {
            *step = Some(self.step(sql, piece, pieces.len() == 1)?);
        }
        let steps: Vec<Step> = steps.into_iter().map(|s| s.expect("just filled")).collect();
        let mut began: Option<Began> = None;
        let mut at = 0;
        let mut attempt = 0;
        while at < steps.len() {
            if self.tx.block == Block::Idle {
                began = Some(Began { step: at, mark: sink.mark() });
            }
            let last = at + 1 == steps.len();
            let result = self.script_step(&steps[at], &pieces[at], steps.len() == 1, last, sink);
            match result.await {
                Ok(()) => {
                    at += 1;
                    if self.tx.block == Block::Idle {
                        began = None;
                    }
                }
                Err(error) => {
                    attempt += 1;
                    let again = began.filter(|_| is_retryable(&error) && attempt < ATTEMPTS_MAX);
                    let Some(began) = again.filter(|b| sink.rewind(b.mark)) else {
                        return Err(plan::shift(error, sql, pieces[at].start));
                    };
                    self.settings.rollback();
                    self.refresh_env();
                    self.restart_transaction(Block::Idle);
                    count(&self.engine.metrics.retries);
                    at = began.step;
                    let cancel = self.cancel.clone();
                    guard(&cancel, None, async {
                        pause(attempt).await;
                        Ok(())
                    })
                    .await?;
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, sql: &str, piece: &Piece<'_>, alone: bool) -> Result<Step, SqlError> {
        if alone && let Some(prepared) = self.cached(piece.text) {
            return Ok(Step::Prepared(prepared));
        }
        let parsed = parse_one(piece.text).map_err(|e| plan::shift(e, sql, piece.start))?;
        Ok(Step::Parsed(parsed))
    }

    async fn script_step(
        &mut self,
        step: &Step,
        piece: &Piece<'_>,
        lone: bool,
        last: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), SqlError> {
        let params: Arc<[Datum]> = Arc::new([]);
        let (parsed, prepared) = match step {
            Step::Prepared(prepared) => (&prepared.parsed, Some(&**prepared)),
            Step::Parsed(parsed) => (parsed, None),
        };
        let job = Job { text: piece.text, parsed, prepared, params: &params, lone };
        let tag = self.run(job, sink).await?;
        // The last statement's tag promises that all is committed.
        if last && self.tx.block == Block::Implicit {
            let cancel = self.cancel.clone();
            let timeout = self.hot.statement_timeout;
            guard(&cancel, timeout, self.commit_transaction()).await?;
        }
        tag.write(sink);
        if matches!(tag, Tag::Count(..)) {
            sink.flush().await?;
        }
        Ok(())
    }
}
