//! Queries inside expressions that mention nothing outside: run once, before the plan, and
//! replaced by their value. And computed tables, whose rows are fetched before the plan is built.
//!
//! `x IN (query)` as a whole condition stays: there a semi-join is better than a list.
//!
//! What fails below a select list or an aggregate fails where its value is used: maybe there is no row.

use std::sync::Arc;

use futures::future::BoxFuture;
use pgtypes::error::sqlstate;
use pgtypes::{Datum, PgType, registry};

use super::joinable::joins;
use super::virtuals::Loaded;
use super::{ExecContext, run_rel};
use crate::error::{SqlError, SqlState};
use crate::ir::{FuncRef, Rel, RelColumn, Scalar, Subquery, SubqueryKind, VirtualTable};

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
    // What a condition needs, too, fails at once.
    found.sort_by_key(|found| found.may_wait);
    let mut values: Vec<(Subquery, Scalar)> = Vec::with_capacity(found.len());
    for Found { mut subquery, may_wait } in found {
        // Its own left side may hold one, which was found before it.
        if let SubqueryKind::Any { needle, .. } | SubqueryKind::All { needle, .. } =
            &mut subquery.kind
        {
            needle.rewrite(&mut |scalar| put(scalar, &values));
        }
        if values.iter().any(|(known, _)| *known == subquery) {
            continue;
        }
        let value = match value(ctx, &subquery).await {
            Err(error) if may_wait => failure(error, subquery.ty)?,
            result => result?,
        };
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

/// What fails with this error as soon as there is a row to compute it for.
fn failure(error: SqlError, ty: PgType) -> Result<Scalar, SqlError> {
    let state = error.code().as_str();
    if !sqlstate::OF_ROWS.contains(&state) {
        return Err(error);
    }
    let text = |text: &str| Scalar::Literal(Datum::text(text), PgType::TEXT);
    let args = vec![text(state), text(error.message())];
    Ok(Scalar::Call { func: FuncRef(Arc::new(registry::failure_of(ty))), args, ty })
}

/// A subquery that mentions nothing outside.
struct Found {
    subquery: Subquery,
    /// Whether nothing depends on its value where there is no row.
    may_wait: bool,
}

/// Where an expression stands.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// It decides which of these rows stay, so an IN at its top becomes a semi-join. `negated`: below a NOT.
    Condition { rows: &'a Rel, negated: bool },
    /// Anywhere else. `may_wait`: only where there is a row its value is used.
    Value { may_wait: bool },
}

/// Uncorrelated subqueries of a relation, outermost only: what is inside one runs with it.
fn walk(rel: &Rel, found: &mut Vec<Found>) {
    for input in rel.inputs() {
        walk(input, found);
    }
    let place = match rel {
        Rel::Filter { input, .. } => Place::Condition { rows: input, negated: false },
        Rel::Project { .. } | Rel::Aggregate { .. } | Rel::Window { .. } => {
            Place::Value { may_wait: true }
        }
        _ => Place::Value { may_wait: false },
    };
    for scalar in rel.scalars() {
        candidates(scalar, place, found);
    }
}

/// Uncorrelated subqueries of an expression.
fn candidates(scalar: &Scalar, place: Place<'_>, found: &mut Vec<Found>) {
    let inside = match place {
        Place::Condition { .. } => Place::Value { may_wait: false },
        value @ Place::Value { .. } => value,
    };
    match (scalar, place) {
        (Scalar::And(args), Place::Condition { rows, .. }) => {
            let place = Place::Condition { rows, negated: false };
            args.iter().for_each(|arg| candidates(arg, place, found));
        }
        (Scalar::Not(arg), Place::Condition { rows, .. })
            if matches!(**arg, Scalar::Subquery(_)) =>
        {
            candidates(arg, Place::Condition { rows, negated: true }, found);
        }
        (Scalar::Subquery(subquery), _) => {
            if let SubqueryKind::Any { needle, .. } | SubqueryKind::All { needle, .. } =
                &subquery.kind
            {
                candidates(needle, inside, found);
            }
            let joined = matches!(place, Place::Condition { rows, negated }
                if joins(subquery, negated, &rows.columns()));
            if !joined && !subquery.rel.is_correlated() {
                let may_wait = matches!(inside, Place::Value { may_wait: true });
                found.push(Found { subquery: (**subquery).clone(), may_wait });
            } else {
                walk(&subquery.rel, found);
            }
        }
        (other, _) => {
            other.children().into_iter().for_each(|child| candidates(child, inside, found));
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
    op: &FuncRef,
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
