//! Queries inside expressions that mention nothing outside: run once, before the plan, and
//! replaced by their value. And computed tables, whose rows are fetched before the plan is built.
//!
//! `x IN (query)` as a whole condition stays: there a semi-join is better than a list.

use std::sync::Arc;

use futures::future::BoxFuture;
use pgtypes::{Datum, PgType};

use super::hoist::joins;
use super::virtuals::Loaded;
use super::{ExecContext, run_rel};
use crate::error::{SqlError, SqlState};
use crate::ir::{Rel, RelColumn, Scalar, Subquery, SubqueryKind, VirtualTable};

/// Rows of the computed tables a statement mentions.
#[derive(Default)]
pub(crate) struct Computed(Vec<(Arc<dyn VirtualTable>, Arc<Loaded>)>);

impl Computed {
    /// The rows of a table.
    pub(crate) fn rows(&self, table: &Arc<dyn VirtualTable>) -> Result<&Loaded, SqlError> {
        self.0
            .iter()
            .find(|(known, _)| Arc::ptr_eq(known, table))
            .map(|(_, loaded)| &**loaded)
            .ok_or_else(|| SqlError::internal(format!("rows of {} are missing", table.name())))
    }
}

/// Fetches the rows of all computed tables in `rel`.
pub(super) async fn computed(ctx: &ExecContext, rel: &Rel) -> Result<Computed, SqlError> {
    let mut tables: Vec<Arc<dyn VirtualTable>> = Vec::new();
    rel.for_each_rel(&mut |node| {
        if let Rel::Virtual(scan) = node
            && !tables.iter().any(|known| Arc::ptr_eq(known, &scan.table))
        {
            tables.push(Arc::clone(&scan.table));
        }
    });
    let mut computed = Computed::default();
    for table in tables {
        let loaded = ctx.virtuals.load(ctx, &table).await?;
        computed.0.push((table, loaded));
    }
    Ok(computed)
}

/// `rel` with its uncorrelated subqueries replaced by their values.
pub(super) async fn run(ctx: &ExecContext, rel: &Rel) -> Result<Rel, SqlError> {
    let mut found = Vec::new();
    walk(rel, &mut found);
    if found.is_empty() {
        return Ok(rel.clone());
    }
    let mut values: Vec<(Subquery, Scalar)> = Vec::with_capacity(found.len());
    for mut subquery in found {
        // Its own left side may hold one, which was found before it.
        if let SubqueryKind::Any { needle, .. } | SubqueryKind::All { needle, .. } =
            &mut subquery.kind
        {
            needle.rewrite(&mut |scalar| put(scalar, &values));
        }
        if values.iter().any(|(known, _)| *known == subquery) {
            continue;
        }
        let value = value(ctx, &subquery).await?;
        values.push((subquery, value));
    }
    as_left(&mut values);
    let mut rel = rel.clone();
    rel.for_each_scalar_mut(&mut |scalar| put(scalar, &values));
    Ok(rel)
}

/// The subqueries as they are when those inside them have been replaced, which happens first.
fn as_left(values: &mut [(Subquery, Scalar)]) {
    values.sort_by_cached_key(|(subquery, _)| {
        let mut inside = 0usize;
        subquery.rel.any_scalar(&mut |scalar| {
            inside += usize::from(matches!(scalar, Scalar::Subquery(_)));
            false
        });
        inside
    });
    for at in 1..values.len() {
        let (known, rest) = values.split_at_mut(at);
        let (subquery, _) = &mut rest[0];
        subquery.rel.for_each_scalar_mut(&mut |scalar| put(scalar, known));
        if let SubqueryKind::Any { needle, .. } | SubqueryKind::All { needle, .. } =
            &mut subquery.kind
        {
            needle.rewrite(&mut |scalar| put(scalar, known));
        }
    }
}

/// The value of a subquery in its place, if it is known.
fn put(scalar: &mut Scalar, values: &[(Subquery, Scalar)]) {
    if let Scalar::Subquery(subquery) = scalar
        && let Some((_, value)) = values.iter().find(|(known, _)| known == &**subquery)
    {
        *scalar = value.clone();
    }
}

