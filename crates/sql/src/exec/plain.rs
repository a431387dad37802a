//! Nothing is known of rows of which DataFusion would know something wrong.
//!
//! - What is the same in all rows of one side of an outer join is not in the rows of the join. DataFusion
//!   believes it: a column that is 1 on the side whose rows may be missing is 1 or NULL above, yet it sorts
//!   no rows by it and takes groups of it for complete.
//! - Where a column equals an expression of itself (`WHERE COALESCE(a, 1) = a`), DataFusion puts the one for
//!   the other until it does not know an order again that it has made.
//! - Where an expression is the same in all rows (`WHERE a + 1 = 3`), it leaves it out of what it sorts by,
//!   and misses it there as soon as a projection in between has no column for it.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Statistics};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};

use super::operator::{column, with_constants};

/// Wraps the sides of outer joins that are known to have constant columns, and rows of which more is known
/// than about columns.
pub(super) fn plain_rows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let wrapped = plan.transform_up(|plan| {
        let missing = missing(&*plan);
        if missing == [false, false] {
            return Ok(match is_tangled(&*plan) || has_constant_expressions(&*plan) {
                true => Transformed::yes(Arc::new(PlainExec::about_columns(plan)) as _),
                false => Transformed::no(plan),
            });
        }
        let sides = plan.children().into_iter().zip(missing);
        let sides: Vec<Arc<dyn ExecutionPlan>> = sides
            .map(|(side, missing)| match missing {
                true => Arc::new(PlainExec::new(Arc::clone(side))),
                false => Arc::clone(side),
            })
            .collect();
        Ok(Transformed::yes(replace_children_if_necessary(plan, sides)?))
    });
    Ok(wrapped?.data)
}

fn has_constant_expressions(plan: &dyn ExecutionPlan) -> bool {
    let constants = plan.properties().eq_properties.constants();
    constants.iter().any(|constant| column(&constant.expr).is_none())
}

/// Whether a column equals an expression of itself.
fn is_tangled(plan: &dyn ExecutionPlan) -> bool {
    let equal = plan.properties().eq_properties.eq_group();
    equal.iter().any(|class| {
        class.iter().any(|expr| {
            let columns = collect_columns(expr);
            let is_of_them = |other: &Arc<dyn PhysicalExpr>| {
                column(other).is_some_and(|column| columns.contains(column))
            };
            column(expr).is_none() && class.iter().any(is_of_them)
        })
    })
}

/// Which sides of a join have constants, and rows that may be missing.
fn missing(plan: &dyn ExecutionPlan) -> [bool; 2] {
    let kind = match (plan.downcast_ref::<HashJoinExec>(), plan.downcast_ref()) {
        (Some(join), _) => *join.join_type(),
        (None, Some(join)) => *NestedLoopJoinExec::join_type(join),
        (None, None) => return [false, false],
    };
    let children = plan.children();
    let constant = |side: usize| !children[side].properties().eq_properties.constants().is_empty();
    match kind {
        JoinType::Left => [false, constant(1)],
        JoinType::Right => [constant(0), false],
        JoinType::Full => [constant(0), constant(1)],
        _ => [false, false],
    }
}

/// The rows of its input, of which less is known.
#[derive(Debug)]
pub(crate) struct PlainExec {
    input: Arc<dyn ExecutionPlan>,
    about_columns: bool,
    properties: Arc<PlanProperties>,
}

impl PlainExec {
    /// Nothing.
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let known = EquivalenceProperties::new(input.schema());
        PlainExec::knowing(input, known, false)
    }

    /// Their order, and which columns are the same in all.
    fn about_columns(input: Arc<dyn ExecutionPlan>) -> Self {
        let all = &input.properties().eq_properties;
        let orderings: Vec<_> = all.oeq_class().iter().cloned().collect();
        let known = EquivalenceProperties::new_with_orderings(input.schema(), orderings);
        let mut constants = all.constants();
        constants.retain(|constant| column(&constant.expr).is_some());
        let known = with_constants(known, constants);
        PlainExec::knowing(input, known, true)
    }

    fn knowing(
        input: Arc<dyn ExecutionPlan>,
        known: EquivalenceProperties,
        about_columns: bool,
    ) -> Self {
        let properties = PlanProperties::clone(input.properties()).with_eq_properties(known);
        PlainExec { input, about_columns, properties: Arc::new(properties) }
    }
}

impl DisplayAs for PlainExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlainExec")
    }
}

impl ExecutionPlan for PlainExec {
    fn name(&self) -> &str {
        "PlainExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    super::over_one_input!(input, |this, input| match this.about_columns {
        true => PlainExec::about_columns(input),
        false => PlainExec::new(input),
    });

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.about_columns]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        of_inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&of_inputs[0]))
    }
}
