//! Rows: constructors, comparisons, and queries of several columns.
//!
//! Comparisons of rows are taken apart here into comparisons of their fields. `row IN (query)` has three
//! answers, so it asks twice: is there an equal row, and is there one that could be equal but for NULLs?
//! Where only true counts ([`condition`]) the first question is enough.

use pgtypes::{Datum, PgType};
use sqlparser::ast::{self, BinaryOperator as Op, Expr, FunctionArguments, Spanned};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::expr::Cx;
use super::expr_forms::unnested;
use super::expr_op::{negate, operator_name};
use crate::error::{SqlError, SqlState};
use crate::ir::{Query, Rel, Scalar, Subquery, SubqueryKind};

/// A field and where it stands.
type Field = (Scalar, Span);

/// The expressions of a row constructor, `(a, b)` or `ROW(a, b)`.
pub(crate) fn row_of(expr: &Expr) -> Option<Vec<&Expr>> {
    match expr {
        Expr::Tuple(fields) => Some(fields.iter().collect()),
        Expr::Function(function) => {
            let name = match function.name.0.as_slice() {
                [part] => part.as_ident()?,
                _ => return None,
            };
            if name.quote_style.is_some() || !name.value.eq_ignore_ascii_case("row") {
                return None;
            }
            let FunctionArguments::List(list) = &function.args else { return None };
            list.args
                .iter()
                .map(|arg| match arg {
                    ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr),
                    _ => None,
                })
                .collect()
        }
        _ => None,
    }
}

