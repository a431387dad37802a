//! Takes expressions that call functions which wait out of a relation: see `waiting`.
//!
//! Of select lists, WHERE, ORDER BY, GROUP BY and arguments of aggregates. Elsewhere (conditions of joins,
//! window functions, arguments of other set-returning functions) such a call is refused, as it is next to a
//! subquery that is correlated.

use crate::error::SqlError;
use crate::ir::{ColId, JoinKind, Rel, RelColumn, Scalar, SetFunction};
use crate::session::{is_sequence_call, is_sequence_function};

/// Ids of columns made here: counted down from below those of `hoist`.
const FIRST_COLUMN: u32 = u32::MAX - (3 << 20);

/// `rel` with what waits in nodes of its own; none if nothing does.
pub(in crate::exec) fn hoisted(rel: &Rel) -> Result<Option<Rel>, SqlError> {
    let mut any = false;
    rel.for_each_rel(&mut |node| any |= node.scalars().into_iter().any(calls_one));
    if !any {
        return Ok(None);
    }
    let mut next = FIRST_COLUMN;
    hoist(rel, &mut next).map(Some)
}

/// Whether it is a call of such a function.
pub(crate) fn is_one(scalar: &Scalar) -> bool {
    let waits = |name: &str| {
        name.contains("_advisory_")
            || matches!(name, "pg_xact_status" | "txid_status" | "pg_sleep" | "pg_sleep_for")
            || is_sequence_function(name)
    };
    matches!(scalar, Scalar::Call { func, .. } if waits(func.name))
}

/// Whether such a call is somewhere in it, queries inside left out.
pub(crate) fn calls_one(scalar: &Scalar) -> bool {
    scalar.any(&mut is_one)
}

/// Likewise, calls of sequence functions left out: those wait for nobody's transaction.
pub(crate) fn waits_for_others(scalar: &Scalar) -> bool {
    scalar.any(&mut |node| is_one(node) && !is_sequence_call(node))
}

fn hoist(rel: &Rel, next: &mut u32) -> Result<Rel, SqlError> {
    let mut rel = rel.clone();
    match &mut rel {
        Rel::Project { input, exprs } => {
            let below = hoist(input, next)?;
            **input = lift(exprs.iter_mut().map(|(_, scalar)| scalar), next, below)?;
        }
        Rel::Filter { input, predicate } => {
            let mut below = hoist(input, next)?;
            let (with, without): (Vec<Scalar>, Vec<Scalar>) =
                predicate.conjuncts().iter().cloned().partition(calls_one);
            if let Some(predicate) = all(without) {
                below = Rel::Filter { input: Box::new(below), predicate };
            }
            for condition in &with {
                check(condition)?;
            }
            return Ok(match all(with) {
                None => below,
                keep_if => Rel::Waiting { input: Box::new(below), exprs: Vec::new(), keep_if },
            });
        }
        Rel::Sort { input, keys } => {
            let below = hoist(input, next)?;
            let columns = below.columns();
            **input = lift(keys.iter_mut().map(|key| &mut key.expr), next, below)?;
            return Ok(only(rel, columns));
        }
        Rel::Aggregate { input, group, aggs } => {
            let below = hoist(input, next)?;
            let lazy =
                aggs.iter().any(|agg| agg.filter.is_some() && agg.args.iter().any(calls_one));
            if lazy {
                return Err(SqlError::unsupported(
                    "a function that waits for others in an aggregate with FILTER",
                ));
            }
            let group = group.iter_mut().map(|(_, scalar)| scalar);
            let args = aggs.iter_mut().flat_map(|agg| agg.args.iter_mut().chain(&mut agg.filter));
            **input = lift(group.chain(args), next, below)?;
        }
        Rel::Lock { input, .. }
        | Rel::Limit { input, .. }
        | Rel::Distinct { input }
        | Rel::DistinctOn { input, .. }
        | Rel::Window { input, .. } => **input = hoist(input, next)?,
        Rel::Join(join) => {
            join.left = hoist(&join.left, next)?;
            join.right = hoist(&join.right, next)?;
            // What an inner join finds is filtered behind it.
            if join.kind == JoinKind::Inner
                && let Some(on) = join.on.take_if(|on| calls_one(on))
            {
                let filter = Rel::Filter { input: Box::new(rel), predicate: on };
                return hoist(&filter, next);
            }
        }
        Rel::SetOp { left, right, .. } => {
            **left = hoist(left, next)?;
            **right = hoist(right, next)?;
        }
        Rel::Function(call)
            if call.function == SetFunction::Scalar
                && call.ordinality.is_none()
                && call.args.iter().all(Scalar::is_row_independent) =>
        {
            let exprs = call.columns.iter().cloned().zip(call.args.iter().cloned()).collect();
            return hoist(&Rel::Project { input: Box::new(Rel::OneRow), exprs }, next);
        }
        Rel::OneRow
        | Rel::Empty { .. }
        | Rel::Scan(_)
        | Rel::Virtual(_)
        | Rel::Work(_)
        | Rel::Recursive(_)
        | Rel::Values { .. }
        | Rel::Function(_)
        | Rel::Apply { .. }
        | Rel::ApplyRows { .. }
        | Rel::Waiting { .. } => {}
    }
    if rel.scalars().into_iter().any(calls_one) {
        return Err(SqlError::unsupported(
            "a function that waits for others (nextval, an advisory lock, the status of a transaction) \
             in this clause",
        ));
    }
    Ok(rel)
}

