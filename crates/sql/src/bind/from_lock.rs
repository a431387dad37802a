//! FOR UPDATE and FOR SHARE: which scans they mean. The session does the locking.

use std::sync::Arc;

use pgtypes::{PgType, TypeId};
use sqlparser::ast;

use super::{Binder, relation_name};
use crate::error::{SqlError, SqlState};
use crate::ir::{Join, LockStrength, LockWait, Rel, RowLock, Scan};

impl Binder<'_> {
    /// Puts row keys into the scans that the locking clauses mean.
    pub(crate) fn row_locks(
        &mut self,
        clauses: &[ast::LockClause],
        rel: &mut Rel,
    ) -> Result<Vec<RowLock>, SqlError> {
        let mut locks = Vec::new();
        for ast::LockClause { lock_type, of, nonblock } in clauses {
            let strength = match lock_type {
                ast::LockType::Update => LockStrength::Update,
                ast::LockType::Share => LockStrength::Share,
            };
            let wait = match nonblock {
                None => LockWait::Block,
                Some(ast::NonBlock::Nowait) => LockWait::NoWait,
                Some(ast::NonBlock::SkipLocked) => LockWait::SkipLocked,
            };
            let of = match of {
                None => None,
                Some(name) => Some(relation_name(name, &self.env.database)?.1),
            };
            let before = locks.len();
            let mut found = Vec::new();
            if own_scans(rel, &mut found) && of.is_none() {
                return Err(SqlError::unsupported(
                    "FOR UPDATE over a subquery, a view or a join with USING",
                ));
            }
            for scan in found {
                if of.as_deref().is_some_and(|of| of != &*scan.alias) {
                    continue;
                }
                let key = match &scan.row_key {
                    Some(key) => key.id,
                    None => {
                        let column = self.fresh("row key", PgType::new(TypeId::Bytea));
                        let id = column.id;
                        scan.row_key = Some(column);
                        id
                    }
                };
                locks.push(RowLock { table: Arc::clone(&scan.table), key, strength, wait });
            }
            if let (Some(of), true) = (of, locks.len() == before) {
                return Err(SqlError::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("relation \"{of}\" in FOR UPDATE clause not found in FROM clause"),
                ));
            }
        }
        Ok(locks)
    }
}

/// Scans of this FROM that rows can be locked through. Returns whether there are others, behind a
/// subquery or the like.
fn own_scans<'r>(rel: &'r mut Rel, found: &mut Vec<&'r mut Scan>) -> bool {
    match rel {
        Rel::Scan(scan) => {
            found.push(scan);
            false
        }
        Rel::Filter { input, .. } => own_scans(input, found),
        Rel::Join(join) => {
            let Join { left, right, .. } = &mut **join;
            let left = own_scans(left, found);
            own_scans(right, found) || left
        }
        Rel::OneRow | Rel::Virtual(_) | Rel::Values { .. } | Rel::Function(_) => false,
        _ => true,
    }
}
