//! What a plan is expected to cost and to make: COSTS.
//!
//! Costs have PostgreSQL's unit (one page read in passing is 1) and its formulas, reduced to what differs
//! here: a span of an index is one seek, and a row that an index's entry leads to is a look-up
//! ([`crate::exec::LOOK_UP`]). They compare plans; they are no times. Rows come from the tables' statistics,
//! columns being taken for independent; where nothing is known, from PostgreSQL's constants.

use std::any::Any;

use arrow::datatypes::DataType;
use datafusion::common::JoinType;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::names::Names;
use super::operator::is_dynamic;
use crate::exec::LOOK_UP;
use crate::exec::lookup::LookupJoinExec;
use crate::exec::scan::TableScanExec;
use crate::statistics::{Statistics, UNKNOWN_DISTINCT, UNKNOWN_ROWS, unknown_rows};

/// A page read in passing.
const PAGE: f64 = 1.0;
/// The first entry of a span.
const SEEK: f64 = 4.0;
/// A row at hand.
const TUPLE: f64 = 0.01;
/// An entry of an index.
const ENTRY: f64 = 0.005;
/// An operator or function, once.
const OPERATOR: f64 = 0.0025;

/// Bytes of a page.
const PAGE_BYTES: f64 = 8_192.0;
/// Bytes of a row besides its columns.
const ROW_BYTES: f64 = 24.0;
/// Bytes of a value of any length.
const UNKNOWN_WIDTH: u64 = 32;
/// Rows of a set-returning function, and of whatever else tells nothing.
const FUNCTION_ROWS: f64 = 1_000.0;
/// Elements of an array that becomes rows.
const ELEMENTS: f64 = 10.0;
/// The share of rows an equality leaves of which nothing is known, and any other condition.
const EQUAL_SHARE: f64 = 0.005;
const OTHER_SHARE: f64 = 1.0 / 3.0;

/// What is expected of a node.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Estimate {
    /// Cost until the first row.
    pub(super) startup: f64,
    /// Cost of all rows.
    pub(super) total: f64,
    /// How many there are.
    pub(super) rows: f64,
    /// Bytes of a row.
    pub(super) width: u64,
}

/// What estimates are made from.
pub(super) struct Estimates<'a> {
    pub(super) statistics: &'a Statistics,
    pub(super) names: &'a Names,
}

impl Estimate {
    /// Rows that are given in the statement.
    pub(super) fn given(rows: usize) -> Estimate {
        Estimate { startup: 0.0, total: TUPLE * rows as f64, rows: rows as f64, width: 0 }
    }

    /// A write of these rows, which returns them or not.
    pub(super) fn written(self, returned: bool) -> Estimate {
        let (rows, width) = if returned { (self.rows, self.width) } else { (0.0, 0) };
        Estimate { rows, width, ..self }
    }

    /// Only so many rows of these.
    pub(super) fn limited(self, skipped: usize, fetch: Option<usize>) -> Estimate {
        let rows = self.rows.max(1.0);
        let begin = (skipped as f64).min(rows);
        let end = fetch.map_or(rows, |fetch| (begin + fetch as f64).min(rows));
        let cost = |at: f64| self.startup + (self.total - self.startup) * at / rows;
        Estimate {
            startup: cost(begin),
            total: cost(end),
            rows: clamped(end - begin),
            width: self.width,
        }
    }

    /// So much more for each row.
    fn each(self, cost: f64) -> Estimate {
        Estimate { total: self.total + self.rows * cost, ..self }
    }
}

/// At least one row, and a whole number of them, as PostgreSQL says it.
fn clamped(rows: f64) -> f64 {
    if rows.is_finite() { rows.round().max(1.0) } else { f64::MAX }
}