/// Uncorrelated subqueries of a relation, outermost only: what is inside one runs with it.
fn walk(rel: &Rel, found: &mut Vec<Subquery>) {
    for input in rel.inputs() {
        walk(input, found);
    }
    for scalar in rel.scalars() {
        candidates(scalar, matches!(rel, Rel::Filter { .. }), false, found);
    }
}

/// Uncorrelated subqueries of an expression. `condition`: the expression decides which rows stay,
/// so an IN at its top becomes a semi-join. `negated`: it is the operand of NOT.
fn candidates(scalar: &Scalar, condition: bool, negated: bool, found: &mut Vec<Subquery>) {
    match scalar {
        Scalar::And(args) if condition => {
            args.iter().for_each(|arg| candidates(arg, true, false, found));
        }
        Scalar::Not(arg) if condition && matches!(**arg, Scalar::Subquery(_)) => {
            candidates(arg, true, true, found);
        }
        Scalar::Subquery(subquery) => {
            if let SubqueryKind::Any { needle, .. } | SubqueryKind::All { needle, .. } =
                &subquery.kind
            {
                candidates(needle, false, false, found);
            }
            let joined = condition && joins(subquery, negated);
            if !joined && !subquery.rel.is_correlated() {
                found.push((**subquery).clone());
            } else {
                walk(&subquery.rel, found);
            }
        }
        other => {
            other.children().into_iter().for_each(|child| candidates(child, false, false, found));
        }
    }
}

/// The value of a subquery that mentions nothing outside.
pub(super) fn value<'a>(
    ctx: &'a ExecContext,
    subquery: &'a Subquery,
) -> BoxFuture<'a, Result<Scalar, SqlError>> {
    Box::pin(async move {
        match &subquery.kind {
            SubqueryKind::Exists => {
                let limited = Rel::Limit {
                    input: Box::new(subquery.rel.clone()),
                    limit: Some(Scalar::int8(1)),
                    offset: None,
                };
                let mut rows = run_rel(ctx, &limited).await?;
                Ok(Scalar::bool(rows.next().await?.is_some()))
            }
            SubqueryKind::Scalar => {
                let mut rows = run_rel(ctx, &subquery.rel).await?;
                let Some(mut row) = rows.next().await? else {
                    return Ok(Scalar::null(subquery.ty));
                };
                if rows.next().await?.is_some() {
                    return Err(SqlError::new(
                        SqlState::CARDINALITY_VIOLATION,
                        "more than one row returned by a subquery used as an expression",
                    ));
                }
                Ok(Scalar::Literal(row.swap_remove(0), subquery.ty))
            }
            SubqueryKind::Array => {
                let items = first_column(ctx, &subquery.rel).await?;
                Ok(Scalar::Literal(Datum::array(items), subquery.ty))
            }
            SubqueryKind::Any { needle, op, column } => {
                list(ctx, subquery, needle, op, column, false).await
            }
            SubqueryKind::All { needle, op, column } => {
                list(ctx, subquery, needle, op, column, true).await
            }
        }
    })
}

/// `needle op ANY/ALL (values)`.
async fn list(
    ctx: &ExecContext,
    subquery: &Subquery,
    needle: &Scalar,
    op: &crate::ir::FuncRef,
    column: &Scalar,
    all: bool,
) -> Result<Scalar, SqlError> {
    let ty: PgType = column.ty();
    let made = RelColumn { id: crate::ir::ColId(u32::MAX), name: Arc::from("value"), ty };
    let rel =
        Rel::Project { input: Box::new(subquery.rel.clone()), exprs: vec![(made, column.clone())] };
    let items = first_column(ctx, &rel).await?;
    let array = Box::new(Scalar::Literal(Datum::array(items), ty.base().to_array()));
    Ok(Scalar::Quantified { op: op.clone(), needle: Box::new(needle.clone()), array, all })
}

async fn first_column(ctx: &ExecContext, rel: &Rel) -> Result<Vec<Datum>, SqlError> {
    let mut rows = run_rel(ctx, rel).await?;
    let mut items = Vec::new();
    while let Some(mut row) = rows.next().await? {
        items.push(row.swap_remove(0));
    }
    Ok(items)
}
