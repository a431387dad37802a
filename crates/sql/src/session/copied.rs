//! COPY FROM outside of a transaction, run again by the server: the client sends its data once.
//!
//! ```text
//!   client ──▶ CopyInResponse, CopyData … ──▶ Replay ──▶ COPY      the first run
//!                                               └ kept ──▶ COPY    after a conflict: nothing is asked for
//! ```
//!
//! What has come is kept as it came, up to the memory that a transaction may use; beyond it, a conflict is
//! told. What was sent before (results of other statements of the message) can't be taken back, so only a
//! COPY with nothing before it in its transaction is run again.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use pgtypes::{Datum, EvalEnv};

use super::Session;
use super::api::{CopyShape, ResultColumn, Severity, Sink};
use super::cache::Prepared;
use super::execute::{Job, is_retryable};
use super::repeat::ATTEMPTS_MAX;
use super::script::Parsed;
use super::transaction::Block;
use crate::SqlError;

/// What the client has sent.
#[derive(Debug, Default)]
pub(crate) struct Received {
    chunks: Vec<Bytes>,
    bytes: usize,
    /// Which of them comes next.
    next: usize,
    /// The client has said that it is done.
    done: bool,
    /// Too much, or nobody may run it again: it is not kept.
    lost: bool,
}

/// A sink that keeps COPY data, and gives it again.
pub(crate) struct Replay<'a> {
    inner: &'a mut dyn Sink,
    limit: usize,
    received: Received,
    /// Output before and behind CopyInResponse, which is sent at once.
    sent: Option<(u64, u64)>,
    /// The next COPY is the same again.
    again: bool,
}

impl<'a> Replay<'a> {
    /// Keeps up to so many bytes.
    pub(crate) fn over(inner: &'a mut dyn Sink, limit: usize) -> Self {
        Replay { inner, limit, received: Received::default(), sent: None, again: false }
    }

    /// Gives what was received before.
    fn again(inner: &'a mut dyn Sink, received: Received, limit: usize) -> Self {
        let mark = inner.mark();
        let received = Received { next: 0, ..received };
        Replay { inner, limit, received, sent: Some((mark, mark)), again: true }
    }

    /// What was received, if it is all there.
    fn into_received(self) -> Option<Received> {
        Some(self.received).filter(|received| received.done && !received.lost)
    }
}

impl Received {
    fn keep(&mut self, chunk: Option<&Bytes>, limit: usize) {
        match chunk {
            None => self.done = true,
            Some(_) if self.lost => {}
            Some(chunk) => {
                self.bytes += chunk.len();
                if self.bytes > limit {
                    self.lose();
                } else {
                    self.chunks.push(chunk.clone());
                    self.next = self.chunks.len();
                }
            }
        }
    }

    fn lose(&mut self) {
        *self = Received { lost: true, done: self.done, ..Received::default() };
    }
}

