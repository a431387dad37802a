//! The extended protocol: Bind, Execute with a row limit, Sync.

use std::collections::VecDeque;
use std::sync::Arc;

use pgtypes::Datum;

use super::Session;
use super::api::{Completion, ResultColumn, Sink};
use super::bound::Cursor;
use super::cache::Prepared;
use super::collect::CollectSink;
use super::engine::count;
use super::execute::{Job, Replay, Tag, guard, is_retryable, pause};
use super::script::Parsed;
use super::transaction::Block;
use crate::{SqlError, SqlState};

/// Most runs of a lone statement at Sync.
const ATTEMPTS_MAX: u32 = 100;

/// A prepared statement with values for its parameters.
#[derive(Debug)]
pub struct Portal {
    prepared: Arc<Prepared>,
    params: Arc<[Datum]>,
    state: State,
    epoch: u64,
}

#[derive(Debug)]
enum State {
    Fresh,
    /// Rows that were computed and not fetched yet.
    Rows {
        rows: VecDeque<Vec<Datum>>,
        tag: Tag,
    },
    /// A query that runs as it is fetched.
    Open(Box<Cursor>),
    Done,
}

impl Portal {
    /// The statement.
    #[must_use]
    pub fn prepared(&self) -> &Arc<Prepared> {
        &self.prepared
    }

    /// Columns of the result.
    #[must_use]
    pub fn columns(&self) -> Option<&Arc<[ResultColumn]>> {
        self.prepared.columns()
    }

