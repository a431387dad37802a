//! Joins that find one side's rows by the other's, through an index, while that is cheaper than to read all.
//!
//! How many rows the other side, the *outer* one, has turns out as the plan runs: they are read and held
//! until they are all there, or until there are more different keys than look-ups pay off for. Either way
//! the hash join goes on from there, over what is held:
//!
//! ```text
//!   few keys     HashJoin(held, scan of the spans of these keys)
//!   too many     HashJoin(held and the rest, scan as it was)
//! ```
//!
//! So a wrong estimate costs the rows that were held, and no more. Taken for joins whose inner side is a
//! scan, maybe filtered and projected, that is joined by leading columns of an index; a row of the inner
//! side that finds no partner must not be wanted.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use base::{Key, KeyRange};
use catalog::{CodecError, EntryDecoder, Table};
use datafusion::common::{JoinType, NullEquality};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use pgtypes::arrow_bridge::{self, ColumnReader, needs_sort_key};
use pgtypes::{Datum, PgType};

use super::access::{Access, LOOK_UP};
use super::condition::{Comparison, Test};
use super::leaders::with_extension;
use super::operator::column;
use super::scan::{Source, TableScanExec, alone};
use crate::error::SqlError;
use crate::ir::Rel;
use crate::statistics::{Statistics, UNKNOWN_DISTINCT, UNKNOWN_ROWS};

/// Fewer look-ups than this are not worth holding rows for.
const LOOKUPS_MIN: f64 = 20.0;
/// Most look-ups, whatever else would have to be read.
const LOOKUPS_MAX: f64 = 100_000.0;

/// Makes joins of a plan for `rel` look rows up. `always`: however many.
pub(super) fn looking_up(
    plan: Plan,
    rel: &Rel,
    statistics: &Statistics,
    always: bool,
) -> Result<Plan> {
    let mut ordered = false;
    rel.for_each_rel(&mut |node| ordered |= asks_for_order(node));
    let choice = Choice { statistics, always, ordered };
    choice.made(plan, ordered)
}

type Plan = Arc<dyn ExecutionPlan>;

/// What decides which joins look rows up.
struct Choice<'a> {
    statistics: &'a Statistics,
    always: bool,
    /// The query says something of an order, which the plan may find in the order of an index.
    ordered: bool,
}

fn asks_for_order(rel: &Rel) -> bool {
    match rel {
        Rel::Sort { .. } | Rel::DistinctOn { .. } | Rel::Window { .. } => true,
        Rel::Aggregate { aggs, .. } => aggs.iter().any(|agg| !agg.order_by.is_empty()),
        _ => false,
    }
}

impl Choice<'_> {
    /// The plan with its joins chosen; `needed`: somebody may count on the order of its rows.
    fn made(&self, plan: Plan, needed: bool) -> Result<Plan> {
        let below = self.needed_below(&*plan, needed);
        let children: Vec<Plan> = plan.children().into_iter().map(Arc::clone).collect();
        let children = children.into_iter().zip(below);
        let children: Vec<Plan> =
            children.map(|(child, needed)| self.made(child, needed)).collect::<Result<_>>()?;
        let plan = replace_children_if_necessary(plan, children)?;
        let join = plan.downcast_ref::<HashJoinExec>();
        let made =
            join.and_then(|join| LookupJoinExec::of(join, self.statistics, self.always, needed));
        Ok(made.map_or(plan, |made| Arc::new(made) as Plan))
    }

    /// The same of its inputs' rows.
    fn needed_below(&self, plan: &dyn ExecutionPlan, needed: bool) -> Vec<bool> {
        let required = plan.required_input_ordering();
        let keeps = plan.maintains_input_order();
        let below = |at: usize| match plan.name() {
            _ if required.get(at).is_some_and(Option::is_some) => true,
            "SortExec" => false,
            "HashJoinExec" | "NestedLoopJoinExec" | "CrossJoinExec" => keeps[at] && needed,
            _ if plan.fetch().is_some() => self.ordered || needed,
            "ProjectionExec"
            | "FilterExec"
            | "CoalesceBatchesExec"
            | "CooperativeExec"
            | "PlainExec" => needed,
            _ => match plan.downcast_ref::<AggregateExec>() {
                Some(aggregate) => !is_indifferent(aggregate),
                None => self.ordered || needed,
            },
        };
        (0..plan.children().len()).map(below).collect()
    }
}

