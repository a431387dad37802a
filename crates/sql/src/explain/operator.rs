//! The nodes of a physical plan.
//!
//! Operators without a counterpart in PostgreSQL vanish, a filter becomes a line of its input, a limit inside
//! another operator becomes a node, and the side of a hash join that is read first, DataFusion's left one, is
//! PostgreSQL's inner one under a `Hash`.

use std::any::Any;
use std::collections::HashMap;

use catalog::{CatalogSnapshot, IndexId, Table};
use datafusion::common::JoinType;
use datafusion::physical_expr::expressions::DynamicFilterPhysicalExpr;
use datafusion::physical_expr::{PhysicalExprRef, PhysicalSortExpr, split_conjunction};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};

use super::estimate::{Estimate, Estimates};
use super::expr;
use super::names::Names;
use super::node::{Details, Kind, Node};
use super::value::Value;
use crate::exec::condition::Condition;
use crate::exec::lookup::{LookupJoinExec, Outer};
use crate::exec::measured::MeasuredExec;
use crate::exec::scan::{TableScanExec, decoded};
use crate::ir::Explain;

/// What a plan is shown with.
pub(super) struct Shown<'a> {
    pub(super) names: &'a Names,
    /// In conditions of scans, each of one relation.
    pub(super) of_scans: &'a Names,
    pub(super) estimates: Estimates<'a>,
    pub(super) catalog: &'a CatalogSnapshot,
    pub(super) explain: &'a Explain,
    /// Of scans, by [`scan_id`].
    pub(super) scans: &'a HashMap<usize, Details>,
    /// What locks rows says so.
    pub(super) locks: &'a Details,
}

/// Names a scan of a plan.
pub(super) fn scan_id(scan: &TableScanExec) -> usize {
    std::ptr::from_ref(scan) as usize
}

/// The scans of a plan, outermost first.
pub(super) fn scans(plan: &dyn ExecutionPlan) -> Vec<&TableScanExec> {
    let mut found = Vec::new();
    find_scans(plan, &mut found);
    found
}

fn find_scans<'p>(plan: &'p dyn ExecutionPlan, found: &mut Vec<&'p TableScanExec>) {
    if let Some(scan) = (plan as &dyn Any).downcast_ref::<TableScanExec>() {
        found.push(scan);
    }
    for child in plan.children() {
        find_scans(child.as_ref(), found);
    }
}

/// Whether a join in it may read less than the scan that it is made of.
pub(super) fn joins_by_lookup(plan: &dyn ExecutionPlan) -> bool {
    (plan as &dyn Any).is::<LookupJoinExec>()
        || plan.children().into_iter().any(|child| joins_by_lookup(child.as_ref()))
}

/// The node of a physical plan.
pub(super) fn of(plan: &dyn ExecutionPlan, shown: &Shown<'_>) -> Node {
    let measured = (plan as &dyn Any).downcast_ref::<MeasuredExec>();
    let plan = measured.map_or(plan, |measured| measured.inner.as_ref());
    let children: Vec<Node> =
        plan.children().into_iter().map(|child| of(child.as_ref(), shown)).collect();
    let inputs: Vec<Estimate> = children.iter().map(|child| child.estimate).collect();
    let estimate = shown.estimates.of(plan, &inputs);
    let mut node = unlimited(plan, children, estimate, shown);
    if let Some(measured) = measured {
        // Of an operator that vanished, what it made counts.
        node.actual = Some(measured.actual());
        let (cost, locks) = (measured.cost(), node.kind.node_type == "LockRows");
        if locks || cost.trips.total() > 0 || (plan as &dyn Any).is::<TableScanExec>() {
            node.add_cost(&cost, locks);
        }
    }
    let limits = node.kind.node_type == "Limit" || plan.name() == "ProjectionExec";
    match plan.fetch() {
        Some(fetch) if !limits => {
            let actual = node.actual;
            let estimate = node.estimate.limited(0, Some(fetch));
            Node { actual, ..Node::over(Kind::plain("Limit"), estimate, node) }
        }
        _ => node,
    }
}