impl Sink for Replay<'_> {
    fn environment(&mut self, env: &EvalEnv) {
        self.inner.environment(env);
    }

    fn columns(&mut self, columns: &[ResultColumn]) -> Result<(), SqlError> {
        self.inner.columns(columns)
    }

    fn row(&mut self, row: &[Datum]) -> Result<(), SqlError> {
        self.inner.row(row)
    }

    fn complete(&mut self, tag: &str) {
        self.inner.complete(tag);
    }

    fn empty(&mut self) {
        self.inner.empty();
    }

    fn notice(&mut self, severity: Severity, notice: &SqlError) {
        self.inner.notice(severity, notice);
    }

    fn parameter_status(&mut self, name: &str, value: &str) {
        self.inner.parameter_status(name, value);
    }

    fn mark(&self) -> u64 {
        self.inner.mark()
    }

    fn rewind(&mut self, mark: u64) -> bool {
        match self.sent {
            Some((before, behind)) if mark < behind || mark == before => {
                let whole = mark == before && !self.received.lost && self.inner.rewind(behind);
                if whole {
                    self.received.next = 0;
                    self.again = true;
                }
                whole
            }
            Some(_) | None => self.inner.rewind(mark),
        }
    }

    fn executions(&self) -> usize {
        self.inner.executions()
    }

    fn reopen(&mut self, mark: u64) -> bool {
        self.inner.reopen(mark)
    }

    fn resume(&mut self, from: u64, to: u64, nth: usize) {
        self.inner.resume(from, to, nth);
    }

    fn close_reopened(&mut self, from: Option<u64>) {
        self.inner.close_reopened(from);
    }

    fn flush(&mut self) -> BoxFuture<'_, Result<(), SqlError>> {
        self.inner.flush()
    }

    fn copy_in_start(&mut self, shape: CopyShape) -> BoxFuture<'_, Result<(), SqlError>> {
        Box::pin(async move {
            if self.again {
                return Ok(());
            }
            self.received = Received::default();
            let before = self.inner.mark();
            self.inner.copy_in_start(shape).await?;
            self.sent = Some((before, self.inner.mark()));
            Ok(())
        })
    }

    fn copy_in(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SqlError>> {
        Box::pin(async move {
            let received = &mut self.received;
            if let Some(chunk) = received.chunks.get(received.next) {
                received.next += 1;
                return Ok(Some(chunk.clone()));
            }
            if received.done {
                return Ok(None);
            }
            let chunk = self.inner.copy_in().await?;
            received.keep(chunk.as_ref(), self.limit);
            Ok(chunk)
        })
    }

    fn forget_copied(&mut self) {
        self.received.lose();
    }

    fn copy_out_start(&mut self, shape: CopyShape) {
        self.inner.copy_out_start(shape);
    }

    fn copy_out(&mut self, data: &[u8]) {
        self.inner.copy_out(data);
    }

    fn copy_out_done(&mut self) {
        self.inner.copy_out_done();
    }
}

/// A COPY whose implicit transaction waits for Sync.
#[derive(Debug)]
pub(crate) struct Copied {
    prepared: Arc<Prepared>,
    params: Arc<[Datum]>,
    received: Received,
}

impl Session {
    /// How much COPY data is kept.
    pub(super) fn copied_limit(&self) -> usize {
        self.engine.db.txn_memory()
    }

    /// Keeps a COPY that has just run until its implicit transaction commits, if it is all there is to it.
    pub(super) fn note_copied(
        &mut self,
        prepared: &Arc<Prepared>,
        params: &Arc<[Datum]>,
        replay: Replay<'_>,
    ) {
        let alone = self.tx.block == Block::Implicit && self.tx.is_first_statement();
        self.copied = None;
        if alone
            && matches!(prepared.parsed, Parsed::Copy(_))
            && let Some(received) = replay.into_received()
        {
            let (prepared, params) = (prepared.clone(), params.clone());
            self.copied = Some(Copied { prepared, params, received });
        }
    }

    /// After a conflict at Sync: runs the COPY again, whose answer the client has. Whether it did.
    pub(super) async fn copy_again(
        &mut self,
        error: &SqlError,
        attempt: &mut u32,
        sink: &mut dyn Sink,
    ) -> Result<bool, SqlError> {
        let Some(copied) = self.copied.take() else { return Ok(false) };
        *attempt += 1;
        if !self.tx.is_first_statement() || *attempt >= ATTEMPTS_MAX || !is_retryable(error) {
            return Ok(false);
        }
        self.note_conflict(error, *attempt);
        self.restart_transaction(Block::Implicit);
        self.back_off(*attempt).await?;
        let Copied { prepared, params, received } = copied;
        let mut replay = Replay::again(sink, received, self.copied_limit());
        let job = Job {
            text: &prepared.text,
            parsed: &prepared.parsed,
            prepared: Some(&prepared),
            params: &params,
            lone: true,
        };
        Box::pin(self.run(job, &mut replay)).await?;
        self.note_copied(&prepared, &params, replay);
        Ok(true)
    }
}
