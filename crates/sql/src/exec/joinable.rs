//! Which queries inside expressions, and which lateral ones, the optimizer may make joins of.
//!
//! It does so by moving the conditions that mention columns from outside up, to where the join will be. That
//! is right if nothing on the way tells a row that fails such a condition from one that is not there: so only
//! shapes that are known to be harmless are left to it. All else is run for each row (`apply_exec`).

use pgtypes::Datum;

use crate::ir::{ColId, JoinKind, Rel, RelColumn, Scalar, Subquery, SubqueryKind};

/// Whether it has a rule for a subquery. `filtered`: the subquery is a whole condition, or what NOT negates,
/// and decides which rows of these columns stay.
pub(super) fn joinable(subquery: &Subquery, filtered: Option<&[RelColumn]>, negated: bool) -> bool {
    let rel = &subquery.rel;
    match (&subquery.kind, filtered) {
        (SubqueryKind::Scalar, _) => aggregates(rel),
        (SubqueryKind::Exists, filtered) => decorrelates(rel) && filtered.is_some(),
        (SubqueryKind::Any { .. } | SubqueryKind::All { .. }, Some(columns)) => {
            decorrelates(rel) && joins(subquery, negated, columns)
        }
        (SubqueryKind::Any { .. } | SubqueryKind::All { .. } | SubqueryKind::Array, _) => false,
    }
}

/// Whether a query has one row whatever there is, of aggregates over rows that can be joined. Where that row
/// is the answer, the optimizer makes it again for those that find nothing to join.
pub(super) fn aggregates(rel: &Rel) -> bool {
    match rel {
        Rel::Project { input, exprs } => {
            exprs.iter().all(|(_, scalar)| computes(scalar)) && within(rel) && aggregates(input)
        }
        Rel::Aggregate { input, group, .. } => {
            group.is_empty() && within(rel) && decorrelates(input)
        }
        _ => false,
    }
}

/// Whether an expression is none that the optimizer may find to be constant: it takes one over aggregates for
/// NULL where they have no rows.
fn computes(scalar: &Scalar) -> bool {
    let folds = |node: &Scalar| {
        matches!(
            node,
            Scalar::And(_)
                | Scalar::Or(_)
                | Scalar::Not(_)
                | Scalar::IsNull(_)
                | Scalar::IsBool(..)
                | Scalar::Distinct { .. }
                | Scalar::InList { .. }
                | Scalar::Case { .. }
                | Scalar::Coalesce(..)
        )
    };
    !scalar.is_row_independent() && !scalar.any(&mut |node| folds(node))
}

/// Takes what a scalar query computes of one aggregate out of it: `(SELECT f(count(*)) …)` is
/// `f((SELECT count(*) …))`, whatever the optimizer knows of `f`.
pub(super) fn computed_outside(scalar: &mut Scalar) {
    let Scalar::Subquery(subquery) = scalar else { return };
    let (SubqueryKind::Scalar, Rel::Project { input, exprs }) = (&subquery.kind, &subquery.rel)
    else {
        return;
    };
    let Rel::Aggregate { input, group, aggs } = &**input else { return };
    let mut mentioned = aggs.iter().filter(|agg| times(agg.column.id, &exprs[0].1) > 0);
    let (Some(agg), None) = (mentioned.next(), mentioned.next()) else { return };
    let (id, ty) = (agg.column.id, agg.column.ty);
    if !group.is_empty() || times(id, &exprs[0].1) > 1 || exprs[0].1.has_subquery() {
        return;
    }
    let (input, aggs) = (input.clone(), vec![agg.clone()]);
    let rel = Rel::Aggregate { input, group: Vec::new(), aggs };
    let kind = SubqueryKind::Scalar;
    let inner = Subquery { kind, rel, ty, position: subquery.position };
    let inner = Scalar::Subquery(Box::new(inner));
    let mut outside = exprs[0].1.clone();
    outside.rewrite(&mut |node| {
        if matches!(node, Scalar::Column(column, _) if *column == id) {
            node.clone_from(&inner);
        }
    });
    *scalar = outside;
}

