//! The id of the transaction (`pg_current_xact_id()`): found before a statement that asks for it runs.
//!
//! As in PostgreSQL a transaction has one from when it asks for it, or has written or locked something.
//! Here nobody could ask about it before the client was told; so that is when it is announced
//! (`kv::xact`), at the price of a commit.

use std::sync::Arc;

use catalog::Table;
use kv::Txn;

use super::Session;
use crate::SqlError;
use crate::ir::{Rel, Scalar, Statement};

/// What a statement has to do with its transaction's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum XactId {
    /// Nothing.
    #[default]
    Unused,
    /// It wants to know it, if there is one.
    IfAssigned,
    /// It needs one.
    Needed,
}

impl XactId {
    fn named(function: &str) -> XactId {
        match function {
            "pg_current_xact_id" | "txid_current" => XactId::Needed,
            "pg_current_xact_id_if_assigned" | "txid_current_if_assigned" => XactId::IfAssigned,
            _ => XactId::Unused,
        }
    }

    /// In a query.
    pub(crate) fn in_rel(rel: &Rel) -> XactId {
        let mut found = XactId::Unused;
        rel.any_scalar(&mut |node| found.is_found_in(node));
        found
    }

    /// In a statement, the defaults of its table included.
    pub(crate) fn in_statement(statement: &Statement) -> XactId {
        let mut found = XactId::Unused;
        statement.any_scalar(&mut |node| found.is_found_in(node));
        found.max(XactId::in_tables(statement))
    }

    /// In the defaults of what a statement writes.
    fn in_tables(statement: &Statement) -> XactId {
        match statement {
            Statement::Insert(insert) => XactId::in_defaults(&insert.table),
            Statement::Update(update) => XactId::in_defaults(&update.target.table),
            Statement::With(with) => {
                let parts = with.parts.iter().map(|part| XactId::in_tables(&part.statement));
                parts.fold(XactId::in_tables(&with.main), XactId::max)
            }
            Statement::Explain(explain) => XactId::in_tables(&explain.statement),
            Statement::Query(_) | Statement::Delete(_) | Statement::Utility(_) => XactId::Unused,
        }
    }

    /// In the defaults of a table's columns, which are kept as text.
    pub(crate) fn in_defaults(table: &Table) -> XactId {
        let mut defaults = table.columns.iter().filter_map(|column| column.default.as_deref());
        let asks = |text: &str| {
            let text = text.to_ascii_lowercase();
            text.contains("current_xact_id") || text.contains("txid_current")
        };
        if defaults.any(asks) { XactId::Needed } else { XactId::Unused }
    }

    /// Takes an expression in; whether all is known.
    fn is_found_in(&mut self, node: &Scalar) -> bool {
        if let Scalar::Call { func, .. } = node {
            *self = (*self).max(XactId::named(func.name));
        }
        *self == XactId::Needed
    }
}

impl Session {
    /// Makes the id known to what is about to be evaluated.
    pub(crate) async fn find_xact_id(
        &mut self,
        wanted: XactId,
        txn: &Arc<Txn>,
    ) -> Result<(), SqlError> {
        let assigned = txn.assigned_xact_id().is_some();
        let id = match wanted {
            XactId::Unused => return Ok(()),
            XactId::IfAssigned if !assigned && !txn.has_writes() && !txn.has_locks() => None,
            XactId::IfAssigned | XactId::Needed => Some(txn.xact_id().await?.0),
        };
        Arc::make_mut(&mut self.env).xact_id = id;
        Ok(())
    }
}
