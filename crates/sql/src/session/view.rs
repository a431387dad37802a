//! The catalog as one statement sees it: names along the search path, system views.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use catalog::{CatalogSnapshot, DatabaseId, Privileges, Table};
use kv::AdvisoryLocks;
use parking_lot::Mutex;

use super::Engine;
use super::config::Assignment;
use super::cursor::CursorInfo;
use super::listed::Listed;
use super::sequence_calls::{SequenceCalls, SessionSequences};
use crate::ir::{CatalogView, Relation};
use crate::privilege::{Authority, Object};
use crate::sysviews::SequenceTable;
use crate::{SqlError, SqlState, sysviews};

/// What system views may ask of the session they run in.
#[derive(Debug)]
pub(crate) struct SessionInfo {
    pub(crate) engine: Arc<Engine>,
    pub(crate) advisory: Arc<AdvisoryLocks>,
    pub(crate) sequences: SessionSequences,
    pub(crate) database: DatabaseId,
    pub(crate) database_name: String,
    /// What a statement had to say besides its result.
    pub(crate) warnings: Mutex<Vec<SqlError>>,
    /// What its calls of `set_config` said.
    pub(crate) assignments: Mutex<Vec<Assignment>>,
}

impl SessionInfo {
    /// Remembers a warning until the statement ends.
    pub(crate) fn warn(&self, warning: SqlError) {
        self.warnings.lock().push(warning);
    }
}

/// What a statement's views are computed from.
#[derive(Debug)]
pub(crate) struct ViewContext {
    pub(crate) info: Arc<SessionInfo>,
    pub(crate) catalog: Arc<CatalogSnapshot>,
    pub(crate) settings: Vec<(&'static str, String, &'static str)>,
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) cursors: Vec<CursorInfo>,
    /// What the role may do that asks.
    pub(crate) authority: Arc<Authority>,
    pub(crate) prepared: Arc<BTreeMap<String, Listed>>,
}

impl ViewContext {
    /// Sequence functions, on behalf of a transaction.
    pub(crate) fn sequence_calls(&self, read_only: bool) -> SequenceCalls<'_> {
        let engine = &self.info.engine;
        SequenceCalls::new(
            &engine.db,
            &engine.sequences,
            &self.info.sequences,
            &self.catalog,
            read_only,
        )
    }
}

/// Names, as one statement sees them.
pub(crate) struct View<'a> {
    pub(crate) catalog: &'a CatalogSnapshot,
    pub(crate) database: DatabaseId,
    /// The search path, system schemas left out.
    pub(crate) path: Vec<String>,
    /// Whose names they are: schemas it may not use are passed over. `None`: of what is stored, where
    /// all was looked up before.
    authority: Option<Arc<Authority>>,
}

impl<'a> View<'a> {
    /// As a session sees them.
    pub(crate) fn of_session(
        catalog: &'a CatalogSnapshot,
        database: DatabaseId,
        mut path: Vec<String>,
        authority: &Arc<Authority>,
    ) -> Self {
        if !authority.is_superuser() {
            let usable = |schema: &Arc<catalog::Schema>| {
                authority.may(&Object::from(&**schema), Privileges::USAGE)
            };
            path.retain(|name| catalog.schema(database, name).is_none_or(usable));
        }
        View { catalog, database, path, authority: Some(authority.clone()) }
    }

    /// For expressions stored with a table: they name objects by oid.
    pub(crate) fn of_table(catalog: &'a CatalogSnapshot, table: &Table) -> Self {
        let database = catalog.schema_by_id(table.schema).map_or(0, |s| s.database);
        View { catalog, database, path: Vec::new(), authority: None }
    }
}

impl View<'_> {
    fn in_schema(&self, schema: &str, name: &str) -> Option<Relation> {
        if let Some(view) = sysviews::find(schema, name) {
            return Some(view);
        }
        let schema = self.catalog.schema(self.database, schema)?;
        if let Some(table) = self.catalog.table(schema.id, name) {
            return Some(Relation::Table(table.clone()));
        }
        if let Some(view) = self.catalog.view(schema.id, name) {
            return Some(Relation::View(view.clone()));
        }
        let sequence = self.catalog.sequence(schema.id, name)?;
        Some(Relation::Virtual(Arc::new(SequenceTable::new(schema.name.clone(), sequence.clone()))))
    }
}

impl CatalogView for View<'_> {
    fn enum_type(&self, schema: Option<&str>, name: &str) -> Option<pgtypes::PgType> {
        let find = |schema: &str| {
            let schema = self.catalog.schema(self.database, schema)?;
            let found = self.catalog.enum_type(schema.id, name)?;
            Some(pgtypes::PgType::enumeration(found.id))
        };
        match schema {
            Some(schema) => find(schema),
            None => self.path.iter().find_map(|schema| find(schema)),
        }
    }

    fn under(&self, path: &[String]) -> Box<dyn CatalogView + '_> {
        Box::new(View {
            catalog: self.catalog,
            database: self.database,
            path: path.to_vec(),
            authority: None,
        })
    }

    fn relation(&self, schema: Option<&str>, name: &str) -> Result<Option<Relation>, SqlError> {
        if let Some(schema) = schema {
            let Some(found) = self.catalog.schema(self.database, schema) else {
                return Err(SqlError::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("relation \"{schema}.{name}\" does not exist"),
                ));
            };
            if let Some(authority) = &self.authority {
                authority.demand(&**found, Privileges::USAGE)?;
            }
            return Ok(self.in_schema(schema, name));
        }
        // pg_catalog comes first unless the path names it, as in PostgreSQL.
        if !self.path.iter().any(|s| s == "pg_catalog")
            && let Some(found) = self.in_schema("pg_catalog", name)
        {
            return Ok(Some(found));
        }
        Ok(self.path.iter().find_map(|schema| self.in_schema(schema, name)))
    }
}
