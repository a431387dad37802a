//! Takes correlated subqueries out of expressions: each becomes a column of an
//! [`Rel::Apply`] below the expression.
//!
//! A query that is a whole condition of WHERE (`EXISTS`, `IN`, a scalar one inside it) stays at the first
//! attempt, if the optimizer may make a join of it (`joinable`); so does a scalar one anywhere. What it
//! cannot join is evaluated row by row. Of lateral joins what can be done after the join is taken out; the
//! others go the same ways.

use std::sync::Arc;

use super::apply::outer_columns;
use super::joinable::{aggregates, computed_outside, decorrelates, joinable, strip};
use crate::ir::{ColId, Join, JoinKind, Rel, RelColumn, Scalar, Subquery, SubqueryKind};

/// Which subqueries to take out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that no rule makes a join of.
    Unjoinable,
    /// All.
    All,
}

/// Ids of columns made here: counted down from below those of set operations.
struct Fresh(u32);

/// `rel` with its correlated subqueries taken out.
pub(super) fn hoisted(rel: &Rel, which: Which) -> Rel {
    let first = match which {
        Which::Unjoinable => u32::MAX - (1 << 20),
        Which::All => u32::MAX - (1 << 21),
    };
    let mut fresh = Fresh(first);
    node(rel, which, &mut fresh)
}

fn node(rel: &Rel, which: Which, fresh: &mut Fresh) -> Rel {
    match rel.clone() {
        Rel::Filter { input, mut predicate } => {
            let mut input = node(&input, which, fresh);
            let mut calls = Vec::new();
            let columns = input.columns();
            take(&mut predicate, Some(&columns), which, fresh, &mut calls);
            let added = !calls.is_empty();
            input = applied(input, calls);
            let filter = Rel::Filter { input: Box::new(input), predicate };
            if added { narrowed(filter, &columns, fresh) } else { filter }
        }
        Rel::Project { input, mut exprs } => {
            let input = node(&input, which, fresh);
            let mut calls = Vec::new();
            for (_, scalar) in &mut exprs {
                take(scalar, None, which, fresh, &mut calls);
            }
            Rel::Project { input: Box::new(applied(input, calls)), exprs }
        }
        Rel::Aggregate { input, mut group, mut aggs } => {
            let input = node(&input, which, fresh);
            let mut calls = Vec::new();
            for (_, scalar) in &mut group {
                take(scalar, None, which, fresh, &mut calls);
            }
            for agg in &mut aggs {
                let scalars = agg.args.iter_mut().chain(&mut agg.filter);
                scalars.for_each(|scalar| take(scalar, None, which, fresh, &mut calls));
                for key in &mut agg.order_by {
                    take(&mut key.expr, None, which, fresh, &mut calls);
                }
            }
            Rel::Aggregate { input: Box::new(applied(input, calls)), group, aggs }
        }
        Rel::Window { input, mut calls } => {
            let input = node(&input, which, fresh);
            let mut taken = Vec::new();
            for call in &mut calls {
                let keys = call.order_by.iter_mut().map(|key| &mut key.expr);
                let scalars = call.args.iter_mut().chain(&mut call.filter);
                for scalar in scalars.chain(&mut call.partition_by).chain(keys) {
                    take(scalar, None, Which::All, fresh, &mut taken);
                }
            }
            Rel::Window { input: Box::new(applied(input, taken)), calls }
        }
        Rel::Apply { input, calls } => {
            Rel::Apply { input: Box::new(node(&input, which, fresh)), calls }
        }
        Rel::ApplyRows { input, rel, keep } => {
            Rel::ApplyRows { input: Box::new(node(&input, which, fresh)), rel, keep }
        }
        Rel::Sort { input, keys } => {
            Rel::Sort { input: Box::new(node(&input, which, fresh)), keys }
        }
        Rel::Limit { input, limit, offset } => {
            Rel::Limit { input: Box::new(node(&input, which, fresh)), limit, offset }
        }
        Rel::Waiting { input, exprs, keep_if } => {
            Rel::Waiting { input: Box::new(node(&input, which, fresh)), exprs, keep_if }
        }
        Rel::Lock { input, locks } => {
            Rel::Lock { input: Box::new(node(&input, which, fresh)), locks }
        }
        Rel::Distinct { input } => Rel::Distinct { input: Box::new(node(&input, which, fresh)) },
        Rel::DistinctOn { input, on, keys } => {
            Rel::DistinctOn { input: Box::new(node(&input, which, fresh)), on, keys }
        }
        Rel::Join(join)
            if !join.lateral
                && join.kind != JoinKind::Full
                && join.on.as_ref().is_some_and(has_subquery) =>
        {
            node(&by_condition(*join), which, fresh)
        }
        Rel::Join(join) if join.kind == JoinKind::Inner && join.lateral && peels(&join.right) => {
            node(&peeled(*join), which, fresh)
        }
        Rel::Join(mut join) => {
            join.left = node(&join.left, which, fresh);
            if !join.lateral {
                join.right = node(&join.right, which, fresh);
                return Rel::Join(join);
            }
            let joins =
                |rel: &Rel| decorrelates(rel) || aggregates(rel) || rel.computed_row().is_some();
            let kept = which == Which::Unjoinable && joins(&join.right);
            if kept || matches!(join.right, Rel::Function(_)) {
                return Rel::Join(join);
            }
            let right = match join.on {
                None => join.right,
                Some(predicate) => Rel::Filter { input: Box::new(join.right), predicate },
            };
            let keep = join.kind == JoinKind::Left;
            Rel::ApplyRows { input: Box::new(join.left), rel: Box::new(right), keep }
        }
        Rel::SetOp { op, all, left, right, columns } => {
            let left = Box::new(node(&left, which, fresh));
            let right = Box::new(node(&right, which, fresh));
            Rel::SetOp { op, all, left, right, columns }
        }
        leaf => leaf,
    }
}

