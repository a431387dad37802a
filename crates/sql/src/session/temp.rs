//! Temporary tables: descriptors that one session has, rows like any others.
//!
//! ```text
//!   catalog of the cluster ──┐
//!                            ├─▶ what the session sees: schema pg_temp among the others
//!   objects of the session ──┘
//! ```
//!
//! Their descriptors are in no range: making one changes nobody's catalog, and no other session can name
//! them. Their rows are where all rows are, so that transactions, savepoints and spilling need nothing of
//! their own. What is stored of a table ([`catalog::temporary`]) says whose it is, so that its rows go
//! when the process ends.
//!
//! # Invariants
//!
//! - **T1** The objects of a transaction become the session's when it commits, and are forgotten when it
//!   rolls back, to a savepoint too.
//! - **T2** A catalog with objects of a session is never published, and plans made under it are shared with
//!   nobody: their context says whose they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use catalog::{
    Acl, AclItem, CatalogSnapshot, Change, ObjectKind, Privileges, Schema, Sequence, Table,
    TableId, temporary,
};
use kv::TxnOptions;

use super::Session;
use crate::SqlError;

/// What their schema is called.
pub(crate) const TEMP_SCHEMA: &str = "pg_temp";

/// Whether a table is one of a session's own.
pub(crate) fn is_temporary_table(catalog: &CatalogSnapshot, table: &Table) -> bool {
    catalog.schema_by_id(table.schema).is_some_and(|schema| schema.name == TEMP_SCHEMA)
}

/// Tries to note, when a session ends, that its rows may go.
const ATTEMPTS: usize = 10;

/// What COMMIT does to a temporary table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnCommit {
    Preserve,
    Delete,
    Drop,
}

/// The temporary objects of a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct TempObjects {
    schema: Option<Schema>,
    tables: BTreeMap<TableId, (Arc<Table>, OnCommit)>,
    sequences: BTreeMap<u32, Arc<Sequence>>,
    /// Changes with them, and is never the same for two sets in one process.
    generation: u64,
}

static GENERATIONS: AtomicU64 = AtomicU64::new(1);

impl TempObjects {
    fn is_empty(&self) -> bool {
        self.schema.is_none()
    }

    /// What plans made under them say ([`Session::refresh_env`]).
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    fn changes(&self) -> Vec<Change> {
        let tables = self.tables.values().map(|(t, _)| Change::PutTable(Box::new((**t).clone())));
        let sequences =
            self.sequences.values().map(|s| Change::PutSequence(Box::new((**s).clone())));
        self.schema.iter().cloned().map(Change::PutSchema).chain(tables).chain(sequences).collect()
    }

    fn apply(&mut self, change: Change) {
        self.generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        match change {
            Change::PutSchema(schema) => self.schema = Some(schema),
            Change::PutTable(table) => {
                let kept = self.tables.get(&table.id).map_or(OnCommit::Preserve, |(_, on)| *on);
                self.tables.insert(table.id, (Arc::new(*table), kept));
            }
            Change::DropTable(id) => {
                self.tables.remove(&id);
            }
            Change::PutSequence(sequence) => {
                self.sequences.insert(sequence.id, Arc::new(*sequence));
            }
            Change::DropSequence(id) => {
                self.sequences.remove(&id);
            }
            _ => {}
        }
    }

    /// Whether a change is about one of these objects, or makes one.
    fn concerns(&self, change: &Change) -> bool {
        let schema = self.schema.as_ref().map(|s| s.id);
        match change {
            Change::PutSchema(s) => s.name == TEMP_SCHEMA,
            Change::PutTable(t) => Some(t.schema) == schema,
            Change::PutSequence(s) => Some(s.schema) == schema,
            Change::DropTable(id) => self.tables.contains_key(id),
            Change::DropSequence(id) => self.sequences.contains_key(id),
            _ => false,
        }
    }

    /// Whether a relation is one of these.
    pub(crate) fn has(&self, id: u32) -> bool {
        self.tables.contains_key(&id) || self.sequences.contains_key(&id)
    }
}

/// A catalog with the objects of a session, made once.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    made: parking_lot::Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    of: Arc<CatalogSnapshot>,
    generation: u64,
    with: Arc<CatalogSnapshot>,
}

impl Session {
    /// The temporary objects, as the transaction sees them.
    pub(crate) fn temp(&self) -> &Arc<TempObjects> {
        self.tx.temp.as_ref().unwrap_or(&self.temp)
    }

    /// A catalog of the cluster, with the session's objects.
    pub(crate) fn with_temp(&self, catalog: Arc<CatalogSnapshot>) -> Arc<CatalogSnapshot> {
        let temp = self.temp();
        if temp.is_empty() {
            return catalog;
        }
        let mut made = self.overlay.made.lock();
        if let Some(known) = &*made
            && Arc::ptr_eq(&known.of, &catalog)
            && known.generation == temp.generation
        {
            return known.with.clone();
        }
        let with = Arc::new(catalog.with(catalog.version(), temp.changes()));
        *made = Some(Made { of: catalog, generation: temp.generation, with: with.clone() });
        with
    }

    /// The catalog that the transaction sees; before it has looked, the newest this node knows.
    pub(crate) fn known_catalog(&self) -> Arc<CatalogSnapshot> {
        match &self.tx.catalog {
            Some(catalog) => catalog.clone(),
            None => self.with_temp(self.engine.catalog.cached()),
        }
    }

