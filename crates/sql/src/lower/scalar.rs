//! Expressions.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{BinaryExpr, Case, Exists, InList, InSubquery};
use datafusion::logical_expr::{Expr, Operator, Subquery as PlanSubquery, lit};
use pgtypes::{Datum, PgType, TypeId, arrow_bridge};

use super::{Lowerer, udf};
use crate::error::SqlError;
use crate::ir::{ColId, FuncRef, Rel, Scalar, Subquery, SubqueryKind};

impl Lowerer<'_> {
    /// An expression over the columns known here.
    pub(super) fn scalar(&mut self, scalar: &Scalar) -> Result<Expr, SqlError> {
        stacker::maybe_grow(128 << 10, 2 << 20, || self.scalar_here(scalar))
    }

    fn scalar_here(&mut self, scalar: &Scalar) -> Result<Expr, SqlError> {
        match scalar {
            Scalar::Literal(datum, ty) => Ok(literal(datum, *ty)),
            Scalar::Param { index, ty } => {
                let datum =
                    self.ctx.params.get(*index).ok_or_else(|| SqlError::no_parameter(*index))?;
                Ok(literal(datum, *ty))
            }
            Scalar::Column(id, _) => self.column(*id),
            Scalar::Slot(..) => Err(SqlError::internal("a slot inside a plan")),
            Scalar::Call { func, args, .. } => self.call(func, args),
            Scalar::Cast { cast, arg, ty } => {
                let from = arg.ty();
                let arg = self.scalar(arg)?;
                let env = Arc::clone(&self.env);
                let udf = arrow_bridge::cast_udf(cast.cast, from, *ty, cast.explicit, env);
                Ok(udf::call(udf, vec![arg]))
            }
            Scalar::Relabel(arg, ty) => {
                let from = arrow_bridge::to_arrow_type(arg.ty());
                let to = arrow_bridge::to_arrow_type(*ty);
                let arg = self.scalar(arg)?;
                if from == to {
                    return Ok(arg);
                }
                Ok(Expr::Cast(datafusion::logical_expr::Cast::new(Box::new(arg), to)))
            }
            Scalar::And(args) => self.chain(args, Operator::And),
            Scalar::Or(args) => self.chain(args, Operator::Or),
            Scalar::Not(arg) => self.not(arg),
            Scalar::IsNull(arg) => Ok(Expr::IsNull(Box::new(self.scalar(arg)?))),
            Scalar::IsBool(arg, true) => Ok(Expr::IsTrue(Box::new(self.scalar(arg)?))),
            Scalar::IsBool(arg, false) => Ok(Expr::IsFalse(Box::new(self.scalar(arg)?))),
            Scalar::Distinct { left, right, .. } => {
                let (left, right) = self.comparable_pair(left, right)?;
                Ok(binary(left, Operator::IsDistinctFrom, right))
            }
            Scalar::InList { needle, list, .. } => {
                let same = list.iter().all(|item| item.ty().same(needle.ty()));
                if !same {
                    return self.by_row(scalar);
                }
                if let Some(list) = self.narrowed_list(unwidened(needle), list) {
                    let expr = Box::new(self.scalar(unwidened(needle))?);
                    return Ok(Expr::InList(InList { expr, list, negated: false }));
                }
                let constant =
                    |item: &Scalar| matches!(item, Scalar::Literal(..) | Scalar::Param { .. });
                let is_constant = list.iter().all(constant);
                if !is_constant && needle.is_volatile() {
                    return self.by_row(scalar);
                }
                let needle = self.comparable(needle)?;
                let list =
                    list.iter().map(|item| self.comparable(item)).collect::<Result<Vec<_>, _>>()?;
                if is_constant {
                    let expr = Box::new(needle);
                    return Ok(Expr::InList(InList { expr, list, negated: false }));
                }
                // DataFusion takes a CASE in a list for a constant if its results are.
                let equal = |item| binary(needle.clone(), Operator::Eq, item);
                Ok(balanced(list.into_iter().map(equal).collect(), Operator::Or))
            }
            Scalar::Case { whens, otherwise, .. } => {
                let mut pairs = Vec::with_capacity(whens.len());
                for (condition, result) in whens {
                    let condition = Box::new(self.scalar(condition)?);
                    pairs.push((condition, Box::new(self.scalar(result)?)));
                }
                let otherwise = Some(Box::new(self.scalar(otherwise)?));
                Ok(Expr::Case(Case::new(None, pairs, otherwise)))
            }
            Scalar::Coalesce(args, _) => {
                let (last, first) = args.split_last().expect("COALESCE has arguments");
                let mut pairs = Vec::with_capacity(first.len());
                for arg in first {
                    let arg = self.scalar(arg)?;
                    let test = Expr::IsNotNull(Box::new(arg.clone()));
                    pairs.push((Box::new(test), Box::new(arg)));
                }
                let last = self.scalar(last)?;
                if pairs.is_empty() {
                    return Ok(last);
                }
                Ok(Expr::Case(Case::new(None, pairs, Some(Box::new(last)))))
            }
            Scalar::Quantified { .. }
            | Scalar::NullIf { .. }
            | Scalar::Extreme { .. }
            | Scalar::Element { .. }
            | Scalar::Row(_)
            | Scalar::Array(..) => self.by_row(scalar),
            Scalar::Subquery(subquery) => self.subquery(subquery, false),
        }
    }

    fn chain(&mut self, args: &[Scalar], op: Operator) -> Result<Expr, SqlError> {
        let exprs = args.iter().map(|arg| self.scalar(arg)).collect::<Result<Vec<_>, _>>()?;
        Ok(balanced(exprs, op))
    }

    fn not(&mut self, arg: &Scalar) -> Result<Expr, SqlError> {
        match arg {
            Scalar::Subquery(subquery) => self.subquery(subquery, true),
            Scalar::IsNull(arg) => Ok(Expr::IsNotNull(Box::new(self.scalar(arg)?))),
            Scalar::IsBool(arg, true) => Ok(Expr::IsNotTrue(Box::new(self.scalar(arg)?))),
            Scalar::IsBool(arg, false) => Ok(Expr::IsNotFalse(Box::new(self.scalar(arg)?))),
            Scalar::Distinct { left, right, .. } => {
                let (left, right) = self.comparable_pair(left, right)?;
                Ok(binary(left, Operator::IsNotDistinctFrom, right))
            }
            arg => match self.scalar(arg)? {
                Expr::InList(list) => Ok(Expr::InList(InList { negated: !list.negated, ..list })),
                expr => Ok(Expr::Not(Box::new(expr))),
            },
        }
    }

    fn call(&mut self, func: &FuncRef, args: &[Scalar]) -> Result<Expr, SqlError> {
        if let ([left, right], Some(op)) = (args, comparison(func))
            && (left.ty().same(right.ty()) || both_integers(left.ty(), right.ty()))
            // Joins want equality on keys; anything else is as well computed directly.
            && (op == Operator::Eq || !arrow_bridge::needs_sort_key(left.ty()))
            && (op != Operator::Eq || !share_a_column(left, right))
        {
            let (left, right) = self.comparable_pair(left, right)?;
            return Ok(binary(left, op, right));
        }
        let udf = arrow_bridge::function_udf(Arc::clone(&func.0), Arc::clone(&self.env));
        let args = args.iter().map(|arg| self.scalar(arg)).collect::<Result<Vec<_>, _>>()?;
        Ok(udf::call(udf, args))
    }

    /// Both sides in one type that Arrow compares as PostgreSQL does.
    fn comparable_pair(&mut self, left: &Scalar, right: &Scalar) -> Result<(Expr, Expr), SqlError> {
        let (left, right) = (unwidened(left), unwidened(right));
        if left.ty().same(right.ty()) || !both_integers(left.ty(), right.ty()) {
            return Ok((self.comparable(left)?, self.comparable(right)?));
        }
        // A constant that fits takes the column's type, so that a scan can use it.
        if let Some(narrow) = self.narrowed_constant(right, left.ty()) {
            return Ok((self.scalar(left)?, narrow));
        }
        if let Some(narrow) = self.narrowed_constant(left, right.ty()) {
            return Ok((narrow, self.scalar(right)?));
        }
        Ok((self.widened(left)?, self.widened(right)?))
    }

    fn narrowed_constant(&self, scalar: &Scalar, ty: PgType) -> Option<Expr> {
        let datum = match scalar {
            Scalar::Literal(datum, _) => datum,
            Scalar::Param { index, .. } => self.ctx.params.get(*index)?,
            _ => return None,
        };
        let datum = match (datum.as_i64(), ty.id) {
            (None, _) if datum.is_null() => Datum::Null,
            (Some(value), TypeId::Int2) => Datum::Int2(i16::try_from(value).ok()?),
            (Some(value), TypeId::Int4) => Datum::Int4(i32::try_from(value).ok()?),
            (Some(value), TypeId::Int8) => Datum::Int8(value),
            _ => return None,
        };
        Some(literal(&datum, ty))
    }

    /// Constants of a wider integer type as ones of the needle's type, if all fit.
    fn narrowed_list(&self, needle: &Scalar, list: &[Scalar]) -> Option<Vec<Expr>> {
        if list.iter().any(|item| item.ty().same(needle.ty())) {
            return None;
        }
        list.iter().map(|item| self.narrowed_constant(item, needle.ty())).collect()
    }

    fn widened(&mut self, scalar: &Scalar) -> Result<Expr, SqlError> {
        let expr = self.scalar(scalar)?;
        let int8 = arrow_bridge::to_arrow_type(PgType::INT8);
        Ok(Expr::Cast(datafusion::logical_expr::Cast::new(Box::new(expr), int8)))
    }

    /// The expression, or its sort key if Arrow would compare it differently.
    pub(super) fn comparable(&mut self, scalar: &Scalar) -> Result<Expr, SqlError> {
        let expr = self.scalar(scalar)?;
        Ok(comparable_expr(expr, scalar.ty()))
    }

    /// The expression as one function of the columns in it.
    fn by_row(&mut self, scalar: &Scalar) -> Result<Expr, SqlError> {
        let mut layout: Vec<(ColId, PgType)> = Vec::new();
        let mut subquery = false;
        scalar.any(&mut |node| {
            match node {
                Scalar::Column(id, ty) if !layout.iter().any(|(known, _)| known == id) => {
                    layout.push((*id, *ty));
                }
                Scalar::Subquery(_) => subquery = true,
                _ => {}
            }
            false
        });
        if subquery {
            self.correlated = true;
            return Err(SqlError::unsupported("a correlated subquery inside this expression"));
        }
        let ids: Vec<ColId> = layout.iter().map(|(id, _)| *id).collect();
        let types = layout.iter().map(|(_, ty)| *ty).collect();
        let over = scalar.over(&ids)?;
        let params = Arc::clone(&self.ctx.params);
        let udf = udf::row_function(over, types, Arc::clone(&self.env), params);
        let args = ids.iter().map(|id| self.column(*id)).collect::<Result<Vec<_>, _>>()?;
        Ok(udf::call(udf, args))
    }

    /// A query inside an expression. Those that mention nothing outside were run beforehand, except
    /// where a semi-join is better.
    fn subquery(&mut self, subquery: &Subquery, negated: bool) -> Result<Expr, SqlError> {
        match &subquery.kind {
            SubqueryKind::Exists => {
                let plan = self.inner(&subquery.rel)?;
                Ok(Expr::Exists(Exists { subquery: plan, negated }))
            }
            SubqueryKind::Scalar => {
                let plan = self.inner(&subquery.rel)?;
                let expr = Expr::ScalarSubquery(plan);
                Ok(if negated { Expr::Not(Box::new(expr)) } else { expr })
            }
            SubqueryKind::Any { needle, op, column } if comparison(op) == Some(Operator::Eq) => {
                self.in_subquery(needle, column, &subquery.rel, negated)
            }
            SubqueryKind::All { needle, op, column } if comparison(op) == Some(Operator::NotEq) => {
                self.in_subquery(needle, column, &subquery.rel, !negated)
            }
            SubqueryKind::Any { .. } | SubqueryKind::All { .. } => {
                self.correlated = true;
                Err(SqlError::unsupported("a correlated ANY or ALL other than = ANY"))
            }
            SubqueryKind::Array => {
                self.correlated = true;
                Err(SqlError::unsupported("a correlated ARRAY(…)"))
            }
        }
    }

    fn in_subquery(
        &mut self,
        needle: &Scalar,
        column: &Scalar,
        rel: &Rel,
        negated: bool,
    ) -> Result<Expr, SqlError> {
        let expr = Box::new(self.comparable(needle)?);
        self.level += 1;
        let plan = self.plan(rel).and_then(|plan| {
            let value = self.comparable(column)?;
            let name = self.fresh_name("in");
            super::project(plan, vec![value.alias(name)])
        });
        self.level -= 1;
        let subquery = subquery_of(plan?);
        Ok(Expr::InSubquery(InSubquery::new(expr, subquery, negated)))
    }

    fn inner(&mut self, rel: &Rel) -> Result<PlanSubquery, SqlError> {
        self.level += 1;
        let plan = self.plan(rel);
        self.level -= 1;
        Ok(subquery_of(plan?))
    }
}

