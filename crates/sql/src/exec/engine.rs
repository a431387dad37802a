//! What all statements of a node share: DataFusion's configuration, its optimizer rules, and the
//! memory that queries may use.
//!
//! One partition per plan: statements are many and cores few, so parallelism is between statements.
//! The analyzer is empty, because types are final before a plan is built.

use std::fmt;
use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;
use kv::MemoryBudget;

use super::pool::SharedPool;
use super::virtuals::Kept;
use crate::error::SqlError;
use crate::statistics::Statistics;

/// The node's planner and query memory.
pub struct QueryEngine {
    state: SessionState,
    pool: Arc<dyn MemoryPool>,
    kept: Kept,
    statistics: Arc<Statistics>,
}

impl fmt::Debug for QueryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryEngine").field("reserved", &self.pool.reserved()).finish()
    }
}

impl QueryEngine {
    /// An engine whose statements take their memory from `budget`; sorts and aggregates beyond their
    /// share spill to temporary files.
    pub(crate) fn new(
        budget: Arc<MemoryBudget>,
        statistics: Arc<Statistics>,
    ) -> Result<Arc<QueryEngine>, SqlError> {
        let memory = budget.limit();
        let pool: Arc<dyn MemoryPool> = Arc::new(SharedPool::new(budget));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::clone(&pool))
            .with_disk_manager_builder(
                DiskManagerBuilder::default().with_mode(DiskManagerMode::OsTmpDirectory),
            )
            .build_arc()?;
        let mut config = SessionConfig::new()
            .with_target_partitions(1)
            .with_batch_size(4_096)
            .with_collect_statistics(false)
            .with_information_schema(false);
        let options = config.options_mut();
        // It is about nullability alone, of which a constant condition tells the one less than the other.
        options.execution.skip_physical_aggregate_schema_check = true;
        // What a sort keeps for merging what it has spilled: by default more than a small node has.
        let to_merge = &mut options.execution.sort_spill_reservation_bytes;
        *to_merge = (*to_merge).min(memory / 8);
        options.optimizer.max_passes = 2;
        options.optimizer.skip_failed_rules = false;
        options.optimizer.repartition_aggregations = false;
        options.optimizer.repartition_joins = false;
        options.optimizer.repartition_sorts = false;
        options.optimizer.repartition_windows = false;
        options.optimizer.enable_round_robin_repartition = false;
        options.catalog.create_default_catalog_and_schema = false;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_analyzer_rules(Vec::new())
            .with_optimizer_rules(super::rules::rules())
            .with_query_planner(Arc::new(super::apply_exec::Planner))
            .with_physical_optimizer_rules(super::rules::physical_rules())
            .build();
        Ok(Arc::new(QueryEngine { state, pool, kept: Kept::default(), statistics }))
    }

    /// Rows of computed tables, for the next statement.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// What this node knows about tables.
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    pub(crate) fn state(&self) -> &SessionState {
        &self.state
    }

    /// Bytes queries hold at the moment.
    pub fn reserved(&self) -> usize {
        self.pool.reserved()
    }
}
