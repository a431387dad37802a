//! UPDATE and DELETE with any WHERE.
//!
//! All rows are found before the first is written: a statement never meets its own writes. What has
//! to be computed by a query (subqueries, FROM) is computed along with finding the row.

use std::collections::BTreeSet;

use base::Key;
use kv::Strength;
use pgtypes::Datum;

use super::insert::Returns;
use super::recheck::{Recheck, lock_in_snapshot};
use super::{Event, Names, Rules, Writes, concerns, update_strength};
use crate::SqlError;
use crate::exec::waiting::columns_in;
use crate::exec::waiting_hoist::calls_one;
use crate::ir::{self, ColId, Rel, RelColumn, Scalar, Scan};
use crate::point::Defaults;
use crate::session::api::Sink;
use crate::session::{DmlContext, result_columns};

/// Rows locked and written at a time.
const BATCH_ROWS: usize = 1_000;
/// Ids of columns made here: above any that binding gives out.
const FIRST_OWN_COLUMN: u32 = 1 << 30;

/// A row to write: its key, its columns, and what the query computed besides.
pub(super) struct Found {
    pub(super) key: Key,
    pub(super) row: Vec<Datum>,
    pub(super) extra: Vec<Datum>,
}

/// What a query shall deliver per row: the target's columns, its key, and `extra` expressions.
fn project(source: Rel, target: &Scan, extra: &[Scalar]) -> Result<Rel, SqlError> {
    let key = target.row_key.clone().ok_or_else(|| SqlError::internal("target without row key"))?;
    let mut exprs: Vec<(RelColumn, Scalar)> = target
        .columns
        .iter()
        .map(|(c, _)| c)
        .chain(std::iter::once(&key))
        .map(|c| (own(c.id.0 + FIRST_OWN_COLUMN, c.ty), Scalar::Column(c.id, c.ty)))
        .collect();
    let first = 2 * FIRST_OWN_COLUMN;
    for (n, scalar) in (0u32..).zip(extra) {
        exprs.push((own(first + n, scalar.ty()), scalar.clone()));
    }
    Ok(Rel::Project { input: Box::new(source), exprs })
}

fn own(id: u32, ty: pgtypes::PgType) -> RelColumn {
    RelColumn { id: ColId(id), name: "".into(), ty }
}

/// Runs the query and keeps each target row once, as PostgreSQL does when a join finds it twice.
async fn find(
    cx: &DmlContext,
    source: Rel,
    target: &Scan,
    extra: &[Scalar],
) -> Result<Vec<Found>, SqlError> {
    let width = target.columns.len();
    let rel = project(source, target, extra)?;
    let mut cursor = cx.open(&rel).await?;
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    while let Some(rows) = cursor.next_rows().await? {
        for mut row in rows {
            let extra = row.split_off(width + 1);
            let key = match row.pop() {
                Some(Datum::Bytea(key)) => Key(key),
                // An outer join found no row.
                Some(Datum::Null) => continue,
                other => return Err(SqlError::internal(format!("row key: {other:?}"))),
            };
            if cx.is_written(&key) || !seen.insert(key.clone()) {
                continue;
            }
            cx.account(&row)?;
            found.push(Found { key, row, extra });
        }
    }
    Ok(found)
}

/// Finds the rows and locks all of them, so that nothing has been written or returned when one turns
/// out to be newer than the snapshot.
async fn find_and_lock(
    cx: &DmlContext,
    source: Source<'_>,
    extra: &[Scalar],
    strength: Strength,
) -> Result<Vec<Vec<Found>>, SqlError> {
    let Source { rel, target, from, filter } = source;
    let recheck = Recheck::new(cx, target, from, filter, extra);
    let mut wanted = extra.to_vec();
    wanted.extend(recheck.iter().flat_map(Recheck::columns));
    let found = find(cx, rel, target, &wanted).await?;
    let mut locked = Vec::new();
    for batch in in_batches(found) {
        locked.push(match &recheck {
            Some(recheck) => recheck.lock(cx, target, strength, batch).await?,
            None => lock_in_snapshot(cx, strength, batch).await?,
        });
    }
    Ok(locked)
}

/// Where the rows to write come from.
struct Source<'a> {
    rel: Rel,
    target: &'a Scan,
    from: Option<&'a Rel>,
    filter: Option<&'a Scalar>,
}