pub(super) fn subquery_of(plan: datafusion::logical_expr::LogicalPlan) -> PlanSubquery {
    let outer_ref_columns = plan.all_out_ref_exprs();
    PlanSubquery {
        subquery: Arc::new(plan),
        outer_ref_columns,
        spans: datafusion::common::Spans::new(),
    }
}

pub(super) fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) })
}

/// AND or OR of these, as a balanced tree: the optimizer recurses over it.
fn balanced(mut exprs: Vec<Expr>, op: Operator) -> Expr {
    while exprs.len() > 1 {
        let mut half = Vec::with_capacity(exprs.len().div_ceil(2));
        let mut rest = exprs.into_iter();
        while let Some(left) = rest.next() {
            half.push(match rest.next() {
                Some(right) => binary(left, op, right),
                None => left,
            });
        }
        exprs = half;
    }
    exprs.pop().unwrap_or_else(|| lit(op == Operator::And))
}

pub(super) fn literal(datum: &Datum, ty: PgType) -> Expr {
    let value: ScalarValue = arrow_bridge::to_scalar(datum, ty);
    Expr::Literal(value, None)
}

pub(super) fn comparable_expr(expr: Expr, ty: PgType) -> Expr {
    if arrow_bridge::needs_sort_key(ty) {
        return udf::call(arrow_bridge::sort_key_udf(ty), vec![expr]);
    }
    expr
}

