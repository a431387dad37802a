//! WITHIN GROUP: ordered-set and hypothetical-set aggregates.
//!
//! An ordered-set aggregate is an aggregate over its direct arguments and the key, fed in the key's order.
//! A hypothetical one asks where a row would stand among those of the group, which is a matter of
//! counting: `rank` is one more than the number of rows before it.

use pgtypes::{Datum, PgType};
use sqlparser::ast::{OrderByExpr, Spanned};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::call_args::Args;
use super::expr::Cx;
use super::resolve;
use crate::error::{SqlError, SqlState};
use crate::ir::{AggCall, Scalar, SortKey};

/// Aggregates that cannot do without WITHIN GROUP.
pub(super) fn is_ordered_set(name: &str) -> bool {
    matches!(name, "percentile_cont" | "percentile_disc" | "mode")
}

/// Window functions that are aggregates with WITHIN GROUP.
pub(super) fn is_hypothetical(name: &str) -> bool {
    matches!(name, "rank" | "dense_rank" | "percent_rank" | "cume_dist")
}

impl Binder<'_> {
    /// `percentile_cont(0.5) WITHIN GROUP (ORDER BY x)`.
    pub(super) fn ordered_set(
        &mut self,
        name: &str,
        args: &Args<'_>,
        span: Span,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let position = self.pos(span);
        if !args.order_by.is_empty() {
            return Err(SqlError::syntax("cannot use multiple ORDER BY clauses with WITHIN GROUP")
                .at(position));
        }
        if args.distinct {
            return Err(SqlError::syntax("cannot use DISTINCT with WITHIN GROUP").at(position));
        }
        if !is_ordered_set(name) && !is_hypothetical(name) {
            let mut types = Vec::new();
            for arg in args.exprs.iter().copied().chain(args.within_group.iter().map(|k| &k.expr)) {
                types.push(self.expr(arg, &mut Self::inside_aggregate(cx))?.ty());
            }
            resolve::aggregate(name, &types, false).map_err(|e| e.at(position))?;
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("{name} is not an ordered-set aggregate, so it cannot have WITHIN GROUP"),
            )
            .at(position));
        }
        self.check_aggregate_place(cx, span)?;
        let mut direct = Vec::with_capacity(args.exprs.len());
        for arg in &args.exprs {
            direct.push((self.expr(arg, &mut Self::inside_aggregate(cx))?, arg.span()));
        }
        let filter = self.filter(args.filter, cx)?;
        let keys = self.within_group(args.within_group, cx)?;
        if is_hypothetical(name) {
            return self.hypothetical(name, direct, keys, filter, span, cx);
        }
        let mut bound = direct;
        bound.extend(keys.iter().map(|key| (key.expr.clone(), span)));
        let types: Vec<PgType> = bound.iter().map(|(arg, _)| arg.ty()).collect();
        let func = resolve::aggregate(name, &types, false).map_err(|e| e.at(position))?;
        let mut converted = Vec::with_capacity(bound.len());
        for ((arg, at), &want) in bound.into_iter().zip(&func.args) {
            converted.push(self.implicit(arg, want, at)?);
        }
        let ty = func.result;
        let column = self.fresh(name, ty);
        let scalar = Scalar::Column(column.id, ty);
        let call =
            AggCall { column, func, args: converted, distinct: false, filter, order_by: keys };
        self.collect(call, cx);
        Ok(scalar)
    }

    fn within_group(
        &mut self,
        keys: &[OrderByExpr],
        cx: &Cx<'_, '_>,
    ) -> Result<Vec<SortKey>, SqlError> {
        let mut result = Vec::with_capacity(keys.len());
        for key in keys {
            let expr = self.expr(&key.expr, &mut Self::inside_aggregate(cx))?;
            let expr = self.settle_unknown(expr)?;
            result.push(self.sort_key(expr, key)?);
        }
        Ok(result)
    }

    /// `rank(3) WITHIN GROUP (ORDER BY x)`.
    fn hypothetical(
        &mut self,
        name: &str,
        direct: Vec<(Scalar, Span)>,
        keys: Vec<SortKey>,
        filter: Option<Scalar>,
        span: Span,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        if direct.len() != keys.len() {
            let types: Vec<String> = direct
                .iter()
                .map(|(arg, _)| arg.ty())
                .chain(keys.iter().map(|key| key.expr.ty()))
                .map(PgType::sql_name)
                .collect();
            return Err(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("function {name}({}) does not exist", types.join(", ")),
            )
            .hint(format!(
                "To use the hypothetical-set aggregate {name}, the number of hypothetical direct \
                 arguments (here {}) must match the number of ordering columns (here {}).",
                direct.len(),
                keys.len()
            ))
            .at(self.pos(span)));
        }
        // Whether a row of the group stands before the hypothetical one, and whether beside it.
        let mut before = Scalar::bool(false);
        let mut beside = Scalar::bool(true);
        let mut values = Vec::with_capacity(keys.len());
        for (arg, key) in direct.into_iter().zip(&keys).rev() {
            let pair = vec![arg, (key.expr.clone(), span)];
            let (mut pair, ty) = self.unify(pair, "WITHIN GROUP")?;
            let value = pair.pop().expect("two were unified");
            let own = pair.pop().expect("two were unified");
            let less = resolve::operator(if key.desc { ">" } else { "<" }, &[ty, ty])?;
            let eq = resolve::operator("=", &[ty, ty])?;
            let null = |scalar: &Scalar| Scalar::IsNull(Box::new(scalar.clone()));
            let (first, other) = if key.nulls_first { (&value, &own) } else { (&own, &value) };
            let by_null = Scalar::And(vec![null(first), Scalar::Not(Box::new(null(other)))]);
            let by_value = Scalar::Call {
                func: less,
                args: vec![value.clone(), own.clone()],
                ty: PgType::BOOL,
            };
            let by_value = Scalar::Coalesce(vec![by_value, Scalar::bool(false)], PgType::BOOL);
            let same = Scalar::Not(Box::new(Scalar::Distinct {
                eq,
                left: Box::new(value.clone()),
                right: Box::new(own),
            }));
            before = Scalar::Or(vec![by_null, by_value, Scalar::And(vec![same.clone(), before])]);
            beside = Scalar::And(vec![same, beside]);
            values.push(value);
        }
        let counted = |condition: Scalar| match &filter {
            None => condition,
            Some(filter) => Scalar::And(vec![filter.clone(), condition]),
        };
        let int8 = |name: &str, left: Scalar, right: Scalar| -> Result<Scalar, SqlError> {
            let func = resolve::operator(name, &[PgType::INT8, PgType::INT8])?;
            Ok(Scalar::Call { func, args: vec![left, right], ty: PgType::INT8 })
        };
        match name {
            "rank" => {
                let rows = self.count(None, Some(counted(before)), cx)?;
                int8("+", rows, Scalar::int8(1))
            }
            "dense_rank" => {
                let value = match values.len() {
                    1 => values.swap_remove(0),
                    _ => Scalar::Row(values),
                };
                // NULLs are one value more.
                let null = Scalar::IsNull(Box::new(value.clone()));
                let some = self.count(Some(value), Some(counted(before.clone())), cx)?;
                let nulls = self.count(
                    Some(Scalar::bool(true)),
                    Some(counted(Scalar::And(vec![before, null]))),
                    cx,
                )?;
                let both = int8("+", some, nulls)?;
                int8("+", both, Scalar::int8(1))
            }
            _ => {
                let test = match name {
                    "percent_rank" => before,
                    _ => Scalar::Or(vec![before, beside]),
                };
                let rows = self.count(None, Some(counted(test)), cx)?;
                let all = self.count(None, filter.clone(), cx)?;
                let (part, whole) = match name {
                    "percent_rank" => (rows, all),
                    _ => (int8("+", rows, Scalar::int8(1))?, int8("+", all, Scalar::int8(1))?),
                };
                let float = |binder: &mut Self, scalar: Scalar| {
                    binder.explicit(scalar, PgType::FLOAT8, span)
                };
                let zero = Scalar::Literal(Datum::Float8(0.0), PgType::FLOAT8);
                let (part, whole) = (float(self, part)?, float(self, whole)?);
                let types = [PgType::FLOAT8, PgType::FLOAT8];
                let divided = Scalar::Call {
                    func: resolve::operator("/", &types)?,
                    args: vec![part, whole.clone()],
                    ty: PgType::FLOAT8,
                };
                let none = Scalar::Call {
                    func: resolve::operator("=", &types)?,
                    args: vec![whole, zero.clone()],
                    ty: PgType::BOOL,
                };
                Ok(Scalar::Case {
                    whens: vec![(none, zero)],
                    otherwise: Box::new(divided),
                    ty: PgType::FLOAT8,
                })
            }
        }
    }

    /// How many rows, or different values, pass a filter.
    fn count(
        &mut self,
        distinct: Option<Scalar>,
        filter: Option<Scalar>,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let column = self.fresh("count", PgType::INT8);
        let scalar = Scalar::Column(column.id, PgType::INT8);
        let call = match distinct {
            None => AggCall {
                column,
                func: resolve::aggregate("count", &[], true)?,
                args: Vec::new(),
                distinct: false,
                filter,
                order_by: Vec::new(),
            },
            Some(value) => AggCall {
                column,
                func: resolve::aggregate("count", &[value.ty()], false)?,
                args: vec![value],
                distinct: true,
                filter,
                order_by: Vec::new(),
            },
        };
        self.collect(call, cx);
        Ok(scalar)
    }

    fn collect(&self, call: AggCall, cx: &mut Cx<'_, '_>) {
        let collected = cx.collected.as_mut().expect("the place was checked");
        collected.aggs.push(call);
    }

    /// Whether an aggregate may stand here.
    pub(super) fn check_aggregate_place(
        &self,
        cx: &Cx<'_, '_>,
        span: Span,
    ) -> Result<(), SqlError> {
        let refused = |message: String| {
            Err(SqlError::new(SqlState::GROUPING_ERROR, message).at(self.pos(span)))
        };
        if cx.in_aggregate {
            return refused("aggregate function calls cannot be nested".to_owned());
        }
        let allowed = cx.clause.aggregates() && cx.collected.is_some();
        match allowed {
            true => Ok(()),
            false => {
                refused(format!("aggregate functions are not allowed in {}", cx.clause.name()))
            }
        }
    }
}