/// Queries over `input`, those that mention the value of another one above that one.
fn applied(mut input: Rel, calls: Vec<(RelColumn, Subquery)>) -> Rel {
    let mut layer: Vec<(RelColumn, Subquery)> = Vec::new();
    for call in calls {
        let outer = outer_columns(std::slice::from_ref(&call));
        if layer.iter().any(|(made, _)| outer.iter().any(|(id, _)| *id == made.id)) {
            input = Rel::Apply { input: Box::new(input), calls: std::mem::take(&mut layer) };
        }
        layer.push(call);
    }
    if layer.is_empty() { input } else { Rel::Apply { input: Box::new(input), calls: layer } }
}

/// Whether the outermost step of a lateral query can be taken after the join.
fn peels(rel: &Rel) -> bool {
    match rel {
        Rel::Project { input, .. } | Rel::Filter { input, .. } => input.computed_row().is_none(),
        _ => false,
    }
}

/// The lateral inner join with that step taken after it. What is left is often not lateral any more.
fn peeled(join: Join) -> Rel {
    let Join { kind, left, right, on, .. } = join;
    let columns = left.columns();
    let joined = |right: Box<Rel>| {
        let lateral = matches!(*right, Rel::Function(_)) || right.mentions(&left);
        let join = Join { kind, left, right: *right, on: None, lateral };
        Box::new(Rel::Join(Box::new(join)))
    };
    let peeled = match right {
        Rel::Project { input, exprs } => {
            let column = |c: &RelColumn| (c.clone(), Scalar::Column(c.id, c.ty));
            let exprs = columns.iter().map(column).chain(exprs).collect();
            Rel::Project { input: joined(input), exprs }
        }
        Rel::Filter { input, predicate } => Rel::Filter { input: joined(input), predicate },
        right => *joined(Box::new(right)),
    };
    match on {
        None => peeled,
        Some(predicate) => Rel::Filter { input: Box::new(peeled), predicate },
    }
}

fn has_subquery(scalar: &Scalar) -> bool {
    scalar.any(&mut |node| matches!(node, Scalar::Subquery(_)))
}

