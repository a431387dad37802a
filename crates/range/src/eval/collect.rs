//! Collect: garbage collection, one bounded step per request, and the point below which nobody reads.
//! Clear: a whole span at once, when a table or index is gone for so long that nobody may read it.
//!
//! The point is raised in memory before anything is collected, and kept in the data (as a record of no
//! transaction, on the first key of the range), so that the next leader and every follower refuse the
//! same reads, and the next leader the same late writes.
//!
//! A pass over the range takes as many steps as it needs; the deletions of a step are one entry of the
//! log. Who drives it decides on the points (`node`), and asks first whether it is worth it (`garbage`).

use base::{Key, KeyRange, Timestamp, TxnId};
use proto::kv::{self, range_response::Response};
use storage::mvcc::{self, TxnRecord};
use storage::{EngineError, EngineRead, WriteBatch};

use super::common::{Evaluated, Refusal, span_of};
use super::waits::Wait;
use super::{After, Command, Evaluator, Step};

/// No transaction has this id.
const NOBODY: TxnId = TxnId(0);

/// A pass over the range, in steps.
#[derive(Debug)]
pub(super) struct Pass {
    /// What its first step was asked for: all of the range is through with that in the end.
    point: Timestamp,
    records_below: Timestamp,
    versions: Rest,
    records: Rest,
}

/// What is left of a pass.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    From(Key),
    Done,
}

impl Pass {
    fn is_done(&self) -> bool {
        self.versions == Rest::Done && self.records == Rest::Done
    }
}

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
    /// Whether a pass of garbage collection with these points is worth it by now, in a range of about
    /// `size` bytes.
    #[must_use]
    pub fn is_worth_collecting(
        &self,
        safe_point: Timestamp,
        records_below: Timestamp,
        size: u64,
    ) -> bool {
        self.pass.is_some() || self.garbage.is_worth_it(safe_point, records_below, size)
    }

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
        // What is loaded below the point must find the deletions above it (`load`).
        if let Some(command) = self.latches.span_conflict(&self.span, point) {
            return Ok(Step::Wait(Wait::Latch(command)));
        }
        self.gc_point = Some(point);
        let records_below = collect.records_below.map_or(point, Timestamp).min(point);
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None => self.begin_pass(point, records_below),
        };
        let (batch, dropped) = self.step_pass(engine, &mut pass, point, records_below)?;
        let more = !pass.is_done();
        if more {
            self.pass = Some(pass);
        } else {
            self.garbage.collected(pass.point, pass.records_below);
        }
        let response = Response::Collected(kv::Collected { dropped, more });
        if batch.is_empty() && point == known {
            return Ok(Step::Done(response));
        }
        let mut batch = batch;
        put_gc_point(&mut batch, &self.span.start, point);
        Ok(Step::Propose(Command {
            batch,
            keys: Vec::new(),
            commits_from: Timestamp::MAX,
            response,
            after: After::Collected,
        }))
    }

    /// Versions are not looked at where none was written since a pass that was through with all.
    fn begin_pass(&mut self, point: Timestamp, records_below: Timestamp) -> Pass {
        let start = self.span.start.clone();
        let versions =
            if self.garbage.has_versions() { Rest::From(start.clone()) } else { Rest::Done };
        self.garbage.pass_began();
        Pass { point, records_below, versions, records: Rest::From(start) }
    }

    fn step_pass(
        &self,
        engine: &dyn EngineRead,
        pass: &mut Pass,
        point: Timestamp,
        records_below: Timestamp,
    ) -> Evaluated<(WriteBatch, u64)> {
        let (mut batch, mut dropped) = (WriteBatch::new(), 0);
        let (bytes, examined) = (self.config.collect_bytes, self.config.collect_examined);
        if let Rest::From(start) = &pass.versions {
            let page = mvcc::gc(engine, &self.rest_from(start), point, bytes, examined)?;
            dropped += page.dropped;
            batch.append(&page.batch);
            pass.versions = page.resume.map_or(Rest::Done, Rest::From);
        }
        if let Rest::From(start) = &pass.records {
            let rest = self.rest_from(start);
            let page = mvcc::collect_records(engine, &rest, records_below, bytes, examined)?;
            dropped += page.dropped;
            batch.append(&page.batch);
            pass.records = page.resume.map_or(Rest::Done, Rest::From);
        }
        Ok((batch, dropped))
    }

    /// What lies there is of no use to anybody, so none of it is looked at: one deletion of a range of
    /// keys, however many there are. Only commands in flight there are waited for (a load that failed may
    /// have some left), or they would be applied behind the deletion.
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

    fn rest_from(&self, start: &Key) -> KeyRange {
        KeyRange { start: start.clone(), end: self.span.end.clone() }
    }
}
