//! Who is called what: tables and columns visible to an expression.
//!
//! A scope belongs to one SELECT; its parent is the enclosing one, so a name that the inner FROM
//! does not have is looked up outwards and makes the inner query correlated.
//!
//! # Invariants
//!
//! - **S1** An unqualified name finds at most one column per level; two are an error (42702).
//! - **S2** `columns` of a level are what `*` expands to: merged USING columns first and once.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;

use pgtypes::PgType;
use sqlparser::ast;

use super::grouping::GroupingCall;
use super::{Binder, fold};
use crate::error::{SqlError, SqlState};
use crate::ir::{AggCall, ColId, FunctionScan, Rel, RelColumn, Scalar, WindowCall, WorkId};

/// A column as names see it.
#[derive(Clone, Debug)]
pub(crate) struct ScopeColumn {
    pub(crate) column: RelColumn,
    /// Table id and index in its columns.
    pub(crate) origin: Option<(u32, usize)>,
}

/// A table of FROM as qualified names see it.
#[derive(Clone, Debug)]
pub(crate) struct ScopeTable {
    pub(crate) alias: Arc<str>,
    /// What the table is called itself, for hints.
    pub(crate) name: Arc<str>,
    /// Set when the table was named without an alias: `schema.table.column` works then.
    pub(crate) schema: Option<Arc<str>>,
    pub(crate) columns: Vec<ScopeColumn>,
    /// System columns: found by name, not by `*`.
    pub(crate) hidden: Vec<ScopeColumn>,
    /// The stored table, and the ids of its primary key if all of it is here.
    pub(crate) primary_key: Vec<ColId>,
    /// A function that returns values and not rows: its name is its value.
    pub(crate) is_value: bool,
}

/// A common table expression: bound again at every mention.
#[derive(Clone, Debug)]
pub(crate) struct Cte<'q> {
    pub(crate) name: String,
    pub(crate) query: &'q ast::Query,
    pub(crate) columns: Vec<String>,
    /// How many of the `ctes` in front of it it may mention.
    pub(crate) visible: usize,
    /// Whether it was mentioned, and so bound.
    pub(crate) used: Rc<Cell<bool>>,
    /// It mentions itself, in WITH RECURSIVE.
    pub(crate) recursive: bool,
    /// Rows made elsewhere, instead of the query.
    pub(crate) work: Rc<OnceCell<WorkRows>>,
    /// Belongs to the statement as a whole and is mentioned several times.
    pub(crate) shared: bool,
    /// PostgreSQL would run it by itself, whatever is read of it.
    pub(crate) alone: bool,
    /// Where it is named.
    pub(crate) span: sqlparser::tokenizer::Span,
}

/// Rows made by another part of the statement.
#[derive(Clone, Debug)]
pub(crate) struct WorkRows {
    pub(crate) id: WorkId,
    /// Name and type of each; none: a write without RETURNING.
    pub(crate) columns: Option<Vec<(Arc<str>, PgType)>>,
}

/// Which clause an expression stands in: what it may contain, and how errors call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clause {
    Select,
    Where,
    GroupBy,
    Having,
    OrderBy,
    DistinctOn,
    JoinOn,
    Limit,
    Offset,
    Values,
    Set,
    Returning,
    FromFunction,
    Window,
    Filter,
    Default,
}

impl Clause {
    /// As in "aggregate functions are not allowed in …".
    pub(crate) fn name(self) -> &'static str {
        match self {
            Clause::Select => "SELECT",
            Clause::Where => "WHERE",
            Clause::GroupBy => "GROUP BY",
            Clause::Having => "HAVING",
            Clause::OrderBy => "ORDER BY",
            Clause::DistinctOn => "DISTINCT ON",
            Clause::JoinOn => "JOIN conditions",
            Clause::Limit => "LIMIT",
            Clause::Offset => "OFFSET",
            Clause::Values => "VALUES",
            Clause::Set => "UPDATE",
            Clause::Returning => "RETURNING",
            Clause::FromFunction => "functions in FROM",
            Clause::Window => "window definitions",
            Clause::Filter => "FILTER",
            Clause::Default => "DEFAULT expressions",
        }
    }

    pub(crate) fn aggregates(self) -> bool {
        matches!(
            self,
            Clause::Select | Clause::Having | Clause::OrderBy | Clause::DistinctOn | Clause::Window
        )
    }

    pub(crate) fn windows(self) -> bool {
        matches!(self, Clause::Select | Clause::OrderBy | Clause::DistinctOn)
    }

    pub(crate) fn set_functions(self) -> bool {
        matches!(self, Clause::Select | Clause::OrderBy)
    }
}

