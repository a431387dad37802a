//! What DDL and COPY may do with a session: its transaction, its catalog, and the memory of what
//! was loaded or dropped.

use std::sync::Arc;

use base::KeyRange;
use catalog::{CatalogSnapshot, DatabaseId, Table};
use futures::future::BoxFuture;
use kv::{Txn, TxnOptions};

use super::premise::SchemaPremise;
use super::transaction::Block;
use super::{Engine, SequenceCalls, Session, SessionInfo, TEMP_SCHEMA, catalog_error};
use crate::dml::{Deferrals, References};
use crate::{SqlError, SqlState};

impl Session {
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(crate) fn database(&self) -> DatabaseId {
        self.database
    }

    /// Where relations are looked for: temporary ones first, unless the path says otherwise.
    pub(crate) fn search_path(&self) -> Vec<String> {
        let mut path = self.settings.search_path();
        if self.has_temp_schema() && !path.iter().any(|schema| schema == TEMP_SCHEMA) {
            path.insert(0, TEMP_SCHEMA.to_owned());
        }
        path
    }

    /// Where new relations go: the first of these schemas that exists.
    pub(crate) fn creation_path(&self) -> Vec<String> {
        self.settings.search_path()
    }

    /// What the transaction sees of temporary objects has changed, and nothing else of the catalog.
    pub(crate) fn set_temp_catalog(&mut self, catalog: Arc<CatalogSnapshot>) {
        self.tx.catalog = Some(catalog);
    }

    /// What views may ask of the session.
    pub(crate) fn info(&self) -> &Arc<SessionInfo> {
        &self.info
    }

    /// Checks of constraints put off to the end of the transaction.
    pub(crate) fn deferrals(&self) -> &Arc<Deferrals> {
        &self.tx.deferrals
    }

    /// Makes the checks that were put off, of some constraints or of all.
    pub(crate) async fn check_deferred(
        &mut self,
        constraints: Option<&[u32]>,
    ) -> Result<(), SqlError> {
        if self.tx.deferrals.is_empty() {
            return Ok(());
        }
        let txn = self.statement_txn().await?;
        let catalog = self.visible_catalog(&txn).await?;
        let checks = self.tx.deferrals.take(constraints);
        self.referee(&txn, &catalog, |references| Box::pin(references.check_now(checks))).await
    }

    /// Lets `work` ask about foreign keys.
    pub(crate) async fn referee<T>(
        &self,
        txn: &Arc<Txn>,
        catalog: &CatalogSnapshot,
        work: impl for<'a> FnOnce(&'a References<'a>) -> BoxFuture<'a, Result<T, SqlError>>,
    ) -> Result<T, SqlError> {
        let engine = &self.engine;
        let own = &self.info.sequences;
        let sequences = SequenceCalls::new(&engine.db, &engine.sequences, own, catalog, false);
        let references = References {
            db: &engine.db,
            txn,
            env: &self.env,
            catalog,
            deferrals: &self.tx.deferrals,
            sequences: &sequences,
        };
        work(&references).await
    }

    /// Begins what an utility statement needs that reads descriptors.
    pub(crate) fn begin_statement(&mut self) {
        self.refresh_env();
        self.begin_implicit();
        self.tick();
    }

    /// The key-value transaction, with a statement begun in it.
    pub(crate) async fn statement_txn(&mut self) -> Result<Arc<Txn>, SqlError> {
        self.tx.statement(&self.engine, &self.activity, self.hot.lock_timeout).await
    }

    /// A transaction apart from the session's, for what is committed before the statement ends.
    pub(crate) async fn own_txn(&self) -> Result<Arc<Txn>, SqlError> {
        let txn = self.engine.db.begin(TxnOptions::default());
        txn.attach(&self.activity);
        txn.set_lock_timeout(self.hot.lock_timeout);
        txn.begin_statement().await?;
        Ok(txn)
    }

