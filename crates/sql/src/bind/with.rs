//! WITH: common table expressions, and writes in them.
//!
//! A common table expression is bound anew at each mention, so that conditions around it reach into it.
//! Not so where it must run once: a write, and what is mentioned several times and calls a volatile
//! function. Those are *parts* of the statement, which run before it and leave their rows for it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use sqlparser::ast::{self, CteAsMaterialized, SetExpr};
use sqlparser::tokenizer::Span;

use super::parse::too_deep;
use super::recursive::mentions_of;
use super::scope::{Cte, Scope, WorkRows};
use super::{Binder, fold};
use crate::error::{SqlError, SqlState};
use crate::ir::{Part, Query, Statement};

/// Most common table expressions in one WITH, and most bindings of them in one statement: each mention is
/// one, and mentions multiply where one expression mentions another.
const CTE_MENTIONS_MAX: usize = 2_000;

impl Binder<'_> {
    /// A query, or a write with WITH in front.
    pub(super) fn with_statement(&mut self, query: &ast::Query) -> Result<Statement, SqlError> {
        let Some(write) = write_of(query) else {
            self.at_top = true;
            return Ok(Statement::Query(self.query(query, None)?));
        };
        let mut scope = Scope::inside(None);
        if let Some(with) = &query.with {
            self.with(with, &mut scope, query, true)?;
        }
        let main = self.write(write, Some(&scope))?;
        self.check_unused(&scope)?;
        Ok(main)
    }

    /// Makes the queries of a WITH known. `around`: the query that it is of. `top`: that is the statement.
    pub(super) fn with<'q>(
        &mut self,
        with: &'q ast::With,
        scope: &mut Scope<'q>,
        around: &ast::Query,
        top: bool,
    ) -> Result<(), SqlError> {
        let ast::With { with_token: _, recursive, cte_tables } = with;
        if cte_tables.len() > CTE_MENTIONS_MAX {
            return Err(too_deep());
        }
        for cte in cte_tables {
            let ast::Cte { alias, query, from, materialized, closing_paren_token: _ } = cte;
            if from.is_some() {
                return Err(SqlError::syntax("syntax error at or near \"FROM\""));
            }
            let name = fold(&alias.name);
            if scope.ctes.iter().any(|known| known.name == name) {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_ALIAS,
                    format!("WITH query name \"{name}\" specified more than once"),
                )
                .at(self.pos(alias.name.span)));
            }
            if write_of(query).is_some() && !top {
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "WITH clause containing a data-modifying statement must be at the top level",
                )
                .at(self.pos(alias.name.span)));
            }
            let columns = alias.columns.iter().map(|column| fold(&column.name)).collect();
            let several = mentions_of(around, &name).len() > 1;
            scope.ctes.push(Cte {
                shared: top && several,
                alone: materialized
                    .as_ref()
                    .map_or(several, |how| matches!(how, CteAsMaterialized::Materialized)),
                name,
                query,
                columns,
                visible: scope.ctes.len(),
                used: Rc::new(Cell::new(false)),
                recursive: false,
                work: Rc::default(),
                span: alias.name.span,
            });
        }
        if *recursive {
            self.order_recursive(scope)?;
        }
        for at in 0..scope.ctes.len() {
            if let Some(write) = write_of(scope.ctes[at].query) {
                self.write_in_with(at, write, scope)?;
            }
        }
        Ok(())
    }

    /// A write in WITH is a part of the statement.
    fn write_in_with(
        &mut self,
        at: usize,
        write: &ast::Statement,
        scope: &Scope<'_>,
    ) -> Result<(), SqlError> {
        let cte = &scope.ctes[at];
        if cte.recursive {
            return Err(SqlError::new(
                SqlState::INVALID_RECURSION,
                format!(
                    "recursive query \"{}\" must not contain data-modifying statements",
                    cte.name
                ),
            )
            .at(self.pos(cte.span)));
        }
        let mut around = Scope::inside(scope.parent);
        around.ctes = scope.ctes[..cte.visible].to_vec();
        let outside = around.ctes.len();
        let mut own = Scope::inside(None);
        if let Some(with) = &cte.query.with {
            self.with(with, &mut own, cte.query, false)?;
        }
        around.ctes.extend(own.ctes.into_iter().map(|mut cte| {
            cte.visible += outside;
            cte
        }));
        let statement = self.write(write, Some(&around))?;
        let columns = statement.columns().map(|columns| {
            let given = cte.columns.iter().map(|name| Some(Arc::from(name.as_str())));
            columns
                .iter()
                .zip(given.chain(std::iter::repeat(None)))
                .map(|(column, name)| (name.unwrap_or_else(|| column.name.clone()), column.ty))
                .collect::<Vec<_>>()
        });
        self.check_names(cte, columns.as_ref().map_or(0, Vec::len))?;
        let id = self.fresh_work();
        self.parts.push(Part { id, statement });
        cte.used.set(true);
        let rows = WorkRows { id, columns };
        cte.work.set(rows).map_err(|_| SqlError::internal("a write is bound twice"))
    }

    /// What nobody mentions must still be right.
    pub(super) fn check_unused(&mut self, scope: &Scope<'_>) -> Result<(), SqlError> {
        for cte in scope.ctes.iter().rev().filter(|cte| !cte.used.get()) {
            self.cte(cte, scope, Span::empty())?;
        }
        Ok(())
    }

    fn check_names(&self, cte: &Cte<'_>, available: usize) -> Result<(), SqlError> {
        if cte.columns.len() <= available {
            return Ok(());
        }
        Err(SqlError::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            format!(
                "WITH query \"{}\" has {available} columns available but {} columns specified",
                cte.name,
                cte.columns.len()
            ),
        )
        .at(self.pos(cte.span)))
    }

    /// Binds a common table expression, anew for each mention.
    pub(crate) fn cte(
        &mut self,
        cte: &Cte<'_>,
        at: &Scope<'_>,
        mention: Span,
    ) -> Result<Query, SqlError> {
        if let Some(rows) = cte.work.get() {
            let Some(columns) = &rows.columns else {
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    format!("WITH query \"{}\" does not have a RETURNING clause", cte.name),
                )
                .at(self.pos(mention)));
            };
            return Ok(self.work_query(rows.id, &cte.name, columns));
        }
        let again = cte.used.replace(true);
        self.cte_mentions += 1;
        if self.cte_mentions > CTE_MENTIONS_MAX {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                "common table expressions are mentioned too often",
            ));
        }
        let mut scope = Scope::inside(at.parent);
        scope.ctes = at.ctes[..cte.visible].to_vec();
        self.in_cte += 1;
        let query = match cte.recursive {
            true => self.recursive(cte, scope),
            false => self.query(cte.query, Some(&scope)),
        };
        self.in_cte -= 1;
        let mut query = query?;
        self.check_names(cte, query.columns.len())?;
        for (column, name) in query.columns.iter_mut().zip(&cte.columns) {
            column.name = Arc::from(name.as_str());
        }
        if cte.alone {
            self.read.keep(query.rel.columns().into_iter().map(|column| column.id));
        }
        // Bound twice it would be evaluated twice, with two results.
        if query.rel.is_volatile() || query.rel.has_locks() {
            if cte.shared {
                return self.shared(cte, query);
            }
            if again {
                return Err(SqlError::unsupported(format!(
                    "mentioning WITH query \"{}\" twice, which calls a volatile function,",
                    cte.name
                )));
            }
        }
        Ok(query)
    }

    /// A query that runs once for all its mentions.
    fn shared(&mut self, cte: &Cte<'_>, query: Query) -> Result<Query, SqlError> {
        let id = self.fresh_work();
        let columns: Vec<_> =
            query.columns.iter().map(|column| (column.name.clone(), column.ty)).collect();
        self.parts.push(Part { id, statement: Statement::Query(query) });
        let mention = self.work_query(id, &cte.name, &columns);
        let rows = WorkRows { id, columns: Some(columns) };
        cte.work.set(rows).map_err(|_| SqlError::internal("a shared query is bound twice"))?;
        Ok(mention)
    }
}

/// The write that a query's body is, if it is one.
fn write_of(query: &ast::Query) -> Option<&ast::Statement> {
    match &*query.body {
        SetExpr::Insert(write) | SetExpr::Update(write) | SetExpr::Delete(write) => Some(write),
        _ => None,
    }
}
