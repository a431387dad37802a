//! What a session does about tables that are closed to writers (`ddl::closing`): its own statement closes
//! some, and statements that write wait for those of others to open.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use catalog::succession::{Usage, writers_of};
use catalog::{CatalogSnapshot, TableId};
use kv::{Isolation, Txn};

use super::Session;
use crate::ddl::closing::{self, Closed};
use crate::privilege::{Access, Accessed};
use crate::{SqlError, SqlState};

impl Session {
    /// What stands for the running statement in the tables that it has closed, if it has.
    pub(crate) fn closing(&self) -> Option<u32> {
        self.tx.closed.as_ref().map(Closed::token)
    }

    /// Keeps tables closed until the transaction ends, over all of its runs.
    pub(crate) fn keep_closed(&mut self, closed: Closed) {
        self.tx.closed = Some(closed);
    }

    /// How long a lock is waited for.
    pub(crate) fn lock_timeout(&self) -> Option<Duration> {
        self.hot.lock_timeout
    }

    /// Waits while a table is closed that a statement is about to write, or to use in writing another. What
    /// it does with tables must not have been noted yet. True: time has passed, and it is to look at the
    /// catalog again.
    pub(crate) async fn heed_closing(
        &mut self,
        catalog: &Arc<CatalogSnapshot>,
        accesses: &[Access],
        txn: &Arc<Txn>,
    ) -> Result<bool, SqlError> {
        let closed = self.closed_to(catalog, accesses);
        let Some(written) = closed else { return Ok(false) };
        // Who has done nothing yet begins anew, and holds nothing meanwhile.
        let holds_locks = self.advisory.holds_any();
        let begins = self.tx.is_first_statement() && !holds_locks;
        if begins {
            txn.rollback_to_and_release(None).await?;
            self.restart_transaction(self.tx.block);
        }
        let own = self.closing();
        let out = |catalog: &CatalogSnapshot| closing::in_the_way(catalog, &written, own);
        let party = (self.engine.db.process().0.0, self.activity.snapshot().session);
        let holder = (!begins).then_some(party);
        let engine = self.engine.clone();
        let opened = closing::until_open(&engine, out, holder, self.lock_timeout()).await?;
        let Some(now) = opened else { return Ok(false) };
        if begins || self.tx.modes.isolation() == Isolation::ReadCommitted {
            let again = self.statement_txn().await?;
            assert!(Arc::ptr_eq(&again, txn), "a transaction that begins anew is the same");
            return Ok(true);
        }
        let mut usage = Usage::default();
        written.iter().for_each(|table| usage.note(*table, true));
        match usage.allows(catalog, &now) {
            true => Ok(false),
            false => Err(SqlError::new(
                SqlState::SERIALIZATION_FAILURE,
                "could not serialize access: a table was changed while it was closed",
            )),
        }
    }

    /// The tables that a statement writes, if that is to wait. Not if somebody waits for the transaction to
    /// end (C1), nor if the transaction has changed the catalog, which those who close tables need (C3).
    pub(super) fn closed_to(
        &self,
        catalog: &CatalogSnapshot,
        accesses: &[Access],
    ) -> Option<Vec<TableId>> {
        let newest = self.engine.catalog.cached();
        let known = [catalog, &newest];
        let nothing = known.iter().all(|catalog| catalog.closed_tables().next().is_none());
        if nothing || self.tx.changed_catalog {
            return None;
        }
        let written = accesses.iter().filter(|access| access.writes());
        let written = written.filter_map(|access| match access.relation {
            Accessed::Stored(id) => Some(id),
            Accessed::Computed { .. } => None,
        });
        let written: Vec<TableId> = written.collect();
        let own = self.closing();
        let waits = known.into_iter().any(|catalog| {
            let mut closed = catalog.closed_tables().map(|(table, _)| table.id);
            !closing::in_the_way(catalog, &written, own).is_empty()
                && !closed.any(|table| self.has_written(&writers_of(catalog, table)))
        });
        waits.then_some(written)
    }

    fn has_written(&self, tables: &BTreeSet<TableId>) -> bool {
        // What its first statement has noted came of a plan that turned out to be out of date.
        !self.tx.is_first_statement()
            && self.premise().is_some_and(|premise| premise.has_written(tables))
    }
}
