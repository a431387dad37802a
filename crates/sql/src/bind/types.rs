//! Coercion: from the type an expression has to the type its context wants.
//!
//! | context | which casts | example |
//! |---|---|---|
//! | implicit | implicit | operands, function arguments |
//! | assignment | implicit, assignment | INSERT, UPDATE |
//! | explicit | all | `CAST`, `::` |
//!
//! Unknown literals are read by the input function of the wanted type, so they fit every context.

use pgtypes::{Datum, PgType, TypeId, parse_text};
use sqlparser::ast;
use sqlparser::ast::Spanned;
use sqlparser::tokenizer::Span;

use super::Binder;
use super::resolve::{self, Context, Path};
use crate::error::{SqlError, SqlState};
use crate::ir::Scalar;

impl Binder<'_> {
    /// Converts to `target` if `context` allows; `None` if there is no such cast.
    pub(crate) fn try_coerce(
        &mut self,
        scalar: Scalar,
        target: PgType,
        context: Context,
        span: Span,
    ) -> Result<Option<Scalar>, SqlError> {
        let from = scalar.ty();
        if target.is_unknown() {
            return Ok(Some(scalar));
        }
        if from.is_unknown() {
            return self.settle(scalar, target, context, span).map(Some);
        }
        if from.same(target) && (target.typmod < 0 || target.typmod == from.typmod) {
            return Ok(Some(scalar));
        }
        if !from.same(target) && matches!(scalar, Scalar::Literal(Datum::Null, _)) {
            // A typed NULL converts like any value of its type, but there is nothing to compute.
            return Ok(resolve::cast_path(from, target, context)
                .map(|_| Scalar::Literal(Datum::Null, target)));
        }
        Ok(match resolve::cast_path(from, target, context) {
            None => None,
            Some(Path::Relabel) => Some(Scalar::Relabel(Box::new(scalar), target)),
            Some(Path::Cast(cast)) => Some(self.cast(scalar, cast, target, span)?),
        })
    }

    /// Applies a cast, at once if the operand is a constant and the cast is immutable.
    fn cast(
        &mut self,
        scalar: Scalar,
        cast: crate::ir::CastRef,
        target: PgType,
        span: Span,
    ) -> Result<Scalar, SqlError> {
        match scalar {
            Scalar::Literal(datum, _) if cast.is_immutable() => {
                let datum = cast
                    .apply(self.env, datum)
                    .map_err(|e| SqlError::from(e).at(self.pos(span)))?;
                Ok(Scalar::Literal(datum, target))
            }
            other => Ok(Scalar::Cast { cast, arg: Box::new(other), ty: target }),
        }
    }

    /// Gives an unknown literal or parameter its type.
    fn settle(
        &mut self,
        scalar: Scalar,
        target: PgType,
        context: Context,
        span: Span,
    ) -> Result<Scalar, SqlError> {
        match scalar {
            Scalar::Literal(Datum::Text(text), _) => {
                let explicit = context == Context::Explicit;
                // A bare number is in the unit that an interval's modifier ends with.
                let is_interval = target.id == pgtypes::TypeId::Interval && !target.array;
                let wanted = if is_interval { target } else { target.base() };
                let read = parse_text(&text, wanted, self.env);
                let read = match (read, target.typmod) {
                    (Ok(datum), typmod) if typmod >= 0 => {
                        pgtypes::cast::apply_typmod(datum, target, explicit)
                    }
                    (read, _) => read,
                };
                let datum = read.map_err(|e| SqlError::from(e).at(self.pos(span)))?;
                Ok(Scalar::Literal(datum, target))
            }
            Scalar::Literal(datum, _) => Ok(Scalar::Literal(datum, target)),
            Scalar::Param { index, .. } => {
                let known = self.param(index);
                if known.is_unknown() {
                    self.set_param(index, target)?;
                } else if !known.same(target) {
                    // Another mention has given it a type meanwhile.
                    let typed = Scalar::Param { index, ty: known };
                    return match self.try_coerce(typed, target, context, span)? {
                        Some(scalar) => Ok(scalar),
                        None => {
                            self.set_param(index, target)?;
                            Ok(Scalar::Param { index, ty: target.base() })
                        }
                    };
                }
                let param = Scalar::Param { index, ty: target.base() };
                if target.typmod >= 0 {
                    return Ok(self
                        .try_coerce(param.clone(), target, context, span)?
                        .unwrap_or(param));
                }
                Ok(param)
            }
            // A column that is still unknown: of a subquery over nothing but literals.
            other => match resolve::cast_path(PgType::TEXT, target, Context::Explicit) {
                Some(Path::Cast(cast)) => {
                    let text = Scalar::Relabel(Box::new(other), PgType::TEXT);
                    Ok(Scalar::Cast { cast, arg: Box::new(text), ty: target })
                }
                _ => Ok(Scalar::Relabel(Box::new(other), target)),
            },
        }
    }

    /// Implicit conversion that resolution has promised to exist.
    pub(crate) fn implicit(
        &mut self,
        scalar: Scalar,
        target: PgType,
        span: Span,
    ) -> Result<Scalar, SqlError> {
        let from = scalar.ty();
        match self.try_coerce(scalar, target.base(), Context::Implicit, span)? {
            Some(scalar) => Ok(scalar),
            None => Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("cannot convert type {} to {}", from.sql_name(), target.sql_name()),
            )
            .at(self.pos(span))),
        }
    }

    /// `CAST(… AS target)`.
    pub(crate) fn explicit(
        &mut self,
        scalar: Scalar,
        target: PgType,
        span: Span,
    ) -> Result<Scalar, SqlError> {
        let from = scalar.ty();
        match self.try_coerce(scalar, target, Context::Explicit, span)? {
            Some(scalar) => Ok(scalar),
            None => Err(no_cast(from, target).at(self.pos(span))),
        }
    }

    /// The value for a column of type `target`.
    pub(crate) fn assign(
        &mut self,
        scalar: Scalar,
        target: PgType,
        column: &str,
        expr: &ast::Expr,
    ) -> Result<Scalar, SqlError> {
        self.assign_at(scalar, target, column, expr.span())
    }

    /// The value for a column of type `target`, without an expression to blame.
    pub(crate) fn assign_at(
        &mut self,
        scalar: Scalar,
        target: PgType,
        column: &str,
        span: Span,
    ) -> Result<Scalar, SqlError> {
        let from = scalar.ty();
        match self.try_coerce(scalar, target, Context::Assignment, span)? {
            Some(scalar) => Ok(scalar),
            None => Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "column \"{column}\" is of type {} but expression is of type {}",
                    target.sql_name(),
                    from.sql_name()
                ),
            )
            .hint("You will need to rewrite or cast the expression.")
            .at(self.pos(span))),
        }
    }

    /// A condition: boolean, or unknown and read as one.
    pub(crate) fn condition(
        &mut self,
        scalar: Scalar,
        what: &str,
        span: Span,
    ) -> Result<Scalar, SqlError> {
        let from = scalar.ty();
        match self.try_coerce(scalar, PgType::BOOL, Context::Implicit, span)? {
            Some(scalar) => Ok(scalar),
            None => Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("argument of {what} must be type boolean, not type {}", from.sql_name()),
            )
            .at(self.pos(span))),
        }
    }

    /// What is still unknown becomes text, as at the end of a select list.
    pub(crate) fn settle_unknown(&mut self, scalar: Scalar) -> Result<Scalar, SqlError> {
        if scalar.ty().is_unknown() {
            return self.implicit(scalar, PgType::TEXT, Span::empty());
        }
        Ok(scalar)
    }

    /// The one type of CASE results, UNION columns and the like; `what` names the construct.
    pub(crate) fn common_type(
        &self,
        types: &[(PgType, Span)],
        what: &str,
    ) -> Result<PgType, SqlError> {
        let mut known = types.iter().filter(|(ty, _)| !ty.is_unknown());
        let Some(&(first, _)) = known.next() else { return Ok(PgType::TEXT) };
        let mut best = first;
        for &(next, span) in known {
            if next.same(best) {
                if next.typmod != best.typmod {
                    best = best.base();
                }
                continue;
            }
            if next.category() != best.category() {
                return Err(SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!(
                        "{what} types {} and {} cannot be matched",
                        best.sql_name(),
                        next.sql_name()
                    ),
                )
                .at(self.pos(span)));
            }
            let up = resolve::cast_path(best, next, Context::Implicit).is_some();
            let down = resolve::cast_path(next, best, Context::Implicit).is_some();
            if !best.is_preferred() && up && !down {
                best = next;
            } else if !down && !up {
                return Err(SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!(
                        "{what} types {} and {} cannot be matched",
                        best.sql_name(),
                        next.sql_name()
                    ),
                )
                .at(self.pos(span)));
            }
            best = best.base();
        }
        Ok(best)
    }

    /// Converts all to their common type.
    pub(crate) fn unify(
        &mut self,
        scalars: Vec<(Scalar, Span)>,
        what: &str,
    ) -> Result<(Vec<Scalar>, PgType), SqlError> {
        let types: Vec<(PgType, Span)> = scalars.iter().map(|(s, at)| (s.ty(), *at)).collect();
        let ty = self.common_type(&types, what)?;
        let unified: Result<Vec<Scalar>, SqlError> = scalars
            .into_iter()
            .map(|(scalar, span)| {
                let from = scalar.ty();
                match self.try_coerce(scalar, ty, Context::Implicit, span)? {
                    Some(scalar) => Ok(scalar),
                    None => Err(SqlError::new(
                        SqlState::CANNOT_COERCE,
                        format!(
                            "{what} could not convert type {} to {}",
                            from.sql_name(),
                            ty.sql_name()
                        ),
                    )
                    .at(self.pos(span))),
                }
            })
            .collect();
        Ok((unified?, ty))
    }
}

/// 42846.
pub(crate) fn no_cast(from: PgType, to: PgType) -> SqlError {
    SqlError::new(
        SqlState::CANNOT_COERCE,
        format!("cannot cast type {} to {}", from.sql_name(), to.sql_name()),
    )
}

/// Whether two types may be compared without a conversion either way.
pub(crate) fn is_text_like(ty: PgType) -> bool {
    !ty.array && matches!(ty.id, TypeId::Text | TypeId::Varchar | TypeId::Bpchar | TypeId::Name)
}