/// The node without the limit that DataFusion keeps inside it.
fn unlimited(
    plan: &dyn ExecutionPlan,
    mut children: Vec<Node>,
    estimate: Estimate,
    shown: &Shown<'_>,
) -> Node {
    let any = plan as &dyn Any;
    if let Some(scan) = any.downcast_ref::<TableScanExec>() {
        return scan_node(scan, plan, estimate, shown);
    }
    let names = shown.names;
    let mut details: Details = output(plan, shown).into_iter().collect();
    // Behind a parenthesis stands how it is done.
    let name = plan.name().split('(').next().unwrap_or_default();
    let kind = match name {
        "ProjectionExec"
        | "CoalesceBatchesExec"
        | "CooperativeExec"
        | "PlainExec"
        | "AppendExec"
        | "CoalescePartitionsExec"
        | "OutputRequirementExec"
        | "BufferExec"
            if children.len() == 1 =>
        {
            return Node { estimate, ..children.swap_remove(0) };
        }
        "LeadersExec" if children.len() == 1 => {
            let mut partial = children.swap_remove(0);
            partial.kind.title.push_str(" at the Leaders");
            return Node { estimate, ..partial };
        }
        "FilterExec" if children.len() == 1 => {
            let mut input = children.swap_remove(0);
            let predicate = any.downcast_ref::<FilterExec>().map(FilterExec::predicate);
            let conditions = predicate.map(split_conjunction).unwrap_or_default();
            // What is found out while the plan runs is no condition of the statement's.
            let conditions = conditions.into_iter().filter(|condition| !is_dynamic(condition));
            let names = if input.children.is_empty() { shown.of_scans } else { names };
            let mut all: Vec<String> =
                conditions.map(|c| bracketed(expr::shown(c.as_ref(), names))).collect();
            let before = input.details.iter_mut().find(|(key, _)| *key == "Filter");
            match before {
                _ if all.is_empty() => {}
                Some((_, Value::Text(before))) => {
                    all.insert(0, std::mem::take(before));
                    *before = joined(&all);
                }
                _ => input.details.push(("Filter", Value::Text(joined(&all)))),
            }
            return Node { estimate, ..input };
        }
        "SortExec" => {
            if let Some(sort) = any.downcast_ref::<SortExec>() {
                details.push(sort_key(sort.expr().iter(), names));
            }
            Kind::plain("Sort")
        }
        "SortPreservingMergeExec" => {
            if let Some(merge) = any.downcast_ref::<SortPreservingMergeExec>() {
                details.push(sort_key(merge.expr().iter(), names));
            }
            Kind::plain("Merge Append")
        }
        "GlobalLimitExec" | "LocalLimitExec" => {
            let skipped = any.downcast_ref::<GlobalLimitExec>().map_or(0, GlobalLimitExec::skip);
            let estimate = estimate.limited(skipped, plan.fetch());
            return Node { details, children, ..Node::leaf(Kind::plain("Limit"), estimate) };
        }
        "AggregateExec" => match any.downcast_ref::<AggregateExec>() {
            Some(aggregate) => {
                let kind = aggregate_kind(aggregate, names, &mut details);
                if aggregate.mode().input_mode() == AggregateInputMode::Partial {
                    // It merges by the columns that the keys became below.
                    let below = children.iter().flat_map(|child| &child.details);
                    let keys: Details =
                        below.filter(|(key, _)| *key == "Group Key").cloned().collect();
                    details.retain(|(key, _)| *key != "Group Key");
                    details.extend(keys);
                }
                kind
            }
            None => Kind::plain("Aggregate"),
        },
        "HashJoinExec" => {
            hash_join(any.downcast_ref::<HashJoinExec>(), &mut children, &mut details, names)
        }
        "LookupJoinExec" => match any.downcast_ref::<LookupJoinExec>() {
            Some(join) if looks_up(join, &children) => {
                lookup_join(join, &mut children, &mut details, estimate, shown)
            }
            join => hash_join(join.map(|join| &join.join), &mut children, &mut details, names),
        },
        "NestedLoopJoinExec" => {
            let join = any.downcast_ref::<NestedLoopJoinExec>();
            if let Some(filter) = join.and_then(|join| join.filter()) {
                let filter = expr::shown(filter.expression().as_ref(), names);
                details.push(("Join Filter", Value::Text(bracketed(filter))));
            }
            join_kind("Nested Loop", "Nested Loop", join.map(|join| *join.join_type()))
        }
        "CrossJoinExec" => join_kind("Nested Loop", "Nested Loop", Some(JoinType::Inner)),
        "UnionExec" => Kind::plain("Append"),
        "UnnestExec" => Kind::plain("ProjectSet"),
        "ApplyExec" => Kind::plain("SubPlan"),
        "LockExec" => {
            details.extend(shown.locks.iter().cloned());
            Kind::plain("LockRows")
        }
        "WindowAggExec" | "BoundedWindowAggExec" | "WindowFrameExec" => Kind::plain("WindowAgg"),
        "WaitingExec" | "EmptyExec" | "PlaceholderRowExec" => Kind::plain("Result"),
        "DataSourceExec" => values(),
        _ => Kind::titled("Custom Scan", format!("Custom Scan ({})", plan.name()))
            .with("Custom Plan Provider", plan.name()),
    };
    Node { details, children, ..Node::leaf(kind, estimate) }
}

