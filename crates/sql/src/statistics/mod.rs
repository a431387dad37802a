//! What this node knows about tables, for its plans.
//!
//! ```text
//!   ANALYZE, or many writes ──▶ collect ──▶ catalog::statistics ──▶ every node's `Statistics`
//!                                 a sample                            │
//!                                                                     ▼
//!                                    which index (`exec::access`), which side of a join, pg_stats
//! ```
//!
//! Estimates decide nothing but speed, so nodes learn of new ones within seconds, not at once.

mod collect;
mod estimate;
mod keep;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use catalog::{CatalogSnapshot, Table, TableId};
use parking_lot::{Mutex, RwLock};

pub(crate) use collect::analyze;
pub(crate) use estimate::{TableEstimates, UNKNOWN_DISTINCT, UNKNOWN_ROWS, unknown_rows};
pub use keep::Keeper;

/// The statistics that a node knows, and what its statements have written since.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    tables: RwLock<HashMap<TableId, Arc<TableEstimates>, ahash::RandomState>>,
    written: RwLock<HashMap<TableId, AtomicU64, ahash::RandomState>>,
    version: Mutex<Option<Bytes>>,
    generation: AtomicU64,
}

impl Statistics {
    /// Those of a table, if there are any.
    pub(crate) fn of(&self, table: TableId) -> Option<Arc<TableEstimates>> {
        self.tables.read().get(&table).cloned()
    }

    /// Another number after every change.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn keep(&self, table: TableId, estimates: TableEstimates) {
        self.tables.write().insert(table, Arc::new(estimates));
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts rows that a statement of this node has written.
    pub(crate) fn note_written(&self, table: TableId, rows: u64) {
        if let Some(count) = self.written.read().get(&table) {
            count.fetch_add(rows, Ordering::Relaxed);
            return;
        }
        self.written.write().entry(table).or_default().fetch_add(rows, Ordering::Relaxed);
    }

    /// Rows written by this node since it last analyzed the table.
    pub(crate) fn written(&self, table: TableId) -> u64 {
        self.written.read().get(&table).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// The same, of all tables of the catalog that it has written to; the others are forgotten.
    fn all_written(&self, catalog: &CatalogSnapshot) -> Vec<(Arc<Table>, u64)> {
        let mut all = Vec::new();
        self.written.write().retain(|id, count| {
            let table = catalog.table_by_id(*id);
            all.extend(table.map(|table| (Arc::clone(table), count.load(Ordering::Relaxed))));
            table.is_some()
        });
        all
    }
}
