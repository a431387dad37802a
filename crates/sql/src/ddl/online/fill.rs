//! The entries of a new index for rows that were there before it.

use std::sync::Arc;

use base::{Key, KeyRange, Timestamp};
use bytes::Bytes;
use catalog::Table;
use kv::{KvError, ScanOptions, Txn, TxnOptions};

use crate::SqlError;
use crate::dml::codec_error;
use crate::indexed::with_computed;
use crate::session::Engine;

/// Bytes of rows read, and indexed, at a time.
const PAGE_BYTES: u64 = 512 << 10;

/// The entries of one index for the rows of its table.
pub(super) struct Entries<'a> {
    pub(super) engine: &'a Engine,
    pub(super) table: &'a Table,
    pub(super) position: usize,
}

/// Keys and values of entries, in key order.
type Page = Vec<(Key, Bytes)>;

impl Entries<'_> {
    /// Loads those of all rows, each page at a snapshot of its own.
    pub(super) async fn fill(&self) -> Result<(), SqlError> {
        let mut left = Some(self.table.codec().span());
        while let Some(span) = left {
            let (at, snapshot) = snapshot(self.engine).await?;
            let loaded = async {
                let (mut entries, rest) = self.page(&snapshot, span.clone()).await?;
                // Of two rows with one key of a unique index one has no entry of its own: found later.
                entries.dedup_by(|a, b| a.0 == b.0);
                if !entries.is_empty() {
                    self.engine.db.fill(entries, at).await.map_err(Failed::Kv)?;
                }
                Ok(rest)
            };
            left = match loaded.await {
                Ok(rest) => rest,
                // It took so long that the snapshot is gone.
                Err(Failed::Kv(KvError::SnapshotTooOld { .. })) => Some(span),
                Err(failed) => return Err(failed.into()),
            };
        }
        Ok(())
    }

    /// The key of an entry that is not its row's, if there is one.
    pub(super) async fn without_their_own(&self) -> Result<Option<Key>, SqlError> {
        let (_, snapshot) = snapshot(self.engine).await?;
        let mut left = Some(self.table.codec().span());
        while let Some(span) = left {
            let (entries, rest) = self.page(&snapshot, span).await?;
            let keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
            let found = snapshot.get_many(&keys).await?;
            let mut pairs = entries.into_iter().zip(found);
            if let Some(((key, _), _)) = pairs.find(|((_, own), found)| found.as_ref() != Some(own))
            {
                return Ok(Some(key));
            }
            left = rest;
        }
        Ok(None)
    }

    /// Entries of some rows, and where the others are.
    async fn page(
        &self,
        snapshot: &Txn,
        span: KeyRange,
    ) -> Result<(Page, Option<KeyRange>), Failed> {
        let options = ScanOptions { max_bytes: PAGE_BYTES, ..ScanOptions::default() };
        let page = snapshot.scan(span, options).await.map_err(Failed::Kv)?;
        let codec = self.table.codec();
        let index = &codec.indexes()[self.position];
        let failed = |e: catalog::CodecError| Failed::Sql(codec_error(&e, self.table));
        let mut entries = Vec::with_capacity(page.rows.len());
        for (key, value) in &page.rows {
            let row = codec.decode(key, value).map_err(failed)?;
            let row = with_computed(self.table, &row).map_err(Failed::Sql)?;
            let entry = codec.entry(index, key, &row).map_err(failed)?;
            entries.extend(entry.map(|entry| (entry.key, entry.value)));
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok((entries, page.resume))
    }
}

/// A snapshot of now, which no collection overtakes while it is read.
pub(in crate::ddl) async fn snapshot(engine: &Engine) -> Result<(Timestamp, Arc<Txn>), KvError> {
    let at = engine.db.now().await?;
    let txn = engine.db.begin(TxnOptions { as_of: Some(at), ..TxnOptions::default() });
    txn.begin_statement().await?;
    Ok((at, txn))
}

enum Failed {
    Kv(KvError),
    Sql(SqlError),
}

impl From<Failed> for SqlError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Kv(error) => error.into(),
            Failed::Sql(error) => error,
        }
    }
}