fn all(mut conditions: Vec<Scalar>) -> Option<Scalar> {
    match conditions.len() {
        0 => None,
        1 => conditions.pop(),
        _ => Some(Scalar::And(conditions)),
    }
}

/// `rel` with no more than these of its columns.
fn only(rel: Rel, columns: Vec<RelColumn>) -> Rel {
    let exprs = columns.into_iter().map(|c| {
        let (id, ty) = (c.id, c.ty);
        (c, Scalar::Column(id, ty))
    });
    Rel::Project { input: Box::new(rel), exprs: exprs.collect() }
}

/// Replaces expressions that wait by columns of a node over `below`.
fn lift<'a>(
    scalars: impl Iterator<Item = &'a mut Scalar>,
    next: &mut u32,
    below: Rel,
) -> Result<Rel, SqlError> {
    let mut exprs = Vec::new();
    for scalar in scalars.filter(|scalar| calls_one(scalar)) {
        check(scalar)?;
        *next -= 1;
        let (id, ty) = (ColId(*next), scalar.ty());
        let column = RelColumn { id, name: name_of(scalar).into(), ty };
        exprs.push((column, std::mem::replace(scalar, Scalar::Column(id, ty))));
    }
    if exprs.is_empty() {
        return Ok(below);
    }
    Ok(Rel::Waiting { input: Box::new(below), exprs, keep_if: None })
}

/// The first such function in it.
fn name_of(scalar: &Scalar) -> String {
    let mut name = String::new();
    scalar.any(&mut |node| {
        if let Scalar::Call { func, .. } = node
            && is_one(node)
        {
            name = func.name.to_string();
        }
        !name.is_empty()
    });
    name
}

/// Whether an expression can be evaluated row by row: its queries have values by then, unless they depend
/// on the row. NULLIF has its first operand twice.
fn check(scalar: &Scalar) -> Result<(), SqlError> {
    let what =
        "a function that waits for others (nextval, an advisory lock, the status of a transaction)";
    let mut refused = None;
    scalar.any(&mut |node| {
        match node {
            Scalar::Subquery(subquery) if subquery.rel.is_correlated() => {
                refused = Some("next to a correlated subquery");
            }
            Scalar::Subquery(_) if calls_one(node) => refused = Some("in a subquery's operand"),
            Scalar::NullIf { .. } if calls_one(node) => refused = Some("in NULLIF"),
            _ => {}
        }
        refused.is_some()
    });
    match refused {
        Some(place) => Err(SqlError::unsupported(format!("{what} {place}"))),
        None => Ok(()),
    }
}