/// `split_off` would leave each batch the capacity of all that follow it.
fn in_batches(found: Vec<Found>) -> Vec<Vec<Found>> {
    let mut found = found.into_iter();
    std::iter::from_fn(|| {
        let batch: Vec<Found> = found.by_ref().take(BATCH_ROWS).collect();
        (!batch.is_empty()).then_some(batch)
    })
    .collect()
}

/// What RETURNING needs: evaluated over the row here, or computed by the query.
enum ReturnPlan {
    None,
    /// Of the written row, and of `extra` from here on.
    Here(Option<Returns>, usize),
    /// Columns of `extra`, from here on.
    Queried(usize),
}

/// `expr` with the target's columns replaced by what they are assigned.
fn after_assignment(expr: &Scalar, target: &Scan, values: &[(usize, Scalar)]) -> Scalar {
    let mut expr = expr.clone();
    expr.for_each_mut(&mut |node| {
        if let Scalar::Column(id, _) = node
            && let Some((_, position)) = target.columns.iter().find(|(c, _)| c.id == *id)
            && let Some((_, value)) = values.iter().find(|(p, _)| p == position)
        {
            *node = value.clone();
        }
    });
    expr
}

/// Runs an UPDATE. Returns how many rows were changed.
pub(crate) async fn run_update(
    cx: &DmlContext,
    update: &ir::Update,
    defaults: &dyn Defaults,
    sink: &mut dyn Sink,
) -> Result<u64, SqlError> {
    let table = update.target.table.clone();
    let rules = Rules::of(&table, defaults)?;
    let layout: Vec<ColId> = update.target.columns.iter().map(|(c, _)| c.id).collect();
    let mut values = Vec::new();
    for assignment in &update.assignments {
        let value = match &assignment.value {
            Some(value) => value.clone(),
            None => defaults.default_of(&table, assignment.column)?,
        };
        values.push((assignment.column, value));
    }
    // What waits for others is evaluated where the rows are found.
    let waits = values.iter().any(|(_, value)| calls_one(value));
    let row_wise = update.is_row_wise() && !waits;
    let mut extra: Vec<Scalar> = match row_wise {
        true => Vec::new(),
        false => values.iter().map(|(_, v)| v.clone()).collect(),
    };
    let computed = extra.len();
    // The query that finds the rows does not know these values.
    let computed_here = waits || table.columns.iter().any(|c| c.generated.is_some());
    let returning = match &update.returning {
        Some(list) if list.has_subquery() && !computed_here => {
            sink.columns(&result_columns(&list.columns))?;
            extra.extend(list.exprs.iter().map(|e| after_assignment(e, &update.target, &values)));
            ReturnPlan::Queried(computed)
        }
        list => {
            let of_target = &layout;
            let mut layout = layout.clone();
            // A query inside may mention any of them.
            let joined = match list.as_ref().is_some_and(ir::Returning::has_subquery) {
                true => update.from.iter().flat_map(Rel::columns).map(|c| (c.id, c.ty)).collect(),
                false => columns_in(list.iter().flat_map(|list| &list.exprs)),
            };
            for (id, ty) in joined.into_iter().filter(|(id, _)| !of_target.contains(id)) {
                layout.push(id);
                extra.push(Scalar::Column(id, ty));
            }
            ReturnPlan::Here(Returns::new(list.as_ref(), &layout, cx, sink)?, computed)
        }
    };
    let over: Result<Vec<(usize, Scalar)>, SqlError> = match row_wise {
        true => values.iter().map(|(p, v)| Ok((*p, v.over(&layout)?))).collect(),
        false => Ok(Vec::new()),
    };
    let over = over?;
    let source = Source {
        rel: update.source(),
        target: &update.target,
        from: update.from.as_ref(),
        filter: update.filter.as_ref(),
    };
    let strength = update_strength(&table, values.iter().map(|(column, _)| *column));
    let generated = |p: usize| table.columns[p].generated.is_some();
    let assigned = |p: usize| generated(p) || values.iter().any(|(column, _)| *column == p);
    let follows = concerns(&table, defaults, assigned);
    let mut events = Vec::new();
    let locked = find_and_lock(cx, source, &extra, strength).await?;
    let mut count = 0;
    for batch in locked {
        let mut writes = Writes::default();
        let mut results = Vec::with_capacity(batch.len());
        for Found { key, row: old, extra } in batch {
            let mut new = old.clone();
            if row_wise {
                for (position, value) in &over {
                    new[*position] = ir::eval(value, &cx.env, &old, &cx.params)?;
                }
            } else {
                for ((position, _), value) in values.iter().zip(&extra) {
                    new[*position] = value.clone();
                }
            }
            rules.complete(&mut new, &cx.env)?;
            let key = writes.update(&table, key, &old, &new)?;
            if follows {
                let (old, new) = (Some(old), Some(new.clone()));
                events.push(Event { table: table.clone(), key, old, new });
            }
            results.push((new, extra));
        }
        count += results.len() as u64;
        write(cx, writes).await?;
        for (new, extra) in &results {
            give_back(cx, &returning, new, extra, sink).await?;
        }
        sink.flush().await?;
    }
    cx.follow(events).await?;
    Ok(count)
}