    /// The session's epoch when it was made: see [`Session::epoch`].
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Session {
    /// Gives parameters values. They must have the types that the statement says.
    pub fn bind(
        &mut self,
        prepared: Arc<Prepared>,
        params: Vec<Datum>,
    ) -> Result<Portal, SqlError> {
        let result = self.bind_portal(prepared, params);
        if result.is_err() {
            self.fail();
        }
        result
    }

    fn bind_portal(
        &mut self,
        prepared: Arc<Prepared>,
        params: Vec<Datum>,
    ) -> Result<Portal, SqlError> {
        if params.len() != prepared.params().len() {
            return Err(SqlError::new(
                SqlState::PROTOCOL_VIOLATION,
                format!(
                    "bind message supplies {} parameters, but prepared statement requires {}",
                    params.len(),
                    prepared.params().len()
                ),
            ));
        }
        if super::plan::is_bindable(&prepared.parsed) {
            self.refuse_if_failed()?;
        }
        Ok(Portal { prepared, params: params.into(), state: State::Fresh, epoch: self.epoch })
    }

    /// Runs a portal, or goes on with it, up to `max_rows` rows (0: all).
    pub async fn execute(
        &mut self,
        portal: &mut Portal,
        max_rows: usize,
        sink: &mut dyn Sink,
    ) -> Result<Completion, SqlError> {
        self.cancel.clear();
        let result = self.execute_portal(portal, max_rows, sink).await;
        self.ended(result).await
    }

    async fn execute_portal(
        &mut self,
        portal: &mut Portal,
        max_rows: usize,
        sink: &mut dyn Sink,
    ) -> Result<Completion, SqlError> {
        let prepared = portal.prepared.clone();
        if matches!(portal.state, State::Fresh) {
            let lone = self.tx.statements == 0;
            let mark = sink.mark();
            let job = Job {
                text: &prepared.text,
                parsed: &prepared.parsed,
                prepared: Some(&prepared),
                params: &portal.params,
                lone,
            };
            self.replay = None;
            if max_rows == 0 || prepared.columns().is_none() {
                let tag = self.run(job, sink).await?;
                portal.state = State::Done;
                tag.write(sink);
                if lone && self.tx.block == Block::Implicit && replayable(&prepared.parsed) {
                    self.replay = Some(Replay {
                        prepared: prepared.clone(),
                        params: portal.params.clone(),
                        mark,
                        end: sink.mark(),
                    });
                }
                return Ok(Completion::Complete);
            }
            portal.state = match self.open_cursor(job).await? {
                Some(cursor) => State::Open(Box::new(cursor)),
                None => {
                    let mut rows = CollectSink::over(sink);
                    let tag = self.run(job, &mut rows).await?;
                    State::Rows { rows: rows.into_rows(), tag }
                }
            };
        } else if portal.epoch != self.epoch {
            return Err(SqlError::new(
                SqlState::INVALID_CURSOR_NAME,
                "the portal's transaction has ended",
            ));
        }
        self.fetch(portal, max_rows, sink).await
    }

    async fn fetch(
        &mut self,
        portal: &mut Portal,
        max_rows: usize,
        sink: &mut dyn Sink,
    ) -> Result<Completion, SqlError> {
        sink.environment(&self.env);
        let most = if max_rows == 0 { usize::MAX } else { max_rows };
        let tag = match &mut portal.state {
            State::Rows { rows, tag } => {
                for row in rows.drain(..most.min(rows.len())) {
                    sink.row(&row)?;
                }
                if !rows.is_empty() {
                    return Ok(Completion::Suspended);
                }
                tag.clone()
            }
            State::Open(cursor) => {
                let cancel = self.cancel.clone();
                let timeout = self.hot.statement_timeout;
                let before = cursor.fetched();
                if !guard(&cancel, timeout, cursor.fetch(most, sink)).await? {
                    return Ok(Completion::Suspended);
                }
                Tag::Count("SELECT", cursor.fetched() - before)
            }
            State::Done => {
                return Err(SqlError::new(
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    "portal cannot be run",
                ));
            }
            State::Fresh => return Err(SqlError::internal("a fresh portal is not fetched from")),
        };
        portal.state = State::Done;
        tag.write(sink);
        Ok(Completion::Complete)
    }

    /// The end of a batch: the implicit transaction commits. Call it after an error too.
    pub async fn sync(&mut self, sink: &mut dyn Sink) -> Result<(), SqlError> {
        let result = self.commit_batch(sink).await;
        let result = self.ended(result).await;
        self.rest();
        result
    }

    /// A request of the client's has ended, perhaps badly.
    async fn ended<T>(&mut self, result: Result<T, SqlError>) -> Result<T, SqlError> {
        match result {
            Ok(done) => Ok(done),
            Err(error) => {
                let error = self.explained(error).await;
                self.fail();
                Err(error)
            }
        }
    }

    async fn commit_batch(&mut self, sink: &mut dyn Sink) -> Result<(), SqlError> {
        let replay = self.replay.take();
        if self.tx.block != Block::Implicit {
            return Ok(());
        }
        let cancel = self.cancel.clone();
        let timeout = self.hot.statement_timeout;
        let mut attempt = 0;
        let mut end = replay.as_ref().map(|r| r.end);
        loop {
            let Err(error) = guard(&cancel, timeout, self.commit_transaction()).await else {
                return Ok(());
            };
            attempt += 1;
            let taken_back = replay
                .as_ref()
                .filter(|_| end == Some(sink.mark()))
                .is_some_and(|replay| sink.rewind(replay.mark));
            let Some(replay) = replay.as_ref().filter(|_| taken_back) else { return Err(error) };
            if !is_retryable(&error) || attempt >= ATTEMPTS_MAX {
                return Err(error);
            }
            self.restart_transaction(Block::Implicit);
            count(&self.engine.metrics.retries);
            pause(attempt).await;
            self.replay_once(replay, sink).await?;
            end = Some(sink.mark());
        }
    }

    async fn replay_once(&mut self, replay: &Replay, sink: &mut dyn Sink) -> Result<(), SqlError> {
        let prepared = &replay.prepared;
        let job = Job {
            text: &prepared.text,
            parsed: &prepared.parsed,
            prepared: Some(prepared),
            params: &replay.params,
            lone: true,
        };
        self.run(job, sink).await?.write(sink);
        Ok(())
    }
}

/// Whether a statement can be run again without asking the client for anything.
fn replayable(parsed: &Parsed) -> bool {
    super::plan::is_bindable(parsed)
}
