//! INSERT and ON CONFLICT.

use std::sync::Arc;

use catalog::Privileges;
use sqlparser::ast::{self, Expr, OnInsert, SetExpr, Spanned, TableObject};
use sqlparser::tokenizer::Span;

use super::conflict_target;
use super::dml::{is_default, target_item};
use super::resolve::Context;
use super::rewrite::{Overriding, take_overriding};
use super::scope::{Clause, Scope, ScopeColumn, ScopeTable};
use super::{Binder, fold, name_parts};
use crate::error::{SqlError, SqlState};
use crate::ir::{
    ConflictTarget, ConflictUpdate, Insert, InsertSource, OnConflict, Query, Scalar, Scan,
};
use crate::privilege::Accessed;

/// 428C9: only DEFAULT may be given to the column.
pub(super) fn not_default(what: &str, column: &catalog::Column) -> SqlError {
    SqlError::new(SqlState("428C9"), format!("cannot {what} column \"{}\"", column.name))
}

/// Why, of an identity column.
pub(super) fn identity_always(column: &catalog::Column) -> String {
    format!("Column \"{}\" is an identity column defined as GENERATED ALWAYS.", column.name)
}

impl Binder<'_> {
    pub(crate) fn insert(
        &mut self,
        insert: &ast::Insert,
        outer: Option<&Scope<'_>>,
    ) -> Result<Insert, SqlError> {
        let ast::Insert {
            insert_token: _,
            optimizer_hints: _,
            or,
            ignore,
            into: _,
            table,
            table_alias,
            columns,
            overwrite,
            source,
            assignments,
            partitioned,
            after_columns,
            has_table_keyword,
            on,
            returning,
            output,
            replace_into,
            priority,
            insert_alias,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        let foreign = or.is_some()
            || *ignore
            || *overwrite
            || !assignments.is_empty()
            || partitioned.is_some()
            || !after_columns.is_empty()
            || *has_table_keyword
            || output.is_some()
            || *replace_into
            || priority.is_some()
            || insert_alias.is_some()
            || settings.is_some()
            || format_clause.is_some()
            || multi_table_insert_type.is_some()
            || !multi_table_into_clauses.is_empty()
            || !multi_table_when_clauses.is_empty()
            || multi_table_else_clause.is_some();
        if foreign {
            return Err(SqlError::unsupported("a clause of INSERT from another dialect"));
        }
        let TableObject::TableName(name) = table else {
            return Err(SqlError::unsupported("INSERT into a function or query"));
        };
        let (name, overriding) = take_overriding(name);
        let table = self.stored_table(&name)?;
        self.access(Accessed::Stored(table.id), Privileges::INSERT);
        let alias = table_alias.as_ref().map(|alias| fold(&alias.alias));
        let target = self.scan(&table, alias, false);
        let names: Vec<Span> = columns.iter().map(Spanned::span).collect();
        let mut columns = self.insert_columns(columns, &table)?;
        let mut source = match source {
            None => InsertSource::Default,
            Some(query) => self.insert_source(query, &table, &columns, &names, outer)?,
        };
        match &source {
            InsertSource::Default => columns.clear(),
            InsertSource::Values(rows) => columns.truncate(rows.first().map_or(0, Vec::len)),
            InsertSource::Query(query) => columns.truncate(query.columns.len()),
        }
        self.check_given(&table, &columns, &mut source, overriding)?;
        let mut scope = Scope::inside(outer);
        scope.add(&target_item(&target, None));
        let on_conflict = match on {
            None => None,
            Some(OnInsert::OnConflict(clause)) => Some(self.on_conflict(clause, &target, &scope)?),
            Some(other) => return Err(SqlError::unsupported(format!("{other}"))),
        };
        let returning = self.returning(returning.as_deref(), &scope)?;
        let updates = matches!(&on_conflict, Some(OnConflict { update: Some(_), .. }));
        if updates {
            self.access(Accessed::Stored(table.id), Privileges::UPDATE);
        }
        let arbiter = matches!(on, Some(OnInsert::OnConflict(c)) if c.conflict_target.is_some());
        self.access_read(&target, arbiter || returning.is_some());
        Ok(Insert { table, columns, source, on_conflict, returning, target })
    }

    /// Values for generated and identity columns: refused, taken, or passed over.
    fn check_given(
        &self,
        table: &catalog::Table,
        columns: &[usize],
        source: &mut InsertSource,
        overriding: Option<Overriding>,
    ) -> Result<(), SqlError> {
        for (n, &position) in columns.iter().enumerate() {
            let column = &table.columns[position];
            let is_default = |source: &InsertSource| match source {
                InsertSource::Values(rows) => rows.iter().all(|row| row[n].is_none()),
                _ => false,
            };
            if column.generated.is_some() && !is_default(source) {
                return Err(not_default("insert a non-DEFAULT value into", column)
                    .detail(format!("Column \"{}\" is a generated column.", column.name)));
            }
            if column.identity.is_none() {
                continue;
            }
            if overriding == Some(Overriding::User) {
                match source {
                    InsertSource::Values(rows) => rows.iter_mut().for_each(|row| row[n] = None),
                    _ => {
                        return Err(SqlError::unsupported(
                            "OVERRIDING USER VALUE with a query that gives the identity column",
                        ));
                    }
                }
                continue;
            }
            let always = column.identity == Some(catalog::Identity::Always);
            if always && overriding.is_none() && !is_default(source) {
                return Err(not_default("insert a non-DEFAULT value into", column)
                    .detail(identity_always(column))
                    .hint("Use OVERRIDING SYSTEM VALUE to override."));
            }
        }
        Ok(())
    }

    /// Indexes of the columns given, or of all.
    fn insert_columns(
        &mut self,
        columns: &[ast::ObjectName],
        table: &catalog::Table,
    ) -> Result<Vec<usize>, SqlError> {
        if columns.is_empty() {
            return Ok((0..table.columns.len()).collect());
        }
        let mut result = Vec::with_capacity(columns.len());
        for name in columns {
            let parts = name_parts(name)?;
            let [column] = parts.as_slice() else {
                return Err(SqlError::unsupported("a field or element as a column of INSERT")
                    .at(self.pos(name.span())));
            };
            let index = self.column_of(table, column, name.span())?;
            if result.contains(&index) {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_COLUMN,
                    format!("column \"{column}\" specified more than once"),
                )
                .at(self.pos(name.span())));
            }
            result.push(index);
        }
        Ok(result)
    }

    fn insert_source(
        &mut self,
        query: &ast::Query,
        table: &catalog::Table,
        columns: &[usize],
        names: &[Span],
        outer: Option<&Scope<'_>>,
    ) -> Result<InsertSource, SqlError> {
        let plain = query.with.is_none()
            && query.order_by.is_none()
            && query.limit_clause.is_none()
            && query.fetch.is_none()
            && query.locks.is_empty();
        if let (SetExpr::Values(values), true) = (&*query.body, plain) {
            return self.insert_values(values, table, columns, names, outer);
        }
        let mut bound = self.query_as(query, outer, false)?;
        let spans: Vec<Span> =
            (0..bound.columns.len()).map(|i| super::query::nth_item(&query.body, i)).collect();
        self.check_width(&spans, columns.len(), names)?;
        self.assign_columns(&mut bound, table, columns)?;
        Ok(InsertSource::Query(bound))
    }

    fn insert_values(
        &mut self,
        values: &ast::Values,
        table: &catalog::Table,
        columns: &[usize],
        names: &[Span],
        outer: Option<&Scope<'_>>,
    ) -> Result<InsertSource, SqlError> {
        let ast::Values { explicit_row: _, value_keyword: _, rows } = values;
        let scope = Scope::inside(outer);
        let width = rows.first().map_or(0, |row| row.content.len());
        let mut bound = Vec::with_capacity(rows.len());
        for row in rows {
            let row = &row.content;
            let span = row.first().map_or(Span::empty(), Spanned::span);
            if row.len() != width {
                return Err(
                    SqlError::syntax("VALUES lists must all be the same length").at(self.pos(span))
                );
            }
            let spans: Vec<Span> = row.iter().map(Spanned::span).collect();
            self.check_width(&spans, columns.len(), names)?;
            let mut scalars = Vec::with_capacity(row.len());
            for (expr, &column) in row.iter().zip(columns) {
                scalars.push(self.insert_value(expr, &table.columns[column], &scope)?);
            }
            bound.push(scalars);
        }
        Ok(InsertSource::Values(bound))
    }

    fn insert_value(
        &mut self,
        expr: &Expr,
        column: &catalog::Column,
        scope: &Scope<'_>,
    ) -> Result<Option<Scalar>, SqlError> {
        if is_default(expr) {
            return Ok(None);
        }
        let scalar = self.expr_in(expr, scope, Clause::Values)?;
        Ok(Some(self.assign(scalar, column.ty, &column.name, expr)?))
    }

    /// As many values as columns; fewer only where no columns were named.
    fn check_width(&self, given: &[Span], wanted: usize, names: &[Span]) -> Result<(), SqlError> {
        if let Some(extra) = given.get(wanted) {
            return Err(SqlError::syntax("INSERT has more expressions than target columns")
                .at(self.pos(*extra)));
        }
        if let Some(missing) = names.get(given.len()) {
            return Err(SqlError::syntax("INSERT has more target columns than expressions")
                .at(self.pos(*missing)));
        }
        Ok(())
    }

    /// Converts the result of a query to the types of the columns it goes into.
    fn assign_columns(
        &mut self,
        query: &mut Query,
        table: &catalog::Table,
        columns: &[usize],
    ) -> Result<(), SqlError> {
        let mut exprs = Vec::with_capacity(query.columns.len());
        let mut changed = false;
        for (i, &target) in columns.iter().enumerate().take(query.columns.len()) {
            let meta = &table.columns[target];
            if query.columns[i].ty.is_unknown() {
                let id = query.columns[i].id;
                self.retype_unknown(&mut query.rel, id, meta.ty.base())?;
                query.columns[i].ty = meta.ty.base();
            }
            let column = &query.columns[i];
            let from = column.ty;
            let value = Scalar::Column(column.id, column.ty);
            let name = Arc::clone(&column.name);
            let scalar = self
                .try_coerce(value.clone(), meta.ty, Context::Assignment, Span::empty())?
                .ok_or_else(|| {
                    SqlError::new(
                        SqlState::DATATYPE_MISMATCH,
                        format!(
                            "column \"{}\" is of type {} but expression is of type {}",
                            meta.name,
                            meta.ty.sql_name(),
                            from.sql_name()
                        ),
                    )
                    .hint("You will need to rewrite or cast the expression.")
                })?;
            changed |= scalar != value;
            exprs.push((self.fresh(name, meta.ty), scalar));
        }
        if changed {
            for (column, (made, _)) in query.columns.iter_mut().zip(&exprs) {
                column.id = made.id;
                column.ty = made.ty;
            }
            let rel = std::mem::replace(&mut query.rel, crate::ir::Rel::OneRow);
            query.rel = crate::ir::Rel::Project { input: Box::new(rel), exprs };
        }
        Ok(())
    }

    fn on_conflict(
        &mut self,
        clause: &ast::OnConflict,
        target: &Scan,
        scope: &Scope<'_>,
    ) -> Result<OnConflict, SqlError> {
        let ast::OnConflict { conflict_target, action } = clause;
        let on = match conflict_target {
            None => ConflictTarget::Any,
            Some(ast::ConflictTarget::Columns(columns)) => {
                let mut indexes = Vec::with_capacity(columns.len());
                for column in columns {
                    indexes.push(self.column_of(&target.table, &fold(column), column.span)?);
                }
                conflict_target::arbiters(target, &indexes, None)?
            }
            Some(ast::ConflictTarget::OnConstraint(name))
                if conflict_target::of(name).is_some() =>
            {
                self.inferred(name, target, scope)?
            }
            Some(ast::ConflictTarget::OnConstraint(name)) => {
                let name = name_parts(name)?.pop().unwrap_or_default();
                let table = &target.table;
                let known = std::iter::once(&table.primary)
                    .chain(&table.indexes)
                    .any(|index| index.name == name && index.unique);
                if !known {
                    return Err(SqlError::new(
                        SqlState::UNDEFINED_OBJECT,
                        format!(
                            "constraint \"{name}\" for table \"{}\" does not exist",
                            table.name
                        ),
                    ));
                }
                ConflictTarget::Constraint(Arc::from(name))
            }
        };
        let update = match action {
            ast::OnConflictAction::DoNothing => None,
            ast::OnConflictAction::DoUpdate(update) => {
                if on == ConflictTarget::Any {
                    return Err(SqlError::syntax(
                        "ON CONFLICT DO UPDATE requires inference specification or constraint name",
                    )
                    .hint("For example, ON CONFLICT (column_name)."));
                }
                Some(self.conflict_update(update, target, scope)?)
            }
        };
        Ok(OnConflict { target: on, update })
    }

    fn conflict_update(
        &mut self,
        update: &ast::DoUpdate,
        target: &Scan,
        scope: &Scope<'_>,
    ) -> Result<ConflictUpdate, SqlError> {
        let ast::DoUpdate { assignments, selection } = update;
        let excluded: Vec<_> = target
            .table
            .columns
            .iter()
            .map(|column| self.fresh(column.name.as_str(), column.ty))
            .collect();
        let columns: Vec<ScopeColumn> = excluded
            .iter()
            .map(|column| ScopeColumn { column: column.clone(), origin: None })
            .collect();
        // Bare names could mean either row: they are ambiguous, as in PostgreSQL.
        let mut both = Scope { parent: scope.parent, ..scope.clone() };
        both.columns.extend(columns.iter().cloned());
        both.tables.push(ScopeTable {
            alias: Arc::from("excluded"),
            name: Arc::from("excluded"),
            schema: None,
            columns,
            hidden: Vec::new(),
            primary_key: Vec::new(),
            is_value: false,
        });
        let assignments = self.assignments(assignments, target, &both)?;
        let filter = match selection {
            None => None,
            Some(expr) => Some(self.condition_in(expr, &both, Clause::Where, "WHERE")?),
        };
        Ok(ConflictUpdate { excluded, assignments, filter })
    }
}
