//! Queries: set operations, VALUES, and ORDER BY and LIMIT around them.

use sqlparser::ast::{self, OrderByExpr, OrderByKind, SetExpr, SetQuantifier, Spanned};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::resolve::Context;
use super::scope::{Clause, Scope};
use crate::error::{SqlError, SqlState};
use crate::ir::{OutputColumn, Query, Rel, RelColumn, Scalar, SetOp};

/// What surrounds the body of a query.
pub(crate) struct Around<'q> {
    pub(crate) order_by: &'q [OrderByExpr],
    pub(crate) locks: &'q [ast::LockClause],
    /// LIMIT and OFFSET, or FETCH.
    pub(crate) limit: Option<&'q ast::LimitClause>,
    pub(crate) fetch: Option<&'q ast::Fetch>,
    /// Whether literals still unknown at the end become text. False where an INSERT or a set
    /// operation around it has yet to say what they are.
    pub(crate) settle: bool,
}

impl Around<'_> {
    pub(super) fn inside_set_operation() -> Self {
        Around { order_by: &[], locks: &[], limit: None, fetch: None, settle: false }
    }
}

impl Binder<'_> {
    /// A query; what is unknown at its end becomes text.
    pub(crate) fn query(
        &mut self,
        query: &ast::Query,
        parent: Option<&Scope<'_>>,
    ) -> Result<Query, SqlError> {
        self.query_as(query, parent, true)
    }

    /// A query whose unknown columns may be left so.
    pub(crate) fn query_as(
        &mut self,
        query: &ast::Query,
        parent: Option<&Scope<'_>>,
        settle: bool,
    ) -> Result<Query, SqlError> {
        self.deeper(|binder| binder.query_here(query, parent, settle))
    }

    fn query_here(
        &mut self,
        query: &ast::Query,
        parent: Option<&Scope<'_>>,
        settle: bool,
    ) -> Result<Query, SqlError> {
        let ast::Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        if for_clause.is_some() || settings.is_some() || format_clause.is_some() {
            return Err(SqlError::unsupported("FOR XML, FOR JSON, SETTINGS or FORMAT"));
        }
        if !pipe_operators.is_empty() {
            return Err(SqlError::unsupported("the pipe operator |>"));
        }
        let top = std::mem::take(&mut self.at_top);
        let mut scope = Scope::inside(parent);
        if let Some(with) = with {
            self.with(with, &mut scope, query, top)?;
        }
        let order_by = match order_by {
            None => &[][..],
            Some(ast::OrderBy { kind: OrderByKind::Expressions(keys), interpolate: None }) => keys,
            Some(_) => return Err(SqlError::unsupported("ORDER BY ALL or INTERPOLATE")),
        };
        let (limit, fetch) = (limit_clause.as_ref(), fetch.as_ref());
        let around = Around { order_by, locks, limit, fetch, settle };
        let bound = self.body(body, &scope, &around)?;
        self.check_unused(&scope)?;
        Ok(bound)
    }

    pub(super) fn body(
        &mut self,
        body: &SetExpr,
        scope: &Scope<'_>,
        around: &Around<'_>,
    ) -> Result<Query, SqlError> {
        let query = match body {
            SetExpr::Select(select) => return self.select(select, scope, around),
            SetExpr::Query(query) => {
                let inner = self.query_as(query, Some(scope), around.settle)?;
                if !around.locks.is_empty() {
                    return Err(SqlError::unsupported("FOR UPDATE around a parenthesized query"));
                }
                inner
            }
            SetExpr::Values(values) => {
                refuse_locks(around, "VALUES")?;
                self.values(values, scope, around.settle)?
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                refuse_locks(around, "UNION/INTERSECT/EXCEPT")?;
                let all = match set_quantifier {
                    SetQuantifier::All => true,
                    SetQuantifier::None | SetQuantifier::Distinct => false,
                    other => return Err(SqlError::unsupported(format!("{op} {other}"))),
                };
                self.set_operation(left, *op, all, right, scope, around.settle)?
            }
            SetExpr::Table(table) => {
                refuse_locks(around, "TABLE")?;
                self.table_command(table, scope)?
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                return Err(SqlError::unsupported("a data-modifying statement inside a query"));
            }
        };
        let query = self.order_output(query, around.order_by)?;
        self.limited(query, around, scope)
    }

    fn set_operation(
        &mut self,
        left: &SetExpr,
        op: ast::SetOperator,
        all: bool,
        right: &SetExpr,
        scope: &Scope<'_>,
        settle: bool,
    ) -> Result<Query, SqlError> {
        let inside = Around::inside_set_operation();
        let mut l = self.deeper(|b| b.body(left, scope, &inside))?;
        let mut r = self.deeper(|b| b.body(right, scope, &inside))?;
        let (op, what) = match op {
            ast::SetOperator::Union => (SetOp::Union, "UNION"),
            ast::SetOperator::Intersect => (SetOp::Intersect, "INTERSECT"),
            ast::SetOperator::Except | ast::SetOperator::Minus => (SetOp::Except, "EXCEPT"),
        };
        if l.columns.len() != r.columns.len() {
            return Err(SqlError::syntax(format!(
                "each {what} query must have the same number of columns"
            ))
            .at(self.pos(first_item(right))));
        }
        let mut columns = Vec::with_capacity(l.columns.len());
        let mut coerced = false;
        for i in 0..l.columns.len() {
            let types = [(l.columns[i].ty, Span::empty()), (r.columns[i].ty, nth_item(right, i))];
            let both_unknown = types.iter().all(|(ty, _)| ty.is_unknown());
            let ty =
                if both_unknown && !settle { types[0].0 } else { self.common_type(&types, what)? };
            coerced |= types.iter().any(|(from, _)| !from.is_unknown() && !from.same(ty));
            self.retype_output(&mut l, i, ty, what)?;
            self.retype_output(&mut r, i, ty, what)?;
            let name = l.columns[i].name.clone();
            columns.push(self.fresh(name, ty));
        }
        if coerced {
            self.read.keep(columns.iter().map(|column| column.id));
        }
        let output = columns.iter().map(output_of).collect();
        let rel = Rel::SetOp { op, all, left: Box::new(l.rel), right: Box::new(r.rel), columns };
        Ok(Query { rel, columns: output, locks: Vec::new() })
    }

    /// Converts an output column of a query, literals in place.
    pub(crate) fn retype_output(
        &mut self,
        query: &mut Query,
        index: usize,
        ty: pgtypes::PgType,
        what: &str,
    ) -> Result<(), SqlError> {
        let from = query.columns[index].ty;
        if from.same(ty) && (ty.typmod < 0 || ty.typmod == from.typmod) {
            return Ok(());
        }
        if from.is_unknown() {
            self.retype_unknown(&mut query.rel, query.columns[index].id, ty)?;
            query.columns[index].ty = ty;
            return Ok(());
        }
        let mut exprs = Vec::with_capacity(query.columns.len());
        for (i, column) in query.columns.iter_mut().enumerate() {
            let old = Scalar::Column(column.id, column.ty);
            if i == index {
                let scalar = self
                    .try_coerce(old, ty, Context::Implicit, Span::empty())?
                    .ok_or_else(|| {
                        SqlError::new(
                            SqlState::CANNOT_COERCE,
                            format!(
                                "{what} could not convert type {} to {}",
                                from.sql_name(),
                                ty.sql_name()
                            ),
                        )
                    })?;
                let made = self.fresh(column.name.clone(), ty);
                column.id = made.id;
                column.ty = ty;
                exprs.push((made, scalar));
            } else {
                let kept = self.fresh(column.name.clone(), column.ty);
                column.id = kept.id;
                exprs.push((kept, old));
            }
        }
        let input = Box::new(std::mem::replace(&mut query.rel, Rel::OneRow));
        query.rel = Rel::Project { input, exprs };
        Ok(())
    }

    /// `VALUES (…), (…)`.
    fn values(
        &mut self,
        values: &ast::Values,
        scope: &Scope<'_>,
        settle: bool,
    ) -> Result<Query, SqlError> {
        let ast::Values { explicit_row: _, value_keyword: _, rows } = values;
        let width = rows.first().map_or(0, |row| row.content.len());
        let mut bound: Vec<Vec<Scalar>> = Vec::with_capacity(rows.len());
        for row in rows {
            if row.content.len() != width {
                return Err(SqlError::syntax("VALUES lists must all be the same length")
                    .at(row.content.first().and_then(|expr| self.pos(expr.span()))));
            }
            let mut scalars = Vec::with_capacity(width);
            for expr in &row.content {
                scalars.push(self.expr_in(expr, scope, Clause::Values)?);
            }
            bound.push(scalars);
        }
        let mut columns = Vec::with_capacity(width);
        for i in 0..width {
            let types: Vec<_> = bound
                .iter()
                .zip(rows)
                .map(|(row, exprs)| (row[i].ty(), exprs.content[i].span()))
                .collect();
            let unknown = types.iter().all(|(ty, _)| ty.is_unknown());
            let ty = if unknown && !settle {
                pgtypes::PgType::UNKNOWN
            } else {
                self.common_type(&types, "VALUES")?
            };
            for (row, exprs) in bound.iter_mut().zip(rows) {
                let scalar = std::mem::replace(&mut row[i], Scalar::bool(false));
                row[i] = match self.try_coerce(
                    scalar,
                    ty,
                    Context::Implicit,
                    exprs.content[i].span(),
                )? {
                    Some(scalar) => scalar,
                    None => return Err(SqlError::internal("VALUES without a common type")),
                };
            }
            columns.push(self.fresh(format!("column{}", i + 1), ty));
        }
        let output = columns.iter().map(output_of).collect();
        Ok(Query { rel: Rel::Values { rows: bound, columns }, columns: output, locks: Vec::new() })
    }

    fn table_command(&mut self, table: &ast::Table, scope: &Scope<'_>) -> Result<Query, SqlError> {
        let ast::Table { table_name, schema_name } = table;
        let name = table_name.clone().ok_or_else(|| SqlError::syntax("TABLE without a name"))?;
        let item =
            self.named_relation(schema_name.as_deref(), &name, None, Span::empty(), scope)?;
        let columns = item
            .columns
            .iter()
            .map(|c| OutputColumn { origin: c.origin, ..output_of(&c.column) })
            .collect();
        Ok(Query { rel: item.rel, columns, locks: Vec::new() })
    }
}

/// Where the first expression of a query's select list stands.
fn first_item(body: &SetExpr) -> Span {
    nth_item(body, 0)
}

/// Where an expression of a query's select list stands.
pub(crate) fn nth_item(body: &SetExpr, index: usize) -> Span {
    match body {
        SetExpr::Select(select) => select.projection.get(index).map_or(Span::empty(), |i| i.span()),
        SetExpr::Query(query) => nth_item(&query.body, index),
        SetExpr::SetOperation { left, .. } => nth_item(left, index),
        SetExpr::Values(values) => values
            .rows
            .first()
            .and_then(|row| row.content.get(index))
            .map_or(Span::empty(), Spanned::span),
        _ => Span::empty(),
    }
}

fn refuse_locks(around: &Around<'_>, what: &str) -> Result<(), SqlError> {
    if around.locks.is_empty() {
        return Ok(());
    }
    Err(SqlError::new(
        SqlState::FEATURE_NOT_SUPPORTED,
        format!("{} is not allowed with {what}", super::select::lock_name(around.locks)),
    ))
}

/// A result column that is just the column of the relation.
pub(crate) fn output_of(column: &RelColumn) -> OutputColumn {
    OutputColumn { id: column.id, name: column.name.clone(), ty: column.ty, origin: None }
}
