//! The simple protocol: a string of statements, one implicit transaction unless they say otherwise.

use std::sync::Arc;

use pgtypes::Datum;

use super::api::Sink;
use super::cache::Prepared;
use super::copied::Replay;
use super::execute::{Job, Tag, is_retryable};
use super::history::Said;
use super::repeat::{ATTEMPTS_MAX, Repeated};
use super::script::{Parsed, Piece, parse_one, split};
use super::transaction::Block;
use super::{Session, plan};
use crate::SqlError;

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
        // What the client has seen by now cannot be written anew.
        self.tx.history.sent();
        let limit = self.copied_limit();
        let mut result = self.script(sql, &mut Replay::over(sink, limit)).await;
        self.restarts_script = false;
        if let Err(error) = result {
            let error = self.explained(error).await;
            self.fail_by(&error);
            result = Err(error);
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
            self.restarts_script = began.is_some();
            let mark = sink.mark();
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
                    let fail = |error| plan::shift(error, sql, pieces[at].start);
                    attempt += 1;
                    if !is_retryable(&error) || attempt >= ATTEMPTS_MAX {
                        return Err(fail(error));
                    }
                    match began.filter(|began| sink.rewind(began.mark)) {
                        Some(began) => {
                            self.note_conflict(&error, attempt);
                            self.start_over(Block::Idle, None);
                            at = began.step;
                            self.back_off(attempt).await?;
                        }
                        // The transaction began in an earlier message, or some of this one's
                        // results were sent.
                        None if sink.rewind(mark) => {
                            match Box::pin(self.repeat(&error, &mut attempt, sink)).await? {
                                Repeated::Yes => {}
                                Repeated::No => return Err(fail(error)),
                            }
                        }
                        None => return Err(fail(error)),
                    }
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
        self.start_clock();
        let (tag, digest) = self.watch(job, sink).await?;
        // The last statement's tag promises that all is committed.
        if last && self.tx.block == Block::Implicit {
            self.commit_transaction().await?;
        }
        if !parsed.is_begin() {
            let said = || match step {
                Step::Prepared(prepared) => Said::Prepared(prepared.clone(), params.clone()),
                Step::Parsed(_) => Said::Text(piece.text.into()),
            };
            self.remember(parsed, said, digest, None);
        }
        tag.write(sink);
        if matches!(tag, Tag::Count(..)) {
            sink.flush().await?;
        }
        Ok(())
    }
}
