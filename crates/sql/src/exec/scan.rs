//! Reading a table inside a plan: spans of an index, page by page, as record batches.
//!
//! ```text
//!   primary     span -> page of rows ---------------------> decode -> check -> batch
//!   secondary   span -> page of entries -> get_many(rows) -> decode -> check -> batch
//!   that holds all that is wanted  span -> page of entries -> decode -> check -> batch
//! ```
//!
//! Where leaders are other nodes, they may be sent a fragment of the plan ([`TableScanExec::sent`]): then
//! less than the page's rows comes back.
//!
//! As the inner side of a join it may be told, when it runs, to read the spans of some keys (`lookup`).
//!
//! At most one page is in memory, or the parts of one from several small spans. The first page of a scan
//! with a limit is as small as the limit.
//! Conditions taken over from the plan are checked here, on every row, so nothing above repeats it.

use std::fmt;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use catalog::{EntryDecoder, Table};
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    AcrossPartitions, ConstExpr, EquivalenceProperties, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
};
use futures::stream;
use kv::{SpanLock, Txn};
use pgtypes::PgType;

use super::access::Access;
use super::condition::Condition;
use super::decode::Decoding;
use super::leaders::States;
use super::lock::{lock_strength, wait_policy};
use super::lookup::LookUp;
use super::operator::{column, with_constants};
use super::reader::Reader;
use crate::fragment::Sent;
use crate::ir::Scan;

/// How a scan under a locking clause keeps others from inserting into what it reads: not where all of an
/// index is read, or every writer of the table would wait for whoever looks for a row by a column without an
/// index; and rows by their keys have locks of their own.
pub(super) fn span_lock(scan: &Scan, access: &Access) -> Option<SpanLock> {
    let (strength, wait) = scan.lock.filter(|_| !access.is_whole && !access.points)?;
    Some(SpanLock { strength: lock_strength(strength), wait: wait_policy(wait) })
}

/// Where an output column comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Column of the table.
    Column(usize, PgType),
    /// The row's encoded key.
    RowKey,
}

/// Columns that a scan decodes: those wanted, then those only conditions need.
pub(crate) fn decoded(output: &[Source], conditions: &[Condition]) -> Vec<usize> {
    let mut decoded: Vec<usize> = Vec::new();
    for source in output {
        if let Source::Column(at, _) = source {
            decoded.push(*at);
        }
    }
    for condition in conditions {
        if !decoded.contains(&condition.column) {
            decoded.push(condition.column);
        }
    }
    decoded
}

/// What decodes the entries of the index at a place, if they hold all that is wanted.
pub(crate) fn alone(
    table: &Table,
    at: usize,
    output: &[Source],
    conditions: &[Condition],
) -> Option<EntryDecoder> {
    let codec = table.codec();
    EntryDecoder::new(codec, &codec.indexes()[at], &decoded(output, conditions))
}

