//! Queries without tables, evaluated without a plan: `SELECT 1`, `SELECT now()`, `VALUES …`.

use pgtypes::Datum;

use super::ExecContext;
use super::rows::Rows;
use crate::error::SqlError;
use crate::ir::{ColId, Rel, Scalar, eval};

/// The rows of a relation that needs no plan; `None` if it does.
pub(super) fn rows(ctx: &ExecContext, rel: &Rel) -> Result<Option<Rows>, SqlError> {
    let Some((_, rows)) = evaluate(ctx, rel)? else { return Ok(None) };
    Ok(Some(Rows::ready(rel.columns().iter().map(|column| column.ty).collect(), rows)))
}

type Evaluated = (Vec<ColId>, Vec<Vec<Datum>>);

fn evaluate(ctx: &ExecContext, rel: &Rel) -> Result<Option<Evaluated>, SqlError> {
    match rel {
        Rel::OneRow => Ok(Some((Vec::new(), vec![Vec::new()]))),
        Rel::Values { rows, columns } => {
            if !rows.iter().flatten().all(Scalar::is_row_independent) {
                return Ok(None);
            }
            let mut result = Vec::with_capacity(rows.len());
            for row in rows {
                let row: Result<Vec<Datum>, SqlError> =
                    row.iter().map(|scalar| eval(scalar, &ctx.env, &[], &ctx.params)).collect();
                result.push(row?);
            }
            Ok(Some((columns.iter().map(|column| column.id).collect(), result)))
        }
        Rel::Filter { input, predicate } if !predicate.has_subquery() => {
            let Some((layout, rows)) = evaluate(ctx, input)? else { return Ok(None) };
            let predicate = predicate.over(&layout)?;
            let mut kept = Vec::with_capacity(rows.len());
            for row in rows {
                if eval(&predicate, &ctx.env, &row, &ctx.params)? == Datum::Bool(true) {
                    kept.push(row);
                }
            }
            Ok(Some((layout, kept)))
        }
        Rel::Project { input, exprs } if !exprs.iter().any(|(_, s)| s.has_subquery()) => {
            let Some((layout, rows)) = evaluate(ctx, input)? else { return Ok(None) };
            let scalars = exprs
                .iter()
                .map(|(_, scalar)| scalar.over(&layout))
                .collect::<Result<Vec<_>, _>>()?;
            let mut result = Vec::with_capacity(rows.len());
            for row in rows {
                let row: Result<Vec<Datum>, SqlError> = scalars
                    .iter()
                    .map(|scalar| eval(scalar, &ctx.env, &row, &ctx.params))
                    .collect();
                result.push(row?);
            }
            Ok(Some((exprs.iter().map(|(column, _)| column.id).collect(), result)))
        }
        _ => Ok(None),
    }
}
