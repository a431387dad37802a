//! Running a transaction again, statement by statement, without the client noticing.
//!
//! ```text
//!   conflict in a statement, or at COMMIT or Sync
//!        │  nothing of the statement itself was sent (S4)
//!        ▼
//!   history whole? ──no──▶ 40001 to the client
//!        │
//!        ├─ all output unsent      run everything again and write the output anew
//!        └─ some of it was sent    run everything again in silence; the same digests: go on,
//!                                  others: 40001
//! ```
//!
//! The second way is safe at every level: the new run has a newer snapshot, and tells exactly what the
//! client knows. So what the client does with it, it would have done had there been only this run.
//!
//! The transaction keeps its start timestamp: it stays as old as it is, and whoever is oldest wins
//! every queue. Keys at which it was overtaken are locked first by the next run.

use std::sync::Arc;

use pgtypes::Datum;

use super::Session;
use super::api::Sink;
use super::clock::{guard, pause};
use super::engine::count;
use super::execute::{Job, Tag, is_retryable};
use super::history::{Entry, History, Place, Said, Watch};
use super::script::{Parsed, parse_one};
use super::transaction::Block;
use crate::error::Retry;
use crate::{SqlError, SqlState};

/// Most runs of one statement, script or transaction because of conflicts. With queues ordered by age
/// it wins long before; the bound keeps a bug from becoming an endless loop.
pub(super) const ATTEMPTS_MAX: u32 = 200;

/// How a repetition ended.
pub(super) enum Repeated {
    /// The transaction is where it was; go on.
    Yes,
    /// It can't be, or told something else. The client hears of the first error.
    No,
}

enum Run {
    Same,
    Differs,
    Failed(SqlError),
}

