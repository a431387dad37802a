//! Collect: garbage collection, one bounded step per request, and the point below which nobody reads.
//! Clear: a whole span at once, when a table or index is gone for so long that nobody may read it.
//!
//! The point is raised in memory before anything is collected, and kept in the data (as a record of no
//! transaction, on the first key of the range), so that the next leader refuses the same reads and the
//! same late writes.

use base::{Key, KeyRange, Timestamp, TxnId};
use proto::kv::{self, range_response::Response};
use storage::mvcc::{self, TxnRecord};
use storage::{EngineError, EngineRead, WriteBatch};

use super::common::{Evaluated, Refusal, span_of};
use super::waits::Wait;
use super::{After, Command, Evaluator, Step};

/// No transaction has this id.
const NOBODY: TxnId = TxnId(0);

/// The collection point of the range that begins at `start`: reads below it have holes.
pub fn gc_point(engine: &dyn EngineRead, start: &Key) -> Result<Timestamp, EngineError> {
    Ok(match mvcc::get_record(engine, start.as_bytes(), NOBODY)? {
        Some(TxnRecord::Committed { ts, .. }) => ts,
        Some(TxnRecord::RolledBack) | None => Timestamp::ZERO,
    })
}

/// Part of applying a split: the right-hand range, which begins at `right`, inherits the collection
/// point of the one that begins at `left`.
pub fn carry_gc_point(
    engine: &dyn EngineRead,
    left: &Key,
    right: &Key,
    batch: &mut WriteBatch,
) -> Result<(), EngineError> {
    let point = gc_point(engine, left)?;
    if point > Timestamp::ZERO {
        put_gc_point(batch, right, point);
    }
    Ok(())
}

fn put_gc_point(batch: &mut WriteBatch, start: &Key, point: Timestamp) {
    let record = TxnRecord::Committed { ts: point, settled: false };
    mvcc::put_record(batch, start.as_bytes(), NOBODY, record);
}

impl Evaluator {
    /// Nothing below this can be read.
    pub(super) fn gc_point(&mut self, engine: &dyn EngineRead) -> Evaluated<Timestamp> {
        if let Some(point) = self.gc_point {
            return Ok(point);
        }
        let point = gc_point(engine, &self.span.start)?;
        self.gc_point = Some(point);
        Ok(point)
    }

    pub(super) fn collect(&mut self, engine: &dyn EngineRead, collect: &kv::Collect) -> Evaluated {
        let wanted = Timestamp(collect.safe_point);
        if wanted == Timestamp::MAX {
            return Err(Refusal::invalid("the end of time is no safe point"));
        }
        let known = self.gc_point(engine)?;
        let point = wanted.max(known);
        self.gc_point = Some(point);
        let (versions_from, records_from) = std::mem::take(&mut self.gc_resume);
        let versions = mvcc::gc(
            engine,
            &self.rest_from(versions_from),
            point,
            self.config.collect_bytes,
            self.config.collect_examined,
        )?;
        let records = mvcc::collect_records(
            engine,
            &self.rest_from(records_from),
            point,
            self.config.collect_bytes,
        )?;
        self.gc_resume = (versions.resume, records.resume);
        let mut batch = versions.batch;
        batch.append(&records.batch);
        let response = Response::Done(kv::Done {});
        if batch.is_empty() && point == known {
            return Ok(Step::Done(response));
        }
        put_gc_point(&mut batch, &self.span.start, point);
        Ok(Step::Propose(Command {
            batch,
            keys: Vec::new(),
            commits_from: Timestamp::MAX,
            response,
            after: After::Nothing,
        }))
    }

    /// What is written there is of no use to anybody, so nothing is waited for or looked at: one deletion
    /// of a range of keys, however many there are.
    pub(super) fn clear(&mut self, engine: &dyn EngineRead, clear: &kv::Clear) -> Evaluated {
        let span =
            clear.span.as_ref().map(span_of).ok_or_else(|| Refusal::invalid("clears what?"))?;
        let (wanted, known) = (Timestamp(clear.safe_point), self.gc_point(engine)?);
        if wanted == Timestamp::MAX {
            return Err(Refusal::invalid("the end of time is no safe point"));
        }
        if let Some(command) = self.latches.span_conflict(&span, Timestamp::MAX) {
            return Ok(Step::Wait(Wait::Latch(command)));
        }
        let mut batch = WriteBatch::new();
        mvcc::clear_versions(&mut batch, &span);
        if wanted > known {
            self.gc_point = Some(wanted);
            put_gc_point(&mut batch, &self.span.start, wanted);
        }
        Ok(Step::Propose(Command {
            batch,
            keys: Vec::new(),
            commits_from: Timestamp::MAX,
            response: Response::Done(kv::Done {}),
            after: After::Nothing,
        }))
    }

    fn rest_from(&self, start: Option<Key>) -> KeyRange {
        KeyRange {
            start: start.unwrap_or_else(|| self.span.start.clone()),
            end: self.span.end.clone(),
        }
    }
}
