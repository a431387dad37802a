//! Expression forms with a syntax of their own: CASE, ARRAY, EXTRACT, SUBSTRING, TRIM.

use std::sync::Arc;

use pgtypes::{Datum, PgType, TypeId};
use sqlparser::ast::{CaseWhen, DateTimeField, Expr, Spanned, TrimWhereField};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::expr::Cx;
use crate::error::{SqlError, SqlState};
use crate::ir::{FuncRef, Scalar};

impl Binder<'_> {
    pub(crate) fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[CaseWhen],
        otherwise: Option<&Expr>,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let operand = match operand {
            Some(expr) => {
                let scalar = self.expr(expr, cx)?;
                Some((self.settle_unknown(scalar)?, expr.span()))
            }
            None => None,
        };
        let mut tests = Vec::with_capacity(conditions.len());
        // ELSE comes first where types are chosen, as in PostgreSQL.
        let mut results = Vec::with_capacity(conditions.len() + 1);
        match otherwise {
            Some(expr) => results.push((self.expr(expr, cx)?, expr.span())),
            None => results.push((Scalar::null(PgType::UNKNOWN), Span::empty())),
        }
        for CaseWhen { condition, result } in conditions {
            let test = self.expr(condition, cx)?;
            tests.push(match &operand {
                Some(operand) => {
                    let right = (test, condition.span());
                    self.operator("=", vec![operand.clone(), right], operand.1)?
                }
                None => self.condition(test, "CASE/WHEN", condition.span())?,
            });
            results.push((self.expr(result, cx)?, result.span()));
        }
        let (mut results, ty) = self.unify(results, "CASE")?;
        let values = results.split_off(1);
        let otherwise = Box::new(results.pop().expect("ELSE comes first"));
        Ok(Scalar::Case { whens: tests.into_iter().zip(values).collect(), otherwise, ty })
    }

    pub(crate) fn array(
        &mut self,
        items: &[Expr],
        span: Span,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        if items.is_empty() {
            return Err(SqlError::new(
                SqlState::INDETERMINATE_DATATYPE,
                "cannot determine type of empty array",
            )
            .hint("Explicitly cast to the desired type, for example ARRAY[]::integer[].")
            .at(self.pos(span)));
        }
        let mut bound = Vec::with_capacity(items.len());
        for item in items {
            bound.push((self.expr(item, cx)?, item.span()));
        }
        let (items, ty) = self.unify(bound, "ARRAY")?;
        if ty.array {
            return Ok(array_of_arrays(items, ty.base()));
        }
        Ok(array_of_items(items, ty.base().to_array()))
    }

    /// `ARRAY[…]::ty`.
    pub(crate) fn array_of(
        &mut self,
        items: &[Expr],
        ty: PgType,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let mut bound = Vec::with_capacity(items.len());
        let mut nested = false;
        for item in items {
            bound.push(match item {
                Expr::Array(inner) => {
                    nested = true;
                    self.array_of(&inner.elem, ty, cx)?
                }
                item => {
                    let scalar = self.expr(item, cx)?;
                    let is_array = scalar.ty().array && !ty.id.is_vector();
                    nested |= is_array;
                    self.explicit(scalar, if is_array { ty } else { ty.element() }, item.span())?
                }
            });
        }
        if nested {
            if let Some(item) = bound.iter().position(|scalar| !scalar.ty().array) {
                return Err(SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    "ARRAY types of arrays and elements cannot be matched",
                )
                .at(self.pos(items[item].span())));
            }
            return Ok(array_of_arrays(bound, ty));
        }
        Ok(array_of_items(bound, ty))
    }

    pub(crate) fn extract(
        &mut self,
        field: &DateTimeField,
        source: &Expr,
        span: Span,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let field = match field {
            DateTimeField::Custom(ident) => ident.value.to_lowercase(),
            other => other.to_string().to_lowercase(),
        };
        let field = Scalar::Literal(Datum::text(field), PgType::TEXT);
        let source = (self.expr(source, cx)?, source.span());
        self.call("extract", vec![(field, span), source], span)
    }

    pub(crate) fn substring(
        &mut self,
        text: &Expr,
        from: Option<&Expr>,
        length: Option<&Expr>,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let mut args = vec![(self.expr(text, cx)?, text.span())];
        match from {
            Some(from) => args.push((self.expr(from, cx)?, from.span())),
            None => args.push((Scalar::Literal(Datum::Int4(1), PgType::INT4), text.span())),
        }
        if let Some(length) = length {
            args.push((self.expr(length, cx)?, length.span()));
        }
        self.call("substring", args, text.span())
    }

    pub(crate) fn trim(
        &mut self,
        text: &Expr,
        side: Option<&TrimWhereField>,
        what: Option<&Expr>,
        characters: Option<&[Expr]>,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let name = match side {
            None | Some(TrimWhereField::Both) => "btrim",
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
        };
        let mut args = vec![(self.expr(text, cx)?, text.span())];
        for arg in what.into_iter().chain(characters.into_iter().flatten()) {
            args.push((self.expr(arg, cx)?, arg.span()));
        }
        self.call(name, args, text.span())
    }

    /// COALESCE, GREATEST, LEAST, NULLIF: functions to the parser, expressions to PostgreSQL.
    pub(crate) fn conditional(
        &mut self,
        name: &str,
        args: Vec<(Scalar, Span)>,
        span: Span,
    ) -> Result<Option<Scalar>, SqlError> {
        let upper = name.to_uppercase();
        match name {
            "coalesce" | "greatest" | "least" if args.is_empty() => {
                Err(SqlError::syntax("syntax error at or near \")\"").at(self.pos(span)))
            }
            "coalesce" => {
                let (args, ty) = self.unify(args, &upper)?;
                Ok(Some(Scalar::Coalesce(args, ty)))
            }
            "greatest" | "least" => {
                let (args, ty) = self.unify(args, &upper)?;
                let op = if name == "greatest" { ">" } else { "<" };
                let op =
                    super::resolve::operator(op, &[ty, ty]).map_err(|e| e.at(self.pos(span)))?;
                let want = op.args[0];
                let mut converted = Vec::with_capacity(args.len());
                for arg in args {
                    converted.push(self.implicit(arg, want, span)?);
                }
                let value = Scalar::Extreme { op, args: converted, ty: want };
                Ok(Some(if want.same(ty) { value } else { Scalar::Relabel(Box::new(value), ty) }))
            }
            "nullif" => {
                let mut args = args.into_iter();
                let (Some(left), Some(right), None) = (args.next(), args.next(), args.next())
                else {
                    return Err(
                        SqlError::syntax("syntax error at or near \")\"").at(self.pos(span))
                    );
                };
                let value = self.settle_unknown(left.0.clone())?;
                let (eq, l, r) = self.equality(left, right)?;
                // The left operand as PostgreSQL's `=` takes it: varchar has none of its own, while integers
                // of different sizes, floats and times have one for each pair.
                let value = match has_own_equality(value.ty(), l.ty()) {
                    true => value,
                    false => l.clone(),
                };
                Ok(Some(Scalar::NullIf { eq, args: Box::new((l, r)), value: Box::new(value) }))
            }
            _ => Ok(None),
        }
    }
}