impl Estimates<'_> {
    /// Of an operator without the limit that DataFusion keeps inside it.
    pub(super) fn of(&self, plan: &dyn ExecutionPlan, inputs: &[Estimate]) -> Estimate {
        let made = self.made(plan, inputs);
        let rows = if made.rows == 0.0 { 0.0 } else { clamped(made.rows) };
        Estimate { rows, width: self.width(plan), ..made }
    }

    fn made(&self, plan: &dyn ExecutionPlan, inputs: &[Estimate]) -> Estimate {
        let any = plan as &dyn Any;
        if let Some(scan) = any.downcast_ref::<TableScanExec>() {
            return self.scan(scan);
        }
        if let (Some(filter), [input]) = (any.downcast_ref::<FilterExec>(), inputs) {
            let mut conditions = split_conjunction(filter.predicate());
            conditions.retain(|condition| !is_dynamic(condition));
            let share: f64 =
                conditions.iter().map(|c| self.share(c.as_ref(), input.rows)).product();
            let cost = OPERATOR * conditions.len() as f64;
            return Estimate { rows: input.rows * share, ..input.each(cost) };
        }
        let looks_up = || any.downcast_ref::<LookupJoinExec>().map(|join| &join.join);
        let hash_join = any.downcast_ref::<HashJoinExec>().or_else(looks_up);
        if let (Some(join), [left, right]) = (hash_join, inputs) {
            let keys = join.on().len() as f64 * OPERATOR;
            let shares = join.on().iter().map(|(l, r)| {
                let values = |side: &dyn PhysicalExpr, rows| self.distinct(side, rows);
                let (l, r) = (values(l.as_ref(), left.rows), values(r.as_ref(), right.rows));
                1.0 / l.max(r).max(1.0)
            });
            let share = shares.product::<f64>() * join.filter().map_or(1.0, |_| OTHER_SHARE);
            let startup = left.total + left.rows * (keys + TUPLE) + right.startup;
            let rows = joined(*join.join_type(), left.rows, right.rows, share);
            let total = startup + (right.total - right.startup) + right.rows * keys + rows * TUPLE;
            return Estimate { startup, total, rows, width: 0 };
        }
        if let (Some(join), [left, right]) = (any.downcast_ref::<NestedLoopJoinExec>(), inputs) {
            let share = join.filter().map_or(1.0, |_| OTHER_SHARE);
            let rows = joined(*join.join_type(), left.rows, right.rows, share);
            let total = left.total + right.total + left.rows * right.rows * OPERATOR + rows * TUPLE;
            return Estimate { startup: left.total + right.startup, total, rows, width: 0 };
        }
        if let (Some(aggregate), [input]) = (any.downcast_ref::<AggregateExec>(), inputs) {
            let keys = aggregate.group_expr().expr();
            let calls = aggregate.aggr_expr().len() + keys.len();
            let groups: f64 =
                keys.iter().map(|(key, _)| self.distinct(key.as_ref(), input.rows)).product();
            let groups = groups.min(input.rows).max(1.0);
            let startup = input.total + input.rows * OPERATOR * calls as f64;
            return Estimate { startup, total: startup + groups * TUPLE, rows: groups, width: 0 };
        }
        match (plan.name().split('(').next().unwrap_or_default(), inputs) {
            ("SortExec", [input]) => {
                let rows = input.rows.max(2.0);
                let startup = input.total + 2.0 * OPERATOR * rows * rows.log2();
                Estimate { startup, total: startup + input.rows * OPERATOR, ..*input }
            }
            ("CrossJoinExec", [left, right]) => Estimate {
                startup: left.total + right.startup,
                total: left.total + right.total + left.rows * right.rows * TUPLE,
                rows: left.rows * right.rows,
                width: 0,
            },
            ("UnnestExec", [input]) => {
                let rows = input.rows * ELEMENTS;
                Estimate { rows, total: input.total + rows * TUPLE, ..*input }
            }
            ("ApplyExec", [input]) => input.each(SEEK),
            ("LockExec", [input]) => input.each(TUPLE),
            ("WindowAggExec" | "BoundedWindowAggExec", [input]) => input.each(OPERATOR),
            ("PlaceholderRowExec", []) => Estimate::given(1),
            ("EmptyExec", []) => Estimate::default(),
            (_, []) => {
                let known = StatisticsContext::new().compute(plan, &StatisticsArgs::new()).ok();
                let rows = known.and_then(|known| known.num_rows.get_value().copied());
                Estimate::given(rows.unwrap_or(FUNCTION_ROWS as usize))
            }
            (_, [input]) => *input,
            (_, all) => Estimate {
                startup: all[0].startup,
                total: all.iter().map(|input| input.total).sum(),
                rows: all.iter().map(|input| input.rows).sum(),
                width: 0,
            },
        }
    }

    fn scan(&self, scan: &TableScanExec) -> Estimate {
        let (table, access) = (&scan.table, &scan.access);
        let known = self.statistics.of(table.id);
        let whole = known.as_ref().map_or(UNKNOWN_ROWS, |known| known.rows());
        let rows_where = |keep: &dyn Fn(usize) -> bool| {
            let conditions = scan.conditions.iter().filter(|c| keep(c.column));
            match &known {
                Some(known) => known.rows_where(conditions),
                None => unknown_rows(UNKNOWN_ROWS, conditions),
            }
        };
        let found = access.rows.unwrap_or_else(|| rows_where(&|_| true));
        let checks = scan.conditions.len() as f64 * OPERATOR;
        let bytes: f64 = (0..table.columns.len())
            .map(|at| known.as_ref().and_then(|known| known.width(at)).unwrap_or(8) as f64)
            .sum();
        let pages = |rows: f64| (rows * (bytes + ROW_BYTES) / PAGE_BYTES).ceil().max(1.0) * PAGE;
        if scan.reads_all() {
            let total = pages(whole) + whole * (TUPLE + checks);
            return Estimate { startup: 0.0, total, rows: found, width: 0 };
        }
        let positions = table.index_positions(access.descriptor(table));
        let bound = &positions[..(access.constant + 1).min(positions.len())];
        let entries = rows_where(&|column| bound.contains(&column)).max(found);
        let row = match (access.index, &scan.alone) {
            (Some(_), None) => TUPLE * LOOK_UP,
            _ => TUPLE,
        };
        let seeks = SEEK * access.spans.len() as f64;
        let read = if access.points { 0.0 } else { pages(entries) - PAGE };
        let total = seeks + read + entries * (ENTRY + row + checks);
        Estimate { startup: 0.0, total, rows: found, width: 0 }
    }

    /// The share of rows for which a condition holds.
    fn share(&self, condition: &dyn PhysicalExpr, rows: f64) -> f64 {
        match (condition as &dyn Any).downcast_ref::<BinaryExpr>() {
            Some(call) if *call.op() == Operator::Eq => {
                let known = [call.left(), call.right()]
                    .into_iter()
                    .filter_map(|side| self.known_distinct(side.as_ref()))
                    .fold(0.0, f64::max);
                if known > 0.0 { 1.0 / known.min(rows).max(1.0) } else { EQUAL_SHARE }
            }
            _ => OTHER_SHARE,
        }
    }

    /// How many values an expression has in so many rows.
    fn distinct(&self, expr: &dyn PhysicalExpr, rows: f64) -> f64 {
        self.known_distinct(expr).unwrap_or(UNKNOWN_DISTINCT).min(rows.max(1.0))
    }

    fn known_distinct(&self, expr: &dyn PhysicalExpr) -> Option<f64> {
        let column = (expr as &dyn Any).downcast_ref::<Column>()?;
        let (table, position) = self.names.origin(column.name())?;
        self.statistics.of(table)?.distinct(position)
    }

    fn width(&self, plan: &dyn ExecutionPlan) -> u64 {
        let schema = plan.schema();
        let widths = schema.fields().iter().map(|field| {
            let known = self
                .names
                .origin(field.name())
                .and_then(|(table, position)| self.statistics.of(table)?.width(position));
            known.unwrap_or_else(|| match field.data_type() {
                DataType::Boolean => 1,
                other => other.primitive_width().map_or(UNKNOWN_WIDTH, |width| width as u64),
            })
        });
        widths.sum()
    }
}

/// How many rows a join makes, of whose pairs a share fits.
fn joined(kind: JoinType, left: f64, right: f64, share: f64) -> f64 {
    let pairs = left * right * share;
    // Of the rows of one side, those that have a partner.
    let partners = |own: f64, other: f64| own * (other * share).min(1.0);
    match kind {
        JoinType::Inner => pairs,
        JoinType::Left => pairs.max(left),
        JoinType::Right => pairs.max(right),
        JoinType::Full => pairs.max(left).max(right),
        JoinType::LeftSemi => partners(left, right),
        JoinType::RightSemi => partners(right, left),
        JoinType::LeftAnti => left - partners(left, right),
        JoinType::RightAnti => right - partners(right, left),
        JoinType::LeftMark => left,
        JoinType::RightMark => right,
    }
}
