//! What is NULL whatever the rows are: a strict function of a constant NULL.
//!
//! PostgreSQL's planner does the same before anything runs, so that `1 / x = NULL` fails for no `x`.
//! Done behind binding: what an expression names must be allowed and grouped even if it is not looked at.

use pgtypes::Datum;

use super::scalar::Scalar;
use super::statement::Statement;

impl Statement {
    /// Replaces what is NULL in any case.
    pub fn fold_nulls(&mut self) {
        self.for_each_scalar_mut(&mut |scalar| {
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