/// A leaf of a physical plan that reads a table.
#[derive(Clone)]
pub(crate) struct TableScanExec {
    pub(crate) txn: Arc<Txn>,
    pub(crate) table: Arc<Table>,
    pub(crate) alias: Arc<str>,
    pub(crate) access: Arc<Access>,
    pub(crate) conditions: Arc<[Condition]>,
    pub(crate) output: Arc<[Source]>,
    /// The index read holds all that is wanted: rows are not looked up.
    pub(crate) alone: Option<Arc<EntryDecoder>>,
    /// Under SKIP LOCKED.
    pub(crate) unchecked: bool,
    /// Under another locking clause: see [`span_lock`].
    pub(crate) span_lock: Option<SpanLock>,
    /// Under any locking clause: what is read is looked at again.
    pub(crate) locks: bool,
    /// What leaders make of the rows, if that is less.
    pub(crate) sent: Option<Arc<Sent>>,
    /// It reads the spans of keys, and in any order.
    pub(super) scattered: bool,
    pub(super) reverse: bool,
    pub(crate) fetch: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl TableScanExec {
    /// A forward scan. `schema` has one field per entry of `output`.
    pub(crate) fn new(
        txn: Arc<Txn>,
        scan: &Scan,
        access: Access,
        conditions: Vec<Condition>,
        output: Vec<Source>,
        schema: SchemaRef,
        fetch: Option<usize>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        let span_lock = span_lock(scan, &access);
        let alone = access.index.and_then(|at| alone(&scan.table, at, &output, &conditions));
        let mut scan = TableScanExec {
            txn,
            table: Arc::clone(&scan.table),
            alias: Arc::clone(&scan.alias),
            unchecked: scan.skips_locked(),
            span_lock,
            locks: scan.lock.is_some(),
            sent: None,
            alone: alone.map(Arc::new),
            access: Arc::new(access),
            conditions: conditions.into(),
            output: output.into(),
            scattered: false,
            reverse: false,
            fetch,
            properties: Arc::new(properties),
        };
        scan.declare_order(&[]);
        scan
    }

    /// How its rows are decoded.
    pub(crate) fn decoding(&self) -> Decoding {
        let entries = self.access.index.zip(self.alone.clone());
        Decoding::new(
            Arc::clone(&self.table),
            Arc::clone(&self.output),
            Arc::clone(&self.conditions),
            self.schema(),
            entries,
        )
    }

    /// The same scan, for which leaders do a part of the plan.
    pub(crate) fn sending(&self, sent: Sent) -> TableScanExec {
        TableScanExec { sent: Some(Arc::new(sent)), ..self.clone() }
    }

    /// Whether it reads from the end.
    pub(crate) fn is_reverse(&self) -> bool {
        self.reverse
    }

    /// Tells the planner in which order rows come. The `wanted` order, in which they come, says at which end
    /// NULLs are to be taken for of columns that have none.
    fn declare_order(&mut self, wanted: &[PhysicalSortExpr]) {
        // The planner takes NULLs to be possible everywhere.
        let wanted_nulls = |nullable: bool, at: usize| {
            let is_it = |key: &&PhysicalSortExpr| {
                column(&key.expr).is_some_and(|column| column.index() == at)
            };
            wanted.iter().find(is_it).filter(|_| !nullable).map(|key| key.options.nulls_first)
        };
        let mut order = Vec::new();
        for (nth, column) in self.index_columns().into_iter().enumerate() {
            if nth < self.access.constant {
                continue;
            }
            let Some(at) = self.position_of(column.position) else { break };
            if pgtypes::arrow_bridge::needs_sort_key(column.ty) {
                break;
            }
            let name = self.schema().field(at).name().clone();
            let descending = column.descending != self.reverse;
            let nulls_first =
                wanted_nulls(column.nullable, at).unwrap_or(column.nulls_first != self.reverse);
            order.push(PhysicalSortExpr::new(
                Arc::new(Column::new(&name, at)),
                SortOptions { descending, nulls_first },
            ));
        }
        let mut equivalence = EquivalenceProperties::new(self.schema());
        if !order.is_empty() {
            equivalence.add_ordering(order);
        }
        // An order by what is the same in all rows is kept whatever it says.
        let fixed = self.index_columns().into_iter().take(self.access.constant);
        let fixed = fixed.filter_map(|column| self.position_of(column.position));
        let constants: Vec<ConstExpr> = fixed
            .map(|at| {
                let name = self.schema().field(at).name().clone();
                ConstExpr::new(Arc::new(Column::new(&name, at)), AcrossPartitions::Uniform(None))
            })
            .collect();
        let equivalence = with_constants(equivalence, constants);
        let properties = PlanProperties::new(
            equivalence,
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        self.properties = Arc::new(properties);
    }

    fn index_columns(&self) -> Vec<IndexColumn> {
        let index = self.access.descriptor(&self.table);
        index
            .columns
            .iter()
            .zip(self.table.index_positions(index))
            .map(|(column, position)| IndexColumn {
                position,
                ty: self.table.column_at(position).ty,
                nullable: self.table.column_at(position).nullable,
                descending: column.descending,
                nulls_first: column.nulls_first(),
            })
            .collect()
    }

    /// Whether all of the table is read, in the order of its rows.
    pub(crate) fn reads_all(&self) -> bool {
        let spans = &self.access.spans;
        self.access.index.is_none() && spans.len() == 1 && spans[0] == self.table.codec().span()
    }

    fn position_of(&self, column: usize) -> Option<usize> {
        self.output
            .iter()
            .position(|source| matches!(source, Source::Column(at, _) if *at == column))
    }

    /// Whether rows come in this order when read forwards (`Some(false)`) or backwards.
    fn direction_for(&self, order: &[PhysicalSortExpr]) -> Option<bool> {
        let columns = self.index_columns();
        let mut next = 0;
        let mut reverse = None;
        for key in order {
            let column = column(&key.expr)?;
            let Source::Column(position, ty) = *self.output.get(column.index())? else {
                return None;
            };
            let fixed = &columns[..self.access.constant.min(columns.len())];
            if fixed.iter().any(|c| c.position == position) {
                continue;
            }
            next = next.max(self.access.constant);
            let index = columns.get(next)?;
            if index.position != position || pgtypes::arrow_bridge::needs_sort_key(ty) {
                return None;
            }
            let wanted = key.options.descending != index.descending;
            if reverse.is_some_and(|known| known != wanted) {
                return None;
            }
            // Backwards, NULLs are at the other end.
            if index.nullable && key.options.nulls_first != (index.nulls_first != wanted) {
                return None;
            }
            reverse = Some(wanted);
            next += 1;
        }
        Some(reverse.unwrap_or(false))
    }
}

struct IndexColumn {
    position: usize,
    ty: PgType,
    nullable: bool,
    descending: bool,
    nulls_first: bool,
}

impl fmt::Debug for TableScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableScanExec({} as {})", self.table.name, self.alias)
    }
}