/// What expressions of one SELECT collect on the way.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) aggs: Vec<AggCall>,
    pub(crate) windows: Vec<WindowCall>,
    pub(crate) functions: Vec<FunctionScan>,
    pub(crate) groupings: Vec<GroupingCall>,
}

/// Names visible at one level, and outwards.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope<'s> {
    pub(crate) parent: Option<&'s Scope<'s>>,
    pub(crate) tables: Vec<ScopeTable>,
    pub(crate) columns: Vec<ScopeColumn>,
    pub(crate) ctes: Vec<Cte<'s>>,
    pub(crate) named_windows: Vec<(String, &'s ast::WindowSpec)>,
}

impl ScopeTable {
    /// Its columns, system columns last.
    pub(crate) fn all_columns(&self) -> impl Iterator<Item = &ScopeColumn> {
        self.columns.iter().chain(&self.hidden)
    }
}

/// FROM, or a part of it.
#[derive(Debug)]
pub(crate) struct FromItem {
    pub(crate) rel: Rel,
    pub(crate) tables: Vec<ScopeTable>,
    pub(crate) columns: Vec<ScopeColumn>,
}

impl<'s> Scope<'s> {
    /// A scope with nothing but `parent` around it.
    pub(crate) fn inside(parent: Option<&'s Scope<'s>>) -> Self {
        Scope { parent, ..Scope::default() }
    }

    /// Columns without a table.
    pub(crate) fn over(columns: &[RelColumn]) -> Self {
        let columns = columns
            .iter()
            .map(|column| ScopeColumn { column: column.clone(), origin: None })
            .collect();
        Scope { columns, ..Scope::default() }
    }

    /// Makes the names of a part of FROM visible.
    pub(crate) fn add(&mut self, item: &FromItem) {
        self.tables.extend(item.tables.iter().cloned());
        self.columns.extend(item.columns.iter().cloned());
    }

    /// The common table expression of that name, nearest first, with the scope it stands in.
    pub(crate) fn cte(&self, name: &str) -> Option<(&Cte<'s>, &Scope<'s>)> {
        let mut scope = Some(self);
        while let Some(at) = scope {
            if let Some(cte) = at.ctes.iter().rev().find(|cte| cte.name == name) {
                return Some((cte, at));
            }
            scope = at.parent;
        }
        None
    }

    /// The definition of a named window.
    pub(crate) fn named_window(&self, name: &str) -> Option<&'s ast::WindowSpec> {
        self.named_windows.iter().find(|(known, _)| known == name).map(|(_, spec)| *spec)
    }

    /// Whether this level makes the column.
    pub(crate) fn makes(&self, id: ColId) -> bool {
        self.columns.iter().any(|c| c.column.id == id)
            || self.tables.iter().any(|t| t.all_columns().any(|c| c.column.id == id))
    }
}

/// Where a column came from in the catalog.
pub(crate) fn origin_of(scope: &Scope<'_>, scalar: &Scalar) -> Option<(u32, usize)> {
    let Scalar::Column(id, _) = scalar else { return None };
    scope
        .columns
        .iter()
        .chain(scope.tables.iter().flat_map(|table| &table.columns))
        .find(|c| c.column.id == *id)
        .and_then(|c| c.origin)
}

