//! LIMIT, OFFSET, FETCH: int8, over parameters only.

use pgtypes::cast::Context;
use sqlparser::ast::{self, LimitClause, Spanned};

use super::Binder;
use super::scope::{Clause, Scope};
use crate::error::{SqlError, SqlState};
use crate::ir::{Rel, Scalar};

impl Binder<'_> {
    /// The rows of `rel` that the limiting clauses leave.
    pub(crate) fn limit(
        &mut self,
        rel: Rel,
        clause: Option<&LimitClause>,
        fetch: Option<&ast::Fetch>,
        scope: &Scope<'_>,
    ) -> Result<Rel, SqlError> {
        let (mut limit, mut offset) = (None, None);
        match clause {
            None => {}
            Some(LimitClause::LimitOffset { limit: count, offset: skip, limit_by }) => {
                if !limit_by.is_empty() {
                    return Err(SqlError::unsupported("LIMIT BY"));
                }
                limit = self.row_count(count.as_ref(), scope, Clause::Limit)?;
                let skip = skip.as_ref().map(|offset| &offset.value);
                offset = self.row_count(skip, scope, Clause::Offset)?;
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                return Err(SqlError::syntax("LIMIT #,# syntax is not supported")
                    .hint("Use separate LIMIT and OFFSET clauses."));
            }
        }
        if let Some(ast::Fetch { with_ties, percent, quantity }) = fetch {
            if *with_ties {
                return Err(SqlError::unsupported("FETCH … WITH TIES"));
            }
            if *percent {
                return Err(SqlError::unsupported("FETCH … PERCENT"));
            }
            if limit.is_some() {
                return Err(SqlError::syntax("multiple LIMIT clauses not allowed"));
            }
            limit = match quantity {
                Some(_) => self.row_count(quantity.as_ref(), scope, Clause::Limit)?,
                None => Some(Scalar::int8(1)),
            };
        }
        if limit.is_none() && offset.is_none() {
            return Ok(rel);
        }
        Ok(Rel::Limit { input: Box::new(rel), limit, offset })
    }

    /// LIMIT and OFFSET: int8, over parameters only.
    fn row_count(
        &mut self,
        expr: Option<&ast::Expr>,
        scope: &Scope<'_>,
        clause: Clause,
    ) -> Result<Option<Scalar>, SqlError> {
        let Some(expr) = expr else { return Ok(None) };
        let scalar = self.expr_in(expr, scope, clause)?;
        if scalar.any(&mut |s| matches!(s, Scalar::Column(..))) {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                format!("argument of {} must not contain variables", clause.name()),
            )
            .at(self.pos(expr.span())));
        }
        let from = scalar.ty();
        let int8 = pgtypes::PgType::INT8;
        match self.try_coerce(scalar, int8, Context::Assignment, expr.span())? {
            Some(scalar) => Ok(Some(scalar)),
            None => Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "argument of {} must be type bigint, not type {}",
                    clause.name(),
                    from.sql_name()
                ),
            )
            .at(self.pos(expr.span()))),
        }
    }
}
