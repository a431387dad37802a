//! LIMIT, OFFSET, FETCH: int8, over parameters and columns of queries around.

use pgtypes::cast::Context;
use pgtypes::{Datum, PgType};
use sqlparser::ast::{self, LimitClause, Spanned};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::query::Around;
use super::resolve;
use super::scope::{Clause, Scope};
use crate::error::{SqlError, SqlState};
use crate::ir::{
    Frame, FrameBound, FrameExclusion, FrameUnits, Query, Rel, Scalar, WindowCall, WindowFunc,
};

impl Binder<'_> {
    /// The rows of a query that the limiting clauses around it leave; `scope` has the names of its FROM.
    pub(super) fn limited(
        &mut self,
        mut query: Query,
        around: &Around<'_>,
        scope: &Scope<'_>,
    ) -> Result<Query, SqlError> {
        let rel = std::mem::replace(&mut query.rel, Rel::OneRow);
        query.rel = self.limit(rel, around, scope)?;
        Ok(query)
    }

    fn limit(&mut self, rel: Rel, around: &Around<'_>, scope: &Scope<'_>) -> Result<Rel, SqlError> {
        let (mut limit, mut offset) = (None, None);
        match around.limit {
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
        if let Some(ast::Fetch { with_ties, percent, quantity }) = around.fetch {
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
            if let (true, Some(limit)) = (*with_ties, &limit) {
                return self.with_ties(rel, limit, offset.as_ref());
            }
        }
        if limit.is_none() && offset.is_none() {
            return Ok(rel);
        }
        Ok(Rel::Limit { input: Box::new(rel), limit, offset })
    }

    /// As many rows as `limit` says, and those that are not behind the last of them in the order.
    fn with_ties(
        &mut self,
        rel: Rel,
        limit: &Scalar,
        offset: Option<&Scalar>,
    ) -> Result<Rel, SqlError> {
        if matches!(limit, Scalar::Literal(Datum::Int8(count), _) if *count < 0) {
            return Err(SqlError::new(
                SqlState::INVALID_ROW_COUNT_IN_LIMIT,
                "LIMIT must not be negative",
            ));
        }
        let keys = match &rel {
            Rel::Sort { keys, .. } | Rel::DistinctOn { keys, .. } => keys.clone(),
            // Order keys that the client does not see were cut off.
            Rel::Project { input, .. }
                if matches!(**input, Rel::Sort { .. } | Rel::DistinctOn { .. }) =>
            {
                let Rel::Project { input, exprs } = rel else { unreachable!("matched above") };
                let input = Box::new(self.with_ties(*input, limit, offset)?);
                return Ok(Rel::Project { input, exprs });
            }
            Rel::Lock { .. } => {
                return Err(SqlError::unsupported("WITH TIES with a locking clause"));
            }
            _ => {
                return Err(SqlError::syntax(
                    "WITH TIES cannot be specified without ORDER BY clause",
                ));
            }
        };
        let columns = rel.columns();
        let place = |binder: &mut Self, func: WindowFunc| WindowCall {
            column: binder.fresh("place", PgType::INT8),
            func,
            args: Vec::new(),
            filter: None,
            partition_by: Vec::new(),
            order_by: keys.clone(),
            frame: Frame {
                units: FrameUnits::Range,
                start: FrameBound::UnboundedPreceding,
                end: FrameBound::CurrentRow,
                exclude: FrameExclusion::Nothing,
            },
        };
        let calls = vec![place(self, WindowFunc::Rank), place(self, WindowFunc::RowNumber)];
        let of = |call: &WindowCall| Scalar::Column(call.column.id, PgType::INT8);
        let (rank, number) = (of(&calls[0]), of(&calls[1]));
        let skipped = match offset {
            None => Scalar::int8(0),
            Some(offset) => Scalar::Coalesce(vec![offset.clone(), Scalar::int8(0)], PgType::INT8),
        };
        let int8 = |name: &str, left: Scalar, right: Scalar| -> Result<Scalar, SqlError> {
            let func = resolve::operator(name, &[PgType::INT8, PgType::INT8])?;
            let ty = func.result;
            Ok(Scalar::Call { func, args: vec![left, right], ty })
        };
        let last = int8("-", rank, skipped.clone())?;
        let within = Scalar::And(vec![
            int8("<=", last, limit.clone())?,
            int8(">", limit.clone(), Scalar::int8(0))?,
        ]);
        let predicate = Scalar::And(vec![
            int8(">", number, skipped)?,
            Scalar::Or(vec![within, Scalar::IsNull(Box::new(limit.clone()))]),
        ]);
        let rel = Rel::Window { input: Box::new(rel), calls };
        let rel = Rel::Filter { input: Box::new(rel), predicate };
        let rel = Rel::Sort { input: Box::new(rel), keys };
        let exprs = columns
            .into_iter()
            .map(|column| {
                let scalar = Scalar::Column(column.id, column.ty);
                (column, scalar)
            })
            .collect();
        Ok(Rel::Project { input: Box::new(rel), exprs })
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
        self.refuse_variables(&scalar, scope, clause.name(), expr.span())?;
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

    /// 42P10 for what mentions columns of the rows that it is about.
    pub(super) fn refuse_variables(
        &self,
        scalar: &Scalar,
        scope: &Scope<'_>,
        clause: &str,
        span: Span,
    ) -> Result<(), SqlError> {
        if !scalar.mentions(&mut |id| scope.makes(id)) {
            return Ok(());
        }
        Err(SqlError::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            format!("argument of {clause} must not contain variables"),
        )
        .at(self.pos(span)))
    }
}