/// Whether it makes the same of its rows in any order.
fn is_indifferent(aggregate: &AggregateExec) -> bool {
    let calls = aggregate.aggr_expr();
    *aggregate.input_order_mode() == InputOrderMode::Linear
        && calls
            .iter()
            .all(|call| matches!(call.fun().name(), "count" | "sum" | "min" | "max" | "avg"))
}

/// The side of a join that is read first here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outer {
    Left,
    Right,
}

impl Outer {
    /// This side of a join, and the inner one.
    fn sides(self, join: &HashJoinExec) -> (&Plan, &Plan) {
        match self {
            Outer::Left => (join.left(), join.right()),
            Outer::Right => (join.right(), join.left()),
        }
    }
}

/// Where a column of an index gets its value from.
#[derive(Clone, Debug)]
enum Part {
    /// A column of the outer side, which has the type of the index's.
    Outer(usize, PgType),
    /// What a condition says of it.
    Constant(Datum),
}

/// How rows are looked up.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) outer: Outer,
    table: Arc<Table>,
    /// Which index: `None` is the primary one.
    index: Option<usize>,
    /// Its leading columns.
    parts: Vec<Part>,
    /// A key has one row at most.
    points: bool,
    /// The index holds all that is wanted.
    alone: Option<Arc<EntryDecoder>>,
    /// With more different keys, all of the inner side is read.
    pub(crate) most: usize,
}

/// A hash join that looks rows up as long as there are few keys.
pub(crate) struct LookupJoinExec {
    pub(crate) join: HashJoinExec,
    pub(crate) way: Arc<Way>,
    /// Whether rows were looked up, once that is known.
    pub(crate) chosen: Arc<Mutex<Option<bool>>>,
}

impl LookupJoinExec {
    /// `ordered`: somebody may count on the order of the join's rows.
    fn of(
        join: &HashJoinExec,
        statistics: &Statistics,
        always: bool,
        ordered: bool,
    ) -> Option<LookupJoinExec> {
        let collects = matches!(join.partition_mode(), PartitionMode::CollectLeft);
        if !collects || join.null_aware || join.null_equality() != NullEquality::NullEqualsNothing {
            return None;
        }
        let sides = match join.join_type() {
            JoinType::Inner => &[Outer::Left, Outer::Right][..],
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                &[Outer::Left]
            }
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                &[Outer::Right]
            }
            JoinType::Full => &[],
        };
        let ways = sides.iter().filter_map(|&outer| Way::of(join, outer, statistics, always));
        let way = ways.max_by_key(|way| way.most)?;
        // The order of the rows that are looked up is another one than that of the scan.
        let has_order = join.properties().output_ordering().is_some();
        if ordered && has_order && way.outer == Outer::Left {
            return None;
        }
        let join = join.builder().build().ok()?;
        Some(LookupJoinExec { join, way: Arc::new(way), chosen: Arc::default() })
    }

    /// The same way over another join.
    fn around(&self, join: HashJoinExec) -> LookupJoinExec {
        LookupJoinExec { join, way: Arc::clone(&self.way), chosen: Arc::clone(&self.chosen) }
    }

    fn outer(&self) -> &Plan {
        self.way.outer.sides(&self.join).0
    }

    /// The scan of the inner side.
    pub(crate) fn inner_scan(&self) -> Option<&TableScanExec> {
        scan_below(&**self.way.outer.sides(&self.join).1)
    }

    /// The hash join over another outer side.
    fn over(&self, outer: Arc<dyn ExecutionPlan>) -> Result<HashJoinExec> {
        let inner = Arc::clone(self.way.outer.sides(&self.join).1);
        let children = match self.way.outer {
            Outer::Left => vec![outer, inner],
            Outer::Right => vec![inner, outer],
        };
        self.join.builder().with_new_children(children)?.build()
    }
}

