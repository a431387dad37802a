//! From a bound relation to a physical plan, ready to run.

use std::sync::Arc;
use std::time::Instant;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use pgtypes::PgType;

use super::lookup::looking_up;
use super::measured::Analysis;
use super::rows::Rows;
use super::{ExecContext, Joins, hoist, inits};
use crate::error::{SqlError, SqlState};
use crate::ir::{Query, Rel};
use crate::lower::Lowerer;

/// A physical plan.
#[derive(Debug)]
pub struct Planned {
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    pub(super) types: Vec<PgType>,
}

/// Plans a query, running its uncorrelated subqueries.
pub async fn plan(ctx: &ExecContext, query: &Query) -> Result<Planned, SqlError> {
    plan_rel(ctx, &query.rel).await
}

/// Plans a relation, running its uncorrelated subqueries.
///
/// Correlated ones become joins if the optimizer knows how. If it does not, it says so by failing,
/// and they are evaluated row by row.
pub async fn plan_rel(ctx: &ExecContext, rel: &Rel) -> Result<Planned, SqlError> {
    let rel = inits::run(ctx, rel).await?;
    plan_alone(ctx, &rel).await
}

/// Plans a relation in which no uncorrelated subquery is left.
pub(super) async fn plan_alone(ctx: &ExecContext, rel: &Rel) -> Result<Planned, SqlError> {
    let rel = hoist::hoisted(rel, hoist::Which::Unjoinable);
    let computed = inits::computed(ctx, &rel).await?;
    let (result, correlated) = attempt(ctx, &rel, &computed).await;
    let types = rel.columns().iter().map(|column| column.ty).collect();
    match result {
        Ok(plan) => Ok(Planned { plan, types }),
        Err(error) if correlated && is_ours(&error) => {
            let rel = hoist::hoisted(&rel, hoist::Which::All);
            let (result, correlated) = attempt(ctx, &rel, &computed).await;
            match result {
                Ok(plan) => Ok(Planned { plan, types }),
                Err(error) if correlated && is_ours(&error) => {
                    Err(SqlError::unsupported("a correlated subquery of this shape")
                        .detail(error.message().to_owned()))
                }
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Plans a relation, with everything in the plan watched, and starts it.
pub(super) async fn analyzed(
    ctx: &ExecContext,
    analysis: &Analysis,
    rel: &Rel,
) -> Result<Rows, SqlError> {
    let begin = Instant::now();
    // Subqueries that the plan runs are no part of what is shown.
    let alone = ExecContext { analysis: None, ..ctx.clone() };
    let planned = plan_rel(&alone, rel).await?;
    analysis.adopt(planned, begin.elapsed())?.run(ctx)
}

/// What the optimizer could not decorrelate fails as some internal complaint.
fn is_ours(error: &SqlError) -> bool {
    matches!(error.code(), SqlState::INTERNAL_ERROR | SqlState::FEATURE_NOT_SUPPORTED)
}

/// One try; and whether correlated subqueries were left to the optimizer.
async fn attempt(
    ctx: &ExecContext,
    rel: &Rel,
    computed: &inits::Computed,
) -> (Result<Arc<dyn ExecutionPlan>, SqlError>, bool) {
    let mut lowerer = Lowerer::new(ctx, computed);
    let logical = lowerer.plan(rel);
    let correlated = lowerer.correlated;
    let logical = match logical {
        Ok(logical) => logical,
        Err(error) => return (Err(error), correlated),
    };
    tracing::debug!(plan = %logical.display_indent(), "logical plan");
    let state = ctx.engine.state();
    let planned = async {
        let optimized = state.optimize(&logical)?;
        let plan = state.query_planner().create_physical_plan(&optimized, state).await?;
        match ctx.joins {
            Joins::Hash => Ok(plan),
            joins => looking_up(plan, rel, ctx.engine.statistics(), joins == Joins::LookUp),
        }
    };
    (planned.await.map_err(SqlError::from), correlated)
}

impl Planned {
    /// Starts it.
    pub fn run(&self, ctx: &ExecContext) -> Result<Rows, SqlError> {
        let task = Arc::new(TaskContext::from(ctx.engine.state()));
        let stream = execute_stream(Arc::clone(&self.plan), task)?;
        Ok(Rows::streaming(self.types.clone(), stream))
    }
}
