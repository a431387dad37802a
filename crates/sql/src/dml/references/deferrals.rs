//! Checks of foreign keys that are put off, and what SET CONSTRAINTS said of them.

use std::collections::HashMap;

use base::Key;
use catalog::{Constraint, ForeignKey};
use parking_lot::Mutex;
use pgtypes::Datum;

/// Checks put off, and what SET CONSTRAINTS said.
#[derive(Debug, Default)]
pub(crate) struct Deferrals(Mutex<Put>);

#[derive(Debug, Default)]
struct Put {
    /// SET CONSTRAINTS ALL: deferred or not.
    all: Option<bool>,
    /// The same by the constraint's oid.
    named: HashMap<u32, bool>,
    pending: Vec<Check>,
}

impl Deferrals {
    /// SET CONSTRAINTS: of all (no names) or some.
    pub(crate) fn set(&self, constraints: Option<&[u32]>, deferred: bool) {
        let mut put = self.0.lock();
        match constraints {
            None => {
                put.all = Some(deferred);
                put.named.clear();
            }
            Some(oids) => put.named.extend(oids.iter().map(|oid| (*oid, deferred))),
        }
    }

    pub(super) fn is_deferred(&self, constraint: &Constraint, key: &ForeignKey) -> bool {
        if !key.deferrable {
            return false;
        }
        let put = self.0.lock();
        put.named.get(&constraint.oid).copied().or(put.all).unwrap_or(key.deferred)
    }

    /// Puts a check off.
    pub(super) fn put(&self, check: Check) {
        self.0.lock().pending.push(check);
    }

    /// Whether nothing is put off.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().pending.is_empty()
    }

    /// Takes the checks of some constraints, or of all.
    pub(crate) fn take(&self, constraints: Option<&[u32]>) -> Vec<Check> {
        let mut put = self.0.lock();
        let Some(oids) = constraints else { return std::mem::take(&mut put.pending) };
        let all = std::mem::take(&mut put.pending);
        let (taken, left) = all.into_iter().partition(|c| oids.contains(&c.constraint));
        put.pending = left;
        taken
    }
}

/// A check to be made.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    /// Oid of the constraint, and the table that has it.
    pub(super) constraint: u32,
    pub(super) table: u32,
    pub(super) what: Of,
}

#[derive(Debug, Clone)]
pub(super) enum Of {
    /// The row at the key refers to one that is there.
    Referring(Key),
    /// A key of the referenced table, in the order of the constraint: nobody refers to it unless a row
    /// has it.
    Referenced(Vec<Datum>),
}
