//! INSERT from queries, and with ON CONFLICT.

use std::sync::Arc;

use catalog::Table;
use pgtypes::Datum;

use super::conflict::Conflict;
use super::{Event, Names, Rules, Writes};
use crate::SqlError;
use crate::exec::waiting_hoist::waits_for_others;
use crate::ir::{self, InsertSource, Rel, Scalar};
use crate::point::{Defaults, row_ids};
use crate::session::api::Sink;
use crate::session::{Before, DmlContext, SequenceCalls, result_columns};

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
        | Rel::Waiting { .. }
        | Rel::Limit { .. }
        | Rel::DistinctOn { .. } => true,
    }
}

/// RETURNING over rows of the table.
pub(super) struct Returns {
    exprs: Vec<Scalar>,
    /// For expressions with queries in them, which are not over slots.
    before: Option<Before>,
    layout: Vec<ir::ColId>,
}

impl Returns {
    pub(super) fn new(
        returning: Option<&ir::Returning>,
        layout: &[ir::ColId],
        cx: &DmlContext,
        sink: &mut dyn Sink,
    ) -> Result<Option<Returns>, SqlError> {
        let Some(returning) = returning else { return Ok(None) };
        let exprs: Result<Vec<Scalar>, SqlError> = match returning.has_subquery() {
            true => Ok(returning.exprs.clone()),
            false => returning.exprs.iter().map(|e| e.over(layout)).collect(),
        };
        sink.columns(&result_columns(&returning.columns))?;
        let before = returning.has_subquery().then(|| cx.before());
        Ok(Some(Returns { exprs: exprs?, before, layout: layout.to_vec() }))
    }

    pub(super) async fn row(
        &self,
        cx: &DmlContext,
        slots: &[Datum],
        sink: &mut dyn Sink,
    ) -> Result<(), SqlError> {
        let mut values = Vec::with_capacity(self.exprs.len());
        for expr in &self.exprs {
            values.push(match &self.before {
                Some(before) => before.eval(expr, &self.layout, slots).await?,
                None => ir::eval(expr, &cx.env, slots, &cx.params)?,
            });
        }
        sink.row(&values)
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
    let returns = Returns::new(insert.returning.as_ref(), &layout, cx, sink)?;
    let conflict = match &insert.on_conflict {
        Some(on_conflict) => Some(Conflict::new(cx, table, on_conflict, &layout, defaults)?),
        None => None,
    };
    let fill = Fill::new(cx, insert, defaults)?;
    let mut inserter = Inserter {
        cx,
        table,
        rules: Rules::of(table, defaults)?,
        conflict,
        returns,
        batch: Vec::new(),
        events: Vec::new(),
        count: 0,
    };
    match &insert.source {
        InsertSource::Default => inserter.add_all(fill.rows(vec![Vec::new()]).await?, sink).await?,
        InsertSource::Values(rows) => {
            let mut given_rows = Vec::with_capacity(rows.len());
            for values in rows {
                let mut given = Vec::with_capacity(values.len());
                for value in values {
                    given.push(match value {
                        Some(value) if value.has_subquery() || waits_for_others(value) => {
                            Some(cx.scalar_query(value).await?)
                        }
                        Some(value) => {
                            Some(fill.sequences.eval(value, &cx.env, &[], &cx.params).await?)
                        }
                        None => None,
                    });
                }
                given_rows.push(given);
            }
            inserter.add_all(fill.rows(given_rows).await?, sink).await?;
        }
        InsertSource::Query(query) => {
            let width = insert.columns.len();
            let mut cursor = cx.open(&query.rel).await?;
            let mut held: Vec<Vec<Datum>> = Vec::new();
            let hold = reads(&query.rel, table.id);
            while let Some(rows) = cursor.next_rows().await? {
                let given = rows.into_iter().map(|mut row| {
                    row.truncate(width);
                    row.into_iter().map(Some).collect()
                });
                let rows = fill.rows(given.collect()).await?;
                if !hold {
                    inserter.add_all(rows, sink).await?;
                    continue;
                }
                for row in rows {
                    cx.account(&row)?;
                    held.push(row);
                }
            }
            inserter.add_all(held, sink).await?;
        }
    }
    inserter.flush(sink).await?;
    cx.follow(inserter.events).await?;
    Ok(inserter.count)
}

/// Makes whole rows of what is given.
struct Fill<'a> {
    cx: &'a DmlContext,
    columns: Vec<usize>,
    /// Defaults of all columns.
    defaults: Vec<Scalar>,
    sequences: SequenceCalls<'a>,
}