impl Way {
    fn of(join: &HashJoinExec, outer: Outer, statistics: &Statistics, always: bool) -> Option<Way> {
        let (outer_plan, inner_plan) = outer.sides(join);
        let scan = scan_below(&**inner_plan)?;
        if scan.locks || scan.unchecked || scan.fetch.is_some() || scan.access.spans.is_empty() {
            return None;
        }
        // What is joined by, by position in the inner table.
        let mut joined: Vec<(usize, Part)> = Vec::new();
        for (left, right) in join.on() {
            let (outer_key, inner_key) = match outer {
                Outer::Left => (left, right),
                Outer::Right => (right, left),
            };
            let (Some(outer_key), Some(inner_key)) = (column(outer_key), column(inner_key)) else {
                continue;
            };
            let (outer_at, inner_at) = (outer_key.index(), inner_key.index());
            let Some(Source::Column(position, ty)) = source_of(&**inner_plan, inner_at) else {
                continue;
            };
            let stored = arrow_bridge::to_arrow_type(ty);
            if !needs_sort_key(ty) && *outer_plan.schema().field(outer_at).data_type() == stored {
                joined.push((position, Part::Outer(outer_at, ty)));
            }
        }
        let estimates = statistics.of(scan.table.id);
        let estimates = estimates.as_deref();
        // There may be rows by now where there were none.
        let rows = estimates.map(|estimates| estimates.rows()).filter(|rows| *rows > 0.0);
        let rows = rows.unwrap_or(UNKNOWN_ROWS);
        let read = if scan.access.is_whole { rows } else { scan.access.rows.unwrap_or(rows) };
        let codec = scan.table.codec();
        let secondary = scan.table.indexes.iter().zip(codec.indexes()).enumerate();
        let secondary = secondary
            .filter(|(_, (index, _))| index.state.is_public() && index.predicate.is_none())
            .map(|(at, (index, codec))| (Some(at), index.unique, codec));
        let mut best: Option<(f64, Way)> = None;
        for (index, unique, codec) in
            std::iter::once((None, true, codec.primary())).chain(secondary)
        {
            let part = |position: usize| {
                let key = joined.iter().find(|(at, _)| *at == position);
                key.map(|(_, part)| part.clone()).or_else(|| constant(scan, position))
            };
            let parts: Vec<Part> = codec.positions().map_while(part).collect();
            if !parts.iter().any(|part| matches!(part, Part::Outer(..))) {
                continue;
            }
            let points = unique && parts.len() == codec.positions().len();
            let alone = index.and_then(|at| alone(&scan.table, at, &scan.output, &scan.conditions));
            let found = if points {
                1.0
            } else {
                let distinct =
                    |at| estimates.and_then(|known| known.distinct(at)).unwrap_or(UNKNOWN_DISTINCT);
                let keys: f64 = codec.positions().take(parts.len()).map(distinct).product();
                (rows / keys.max(1.0)).max(1.0)
            };
            // A seek for the key, and what stands there.
            let cost = match (index, &alone) {
                (None, _) | (_, Some(_)) => LOOK_UP + found,
                (Some(_), None) => LOOK_UP + found * LOOK_UP,
            };
            if best.as_ref().is_none_or(|(known, _)| cost < *known) {
                let (table, alone) = (Arc::clone(&scan.table), alone.map(Arc::new));
                let most = (read / cost).min(LOOKUPS_MAX) as usize;
                best = Some((cost, Way { outer, table, index, parts, points, alone, most }));
            }
        }
        let (cost, way) = best?;
        match always {
            true => Some(Way { most: LOOKUPS_MAX as usize, ..way }),
            false => (read / cost >= LOOKUPS_MIN).then_some(way),
        }
    }