impl Binder<'_> {
    /// An unqualified column.
    pub(crate) fn column(
        &mut self,
        ident: &ast::Ident,
        scope: &Scope<'_>,
    ) -> Result<Scalar, SqlError> {
        match self.find_column(ident, scope)? {
            Some(column) => Ok(column),
            None => {
                let name = fold(ident);
                if let Some(row) = self.whole_row(scope, &name) {
                    return Ok(row);
                }
                Err(SqlError::new(
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{name}\" does not exist"),
                )
                .at(self.pos(ident.span)))
            }
        }
    }

    /// An unqualified column, if there is one of that name.
    pub(crate) fn find_column(
        &mut self,
        ident: &ast::Ident,
        scope: &Scope<'_>,
    ) -> Result<Option<Scalar>, SqlError> {
        let name = fold(ident);
        let mut level = Some(scope);
        while let Some(at) = level {
            let hidden = at.tables.iter().flat_map(|table| &table.hidden);
            let mut found = at.columns.iter().chain(hidden).filter(|c| *c.column.name == *name);
            if let Some(first) = found.next() {
                if found.next().is_some() {
                    return Err(SqlError::new(
                        SqlState::AMBIGUOUS_COLUMN,
                        format!("column reference \"{name}\" is ambiguous"),
                    )
                    .at(self.pos(ident.span)));
                }
                let (id, ty) = (first.column.id, first.column.ty);
                self.mentioned.entry(id).or_insert(ident.span);
                return Ok(Some(Scalar::Column(id, ty)));
            }
            level = at.parent;
        }
        Ok(None)
    }

    /// `table.column`, `schema.table.column`.
    pub(crate) fn qualified_column(
        &mut self,
        parts: &[ast::Ident],
        scope: &Scope<'_>,
    ) -> Result<Scalar, SqlError> {
        let (column, qualifier) = parts.split_last().expect("compound names have parts");
        let name = fold(column);
        let table = self.table_of(qualifier, scope)?;
        let mut found = table.all_columns().filter(|c| *c.column.name == *name);
        let Some(first) = found.next() else {
            return Err(SqlError::new(
                SqlState::UNDEFINED_COLUMN,
                format!("column {}.{name} does not exist", table.alias),
            )
            .at(self.pos(qualifier[0].span)));
        };
        if found.next().is_some() {
            return Err(SqlError::new(
                SqlState::AMBIGUOUS_COLUMN,
                format!("column reference \"{name}\" is ambiguous"),
            )
            .at(self.pos(qualifier[0].span)));
        }
        let (id, ty) = (first.column.id, first.column.ty);
        self.mentioned.entry(id).or_insert(qualifier[0].span);
        Ok(Scalar::Column(id, ty))
    }

    /// The table a qualifier names, here or outwards.
    pub(crate) fn table_of<'t>(
        &self,
        qualifier: &[ast::Ident],
        scope: &'t Scope<'_>,
    ) -> Result<&'t ScopeTable, SqlError> {
        let parts: Vec<String> = qualifier.iter().map(fold).collect();
        let (schema, alias) = match parts.as_slice() {
            [alias] => (None, alias),
            [schema, alias] => (Some(schema), alias),
            [_, schema, alias] => (Some(schema), alias),
            _ => return Err(SqlError::syntax("improper qualified name (too many dotted names)")),
        };
        let position = self.pos(qualifier[0].span);
        let mut level = Some(scope);
        while let Some(at) = level {
            let mut found = at.tables.iter().filter(|table| {
                *table.alias == **alias
                    && schema.is_none_or(|schema| table.schema.as_deref() == Some(schema.as_str()))
            });
            if let Some(first) = found.next() {
                if found.next().is_some() {
                    return Err(SqlError::new(
                        SqlState::AMBIGUOUS_ALIAS,
                        format!("table reference \"{alias}\" is ambiguous"),
                    )
                    .at(position));
                }
                return Ok(first);
            }
            level = at.parent;
        }
        let mut level = Some(scope);
        while let Some(at) = level {
            if let Some(table) = at.tables.iter().find(|table| *table.name == **alias) {
                return Err(SqlError::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("invalid reference to FROM-clause entry for table \"{alias}\""),
                )
                .hint(format!(
                    "Perhaps you meant to reference the table alias \"{}\".",
                    table.alias
                ))
                .at(position));
            }
            level = at.parent;
        }
        let error = SqlError::new(
            SqlState::UNDEFINED_TABLE,
            format!("missing FROM-clause entry for table \"{alias}\""),
        );
        Err(error.at(position))
    }
}

/// Columns of a relation under the names a scope gives them.
pub(crate) fn plain_columns(columns: &[RelColumn]) -> Vec<ScopeColumn> {
    columns.iter().map(|c| ScopeColumn { column: c.clone(), origin: None }).collect()
}
