//! Tables as DataFusion sees them: stored ones, computed ones, rows in memory.
//!
//! A provider is made for one scan of one statement; its fields are called like the columns of the
//! bound statement (`c12`), so names never clash.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use catalog::{Index, IndexId};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue};
use datafusion::datasource::TableType;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use kv::Txn;
use pgtypes::arrow_bridge;

use super::access;
use super::condition::Condition;
use super::scan::{self, Source, TableScanExec};
use crate::error::SqlError;
use crate::ir::{RelColumn, Scan};
use crate::statistics::TableEstimates;

/// The Arrow field of a column. Always nullable: what is known to be not NULL is not worth a plan
/// that depends on it.
pub(crate) fn field(column: &RelColumn) -> Field {
    Field::new(column.id.to_string(), arrow_bridge::to_arrow_type(column.ty), true)
}

/// A stored table.
pub(crate) struct StoredTable {
    txn: Arc<Txn>,
    scan: Scan,
    schema: SchemaRef,
    sources: Vec<Source>,
    hints: Hints,
    estimates: Option<Arc<TableEstimates>>,
}

/// What filters above a scan say that DataFusion cannot tell it.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    /// About expressions that an index holds. They are checked above.
    pub(crate) conditions: Vec<Condition>,
    /// Partial indexes that have all rows wanted, and all other indexes.
    pub(crate) implied: Vec<IndexId>,
}

impl StoredTable {
    pub(crate) fn new(
        txn: Arc<Txn>,
        scan: &Scan,
        hints: Hints,
        estimates: Option<Arc<TableEstimates>>,
    ) -> Self {
        let mut fields = Vec::with_capacity(scan.columns.len() + 1);
        let mut sources = Vec::with_capacity(scan.columns.len() + 1);
        for (column, at) in &scan.columns {
            fields.push(field(column));
            sources.push(Source::Column(*at, column.ty));
        }
        if let Some(column) = &scan.row_key {
            fields.push(Field::new(column.id.to_string(), DataType::Binary, true));
            sources.push(Source::RowKey);
        }
        let schema = Arc::new(Schema::new(fields));
        StoredTable { txn, scan: scan.clone(), schema, sources, hints, estimates }
    }

    fn condition(&self, expr: &Expr) -> Option<Condition> {
        Condition::of(expr, &|name| {
            let at = self.schema.index_of(name).ok()?;
            match self.sources[at] {
                Source::Column(position, ty) => Some((position, ty)),
                Source::RowKey => None,
            }
        })
    }
}

impl fmt::Debug for StoredTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.scan.table.name)
    }
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| match self.condition(filter) {
                Some(_) => TableProviderFilterPushDown::Exact,
                None => TableProviderFilterPushDown::Unsupported,
            })
            .collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut conditions = Vec::with_capacity(filters.len());
        for filter in filters {
            // The optimizer has found out what it is since it was offered.
            if let Expr::Literal(known, _) = filter {
                if *known == ScalarValue::Boolean(Some(true)) {
                    continue;
                }
                let schema = match projection {
                    Some(columns) => Arc::new(self.schema.project(columns)?),
                    None => Arc::clone(&self.schema),
                };
                return Ok(Arc::new(EmptyExec::new(schema)));
            }
            let condition = self.condition(filter).ok_or_else(|| {
                SqlError::internal(format!("filter {filter} was not offered to the scan"))
            })?;
            conditions.push(condition);
        }
        let all: Vec<Condition> =
            conditions.iter().chain(&self.hints.conditions).cloned().collect();
        let implied = |index: &Index| self.hints.implied.contains(&index.id);
        let every: Vec<usize> = (0..self.sources.len()).collect();
        let kept = projection.unwrap_or(&every);
        let output: Vec<Source> = kept.iter().map(|&at| self.sources[at]).collect();
        let table = &self.scan.table;
        let covers = |at: usize| scan::alone(table, at, &output, &conditions).is_some();
        let estimates = self.estimates.as_deref();
        let known = access::Known { implied: &implied, covers: &covers, estimates };
        let access = access::choose(table, &all, &known).map_err(SqlError::from)?;
        let schema = Arc::new(self.schema.project(kept)?);
        Ok(Arc::new(TableScanExec::new(
            Arc::clone(&self.txn),
            &self.scan,
            access,
            conditions,
            output,
            schema,
            limit,
        )))
    }
}

/// Rows in memory as a batch under the columns' names.
pub(crate) fn batch_of(
    columns: &[RelColumn],
    rows: &[Vec<pgtypes::Datum>],
) -> Result<RecordBatch, SqlError> {
    let mut builders: Vec<_> = columns
        .iter()
        .map(|column| arrow_bridge::ColumnBuilder::new(column.ty, rows.len()))
        .collect();
    for row in rows {
        for (builder, datum) in builders.iter_mut().zip(row) {
            builder.push(datum);
        }
    }
    let arrays = builders.iter_mut().map(arrow_bridge::ColumnBuilder::finish).collect();
    batch_of_arrays(columns, arrays, rows.len())
}

/// These columns, all of so many rows.
pub(crate) fn batch_of_arrays(
    columns: &[RelColumn],
    arrays: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, SqlError> {
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(schema, arrays, &options)
        .map_err(datafusion::error::DataFusionError::from)?;
    Ok(batch)
}