    /// Adds the keys by which partners of these rows are found. The bytes that these take, as spans.
    fn keys_of(&self, batch: &RecordBatch, keys: &mut BTreeSet<Key>) -> Result<usize, SqlError> {
        let codec = match self.index {
            None => self.table.codec().primary(),
            Some(at) => &self.table.codec().indexes()[at],
        };
        let columns: Vec<Option<ColumnReader<'_>>> = self
            .parts
            .iter()
            .map(|part| match part {
                Part::Outer(at, ty) => Some(ColumnReader::new(batch.column(*at), *ty)),
                Part::Constant(_) => None,
            })
            .collect();
        let mut values = Vec::with_capacity(self.parts.len());
        let mut bytes = 0;
        for row in 0..batch.num_rows() {
            values.clear();
            values.extend(self.parts.iter().zip(&columns).map(|(part, column)| match part {
                Part::Outer(..) => column.as_ref().map_or(Datum::Null, |column| column.get(row)),
                Part::Constant(value) => value.clone(),
            }));
            if values.iter().any(Datum::is_null) {
                continue;
            }
            match codec.key_prefix(&values) {
                Ok(key) => {
                    let size = 2 * (key.as_bytes().len() + size_of::<Key>());
                    if keys.insert(key) {
                        bytes += size;
                    }
                }
                // There is no such row.
                Err(CodecError::KeyTooLarge { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(bytes)
    }

    /// What the scan reads instead.
    fn look_up(&self, keys: BTreeSet<Key>, scan: &Access, memory: MemoryReservation) -> LookUp {
        let spans: Vec<KeyRange> = keys.into_iter().map(|key| key.prefix_range()).collect();
        let access = Access {
            index: self.index,
            spans,
            constant: 0,
            points: self.points,
            bounded: true,
            is_whole: false,
            rows: scan.rows,
        };
        LookUp { access: Arc::new(access), alone: self.alone.clone(), _memory: memory }
    }

    /// The index, and where its leading columns get their values from: a column of the outer side, or nothing
    /// where a condition says it.
    pub(crate) fn by(&self) -> (&catalog::Index, Vec<Option<usize>>) {
        let index = self.index.map_or(&self.table.primary, |at| &self.table.indexes[at]);
        let parts = self.parts.iter().map(|part| match part {
            Part::Outer(at, _) => Some(*at),
            Part::Constant(_) => None,
        });
        (index, parts.collect())
    }

    /// Whether rows are made of the index's entries alone.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone.is_some()
    }
}

/// The value that conditions leave a column.
fn constant(scan: &TableScanExec, position: usize) -> Option<Part> {
    scan.conditions.iter().filter(|condition| condition.column == position).find_map(|condition| {
        match &condition.test {
            Test::Compare(Comparison::Equal, value) => Some(Part::Constant(value.clone())),
            _ => None,
        }
    })
}

/// The operator below one that keeps rows as they are, or leaves some of them, or of their columns, out.
fn below(plan: &dyn ExecutionPlan) -> Option<&Arc<dyn ExecutionPlan>> {
    let keeps = plan.is::<FilterExec>()
        || plan.is::<ProjectionExec>()
        || matches!(plan.name(), "CoalesceBatchesExec" | "CooperativeExec" | "PlainExec");
    match plan.children()[..] {
        [input] if keeps && plan.fetch().is_none() => Some(input),
        _ => None,
    }
}

/// The scan that makes the rows of a plan.
fn scan_below(plan: &dyn ExecutionPlan) -> Option<&TableScanExec> {
    match plan.downcast_ref::<TableScanExec>() {
        Some(scan) => Some(scan),
        None => scan_below(&**below(plan)?),
    }
}

/// Where that scan takes a column of the plan from.
fn source_of(plan: &dyn ExecutionPlan, at: usize) -> Option<Source> {
    if let Some(scan) = plan.downcast_ref::<TableScanExec>() {
        return scan.output.get(at).copied();
    }
    let input = below(plan)?;
    let at = if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        column(&projection.expr().get(at)?.expr)?.index()
    } else if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        match filter.projection() {
            Some(projection) => *projection.get(at)?,
            None => at,
        }
    } else {
        at
    };
    source_of(&**input, at)
}

/// What the scan of a join's inner side reads, instead of what it would: found in its context.
#[derive(Debug)]
pub(super) struct LookUp {
    pub(super) access: Arc<Access>,
    pub(super) alone: Option<Arc<EntryDecoder>>,
    /// What the spans take.
    _memory: MemoryReservation,
}

impl fmt::Debug for LookupJoinExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LookupJoinExec({:?})", self.way.outer)
    }
}

