//! INSERT from queries, and with ON CONFLICT.

use std::sync::Arc;

use catalog::Table;
use pgtypes::Datum;

use super::conflict::Conflict;
use super::{Names, Writes, check_not_null};
use crate::SqlError;
use crate::ir::{self, InsertSource, Rel, Scalar};
use crate::point::{Defaults, row_ids};
use crate::session::api::Sink;
use crate::session::{DmlContext, Generated, result_columns};

/// Rows handed to the transaction at a time.
const BATCH_ROWS: usize = 1_000;

/// Whether a relation reads a table: then its rows are all fetched before one is written, or the
/// statement would read what it writes.
pub(super) fn reads(rel: &Rel, table: u32) -> bool {
    match rel {
        Rel::Scan(scan) => scan.table.id == table,
        other => other.inputs().into_iter().any(|input| reads(input, table)) || has_subquery(other),
    }
}

/// A subquery may read anything.
fn has_subquery(rel: &Rel) -> bool {
    let in_scalars = |scalars: &[Scalar]| scalars.iter().any(Scalar::has_subquery);
    match rel {
        Rel::Filter { predicate, .. } => predicate.has_subquery(),
        Rel::Project { exprs, .. } => exprs.iter().any(|(_, e)| e.has_subquery()),
        Rel::Values { rows, .. } => rows.iter().any(|r| in_scalars(r)),
        Rel::Join(join) => join.on.as_ref().is_some_and(Scalar::has_subquery),
        Rel::Function(call) => in_scalars(&call.args),
        Rel::OneRow
        | Rel::Empty { .. }
        | Rel::Scan(_)
        | Rel::Virtual(_)
        | Rel::Work(_)
        | Rel::Distinct { .. }
        | Rel::SetOp { .. } => false,
        Rel::Recursive(_)
        | Rel::Apply { .. }
        | Rel::ApplyRows { .. }
        | Rel::Aggregate { .. }
        | Rel::Window { .. }
        | Rel::Sort { .. }
        | Rel::Lock { .. }
        | Rel::Advisory { .. }
        | Rel::Limit { .. }
        | Rel::DistinctOn { .. } => true,
    }
}

/// RETURNING over rows of the table.
pub(super) struct Returns {
    exprs: Vec<Scalar>,
}

impl Returns {
    pub(super) fn new(
        returning: Option<&ir::Returning>,
        layout: &[ir::ColId],
        sink: &mut dyn Sink,
    ) -> Result<Option<Returns>, SqlError> {
        let Some(returning) = returning else { return Ok(None) };
        if returning.has_subquery() {
            return Err(SqlError::unsupported("a subquery in RETURNING"));
        }
        let exprs: Result<Vec<Scalar>, SqlError> =
            returning.exprs.iter().map(|e| e.over(layout)).collect();
        sink.columns(&result_columns(&returning.columns))?;
        Ok(Some(Returns { exprs: exprs? }))
    }

    pub(super) fn row(
        &self,
        cx: &DmlContext,
        slots: &[Datum],
        sink: &mut dyn Sink,
    ) -> Result<(), SqlError> {
        let values: Result<Vec<Datum>, SqlError> =
            self.exprs.iter().map(|e| ir::eval(e, &cx.env, slots, &cx.params)).collect();
        sink.row(&values?)
    }
}

/// Runs an INSERT. Returns how many rows were inserted or updated.
pub(crate) async fn run_insert(
    cx: &DmlContext,
    insert: &ir::Insert,
    defaults: &dyn Defaults,
    sink: &mut dyn Sink,
) -> Result<u64, SqlError> {
    let table = &insert.table;
    let layout: Vec<ir::ColId> = insert.target.columns.iter().map(|(c, _)| c.id).collect();
    let returns = Returns::new(insert.returning.as_ref(), &layout, sink)?;
    let conflict = match &insert.on_conflict {
        Some(on_conflict) => Some(Conflict::new(table, on_conflict, &layout, defaults)?),
        None => None,
    };
    let mut fill = Fill::new(insert, defaults)?;
    let mut inserter = Inserter {
        cx,
        table,
        schema: defaults.schema_of(table),
        conflict,
        returns,
        batch: Vec::new(),
        count: 0,
    };
    match &insert.source {
        InsertSource::Default => inserter.add(fill.row(cx, None).await?, sink).await?,
        InsertSource::Values(rows) => {
            for values in rows {
                let mut given = Vec::with_capacity(values.len());
                for value in values {
                    given.push(match value {
                        Some(value) if value.has_subquery() => Some(cx.scalar_query(value).await?),
                        Some(value) => Some(ir::eval(value, &cx.env, &[], &cx.params)?),
                        None => None,
                    });
                }
                inserter.add(fill.row(cx, Some(given)).await?, sink).await?;
            }
        }
        InsertSource::Query(query) => {
            let width = insert.columns.len();
            let mut cursor = cx.open(&query.rel).await?;
            let mut held: Vec<Vec<Datum>> = Vec::new();
            let hold = reads(&query.rel, table.id);
            while let Some(rows) = cursor.next_rows().await? {
                for mut row in rows {
                    row.truncate(width);
                    let row = fill.row(cx, Some(row.into_iter().map(Some).collect())).await?;
                    if hold {
                        cx.account(&row)?;
                        held.push(row);
                    } else {
                        inserter.add(row, sink).await?;
                    }
                }
            }
            for row in held {
                inserter.add(row, sink).await?;
            }
        }
    }
    inserter.flush(sink).await?;
    Ok(inserter.count)
}

