//! Load: many new rows where nobody but the sender looks yet, as one entry of the log.
//!
//! The rows belong to an index or table that no committed descriptor names. So there is nobody to lock
//! them against and nobody who has read their keys: they are written at the timestamp that the sender
//! asks for, usually its snapshot, which then shows them.
//!
//! 1. Wait for a load in flight that overlaps. Of two spans that overlap, one holds an end of the other,
//!    so it is enough that each latches its ends.
//! 2. Usually one look shows that the span is empty. Otherwise no row may have a version; a first row
//!    written by this very load says that it is repeated.
//! 3. Propose. The first row carries the id of the load.
//!
//! # Filling
//!
//! An index that writers keep up to date already is filled with entries of the rows that were there before
//! (`sql::ddl::online`). Where a key has a version, a writer was there first, and what it left is newer
//! than the snapshot that the load is of: such rows are left out. A writer that comes at the same time
//! lands above that snapshot, whose rows have been read at it, so either order of the two is right.
//! Repeated, such a load finds its own rows, and leaves them out. A deletion must not have been collected
//! meanwhile: below the collection point such a load is refused, and a collection waits for one in flight.

use std::borrow::Cow;

use base::{Key, KeyRange, Timestamp, TxnId};
use proto::kv::{self, kv_error::Error, range_response::Response};
use storage::mvcc;
use storage::{EngineRead, WriteBatch};

use super::common::{Evaluated, Refusal, key, require};
use super::waits::Wait;
use super::{After, Command, Evaluator, Step};

/// Bytes of a batch that are neither key nor value, per row.
const ROW_OVERHEAD: usize = 32;

impl Evaluator {
    pub(super) fn load_rows(
        &mut self,
        engine: &dyn EngineRead,
        txn: Option<&kv::TxnMeta>,
        load: &kv::Load,
    ) -> Evaluated {
        let id = require(txn)?.txn;
        let ts = Timestamp(load.ts);
        let (Some(first), Some(last)) = (load.rows.first(), load.rows.last()) else {
            return Err(Refusal::invalid("a load has rows"));
        };
        if !load.rows.windows(2).all(|pair| pair[0].key < pair[1].key) {
            return Err(Refusal::invalid("the rows of a load are in key order, each key once"));
        }
        let span = KeyRange { start: key(&first.key), end: key(&last.key).next() };
        if let Some(command) = self.latches.span_conflict(&span, Timestamp::MAX) {
            return Ok(Step::Wait(Wait::Latch(command)));
        }
        let done = Response::Done(kv::Done {});
        if load.fill {
            let safe_point = self.gc_point(engine)?;
            if ts < safe_point {
                return Err(Refusal::new(Error::BelowGc(kv::BelowGc { safe_point: safe_point.0 })));
            }
            let rows = free(engine, &span, &load.rows)?;
            return Ok(match rows.is_empty() {
                true => Step::Done(done),
                false => Step::Propose(command(&rows, ts, id, done)),
            });
        }
        if mvcc::newest_version(engine, &first.key)?.is_some_and(|newest| newest.txn == id) {
            return Ok(Step::Done(done));
        }
        if let Some(taken) = first_taken(engine, &span, &load.rows)? {
            return Err(Refusal::new(Error::KeyExists(kv::KeyExists { key: taken.0 })));
        }
        Ok(Step::Propose(command(&load.rows, ts, id, done)))
    }
}

/// The rows, latched by the first and the last of them.
fn command(rows: &[kv::KeyValue], ts: Timestamp, id: TxnId, response: Response) -> Command {
    let mut ends = vec![key(&rows[0].key)];
    if rows.len() > 1 {
        ends.push(key(&rows[rows.len() - 1].key));
    }
    Command {
        batch: install(rows, ts, id),
        keys: ends,
        commits_from: ts,
        response,
        after: After::Nothing,
    }
}

/// The rows whose keys have no version.
fn free<'a>(
    engine: &dyn EngineRead,
    span: &KeyRange,
    rows: &'a [kv::KeyValue],
) -> Evaluated<Cow<'a, [kv::KeyValue]>> {
    if mvcc::is_empty(engine, span)? {
        return Ok(Cow::Borrowed(rows));
    }
    let mut free = Vec::with_capacity(rows.len());
    for row in rows {
        if mvcc::newest_ts(engine, &row.key)?.is_none() {
            free.push(row.clone());
        }
    }
    Ok(Cow::Owned(free))
}

/// The first row whose key has a version.
fn first_taken(
    engine: &dyn EngineRead,
    span: &KeyRange,
    rows: &[kv::KeyValue],
) -> Evaluated<Option<Key>> {
    if mvcc::is_empty(engine, span)? {
        return Ok(None);
    }
    for row in rows {
        if mvcc::newest_ts(engine, &row.key)?.is_some() {
            return Ok(Some(key(&row.key)));
        }
    }
    Ok(None)
}

fn install(rows: &[kv::KeyValue], ts: Timestamp, id: TxnId) -> WriteBatch {
    let bytes: usize = rows.iter().map(|row| row.key.len() + row.value.len() + ROW_OVERHEAD).sum();
    let mut batch = WriteBatch::with_capacity(bytes);
    for (place, row) in rows.iter().enumerate() {
        // All other rows name no load: the number that takes the least room.
        let by = if place == 0 { id } else { TxnId(ts.0) };
        mvcc::put_version(&mut batch, &row.key, ts, by, Some(&row.value));
    }
    batch
}
