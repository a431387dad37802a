//! `pg_advisory_lock`, `nextval` and their kin: functions that wait, which no kernel can.
//!
//! ```text
//!   SELECT pg_try_advisory_lock(id) FROM t WHERE a AND pg_try_advisory_lock(b)
//!        Project ── column ──▶ Advisory: id ──▶ Advisory: b, keep if true ──▶ Filter a ──▶ Scan
//! ```
//!
//! Before a relation is planned, their calls are taken out of select lists and WHERE and put below, each
//! as a column of a [`Rel::Advisory`], which evaluates row by row and hands every row up before it looks
//! at the next: a LIMIT above leaves the locks of further rows alone. In WHERE, conditions without such a
//! call are checked first. A call anywhere else, or where it may not be reached (CASE, OR), is refused.

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use futures::stream::BoxStream;
use kv::{AdvisoryKey, Scope};
use pgtypes::{Datum, PgType, arrow_bridge};

use super::ExecContext;
use super::operator::{self, Input};
use super::provider::field;
use crate::error::SqlError;
use crate::ir::{AdvisoryCall, ColId, RelColumn, Scalar, eval};
use crate::session::{ViewContext, is_sequence_function};

/// One node, with its expressions over the slots of its input.
#[derive(Debug)]
pub(super) struct Work {
    ctx: ExecContext,
    function: String,
    args: Vec<Scalar>,
    column: RelColumn,
    /// Over the slots of the input and the result behind them.
    keep_if: Option<Scalar>,
    /// Columns of the input that these mention.
    slots: Vec<(ColId, PgType)>,
}

#[derive(Debug, Clone)]
pub(super) struct AdvisoryNode {
    input: LogicalPlan,
    schema: DFSchemaRef,
    work: Arc<Work>,
    /// `work.slots` as the input calls them.
    exprs: Vec<Expr>,
}

/// Columns that a node needs of its input.
pub(crate) fn needed(call: &AdvisoryCall, keep_if: Option<&Scalar>) -> Vec<(ColId, PgType)> {
    let mut found: Vec<(ColId, PgType)> = Vec::new();
    for scalar in call.args.iter().chain(keep_if) {
        scalar.any(&mut |node| {
            if let Scalar::Column(id, ty) = node
                && *id != call.column.id
                && !found.iter().any(|(known, _)| known == id)
            {
                found.push((*id, *ty));
            }
            false
        });
    }
    found
}

/// The node over `input`; `exprs` are what it needs, as `input` calls it.
pub(crate) fn node(
    ctx: &ExecContext,
    input: LogicalPlan,
    call: &AdvisoryCall,
    keep_if: Option<&Scalar>,
    exprs: Vec<Expr>,
) -> std::result::Result<LogicalPlan, SqlError> {
    let slots = needed(call, keep_if);
    let mut layout: Vec<ColId> = slots.iter().map(|(id, _)| *id).collect();
    let args = call.args.iter().map(|arg| arg.over(&layout));
    let args = args.collect::<std::result::Result<Vec<_>, _>>()?;
    layout.push(call.column.id);
    let work = Arc::new(Work {
        ctx: ctx.clone(),
        function: call.function.clone(),
        args,
        column: call.column.clone(),
        keep_if: keep_if.map(|condition| condition.over(&layout)).transpose()?,
        slots,
    });
    let node = AdvisoryNode::new(input, work, exprs)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

impl AdvisoryNode {
    fn new(input: LogicalPlan, work: Arc<Work>, exprs: Vec<Expr>) -> Result<Self> {
        let mut fields: Vec<_> =
            input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        fields.push((None, Arc::new(field(&work.column))));
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?;
        Ok(AdvisoryNode { input, schema: Arc::new(schema), work, exprs })
    }
}

super::our_node_traits!(AdvisoryNode, work, exprs);

impl UserDefinedLogicalNodeCore for AdvisoryNode {
    fn name(&self) -> &str {
        "Advisory"
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
        write!(f, "Advisory: {}", self.work.function)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.into_iter().next();
        let input = input.ok_or_else(|| SqlError::internal("Advisory without an input"))?;
        AdvisoryNode::new(input, Arc::clone(&self.work), exprs)
    }
}

/// The operator for a node, if it is one of ours.
pub(super) fn plan(
    node: &dyn UserDefinedLogicalNode,
    logical: &LogicalPlan,
    physical: &Arc<dyn ExecutionPlan>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(node) = node.as_any().downcast_ref::<AdvisoryNode>() else { return Ok(None) };
    operator::over(&node.work, &node.exprs, logical, physical).map(Some)
}

impl operator::Work for Work {
    const NAME: &'static str = "AdvisoryExec";

    fn shown(&self) -> String {
        self.function.clone()
    }

    fn made(&self) -> Vec<FieldRef> {
        vec![Arc::new(field(&self.column))]
    }

    fn run(self: Arc<Self>, input: Input) -> BoxStream<'static, Result<RecordBatch>> {
        let Input { batches, columns, schema, memory: _ } = input;
        let state = State { input: batches, work: self, slots: columns, schema, batch: None };
        Box::pin(futures::stream::try_unfold(state, |mut state| async {
            let row = state.next().await?;
            Ok::<_, DataFusionError>(row.map(|row| (row, state)))
        }))
    }
}

