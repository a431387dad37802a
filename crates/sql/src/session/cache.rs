//! Prepared statements: what they are, and the cache that all sessions of a node share.
//!
//! A statement is planned for one catalog version. A run that finds another one plans again; if
//! the result's shape has changed, the client is told (0A000), since it holds an old description.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use pgtypes::PgType;

use super::api::ResultColumn;
use super::script::Parsed;
use super::xact::XactId;
use crate::SqlError;
use crate::ir;
use crate::point::PointPlan;
use crate::privilege::Access;

/// A parsed and bound statement.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) text: Arc<str>,
    pub(crate) parsed: Parsed,
    params: Vec<PgType>,
    columns: Option<Arc<[ResultColumn]>>,
    /// The catalog version that parameters and columns were inferred from; `None`: from none.
    described: Option<u64>,
    /// The plan of the newest version that somebody planned for.
    current: RwLock<Option<Arc<Planned>>>,
}

/// A plan for one catalog version, and one set of settings that binding depends on.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) version: u64,
    pub(crate) context: Arc<str>,
    pub(crate) plan: Plan,
    /// Why the role may not run it: 42501.
    pub(crate) denied: Option<SqlError>,
    /// What it does with relations.
    pub(crate) accesses: Vec<Access>,
    /// Whether the id of the transaction is to be found first.
    pub(crate) xact_id: XactId,
}

/// How a statement is carried out.
#[derive(Debug)]
pub(crate) enum Plan {
    /// By key, without DataFusion.
    Point(Box<PointPlan>),
    /// By DataFusion, or a write that needs it to find its rows.
    Bound(Box<ir::Statement>),
}

impl Prepared {
    pub(crate) fn new(
        text: &str,
        parsed: Parsed,
        params: Vec<PgType>,
        columns: Option<Arc<[ResultColumn]>>,
    ) -> Self {
        let current = RwLock::new(None);
        let described = None;
        Prepared { text: text.into(), parsed, params, columns, described, current }
    }

    /// Says which catalog version it was described under.
    pub(crate) fn described_under(mut self, version: u64) -> Self {
        self.described = Some(version);
        self
    }

    /// Whether a new Parse of the text may get it: under another version the parameters may have
    /// other types and the result another shape, and running it could only fail.
    pub(crate) fn is_described_under(&self, version: u64) -> bool {
        self.described.is_none_or(|described| described == version)
    }

    /// Types of the parameters.
    #[must_use]
    pub fn params(&self) -> &[PgType] {
        &self.params
    }

    /// Columns of the result; `None` for a statement without rows.
    #[must_use]
    pub fn columns(&self) -> Option<&Arc<[ResultColumn]>> {
        self.columns.as_ref()
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn current(&self) -> Option<Arc<Planned>> {
        self.current.read().clone()
    }

    pub(crate) fn keep(&self, planned: Arc<Planned>) {
        *self.current.write() = Some(planned);
    }
}

/// What a cached statement is found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    pub(crate) text: Arc<str>,
    pub(crate) declared: Vec<Option<PgType>>,
    /// Settings that binding depends on.
    pub(crate) context: Arc<str>,
}

/// Statements by text.
#[derive(Debug)]
pub(crate) struct PlanCache {
    limit: usize,
    statements: RwLock<HashMap<CacheKey, Arc<Prepared>, ahash::RandomState>>,
}

impl PlanCache {
    pub(crate) fn new(limit: usize) -> Self {
        PlanCache { limit, statements: RwLock::default() }
    }

    pub(crate) fn get(&self, key: &CacheKey) -> Option<Arc<Prepared>> {
        self.statements.read().get(key).cloned()
    }

    pub(crate) fn put(&self, key: CacheKey, prepared: Arc<Prepared>) {
        let mut statements = self.statements.write();
        // Statements in use are kept alive by their sessions; a full cache starts anew rather than
        // pay for keeping track of what is used.
        if statements.len() >= self.limit {
            statements.clear();
        }
        statements.insert(key, prepared);
    }
}