/// Makes whole rows of what is given.
struct Fill {
    width: usize,
    columns: Vec<usize>,
    /// Defaults of all columns.
    defaults: Vec<Scalar>,
    generated: Generated,
    table: Arc<Table>,
}

impl Fill {
    fn new(insert: &ir::Insert, defaults: &dyn Defaults) -> Result<Fill, SqlError> {
        let width = insert.table.columns.len();
        let all: Result<Vec<Scalar>, SqlError> =
            (0..width).map(|p| defaults.default_of(&insert.table, p)).collect();
        Ok(Fill {
            width,
            columns: insert.columns.clone(),
            defaults: all?,
            generated: Generated::of(&insert.table),
            table: insert.table.clone(),
        })
    }

    /// `None` within the values stands for DEFAULT.
    async fn row(
        &mut self,
        cx: &DmlContext,
        given: Option<Vec<Option<Datum>>>,
    ) -> Result<Vec<Datum>, SqlError> {
        let mut row: Vec<Option<Datum>> = vec![None; self.width];
        for (column, value) in self.columns.iter().zip(given.unwrap_or_default()) {
            row[*column] = value;
        }
        let is_given: Vec<bool> = row.iter().map(Option::is_some).collect();
        let row: Result<Vec<Datum>, SqlError> = row
            .into_iter()
            .zip(&self.defaults)
            .map(|(value, default)| match value {
                Some(value) => Ok(value),
                None => ir::eval(default, &cx.env, &[], &cx.params),
            })
            .collect();
        let mut row = row?;
        if !self.generated.is_empty() {
            let needed = |p: usize| usize::from(!is_given[p]);
            self.generated.fetch(&cx.engine.sequences, &cx.db, needed).await?;
            self.generated.fill(&self.table, &mut row, |p| is_given[p])?;
        }
        Ok(row)
    }
}

struct Inserter<'a> {
    cx: &'a DmlContext,
    table: &'a Arc<Table>,
    schema: String,
    conflict: Option<Conflict>,
    returns: Option<Returns>,
    batch: Vec<Vec<Datum>>,
    count: u64,
}

impl Inserter<'_> {
    async fn add(&mut self, row: Vec<Datum>, sink: &mut dyn Sink) -> Result<(), SqlError> {
        check_not_null(self.table, &self.schema, &row, &self.cx.env)?;
        self.batch.push(row);
        if self.batch.len() >= BATCH_ROWS {
            self.flush(sink).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, sink: &mut dyn Sink) -> Result<(), SqlError> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(conflict) = &mut self.conflict {
            let written = conflict.apply(self.cx, self.table, &self.schema, batch).await?;
            self.count += written.len() as u64;
            for row in &written {
                self.cx.returned(self.returns.as_ref(), row, sink)?;
            }
            return sink.flush().await;
        }
        let mut next_id = match self.table.has_hidden_row_id() {
            true => Some(row_ids(&self.cx.db, batch.len() as u64).await?),
            false => None,
        };
        let mut writes = Writes::default();
        for row in &batch {
            writes.insert(self.table, row, next_id)?;
            next_id = next_id.map(|id| id + 1);
        }
        let names = Names { catalog: &self.cx.catalog, env: &self.cx.env };
        writes.apply(&self.cx.txn, !self.cx.lone, &names).await?;
        self.count += batch.len() as u64;
        for row in &batch {
            self.cx.returned(self.returns.as_ref(), row, sink)?;
        }
        sink.flush().await
    }
}

impl DmlContext {
    pub(super) fn returned(
        &self,
        returns: Option<&Returns>,
        slots: &[Datum],
        sink: &mut dyn Sink,
    ) -> Result<(), SqlError> {
        match returns {
            Some(returns) => returns.row(self, slots, sink),
            None => Ok(()),
        }
    }
}