impl Binder<'_> {
    /// A row as a value.
    pub(crate) fn row_value(
        &mut self,
        fields: &[&Expr],
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let mut bound = Vec::with_capacity(fields.len());
        for field in fields {
            let scalar = self.expr(field, cx)?;
            bound.push(self.settle_unknown(scalar)?);
        }
        Ok(Scalar::Row(bound))
    }

    fn fields(&mut self, exprs: &[&Expr], cx: &mut Cx<'_, '_>) -> Result<Vec<Field>, SqlError> {
        exprs.iter().map(|expr| Ok((self.expr(expr, cx)?, expr.span()))).collect()
    }

    /// `left op right` if one of them is a row constructor.
    pub(crate) fn row_operator(
        &mut self,
        left: &Expr,
        op: &Op,
        right: &Expr,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Option<Scalar>, SqlError> {
        let (l, r) = (row_of(left), row_of(right));
        let span = left.span();
        match (l, r, unnested(right)) {
            (Some(l), Some(r), _) => {
                let (l, r) = (self.fields(&l, cx)?, self.fields(&r, cx)?);
                self.compare_rows(l, &operator_name(op)?, r, span).map(Some)
            }
            (Some(l), None, Expr::Subquery(query)) => {
                let l = self.fields(&l, cx)?;
                let query = self.subquery(query, cx)?;
                self.check_row_width(&l, &query, span)?;
                let values = self.one_row(query, span)?;
                let r = values.into_iter().map(|value| (value, right.span())).collect();
                self.compare_rows(l, &operator_name(op)?, r, span).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn check_row_width(&self, row: &[Field], query: &Query, span: Span) -> Result<(), SqlError> {
        let what = match query.columns.len().cmp(&row.len()) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Less => "few",
            std::cmp::Ordering::Greater => "many",
        };
        Err(SqlError::syntax(format!("subquery has too {what} columns")).at(self.pos_behind(span)))
    }

    /// The columns of a query's one row, each as a value.
    pub(crate) fn one_row(&mut self, query: Query, span: Span) -> Result<Vec<Scalar>, SqlError> {
        if query.columns.len() > 1 && (query.rel.is_volatile() || query.rel.has_locks()) {
            return Err(SqlError::unsupported(
                "a query of several columns that calls a volatile function or locks rows, as a row,",
            )
            .at(self.pos(span)));
        }
        let mut values = Vec::with_capacity(query.columns.len());
        for column in &query.columns {
            let made = self.fresh(column.name.clone(), column.ty);
            let exprs = vec![(made, Scalar::Column(column.id, column.ty))];
            values.push(Scalar::Subquery(Box::new(Subquery {
                kind: SubqueryKind::Scalar,
                rel: Rel::Project { input: Box::new(query.rel.clone()), exprs },
                ty: column.ty,
                position: self.pos(span),
            })));
        }
        Ok(values)
    }

    /// Compares rows field by field.
    pub(crate) fn compare_rows(
        &mut self,
        left: Vec<Field>,
        op: &str,
        right: Vec<Field>,
        span: Span,
    ) -> Result<Scalar, SqlError> {
        if left.len() != right.len() {
            return Err(SqlError::syntax("unequal number of entries in row expressions")
                .at(self.pos_behind(span)));
        }
        if left.is_empty() {
            return Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                "cannot compare rows of zero length",
            )
            .at(self.pos_behind(span)));
        }
        match op {
            "=" | "<>" => {
                let mut parts = Vec::with_capacity(left.len());
                for (left, right) in left.into_iter().zip(right) {
                    parts.push(self.operator(op, vec![left, right], span)?);
                }
                Ok(match (parts.len(), op) {
                    (1, _) => parts.swap_remove(0),
                    (_, "=") => Scalar::And(parts),
                    _ => Scalar::Or(parts),
                })
            }
            "<" | "<=" | ">" | ">=" => self.row_order(&left, op, &right, span),
            _ if left.len() == 1 => {
                let pair = left.into_iter().chain(right).collect();
                self.operator(op, pair, span)
            }
            _ => {
                let first = vec![left[0].clone(), right[0].clone()];
                self.operator(op, first, span)?;
                Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    format!("could not determine interpretation of row comparison operator {op}"),
                )
                .hint("Row comparison operators must be associated with btree operator families.")
                .at(self.pos_behind(span)))
            }
        }
    }

    /// `(a, b) < (c, d)` is `a < c OR (a = c AND b < d)`.
    fn row_order(
        &mut self,
        left: &[Field],
        op: &str,
        right: &[Field],
        span: Span,
    ) -> Result<Scalar, SqlError> {
        let strict = op.trim_end_matches('=');
        let last = left.len() - 1;
        let pair = |i: usize| vec![left[i].clone(), right[i].clone()];
        let mut result = self.operator(op, pair(last), span)?;
        for i in (0..last).rev() {
            let less = self.operator(strict, pair(i), span)?;
            let equal = self.operator("=", pair(i), span)?;
            result = Scalar::Or(vec![less, Scalar::And(vec![equal, result])]);
        }
        Ok(result)
    }

    /// `(a, b) IN ((1, 2), (3, 4))`.
    pub(crate) fn row_in_list(
        &mut self,
        needle: &Expr,
        fields: &[&Expr],
        list: &[Expr],
        negated: bool,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let needles = self.fields(fields, cx)?;
        let mut equal = Vec::with_capacity(list.len());
        for item in list {
            let Some(items) = row_of(item) else {
                let scalar = self.expr(item, cx)?;
                let from = scalar.ty().sql_name();
                return Err(SqlError::new(
                    SqlState::UNDEFINED_FUNCTION,
                    format!("operator does not exist: record = {from}"),
                )
                .hint(
                    "No operator matches the given name and argument types. You might need to add \
                     explicit type casts.",
                )
                .at(self.pos_behind(needle.span())));
            };
            let items = self.fields(&items, cx)?;
            equal.push(self.compare_rows(needles.clone(), "=", items, needle.span())?);
        }
        let any = if equal.len() == 1 { equal.swap_remove(0) } else { Scalar::Or(equal) };
        Ok(negate(any, negated))
    }

    /// `(a, b) op ANY (query)` and ALL.
    pub(crate) fn row_quantified(
        &mut self,
        left: &Expr,
        fields: &[&Expr],
        op: &str,
        query: &ast::Query,
        all: bool,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let needles = self.fields(fields, cx)?;
        let position = self.pos(query.span());
        let query = self.subquery(query, cx)?;
        self.check_row_width(&needles, &query, left.span())?;
        let columns = query
            .columns
            .iter()
            .map(|column| (Scalar::Column(column.id, column.ty), left.span()))
            .collect();
        let test = self.compare_rows(needles, op, columns, left.span())?;
        let exists = |predicate: Scalar| {
            let rel = Rel::Filter { input: Box::new(query.rel.clone()), predicate };
            let kind = SubqueryKind::Exists;
            Scalar::Subquery(Box::new(Subquery { kind, rel, ty: PgType::BOOL, position }))
        };
        let decisive = if all { Scalar::Not(Box::new(test.clone())) } else { test.clone() };
        let whens = vec![
            (exists(decisive), Scalar::bool(!all)),
            (exists(Scalar::IsNull(Box::new(test))), Scalar::null(PgType::BOOL)),
        ];
        Ok(Scalar::Case { whens, otherwise: Box::new(Scalar::bool(all)), ty: PgType::BOOL })
    }

    /// `ROW(…) IS NULL`: all fields are; `IS NOT NULL`: none is.
    pub(crate) fn row_null_test(
        &mut self,
        fields: &[&Expr],
        negated: bool,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let mut tests = Vec::with_capacity(fields.len());
        for field in fields {
            tests.push(self.null_test(field, negated, cx)?);
        }
        Ok(Scalar::And(tests))
    }

    /// `row IS DISTINCT FROM row`.
    pub(crate) fn row_distinct(
        &mut self,
        left: (&Expr, Vec<&Expr>),
        right: Vec<&Expr>,
        negated: bool,
        cx: &mut Cx<'_, '_>,
    ) -> Result<Scalar, SqlError> {
        let (whole, left) = left;
        if left.len() != right.len() {
            return Err(SqlError::syntax("unequal number of entries in row expressions")
                .at(self.pos_behind(whole.span())));
        }
        let mut parts = Vec::with_capacity(left.len());
        for (l, r) in left.into_iter().zip(right) {
            parts.push(self.distinct_from(l, r, false, cx)?);
        }
        Ok(negate(Scalar::Or(parts), negated))
    }
}

