//! Locking the rows of a query as they go by: FOR UPDATE and its kin.
//!
//! ```text
//!   LIMIT n ◀── lock: so many as are still wanted ◀── ORDER BY ◀── scan
//! ```
//!
//! As in PostgreSQL, rows are locked after ORDER BY and before LIMIT: a worker that wants one job of a
//! queue locks one, and with SKIP LOCKED goes on past those that others have until it has one.
//!
//! A row that has changed since the snapshot is a conflict of the transaction layer's: the statement runs
//! again on a newer one. Scans under SKIP LOCKED leave no trace in what the transaction has read, because
//! their answer is not the truth anyway; so the check that is made for others at the commit is made here,
//! row by row ([`kv::Locked::seen`]).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, BinaryArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::record_batch::RecordBatch;
use base::{Key, Timestamp};
use datafusion::common::{DFSchemaRef, Result};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{
    Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;
use futures::stream::BoxStream;
use kv::{KvError, Strength, Txn, WaitPolicy};

use super::ExecContext;
use super::operator::{self, Input, Work};
use crate::error::SqlError;
use crate::ir::{LockStrength, LockWait, RowLock};

/// Rows locked in one request where no limit says less.
const ROWS_AT_ONCE: usize = 512;

/// What is locked, and how.
#[derive(Debug)]
pub(super) struct Locks {
    txn: Arc<Txn>,
    /// One per table.
    modes: Vec<(Strength, WaitPolicy)>,
    /// Rows wanted; none: all.
    fetch: Option<usize>,
}

/// The node of a logical plan.
#[derive(Debug, Clone)]
pub(super) struct LockNode {
    input: LogicalPlan,
    pub(super) locks: Arc<Locks>,
    /// The row keys, in the order of `locks.modes`.
    pub(super) keys: Vec<Expr>,
}

/// The node over `input`; `keys` are the row keys of `locks` as `input` calls them.
pub(crate) fn node(
    ctx: &ExecContext,
    input: LogicalPlan,
    locks: &[RowLock],
    keys: Vec<Expr>,
    fetch: Option<usize>,
) -> LogicalPlan {
    let modes = locks.iter().map(|l| (lock_strength(l.strength), wait_policy(l.wait))).collect();
    let locks = Arc::new(Locks { txn: Arc::clone(&ctx.txn), modes, fetch });
    LogicalPlan::Extension(Extension { node: Arc::new(LockNode { input, locks, keys }) })
}

/// The lock table's name of a strength.
pub(crate) fn lock_strength(strength: LockStrength) -> Strength {
    match strength {
        LockStrength::KeyShare => Strength::KeyShare,
        LockStrength::Share => Strength::Share,
        LockStrength::NoKeyUpdate => Strength::NoKeyUpdate,
        LockStrength::Update => Strength::Update,
    }
}

/// What to do when the lock is held.
pub(crate) fn wait_policy(wait: LockWait) -> WaitPolicy {
    match wait {
        LockWait::Block => WaitPolicy::Block,
        LockWait::NoWait => WaitPolicy::Nowait,
        LockWait::SkipLocked => WaitPolicy::SkipLocked,
    }
}

super::our_node_traits!(LockNode, locks, keys);

impl UserDefinedLogicalNodeCore for LockNode {
    fn name(&self) -> &str {
        "LockRows"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.keys.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockRows: {} tables", self.keys.len())
    }

    fn with_exprs_and_inputs(&self, keys: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.into_iter().next();
        let input = input.ok_or_else(|| SqlError::internal("LockRows without an input"))?;
        Ok(LockNode { input, locks: Arc::clone(&self.locks), keys })
    }
}

/// The operator for a node, if it is one of ours.
pub(super) fn plan(
    node: &dyn UserDefinedLogicalNode,
    logical: &LogicalPlan,
    physical: &Arc<dyn ExecutionPlan>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(node) = node.as_any().downcast_ref::<LockNode>() else { return Ok(None) };
    operator::over(&node.locks, &node.keys, logical, physical).map(Some)
}

impl Work for Locks {
    const NAME: &'static str = "LockExec";

    fn shown(&self) -> String {
        format!("tables={}", self.modes.len())
    }

    fn run(self: Arc<Self>, input: Input) -> BoxStream<'static, Result<RecordBatch>> {
        let state = State {
            input: input.batches,
            left: self.fetch,
            snapshot: self.txn.read_ts(),
            locks: self,
            keys: input.columns,
            pending: None,
        };
        Box::pin(futures::stream::try_unfold(state, |mut state| async {
            let batch = state.next().await?;
            Ok::<_, DataFusionError>(batch.map(|batch| (batch, state)))
        }))
    }
}

struct State {
    input: SendableRecordBatchStream,
    locks: Arc<Locks>,
    keys: Vec<usize>,
    /// Rows still wanted.
    left: Option<usize>,
    /// What the rows were read at.
    snapshot: Timestamp,
    pending: Option<RecordBatch>,
}

impl State {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.left != Some(0) {
            let batch = match self.pending.take() {
                Some(batch) => batch,
                None => match self.input.next().await {
                    Some(batch) => batch?,
                    None => return Ok(None),
                },
            };
            let wanted = self.left.unwrap_or(ROWS_AT_ONCE).min(ROWS_AT_ONCE);
            let now = batch.num_rows().min(wanted);
            if now < batch.num_rows() {
                self.pending = Some(batch.slice(now, batch.num_rows() - now));
            }
            let locked = self.lock(batch.slice(0, now)).await?;
            if locked.num_rows() > 0 {
                if let Some(left) = &mut self.left {
                    *left -= locked.num_rows();
                }
                return Ok(Some(locked));
            }
        }
        Ok(None)
    }

    /// The rows that could be locked. For each table in turn, so that a row that one clause skips is not
    /// locked by the next.
    async fn lock(&mut self, mut batch: RecordBatch) -> Result<RecordBatch> {
        for (&at, &(strength, wait)) in self.keys.iter().zip(&self.locks.modes) {
            let keys = keys_of(&batch, at)?;
            let wanted: Vec<Key> =
                keys.iter().flatten().cloned().collect::<BTreeSet<Key>>().into_iter().collect();
            let locked = self.locks.txn.lock(&wanted, strength, wait).await;
            let locked = locked.map_err(SqlError::from)?;
            if locked.iter().any(|row| !row.skipped && row.seen > self.snapshot) {
                return Err(SqlError::from(KvError::Restatement).into());
            }
            let gone: BTreeSet<Key> = locked
                .into_iter()
                .filter(|row| row.skipped || row.value.is_none())
                .map(|row| row.key)
                .collect();
            if gone.is_empty() {
                continue;
            }
            let stays = |key: &Option<Key>| key.as_ref().is_none_or(|key| !gone.contains(key));
            let left = keys.iter().enumerate().filter(|(_, key)| stays(key));
            let left: Vec<u32> =
                left.map(|(row, _)| u32::try_from(row).expect("batches are small")).collect();
            batch = take_record_batch(&batch, &UInt32Array::from(left))?;
        }
        Ok(batch)
    }
}

/// The row keys of a batch; none where an outer join found no row.
fn keys_of(batch: &RecordBatch, at: usize) -> Result<Vec<Option<Key>>> {
    let column = batch.column(at);
    let Some(keys) = column.as_any().downcast_ref::<BinaryArray>() else {
        return Err(SqlError::internal(format!("row keys of type {}", column.data_type())).into());
    };
    Ok(keys.iter().map(|key| key.map(|key| Key(key.to_vec().into()))).collect())
}