fn hash_join(
    join: Option<&HashJoinExec>,
    children: &mut Vec<Node>,
    details: &mut Details,
    names: &Names,
) -> Kind {
    if let Some(join) = join {
        details.push(("Hash Cond", Value::Text(condition(join.on(), names))));
        details.extend(join_filter(join, names));
    }
    if children.len() == 2 {
        let build = children.remove(0);
        let hashed = Estimate { startup: build.estimate.total, ..build.estimate };
        let actual = build.actual;
        children.push(Node { actual, ..Node::over(Kind::plain("Hash"), hashed, build) });
    }
    // The sides change places.
    join_kind("Hash Join", "Hash", join.map(|join| join.join_type().swap()))
}

fn join_filter(join: &HashJoinExec, names: &Names) -> Option<(&'static str, Value)> {
    let filter = join.filter()?;
    let filter = expr::shown(filter.expression().as_ref(), names);
    Some(("Join Filter", Value::Text(bracketed(filter))))
}

/// Whether a join looked rows up, or is expected to.
fn looks_up(join: &LookupJoinExec, children: &[Node]) -> bool {
    let outer = children.get(usize::from(join.way.outer == Outer::Right));
    let expected = outer.is_some_and(|outer| outer.estimate.rows <= join.way.most as f64);
    join.chosen.lock().unwrap_or(expected)
}