impl DisplayAs for LookupJoinExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LookupJoinExec: most={}, ", self.way.most)?;
        self.join.fmt_as(t, f)
    }
}

impl ExecutionPlan for LookupJoinExec {
    fn name(&self) -> &str {
        "LookupJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.join.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.join.children()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.join.maintains_input_order()
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(
            &Arc<dyn datafusion::physical_expr::PhysicalExpr>,
        ) -> Result<datafusion::common::tree_node::TreeNodeRecursion>,
    ) -> Result<datafusion::common::tree_node::TreeNodeRecursion> {
        self.join.apply_expressions(visit)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(self.around(self.join.builder().with_new_children(children)?.build()?)))
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(self.around(self.join.builder().reset_state().build()?)))
    }

    fn fetch(&self) -> Option<usize> {
        self.join.fetch()
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let outer = self.outer().execute(0, Arc::clone(&context))?;
        let this = self.around(self.join.builder().build()?);
        let joined = stream::once(async move { this.joined(outer, context).await }).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), joined)))
    }
}

impl LookupJoinExec {
    /// Reads the outer side as far as it takes to choose, and joins.
    async fn joined(
        self,
        mut outer: SendableRecordBatchStream,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new("LookupJoin").register(context.memory_pool());
        let for_keys = memory.new_empty();
        let mut held = Vec::new();
        let mut keys = BTreeSet::new();
        let mut few = true;
        while few {
            let Some(batch) = outer.next().await else { break };
            let batch = batch?;
            few = memory.try_grow(batch.get_array_memory_size()).is_ok();
            let bytes = self.way.keys_of(&batch, &mut keys).map_err(DataFusionError::from)?;
            few &= keys.len() <= self.way.most && for_keys.try_grow(bytes).is_ok();
            held.push(batch);
        }
        *self.chosen.lock() = Some(few);
        let held = Held::new(held, outer, memory, self.outer().properties());
        let join = self.over(Arc::new(held))?;
        let scan = self.inner_scan().filter(|_| few);
        let context = match scan {
            Some(scan) => {
                let look_up = self.way.look_up(keys, &scan.access, for_keys);
                with_extension(&context, Arc::new(look_up))
            }
            None => context,
        };
        join.execute(0, context)
    }
}

/// Batches that are there, and the rest.
struct Held {
    batches: Mutex<Option<SendableRecordBatchStream>>,
    properties: Arc<PlanProperties>,
}

impl Held {
    fn new(
        held: Vec<RecordBatch>,
        rest: SendableRecordBatchStream,
        memory: MemoryReservation,
        properties: &Arc<PlanProperties>,
    ) -> Held {
        let schema = rest.schema();
        let held = stream::iter(held.into_iter().map(move |batch| {
            memory.shrink(batch.get_array_memory_size().min(memory.size()));
            Ok(batch)
        }));
        let batches = RecordBatchStreamAdapter::new(schema, held.chain(rest));
        let batches = Mutex::new(Some(Box::pin(batches) as SendableRecordBatchStream));
        Held { batches, properties: Arc::clone(properties) }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl DisplayAs for Held {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl ExecutionPlan for Held {
    fn name(&self) -> &str {
        "Held"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    super::over_no_input!();

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batches = self.batches.lock().take();
        batches.ok_or_else(|| SqlError::internal("held rows are read twice").into())
    }
}
