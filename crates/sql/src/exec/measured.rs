//! Plans whose every operator is watched: how many rows it made, how long that took, what it cost.
//!
//! For EXPLAIN ANALYZE only; other plans carry none of this. Each operator is wrapped:
//!
//! ```text
//!   Sort ◀── Scan     becomes     Measured(Sort) ◀── Measured(Scan)
//! ```
//!
//! Time is that from being asked for rows to having some, input included, as PostgreSQL counts it. What an
//! operator costs the cluster is its own: while it waits for its input, the input's wrapper counts.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::Stream;
use kv::{Cost, Stats};
use parking_lot::Mutex;

use super::plan::Planned;
use crate::error::SqlError;

/// Plans that a statement ran, measured; its subqueries' are not among them.
#[derive(Debug)]
pub(crate) struct Analysis {
    stats: Arc<Stats>,
    plans: Mutex<Vec<Analyzed>>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Analyzed {
    /// With [`MeasuredExec`] around every operator.
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    /// How long it took to make.
    pub(crate) planning: Duration,
}

impl Analysis {
    /// Operators' costs are counted under `stats`.
    pub(crate) fn new(stats: &Arc<Stats>) -> Arc<Analysis> {
        Arc::new(Analysis { stats: stats.clone(), plans: Mutex::default() })
    }

    /// The plan to run instead.
    pub(super) fn adopt(&self, planned: Planned, planning: Duration) -> Result<Planned, SqlError> {
        let wrap = |plan| Ok(Transformed::yes(MeasuredExec::over(plan, &self.stats)));
        let planned = Planned { plan: planned.plan.transform_up(wrap)?.data, ..planned };
        self.plans.lock().push(Analyzed { plan: Arc::clone(&planned.plan), planning });
        Ok(planned)
    }

    /// All of them, in the order in which they began to run.
    pub(crate) fn plans(&self) -> Vec<Analyzed> {
        self.plans.lock().clone()
    }
}

/// What an operator has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Actual {
    pub(crate) rows: u64,
    /// How often it was run; 0: never.
    pub(crate) loops: u64,
    /// Until the first row.
    pub(crate) startup: Duration,
    /// Until the end.
    pub(crate) total: Duration,
}

/// An operator that is watched.
pub(crate) struct MeasuredExec {
    pub(crate) inner: Arc<dyn ExecutionPlan>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    stats: Arc<Stats>,
    rows: AtomicU64,
    loops: AtomicU64,
    startup_ns: AtomicU64,
    total_ns: AtomicU64,
}

impl MeasuredExec {
    fn over(inner: Arc<dyn ExecutionPlan>, above: &Arc<Stats>) -> Arc<dyn ExecutionPlan> {
        let seen = Arc::new(Seen { stats: Stats::under(above), ..Seen::default() });
        Arc::new(MeasuredExec { inner, seen })
    }

    pub(crate) fn actual(&self) -> Actual {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Actual {
            rows: get(&self.seen.rows),
            loops: get(&self.seen.loops),
            startup: Duration::from_nanos(get(&self.seen.startup_ns)),
            total: Duration::from_nanos(get(&self.seen.total_ns)),
        }
    }

    pub(crate) fn cost(&self) -> Cost {
        self.seen.stats.cost()
    }
}

impl fmt::Debug for MeasuredExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Measured({:?})", self.inner)
    }
}

impl DisplayAs for MeasuredExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_as(t, f)
    }
}

impl ExecutionPlan for MeasuredExec {
    fn name(&self) -> &str {
        "MeasuredExec"
    }

    fn downcast_delegate(&self) -> Option<&dyn ExecutionPlan> {
        Some(self.inner.as_ref())
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.inner.properties()
    }

    super::over_one_input!(inner, |this, inner| MeasuredExec {
        inner,
        seen: Arc::clone(&this.seen)
    });

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let seen = Arc::clone(&self.seen);
        // A second partition is not a second run.
        if partition == 0 {
            seen.loops.fetch_add(1, Ordering::Relaxed);
        }
        let inner = self.inner.execute(partition, context)?;
        Ok(Box::pin(Measuring { inner, seen, asked: None }))
    }
}

/// The rows of an operator that is watched.
struct Measuring {
    inner: SendableRecordBatchStream,
    seen: Arc<Seen>,
    /// Since when somebody waits for rows.
    asked: Option<Instant>,
}

impl Stream for Measuring {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let asked = *this.asked.get_or_insert_with(Instant::now);
        let stats = Arc::clone(&this.seen.stats);
        let polled = stats.count_poll(|| this.inner.as_mut().poll_next(context));
        let batch = std::task::ready!(polled);
        this.asked = None;
        let took = u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let seen = &this.seen;
        let total = seen.total_ns.fetch_add(took, Ordering::Relaxed) + took;
        if let Some(Ok(batch)) = &batch {
            let before = seen.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            if before == 0 {
                seen.startup_ns.store(total, Ordering::Relaxed);
            }
        }
        Poll::Ready(batch)
    }
}

impl RecordBatchStream for Measuring {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }
}
