//! Queries inside expressions: EXISTS, IN, ANY and ALL, and one value.

use pgtypes::PgType;
use sqlparser::ast::{self, Expr, Spanned};

use super::Binder;
use super::expr::Cx;
use super::expr_op::negate;
use super::resolve;
use super::rows::row_of;
use crate::error::{SqlError, SqlState};
use crate::ir::{Query, Scalar, Subquery, SubqueryKind};

impl Binder<'_> {
    pub(super) fn subquery(
        &mut self,
        query: &ast::Query,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Query, SqlError> {
        let bound = self.query(query, Some(cx.scope))?;
        self.adopt_aggregates(cx)?;
        Ok(bound)
    }

    pub(crate) fn exists(
        &mut self,
        query: &ast::Query,
        negated: bool,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let bound = self.subquery(query, cx)?;
        let subquery = Subquery {
            kind: SubqueryKind::Exists,
            rel: bound.rel,
            ty: PgType::BOOL,
            position: self.pos(query.span()),
        };
        Ok(negate(Scalar::Subquery(Box::new(subquery)), negated))
    }

    pub(crate) fn scalar_subquery(
        &mut self,
        query: &ast::Query,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let bound = self.subquery(query, cx)?;
        let [column] = bound.columns.as_slice() else {
            return Err(SqlError::syntax("subquery must return only one column")
                .at(self.pos_parenthesis(query.span())));
        };
        Ok(Scalar::Subquery(Box::new(Subquery {
            kind: SubqueryKind::Scalar,
            ty: column.ty,
            rel: bound.rel,
            position: self.pos(query.span()),
        })))
    }

    /// `ARRAY(query)`.
    pub(crate) fn array_subquery(
        &mut self,
        query: &ast::Query,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let bound = self.subquery(query, cx)?;
        let [column] = bound.columns.as_slice() else {
            return Err(SqlError::syntax("subquery must return only one column")
                .at(self.pos_parenthesis(query.span())));
        };
        if column.ty.array {
            return Err(SqlError::unsupported("ARRAY over a query of arrays"));
        }
        Ok(Scalar::Subquery(Box::new(Subquery {
            kind: SubqueryKind::Array,
            ty: column.ty.base().to_array(),
            rel: bound.rel,
            position: self.pos(query.span()),
        })))
    }

    pub(crate) fn in_subquery(
        &mut self,
        expr: &Expr,
        query: &ast::Query,
        negated: bool,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let test = self.quantified_subquery(expr, "=", query, false, cx)?;
        Ok(negate(test, negated))
    }

    pub(crate) fn quantified_subquery(
        &mut self,
        left: &Expr,
        op: &str,
        query: &ast::Query,
        all: bool,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        if let Some(fields) = row_of(left) {
            return self.row_quantified(left, &fields, op, query, all, cx);
        }
        let needle = self.expr(left, cx)?;
        let bound = self.subquery(query, cx)?;
        let [column] = bound.columns.as_slice() else {
            let what = if bound.columns.is_empty() { "few" } else { "many" };
            return Err(SqlError::syntax(format!("subquery has too {what} columns"))
                .at(self.pos_behind(left.span())));
        };
        let types = [needle.ty(), column.ty];
        let op = resolve::operator(op, &types).map_err(|e| e.at(self.pos_behind(left.span())))?;
        if !op.result.same(PgType::BOOL) {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                "row comparison operator must yield type boolean",
            )
            .at(self.pos_behind(left.span())));
        }
        let needle = Box::new(self.implicit(needle, op.args[0], left.span())?);
        let value = Scalar::Column(column.id, column.ty);
        let column = Box::new(self.implicit(value, op.args[1], query.span())?);
        let kind = if all {
            SubqueryKind::All { needle, op, column }
        } else {
            SubqueryKind::Any { needle, op, column }
        };
        Ok(Scalar::Subquery(Box::new(Subquery {
            kind,
            rel: bound.rel,
            ty: PgType::BOOL,
            position: self.pos(query.span()),
        })))
    }
}