/// Without a conversion to a wider integer, which changes neither order nor equality.
fn unwidened(scalar: &Scalar) -> &Scalar {
    match scalar {
        Scalar::Cast { arg, ty, .. }
            if ty.id == TypeId::Int8 && both_integers(arg.ty(), *ty)
                || ty.id == TypeId::Int4 && arg.ty().same(PgType::INT2) =>
        {
            arg
        }
        other => other,
    }
}

/// Whether a column is mentioned on both sides of an equality, which joins nothing then. DataFusion would
/// take the column and the expression of it for equal in orders, too, and lose a sort by one of them where
/// rows are projected.
fn share_a_column(left: &Scalar, right: &Scalar) -> bool {
    left.any(&mut |node| match node {
        Scalar::Column(id, _) => {
            right.any(&mut |other| matches!(other, Scalar::Column(known, _) if known == id))
        }
        _ => false,
    })
}

fn both_integers(left: PgType, right: PgType) -> bool {
    let integer =
        |ty: PgType| !ty.array && matches!(ty.id, TypeId::Int2 | TypeId::Int4 | TypeId::Int8);
    integer(left) && integer(right)
}

/// The comparison a function is, if it is one of PostgreSQL's six over like types.
fn comparison(func: &FuncRef) -> Option<Operator> {
    if func.args.len() != 2 {
        return None;
    }
    Some(match func.name {
        "=" => Operator::Eq,
        "<>" => Operator::NotEq,
        "<" => Operator::Lt,
        "<=" => Operator::LtEq,
        ">" => Operator::Gt,
        ">=" => Operator::GtEq,
        _ => return None,
    })
}