impl<'a> Fill<'a> {
    fn new(
        cx: &'a DmlContext,
        insert: &ir::Insert,
        defaults: &dyn Defaults,
    ) -> Result<Fill<'a>, SqlError> {
        let width = insert.table.columns.len();
        let all: Result<Vec<Scalar>, SqlError> =
            (0..width).map(|p| defaults.default_of(&insert.table, p)).collect();
        let sequences = cx.sequence_calls();
        Ok(Fill { cx, columns: insert.columns.clone(), defaults: all?, sequences })
    }

    /// `None` within the values stands for DEFAULT.
    async fn rows(&self, given: Vec<Vec<Option<Datum>>>) -> Result<Vec<Vec<Datum>>, SqlError> {
        let whole = |values: Vec<Option<Datum>>| {
            let mut row: Vec<Option<Datum>> = vec![None; self.defaults.len()];
            for (column, value) in self.columns.iter().zip(values) {
                row[*column] = value;
            }
            row
        };
        let given: Vec<Vec<Option<Datum>>> = given.into_iter().map(whole).collect();
        let open = given.iter().flat_map(|row| row.iter().zip(&self.defaults));
        let open = open.filter(|(value, _)| value.is_none()).map(|(_, default)| default);
        self.sequences.reserve(open).await?;
        let mut rows = Vec::with_capacity(given.len());
        for values in given {
            let mut row = Vec::with_capacity(values.len());
            for (value, default) in values.into_iter().zip(&self.defaults) {
                let cx = self.cx;
                row.push(match value {
                    Some(value) => value,
                    None => self.sequences.eval(default, &cx.env, &[], &cx.params).await?,
                });
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

struct Inserter<'a> {
    cx: &'a DmlContext,
    table: &'a Arc<Table>,
    rules: Rules,
    conflict: Option<Conflict>,
    returns: Option<Returns>,
    batch: Vec<Vec<Datum>>,
    /// What foreign keys have to be told.
    events: Vec<Event>,
    count: u64,
}

impl Inserter<'_> {
    async fn add_all(
        &mut self,
        rows: Vec<Vec<Datum>>,
        sink: &mut dyn Sink,
    ) -> Result<(), SqlError> {
        for mut row in rows {
            self.rules.complete(&mut row, &self.cx.env)?;
            self.batch.push(row);
            if self.batch.len() >= BATCH_ROWS {
                self.flush(sink).await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self, sink: &mut dyn Sink) -> Result<(), SqlError> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(conflict) = &mut self.conflict {
            let written =
                conflict.apply(self.cx, self.table, &self.rules, batch, &mut self.events).await?;
            self.count += written.len() as u64;
            for row in &written {
                self.cx.returned(self.returns.as_ref(), row, sink).await?;
            }
            return sink.flush().await;
        }
        let mut next_id = match self.table.has_hidden_row_id() {
            true => Some(row_ids(&self.cx.db, batch.len() as u64).await?),
            false => None,
        };
        let mut writes = Writes::default();
        for row in &batch {
            let key = writes.insert(self.table, row, next_id)?;
            next_id = next_id.map(|id| id + 1);
            if self.rules.has_references() {
                let (table, new) = (self.table.clone(), Some(row.clone()));
                self.events.push(Event { table, key, old: None, new });
            }
        }
        let names = Names { catalog: &self.cx.catalog, env: &self.cx.env };
        writes.apply(&self.cx.txn, !self.cx.lone, &names).await?;
        self.count += batch.len() as u64;
        for row in &batch {
            self.cx.returned(self.returns.as_ref(), row, sink).await?;
        }
        sink.flush().await
    }
}

impl DmlContext {
    pub(super) async fn returned(
        &self,
        returns: Option<&Returns>,
        slots: &[Datum],
        sink: &mut dyn Sink,
    ) -> Result<(), SqlError> {
        match returns {
            Some(returns) => returns.row(self, slots, sink).await,
            None => Ok(()),
        }
    }
}
