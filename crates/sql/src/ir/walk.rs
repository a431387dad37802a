//! Visiting every expression of a relation, those of inner queries included.

use super::rel::{FrameBound, Rel, SortKey};
use super::scalar::{Scalar, SubqueryKind};

fn scalar_deep(scalar: &mut Scalar, visit: &mut dyn FnMut(&mut Scalar)) {
    for child in scalar.children_mut() {
        scalar_deep(child, visit);
    }
    if let Scalar::Subquery(subquery) = scalar {
        if let SubqueryKind::Any { column, .. } | SubqueryKind::All { column, .. } =
            &mut subquery.kind
        {
            scalar_deep(column, visit);
        }
        subquery.rel.for_each_scalar_mut(visit);
    }
    visit(scalar);
}

fn keys_deep(keys: &mut [SortKey], visit: &mut dyn FnMut(&mut Scalar)) {
    for key in keys {
        scalar_deep(&mut key.expr, visit);
    }
}

impl Rel {
    /// Visits every node of every expression in this relation and its inputs, bottom-up.
    pub fn for_each_scalar_mut(&mut self, visit: &mut dyn FnMut(&mut Scalar)) {
        match self {
            Rel::OneRow | Rel::Empty { .. } | Rel::Scan(_) | Rel::Virtual(_) => {}
            Rel::Values { rows, .. } => {
                rows.iter_mut().flatten().for_each(|scalar| scalar_deep(scalar, visit));
            }
            Rel::Function(call) => {
                call.args.iter_mut().for_each(|scalar| scalar_deep(scalar, visit));
            }
            Rel::Filter { input, predicate } => {
                input.for_each_scalar_mut(visit);
                scalar_deep(predicate, visit);
            }
            Rel::Project { input, exprs } => {
                input.for_each_scalar_mut(visit);
                exprs.iter_mut().for_each(|(_, scalar)| scalar_deep(scalar, visit));
            }
            Rel::Join(join) => {
                join.left.for_each_scalar_mut(visit);
                join.right.for_each_scalar_mut(visit);
                join.on.iter_mut().for_each(|scalar| scalar_deep(scalar, visit));
            }
            Rel::Aggregate { input, group, aggs } => {
                input.for_each_scalar_mut(visit);
                group.iter_mut().for_each(|(_, scalar)| scalar_deep(scalar, visit));
                for agg in aggs {
                    agg.args.iter_mut().for_each(|scalar| scalar_deep(scalar, visit));
                    agg.filter.iter_mut().for_each(|scalar| scalar_deep(scalar, visit));
                    keys_deep(&mut agg.order_by, visit);
                }
            }
            Rel::Window { input, calls } => {
                input.for_each_scalar_mut(visit);
                for call in calls {
                    call.args.iter_mut().for_each(|scalar| scalar_deep(scalar, visit));
                    call.filter.iter_mut().for_each(|scalar| scalar_deep(scalar, visit));
                    call.partition_by.iter_mut().for_each(|scalar| scalar_deep(scalar, visit));
                    keys_deep(&mut call.order_by, visit);
                    for bound in [&mut call.frame.start, &mut call.frame.end] {
                        if let FrameBound::Preceding(s) | FrameBound::Following(s) = bound {
                            scalar_deep(s, visit);
                        }
                    }
                }
            }
            Rel::Sort { input, keys } => {
                input.for_each_scalar_mut(visit);
                keys_deep(keys, visit);
            }
            Rel::Limit { input, limit, offset } => {
                input.for_each_scalar_mut(visit);
                limit.iter_mut().chain(offset).for_each(|scalar| scalar_deep(scalar, visit));
            }
            Rel::Distinct { input } => input.for_each_scalar_mut(visit),
            Rel::DistinctOn { input, on, keys } => {
                input.for_each_scalar_mut(visit);
                on.iter_mut().for_each(|scalar| scalar_deep(scalar, visit));
                keys_deep(keys, visit);
            }
            Rel::SetOp { left, right, .. } => {
                left.for_each_scalar_mut(visit);
                right.for_each_scalar_mut(visit);
            }
        }
    }
}