    /// The same without the session's objects (T2).
    pub(super) fn without_temp(&self, catalog: &Arc<CatalogSnapshot>) -> Arc<CatalogSnapshot> {
        let Some(schema) = catalog.schema(self.database, TEMP_SCHEMA).cloned() else {
            return catalog.clone();
        };
        let mut gone: Vec<Change> =
            catalog.tables_of(schema.id).map(|t| Change::DropTable(t.id)).collect();
        gone.extend(catalog.sequences_of(schema.id).map(|s| Change::DropSequence(s.id)));
        gone.push(Change::DropSchema(schema.id));
        Arc::new(catalog.with(catalog.version(), gone))
    }

    /// Carries out the changes that are about temporary objects, and returns the others.
    pub(crate) fn take_temp_changes(
        &mut self,
        changes: Vec<Change>,
    ) -> Result<(Vec<Change>, Vec<Change>), SqlError> {
        let mut next = TempObjects::clone(self.temp());
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for change in changes {
            if !next.concerns(&change) {
                others.push(change);
                continue;
            }
            let txn = self.tx.txn().expect("a statement that changes descriptors has begun");
            match &change {
                Change::PutTable(table) if !next.tables.contains_key(&table.id) => {
                    temporary::note(txn, table.id, self.engine.db.process())?;
                }
                Change::DropTable(id) => temporary::forget(txn, *id)?,
                _ => {}
            }
            next.apply(change.clone());
            own.push(change);
        }
        if !own.is_empty() {
            self.set_temp(next);
        }
        Ok((own, others))
    }

    fn set_temp(&mut self, next: TempObjects) {
        self.tx.temp = Some(Arc::new(next));
        self.env_generation = 0;
        self.refresh_env();
    }

    /// The schema of temporary objects, made if it is not there.
    pub(crate) fn temp_schema(&mut self, id: u32) -> Schema {
        if let Some(schema) = &self.temp().schema {
            return schema.clone();
        }
        let owner = self.authority().user();
        let name = TEMP_SCHEMA.to_owned();
        // The session's own, whatever SET ROLE makes of it.
        let everybody = AclItem {
            grantee: catalog::acl::PUBLIC,
            grantor: owner,
            privileges: ObjectKind::Schema.all(),
            grantable: Privileges::NONE,
        };
        let acl = Some(Acl::of(vec![everybody]));
        let schema = Schema { id, database: self.database, name, owner, acl, comment: None };
        let mut next = TempObjects::clone(self.temp());
        next.apply(Change::PutSchema(schema.clone()));
        self.set_temp(next);
        schema
    }

    /// Whether there is such a schema already.
    pub(crate) fn has_temp_schema(&self) -> bool {
        !self.temp().is_empty()
    }

    /// What COMMIT shall do to a table.
    pub(crate) fn set_on_commit(&mut self, table: TableId, on_commit: OnCommit) {
        let mut next = TempObjects::clone(self.temp());
        if let Some((_, kept)) = next.tables.get_mut(&table) {
            *kept = on_commit;
            self.set_temp(next);
        }
    }

    /// ON COMMIT DELETE ROWS and DROP, before the commit. A transaction that has not begun has left nothing.
    pub(super) async fn end_temp_rows(&mut self) -> Result<(), SqlError> {
        let Some(txn) = self.tx.txn().cloned() else { return Ok(()) };
        if self.temp().tables.values().all(|(_, on)| *on == OnCommit::Preserve) {
            return Ok(());
        }
        let mut next = TempObjects::clone(self.temp());
        let concerned: Vec<(Arc<Table>, OnCommit)> = next.tables.values().cloned().collect();
        let mut changed = false;
        for (table, on_commit) in concerned {
            match on_commit {
                OnCommit::Preserve => {}
                OnCommit::Drop => {
                    self.note_dropped(&table)?;
                    temporary::forget(&txn, table.id)?;
                    next.apply(Change::DropTable(table.id));
                    let owned = |s: &&Arc<Sequence>| s.owned_by.is_some_and(|(t, _)| t == table.id);
                    let owned: Vec<u32> =
                        next.sequences.values().filter(owned).map(|s| s.id).collect();
                    owned.into_iter().for_each(|id| next.apply(Change::DropSequence(id)));
                    changed = true;
                }
                OnCommit::Delete => {
                    // Nothing was written if nothing is there.
                    let options = kv::ScanOptions { max_rows: 1, ..kv::ScanOptions::default() };
                    if txn.scan(table.codec().span(), options).await?.rows.is_empty() {
                        continue;
                    }
                    self.note_dropped(&table)?;
                    let mut empty = Table::clone(&table);
                    crate::ddl::new_storage(self, &mut empty).await?;
                    next.apply(Change::PutTable(Box::new(empty)));
                    changed = true;
                }
            }
        }
        if changed {
            self.tx.temp = Some(Arc::new(next));
        }
        Ok(())
    }

    /// Drops all temporary objects: DISCARD TEMP, and the end of the session.
    pub(crate) async fn drop_temp(&mut self) {
        let temp = std::mem::take(&mut self.temp);
        self.tx.temp = None;
        self.env_generation = 0;
        self.refresh_env();
        let tables: Vec<TableId> = temp.tables.keys().copied().collect();
        let db = self.engine.db.clone();
        for _ in 0..ATTEMPTS {
            if tables.is_empty() {
                return;
            }
            let txn = db.begin(TxnOptions::default());
            let tried = async {
                txn.begin_statement().await?;
                for table in &tables {
                    temporary::drop_rows(&txn, *table)?;
                }
                txn.commit().await.map(drop)
            };
            match tried.await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "temporary tables are dropped again"),
            }
        }
    }
}
