//! Functions that wait for others, which no kernel can: `pg_advisory_lock` and its kin, `nextval`,
//! `pg_xact_status`.
//!
//! ```text
//!   SELECT pg_try_advisory_lock(id) FROM t WHERE a AND (b OR pg_try_advisory_lock(c))
//!        Project ── column ──▶ Waiting: lock(id) ──▶ Waiting: keep if b OR lock(c) ──▶ Filter a ──▶ Scan
//! ```
//!
//! Before a relation is planned, expressions that call them are taken out and put below
//! (`waiting_hoist`), each as a column of a [`Rel::Waiting`](crate::ir::Rel::Waiting), which evaluates them
//! row by row (`waiting_eval`) and hands every row up before it looks at the next: a LIMIT above leaves the
//! locks of further rows alone. In WHERE, conditions without such a call are checked first.

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
use pgtypes::{Datum, PgType, arrow_bridge};

use super::ExecContext;
use super::operator::{self, Input};
use super::provider::field;
use crate::error::SqlError;
use crate::ir::{ColId, RelColumn, Scalar};

/// One node, with its expressions over the slots of its input.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) ctx: ExecContext,
    /// Over the slots of the input.
    exprs: Vec<(RelColumn, Scalar)>,
    /// Likewise.
    keep_if: Option<Scalar>,
    /// Columns of the input that these mention.
    slots: Vec<(ColId, PgType)>,
}

#[derive(Debug, Clone)]
pub(super) struct WaitingNode {
    input: LogicalPlan,
    schema: DFSchemaRef,
    work: Arc<Work>,
    /// `work.slots` as the input calls them.
    exprs: Vec<Expr>,
}

/// Columns that a node needs of its input.
pub(crate) fn needed(
    exprs: &[(RelColumn, Scalar)],
    keep_if: Option<&Scalar>,
) -> Vec<(ColId, PgType)> {
    columns_in(exprs.iter().map(|(_, scalar)| scalar).chain(keep_if))
}

/// The columns that expressions mention, each once.
pub(crate) fn columns_in<'a>(scalars: impl Iterator<Item = &'a Scalar>) -> Vec<(ColId, PgType)> {
    let mut found: Vec<(ColId, PgType)> = Vec::new();
    for scalar in scalars {
        scalar.any(&mut |node| {
            if let Scalar::Column(id, ty) = node
                && !found.iter().any(|(known, _)| known == id)
            {
                found.push((*id, *ty));
            }
            false
        });
    }
    found
}

/// The node over `input`; `slots` are what it needs, as `input` calls it.
pub(crate) fn node(
    ctx: &ExecContext,
    input: LogicalPlan,
    exprs: &[(RelColumn, Scalar)],
    keep_if: Option<&Scalar>,
    slots: Vec<Expr>,
) -> std::result::Result<LogicalPlan, SqlError> {
    let needed = needed(exprs, keep_if);
    let layout: Vec<ColId> = needed.iter().map(|(id, _)| *id).collect();
    let over = |(column, scalar): &(RelColumn, Scalar)| Ok((column.clone(), scalar.over(&layout)?));
    let work = Arc::new(Work {
        ctx: ctx.clone(),
        exprs: exprs.iter().map(over).collect::<std::result::Result<_, SqlError>>()?,
        keep_if: keep_if.map(|condition| condition.over(&layout)).transpose()?,
        slots: needed,
    });
    let node = WaitingNode::new(input, work, slots)?;
    Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
}

impl WaitingNode {
    fn new(input: LogicalPlan, work: Arc<Work>, exprs: Vec<Expr>) -> Result<Self> {
        let mut fields: Vec<_> =
            input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
        fields.extend(work.exprs.iter().map(|(column, _)| (None, Arc::new(field(column)))));
        let schema = DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?;
        Ok(WaitingNode { input, schema: Arc::new(schema), work, exprs })
    }
}

super::our_node_traits!(WaitingNode, work, exprs);

impl UserDefinedLogicalNodeCore for WaitingNode {
    fn name(&self) -> &str {
        "Waiting"
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
        write!(f, "Waiting: {}", self.work.name())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.into_iter().next();
        let input = input.ok_or_else(|| SqlError::internal("Waiting without an input"))?;
        WaitingNode::new(input, Arc::clone(&self.work), exprs)
    }
}

/// The operator for a node, if it is one of ours.
pub(super) fn plan(
    node: &dyn UserDefinedLogicalNode,
    logical: &LogicalPlan,
    physical: &Arc<dyn ExecutionPlan>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(node) = node.as_any().downcast_ref::<WaitingNode>() else { return Ok(None) };
    operator::over(&node.work, &node.exprs, logical, physical).map(Some)
}

impl operator::Work for Work {
    const NAME: &'static str = "WaitingExec";

    fn shown(&self) -> String {
        self.name()
    }

    fn made(&self) -> Vec<FieldRef> {
        self.exprs.iter().map(|(column, _)| Arc::new(field(column))).collect()
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
            let values: Vec<Datum> = values
                .map(|(at, (_, ty))| arrow_bridge::datum_at(row.column(*at), 0, *ty))
                .collect();
            if let Some(condition) = &self.work.keep_if
                && self.work.value(condition, &values).await? != Datum::Bool(true)
            {
                continue;
            }
            let mut arrays: Vec<ArrayRef> = row.columns().to_vec();
            for (column, scalar) in &self.work.exprs {
                let mut made = arrow_bridge::ColumnBuilder::new(column.ty, 1);
                made.push(&self.work.value(scalar, &values).await?);
                arrays.push(made.finish());
            }
            let options = RecordBatchOptions::new().with_row_count(Some(1));
            let schema = Arc::clone(&self.schema);
            return Ok(Some(RecordBatch::try_new_with_options(schema, arrays, &options)?));
        }
    }
}

impl Work {
    fn name(&self) -> String {
        let names = self.exprs.iter().map(|(column, _)| column.name.as_ref());
        names.chain(self.keep_if.as_ref().map(|_| "condition")).collect::<Vec<_>>().join(", ")
    }
}
