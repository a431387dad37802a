//! Small queries row by row, without a plan.
//!
//! To plan a query for DataFusion costs more than to run it when it touches some hundred rows, as
//! the statements of applications mostly do. So every query is tried here first: tables are read by
//! index, rows are datums, and each operator keeps its whole result. When more rows turn up than
//! expected, or an operator is not one of these, the try is given up, and DataFusion runs the query
//! from its beginning on the same snapshot.
//!
//! ```text
//!   Rel ── qualifies? ── evaluate ──┬─ rows
//!              │                    └─ too many rows ──┐
//!              └─ no ─────────────────────────────────┴─▶ DataFusion
//! ```
//!
//! # Invariants
//!
//! - **F1** Giving up goes unnoticed: a query that reads tables and calls a volatile function, or
//!   locks, is not tried.
//! - **F2** A try reads at most [`ROWS_MAX`] rows and [`BYTES_MAX`] bytes, and makes at most
//!   [`PAIRS_MAX`] pairs of rows: so much is wasted at most, and held in memory.

mod computed;
mod function;
mod group;
mod join;
mod scan;
mod subquery;

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;

use futures::future::BoxFuture;
use pgtypes::{Datum, PgType};

use super::ExecContext;
use super::rows::Rows;
use crate::error::{SqlError, SqlState};
use crate::ir::{ColId, JoinKind, Rel, Scalar, SetOp, SortKey, eval};
use subquery::{Memo, Over};

/// Most rows that a try reads from tables.
const ROWS_MAX: usize = 2_000;
/// Most rows of a scan that no condition bounds. Reading more would be for nothing mostly.
const PROBE_ROWS: usize = 256;
/// Most bytes that a try reads from tables.
const BYTES_MAX: usize = 4 << 20;
/// Most rows of computed tables that a try looks at: they are in memory.
const COMPUTED_MAX: usize = 100_000;
/// Most pairs of rows that a join looks at.
const PAIRS_MAX: usize = 200_000;

/// The rows of a relation, if it is a small one made of simple operators.
pub(super) async fn rows(ctx: &ExecContext, rel: &Rel) -> Result<Option<Rows>, SqlError> {
    let subqueries = subquery::is_computed(rel);
    let deep = |scalar: &Scalar| scalar.has_subquery();
    let mut any = false;
    rel.for_each_rel(&mut |node| any |= node.scalars().into_iter().any(deep));
    if any && !subqueries {
        return Ok(None);
    }
    if !qualifies(rel, DEPTH_MAX) || (reads_tables(rel) && rel.is_volatile()) {
        return Ok(None);
    }
    let (rows, bytes, computed) = (0.into(), 0.into(), 0.into());
    let run = Run { ctx, rows, bytes, computed, mentioned: mentioned(rel) };
    match run.ordered(rel, None).await {
        Ok(table) => {
            let types = rel.columns().iter().map(|column| column.ty).collect();
            Ok(Some(Rows::ready(types, table.rows)))
        }
        Err(Stop::GivenUp) => Ok(None),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// The columns that a query names anywhere, its result and what is compared as a whole included.
fn mentioned(rel: &Rel) -> HashSet<ColId> {
    let mut found: HashSet<ColId> = HashSet::new();
    let columns = |rel: &Rel| rel.columns().into_iter().map(|column| column.id);
    found.extend(columns(rel));
    rel.for_each_rel(&mut |node| {
        if matches!(node, Rel::SetOp { .. } | Rel::Distinct { .. }) {
            found.extend(node.inputs().into_iter().flat_map(columns));
        }
        for scalar in node.scalars() {
            scalar.any(&mut |part| {
                match part {
                    Scalar::Column(id, _) => found.extend([*id]),
                    Scalar::Subquery(subquery) => found.extend(columns(&subquery.rel)),
                    _ => {}
                }
                false
            });
        }
    });
    found
}

/// Operators above each other: the stack has room for more, but such a query is none of the small ones.
const DEPTH_MAX: usize = 24;

/// Whether all of it is made of operators that are evaluated here, no more than `depth` above each other.
fn qualifies(rel: &Rel, depth: usize) -> bool {
    let operator = match rel {
        Rel::OneRow | Rel::Empty { .. } | Rel::Virtual(_) => true,
        Rel::Function(_) => true,
        Rel::Scan(scan) => !scan.skips_locked(),
        Rel::Values { rows, .. } => rows.iter().flatten().all(Scalar::is_row_independent),
        Rel::Filter { .. } | Rel::Project { .. } | Rel::Sort { .. } | Rel::Distinct { .. } => true,
        Rel::Limit { limit, offset, .. } => {
            limit.iter().chain(offset).all(Scalar::is_row_independent)
        }
        Rel::Join(join) => {
            matches!(join.kind, JoinKind::Inner | JoinKind::Left)
                && (!join.lateral || function::below(&join.right).is_some())
        }
        Rel::Aggregate { aggs, .. } => aggs.iter().all(group::is_simple),
        Rel::SetOp { op: SetOp::Union, .. } => true,
        _ => false,
    };
    operator
        && depth > 0
        && (!rel.scalars().into_iter().any(Scalar::has_subquery) || runs_subqueries(rel, depth))
        && rel.inputs().into_iter().all(|input| qualifies(input, depth - 1))
}

/// Whether its subqueries are of those that are run here: of an expression, or of a condition.
fn runs_subqueries(rel: &Rel, depth: usize) -> bool {
    matches!(rel, Rel::Project { .. } | Rel::Filter { .. })
        && rel.scalars().into_iter().all(|scalar| subquery::are_runnable(scalar, depth))
}

fn reads_tables(rel: &Rel) -> bool {
    matches!(rel, Rel::Scan(_) | Rel::Virtual(_)) || rel.inputs().into_iter().any(reads_tables)
}

/// Why there is no result.
enum Stop {
    /// It would be too much for here.
    GivenUp,
    Failed(SqlError),
}

impl<E: Into<SqlError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Failed(error.into())
    }
}

