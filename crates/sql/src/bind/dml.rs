//! UPDATE and DELETE, assignments, RETURNING.

use std::sync::Arc;

use catalog::Privileges;
use pgtypes::registry;
use sqlparser::ast::{
    self, AssignmentTarget, Expr, FromTable, SelectItem, Spanned, TableFactor, TableWithJoins,
    UpdateTableFromKind,
};
use sqlparser::tokenizer::Span;

use super::expr_forms::unnested;
use super::rows::row_of;
use super::scope::{Clause, Collected, FromItem, Scope, ScopeColumn};
use super::{Binder, element_target, fold, name_parts, relation_name};
use crate::error::{SqlError, SqlState};
use crate::ir::{Assignment, Delete, OutputColumn, Rel, Relation, Returning, Scalar, Scan, Update};
use crate::privilege::Accessed;

impl Binder<'_> {
    pub(crate) fn update(
        &mut self,
        update: &ast::Update,
        outer: Option<&Scope<'_>>,
    ) -> Result<Update, SqlError> {
        let ast::Update {
            update_token: _,
            optimizer_hints: _,
            table,
            assignments,
            from,
            selection,
            returning,
            output,
            or,
            order_by,
            limit,
        } = update;
        if output.is_some() || or.is_some() {
            return Err(SqlError::unsupported("OUTPUT or OR in UPDATE"));
        }
        if !order_by.is_empty() || limit.is_some() {
            return Err(SqlError::syntax("syntax error: UPDATE has no ORDER BY or LIMIT"));
        }
        let mut scope = Scope::inside(outer);
        let target = self.target(table, Privileges::UPDATE, &mut scope)?;
        let from = match from {
            None => None,
            Some(UpdateTableFromKind::AfterSet(tables)) => {
                Some(self.extra_tables(tables, &mut scope)?)
            }
            Some(UpdateTableFromKind::BeforeSet(_)) => {
                return Err(SqlError::syntax("syntax error at or near \"FROM\""));
            }
        };
        let assignments = self.assignments(assignments, &target, &scope)?;
        let filter = self.where_clause(selection.as_ref(), &scope)?;
        let returning = self.returning(returning.as_deref(), &scope)?;
        self.access_read(&target, returning.is_some());
        Ok(Update { target, from, filter, assignments, returning })
    }

    pub(crate) fn delete(
        &mut self,
        delete: &ast::Delete,
        outer: Option<&Scope<'_>>,
    ) -> Result<Delete, SqlError> {
        let ast::Delete {
            delete_token: _,
            optimizer_hints: _,
            tables,
            from,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
        } = delete;
        if !tables.is_empty() || output.is_some() {
            return Err(SqlError::unsupported("DELETE from several tables, or OUTPUT"));
        }
        if !order_by.is_empty() || limit.is_some() {
            return Err(SqlError::syntax("syntax error: DELETE has no ORDER BY or LIMIT"));
        }
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = from;
        let [table] = from.as_slice() else {
            return Err(SqlError::syntax("syntax error at or near \",\""));
        };
        let mut scope = Scope::inside(outer);
        let target = self.target(table, Privileges::DELETE, &mut scope)?;
        let using = match using {
            None => None,
            Some(tables) => Some(self.extra_tables(tables, &mut scope)?),
        };
        let filter = self.where_clause(selection.as_ref(), &scope)?;
        let returning = self.returning(returning.as_deref(), &scope)?;
        self.access_read(&target, returning.is_some());
        Ok(Delete { target, using, filter, returning })
    }

    fn where_clause(
        &mut self,
        selection: Option<&Expr>,
        scope: &Scope<'_>,
    ) -> Result<Option<crate::ir::Scalar>, SqlError> {
        let Some(expr) = selection else { return Ok(None) };
        Ok(Some(self.condition_in(expr, scope, Clause::Where, "WHERE")?))
    }

    /// The table an UPDATE or DELETE changes.
    fn target(
        &mut self,
        table: &TableWithJoins,
        wanted: Privileges,
        scope: &mut Scope<'_>,
    ) -> Result<Scan, SqlError> {
        let TableWithJoins { relation, joins } = table;
        if !joins.is_empty() {
            return Err(SqlError::syntax("syntax error at or near \"JOIN\"")
                .at(self.pos(joins[0].relation.span())));
        }
        let TableFactor::Table {
            name,
            alias,
            args: None,
            with_hints,
            version: None,
            with_ordinality: false,
            partitions,
            json_path: None,
            sample: None,
            index_hints,
        } = relation
        else {
            return Err(
                SqlError::syntax("the target must be a table").at(self.pos(relation.span()))
            );
        };
        if !with_hints.is_empty() || !partitions.is_empty() || !index_hints.is_empty() {
            return Err(SqlError::unsupported("a hint or partition behind a table"));
        }
        if alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
            return Err(SqlError::syntax("column aliases are not allowed here"));
        }
        let table = self.stored_table(name)?;
        self.access(Accessed::Stored(table.id), wanted);
        let scan = self.scan(&table, alias.as_ref().map(|a| fold(&a.name)), true);
        let schema = alias.is_none().then(|| self.schema_of(name)).transpose()?.flatten();
        scope.add(&target_item(&scan, schema));
        Ok(scan)
    }

    fn schema_of(&self, name: &ast::ObjectName) -> Result<Option<String>, SqlError> {
        let (schema, _) = relation_name(name, &self.env.database)?;
        Ok(Some(schema.unwrap_or_else(|| "public".to_owned())))
    }

    /// A stored table, for writing.
    pub(crate) fn stored_table(
        &mut self,
        name: &ast::ObjectName,
    ) -> Result<Arc<catalog::Table>, SqlError> {
        let (schema, table) = relation_name(name, &self.env.database)?;
        match self.catalog.relation(schema.as_deref(), &table)? {
            Some(Relation::Table(table)) => Ok(table),
            Some(Relation::View(_)) => Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("cannot change view \"{table}\""),
            )
            .at(self.pos(name.span()))),
            Some(Relation::Virtual(_)) => Err(SqlError::new(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("permission denied: \"{table}\" is a system catalog"),
            )
            .at(self.pos(name.span()))),
            None => {
                self.refuse_only(schema.as_deref(), &table, name.span())?;
                let shown = schema.map_or_else(|| table.clone(), |s| format!("{s}.{table}"));
                Err(SqlError::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("relation \"{shown}\" does not exist"),
                )
                .at(self.pos(name.span())))
            }
        }
    }

    /// `SET …` over the columns of `target`.
    pub(crate) fn assignments(
        &mut self,
        assignments: &[ast::Assignment],
        target: &Scan,
        scope: &Scope<'_>,
    ) -> Result<Vec<Assignment>, SqlError> {
        let mut result: Vec<Assignment> = Vec::with_capacity(assignments.len());
        for ast::Assignment { target: to, value } in assignments {
            let pairs: Vec<(&ast::ObjectName, &Expr)> = match to {
                AssignmentTarget::ColumnName(name) => vec![(name, value)],
                AssignmentTarget::Tuple(names) => {
                    if let Expr::Subquery(query) = unnested(value) {
                        let row = self.assigned_row(names, query, target, scope)?;
                        result.extend(row);
                        continue;
                    }
                    let Some(values) = row_of(unnested(value)) else {
                        return Err(SqlError::new(
                            SqlState::FEATURE_NOT_SUPPORTED,
                            "source for a multiple-column UPDATE item must be a sub-SELECT or \
                             ROW() expression",
                        )
                        .at(self.pos(value.span())));
                    };
                    if names.len() != values.len() {
                        return Err(SqlError::syntax(
                            "number of columns does not match number of values",
                        )
                        .at(self.pos(value.span())));
                    }
                    names.iter().zip(values).collect()
                }
            };
            for (name, value) in pairs {
                if let Some(element) = element_target::of(value) {
                    self.assign_element(name, element, target, scope, &mut result)?;
                    continue;
                }
                result.push(self.assignment(name, value, target, scope)?);
            }
        }
        for (at, assignment) in result.iter().enumerate() {
            if result[..at].iter().any(|known| known.column == assignment.column) {
                return Err(SqlError::syntax(format!(
                    "multiple assignments to same column \"{}\"",
                    target.table.columns[assignment.column].name
                )));
            }
        }
        Ok(result)
    }

    /// `(a, b) = (SELECT …)`.
    fn assigned_row(
        &mut self,
        names: &[ast::ObjectName],
        query: &ast::Query,
        target: &Scan,
        scope: &Scope<'_>,
    ) -> Result<Vec<Assignment>, SqlError> {
        let span = query.span();
        let waiting = self.waiting_aggregates();
        let query = self.query(query, Some(scope))?;
        self.refuse_aggregates_of(scope, waiting, Clause::Set.name())?;
        if query.columns.len() != names.len() {
            return Err(SqlError::syntax("number of columns does not match number of values")
                .at(self.pos_parenthesis(span)));
        }
        let mut assignments = Vec::with_capacity(names.len());
        for (name, value) in names.iter().zip(self.one_row(query, span)?) {
            let column = self.assigned_column(name, target)?;
            let meta = &target.table.columns[column];
            takes_values(meta)?;
            let value = self.assign_at(value, meta.ty, &meta.name, span)?;
            assignments.push(Assignment { column, value: Some(value) });
        }
        Ok(assignments)
    }

    fn assignment(
        &mut self,
        name: &ast::ObjectName,
        value: &Expr,
        target: &Scan,
        scope: &Scope<'_>,
    ) -> Result<Assignment, SqlError> {
        let column = self.assigned_column(name, target)?;
        if is_default(value) {
            return Ok(Assignment { column, value: None });
        }
        let meta = &target.table.columns[column];
        takes_values(meta)?;
        let scalar = self.expr_in(value, scope, Clause::Set)?;
        let scalar = self.assign(scalar, meta.ty, &meta.name, value)?;
        Ok(Assignment { column, value: Some(scalar) })
    }

    /// `name[…] = value`, upon what an earlier assignment has made of the column.
    fn assign_element(
        &mut self,
        name: &ast::ObjectName,
        element: (&Expr, &Expr),
        target: &Scan,
        scope: &Scope<'_>,
        others: &mut Vec<Assignment>,
    ) -> Result<(), SqlError> {
        let column = self.assigned_column(name, target)?;
        let meta = &target.table.columns[column];
        takes_values(meta)?;
        let is_element = |assignment: &Assignment| match &assignment.value {
            Some(Scalar::Call { func, .. }) => func.name == registry::ASSIGNED,
            _ => false,
        };
        let earlier = others.iter().position(|a| a.column == column && is_element(a));
        let base = match earlier {
            Some(at) => others.remove(at).value.expect("it is an element's"),
            None => {
                let stored = target.columns.iter().find(|(_, at)| *at == column);
                let (stored, _) = stored.expect("the target has all columns");
                Scalar::Column(stored.id, stored.ty)
            }
        };
        let value = self.with_element(base, &meta.name, element, scope)?;
        others.push(Assignment { column, value: Some(value) });
        Ok(())
    }

    fn assigned_column(&self, name: &ast::ObjectName, target: &Scan) -> Result<usize, SqlError> {
        let parts = name_parts(name)?;
        let [column] = parts.as_slice() else {
            return Err(SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!(
                    "column \"{}\" of relation \"{}\" does not exist",
                    parts[0], target.table.name
                ),
            )
            .at(self.pos(name.span())));
        };
        self.column_of(&target.table, column, name.span())
    }

    /// The index of a column of a table.
    pub(crate) fn column_of(
        &self,
        table: &catalog::Table,
        name: &str,
        span: Span,
    ) -> Result<usize, SqlError> {
        table.position(name).ok_or_else(|| {
            SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
            )
            .at(self.pos(span))
        })
    }

    pub(crate) fn returning(
        &mut self,
        items: Option<&[SelectItem]>,
        scope: &Scope<'_>,
    ) -> Result<Option<Returning>, SqlError> {
        let Some(items) = items else { return Ok(None) };
        let mut collected = Collected::default();
        let items = self.select_list(items, scope, Clause::Returning, &mut collected)?;
        let mut exprs = Vec::with_capacity(items.len());
        let mut columns = Vec::with_capacity(items.len());
        for item in items {
            let scalar = self.settle_unknown(item.scalar)?;
            let column = self.fresh(item.name, scalar.ty());
            columns.push(OutputColumn {
                id: column.id,
                name: column.name,
                ty: column.ty,
                origin: item.origin,
            });
            exprs.push(scalar);
        }
        Ok(Some(Returning { exprs, columns }))
    }
}

