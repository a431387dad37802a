//! Emptying key spans that nothing refers to any more.
//!
//! It happens in the background, in small transactions with pauses, so that dropping a large table
//! does not starve the statements that run. A process that ends before it is through leaves the
//! rest: garbage that takes space and is read by nobody, since index ids are never used again.

use std::time::Duration;

use base::{Key, KeyRange};
use catalog::{Index, Table};
use kv::{Db, KvError, ScanOptions, TxnOptions};

use crate::session::Session;

/// Rows deleted by one transaction.
const ROWS: u64 = 1_000;
/// Pause between two: about a tenth of what one connection can write.
const PAUSE: Duration = Duration::from_millis(50);
/// Failures after which the rest is left.
const FAILURES_MAX: u32 = 10;

/// The keys of one index of a table.
pub(super) fn index_span(table: &Table, index: &Index) -> KeyRange {
    base::keyspace::index_prefix(table.id, index.id).prefix_range()
}

async fn empty(db: &Db, span: KeyRange) {
    let mut left = Some(span);
    let mut failures = 0;
    while let Some(span) = left.clone() {
        match delete_some(db, span).await {
            Ok(rest) => left = rest,
            Err(error) => {
                failures += 1;
                if failures > FAILURES_MAX {
                    tracing::warn!(%error, "a dropped index was not emptied");
                    return;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn delete_some(db: &Db, span: KeyRange) -> Result<Option<KeyRange>, KvError> {
    let txn = db.begin(TxnOptions::default());
    txn.begin_statement().await?;
    let options = ScanOptions { max_rows: ROWS, ..ScanOptions::default() };
    let page = txn.scan(span, options).await?;
    let keys: Vec<Key> = page.rows.into_iter().map(|(key, _)| key).collect();
    for key in keys {
        txn.delete(key)?;
    }
    txn.commit().await?;
    Ok(page.resume)
}

impl Session {
    /// Empties spans in the background.
    pub(crate) fn reclaim(&self, spans: Vec<KeyRange>) {
        if spans.is_empty() {
            return;
        }
        let db = self.engine().db.clone();
        tokio::spawn(async move {
            for span in spans {
                empty(&db, span).await;
            }
        });
    }

    /// All of a table's data goes when the transaction commits.
    pub(crate) fn note_dropped(&mut self, table: &Table) {
        for index in std::iter::once(&table.primary).chain(&table.indexes) {
            self.note_dropped_span(index_span(table, index));
        }
    }

    /// An index's data goes when the transaction commits.
    pub(crate) fn note_dropped_index(&mut self, table: &Table, index: &Index) {
        self.note_dropped_span(index_span(table, index));
    }
}