async fn write(cx: &DmlContext, writes: Writes) -> Result<(), SqlError> {
    let names = Names { catalog: &cx.catalog, env: &cx.env };
    writes.apply(&cx.txn, !cx.lone, &names).await
}

async fn give_back(
    cx: &DmlContext,
    returning: &ReturnPlan,
    row: &[Datum],
    extra: &[Datum],
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    match returning {
        ReturnPlan::None => Ok(()),
        ReturnPlan::Here(returns, from) => match &extra[*from..] {
            [] => cx.returned(returns.as_ref(), row, sink).await,
            joined => cx.returned(returns.as_ref(), &[row, joined].concat(), sink).await,
        },
        ReturnPlan::Queried(from) => sink.row(&extra[*from..]),
    }
}

/// Runs a DELETE. Returns how many rows are gone.
pub(crate) async fn run_delete(
    cx: &DmlContext,
    delete: &ir::Delete,
    defaults: &dyn Defaults,
    sink: &mut dyn Sink,
) -> Result<u64, SqlError> {
    let table = &delete.target.table;
    let follows = defaults.is_referenced(table);
    let mut events = Vec::new();
    let layout: Vec<ColId> = delete.target.columns.iter().map(|(c, _)| c.id).collect();
    let mut extra: Vec<Scalar> = Vec::new();
    let mut returning = ReturnPlan::None;
    if delete.is_row_wise() {
        let returns = Returns::new(delete.returning.as_ref(), &layout, cx, sink)?;
        returning = ReturnPlan::Here(returns, 0);
    } else if let Some(list) = &delete.returning {
        sink.columns(&result_columns(&list.columns))?;
        returning = ReturnPlan::Queried(0);
        extra.clone_from(&list.exprs);
    }
    let source = Source {
        rel: delete.source(),
        target: &delete.target,
        from: delete.using.as_ref(),
        filter: delete.filter.as_ref(),
    };
    let locked = find_and_lock(cx, source, &extra, Strength::Update).await?;
    let mut count = 0;
    for batch in locked {
        let mut writes = Writes::default();
        for found in &batch {
            writes.delete(table, found.key.clone(), &found.row)?;
        }
        count += batch.len() as u64;
        write(cx, writes).await?;
        for found in &batch {
            give_back(cx, &returning, &found.row, &found.extra, sink).await?;
        }
        sink.flush().await?;
        if follows {
            events.extend(batch.into_iter().map(|found| Event {
                table: table.clone(),
                key: found.key,
                old: Some(found.row),
                new: None,
            }));
        }
    }
    cx.follow(events).await?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_take_no_more_memory_than_their_rows() {
        let found = |n: u32| Found {
            key: Key(bytes::Bytes::copy_from_slice(&n.to_be_bytes())),
            row: Vec::new(),
            extra: Vec::new(),
        };
        let rows = 20 * u32::try_from(BATCH_ROWS).unwrap() + 1;
        let batches = in_batches((0..rows).map(found).collect());
        assert_eq!(batches.len(), 21);
        let capacity: usize = batches.iter().map(Vec::capacity).sum();
        assert!(capacity <= 2 * rows as usize, "{capacity} places for {rows} rows");
    }
}