/// A join on a condition with a query in it, which no rule knows, as something that the rules know: a
/// filter, or the right side's rows for each row of the left one. A full join stays as it is.
fn by_condition(join: Join) -> Rel {
    let Join { kind, left, right, on, lateral } = join;
    let predicate = on.expect("the condition has a query in it");
    match kind {
        JoinKind::Inner => {
            let join = Join { kind, left, right, on: None, lateral };
            Rel::Filter { input: Box::new(Rel::Join(Box::new(join))), predicate }
        }
        JoinKind::Left => {
            let rel = Box::new(Rel::Filter { input: Box::new(right), predicate });
            Rel::ApplyRows { input: Box::new(left), rel, keep: true }
        }
        JoinKind::Right => {
            let columns: Vec<RelColumn> =
                left.columns().into_iter().chain(right.columns()).collect();
            let rel = Box::new(Rel::Filter { input: Box::new(left), predicate });
            let swapped = Rel::ApplyRows { input: Box::new(right), rel, keep: true };
            let column = |c: RelColumn| (c.clone(), Scalar::Column(c.id, c.ty));
            let exprs = columns.into_iter().map(column).collect();
            Rel::Project { input: Box::new(swapped), exprs }
        }
        JoinKind::Full => unreachable!("stays as it is"),
    }
}

/// Only `columns`, under their own ids: what is above must not see the helpers.
fn narrowed(rel: Rel, columns: &[RelColumn], _: &mut Fresh) -> Rel {
    let exprs = columns
        .iter()
        .map(|column| (column.clone(), Scalar::Column(column.id, column.ty)))
        .collect();
    Rel::Project { input: Box::new(rel), exprs }
}

/// Takes correlated subqueries out of `scalar`. `filtered`: it decides which rows of these columns stay.
fn take(
    scalar: &mut Scalar,
    filtered: Option<&[RelColumn]>,
    which: Which,
    fresh: &mut Fresh,
    calls: &mut Vec<(RelColumn, Subquery)>,
) {
    match scalar {
        Scalar::And(args) if filtered.is_some() => {
            args.iter_mut().for_each(|arg| take(arg, filtered, which, fresh, calls));
            return;
        }
        Scalar::Not(arg) if filtered.is_some() && matches!(**arg, Scalar::Subquery(_)) => {
            return take_operand(arg, (filtered, true), which, fresh, calls);
        }
        Scalar::Subquery(subquery) => {
            let correlated = subquery.rel.is_correlated();
            if which == Which::Unjoinable && correlated {
                computed_outside(scalar);
            }
            if matches!(scalar, Scalar::Subquery(_)) {
                return take_operand(scalar, (filtered, false), which, fresh, calls);
            }
        }
        _ => {}
    }
    for child in scalar.children_mut() {
        take(child, None, which, fresh, calls);
    }
}

/// Takes a subquery out: it decides which rows of these columns stay, and is negated.
fn take_operand(
    scalar: &mut Scalar,
    (filtered, negated): (Option<&[RelColumn]>, bool),
    which: Which,
    fresh: &mut Fresh,
    calls: &mut Vec<(RelColumn, Subquery)>,
) {
    match scalar {
        Scalar::Subquery(subquery) => {
            strip(subquery);
            let stays = which == Which::Unjoinable && joinable(subquery, filtered, negated);
            if !stays
                && let SubqueryKind::Any { needle, .. } | SubqueryKind::All { needle, .. } =
                    &mut subquery.kind
            {
                take(needle, None, Which::All, fresh, calls);
            }
            if !stays && (subquery.rel.is_correlated() || filtered.is_none()) {
                fresh.0 -= 1;
                let id = ColId(fresh.0);
                let ty = subquery.ty;
                let column = RelColumn { id, name: Arc::from("subquery"), ty };
                calls.push((column, (**subquery).clone()));
                *scalar = Scalar::Column(id, ty);
            }
        }
        other => take(other, None, which, fresh, calls),
    }
}
