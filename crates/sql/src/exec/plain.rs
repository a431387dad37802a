//! Nothing is known of rows of which DataFusion would know something wrong.
//!
//! - What is the same in all rows of one side of an outer join is not in the rows of the join. DataFusion
//!   believes it: a column that is 1 on the side whose rows may be missing is 1 or NULL above, yet it sorts
//!   no rows by it and takes groups of it for complete.
//! - Where a column equals an expression of itself (`WHERE COALESCE(a, 1) = a`), DataFusion puts the one for
//!   the other until it does not know an order again that it has made.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, Statistics};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};

/// Wraps the sides of outer joins that are known to have constant columns, and what equals itself.
pub(super) fn plain_rows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let wrapped = plan.transform_up(|plan| {
        let missing = missing(&*plan);
        if missing == [false, false] {
            return Ok(match is_tangled(&*plan) {
                true => Transformed::yes(Arc::new(PlainExec::new(plan)) as _),
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

/// Whether a column equals an expression of itself.
fn is_tangled(plan: &dyn ExecutionPlan) -> bool {
    let equal = plan.properties().eq_properties.eq_group();
    equal.iter().any(|class| {
        class.iter().any(|expr| {
            let columns = collect_columns(expr);
            let is_of_them = |other: &Arc<dyn PhysicalExpr>| {
                let column = (&**other as &dyn std::any::Any).downcast_ref::<Column>();
                column.is_some_and(|column| columns.contains(column))
            };
            !(&**expr as &dyn std::any::Any).is::<Column>() && class.iter().any(is_of_them)
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

/// The rows of its input, of which nothing is known.
#[derive(Debug)]
struct PlainExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl PlainExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let nothing = EquivalenceProperties::new(input.schema());
        let properties = PlanProperties::clone(input.properties()).with_eq_properties(nothing);
        PlainExec { input, properties: Arc::new(properties) }
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

    super::over_one_input!(input, |_, input| PlainExec::new(input));

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
