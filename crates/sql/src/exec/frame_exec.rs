//! A window function over a frame that DataFusion does not know: see `frame`.
//!
//! All rows of the input are held in memory, accounted for, and put in order here: what comes out is in
//! the order of the window.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use futures::stream::BoxStream;
use pgtypes::{Datum, EvalEnv, PgType, arrow_bridge};

use super::ExecContext;
use super::frame::{Bound, Partition, Shape, check_offset};
use super::operator::{self, Input, Work};
use super::provider::field;
use crate::error::{SqlError, SqlState};
use crate::ir::{
    FrameBound, FrameExclusion, RelColumn, Scalar, SortKey, WindowCall, WindowFunc, eval,
};

/// Rows of one batch of the result.
const BATCH_ROWS: usize = 4_096;

/// What is computed.
#[derive(Debug)]
pub(super) struct Frames {
    env: Arc<EvalEnv>,
    column: RelColumn,
    func: WindowFunc,
    /// Types of the columns that are read: arguments, the filter, partition keys, order keys.
    types: Vec<PgType>,
    args: usize,
    filter: bool,
    partitions: usize,
    /// Direction and NULLs of each order key.
    order: Vec<(bool, bool)>,
    shape: Shape,
}

/// Whether a call needs this.
pub(crate) fn needed(call: &WindowCall) -> bool {
    let offset =
        |bound: &FrameBound| matches!(bound, FrameBound::Preceding(_) | FrameBound::Following(_));
    let range = call.frame.units == crate::ir::FrameUnits::Range
        && (offset(&call.frame.start) || offset(&call.frame.end));
    uses_frame(&call.func) && (range || call.frame.exclude != FrameExclusion::Nothing)
}

/// Whether the frame matters to a function.
pub(crate) fn uses_frame(func: &WindowFunc) -> bool {
    matches!(
        func,
        WindowFunc::Aggregate(_)
            | WindowFunc::FirstValue
            | WindowFunc::LastValue
            | WindowFunc::NthValue
    )
}

/// What of a call is read from the input, in order.
pub(crate) fn inputs(call: &WindowCall) -> Vec<Scalar> {
    let mut all = call.args.clone();
    all.extend(call.filter.clone());
    all.extend(call.partition_by.iter().cloned());
    all.extend(call.order_by.iter().map(|key| key.expr.clone()));
    all
}

