//! Which changes of the catalog a transaction goes on beside: those of what it has not used, and those
//! within a step of what it has ([`catalog::succession`]).
//!
//! A transaction notes what its plans use, each under the catalog it was made for. When its commit, or its
//! snapshot that moves, finds a newer version of the catalog, the store asks here ([`kv::Judge`]); on another
//! answer than yes the transaction runs again, like after any other conflict.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::Timestamp;
use catalog::succession::Usage;
use catalog::{CatalogSnapshot, Table, TableId};
use futures::future::BoxFuture;
use kv::{Judge, TxnOptions};
use parking_lot::Mutex;

use super::temp::is_temporary_table;
use super::{Engine, catalog_of};
use crate::SqlError;
use crate::privilege::{Access, Accessed};

/// What a transaction has used of the catalog.
pub(crate) struct SchemaPremise {
    engine: Arc<Engine>,
    used: Mutex<Vec<(Arc<CatalogSnapshot>, Usage)>>,
    /// It stands at a later version than the transaction has read.
    moved: AtomicBool,
}

impl fmt::Debug for SchemaPremise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SchemaPremise").field(&self.used.lock().len()).finish()
    }
}

impl SchemaPremise {
    pub(crate) fn new(engine: &Arc<Engine>) -> Arc<SchemaPremise> {
        Arc::new(SchemaPremise {
            engine: Arc::clone(engine),
            used: Mutex::default(),
            moved: AtomicBool::new(false),
        })
    }

    /// Whether the catalog that statements go by has to be read again, since the premise has moved on to a
    /// later one, where nothing that comes is judged by the change.
    pub(super) fn take_moved(&self) -> bool {
        self.moved.swap(false, Ordering::Relaxed)
    }

    /// A statement does this with relations.
    pub(crate) fn note(&self, catalog: &Arc<CatalogSnapshot>, accesses: &[Access]) {
        let temporary =
            |id| catalog.table_by_id(id).is_some_and(|t| is_temporary_table(catalog, t));
        self.with_usage(catalog, |usage| {
            for access in accesses {
                match access.relation {
                    Accessed::Stored(id) if temporary(id) => {}
                    Accessed::Stored(id) => usage.note(id, access.writes()),
                    Accessed::Computed { .. } => usage.note_everything(),
                }
            }
        });
    }

    /// Rows are written to a table.
    pub(crate) fn note_written(&self, catalog: &Arc<CatalogSnapshot>, table: &Table) {
        if !is_temporary_table(catalog, table) {
            self.with_usage(catalog, |usage| usage.note(table.id, true));
        }
    }

    /// Whether rows of one of these tables are written.
    pub(super) fn has_written(&self, tables: &BTreeSet<TableId>) -> bool {
        let used = self.used.lock();
        let mut relations = used.iter().flat_map(|(_, usage)| usage.relations());
        relations.any(|(relation, written)| written && tables.contains(&relation))
    }

    /// A statement may depend on any descriptor.
    pub(crate) fn note_everything(&self, catalog: &Arc<CatalogSnapshot>) {
        self.with_usage(catalog, Usage::note_everything);
    }

    fn with_usage(&self, catalog: &Arc<CatalogSnapshot>, note: impl FnOnce(&mut Usage)) {
        let mut used = self.used.lock();
        let same =
            |(known, _): &&mut (Arc<CatalogSnapshot>, Usage)| known.version() == catalog.version();
        match used.iter_mut().rev().find(same) {
            Some((_, usage)) => note(usage),
            None => {
                let mut usage = Usage::default();
                note(&mut usage);
                used.push((Arc::clone(catalog), usage));
            }
        }
    }

    async fn still_stands(&self, at: Timestamp) -> Result<bool, SqlError> {
        let txn = self.engine.db.begin(TxnOptions { as_of: Some(at), ..TxnOptions::default() });
        txn.begin_statement().await?;
        let new = catalog_of(&self.engine, &txn).await?;
        Ok(self.used.lock().iter().all(|(old, usage)| usage.allows(old, &new)))
    }
}

impl Judge for SchemaPremise {
    fn uses(&self) -> Vec<proto::kv::SchemaUse> {
        let used = self.used.lock();
        let uses = used.iter().flat_map(|(catalog, usage)| {
            let version = catalog.version();
            usage.relations().map(move |(relation, written)| proto::kv::SchemaUse {
                relation,
                written,
                version,
            })
        });
        uses.collect()
    }

    fn stands(&self, at: Timestamp) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let stands = self.still_stands(at).await.unwrap_or_else(|error| {
                tracing::debug!(%error, "the catalog of a while ago can't be read");
                false
            });
            self.moved.fetch_or(stands, Ordering::Relaxed);
            stands
        })
    }
}