impl DisplayAs for TableScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = &self.access.descriptor(&self.table).name;
        write!(
            f,
            "TableScanExec: {} as {}, index={index}, spans={}, conditions={}, reverse={}",
            self.table.name,
            self.alias,
            self.access.spans.len(),
            self.conditions.len(),
            self.reverse
        )
    }
}

impl ExecutionPlan for TableScanExec {
    fn name(&self) -> &str {
        "TableScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    super::over_no_input!();

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let mut scan = self.clone();
        scan.fetch = limit;
        Some(Arc::new(scan))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        // A limit that is already here counts rows in the present order.
        if self.fetch.is_some() {
            return Ok(SortOrderPushdownResult::Unsupported);
        }
        let Some(reverse) = self.direction_for(order) else {
            return Ok(SortOrderPushdownResult::Unsupported);
        };
        let mut scan = self.clone();
        scan.reverse = reverse;
        scan.declare_order(order);
        Ok(SortOrderPushdownResult::Exact { inner: Arc::new(scan) })
    }

    fn partition_statistics(&self, _: Option<usize>) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        if let Some(rows) = self.access.rows {
            let rows = self.fetch.map_or(rows, |fetch| rows.min(fetch as f64));
            statistics.num_rows = Precision::Inexact(rows.max(1.0) as usize);
        }
        Ok(Arc::new(statistics))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let states = context.session_config().get_extension::<States>();
        let mut scan = self.clone();
        if let Some(look_up) = context.session_config().get_extension::<LookUp>() {
            scan.access = Arc::clone(&look_up.access);
            scan.alone = look_up.alone.clone();
            scan.sent = None;
            scan.scattered = true;
        }
        let reader = Reader::new(scan, states);
        let batches = stream::try_unfold(reader, |mut reader| async move {
            let batch = reader.next().await.map_err(DataFusionError::from)?;
            Ok::<_, DataFusionError>(batch.map(|batch| (batch, reader)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}
