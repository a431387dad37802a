//! What all sessions of a node share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use catalog::{Catalog, Role};
use kv::Db;
use pgtypes::EvalEnv;

use super::cache::PlanCache;
use super::sequence::Sequences;
use super::signals::Signals;
use crate::SqlError;
use crate::ddl::UnderWay;
use crate::exec::QueryEngine;
use crate::statistics::Statistics;

/// Limits of a node's SQL layer.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Statements kept in the shared cache.
    pub cached_statements: usize,
    /// How long a change of the schema waits for transactions that use what it changes.
    pub schema_change_patience: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig { cached_statements: 4_096, schema_change_patience: Duration::from_secs(60) }
    }
}

/// The SQL layer of one node.
pub struct Engine {
    pub(crate) db: Db,
    pub(crate) catalog: Catalog,
    pub(crate) plans: PlanCache,
    pub(crate) exec: Arc<QueryEngine>,
    pub(crate) sequences: Sequences,
    pub(crate) signals: Signals,
    pub(crate) statistics: Arc<Statistics>,
    pub(crate) patience: Duration,
    pub(crate) under_way: UnderWay,
    pub(crate) metrics: EngineMetrics,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("catalog", &self.catalog.cached().version()).finish()
    }
}

/// Counters of the SQL layer, for `/metrics`.
#[derive(Debug, Default)]
pub struct EngineMetrics {
    /// Statements run.
    pub statements: AtomicU64,
    /// Of these, on the point path.
    pub point_statements: AtomicU64,
    /// Runs repeated by the server because of a conflict.
    pub retries: AtomicU64,
    /// Statements planned (missing in the cache, or the catalog changed).
    pub plans: AtomicU64,
    /// Errors told to clients.
    pub errors: AtomicU64,
}

impl EngineMetrics {
    /// Name and value of each counter.
    #[must_use]
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        vec![
            ("sql_statements", get(&self.statements)),
            ("sql_point_statements", get(&self.point_statements)),
            ("sql_retries", get(&self.retries)),
            ("sql_plans", get(&self.plans)),
            ("sql_errors", get(&self.errors)),
        ]
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Engine {
    /// The SQL layer over a key-value store, whose memory its statements share.
    #[must_use]
    pub fn new(db: Db, config: EngineConfig) -> Arc<Engine> {
        let statistics = Arc::<Statistics>::default();
        let exec = QueryEngine::new(Arc::clone(db.memory()), Arc::clone(&statistics));
        let exec = exec.expect("built from memory alone");
        Arc::new(Engine {
            db,
            catalog: Catalog::default(),
            plans: PlanCache::new(config.cached_statements),
            exec,
            sequences: Sequences::default(),
            signals: Signals::default(),
            statistics,
            patience: config.schema_change_patience,
            under_way: UnderWay::default(),
            metrics: EngineMetrics::default(),
        })
    }

    /// The SCRAM-SHA-256 verifier of a role's password; `None` if there is no such role, or it has no
    /// password that is valid now.
    pub async fn password_of(&self, user: &str) -> Result<Option<String>, SqlError> {
        let catalog = super::current_catalog(self).await?;
        let now = EvalEnv::clock_micros();
        let valid = |role: &&Arc<Role>| role.valid_until.is_none_or(|until| now < until);
        Ok(catalog.role(user).filter(valid).and_then(|role| role.password.clone()))
    }

    /// Counters.
    #[must_use]
    pub fn metrics(&self) -> &EngineMetrics {
        &self.metrics
    }

    /// The store below.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }
}
