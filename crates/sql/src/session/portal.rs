//! The extended protocol: Bind, Execute with a row limit, Sync.

use std::collections::VecDeque;
use std::sync::Arc;

use pgtypes::Datum;

use super::Session;
use super::api::{Completion, ResultColumn, Sink};
use super::bound::Cursor;
use super::cache::Prepared;
use super::clock::guard;
use super::collect::CollectSink;
use super::copied::Replay;
use super::execute::{Job, Tag, is_retryable};
use super::history::{Place, Said};
use super::repeat::Repeated;
use super::transaction::Block;
use crate::{SqlError, SqlState};

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
        self.start_clock();
        if matches!(portal.state, State::Fresh) {
            if max_rows == 0 || prepared.columns().is_none() {
                let params = portal.params.clone();
                let mut replay = Replay::over(sink, self.copied_limit());
                self.execute_whole(&prepared, &params, &mut replay).await?;
                self.note_copied(&prepared, &params, replay);
                portal.state = State::Done;
                return Ok(Completion::Complete);
            }
            let job = Job {
                text: &prepared.text,
                parsed: &prepared.parsed,
                prepared: Some(&prepared),
                params: &portal.params,
                lone: self.tx.statements == 0,
            };
            // The client fetches while other statements may run: nothing to be repeated.
            let (cancel, deadline) = (self.cancel.clone(), self.deadline);
            portal.state = match guard(&cancel, deadline, self.open_cursor(job)).await? {
                Some(cursor) => State::Open(Box::new(cursor)),
                None => {
                    let mut rows = CollectSink::over(sink);
                    let tag = self.run(job, &mut rows).await?;
                    State::Rows { rows: rows.into_rows(), tag }
                }
            };
            self.tx.history.lose();
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
                let now = most.min(rows.len());
                for row in rows.drain(..now) {
                    sink.row(&row)?;
                }
                if !rows.is_empty() {
                    return Ok(Completion::Suspended);
                }
                // As PostgreSQL counts: what this call has fetched.
                match tag {
                    Tag::Count(verb, _) => Tag::Count(verb, now as u64),
                    other => other.clone(),
                }
            }
            State::Open(cursor) => {
                let cancel = self.cancel.clone();
                let before = cursor.fetched();
                let fetched = guard(&cancel, self.deadline, cursor.fetch(most, sink)).await;
                self.settle(sink)?;
                if !fetched? {
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

    /// Runs a statement to its end; the transaction so far with it, if there is a conflict.
    async fn execute_whole(
        &mut self,
        prepared: &Arc<Prepared>,
        params: &Arc<[Datum]>,
        sink: &mut dyn Sink,
    ) -> Result<(), SqlError> {
        let mut attempt = 0;
        loop {
            let mark = sink.mark();
            let job = Job {
                text: &prepared.text,
                parsed: &prepared.parsed,
                prepared: Some(prepared),
                params,
                lone: self.tx.statements == 0,
            };
            let error = match self.watch(job, sink).await {
                Ok((tag, digest)) => {
                    tag.write(sink);
                    if !prepared.parsed.is_begin() {
                        let nth = sink.executions();
                        let place = Place { nth, mark, end: sink.mark() };
                        let said = || Said::Prepared(prepared.clone(), params.clone());
                        self.remember(&prepared.parsed, said, digest, Some(place));
                    }
                    // Beyond the buffer a batch is told as it goes, and can't be written anew.
                    return sink.flush().await;
                }
                Err(error) => error,
            };
            if !is_retryable(&error) || !sink.rewind(mark) {
                return Err(error);
            }
            match Box::pin(self.repeat(&error, &mut attempt, sink)).await? {
                Repeated::Yes => {}
                Repeated::No => return Err(error),
            }
        }
    }

    /// The end of a batch: the implicit transaction commits. Call it after an error too.
    pub async fn sync(&mut self, sink: &mut dyn Sink) -> Result<(), SqlError> {
        let result = match self.tx.block {
            Block::Implicit => self.commit_batch(sink).await,
            Block::Idle | Block::Explicit | Block::Failed => Ok(()),
        };
        let result = self.ended(result).await;
        self.copied = None;
        // The connection sends everything now.
        self.tx.history.sent();
        self.rest();
        result
    }

    /// A request of the client's has ended, perhaps badly.
    async fn ended<T>(&mut self, result: Result<T, SqlError>) -> Result<T, SqlError> {
        match result {
            Ok(done) => Ok(done),
            Err(error) => {
                let error = self.explained(error).await;
                self.fail_by(&error);
                Err(error)
            }
        }
    }

    async fn commit_batch(&mut self, sink: &mut dyn Sink) -> Result<(), SqlError> {
        self.start_clock();
        let mut attempt = 0;
        loop {
            let Err(error) = self.commit_transaction().await else { return Ok(()) };
            if !is_retryable(&error) {
                return Err(error);
            }
            if self.copy_again(&error, &mut attempt, sink).await? {
                continue;
            }
            match Box::pin(self.repeat(&error, &mut attempt, sink)).await? {
                Repeated::Yes => {}
                Repeated::No => return Err(error),
            }
        }
    }
}