/// A join that looks rows up is PostgreSQL's nested loop over an index.
fn lookup_join(
    join: &LookupJoinExec,
    children: &mut [Node],
    details: &mut Details,
    estimate: Estimate,
    shown: &Shown<'_>,
) -> Kind {
    details.extend(join_filter(&join.join, shown.names));
    let swapped = join.way.outer == Outer::Right;
    if let ([left, right], Some(scan)) = (&mut *children, join.inner_scan()) {
        let (outer, inner, below) = match swapped {
            false => (left, right, join.join.left()),
            true => (right, left, join.join.right()),
        };
        let (index, values) = join.way.by();
        inner.kind = index_kind(scan, join.way.is_alone(), &index.name, false, shown);
        let fields = below.schema();
        let positions = scan.table.index_positions(index);
        let keys: Vec<String> = positions
            .iter()
            .zip(values)
            .filter_map(|(&position, from)| {
                let value = shown.names.shown(fields.field(from?).name());
                Some(format!("({} = {value})", scan.table.column_at(position).name))
            })
            .collect();
        // What the scan would have been bounded by is looked at in rows.
        inner.details.retain(|(key, _)| !matches!(*key, "Index Cond" | "Filter at the Leaders"));
        inner.details.retain(|(key, _)| *key != "Columns from the Leaders");
        let conditions = inner.details.iter().position(|(key, _)| *key == "Filter");
        let at = conditions.unwrap_or(inner.details.len());
        inner.details.insert(at, ("Index Cond", Value::Text(joined(&keys))));
        let loops = outer.estimate.rows.max(1.0);
        let rows = (estimate.rows / loops).max(1.0);
        let total = inner.estimate.total * rows / inner.estimate.rows.max(rows);
        inner.estimate = Estimate { startup: 0.0, total, rows, ..inner.estimate };
    }
    if swapped {
        children.reverse();
    }
    let kind = *join.join.join_type();
    join_kind("Nested Loop", "Nested Loop", Some(if swapped { kind.swap() } else { kind }))
}

/// All of these.
fn joined(conditions: &[String]) -> String {
    match conditions {
        [one] => one.clone(),
        _ => format!("({})", conditions.join(" AND ")),
    }
}

/// Whether a condition becomes known while the plan runs.
pub(super) fn is_dynamic(condition: &PhysicalExprRef) -> bool {
    (condition.as_ref() as &dyn Any).is::<DynamicFilterPhysicalExpr>()
}

/// A condition by itself, in parentheses.
fn bracketed(condition: String) -> String {
    if condition.starts_with('(') { condition } else { format!("({condition})") }
}

/// Rows that stand in the statement.
pub(super) fn values() -> Kind {
    Kind::titled("Values Scan", "Values Scan on \"*VALUES*\"").with("Alias", "*VALUES*")
}

/// VERBOSE: the columns of what a node makes.
fn output(plan: &dyn ExecutionPlan, shown: &Shown<'_>) -> Option<(&'static str, Value)> {
    let fields = plan.schema();
    let columns = fields.fields().iter().map(|field| shown.names.shown(field.name())).collect();
    shown.explain.verbose.then_some(("Output", Value::Keys(columns)))
}

fn sort_key<'e>(
    keys: impl Iterator<Item = &'e PhysicalSortExpr>,
    names: &Names,
) -> (&'static str, Value) {
    let key = |key: &PhysicalSortExpr| {
        let order = match (key.options.descending, key.options.nulls_first) {
            (false, false) => "",
            (false, true) => " NULLS FIRST",
            (true, true) => " DESC",
            (true, false) => " DESC NULLS LAST",
        };
        format!("{}{order}", expr::shown(key.expr.as_ref(), names))
    };
    ("Sort Key", Value::Keys(keys.map(key).collect()))
}

fn aggregate_kind(aggregate: &AggregateExec, names: &Names, details: &mut Details) -> Kind {
    let keys = aggregate.group_expr().expr();
    let (part, said) = match aggregate.mode() {
        AggregateMode::Partial => ("Partial", "Partial "),
        AggregateMode::Final | AggregateMode::FinalPartitioned => ("Finalize", "Finalize "),
        _ => ("Simple", ""),
    };
    let (strategy, name) = match (keys.is_empty(), aggregate.input_order_mode()) {
        (true, _) => ("Plain", "Aggregate"),
        (false, InputOrderMode::Sorted) => ("Sorted", "GroupAggregate"),
        (false, _) => ("Hashed", "HashAggregate"),
    };
    for call in aggregate.aggr_expr() {
        let args = call.expressions();
        let args: Vec<String> = args.iter().map(|arg| expr::shown(arg.as_ref(), names)).collect();
        // Rows are counted as ones.
        let counts_rows = args.is_empty() || (call.fun().name() == "count" && args == ["1"]);
        let args = if counts_rows { "*".to_owned() } else { args.join(", ") };
        let distinct = if call.is_distinct() { "DISTINCT " } else { "" };
        let shown = match call.fun().name() {
            // One of a group's keys: a query's aggregate cannot be this.
            "first_value" => args,
            name => format!("{name}({distinct}{args})"),
        };
        names.put_aggregate(call.name(), shown);
    }
    if !keys.is_empty() {
        let keys = keys.iter().map(|(key, _)| expr::shown(key.as_ref(), names)).collect();
        details.push(("Group Key", Value::Keys(keys)));
    }
    Kind::titled("Aggregate", format!("{said}{name}"))
        .with("Strategy", strategy)
        .with("Partial Mode", part)
}

