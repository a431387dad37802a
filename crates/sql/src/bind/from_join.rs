//! Joins: kinds, ON, USING, NATURAL.
//!
//! USING makes one column of two. It is the left one (the right one for RIGHT, whichever is not
//! NULL for FULL), comes first in `*`, and is what the bare name means; both remain reachable
//! through their tables.

use sqlparser::ast::{
    self, Join as AstJoin, JoinConstraint, JoinOperator, Spanned, TableWithJoins,
};
use sqlparser::tokenizer::Span;

use super::from::refuse_duplicates;
use super::scope::{Clause, FromItem, Scope, ScopeColumn};
use super::{Binder, name_parts};
use crate::error::{SqlError, SqlState};
use crate::ir::{Join, JoinKind, Rel, Scalar};

impl Binder<'_> {
    pub(crate) fn table_with_joins(
        &mut self,
        table: &TableWithJoins,
        scope: &Scope<'_>,
    ) -> Result<FromItem, SqlError> {
        let TableWithJoins { relation, joins } = table;
        let mut item = self.deeper(|b| b.table_factor(relation, scope))?;
        for join in joins {
            item = self.join(item, join, scope)?;
        }
        Ok(item)
    }

    fn join(
        &mut self,
        left: FromItem,
        join: &AstJoin,
        scope: &Scope<'_>,
    ) -> Result<FromItem, SqlError> {
        let AstJoin { relation, global, join_operator } = join;
        if *global {
            return Err(SqlError::unsupported("GLOBAL JOIN"));
        }
        let (kind, constraint) = match join_operator {
            JoinOperator::Join(c) | JoinOperator::Inner(c) => (JoinKind::Inner, c),
            JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (JoinKind::Left, c),
            JoinOperator::Right(c) | JoinOperator::RightOuter(c) => (JoinKind::Right, c),
            JoinOperator::FullOuter(c) => (JoinKind::Full, c),
            JoinOperator::CrossJoin(c @ JoinConstraint::None) => (JoinKind::Inner, c),
            other => return Err(SqlError::unsupported(format!("{other:?}"))),
        };
        let cross = matches!(join_operator, JoinOperator::CrossJoin(_));
        if matches!(constraint, JoinConstraint::None) && !cross {
            return Err(
                SqlError::syntax("a JOIN needs ON, USING or NATURAL").at(self.pos(relation.span()))
            );
        }
        // The right side sees the left one, if it is LATERAL.
        let mut around = scope.clone();
        around.add(&left);
        let right = self.deeper(|b| b.table_factor(relation, &around))?;
        let mut seen = Scope::default();
        seen.add(&left);
        refuse_duplicates(&seen, &right)?;
        let lateral = right.rel.mentions(&left.rel);
        if lateral && matches!(kind, JoinKind::Right | JoinKind::Full) {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                "invalid reference to FROM-clause entry: the combining JOIN type must be INNER or \
                 LEFT for a LATERAL reference",
            )
            .at(self.pos(relation.span())));
        }
        match constraint {
            JoinConstraint::None => Ok(joined(left, right, kind, None, lateral)),
            JoinConstraint::On(condition) => {
                let mut inner = Scope::inside(scope.parent);
                inner.add(&left);
                inner.add(&right);
                let on = self.condition_in(condition, &inner, Clause::JoinOn, "JOIN/ON")?;
                Ok(joined(left, right, kind, Some(on), lateral))
            }
            JoinConstraint::Using(names) => {
                let mut columns = Vec::with_capacity(names.len());
                for name in names {
                    let parts = name_parts(name)?;
                    let [column] = parts.as_slice() else {
                        return Err(SqlError::syntax("a column in USING has no qualifier"));
                    };
                    columns.push((column.clone(), name.span()));
                }
                self.using(left, right, kind, &columns, lateral)
            }
            JoinConstraint::Natural => {
                let shared: Vec<(String, Span)> = left
                    .columns
                    .iter()
                    .filter(|l| right.columns.iter().any(|r| r.column.name == l.column.name))
                    .map(|l| (l.column.name.to_string(), Span::empty()))
                    .collect();
                if shared.is_empty() {
                    return Ok(joined(left, right, kind, None, lateral));
                }
                self.using(left, right, kind, &shared, lateral)
            }
        }
    }

    fn using(
        &mut self,
        left: FromItem,
        right: FromItem,
        kind: JoinKind,
        names: &[(String, Span)],
        lateral: bool,
    ) -> Result<FromItem, SqlError> {
        let mut equal = Vec::with_capacity(names.len());
        let mut merged: Vec<ScopeColumn> = Vec::with_capacity(names.len());
        let mut computed = Vec::new();
        for (name, span) in names {
            let l = self.using_column(&left.columns, name, "left", *span)?;
            let r = self.using_column(&right.columns, name, "right", *span)?;
            let left_value = Scalar::Column(l.column.id, l.column.ty);
            let right_value = Scalar::Column(r.column.id, r.column.ty);
            self.common_type(&[(l.column.ty, *span), (r.column.ty, *span)], "JOIN/USING")?;
            let pair = vec![(left_value.clone(), *span), (right_value.clone(), *span)];
            equal.push(self.operator("=", pair, *span)?);
            let same = l.column.ty.same(r.column.ty);
            match kind {
                JoinKind::Inner | JoinKind::Left if same => merged.push(l),
                JoinKind::Right if same => merged.push(r),
                _ => {
                    let both = vec![(left_value, *span), (right_value, *span)];
                    let (mut both, ty) = self.unify(both, "JOIN/USING")?;
                    let scalar = match kind {
                        JoinKind::Inner | JoinKind::Left => both.swap_remove(0),
                        JoinKind::Right => both.swap_remove(1),
                        JoinKind::Full => Scalar::Coalesce(both, ty),
                    };
                    let column = self.fresh(name.as_str(), ty);
                    merged.push(ScopeColumn { column: column.clone(), origin: None });
                    computed.push((column, scalar));
                }
            }
        }
        let is_merged = |c: &ScopeColumn| names.iter().any(|(name, _)| *c.column.name == **name);
        let mut columns = merged;
        let rest = left.columns.iter().chain(&right.columns).filter(|c| !is_merged(c)).cloned();
        columns.extend(rest);
        let on = if equal.len() == 1 { equal.pop() } else { Some(Scalar::And(equal)) };
        let mut item = joined(left, right, kind, on, lateral);
        item.columns = columns;
        if !computed.is_empty() {
            let mut exprs: Vec<_> = item
                .rel
                .columns()
                .into_iter()
                .map(|column| {
                    let scalar = Scalar::Column(column.id, column.ty);
                    (column, scalar)
                })
                .collect();
            exprs.extend(computed);
            item.rel = Rel::Project { input: Box::new(item.rel), exprs };
        }
        Ok(item)
    }

    fn using_column(
        &self,
        columns: &[ScopeColumn],
        name: &str,
        side: &str,
        span: Span,
    ) -> Result<ScopeColumn, SqlError> {
        let mut found = columns.iter().filter(|column| *column.column.name == *name);
        match (found.next(), found.next()) {
            (Some(column), None) => Ok(column.clone()),
            (None, _) => Err(SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!(
                    "column \"{name}\" specified in USING clause does not exist in {side} table"
                ),
            )),
            (Some(_), Some(_)) => Err(SqlError::new(
                SqlState::AMBIGUOUS_COLUMN,
                format!("common column name \"{name}\" appears more than once in {side} table"),
            )
            .at(self.pos(span))),
        }
    }

    /// A bare list of tables for UPDATE … FROM and DELETE … USING.
    pub(crate) fn extra_tables(
        &mut self,
        tables: &[ast::TableWithJoins],
        scope: &mut Scope<'_>,
    ) -> Result<Rel, SqlError> {
        // They do not see the target laterally, only conditions do.
        let mut own = Scope::inside(scope.parent);
        let rel = self.tables_of_from(tables, &mut own)?;
        let item = FromItem { rel: Rel::OneRow, tables: own.tables, columns: own.columns };
        refuse_duplicates(scope, &item)?;
        scope.add(&item);
        Ok(rel)
    }
}

fn joined(
    left: FromItem,
    right: FromItem,
    kind: JoinKind,
    on: Option<Scalar>,
    lateral: bool,
) -> FromItem {
    let mut tables = left.tables;
    tables.extend(right.tables);
    let mut columns = left.columns;
    columns.extend(right.columns);
    let join = Join { kind, left: left.rel, right: right.rel, on, lateral };
    FromItem { rel: Rel::Join(Box::new(join)), tables, columns }
}
