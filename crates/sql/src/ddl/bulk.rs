//! Writing much data where nobody looks yet.
//!
//! The keys belong to an index id that no committed descriptor names, so the chunks are loaded one by
//! one, without locks, at the snapshot of the transaction that will name it: no reader can tell, and
//! memory holds a few chunks only. If the statement fails, the span is emptied afterwards (`reclaim`).

use base::{Key, Timestamp};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kv::{Db, KvError};

use super::beside::{self, Awaited};
use crate::SqlError;

/// Bytes of keys and values in one chunk: well within what one command can carry.
const CHUNK_BYTES: usize = 512 << 10;
/// Chunks under way at a time: the next is prepared while some are replicated.
const CHUNKS_IN_FLIGHT: usize = 4;

/// Loads key-value pairs in chunks. Every key must be new.
pub(crate) struct BulkWriter {
    db: Db,
    ts: Timestamp,
    chunk: Vec<(Key, Bytes)>,
    bytes: usize,
    running: FuturesUnordered<Awaited<()>>,
}

impl BulkWriter {
    /// What is written is visible from `ts` on, once somebody knows where to look.
    pub(crate) fn new(db: Db, ts: Timestamp) -> Self {
        BulkWriter { db, ts, chunk: Vec::new(), bytes: 0, running: FuturesUnordered::new() }
    }

    /// Adds a pair. A key that exists is [`KvError::DuplicateKey`], sooner or later.
    pub(crate) async fn put(&mut self, key: Key, value: Bytes) -> Result<(), KvError> {
        self.bytes += key.0.len() + value.len();
        self.chunk.push((key, value));
        if self.bytes >= CHUNK_BYTES {
            self.start_chunk().await?;
        }
        Ok(())
    }

    async fn start_chunk(&mut self) -> Result<(), KvError> {
        while self.running.len() >= CHUNKS_IN_FLIGHT {
            self.join_one().await?;
        }
        let mut chunk = std::mem::take(&mut self.chunk);
        self.chunk.reserve(chunk.len());
        self.bytes = 0;
        let (db, ts) = (self.db.clone(), self.ts);
        let load = async move {
            if !chunk.is_sorted_by(|a, b| a.0 < b.0) {
                chunk.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                if let Some(pair) = chunk.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                    return Err(KvError::DuplicateKey { key: pair[0].0.clone() });
                }
            }
            db.load(chunk, ts).await
        };
        self.running.push(beside::begin(&self.db, load));
        Ok(())
    }

    async fn join_one(&mut self) -> Result<(), KvError> {
        self.running.next().await.map_or(Ok(()), beside::end)
    }

    /// Writes what is left and waits for all of it.
    pub(crate) async fn finish(mut self) -> Result<(), KvError> {
        if !self.chunk.is_empty() {
            self.start_chunk().await?;
        }
        while !self.running.is_empty() {
            self.join_one().await?;
        }
        Ok(())
    }
}

/// 23505 of a rebuild: the rows were there before, the constraint is new.
pub(super) fn duplicated(error: SqlError) -> SqlError {
    if error.code() != crate::SqlState::UNIQUE_VIOLATION {
        return error;
    }
    let index = error.fields().constraint.clone().unwrap_or_default();
    let detail = error.fields().detail.as_deref().unwrap_or_default();
    let detail = detail.replace("already exists", "is duplicated");
    SqlError::new(error.code(), format!("could not create unique index \"{index}\""))
        .detail(detail)
        .constraint(index)
}
