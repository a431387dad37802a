//! Running a bound query: subqueries that stand alone first, then all of it row by row if it is
//! small, otherwise one DataFusion plan.
//!
//! ```text
//!   Query -> inits: uncorrelated subqueries -> values
//!         -> rowwise ---------------------------------------> rows
//!         -> lower -> optimise -> physical plan -> batches -> rows
//! ```
//!
//! Dropping a [`Rows`] or the future that fills it cancels the statement; operators yield often
//! enough for that (DataFusion's cooperative scheduling, and `yielding` for joins).

/// Nodes are equal if they do the same work over equal inputs; what work is, only its address tells.
macro_rules! our_node_traits {
    ($node:ty, $work:ident, $exprs:ident) => {
        impl PartialEq for $node {
            fn eq(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.$work, &other.$work)
                    && self.input == other.input
                    && self.$exprs == other.$exprs
            }
        }

        impl Eq for $node {}

        impl std::hash::Hash for $node {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.input.hash(state);
                self.$exprs.hash(state);
            }
        }

        impl PartialOrd for $node {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                (self == other).then_some(std::cmp::Ordering::Equal)
            }
        }
    };
}
use our_node_traits;

/// What operators with one input and no expressions have in common; `$anew` makes one over another input.
macro_rules! over_one_input {
    ($input:ident, $anew:expr) => {
        fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
            vec![&self.$input]
        }

        crate::exec::without_expressions!();

        fn with_new_children(
            self: Arc<Self>,
            mut children: Vec<Arc<dyn ExecutionPlan>>,
        ) -> Result<Arc<dyn ExecutionPlan>> {
            let input = children.pop().ok_or_else(|| {
                crate::SqlError::internal(format!("{} has one input", self.name()))
            })?;
            let anew: fn(&Self, Arc<dyn ExecutionPlan>) -> Self = $anew;
            Ok(Arc::new(anew(&self, input)))
        }
    };
}
use over_one_input;

/// What leaves have in common.
macro_rules! over_no_input {
    () => {
        fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
            Vec::new()
        }

        crate::exec::without_expressions!();

        fn with_new_children(
            self: Arc<Self>,
            _: Vec<Arc<dyn ExecutionPlan>>,
        ) -> Result<Arc<dyn ExecutionPlan>> {
            Ok(self)
        }
    };
}
use over_no_input;

/// An operator that evaluates no expressions.
macro_rules! without_expressions {
    () => {
        fn apply_expressions(
            &self,
            _: &mut dyn FnMut(
                &Arc<dyn datafusion::physical_expr::PhysicalExpr>,
            ) -> Result<datafusion::common::tree_node::TreeNodeRecursion>,
        ) -> Result<datafusion::common::tree_node::TreeNodeRecursion> {
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
        }
    };
}
use without_expressions;

mod access;
mod append;
pub(crate) mod apply;
mod apply_exec;
mod collect_agg;
pub(crate) mod condition;
pub(crate) mod decode;
mod engine;
mod frame;
pub(crate) mod frame_exec;
mod hoist;
mod inits;
mod joinable;
pub(crate) mod leaders;
pub(crate) mod lock;
pub(crate) mod lookup;
pub(crate) mod measured;
mod operator;
pub(crate) mod plain;
mod plan;
mod pool;
pub(crate) mod provider;
mod reader;
pub(crate) mod recursive;
mod rows;
mod rowwise;
mod rules;
pub(crate) mod scan;
pub(crate) mod virtuals;
pub(crate) mod waiting;
pub(crate) mod waiting_eval;
pub(crate) mod waiting_hoist;
pub(crate) mod work;
mod yielding;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use kv::Txn;
use pgtypes::{Datum, EvalEnv};

pub use engine::QueryEngine;
pub use plan::{Planned, plan, plan_rel};
pub use rows::Rows;

pub(crate) use access::LOOK_UP;
pub(crate) use collect_agg::collecting;
pub(crate) use condition::{Comparison, Condition, Test};
pub(crate) use inits::Computed;

use crate::error::SqlError;
use crate::ir::{Query, Rel};

/// How the inner side of a join is read where an index fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joins {
    /// By keys or all of it, whichever is cheaper.
    Cheapest,
    /// By keys, however many: `enable_hashjoin = off`.
    LookUp,
    /// All of it: `enable_nestloop = off`.
    Hash,
}

/// What a statement runs in.
#[derive(Clone)]
pub struct ExecContext {
    /// The node's planner and memory.
    pub engine: Arc<QueryEngine>,
    /// The transaction; `begin_statement` has been called.
    pub txn: Arc<Txn>,
    /// Settings and clock of the statement.
    pub env: Arc<EvalEnv>,
    /// Values of the parameters.
    pub params: Arc<[Datum]>,
    /// Rows that parts of the statement have made.
    pub(crate) works: work::Works,
    /// Rows of computed tables that the statement has read.
    pub(crate) virtuals: virtuals::Virtuals,
    /// Whatever the session wants its [`crate::ir::VirtualTable`]s to find.
    pub session: Arc<dyn Any + Send + Sync>,
    /// Small queries are run row by row, without a plan.
    pub row_execution: bool,
    /// How plans find the rows of a join's inner side.
    pub joins: Joins,
    /// EXPLAIN ANALYZE: who watches the plans that run here.
    pub(crate) analysis: Option<Arc<measured::Analysis>>,
}

impl fmt::Debug for ExecContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecContext").field("params", &self.params).finish_non_exhaustive()
    }
}

/// Runs a query. The rows have one datum per entry of `query.columns`.
pub async fn run(ctx: &ExecContext, query: &Query) -> Result<Rows, SqlError> {
    run_rel(ctx, &query.rel).await
}

/// Runs a relation (of an UPDATE, say). The rows have one datum per entry of `rel.columns()`.
pub async fn run_rel(ctx: &ExecContext, rel: &Rel) -> Result<Rows, SqlError> {
    let hoisted = waiting_hoist::hoisted(rel)?;
    if let Some(analysis) = &ctx.analysis {
        // The plan that is shown is the one that runs, small as the query may be.
        return plan::analyzed(ctx, analysis, hoisted.as_ref().unwrap_or(rel)).await;
    }
    if let Some(rel) = hoisted {
        return plan::plan_rel(ctx, &rel).await?.run(ctx);
    }
    let rel = inits::run(ctx, rel).await?;
    if ctx.row_execution
        && let Some(rows) = rowwise::rows(ctx, &rel).await?
    {
        return Ok(rows);
    }
    plan::plan_alone(ctx, &rel).await?.run(ctx)
}