/// Rows, and which column stands where in them.
#[derive(Debug, Default)]
struct Table {
    layout: Vec<ColId>,
    rows: Vec<Vec<Datum>>,
}

/// One try.
struct Run<'a> {
    ctx: &'a ExecContext,
    /// Read from tables so far.
    rows: AtomicUsize,
    bytes: AtomicUsize,
    /// Rows of computed tables looked at so far.
    computed: AtomicUsize,
    /// Columns whose values somebody wants.
    mentioned: HashSet<ColId>,
}

impl Run<'_> {
    fn eval(&self, scalar: &Scalar, row: &[Datum]) -> Result<Datum, SqlError> {
        eval(scalar, &self.ctx.env, row, &self.ctx.params)
    }

    /// Whether all conditions hold.
    fn passes(&self, conditions: &[Scalar], row: &[Datum]) -> Result<bool, SqlError> {
        for condition in conditions {
            if self.eval(condition, row)? != Datum::Bool(true) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The rows of a relation with its columns in their order. `goal`: more rows are not needed.
    async fn ordered(&self, rel: &Rel, goal: Option<usize>) -> Result<Table, Stop> {
        let table = self.evaluate(rel, goal).await?;
        let wanted: Vec<ColId> = rel.columns().iter().map(|column| column.id).collect();
        if table.layout == wanted {
            return Ok(table);
        }
        let slots = slots(&wanted, &table.layout)?;
        let pick = |row: Vec<Datum>| slots.iter().map(|&slot| row[slot].clone()).collect();
        Ok(Table { layout: wanted, rows: table.rows.into_iter().map(pick).collect() })
    }

    fn evaluate<'s>(
        &'s self,
        rel: &'s Rel,
        goal: Option<usize>,
    ) -> BoxFuture<'s, Result<Table, Stop>> {
        Box::pin(async move {
            match rel {
                Rel::OneRow => Ok(Table { layout: Vec::new(), rows: vec![Vec::new()] }),
                Rel::Empty { columns } => {
                    let layout = columns.iter().map(|column| column.id).collect();
                    Ok(Table { layout, rows: Vec::new() })
                }
                Rel::Values { rows, columns } => {
                    let row = |row: &Vec<Scalar>| row.iter().map(|s| self.eval(s, &[])).collect();
                    let rows = rows.iter().map(row).collect::<Result<_, SqlError>>()?;
                    Ok(Table { layout: columns.iter().map(|column| column.id).collect(), rows })
                }
                Rel::Function(call) => self.call(call, &[], &[]),
                Rel::Scan(_) | Rel::Virtual(_) | Rel::Filter { .. } | Rel::Join(_) => {
                    self.joined(rel, goal).await
                }
                Rel::Project { input, exprs } => {
                    let input = self.evaluate(input, goal).await?;
                    let over: Vec<Scalar> = exprs
                        .iter()
                        .map(|(_, s)| s.over(&input.layout))
                        .collect::<Result<_, _>>()?;
                    let layout = exprs.iter().map(|(column, _)| column.id).collect();
                    if over.iter().any(Scalar::has_subquery) {
                        let rows = self.with_subqueries(&over, &input).await?;
                        return Ok(Table { layout, rows });
                    }
                    let made = |row: &Vec<Datum>| over.iter().map(|s| self.eval(s, row)).collect();
                    let rows = input.rows.iter().map(made).collect::<Result<_, SqlError>>()?;
                    Ok(Table { layout, rows })
                }
                Rel::Aggregate { input, group, aggs } => {
                    let input = self.evaluate(input, None).await?;
                    self.aggregate(&input, group, aggs)
                }
                Rel::Sort { input, keys } => {
                    let input = self.evaluate(input, None).await?;
                    self.sort(input, keys)
                }
                Rel::Limit { input, limit, offset } => {
                    let limit = self.count(limit.as_ref(), "LIMIT")?;
                    let offset = self.count(offset.as_ref(), "OFFSET")?.unwrap_or(0);
                    let goal = limit.map(|limit| limit.saturating_add(offset));
                    let mut table = self.evaluate(input, goal).await?;
                    table.rows.drain(..offset.min(table.rows.len()));
                    table.rows.truncate(limit.unwrap_or(usize::MAX));
                    Ok(table)
                }
                Rel::Distinct { input } => {
                    let table = self.ordered(input, None).await?;
                    let types: Vec<PgType> = input.columns().iter().map(|c| c.ty).collect();
                    Ok(distinct(table, &types))
                }
                Rel::SetOp { all, left, right, columns, .. } => {
                    let mut table = self.ordered(left, None).await?;
                    table.rows.extend(self.ordered(right, None).await?.rows);
                    table.layout = columns.iter().map(|column| column.id).collect();
                    let types: Vec<PgType> = columns.iter().map(|c| c.ty).collect();
                    Ok(if *all { table } else { distinct(table, &types) })
                }
                _ => Err(Stop::GivenUp),
            }
        })
    }

    /// Expressions over rows, subqueries among them.
    async fn with_subqueries(
        &self,
        over: &[Scalar],
        input: &Table,
    ) -> Result<Vec<Vec<Datum>>, Stop> {
        let memo = Memo::default();
        let mut rows = Vec::with_capacity(input.rows.len());
        for row in &input.rows {
            let at = Over { layout: &input.layout, row, memo: &memo };
            let mut made = Vec::with_capacity(over.len());
            for scalar in over {
                made.push(self.value(scalar, at).await?);
            }
            rows.push(made);
        }
        Ok(rows)
    }

    /// The number in LIMIT or OFFSET; none for NULL.
    fn count(&self, scalar: Option<&Scalar>, clause: &str) -> Result<Option<usize>, SqlError> {
        let Some(scalar) = scalar else { return Ok(None) };
        let Some(count) = self.eval(scalar, &[])?.as_i64() else { return Ok(None) };
        usize::try_from(count).map(Some).map_err(|_| {
            let state = match clause {
                "LIMIT" => SqlState::INVALID_ROW_COUNT_IN_LIMIT,
                _ => SqlState::INVALID_ROW_COUNT_IN_OFFSET,
            };
            SqlError::new(state, format!("{clause} must not be negative"))
        })
    }

    fn sort(&self, table: Table, keys: &[SortKey]) -> Result<Table, Stop> {
        let over: Vec<Scalar> =
            keys.iter().map(|key| key.expr.over(&table.layout)).collect::<Result<_, _>>()?;
        let mut keyed = Vec::with_capacity(table.rows.len());
        for row in table.rows {
            let key: Vec<Datum> =
                over.iter().map(|s| self.eval(s, &row)).collect::<Result<_, _>>()?;
            keyed.push((key, row));
        }
        keyed.sort_by(|(a, _), (b, _)| {
            let each = keys.iter().zip(a.iter().zip(b)).map(|(key, (a, b))| in_order(key, a, b));
            each.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
        let rows = keyed.into_iter().map(|(_, row)| row).collect();
        Ok(Table { layout: table.layout, rows })
    }
}

fn in_order(key: &SortKey, a: &Datum, b: &Datum) -> Ordering {
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) if key.nulls_first => Ordering::Less,
        (true, false) => Ordering::Greater,
        (false, true) if key.nulls_first => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if key.desc => pgtypes::compare_as(key.expr.ty(), b, a),
        (false, false) => pgtypes::compare_as(key.expr.ty(), a, b),
    }
}

/// Where the columns `wanted` stand.
fn slots(wanted: &[ColId], layout: &[ColId]) -> Result<Vec<usize>, SqlError> {
    let slot = |id: &ColId| {
        let at = layout.iter().position(|known| known == id);
        at.ok_or_else(|| SqlError::internal(format!("column {id} is not in the row")))
    };
    wanted.iter().map(slot).collect()
}

/// The first of equal rows each.
fn distinct(table: Table, types: &[PgType]) -> Table {
    let mut seen = HashSet::with_capacity(table.rows.len());
    let mut rows = table.rows;
    rows.retain(|row| seen.insert(identity(row.iter().zip(types.iter().copied()))));
    Table { layout: table.layout, rows }
}

/// Bytes that are equal exactly for values that GROUP BY takes for equal.
fn identity<'d>(values: impl Iterator<Item = (&'d Datum, PgType)>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    for (value, ty) in values {
        bytes.push(u8::from(value.is_null()));
        let at = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        pgtypes::sortkey::sort_key(value, ty, &mut bytes);
        let length = u32::try_from(bytes.len() - at - 4).unwrap_or(u32::MAX);
        bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
    bytes
}
