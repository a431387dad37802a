//! Takes correlated subqueries out of expressions: each becomes a column of an
//! [`Rel::Apply`] below the expression.
//!
//! A query that is a whole condition of WHERE (`EXISTS`, `IN`, a scalar one inside it) stays at the
//! first attempt, because the optimizer makes a join of it; so does a scalar one anywhere. What it
//! cannot join is evaluated row by row. So is a lateral join that the optimizer gives up on.

use std::sync::Arc;

use crate::ir::{ColId, JoinKind, Rel, RelColumn, Scalar, Subquery, SubqueryKind};

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
            take(&mut predicate, true, which, fresh, &mut calls);
            let columns = input.columns();
            let added = !calls.is_empty();
            input = applied(input, calls);
            let filter = Rel::Filter { input: Box::new(input), predicate };
            if added { narrowed(filter, &columns, fresh) } else { filter }
        }
        Rel::Project { input, mut exprs } => {
            let input = node(&input, which, fresh);
            let mut calls = Vec::new();
            for (_, scalar) in &mut exprs {
                take(scalar, false, which, fresh, &mut calls);
            }
            Rel::Project { input: Box::new(applied(input, calls)), exprs }
        }
        Rel::Aggregate { input, mut group, mut aggs } => {
            let input = node(&input, which, fresh);
            let mut calls = Vec::new();
            for (_, scalar) in &mut group {
                take(scalar, false, which, fresh, &mut calls);
            }
            for agg in &mut aggs {
                let scalars = agg.args.iter_mut().chain(&mut agg.filter);
                scalars.for_each(|scalar| take(scalar, false, which, fresh, &mut calls));
                for key in &mut agg.order_by {
                    take(&mut key.expr, false, which, fresh, &mut calls);
                }
            }
            Rel::Aggregate { input: Box::new(applied(input, calls)), group, aggs }
        }
        Rel::Window { input, calls } => {
            Rel::Window { input: Box::new(node(&input, which, fresh)), calls }
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
        Rel::Join(mut join) => {
            join.left = node(&join.left, which, fresh);
            if !join.lateral {
                join.right = node(&join.right, which, fresh);
                return Rel::Join(join);
            }
            if which == Which::Unjoinable || matches!(join.right, Rel::Function(_)) {
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

fn applied(input: Rel, calls: Vec<(RelColumn, Subquery)>) -> Rel {
    if calls.is_empty() { input } else { Rel::Apply { input: Box::new(input), calls } }
}

/// Only `columns`, under their own ids: what is above must not see the helpers.
fn narrowed(rel: Rel, columns: &[RelColumn], _: &mut Fresh) -> Rel {
    let exprs = columns
        .iter()
        .map(|column| (column.clone(), Scalar::Column(column.id, column.ty)))
        .collect();
    Rel::Project { input: Box::new(rel), exprs }
}

/// Takes correlated subqueries out of `scalar`. `condition`: it decides which rows stay.
fn take(
    scalar: &mut Scalar,
    condition: bool,
    which: Which,
    fresh: &mut Fresh,
    calls: &mut Vec<(RelColumn, Subquery)>,
) {
    match scalar {
        Scalar::And(args) if condition => {
            args.iter_mut().for_each(|arg| take(arg, true, which, fresh, calls));
            return;
        }
        Scalar::Not(arg) if condition && matches!(**arg, Scalar::Subquery(_)) => {
            return take(arg, true, which, fresh, calls);
        }
        Scalar::Subquery(subquery) => {
            let stays = which == Which::Unjoinable && joinable(subquery, condition);
            if !stays && (subquery.rel.is_correlated() || !condition) {
                fresh.0 -= 1;
                let id = ColId(fresh.0);
                let ty = subquery.ty;
                let column = RelColumn { id, name: Arc::from("subquery"), ty };
                calls.push((column, (**subquery).clone()));
                *scalar = Scalar::Column(id, ty);
            }
            return;
        }
        _ => {}
    }
    for child in scalar.children_mut() {
        take(child, false, which, fresh, calls);
    }
}

/// Whether the optimizer has a rule for it.
fn joinable(subquery: &Subquery, condition: bool) -> bool {
    match &subquery.kind {
        SubqueryKind::Scalar => true,
        SubqueryKind::Exists => condition,
        SubqueryKind::Any { op, .. } => condition && op.name == "=",
        SubqueryKind::All { op, .. } => condition && op.name == "<>",
        SubqueryKind::Array => false,
    }
}
