//! The catalog as one statement sees it: names along the search path, system views.

use std::sync::Arc;
use std::time::Duration;

use catalog::{CatalogSnapshot, DatabaseId};
use kv::AdvisoryLocks;

use super::Engine;
use super::cursor::CursorInfo;
use crate::ir::{CatalogView, Relation};
use crate::{SqlError, SqlState, sysviews};

/// What system views may ask of the session they run in.
#[derive(Debug)]
pub(crate) struct SessionInfo {
    pub(crate) engine: Arc<Engine>,
    pub(crate) advisory: Arc<AdvisoryLocks>,
    pub(crate) database: DatabaseId,
    pub(crate) database_name: String,
}

/// What a statement's views are computed from.
#[derive(Debug)]
pub(crate) struct ViewContext {
    pub(crate) info: Arc<SessionInfo>,
    pub(crate) catalog: Arc<CatalogSnapshot>,
    pub(crate) settings: Vec<(&'static str, String, &'static str)>,
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) cursors: Vec<CursorInfo>,
}

/// Names, as one statement sees them.
pub(crate) struct View<'a> {
    pub(crate) catalog: &'a CatalogSnapshot,
    pub(crate) database: DatabaseId,
    /// The search path, system schemas left out.
    pub(crate) path: Vec<String>,
}

impl View<'_> {
    fn in_schema(&self, schema: &str, name: &str) -> Option<Relation> {
        if let Some(view) = sysviews::find(schema, name) {
            return Some(view);
        }
        let schema = self.catalog.schema(self.database, schema)?;
        self.catalog.table(schema.id, name).map(|t| Relation::Table(t.clone()))
    }
}

impl CatalogView for View<'_> {
    fn relation(&self, schema: Option<&str>, name: &str) -> Result<Option<Relation>, SqlError> {
        if let Some(schema) = schema {
            if self.catalog.schema(self.database, schema).is_none() {
                return Err(SqlError::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("relation \"{schema}.{name}\" does not exist"),
                ));
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