/// `inner`: its title if nothing is kept of rows without a partner.
fn join_kind(inner: &'static str, how: &str, join: Option<JoinType>) -> Kind {
    let kept = match join {
        None | Some(JoinType::Inner) => return Kind::plain(inner).with("Join Type", "Inner"),
        Some(JoinType::Left) => "Left",
        Some(JoinType::Right) => "Right",
        Some(JoinType::Full) => "Full",
        Some(JoinType::LeftSemi) => "Semi",
        Some(JoinType::RightSemi) => "Right Semi",
        Some(JoinType::LeftAnti) => "Anti",
        Some(JoinType::RightAnti) => "Right Anti",
        Some(JoinType::LeftMark) => "Mark",
        Some(JoinType::RightMark) => "Right Mark",
    };
    Kind::titled(inner, format!("{how} {kept} Join")).with("Join Type", kept)
}

/// What a hash join joins on, the outer side first.
fn condition(on: &[(PhysicalExprRef, PhysicalExprRef)], names: &Names) -> String {
    let side = |side: &PhysicalExprRef| expr::shown(side.as_ref(), names);
    let all: Vec<String> =
        on.iter().map(|(left, right)| format!("({} = {})", side(right), side(left))).collect();
    joined(&all)
}

/// The node of a point plan that reads by another index, or in another direction, than the plan that
/// would do the same.
pub(super) fn of_point(
    plan: &dyn ExecutionPlan,
    by: &PointRead,
    shown: &Shown<'_>,
) -> Option<Node> {
    let scan = *scans(plan).first()?;
    let table = &scan.table;
    let index = table.index(by.index)?;
    if scan.access.descriptor(table).id == by.index && scan.is_reverse() == by.reverse {
        return None;
    }
    let estimate = shown.estimates.of(scan, &[]);
    let mut node = Node::leaf(
        index_kind(scan, scan.alone.is_some(), &index.name, by.reverse, shown),
        estimate,
    );
    let positions = table.index_positions(index);
    let bound = &positions[..by.bound.min(positions.len())];
    node.details.extend(conditions(scan, bound));
    if by.locks {
        node = Node::over(Kind::plain("LockRows"), estimate, node);
    }
    Some(if by.limits { Node::over(Kind::plain("Limit"), estimate, node) } else { node })
}

/// How a point plan reads.
pub(super) struct PointRead {
    pub(super) index: IndexId,
    /// Leading columns of the index that have a value or a bound.
    pub(super) bound: usize,
    pub(super) reverse: bool,
    pub(super) locks: bool,
    pub(super) limits: bool,
}

/// The lines of a scan's conditions: those that bound what is read of the index, and the others.
fn conditions(scan: &TableScanExec, bound: &[usize]) -> Details {
    let (inside, outside): (Vec<&Condition>, Vec<&Condition>) =
        scan.conditions.iter().partition(|condition| bound.contains(&condition.column));
    [("Index Cond", inside), ("Filter", outside)]
        .into_iter()
        .filter(|(_, all)| !all.is_empty())
        .map(|(key, all)| {
            let all: Vec<String> =
                all.iter().map(|c| format!("({})", c.shown(&scan.table))).collect();
            (key, Value::Text(joined(&all)))
        })
        .collect()
}

