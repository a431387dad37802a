//! Recognising a bound write of few rows.

use super::compile::{Defaults, Layout, find_probe, residual};
use super::{Delete, Insert, PointPlan, Probe, Returning, Update};
use crate::SqlError;
use crate::dml::{Rules, concerns};
use crate::ir::{self, ColId, InsertSource, Scalar, Scan};
use crate::session::{has_sequence_call, result_columns};

/// Most rows of an INSERT that is compiled: beyond, a plan is used once and big.
const ROWS_MAX: usize = 100_000;

fn returning(from: Option<&ir::Returning>, ids: &[ColId]) -> Option<Option<Returning>> {
    let Some(from) = from else { return Some(None) };
    let exprs: Vec<Scalar> = from.exprs.iter().map(|e| e.over(ids).ok()).collect::<Option<_>>()?;
    Some(Some(Returning { exprs, columns: result_columns(&from.columns).into() }))
}

pub(super) fn insert(
    insert: &ir::Insert,
    defaults: &dyn Defaults,
) -> Result<Option<PointPlan>, SqlError> {
    if insert.on_conflict.is_some() {
        return Ok(None);
    }
    let default_row: Vec<Vec<Option<Scalar>>> = vec![vec![None; insert.columns.len()]];
    let given = match &insert.source {
        InsertSource::Values(rows) if rows.len() <= ROWS_MAX => rows,
        InsertSource::Default => &default_row,
        InsertSource::Values(_) | InsertSource::Query(_) => return Ok(None),
    };
    let layout = Layout::of(&insert.target);
    let Some(returning) = returning(insert.returning.as_ref(), &layout.ids) else {
        return Ok(None);
    };
    if insert.returning.as_ref().is_some_and(ir::Returning::has_subquery) {
        return Ok(None);
    }
    let table = &insert.table;
    let mut fill = Vec::with_capacity(table.columns.len());
    for position in 0..table.columns.len() {
        fill.push(defaults.default_of(table, position)?);
    }
    let mut rows: Vec<Vec<Scalar>> = Vec::with_capacity(given.len());
    for values in given {
        let mut row = fill.clone();
        for (column, value) in insert.columns.iter().zip(values) {
            let Some(value) = value else { continue };
            if !value.is_row_independent() {
                return Ok(None);
            }
            row[*column] = value.clone();
        }
        rows.push(row);
    }
    let asks_sequences = rows.iter().flatten().any(has_sequence_call);
    let rules = Rules::of(table, defaults)?;
    Ok(Some(PointPlan::Insert(Insert {
        table: table.clone(),
        rules,
        rows,
        asks_sequences,
        returning,
    })))
}

/// The probe of a WHERE over a target whose columns are the table's, in order.
fn probe(target: &Scan, filter: Option<&Scalar>) -> Option<(Probe, Layout)> {
    let layout = Layout::of(target);
    let conjuncts: Vec<&Scalar> = filter?.conjuncts().iter().collect();
    let (index, values, rest) = find_probe(&target.table, &layout, &conjuncts)?;
    let in_order = layout.positions.iter().copied().eq(0..target.table.columns.len());
    if !in_order {
        return None;
    }
    let probe = Probe {
        table: target.table.clone(),
        is_primary: index == target.table.primary.id,
        index,
        values,
        residual: residual(&rest, &layout.ids)?,
    };
    Some((probe, layout))
}

pub(super) fn update(
    update: &ir::Update,
    defaults: &dyn Defaults,
) -> Result<Option<PointPlan>, SqlError> {
    if !update.is_row_wise() {
        return Ok(None);
    }
    let Some((probe, layout)) = probe(&update.target, update.filter.as_ref()) else {
        return Ok(None);
    };
    let table = &update.target.table;
    let mut assignments = Vec::with_capacity(update.assignments.len());
    for assignment in &update.assignments {
        let value = match &assignment.value {
            Some(value) => match value.over(&layout.ids) {
                Ok(value) => value,
                Err(_) => return Ok(None),
            },
            None => defaults.default_of(table, assignment.column)?,
        };
        if has_sequence_call(&value) {
            return Ok(None);
        }
        assignments.push((assignment.column, value));
    }
    let Some(returning) = returning(update.returning.as_ref(), &layout.ids) else {
        return Ok(None);
    };
    let rules = Rules::of(table, defaults)?;
    let generated = |p: usize| table.columns[p].generated.is_some();
    let assigned = |p: usize| generated(p) || assignments.iter().any(|(column, _)| *column == p);
    let follows = concerns(table, defaults, assigned);
    Ok(Some(PointPlan::Update(Update { probe, rules, assignments, follows, returning })))
}

pub(super) fn delete(
    delete: &ir::Delete,
    defaults: &dyn Defaults,
) -> Result<Option<PointPlan>, SqlError> {
    if !delete.is_row_wise() {
        return Ok(None);
    }
    let Some((probe, layout)) = probe(&delete.target, delete.filter.as_ref()) else {
        return Ok(None);
    };
    let Some(returning) = returning(delete.returning.as_ref(), &layout.ids) else {
        return Ok(None);
    };
    let follows = defaults.is_referenced(&delete.target.table);
    Ok(Some(PointPlan::Delete(Delete { probe, follows, returning })))
}
