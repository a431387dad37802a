//! `generate_series` over integers that depend on no row: made batch by batch, however long.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::stream;
use pgtypes::{Datum, TypeId};

use crate::error::{SqlError, SqlState};
use crate::exec::ExecContext;
use crate::exec::provider::field;
use crate::ir::{FunctionScan, Scalar, SetFunction, eval};

/// Rows of one batch.
const BATCH_ROWS: usize = 4_096;

#[derive(Clone, Debug)]
struct Series {
    schema: SchemaRef,
    next: Option<i64>,
    stop: i64,
    step: i64,
    narrow: bool,
    ordinality: bool,
    made: i64,
}

/// The series as a table; `None` if the function is another one or its arguments mention columns.
pub(super) fn of(
    ctx: &ExecContext,
    scan: &FunctionScan,
) -> Result<Option<Arc<dyn TableProvider>>, SqlError> {
    let [column] = scan.columns.as_slice() else { return Ok(None) };
    let integer = matches!(column.ty.id, TypeId::Int4 | TypeId::Int8) && !column.ty.array;
    let alone = scan.args.iter().all(Scalar::is_row_independent);
    if scan.function != SetFunction::GenerateSeries || !integer || !alone {
        return Ok(None);
    }
    let mut bounds = Vec::with_capacity(scan.args.len());
    for arg in &scan.args {
        bounds.push(match eval(arg, &ctx.env, &[], &ctx.params)? {
            Datum::Null => None,
            datum => datum.as_i64(),
        });
    }
    let step = bounds.get(2).copied().unwrap_or(Some(1));
    if step == Some(0) {
        return Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "step size cannot equal zero",
        ));
    }
    let fields: Vec<_> = scan.columns.iter().chain(&scan.ordinality).map(field).collect();
    let schema = Arc::new(Schema::new(fields));
    let series = Series {
        schema: Arc::clone(&schema),
        // NULL anywhere makes no rows.
        next: bounds[1].and(step).and(bounds[0]),
        stop: bounds[1].unwrap_or(0),
        step: step.unwrap_or(1),
        narrow: column.ty.id == TypeId::Int4,
        ordinality: scan.ordinality.is_some(),
        made: 0,
    };
    Ok(Some(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(series)])?)))
}

impl Series {
    fn batch(&mut self) -> Result<Option<RecordBatch>, DataFusionError> {
        let mut values = Vec::with_capacity(BATCH_ROWS);
        while let Some(at) = self.next {
            if (self.step > 0 && at > self.stop) || (self.step < 0 && at < self.stop) {
                self.next = None;
                break;
            }
            values.push(at);
            self.next = at.checked_add(self.step);
            if values.len() == BATCH_ROWS {
                break;
            }
        }
        if values.is_empty() {
            return Ok(None);
        }
        let count = values.len() as i64;
        let ordinals = Int64Array::from_iter_values(self.made + 1..=self.made + count);
        self.made += count;
        let values: ArrayRef = if self.narrow {
            // The bounds are int4, so everything between them is.
            let narrow = values.into_iter().map(|value| i32::try_from(value).unwrap_or(i32::MAX));
            Arc::new(Int32Array::from_iter_values(narrow))
        } else {
            Arc::new(Int64Array::from(values))
        };
        let mut arrays = vec![values];
        if self.ordinality {
            arrays.push(Arc::new(ordinals));
        }
        Ok(Some(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?))
    }
}

impl PartitionStream for Series {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = stream::try_unfold(self.clone(), |mut series| async move {
            Ok::<_, DataFusionError>(series.batch()?.map(|batch| (batch, series)))
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