/// 428C9 if an UPDATE may only set the column to DEFAULT.
fn takes_values(column: &catalog::Column) -> Result<(), SqlError> {
    let why = match (&column.generated, column.identity) {
        (Some(_), _) => format!("Column \"{}\" is a generated column.", column.name),
        (None, Some(catalog::Identity::Always)) => super::dml_insert::identity_always(column),
        _ => return Ok(()),
    };
    Err(SqlError::new(
        SqlState("428C9"),
        format!("column \"{}\" can only be updated to DEFAULT", column.name),
    )
    .detail(why))
}

/// The target of a write as names see it.
pub(crate) fn target_item(scan: &Scan, schema: Option<String>) -> FromItem {
    let columns: Vec<ScopeColumn> = scan
        .columns
        .iter()
        .map(|(column, at)| ScopeColumn {
            column: column.clone(),
            origin: Some((scan.table.id, *at)),
        })
        .collect();
    let table = super::scope::ScopeTable {
        alias: Arc::clone(&scan.alias),
        name: Arc::from(scan.table.name.as_str()),
        schema: schema.map(Arc::from),
        columns: columns.clone(),
        hidden: Vec::new(),
        primary_key: Vec::new(),
        is_value: false,
    };
    FromItem { rel: Rel::OneRow, tables: vec![table], columns }
}

/// `DEFAULT` in place of a value: the parser takes it for a column.
pub(crate) fn is_default(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(ident)
        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}