impl Session {
    /// Runs a statement for [`Session::remember`]: in a transaction block with a digest of its output.
    pub(super) async fn watch(
        &mut self,
        job: Job<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(Tag, Option<u64>), SqlError> {
        if self.tx.block != Block::Explicit || !self.tx.history.is_whole() {
            return self.run(job, sink).await.map(|tag| (tag, None));
        }
        let mut watch = Watch::over(sink, self.hot.results_buffer);
        let tag = self.run(job, &mut watch).await?;
        let digest = watch.digest(&tag);
        Ok((tag, digest))
    }

    /// Adds a statement that has succeeded to the transaction's history.
    pub(super) fn remember(
        &mut self,
        parsed: &Parsed,
        said: impl FnOnce() -> Said,
        digest: Option<u64>,
        place: Option<Place>,
    ) {
        if self.tx.block == Block::Idle || !self.tx.history.is_whole() {
            return;
        }
        match parsed {
            Parsed::Copy(_) | Parsed::SplitAt(_) => self.tx.history.lose(),
            _ if digest.is_none() && place.is_none() => self.tx.history.lose(),
            _ => {
                let limit = self.hot.results_buffer;
                self.tx.history.add(Entry { said: said(), place, digest }, limit);
            }
        }
    }

    /// Notes where a run was overtaken, for the next one.
    pub(super) fn note_conflict(&mut self, error: &SqlError, attempt: u32) {
        if let Some(Retry::Conflict(Some(key))) = error.retry() {
            self.tx.note_contended(&key, attempt);
        }
    }

    /// After a conflict in an open transaction: brings it back to where it was.
    pub(super) async fn repeat(
        &mut self,
        error: &SqlError,
        attempt: &mut u32,
        sink: &mut dyn Sink,
    ) -> Result<Repeated, SqlError> {
        let history = std::mem::take(&mut self.tx.history);
        let block = match self.tx.block {
            // A block whose statement failed, and that ROLLBACK TO is about to revive.
            Block::Failed => Block::Explicit,
            block => block,
        };
        let known = history.is_whole()
            && !history.entries.is_empty()
            && !self.tx.lost
            && !is_about_sessions(error);
        let rewrite = history.begins_at().filter(|&from| known && sink.reopen(from));
        if !known || (rewrite.is_none() && !history.is_verifiable()) {
            self.tx.history = history;
            return Ok(Repeated::No);
        }
        self.note_conflict(error, *attempt);
        loop {
            *attempt += 1;
            if *attempt >= ATTEMPTS_MAX {
                break;
            }
            self.start_over(block, history.modes);
            self.back_off(*attempt).await?;
            let run = match rewrite {
                Some(_) => self.rewrite(&history, sink).await,
                None => self.verify(&history).await,
            };
            match run {
                Run::Same => return Ok(Repeated::Yes),
                Run::Differs => break,
                Run::Failed(error) if is_retryable(&error) => {
                    self.note_conflict(&error, *attempt);
                    // Nothing more can be taken back if some of the new output was sent.
                    if rewrite.is_some_and(|from| !sink.reopen(from)) {
                        return Err(error);
                    }
                }
                Run::Failed(error) if rewrite.is_some() => {
                    sink.close_reopened(None);
                    return Err(error);
                }
                Run::Failed(error) if ends_session(&error) => return Err(error),
                Run::Failed(_) => break,
            }
        }
        if rewrite.is_some() {
            sink.close_reopened(None);
        }
        self.tx.lost = true;
        self.tx.release_txn();
        Ok(Repeated::No)
    }

    /// Everything is undone, as old as it is.
    pub(super) fn start_over(&mut self, block: Block, modes: Option<super::modes::Modes>) {
        self.settings.rollback();
        self.refresh_env();
        self.restart_transaction(block);
        if let Some(modes) = modes {
            self.tx.modes = modes;
            self.tx.history.modes = Some(modes);
        }
        count(&self.engine.metrics.retries);
    }

    /// A pause between two runs, cut short by a cancel or the end of the statement's time.
    pub(super) async fn back_off(&mut self, attempt: u32) -> Result<(), SqlError> {
        let (cancel, db) = (self.cancel.clone(), self.engine.db.clone());
        let pausing = async {
            pause(&db, attempt).await;
            Ok(())
        };
        guard(&cancel, self.deadline, pausing).await
    }

    /// Runs everything and writes the output where the old one was.
    async fn rewrite(&mut self, history: &History, sink: &mut dyn Sink) -> Run {
        let mut from = history.begins_at().expect("checked by the caller");
        for entry in &history.entries {
            let place = entry.place.expect("checked by the caller");
            sink.resume(from, place.mark, place.nth);
            let mark = sink.mark();
            let (tag, digest) = match self.run_entry(entry, sink).await {
                Ok(done) => done,
                Err(error) => return Run::Failed(error),
            };
            tag.write(sink);
            let new = Place { nth: place.nth, mark, end: sink.mark() };
            self.again(entry, digest, Some(new));
            from = place.end;
        }
        sink.close_reopened(Some(from));
        Run::Same
    }

    /// Runs everything in silence.
    async fn verify(&mut self, history: &History) -> Run {
        let limit = self.hot.results_buffer;
        for entry in &history.entries {
            let mut watch = Watch::silent(limit);
            let tag = match self.run_entry(entry, &mut watch).await {
                Ok((tag, _)) => tag,
                Err(error) => return Run::Failed(error),
            };
            let digest = watch.digest(&tag);
            if digest != entry.digest {
                return Run::Differs;
            }
            self.again(entry, digest, entry.place);
        }
        Run::Same
    }

    fn again(&mut self, entry: &Entry, digest: Option<u64>, place: Option<Place>) {
        let entry = Entry { said: entry.said.clone(), place, digest };
        self.tx.history.add(entry, self.hot.results_buffer);
    }

    async fn run_entry(
        &mut self,
        entry: &Entry,
        sink: &mut dyn Sink,
    ) -> Result<(Tag, Option<u64>), SqlError> {
        let none: Arc<[Datum]> = Arc::new([]);
        let (prepared, params) = match &entry.said {
            Said::Prepared(prepared, params) => (Some(prepared.clone()), params),
            Said::Text(text) => (self.cached(text), &none),
        };
        let parsed;
        let (text, parsed): (&str, &Parsed) = match (&prepared, &entry.said) {
            (Some(prepared), _) => (&prepared.text, &prepared.parsed),
            (None, Said::Text(text)) => {
                parsed = parse_one(text)?;
                (text, &parsed)
            }
            (None, Said::Prepared(..)) => unreachable!("it is there"),
        };
        let lone = self.tx.statements == 0;
        let job = Job { text, parsed, prepared: prepared.as_deref(), params, lone };
        Box::pin(self.watch(job, sink)).await
    }
}

/// A deadlock over an advisory lock: sessions hold those, and to roll back a transaction gives none back.
fn is_about_sessions(error: &SqlError) -> bool {
    let Some(kv::KvError::Deadlock { cycle, .. }) = error.fields().conflict.as_deref() else {
        return false;
    };
    cycle.iter().any(|edge| edge.key.as_bytes().first() != Some(&base::keyspace::TABLES))
}

/// Errors that no first error may hide.
fn ends_session(error: &SqlError) -> bool {
    matches!(error.code(), SqlState::QUERY_CANCELED | SqlState::TRANSACTION_TIMEOUT)
}
