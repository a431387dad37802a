//! Emptying key spans that nothing refers to any more.
//!
//! The transaction that drops a table or index notes its spans ([`catalog::garbage`]). Every node sweeps
//! now and then: what it has known to be garbage since before the safe point of garbage collection, below
//! which no snapshot is read, is cleared, in one command per range however much there is, and the note is
//! taken back. Sweeping twice does no harm.
//!
//! What a failed load leaves behind was never seen by anybody and is cleared at once. A process that ends
//! before it is through leaves it: it takes space and is read by nobody, since ids are never used again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::{KeyRange, Timestamp};
use catalog::temporary::Process;
use catalog::{Index, Table, garbage};
use kv::{Db, TxnOptions};

use super::online::{is_left, take_back, unfinished};
use crate::SqlError;
use crate::session::{Engine, Session, catalog_error};

/// Between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// The keys of one index of a table.
pub(super) fn index_span(table: &Table, index: &Index) -> KeyRange {
    base::keyspace::index_prefix(table.id, index.id).prefix_range()
}

/// Tells below which point nobody reads any snapshot; nothing if that is not known.
type SafePoint = Box<dyn Fn() -> Option<Timestamp> + Send + Sync>;

/// Clears the data of what was dropped.
pub struct Reclaimer {
    engine: Arc<Engine>,
    safe_point: SafePoint,
    /// Since when each span is known to be garbage.
    known: BTreeMap<KeyRange, Timestamp>,
}

impl fmt::Debug for Reclaimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reclaimer").field("known", &self.known).finish_non_exhaustive()
    }
}

impl Reclaimer {
    /// Nothing is known to be garbage yet.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        safe_point: impl Fn() -> Option<Timestamp> + Send + Sync + 'static,
    ) -> Self {
        Reclaimer { engine, safe_point: Box::new(safe_point), known: BTreeMap::new() }
    }

    /// Sweeps for as long as it is polled.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            if let Err(error) = self.sweep().await {
                tracing::debug!(%error, "dropped data is left for the next sweep");
            }
        }
    }

    /// Clears what has been garbage for long enough. Returns how many spans.
    pub async fn sweep(&mut self) -> Result<usize, SqlError> {
        let safe_point = (self.safe_point)();
        self.drop_orphans().await?;
        let txn = self.engine.db().begin(TxnOptions::default());
        let now = txn.begin_statement().await?;
        let noted = garbage::list(&txn).await?;
        drop(txn);
        self.known.retain(|span, _| noted.contains(span));
        let mut cleared = 0;
        for span in noted {
            // The drop is committed by now: nobody who begins later refers to the span.
            let since = *self.known.entry(span.clone()).or_insert(now);
            if safe_point.is_none_or(|point| since > point) {
                continue;
            }
            self.engine.db().clear(span.clone(), since).await?;
            let txn = self.engine.db().begin(TxnOptions::default());
            txn.begin_statement().await?;
            garbage::forget(&txn, &span)?;
            txn.commit().await?;
            self.known.remove(&span);
            cleared += 1;
        }
        Ok(cleared)
    }
}

impl Reclaimer {
    /// Temporary tables of processes that have ended are dropped; what they had begun is taken back.
    async fn drop_orphans(&self) -> Result<(), SqlError> {
        let db = self.engine.db();
        let txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() });
        txn.begin_statement().await?;
        let noted = catalog::temporary::list(&txn).await?;
        let catalog = self.engine.catalog.snapshot(&txn).await.map_err(catalog_error)?;
        drop(txn);
        let mut processes = Processes { db, over: BTreeMap::new() };
        for (table, item, process) in unfinished(&catalog) {
            if is_left(&self.engine, table, item, process).await {
                take_back(&self.engine, table, item, process).await?;
            }
        }
        for (table, process) in noted {
            if processes.is_over(process).await {
                let txn = db.begin(TxnOptions::default());
                txn.begin_statement().await?;
                catalog::temporary::drop_rows(&txn, table)?;
                txn.commit().await?;
            }
        }
        Ok(())
    }
}

/// What is known of processes.
struct Processes<'a> {
    db: &'a Db,
    over: BTreeMap<Process, bool>,
}

impl Processes<'_> {
    async fn is_over(&mut self, process: Process) -> bool {
        if let Some(over) = self.over.get(&process) {
            return *over;
        }
        let over = self.db.is_over(process).await;
        self.over.insert(process, over);
        over
    }
}

impl Session {
    /// Clears, in the background, what a load that failed has left where nobody looks.
    pub(crate) fn clear_loaded(&self, spans: Vec<KeyRange>) {
        if spans.is_empty() {
            return;
        }
        let db = self.engine().db.clone();
        self.engine().db.spawn(async move {
            for span in spans {
                if let Err(error) = db.clear(span, Timestamp::ZERO).await {
                    tracing::warn!(%error, "what a failed statement had loaded is still there");
                }
            }
        });
    }

    /// All of a table's data goes when the transaction commits.
    pub(crate) fn note_dropped(&self, table: &Table) -> Result<(), SqlError> {
        let mut indexes = std::iter::once(&table.primary).chain(&table.indexes);
        indexes.try_for_each(|index| self.note_dropped_index(table, index))
    }

    /// An index's data goes when the transaction commits.
    pub(crate) fn note_dropped_index(&self, table: &Table, index: &Index) -> Result<(), SqlError> {
        self.note_dropped_span(&index_span(table, index))
    }
}
