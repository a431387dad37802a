//! Which part of a physical plan is sent to the leaders.
//!
//! ```text
//!   FilterExec ◀── scan            conjuncts that can be sent; the filter itself stays, since pages of
//!                                  rows, and own writes, have to pass it here
//!   AggregateExec ◀── … ◀── scan   all or nothing: Final ◀── LeadersExec ◀── Partial ◀── … ◀── scan
//!   scan                           its conditions, and the columns that it wants
//! ```
//!
//! Nothing is sent where all ranges are led here, as far as is known when the plan is made. Whether that
//! holds when it runs does not matter: rows that arrive instead are evaluated here.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};
use kv::Fragment;

use super::Sent;
use super::content::Writer;
use crate::exec::leaders::LeadersExec;
use crate::exec::plain::PlainExec;
use crate::exec::scan::TableScanExec;

/// A scan of more spans than this looks for rows by key.
const SPANS_MAX: usize = 1_000;

/// The optimizer's last rule: gives leaders their part of the plan.
pub(crate) fn at_leaders(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let placed = plan.transform_down(|plan| {
        let placed = if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
            aggregated(aggregate)?
        } else if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            filtered(&plan, filter)?
        } else {
            let scan = plan.downcast_ref::<TableScanExec>();
            let scan = scan.and_then(|scan| reduced(scan, None));
            scan.map(|scan| Arc::new(scan) as Arc<dyn ExecutionPlan>)
        };
        Ok(match placed {
            Some(placed) => Transformed::new(placed, true, TreeNodeRecursion::Jump),
            None => Transformed::no(plan),
        })
    });
    Ok(placed?.data)
}

/// Whether leaders may answer a scan with less than rows, and some of them are elsewhere.
fn is_remote(scan: &TableScanExec) -> bool {
    let rows = scan.access.index.is_none() && !scan.access.points;
    (rows || scan.alone.is_some())
        && !scan.locks
        && !scan.unchecked
        // The past is read from this node's own replica, where that can tell.
        && scan.txn.options().as_of.is_none()
        && scan.access.spans.len() <= SPANS_MAX
        && !scan.txn.is_local(&scan.access.spans)
}

fn filtered(
    plan: &Arc<dyn ExecutionPlan>,
    filter: &FilterExec,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let scan = filter.input().downcast_ref::<TableScanExec>();
    let Some(scan) = scan.and_then(|scan| reduced(scan, Some(filter))) else {
        return Ok(None);
    };
    replace_children_if_necessary(Arc::clone(plan), vec![Arc::new(scan)]).map(Some)
}

/// The scan of rows that stay rows, if leaders leave some out, or columns of them.
fn reduced(scan: &TableScanExec, filter: Option<&FilterExec>) -> Option<TableScanExec> {
    if !is_remote(scan) {
        return None;
    }
    let mut writer = Writer::new(scan)?;
    let conjuncts = filter.map(|filter| split_conjunction(filter.predicate())).unwrap_or_default();
    let sent = conjuncts.iter().filter(|conjunct| writer.filter(conjunct));
    let filters: Vec<_> = sent.map(|&conjunct| Arc::clone(conjunct)).collect();
    let enough = filter.and_then(ExecutionPlan::fetch);
    let enough = enough.filter(|_| filters.len() == conjuncts.len());
    let index = scan.access.descriptor(&scan.table);
    // What is said of the first column is mostly what the spans are cut by.
    let first = scan.table.index_positions(index).first().copied();
    let filters_rows =
        !filters.is_empty() || scan.conditions.iter().any(|c| Some(c.column) != first);
    let cuts_rows =
        scan.access.index.is_none() && writer.excerpt.columns.len() < scan.table.columns.len();
    if !filters_rows && !cuts_rows {
        return None;
    }
    let fragment = Fragment { content: writer.finish().into(), aggregates: false };
    Some(scan.sending(Sent { fragment, filters, cuts_rows, enough, states: None }))
}

/// An aggregate whose partial one leaders compute.
fn aggregated(aggregate: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let group = aggregate.group_expr();
    let plain = *aggregate.mode() == AggregateMode::Single
        && aggregate.limit_options().is_none()
        && *aggregate.input_order_mode() == InputOrderMode::Linear
        && !group.has_grouping_set()
        && group.null_expr().is_empty();
    if !plain {
        return Ok(None);
    }
    // What stands between the aggregate and the scan, from above.
    let mut between: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
    let mut below = Arc::clone(aggregate.input());
    while !below.is::<TableScanExec>() {
        let passes = below.is::<FilterExec>()
            || below.is::<ProjectionExec>()
            || below.is::<CooperativeExec>()
            || below.is::<PlainExec>();
        if !passes || below.fetch().is_some() {
            return Ok(None);
        }
        let Some(input) = below.children().first().map(|input| Arc::clone(input)) else {
            return Ok(None);
        };
        between.push(std::mem::replace(&mut below, input));
    }
    let scan = below.downcast_ref::<TableScanExec>();
    let Some(scan) = scan.filter(|scan| scan.fetch.is_none() && is_remote(scan)) else {
        return Ok(None);
    };
    let mut filters = Vec::new();
    let Some(content) = written(scan, &between, aggregate, &mut filters) else { return Ok(None) };
    let over = |scan: TableScanExec| -> Result<AggregateExec> {
        let mut plan: Arc<dyn ExecutionPlan> = Arc::new(scan);
        for above in between.iter().rev() {
            plan = replace_children_if_necessary(Arc::clone(above), vec![plan])?;
        }
        AggregateExec::try_new(
            AggregateMode::Partial,
            group.clone(),
            aggregate.aggr_expr().to_vec(),
            aggregate.filter_expr().to_vec(),
            plan,
            aggregate.input_schema(),
        )
    };
    let states = over(scan.clone())?.schema();
    let fragment = Fragment { content: content.into(), aggregates: true };
    let partial = over(scan.sending(Sent {
        fragment,
        filters,
        cuts_rows: false,
        enough: None,
        states: Some(states),
    }))?;
    let calls = partial.aggr_expr().to_vec();
    let whole = AggregateExec::try_new(
        AggregateMode::Final,
        group.as_final(),
        calls,
        aggregate.filter_expr().to_vec(),
        Arc::new(LeadersExec::new(Arc::new(partial))),
        aggregate.input_schema(),
    )?;
    let same = whole.schema() == aggregate.schema();
    Ok(same.then(|| Arc::new(whole) as Arc<dyn ExecutionPlan>))
}

/// All of an aggregate and what is below it, if all of that can be sent.
fn written(
    scan: &TableScanExec,
    between: &[Arc<dyn ExecutionPlan>],
    aggregate: &AggregateExec,
    filters: &mut Vec<Arc<dyn PhysicalExpr>>,
) -> Option<Vec<u8>> {
    let mut writer = Writer::new(scan)?;
    for plan in between.iter().rev() {
        if let Some(filter) = plan.downcast_ref::<FilterExec>() {
            if !writer.filter(filter.predicate()) {
                return None;
            }
            filters.push(Arc::clone(filter.predicate()));
            if let Some(kept) = filter.projection() {
                let schema = filter.input().schema();
                let column = |&at: &usize| {
                    Arc::new(Column::new(schema.field(at).name(), at)) as Arc<dyn PhysicalExpr>
                };
                let columns: Vec<_> = kept.iter().map(column).collect();
                writer.project(columns.iter())?;
            }
        } else if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            writer.project(projection.expr().iter().map(|projected| &projected.expr))?;
        }
    }
    writer.aggregate(aggregate)?;
    Some(writer.finish())
}
