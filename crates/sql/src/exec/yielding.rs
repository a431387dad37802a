//! Operators that make much of little must let others run.
//!
//! DataFusion's `EnsureCooperative` wraps leaves: whoever asks a leaf for rows yields now and then.
//! A join that holds both its inputs asks no leaf any more, and an aggregate above it would keep
//! the thread until the last pair: nobody else is served, and no cancel is heard.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;

/// Most wrapped operators below one another. Each holds a unit of its task's budget, of which tokio gives
/// 128, while it asks the one below: with more, nobody would ever get to the bottom.
const NESTED_MAX: usize = 64;

/// Wraps operators that can emit many batches per batch of input.
pub(super) fn yielding_joins(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let wrapped = plan.transform_up(|plan| {
        Ok(if multiplies(plan.name()) && nested(&*plan) < NESTED_MAX {
            Transformed::yes(Arc::new(CooperativeExec::new(plan)) as Arc<dyn ExecutionPlan>)
        } else {
            Transformed::no(plan)
        })
    });
    Ok(wrapped?.data)
}

/// How many wrapped operators are below one another.
fn nested(plan: &dyn ExecutionPlan) -> usize {
    let below = plan.children().into_iter().map(|child| nested(&**child)).max();
    below.unwrap_or(0) + usize::from(plan.is::<CooperativeExec>())
}

fn multiplies(operator: &str) -> bool {
    operator.ends_with("JoinExec") || operator == "UnnestExec"
}
