//! `ANY` and `ALL` over an array.

use pgtypes::PgType;
use sqlparser::ast::{BinaryOperator as Op, Expr, Spanned};

use super::Binder;
use super::expr::Cx;
use super::expr_forms::unnested;
use super::expr_op::operator_name;
use super::resolve::Context;
use crate::error::{SqlError, SqlState};
use crate::ir::Scalar;

impl Binder<'_> {
    /// `needle op ANY (array or query)`.
    pub(crate) fn quantified(
        &mut self,
        left: &Expr,
        op: &Op,
        right: &Expr,
        all: bool,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let name = operator_name(op)?;
        if let Expr::Subquery(query) = unnested(right) {
            return self.quantified_subquery(left, &name, query, all, cx);
        }
        let needle = self.expr(left, cx)?;
        let array = self.expr(right, cx)?;
        let element = match array.ty() {
            ty if ty.array => ty.element().base(),
            ty if ty.is_unknown() => PgType::UNKNOWN,
            _ => {
                return Err(SqlError::new(
                    SqlState::WRONG_OBJECT_TYPE,
                    "op ANY/ALL (array) requires array on right side",
                )
                .at(self.pos_behind(left.span())));
            }
        };
        let types = [needle.ty(), element];
        let op = super::resolve::operator(&name, &types)
            .map_err(|e| e.at(self.pos_behind(left.span())))?;
        if !op.result.same(PgType::BOOL) {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                "op ANY/ALL (array) requires operator to yield boolean",
            )
            .at(self.pos_behind(left.span())));
        }
        let needle = Box::new(self.implicit(needle, op.args[0], left.span())?);
        let want = op.args[1].to_array();
        let from = array.ty();
        let array = match self.try_coerce(array, want, Context::Implicit, right.span())? {
            Some(array) => Box::new(array),
            None => {
                return Err(SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!("cannot convert type {} to {}", from.sql_name(), want.sql_name()),
                )
                .at(self.pos(right.span())));
            }
        };
        Ok(Scalar::Quantified { op, needle, array, all })
    }
}