    /// Whether the running statement is a transaction by itself.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone && self.is_lone()
    }

    /// Whether the running statement is the first of an implicit transaction.
    pub(crate) fn is_lone(&self) -> bool {
        self.tx.block == Block::Implicit && self.tx.is_first_statement()
    }

    /// The catalog this transaction has changed, if it has.
    pub(crate) fn own_catalog(&self) -> Option<Arc<CatalogSnapshot>> {
        self.tx.catalog.clone().filter(|_| self.tx.changed_catalog)
    }

    /// This transaction has changed the catalog: it sees `catalog` from here on.
    pub(crate) fn set_own_catalog(&mut self, catalog: Arc<CatalogSnapshot>) {
        self.tx.catalog = Some(catalog);
        self.tx.changed_catalog = true;
    }

    /// The catalog as the transaction sees it. What is used of it is to be noted ([`Session::premise`]).
    pub(crate) async fn visible_catalog(
        &mut self,
        txn: &Arc<Txn>,
    ) -> Result<Arc<CatalogSnapshot>, SqlError> {
        if let Some(catalog) = &self.tx.catalog {
            return Ok(catalog.clone());
        }
        let catalog = self.engine.catalog.snapshot(txn).await.map_err(catalog_error)?;
        let catalog = self.with_temp(catalog);
        self.tx.catalog = Some(catalog.clone());
        Ok(catalog)
    }

    /// Where the transaction notes what it uses of the catalog. None before it has begun, and if it has
    /// changed the catalog, which then nobody else does.
    pub(crate) fn premise(&self) -> Option<&SchemaPremise> {
        self.tx.premise.as_deref().filter(|_| !self.tx.changed_catalog)
    }

    /// Whether a transaction block is open.
    pub(crate) fn in_block(&self) -> bool {
        self.tx.block == Block::Explicit
    }

    /// The name of a relation as a message says it: with its schema where that is not on the path.
    pub(crate) fn relation_shown(&self, catalog: &CatalogSnapshot, id: u32) -> String {
        let (schema, name) =
            match (catalog.table_by_id(id), catalog.view_by_id(id), catalog.sequence_by_id(id)) {
                (Some(table), ..) => (table.schema, table.name.as_str()),
                (_, Some(view), _) => (view.schema, view.name.as_str()),
                (.., Some(sequence)) => (sequence.schema, sequence.name.as_str()),
                _ => return id.to_string(),
            };
        let schema = catalog.schema_by_id(schema).map_or("", |s| s.name.as_str());
        let name = crate::sysviews::quote(name);
        match self.search_path().iter().any(|s| s == schema) {
            true => name,
            false => format!("{}.{name}", crate::sysviews::quote(schema)),
        }
    }

    /// 25001 inside a transaction block.
    pub(crate) fn refuse_in_block(&self, what: &str) -> Result<(), SqlError> {
        if self.tx.block == Block::Explicit {
            return Err(SqlError::new(
                SqlState::ACTIVE_SQL_TRANSACTION,
                format!("{what} cannot run inside a transaction block"),
            ));
        }
        Ok(())
    }

    /// The table's rows are where only this transaction looks: see [`Session::may_load`].
    pub(crate) fn mark_fresh(&mut self, table: &Table) {
        self.tx.fresh.insert((table.id, table.primary.id));
    }

    /// Whether rows for the table may be written by transactions of their own: nobody else knows
    /// where they are, and no savepoint could bring the table back without them.
    pub(crate) fn may_load(&self, table: &Table) -> bool {
        self.tx.fresh.contains(&(table.id, table.primary.id)) && !self.tx.has_savepoints()
    }

    /// A span is being filled outside of the transaction: to be emptied if it rolls back.
    pub(crate) fn note_loaded(&mut self, span: KeyRange) {
        self.tx.loaded.push(span);
    }

    /// A span that nothing refers to once the transaction has committed. Noted among its writes, so
    /// that ROLLBACK TO SAVEPOINT takes it back with the drop.
    pub(crate) fn note_dropped_span(&self, span: &KeyRange) -> Result<(), SqlError> {
        let txn = self.tx.txn().expect("a statement that drops has begun");
        Ok(catalog::garbage::note(txn, span)?)
    }
}