/// What leaders on other nodes do with the rows of a scan.
fn at_leaders(scan: &TableScanExec, bound: &[usize], names: &Names) -> Details {
    let Some(sent) = &scan.sent else { return Vec::new() };
    let checked = scan.conditions.iter().filter(|condition| !bound.contains(&condition.column));
    let checked = checked.map(|condition| format!("({})", condition.shown(&scan.table)));
    let sent_too = sent.filters.iter().map(|filter| bracketed(expr::shown(filter.as_ref(), names)));
    let all: Vec<String> = checked.chain(sent_too).collect();
    let mut details = Vec::new();
    if !all.is_empty() {
        details.push(("Filter at the Leaders", Value::Text(joined(&all))));
    }
    if sent.cuts_rows {
        let columns = decoded(&scan.output, &scan.conditions);
        let columns = columns.iter().map(|&at| scan.table.column_at(at).name.clone());
        details.push(("Columns from the Leaders", Value::Keys(columns.collect())));
    }
    details
}

fn scan_node(
    scan: &TableScanExec,
    plan: &dyn ExecutionPlan,
    estimate: Estimate,
    shown: &Shown<'_>,
) -> Node {
    let (index, reverse) = (scan.access.descriptor(&scan.table), scan.is_reverse());
    let whole = scan.reads_all();
    let kind = if whole && !reverse {
        let title = format!("Seq Scan on {}", relation(&scan.table, &scan.alias, shown));
        on_relation(Kind::titled("Seq Scan", title), &scan.table, &scan.alias, shown)
    } else {
        index_kind(scan, scan.alone.is_some(), &index.name, reverse, shown)
    };
    let mut node = Node::leaf(kind, estimate);
    node.details.extend(output(plan, shown));
    let positions = scan.table.index_positions(index);
    let bound = if whole { 0 } else { (scan.access.constant + 1).min(positions.len()) };
    node.details.extend(conditions(scan, &positions[..bound]));
    node.details.extend(at_leaders(scan, &positions[..bound], shown.of_scans));
    if let Some(details) = shown.scans.get(&scan_id(scan)) {
        node.details.extend(details.iter().cloned());
    }
    node
}

/// `alone`: the index holds all that is wanted.
fn index_kind(
    scan: &TableScanExec,
    alone: bool,
    index: &str,
    reverse: bool,
    shown: &Shown<'_>,
) -> Kind {
    let (only, node_type) = match alone {
        true => (" Only", "Index Only Scan"),
        false => ("", "Index Scan"),
    };
    let (back, direction) = if reverse { (" Backward", "Backward") } else { ("", "Forward") };
    let on = relation(&scan.table, &scan.alias, shown);
    let title = format!("Index{only} Scan{back} using {index} on {on}");
    let kind =
        Kind::titled(node_type, title).with("Scan Direction", direction).with("Index Name", index);
    on_relation(kind, &scan.table, &scan.alias, shown)
}

/// `table alias`; with its schema under VERBOSE.
pub(super) fn relation(table: &Table, alias: &str, shown: &Shown<'_>) -> String {
    let name = match shown.catalog.schema_by_id(table.schema) {
        Some(schema) if shown.explain.verbose => format!("{}.{}", schema.name, table.name),
        _ => table.name.clone(),
    };
    if alias == table.name { name } else { format!("{name} {alias}") }
}

pub(super) fn on_relation(kind: Kind, table: &Table, alias: &str, shown: &Shown<'_>) -> Kind {
    let kind = kind.with("Relation Name", table.name.clone());
    let kind = match shown.catalog.schema_by_id(table.schema) {
        Some(schema) if shown.explain.verbose => kind.with("Schema", schema.name.clone()),
        _ => kind,
    };
    kind.with("Alias", alias)
}