/// The node over `input`; `exprs` are the columns of [`inputs`].
pub(crate) fn node(
    ctx: &ExecContext,
    input: LogicalPlan,
    call: &WindowCall,
    exprs: Vec<Expr>,
) -> std::result::Result<LogicalPlan, SqlError> {
    let bound = |bound: &FrameBound, which: &str| -> std::result::Result<Bound, SqlError> {
        let value = |scalar: &Scalar| {
            if !scalar.is_row_independent() {
                return Err(SqlError::unsupported(
                    "a window frame whose offset is a column of a query around it",
                ));
            }
            let value = eval(scalar, &ctx.env, &[], &ctx.params)?;
            check_offset(&value, call.frame.units, which)?;
            Ok(value)
        };
        Ok(match bound {
            FrameBound::UnboundedPreceding | FrameBound::UnboundedFollowing => Bound::Unbounded,
            FrameBound::CurrentRow => Bound::Current,
            FrameBound::Preceding(offset) => Bound::Preceding(value(offset)?),
            FrameBound::Following(offset) => Bound::Following(value(offset)?),
        })
    };
    let offset_ty = [&call.frame.start, &call.frame.end].into_iter().find_map(|b| match b {
        FrameBound::Preceding(s) | FrameBound::Following(s) => Some(s.ty()),
        _ => None,
    });
    let key = match call.order_by.as_slice() {
        [SortKey { expr, .. }] => offset_ty.map(|offset| (expr.ty(), offset)),
        _ => None,
    };
    let shape = Shape {
        units: call.frame.units,
        start: bound(&call.frame.start, "starting")?,
        end: bound(&call.frame.end, "ending")?,
        exclude: call.frame.exclude,
        key: key.filter(|_| call.frame.units == crate::ir::FrameUnits::Range),
        desc: call.order_by.first().is_some_and(|key| key.desc),
    };
    let frames = Frames {
        env: Arc::clone(&ctx.env),
        column: call.column.clone(),
        func: call.func.clone(),
        types: inputs(call).iter().map(Scalar::ty).collect(),
        args: call.args.len(),
        filter: call.filter.is_some(),
        partitions: call.partition_by.len(),
        order: call.order_by.iter().map(|key| (key.desc, key.nulls_first)).collect(),
        shape,
    };
    let node = FrameNode::new(input, Arc::new(frames), exprs)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

/// The node of a logical plan.
#[derive(Debug, Clone)]
pub(super) struct FrameNode {
    input: LogicalPlan,
    schema: DFSchemaRef,
    frames: Arc<Frames>,
    exprs: Vec<Expr>,
}

impl FrameNode {
    fn new(input: LogicalPlan, frames: Arc<Frames>, exprs: Vec<Expr>) -> Result<Self> {
        let mut fields: Vec<_> =
            input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        fields.push((None, Arc::new(field(&frames.column))));
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?;
        Ok(FrameNode { input, schema: Arc::new(schema), frames, exprs })
    }
}

super::our_node_traits!(FrameNode, frames, exprs);

impl UserDefinedLogicalNodeCore for FrameNode {
    fn name(&self) -> &str {
        "WindowFrame"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.exprs.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowFrame: {}", self.frames.column.name)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.into_iter().next();
        let input = input.ok_or_else(|| SqlError::internal("WindowFrame without an input"))?;
        FrameNode::new(input, Arc::clone(&self.frames), exprs)
    }
}

/// The operator for a node, if it is one of ours.
pub(super) fn plan(
    node: &dyn UserDefinedLogicalNode,
    logical: &LogicalPlan,
    physical: &Arc<dyn ExecutionPlan>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(node) = node.as_any().downcast_ref::<FrameNode>() else { return Ok(None) };
    operator::over(&node.frames, &node.exprs, logical, physical).map(Some)
}

impl Work for Frames {
    const NAME: &'static str = "WindowFrameExec";
    const KEEPS_ORDER: bool = false;

    fn shown(&self) -> String {
        self.column.name.to_string()
    }

    fn made(&self) -> Vec<FieldRef> {
        vec![Arc::new(field(&self.column))]
    }

    fn run(self: Arc<Self>, input: Input) -> BoxStream<'static, Result<RecordBatch>> {
        let held = MemoryConsumer::new("window frame").register(&input.memory);
        let whole = async move {
            let Input { mut batches, columns, schema, memory: _ } = input;
            let mut rows = Vec::new();
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                // The rows, and their values as they are compared.
                held.try_grow(batch.get_array_memory_size().saturating_mul(3))?;
                rows.push(batch);
            }
            let batch = concat_batches(&batches.schema(), &rows)?;
            drop(rows);
            let batch = self.over(&batch, &columns, &schema).await;
            Ok::<_, DataFusionError>((batch.map_err(DataFusionError::from)?, held))
        };
        // The memory is given back with the last slice.
        let slices = futures::stream::once(whole).flat_map(|whole| {
            let (batch, held) = match whole {
                Ok(whole) => whole,
                Err(error) => return futures::stream::iter(vec![Err(error)]).left_stream(),
            };
            let count = batch.num_rows().div_ceil(BATCH_ROWS);
            let slice = move |n: usize| {
                let _held = &held;
                let from = n * BATCH_ROWS;
                Ok(batch.slice(from, BATCH_ROWS.min(batch.num_rows() - from)))
            };
            futures::stream::iter((0..count).map(slice)).right_stream()
        });
        Box::pin(slices)
    }
}

impl Frames {
    async fn over(
        &self,
        batch: &RecordBatch,
        at: &[usize],
        schema: &SchemaRef,
    ) -> std::result::Result<RecordBatch, SqlError> {
        let values: Vec<Vec<Datum>> = at
            .iter()
            .zip(&self.types)
            .map(|(&at, ty)| {
                let reader = arrow_bridge::ColumnReader::new(batch.column(at), *ty);
                (0..batch.num_rows()).map(|row| reader.get(row)).collect()
            })
            .collect();
        let mut order: Vec<u32> =
            (0..u32::try_from(batch.num_rows()).unwrap_or(u32::MAX)).collect();
        let input = Values { frames: self, values: &values };
        order.sort_by(|&a, &b| input.order(a as usize, b as usize));
        let mut results = arrow_bridge::ColumnBuilder::new(self.column.ty, order.len());
        let mut from = 0;
        while from < order.len() {
            let first = order[from] as usize;
            let rest = &order[from..];
            let length = rest
                .iter()
                .position(|&row| input.partition_order(first, row as usize) != Ordering::Equal)
                .unwrap_or(rest.len());
            input.partition(&order[from..from + length], &mut results).await?;
            from += length;
        }
        let batch = take_record_batch(batch, &UInt32Array::from(order));
        let batch = batch.map_err(DataFusionError::from)?;
        let mut columns = batch.columns().to_vec();
        columns.push(results.finish());
        let batch = RecordBatch::try_new(Arc::clone(schema), columns);
        Ok(batch.map_err(DataFusionError::from)?)
    }
}

/// Values by column, and what they are.
struct Values<'a> {
    frames: &'a Frames,
    values: &'a [Vec<Datum>],
}

fn nulls_aside(left: &Datum, right: &Datum, desc: bool, nulls_first: bool) -> Ordering {
    match (left.is_null(), right.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) if nulls_first => Ordering::Less,
        (true, false) => Ordering::Greater,
        (false, true) if nulls_first => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if desc => pgtypes::compare(right, left),
        (false, false) => pgtypes::compare(left, right),
    }
}

