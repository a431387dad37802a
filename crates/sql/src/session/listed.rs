//! The session's named prepared statements, for `pg_prepared_statements`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pgtypes::EvalEnv;

use super::cache::Prepared;

/// A prepared statement, and how it came to be.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) prepared: Arc<Prepared>,
    /// Microseconds since 2000.
    pub(crate) since: i64,
    /// By PREPARE, not by the protocol.
    pub(crate) from_sql: bool,
}

/// Prepared statements by name. Views share the list of the named ones.
#[derive(Debug, Default)]
pub(super) struct Statements {
    all: HashMap<String, Arc<Prepared>>,
    named: Arc<BTreeMap<String, Listed>>,
}

impl Statements {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Prepared>> {
        self.all.get(name)
    }

    pub(super) fn put(&mut self, name: &str, prepared: Arc<Prepared>, from_sql: bool) {
        if !name.is_empty() {
            let since = EvalEnv::clock_micros();
            let listed = Listed { prepared: prepared.clone(), since, from_sql };
            Arc::make_mut(&mut self.named).insert(name.to_owned(), listed);
        }
        self.all.insert(name.to_owned(), prepared);
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Arc<Prepared>> {
        if !name.is_empty() {
            Arc::make_mut(&mut self.named).remove(name);
        }
        self.all.remove(name)
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.named = Arc::default();
    }

    pub(super) fn listed(&self) -> Arc<BTreeMap<String, Listed>> {
        self.named.clone()
    }
}