/// Whether PostgreSQL compares two types without a cast of the first one to the other.
fn has_own_equality(left: PgType, other: PgType) -> bool {
    let families: [&[TypeId]; 3] = [
        &[TypeId::Int2, TypeId::Int4, TypeId::Int8],
        &[TypeId::Float4, TypeId::Float8],
        &[TypeId::Date, TypeId::Timestamp, TypeId::Timestamptz],
    ];
    let within = |family: &&[TypeId]| family.contains(&left.id) && family.contains(&other.id);
    !left.array && !other.array && families.iter().any(within)
}

/// An array; of constants a constant, so that no row makes it again.
fn array_of_items(items: Vec<Scalar>, ty: PgType) -> Scalar {
    let is_constant = |item: &Scalar| matches!(item, Scalar::Literal(..));
    if !items.iter().all(is_constant) {
        return Scalar::Array(items, ty);
    }
    let values = items.into_iter().filter_map(|item| match item {
        Scalar::Literal(datum, _) => Some(datum),
        _ => None,
    });
    Scalar::Literal(Datum::array(values.collect()), ty)
}

/// One dimension more than the arrays in it.
fn array_of_arrays(items: Vec<Scalar>, ty: PgType) -> Scalar {
    let func = FuncRef(Arc::new(pgtypes::registry::array_of_arrays(ty, items.len())));
    Scalar::Call { func, args: items, ty }
}

/// Without the parentheses around it.
pub(crate) fn unnested(mut expr: &Expr) -> &Expr {
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}
