//! ORDER BY and the other places where a bare name or number means a column of the result.

use std::sync::Arc;

use pgtypes::{Datum, PgType};
use sqlparser::ast::{self, Expr, OrderByExpr, Spanned, UnaryOperator, Value};
use sqlparser::tokenizer::Span;

use super::expr::Cx;
use super::expr_forms::unnested;
use super::scope::{Clause, Collected, Scope};
use super::select::sorted;
use super::select_list::Item;
use super::{Binder, fold};
use crate::error::{SqlError, SqlState};
use crate::ir::{Query, Rel, Scalar, SortKey};

impl Binder<'_> {
    /// Keys of ORDER BY over a select list.
    pub(crate) fn order_keys(
        &mut self,
        keys: &[OrderByExpr],
        items: &[Item],
        scope: &Scope<'_>,
        collected: &mut Collected,
    ) -> Result<(Vec<SortKey>, Vec<Span>), SqlError> {
        let mut result: Vec<SortKey> = Vec::with_capacity(keys.len());
        let mut spans = Vec::with_capacity(keys.len());
        for key in keys {
            let expr = self.item_or_expr(&key.expr, items, scope, Clause::OrderBy, collected)?;
            let span = key.expr.span();
            let key = self.sort_key(expr, key)?;
            if !result.iter().any(|known| known.expr == key.expr) {
                result.push(key);
                spans.push(span);
            }
        }
        Ok((result, spans))
    }

    /// A number is a position in the select list, a bare name an alias in it, anything else an
    /// expression over FROM.
    pub(crate) fn item_or_expr(
        &mut self,
        expr: &Expr,
        items: &[Item],
        scope: &Scope<'_>,
        clause: Clause,
        collected: &mut Collected,
    ) -> Result<Scalar, SqlError> {
        if let Some(index) = self.ordinal(expr, items.len(), clause)? {
            let scalar = items[index].scalar.clone();
            return self.settle_unknown(scalar);
        }
        if let Expr::Identifier(ident) = expr
            && let Some(scalar) = self.alias(ident, items, clause)?
        {
            return self.settle_unknown(scalar);
        }
        let scalar = self.expr(expr, &mut Cx::collecting(scope, clause, collected))?;
        self.settle_unknown(scalar)
    }

    /// The index a constant stands for; other constants than integers are refused.
    pub(crate) fn ordinal(
        &self,
        expr: &Expr,
        count: usize,
        clause: Clause,
    ) -> Result<Option<usize>, SqlError> {
        let value = match unnested(expr) {
            Expr::Value(value) => value,
            // A sign is part of a number to PostgreSQL's parser.
            Expr::UnaryOp { op: UnaryOperator::Minus, expr: number } => match unnested(number) {
                Expr::Value(ast::ValueWithSpan { value: Value::Number(text, _), span }) => {
                    let at = self.pos(*span);
                    let name = clause.name();
                    return Err(if text.parse::<i32>().is_ok() {
                        SqlError::new(
                            SqlState::INVALID_COLUMN_REFERENCE,
                            format!("{name} position -{text} is not in select list"),
                        )
                        .at(at)
                    } else {
                        SqlError::syntax(format!("non-integer constant in {name}")).at(at)
                    });
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        match &value.value {
            Value::Number(text, _) if text.bytes().all(|b| b.is_ascii_digit()) => {
                match text.parse::<usize>() {
                    Ok(n) if (1..=count).contains(&n) => Ok(Some(n - 1)),
                    _ => Err(SqlError::new(
                        SqlState::INVALID_COLUMN_REFERENCE,
                        format!("{} position {text} is not in select list", clause.name()),
                    )
                    .at(self.pos(value.span))),
                }
            }
            Value::Placeholder(_) => Ok(None),
            _ => Err(SqlError::syntax(format!("non-integer constant in {}", clause.name()))
                .at(self.pos(value.span))),
        }
    }

    /// The select item of that name; several are fine if they are the same expression.
    pub(crate) fn alias(
        &self,
        ident: &ast::Ident,
        items: &[Item],
        clause: Clause,
    ) -> Result<Option<Scalar>, SqlError> {
        let name = fold(ident);
        let mut found: Option<&Item> = None;
        for item in items.iter().filter(|item| *item.name == *name) {
            match found {
                Some(known) if known.scalar != item.scalar => {
                    return Err(SqlError::new(
                        SqlState::AMBIGUOUS_COLUMN,
                        format!("{} \"{name}\" is ambiguous", clause.name()),
                    )
                    .at(self.pos(ident.span)));
                }
                _ => found = Some(item),
            }
        }
        Ok(found.map(|item| item.scalar.clone()))
    }

    /// Direction and place of NULLs.
    pub(crate) fn sort_key(
        &mut self,
        expr: Scalar,
        key: &OrderByExpr,
    ) -> Result<SortKey, SqlError> {
        let OrderByExpr { expr: source, options, with_fill } = key;
        if with_fill.is_some() {
            return Err(SqlError::unsupported("WITH FILL"));
        }
        let ty = expr.ty();
        // What cannot be compared cannot be sorted: json, for one.
        super::resolve::operator("<", &[ty, ty]).map_err(|_| {
            SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("could not identify an ordering operator for type {}", ty.sql_name()),
            )
            .hint("Use an explicit ordering operator or modify the query.")
            .at(self.pos(source.span()))
        })?;
        let ast::OrderByOptions { asc, nulls_first } = options;
        let desc = !asc.unwrap_or(true);
        Ok(SortKey { expr, desc, nulls_first: nulls_first.unwrap_or(desc) })
    }

    /// ORDER BY over the result of a set operation or VALUES: names and numbers only.
    pub(crate) fn order_output(
        &mut self,
        mut query: Query,
        keys: &[OrderByExpr],
    ) -> Result<Query, SqlError> {
        if keys.is_empty() {
            return Ok(query);
        }
        let items: Vec<Item> = query
            .columns
            .iter()
            .map(|column| Item {
                name: Arc::clone(&column.name),
                scalar: Scalar::Column(column.id, column.ty),
                origin: column.origin,
            })
            .collect();
        let mut result: Vec<SortKey> = Vec::with_capacity(keys.len());
        for key in keys {
            let position = self.ordinal(&key.expr, items.len(), Clause::OrderBy)?;
            let expr = match (position, &key.expr) {
                (Some(index), _) => Some(items[index].scalar.clone()),
                (None, Expr::Identifier(ident)) => self.alias(ident, &items, Clause::OrderBy)?,
                _ => None,
            };
            let Some(expr) = expr else {
                if let Expr::Identifier(ident) = &key.expr {
                    return Err(SqlError::new(
                        SqlState::UNDEFINED_COLUMN,
                        format!("column \"{}\" does not exist", fold(ident)),
                    )
                    .at(self.pos(ident.span)));
                }
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "invalid UNION/INTERSECT/EXCEPT ORDER BY clause",
                )
                .detail("Only result column names can be used, not expressions or functions.")
                .hint(
                    "Add the expression/function to every SELECT, or move the UNION into a FROM \
                     clause.",
                )
                .at(self.pos(key.expr.span())));
            };
            result.push(self.sort_key(expr, key)?);
        }
        let rel = std::mem::replace(&mut query.rel, Rel::OneRow);
        query.rel = sorted(rel, result);
        Ok(query)
    }

    /// Gives an unknown column of a relation its type, where its literals are.
    pub(crate) fn retype_unknown(
        &mut self,
        rel: &mut Rel,
        id: crate::ir::ColId,
        ty: PgType,
    ) -> Result<(), SqlError> {
        let retyped = |scalar: &mut Scalar| {
            scalar.rewrite(&mut |node| {
                if let Scalar::Column(column, known) = node
                    && *column == id
                {
                    *known = ty;
                }
            });
        };
        match rel {
            Rel::Sort { input, keys } => {
                keys.iter_mut().for_each(|key| retyped(&mut key.expr));
                self.retype_unknown(input, id, ty)
            }
            Rel::Limit { input, .. } | Rel::Distinct { input } | Rel::Lock { input, .. } => {
                self.retype_unknown(input, id, ty)
            }
            Rel::Filter { input, predicate } => {
                retyped(predicate);
                self.retype_unknown(input, id, ty)
            }
            Rel::Window { input, calls } => {
                for call in calls {
                    call.args.iter_mut().chain(&mut call.partition_by).for_each(retyped);
                    call.order_by.iter_mut().for_each(|key| retyped(&mut key.expr));
                }
                self.retype_unknown(input, id, ty)
            }
            Rel::DistinctOn { input, on, keys } => {
                on.iter_mut().for_each(retyped);
                keys.iter_mut().for_each(|key| retyped(&mut key.expr));
                self.retype_unknown(input, id, ty)
            }
            Rel::Project { input, exprs } => {
                for (column, scalar) in exprs.iter_mut().filter(|(column, _)| column.id == id) {
                    column.ty = ty;
                    if let Scalar::Column(inner, _) = *scalar {
                        self.retype_unknown(input, inner, ty)?;
                        *scalar = Scalar::Column(inner, ty);
                    } else {
                        *scalar = self.settle_as(scalar.clone(), ty)?;
                    }
                }
                Ok(())
            }
            Rel::Values { rows, columns } => {
                for (i, column) in columns.iter_mut().enumerate().filter(|(_, c)| c.id == id) {
                    column.ty = ty;
                    for row in rows.iter_mut() {
                        row[i] = self.settle_as(row[i].clone(), ty)?;
                    }
                }
                Ok(())
            }
            Rel::SetOp { left, right, columns, .. } => {
                let Some(i) = columns.iter().position(|column| column.id == id) else {
                    return Err(SqlError::internal(format!("{id} is no column of the set")));
                };
                columns[i].ty = ty;
                let (l, r) = (left.columns()[i].id, right.columns()[i].id);
                self.retype_unknown(left, l, ty)?;
                self.retype_unknown(right, r, ty)
            }
            _ => Err(SqlError::internal(format!("{id} of unknown type has no literal"))),
        }
    }

    fn settle_as(&mut self, scalar: Scalar, ty: PgType) -> Result<Scalar, SqlError> {
        let span = sqlparser::tokenizer::Span::empty();
        match scalar {
            Scalar::Literal(Datum::Null, _) => Ok(Scalar::Literal(Datum::Null, ty)),
            scalar if scalar.ty().is_unknown() => {
                let settled =
                    self.try_coerce(scalar, ty, super::resolve::Context::Assignment, span)?;
                settled.ok_or_else(|| SqlError::internal("an unknown literal resists"))
            }
            scalar => Ok(scalar),
        }
    }
}