/// How often a column is mentioned.
fn times(id: ColId, scalar: &Scalar) -> usize {
    let mut times = 0;
    scalar.any(&mut |node| {
        times += usize::from(matches!(node, Scalar::Column(column, _) if *column == id));
        false
    });
    times
}

/// Takes away from a query what makes no difference to IN: its order and duplicates.
pub(super) fn strip(subquery: &mut Subquery) {
    if !matches!(subquery.kind, SubqueryKind::Any { .. } | SubqueryKind::All { .. }) {
        return;
    }
    while let Rel::Sort { input, .. } | Rel::Distinct { input } = &mut subquery.rel {
        subquery.rel = std::mem::replace(&mut **input, Rel::OneRow);
    }
}

/// Whether all that a query mentions of the outside stands in conditions on its rows, and can be moved up
/// from there.
pub(super) fn decorrelates(rel: &Rel) -> bool {
    if !rel.is_correlated() {
        return true;
    }
    match rel {
        Rel::Project { input, .. } => within(rel) && decorrelates(input),
        // Without keys it has a row over nothing, too.
        Rel::Aggregate { input, group, .. } => {
            !group.is_empty() && within(rel) && decorrelates(input)
        }
        Rel::Filter { input, predicate } => {
            let columns = input.columns();
            let movable = |condition: &Scalar| {
                !mentions_others(condition, &columns)
                    || mentions_any(condition, &columns) && !condition.has_subquery()
            };
            // Groups that HAVING leaves out, and those without rows, would not be told apart.
            !matches!(**input, Rel::Aggregate { .. })
                && predicate.conjuncts().iter().all(movable)
                && decorrelates(input)
        }
        Rel::Join(join) => {
            join.kind == JoinKind::Inner
                && !join.lateral
                && within(rel)
                && decorrelates(&join.left)
                && decorrelates(&join.right)
        }
        _ => false,
    }
}

/// Whether what it computes mentions only columns of its inputs.
fn within(rel: &Rel) -> bool {
    let columns: Vec<RelColumn> = rel.inputs().into_iter().flat_map(Rel::columns).collect();
    !rel.scalars().iter().any(|scalar| mentions_others(scalar, &columns))
}

fn mentions_any(scalar: &Scalar, columns: &[RelColumn]) -> bool {
    scalar.any(&mut |node| match node {
        Scalar::Column(id, _) => is_among(*id, columns),
        _ => false,
    })
}

/// Whether an expression mentions columns that are not among these.
fn mentions_others(scalar: &Scalar, columns: &[RelColumn]) -> bool {
    scalar.mentions(&mut |id| !is_among(id, columns))
}

fn is_among(id: ColId, columns: &[RelColumn]) -> bool {
    columns.iter().any(|column| column.id == id)
}

/// Whether a query that is a whole condition on rows of these columns, or what NOT negates, becomes a
/// semi-join or anti-join.
///
/// An anti-join keeps no row once the right side has a NULL, whatever it is correlated on; and it must have a
/// key to find that out by, which the optimizer does not make a constant of. A needle from outside of the
/// query is as good as a constant.
pub(super) fn joins(subquery: &Subquery, negated: bool, columns: &[RelColumn]) -> bool {
    // A query in it that mentions nothing outside is a value by the time the join is made.
    let keyed = |needle: &Scalar| {
        needle.any(&mut |node| match node {
            Scalar::Column(id, _) => is_among(*id, columns),
            Scalar::Slot(..) => true,
            Scalar::Subquery(inner) => inner.rel.is_correlated(),
            _ => false,
        })
    };
    let (needle, anti) = match &subquery.kind {
        SubqueryKind::Any { op, needle, .. } if op.name == "=" => (needle, negated),
        SubqueryKind::All { op, needle, .. } if op.name == "<>" => (needle, !negated),
        _ => return false,
    };
    keyed(needle) && !(anti && (subquery.rel.is_correlated() || may_be_constant(needle)))
}

/// Whether an expression may turn out to be NULL for all rows.
fn may_be_constant(scalar: &Scalar) -> bool {
    scalar.any(&mut |node| {
        matches!(
            node,
            Scalar::Case { .. }
                | Scalar::Coalesce(..)
                | Scalar::NullIf { .. }
                | Scalar::Literal(Datum::Null, _)
                | Scalar::Param { .. }
        )
    })
}