struct State {
    input: SendableRecordBatchStream,
    work: Arc<Work>,
    slots: Vec<usize>,
    schema: SchemaRef,
    /// What is left of a batch of the input.
    batch: Option<RecordBatch>,
}

impl State {
    /// The next row that stays, as a batch of its own.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let batch = match self.batch.take().filter(|batch| batch.num_rows() > 0) {
                Some(batch) => batch,
                None => match self.input.next().await {
                    Some(batch) => batch?,
                    None => return Ok(None),
                },
            };
            if batch.num_rows() == 0 {
                continue;
            }
            self.batch = Some(batch.slice(1, batch.num_rows() - 1));
            let row = batch.slice(0, 1);
            let values = self.slots.iter().zip(&self.work.slots);
            let mut values: Vec<Datum> = values
                .map(|(at, (_, ty))| arrow_bridge::datum_at(row.column(*at), 0, *ty))
                .collect();
            let value = self.work.call(&values).await?;
            values.push(value.clone());
            let ctx = &self.work.ctx;
            if let Some(condition) = &self.work.keep_if
                && eval(condition, &ctx.env, &values, &ctx.params)? != Datum::Bool(true)
            {
                continue;
            }
            let mut made = arrow_bridge::ColumnBuilder::new(self.work.column.ty, 1);
            made.push(&value);
            let mut arrays: Vec<ArrayRef> = row.columns().to_vec();
            arrays.push(made.finish());
            let options = RecordBatchOptions::new().with_row_count(Some(1));
            let schema = Arc::clone(&self.schema);
            return Ok(Some(RecordBatch::try_new_with_options(schema, arrays, &options)?));
        }
    }
}

impl Work {
    async fn call(&self, slots: &[Datum]) -> std::result::Result<Datum, SqlError> {
        let view = self.ctx.session.downcast_ref::<ViewContext>();
        let view = view.ok_or_else(|| SqlError::internal("advisory locks need a session"))?;
        if is_sequence_function(&self.function) {
            let mut args = Vec::with_capacity(self.args.len());
            for arg in &self.args {
                args.push(eval(arg, &self.ctx.env, slots, &self.ctx.params)?);
            }
            let calls = view.sequence_calls(self.ctx.txn.options().read_only);
            return calls.call(&self.function, &args).await;
        }
        let locks = &view.info.advisory;
        if self.function == "pg_advisory_unlock_all" {
            locks.unlock_all().await;
            return Ok(Datum::text(""));
        }
        let mut args = Vec::with_capacity(2);
        for arg in &self.args {
            args.push(eval(arg, &self.ctx.env, slots, &self.ctx.params)?);
        }
        let database = view.info.database;
        let key = match args.as_slice() {
            [Datum::Int8(key)] => AdvisoryKey::One(database, *key),
            [Datum::Int4(a), Datum::Int4(b)] => AdvisoryKey::Two(database, *a, *b),
            // All of them are strict.
            _ => return Ok(Datum::Null),
        };
        let exclusive = !self.function.ends_with("_shared");
        if self.function.contains("unlock") {
            return Ok(Datum::Bool(locks.unlock(key, exclusive).await));
        }
        let tries = self.function.starts_with("pg_try_");
        let scope = match self.function.contains("_xact_") {
            true => Scope::Transaction,
            false => Scope::Session,
        };
        let taken = locks.lock(key, exclusive, scope, !tries, view.lock_timeout).await?;
        Ok(if tries { Datum::Bool(taken) } else { Datum::text("") })
    }
}
