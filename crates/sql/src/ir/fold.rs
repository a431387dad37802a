//! What is decided whatever the rows are: a strict function of a constant NULL, a CASE on constants.
//!
//! PostgreSQL's planner does the same before anything runs, so that `1 / x = NULL` fails for no `x`, and
//! `CASE WHEN true THEN 1 ELSE (query) END` runs no query.
//! Done behind binding: what an expression names must be allowed and grouped even if it is not looked at.

use pgtypes::Datum;

use super::scalar::Scalar;
use super::statement::Statement;

impl Statement {
    /// Replaces what is decided.
    pub fn fold(&mut self) {
        self.for_each_scalar_mut(&mut |scalar| {
            if let Some(left) = decided(scalar) {
                *scalar = left;
                return;
            }
            let is_null = |arg: &Scalar| matches!(arg, Scalar::Literal(Datum::Null, _));
            let folds = match scalar {
                Scalar::Call { func, args, .. } => func.strict && args.iter().any(is_null),
                Scalar::Cast { arg, .. } => is_null(arg),
                Scalar::Not(arg) => is_null(arg),
                _ => false,
            };
            if folds {
                *scalar = Scalar::Literal(Datum::Null, scalar.ty());
            }
        });
    }
}

/// Takes branches from a CASE that are never reached: all that is left of it, if that is one.
fn decided(scalar: &mut Scalar) -> Option<Scalar> {
    let Scalar::Case { whens, otherwise, ty } = scalar else { return None };
    let constant = |condition: &Scalar| match condition {
        Scalar::Literal(Datum::Bool(value), _) => Some(*value),
        Scalar::Literal(Datum::Null, _) => Some(false),
        _ => None,
    };
    whens.retain(|(condition, _)| constant(condition) != Some(false));
    if let Some(at) = whens.iter().position(|(condition, _)| constant(condition) == Some(true)) {
        let (_, result) = whens.swap_remove(at);
        whens.truncate(at);
        **otherwise = result;
    }
    whens.is_empty().then(|| match otherwise.ty() == *ty {
        true => (**otherwise).clone(),
        false => Scalar::Relabel(otherwise.clone(), *ty),
    })
}
