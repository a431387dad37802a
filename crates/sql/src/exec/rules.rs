//! Which of DataFusion's rules rewrite plans, and which plans they are kept from.
//!
//! Without those that cost more than they bring here, and without common subexpression elimination, which
//! would evaluate a branch of CASE before its condition.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer as o;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

/// The rules, in the order in which they are applied.
pub(super) fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(o::simplify_expressions::SimplifyExpressions::new()),
        Arc::new(o::eliminate_join::EliminateJoin::new()),
        Arc::new(o::decorrelate_predicate_subquery::DecorrelatePredicateSubquery::new()),
        Arc::new(o::scalar_subquery_to_join::ScalarSubqueryToJoin::new()),
        Arc::new(o::decorrelate_lateral_join::DecorrelateLateralJoin::new()),
        Arc::new(o::extract_equijoin_predicate::ExtractEquijoinPredicate::new()),
        Arc::new(o::eliminate_filter::EliminateFilter::new()),
        Arc::new(KeptFrom {
            rule: o::eliminate_cross_join::EliminateCrossJoin::new(),
            spared: joins_unusually,
        }),
        Arc::new(o::eliminate_limit::EliminateLimit::new()),
        Arc::new(o::propagate_empty_relation::PropagateEmptyRelation::new()),
        Arc::new(o::eliminate_outer_join::EliminateOuterJoin::new()),
        Arc::new(o::push_down_limit::PushDownLimit::new()),
        Arc::new(KeptFrom {
            rule: o::push_down_filter::PushDownFilter::new(),
            spared: filters_one_row,
        }),
        Arc::new(o::optimize_projections::OptimizeProjections::new()),
        Arc::new(LimitOnSort),
    ]
}

/// DataFusion's rules for how a plan is carried out, and ours before and behind them.
pub(super) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let ours = |name, rewrite| Arc::new(PlanRule { name, rewrite });
    rules.insert(0, ours("PlainRows", super::plain::plain_rows));
    rules.push(ours("LimitsOfDistinct", limits_of_distinct));
    rules.push(ours("YieldingJoins", super::yielding::yielding_joins));
    rules.push(ours("AtLeaders", crate::fragment::at_leaders));
    rules.push(ours("PartsInOrder", super::append::parts_in_order));
    rules
}

type Plan = Arc<dyn ExecutionPlan>;

/// A rule that keeps the columns of the plan.
#[derive(Debug)]
struct PlanRule {
    name: &'static str,
    rewrite: fn(Plan) -> Result<Plan>,
}

impl PhysicalOptimizerRule for PlanRule {
    fn name(&self) -> &str {
        self.name
    }

    fn optimize(&self, plan: Plan, _: &ConfigOptions) -> Result<Plan> {
        (self.rewrite)(plan)
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Takes the limit of those above back from a DISTINCT whose rows have an order by now. It is a hint, given
/// while they had none, and with an order DataFusion takes it for that of the first groups in some direction.
fn limits_of_distinct(plan: Plan) -> Result<Plan> {
    let rewritten = plan.transform_up(|plan| {
        let confused = plan.downcast_ref::<AggregateExec>().filter(|aggregate| {
            let has_hint =
                aggregate.limit_options().is_some_and(|limit| limit.descending.is_none());
            has_hint && !aggregate.is_unordered_unfiltered_group_by_distinct()
        });
        Ok(match confused {
            Some(aggregate) => Transformed::yes(Arc::new(aggregate.with_new_limit_options(None))),
            None => Transformed::no(plan),
        })
    });
    Ok(rewritten?.data)
}

/// A rule that is right but for some plans.
#[derive(Debug)]
struct KeptFrom<R> {
    rule: R,
    spared: fn(&LogicalPlan) -> bool,
}

impl<R: OptimizerRule> OptimizerRule for KeptFrom<R> {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match (self.spared)(&plan) {
            true => Ok(Transformed::no(plan)),
            false => self.rule.rewrite(plan, config),
        }
    }
}

/// Makes `projection of limit of sort` of `limit of projection of sort`: where the projection takes away what
/// is sorted by, DataFusion takes away the sort, as if nobody could tell.
#[derive(Debug)]
struct LimitOnSort;

impl OptimizerRule for LimitOnSort {
    fn name(&self) -> &str {
        "limit_on_sort"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Limit(mut limit) = plan else { return Ok(Transformed::no(plan)) };
        let LogicalPlan::Projection(projection) = &*limit.input else {
            return Ok(Transformed::no(LogicalPlan::Limit(limit)));
        };
        let mut below = &*projection.input;
        while let LogicalPlan::Projection(projection) = below {
            below = &*projection.input;
        }
        if !matches!(below, LogicalPlan::Sort(sort) if sort.fetch.is_none()) {
            return Ok(Transformed::no(LogicalPlan::Limit(limit)));
        }
        let mut projection = projection.clone();
        limit.input = projection.input;
        projection.input = Arc::new(LogicalPlan::Limit(limit));
        Ok(Transformed::yes(LogicalPlan::Projection(projection)))
    }
}

/// Joins that cannot be taken apart and put together in another order.
///
/// By IS NOT DISTINCT FROM: where several joins become one, what one of them takes for equal would be so in
/// all. By keys that are not of one input each (constants, which other rules make, or sums over a join):
/// where their turn comes, the inputs they are of may not be on different sides, and they are lost.
fn joins_unusually(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let walked = plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Join(join)
        if join.null_equality == NullEquality::NullEqualsNull
            || join.join_type == JoinType::Inner
                && !join.on.iter().all(|(left, right)| {
                    is_of_one_input(left, &join.left) && is_of_one_input(right, &join.right)
                }));
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walked.is_err() || found
}

/// Whether all columns of a key are of one of the inputs of these inner joins.
fn is_of_one_input(key: &Expr, side: &LogicalPlan) -> bool {
    match (key, side) {
        (Expr::Column(_), _) => true,
        (_, LogicalPlan::Join(join)) if join.join_type == JoinType::Inner => {
            is_of_one_input(key, &join.left) || is_of_one_input(key, &join.right)
        }
        _ => {
            let columns = key.column_refs();
            !columns.is_empty() && columns.iter().all(|column| side.schema().has_column(column))
        }
    }
}

/// A filter of the one row of an aggregate that has no groups. Below it, a condition without columns would
/// take away the rows, and not the aggregate's.
fn filters_one_row(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Filter(filter) = plan else { return false };
    let mut input = &*filter.input;
    while let LogicalPlan::Filter(filter) = input {
        input = &*filter.input;
    }
    matches!(input, LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty())
}
