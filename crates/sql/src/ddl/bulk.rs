//! Writing much data where nobody looks yet.
//!
//! The keys belong to an index id that no committed descriptor names, so the chunks can be
//! committed one by one by transactions of their own: no reader can tell, and memory holds a few
//! chunks only. If the statement fails, the span is emptied afterwards (`reclaim`).

use base::Key;
use bytes::Bytes;
use kv::{Db, KvError, TxnOptions};
use tokio::task::JoinSet;

use crate::SqlError;

/// Bytes of keys and values in one chunk: well within what one command can carry.
const CHUNK_BYTES: usize = 512 << 10;
/// Chunks under way at a time: the next is prepared while some are replicated.
const CHUNKS_IN_FLIGHT: usize = 4;
/// Runs of a chunk. Conflicts come only from ranges that split under it.
const ATTEMPTS_MAX: u32 = 20;

#[derive(Debug, Clone)]
struct Item {
    key: Key,
    value: Bytes,
    /// The key must be new.
    claims: bool,
}

/// Commits key-value pairs in chunks.
pub(crate) struct BulkWriter {
    db: Db,
    chunk: Vec<Item>,
    bytes: usize,
    running: JoinSet<Result<(), KvError>>,
    last: Option<Key>,
}

impl BulkWriter {
    pub(crate) fn new(db: Db) -> Self {
        BulkWriter { db, chunk: Vec::new(), bytes: 0, running: JoinSet::new(), last: None }
    }

    /// Adds a pair. A key that `claims` and exists is [`KvError::DuplicateKey`], sooner or later.
    pub(crate) async fn put(
        &mut self,
        key: Key,
        value: Bytes,
        claims: bool,
    ) -> Result<(), KvError> {
        self.bytes += key.0.len() + value.len();
        self.chunk.push(Item { key, value, claims });
        if self.bytes >= CHUNK_BYTES {
            self.start_chunk().await?;
        }
        Ok(())
    }

    async fn start_chunk(&mut self) -> Result<(), KvError> {
        while self.running.len() >= CHUNKS_IN_FLIGHT {
            self.join_one().await?;
        }
        let chunk = std::mem::take(&mut self.chunk);
        self.bytes = 0;
        if let Some(item) = chunk.last() {
            self.last = Some(item.key.clone());
        }
        self.running.spawn(write_chunk(self.db.clone(), chunk));
        Ok(())
    }

    async fn join_one(&mut self) -> Result<(), KvError> {
        match self.running.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(panic)) => Err(KvError::Invalid(panic.to_string())),
            None => Ok(()),
        }
    }

    /// Writes what is left and waits for all of it. Returns one of the keys written, if any was.
    pub(crate) async fn finish(mut self) -> Result<Option<Key>, KvError> {
        if !self.chunk.is_empty() {
            self.start_chunk().await?;
        }
        while !self.running.is_empty() {
            self.join_one().await?;
        }
        Ok(self.last)
    }
}

async fn write_chunk(db: Db, chunk: Vec<Item>) -> Result<(), KvError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let error = match try_chunk(&db, &chunk).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let again = matches!(error, KvError::Serialization { .. } | KvError::Restatement);
        if !again || attempt >= ATTEMPTS_MAX {
            return Err(error);
        }
    }
}

async fn try_chunk(db: &Db, chunk: &[Item]) -> Result<(), KvError> {
    let txn = db.begin(TxnOptions::default());
    txn.begin_statement().await?;
    for item in chunk {
        if item.claims {
            txn.insert(item.key.clone(), item.value.clone())?;
        } else {
            txn.put(item.key.clone(), item.value.clone())?;
        }
    }
    txn.commit().await?;
    Ok(())
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
