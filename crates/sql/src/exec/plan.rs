//! From a bound relation to a physical plan, ready to run.

use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use pgtypes::PgType;

use super::inits;
use super::rows::Rows;
use super::ExecContext;
use crate::error::{SqlError, SqlState};
use crate::ir::{Query, Rel};
use crate::lower::Lowerer;

/// A physical plan.
#[derive(Debug)]
pub struct Planned {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    types: Vec<PgType>,
}

/// Plans a query, running its uncorrelated subqueries.
pub async fn plan(ctx: &ExecContext, query: &Query) -> Result<Planned, SqlError> {
    plan_rel(ctx, &query.rel).await
}

/// Plans a relation, running its uncorrelated subqueries.
pub async fn plan_rel(ctx: &ExecContext, rel: &Rel) -> Result<Planned, SqlError> {
    let rel = inits::run(ctx, rel).await?;
    let computed = inits::computed(ctx, &rel).await?;
    let mut lowerer = Lowerer::new(ctx, &computed);
    let logical = lowerer.plan(&rel)?;
    let correlated = lowerer.correlated;
    let refused = |error: SqlError| {
        // What the optimizer could not decorrelate fails as some internal complaint.
        let ours = matches!(error.code(), SqlState::INTERNAL_ERROR | SqlState::FEATURE_NOT_SUPPORTED);
        if correlated && ours {
            return SqlError::unsupported("a correlated subquery of this shape")
                .detail(error.message().to_owned());
        }
        error
    };
    tracing::debug!(plan = %logical.display_indent(), "logical plan");
    let state = ctx.engine.state();
    let optimized = state.optimize(&logical).map_err(|e| refused(e.into()))?;
    let plan = state
        .query_planner()
        .create_physical_plan(&optimized, state)
        .await
        .map_err(|e| refused(e.into()))?;
    let types = rel.columns().iter().map(|column| column.ty).collect();
    Ok(Planned { plan, types })
}

impl Planned {
    /// Starts it.
    pub fn run(&self, ctx: &ExecContext) -> Result<Rows, SqlError> {
        let task = Arc::new(TaskContext::from(ctx.engine.state()));
        let stream = execute_stream(Arc::clone(&self.plan), task)?;
        Ok(Rows::streaming(self.types.clone(), stream))
    }
}