impl Values<'_> {
    fn keys(&self) -> (usize, usize) {
        let partitions = self.frames.args + usize::from(self.frames.filter);
        (partitions, partitions + self.frames.partitions)
    }

    fn partition_order(&self, left: usize, right: usize) -> Ordering {
        let (from, to) = self.keys();
        let columns = &self.values[from..to];
        let compare =
            |column: &Vec<Datum>| nulls_aside(&column[left], &column[right], false, false);
        columns.iter().map(compare).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    fn key_order(&self, left: usize, right: usize) -> Ordering {
        let (_, from) = self.keys();
        let columns = self.values[from..].iter().zip(&self.frames.order);
        columns
            .map(|(column, (desc, first))| {
                nulls_aside(&column[left], &column[right], *desc, *first)
            })
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    fn order(&self, left: usize, right: usize) -> Ordering {
        self.partition_order(left, right).then_with(|| self.key_order(left, right))
    }

    /// Computes the results of the rows of one partition, which are in order.
    async fn partition(
        &self,
        rows: &[u32],
        results: &mut arrow_bridge::ColumnBuilder,
    ) -> std::result::Result<(), SqlError> {
        let frames = self.frames;
        let row = |n: usize| rows[n] as usize;
        let same = |n: usize| n > 0 && self.key_order(row(n - 1), row(n)).is_eq();
        let (_, key) = self.keys();
        let keys = match frames.shape.key {
            Some(_) => (0..rows.len()).map(|n| self.values[key][row(n)].clone()).collect(),
            None => Vec::new(),
        };
        let partition = Partition::new(&frames.shape, &frames.env, rows.len(), same, keys);
        let mut last: Option<(Vec<Range<usize>>, Datum)> = None;
        let mut growing = Growing::default();
        for n in 0..rows.len() {
            tokio::task::coop::consume_budget().await;
            let stretches = partition.frame(n)?;
            let value = match &last {
                Some((known, value))
                    if *known == stretches && frames.func != WindowFunc::NthValue =>
                {
                    value.clone()
                }
                _ => self.value(rows, n, &stretches, &mut growing).await?,
            };
            results.push(&value);
            last = Some((stretches, value));
        }
        Ok(())
    }

    async fn value(
        &self,
        rows: &[u32],
        n: usize,
        stretches: &[Range<usize>],
        growing: &mut Growing,
    ) -> std::result::Result<Datum, SqlError> {
        let arg = |at: usize| self.values[0][rows[at] as usize].clone();
        Ok(match &self.frames.func {
            WindowFunc::FirstValue => stretches.first().map_or(Datum::Null, |s| arg(s.start)),
            WindowFunc::LastValue => stretches.last().map_or(Datum::Null, |s| arg(s.end - 1)),
            WindowFunc::NthValue => {
                let nth = match self.values[1][rows[n] as usize].as_i64() {
                    None => return Ok(Datum::Null),
                    Some(nth) if nth > 0 => usize::try_from(nth).unwrap_or(usize::MAX),
                    Some(_) => {
                        return Err(SqlError::new(
                            SqlState("22016"),
                            "argument of nth_value must be greater than zero",
                        ));
                    }
                };
                stretches.iter().flat_map(Range::clone).nth(nth - 1).map_or(Datum::Null, arg)
            }
            WindowFunc::Aggregate(agg) => {
                // A frame that begins as the last one did goes on from there.
                let begun = match stretches {
                    [one] if growing.rows.start == one.start && growing.rows.end <= one.end => {
                        growing.accumulator.take()
                    }
                    _ => None,
                };
                let mut from = if begun.is_some() { growing.rows.end } else { 0 };
                let mut state = begun.unwrap_or_else(|| agg.accumulator(&self.frames.env));
                let mut args = Vec::with_capacity(self.frames.args);
                for stretch in stretches {
                    let new = &rows[stretch.start.max(from)..stretch.end];
                    for (at, row) in new.iter().enumerate() {
                        let row = *row as usize;
                        let counts = !self.frames.filter
                            || self.values[self.frames.args][row] == Datum::Bool(true);
                        if counts {
                            args.clear();
                            let columns = &self.values[..self.frames.args];
                            args.extend(columns.iter().map(|column| column[row].clone()));
                            agg.update(&mut *state, &args)?;
                        }
                        if at % 1_024 == 0 {
                            tokio::task::coop::consume_budget().await;
                        }
                    }
                    from = 0;
                }
                let value = state.finish()?;
                *growing = match stretches {
                    [one] => Growing { rows: one.clone(), accumulator: Some(state) },
                    _ => Growing::default(),
                };
                value
            }
            other => return Err(SqlError::internal(format!("{other:?} has no frame"))),
        })
    }
}

/// An aggregate over one stretch of rows, which may get longer.
#[derive(Default)]
struct Growing {
    rows: Range<usize>,
    accumulator: Option<Box<dyn pgtypes::registry::Accumulate>>,
}