/// A condition of which only true counts: of a `row IN (query)` in it the first question is left.
pub(crate) fn condition(scalar: Scalar) -> Scalar {
    match scalar {
        Scalar::And(args) => Scalar::And(args.into_iter().map(condition).collect()),
        Scalar::Not(arg) => match *arg {
            Scalar::Case { whens, otherwise, .. } if is_question(&whens, &otherwise, true) => {
                let none = |(test, _): (Scalar, Scalar)| Scalar::Not(Box::new(test));
                Scalar::And(whens.into_iter().map(none).collect())
            }
            arg => Scalar::Not(Box::new(arg)),
        },
        Scalar::Case { mut whens, otherwise, .. } if is_question(&whens, &otherwise, true) => {
            whens.swap_remove(0).0
        }
        Scalar::Case { whens, otherwise, .. } if is_question(&whens, &otherwise, false) => {
            let none = |(test, _): (Scalar, Scalar)| Scalar::Not(Box::new(test));
            Scalar::And(whens.into_iter().map(none).collect())
        }
        other => other,
    }
}

/// Whether it is what [`Binder::row_quantified`] makes.
fn is_question(whens: &[(Scalar, Scalar)], otherwise: &Scalar, any: bool) -> bool {
    let is = |scalar: &Scalar, value: Datum| matches!(scalar, Scalar::Literal(d, _) if *d == value);
    let exists =
        |scalar: &Scalar| matches!(scalar, Scalar::Subquery(s) if s.kind == SubqueryKind::Exists);
    matches!(whens, [(first, yes), (second, unknown)]
        if exists(first) && exists(second)
            && is(yes, Datum::Bool(any)) && is(unknown, Datum::Null)
            && is(otherwise, Datum::Bool(!any)))
}
