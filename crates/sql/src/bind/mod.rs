//! From sqlparser's tree to [`crate::ir`], by PostgreSQL's rules.
//!
//! ```text
//!   mod      Binder, parameters, fresh columns          select   SELECT, clause by clause
//!   parse    text -> tree, positions                    group    aggregates and GROUP BY
//!   as_of    AS OF SYSTEM TIME, before parsing
//!   grouping GROUPING SETS, ROLLUP, CUBE
//!   rewrite, conflict_target  clauses in words that sqlparser knows
//!   scope    who is called what                         order    ORDER BY, DISTINCT, LIMIT
//!   types    names of types, coercion, common types     window   OVER
//!   expr…    expressions                                from     FROM, joins, functions
//!   call     functions, aggregates                      query    set operations, VALUES
//!   with     WITH
//!   sub      queries inside expressions                 dml      INSERT, UPDATE, DELETE
//!   recursive  WITH RECURSIVE                             rows     (a, b)
//! ```
//!
//! # Rules
//!
//! - Every field of every tree node is carried out or refused with 0A000 naming it; none is
//!   skipped. Structs are destructured without `..` where that is what checks it.
//! - A literal without a type stays *unknown* until its context gives it one; so does a parameter
//!   without a declared type. What is still unknown at the end of a select list becomes text.
//! - Errors carry the position PostgreSQL gives: of the name, the literal, or the operator.

mod as_of;
mod call;
mod call_args;
mod composite;
mod conflict_target;
mod dialect;
mod dml;
mod dml_insert;
mod element_target;
mod explain;
mod expr;
mod expr_any;
mod expr_forms;
mod expr_op;
mod from;
mod from_func;
mod from_join;
mod from_lock;
mod group;
mod grouping;
mod limit;
mod literal;
mod mention;
mod order;
mod ordered_set;
mod parse;
mod query;
mod recursive;
mod resolve;
mod rewrite;
mod rewrite_query;
mod rows;
mod scope;
mod select;
mod select_list;
mod set_call;
mod spelling;
mod sub;
mod typename;
mod types;
mod unread;
mod unsupported;
mod window;
mod with;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use catalog::{Privileges, RoleId};
use pgtypes::{EvalEnv, PgType};
use sqlparser::ast;
use sqlparser::tokenizer::Span;

use crate::error::{SqlError, SqlState};
use crate::ir::{
    Bound, CatalogView, ColId, Part, Query, RelColumn, Scalar, Statement, With, WorkId,
};

use crate::privilege::{Access, Accessed};

pub(crate) use as_of::take_as_of;
pub(crate) use dialect::Postgres;
pub use mention::mentioned_tables;
pub(crate) use parse::LOCK_MARK;
pub use parse::{STATEMENT_BYTES_MAX, parse, position, syntax_error, tokenize};
pub(crate) use resolve::is_function;
pub(crate) use rewrite::{is_untyped, like_of};
pub(crate) use typename::type_in;
pub use typename::type_of;

use scope::Scope;

/// Deepest recursion of the binder over one statement.
const DEPTH_MAX: usize = 2_500;
/// Most tables, functions and SELECTs of a statement, those of views included. What walks a relation goes
/// down as many levels in the worst case, on 32 MiB of stack.
const RELATIONS_MAX: usize = 5_000;
/// Most columns of a select list, as in PostgreSQL.
const COLUMNS_MAX: usize = 1_664;

/// Binds one statement. Made anew for each.
pub struct Binder<'a> {
    catalog: &'a dyn CatalogView,
    env: &'a EvalEnv,
    sql: &'a str,
    /// Types of parameters as far as declared or inferred.
    params: Vec<Option<PgType>>,
    next_column: u32,
    next_work: u32,
    /// What runs before the statement.
    parts: Vec<Part>,
    /// The WITH met next is the statement's own.
    at_top: bool,
    depth: usize,
    cte_mentions: usize,
    /// Tables, functions and SELECTs met so far.
    relations: usize,
    /// How deep in WITH queries: locking clauses outside do not mean the tables there.
    in_cte: usize,
    /// Where each column was first mentioned, for errors found later.
    mentioned: HashMap<ColId, Span>,
    /// What is done with relations, and as whom.
    accesses: Vec<Access>,
    as_role: Option<RoleId>,
    /// Aggregates met that belong to a query around the one that is being bound.
    outer_aggregates: Vec<call::OuterAggregate>,
    /// Columns that are computed whether something mentions them or not.
    read: unread::Read,
    /// Whether the text mentions the system column `tableoid`, looked for once it matters.
    mentions_table_oid: OnceCell<bool>,
}

impl<'a> Binder<'a> {
    /// A binder for a statement of the text `sql` (all of it: positions count from its start).
    pub fn new(catalog: &'a dyn CatalogView, env: &'a EvalEnv, sql: &'a str) -> Self {
        Binder {
            catalog,
            env,
            sql,
            params: Vec::new(),
            next_column: 0,
            next_work: 0,
            parts: Vec::new(),
            at_top: false,
            depth: 0,
            cte_mentions: 0,
            relations: 0,
            in_cte: 0,
            mentioned: HashMap::new(),
            accesses: Vec::new(),
            as_role: None,
            outer_aggregates: Vec::new(),
            read: unread::Read::default(),
            mentions_table_oid: OnceCell::new(),
        }
    }

    /// Binds a statement; `declared` are the parameter types the client gave, `None` (or unknown)
    /// where it left them open.
    pub fn bind(
        mut self,
        statement: &ast::Statement,
        declared: &[Option<PgType>],
    ) -> Result<Bound, SqlError> {
        self.params = declared.iter().map(|ty| ty.filter(|ty| !ty.is_unknown())).collect();
        let mut statement = self.statement(statement)?;
        self.refuse_outer_aggregates()?;
        self.read.drop_others(&mut statement);
        let params: Result<Vec<PgType>, SqlError> = self
            .params
            .iter()
            .enumerate()
            .map(|(i, ty)| {
                ty.ok_or_else(|| {
                    SqlError::new(
                        SqlState::INDETERMINATE_DATATYPE,
                        format!("could not determine data type of parameter ${}", i + 1),
                    )
                })
            })
            .collect();
        Ok(Bound { statement, params: params?, accesses: self.accesses })
    }

    /// Binds a query by itself (COPY's, a view's).
    pub fn bind_query(self, query: &ast::Query) -> Result<Query, SqlError> {
        self.bind_query_with_accesses(query).map(|(bound, _)| bound)
    }

    /// The same, with what the query does with relations.
    pub(crate) fn bind_query_with_accesses(
        mut self,
        query: &ast::Query,
    ) -> Result<(Query, Vec<Access>), SqlError> {
        let mut bound = self.query(query, None)?;
        self.read.drop_others_of(&mut bound);
        Ok((bound, self.accesses))
    }

    /// Notes what is done with a relation.
    fn access(&mut self, relation: Accessed, wanted: Privileges) {
        let access = Access { relation, wanted, as_role: self.as_role };
        if !self.accesses.contains(&access) {
            self.accesses.push(access);
        }
    }

    /// Notes that a write reads its target, if a column of it was mentioned.
    fn access_read(&mut self, target: &crate::ir::Scan, returning: bool) {
        let read = |(column, _): &(RelColumn, usize)| self.mentioned.contains_key(&column.id);
        if returning || target.columns.iter().any(read) {
            self.access(Accessed::Stored(target.table.id), Privileges::SELECT);
        }
    }

    /// Binds an expression over the columns of a table (CHECK, DEFAULT, COPY's WHERE), coerced to
    /// `target` by assignment when given. `columns` name what it may mention.
    pub fn bind_expr_over(
        mut self,
        expr: &ast::Expr,
        columns: &[RelColumn],
        target: Option<PgType>,
    ) -> Result<Scalar, SqlError> {
        // Ids given from outside must not be given out again here.
        self.next_column = columns.iter().map(|column| column.id.0 + 1).max().unwrap_or(0);
        let scope = Scope::over(columns);
        let scalar = self.expr_in(expr, &scope, scope::Clause::Default)?;
        match target {
            Some(ty) => self.assign(scalar, ty, "", expr),
            None => Ok(scalar),
        }
    }

    fn statement(&mut self, statement: &ast::Statement) -> Result<Statement, SqlError> {
        match statement {
            ast::Statement::Query(query) => {
                let main = self.with_statement(query)?;
                let parts = std::mem::take(&mut self.parts);
                Ok(match parts.is_empty() {
                    true => main,
                    false => Statement::With(Box::new(With { parts, main })),
                })
            }
            ast::Statement::Insert(_) | ast::Statement::Update(_) | ast::Statement::Delete(_) => {
                self.write(statement, None)
            }
            ast::Statement::Explain { .. } => self.explain(statement),
            other => Ok(Statement::Utility(Box::new(other.clone()))),
        }
    }

    /// A write; `outer` has the queries of the WITH in front of it.
    fn write(
        &mut self,
        statement: &ast::Statement,
        outer: Option<&Scope<'_>>,
    ) -> Result<Statement, SqlError> {
        match statement {
            ast::Statement::Insert(insert) => {
                Ok(Statement::Insert(Box::new(self.insert(insert, outer)?)))
            }
            ast::Statement::Update(update) => {
                Ok(Statement::Update(Box::new(self.update(update, outer)?)))
            }
            ast::Statement::Delete(delete) => {
                Ok(Statement::Delete(Box::new(self.delete(delete, outer)?)))
            }
            other => Err(SqlError::internal(format!("{other} is no write"))),
        }
    }

    /// A new column.
    fn fresh(&mut self, name: impl Into<Arc<str>>, ty: PgType) -> RelColumn {
        let id = ColId(self.next_column);
        self.next_column += 1;
        RelColumn { id, name: name.into(), ty }
    }

    /// A new name for rows that one part of the statement makes and others read.
    fn fresh_work(&mut self) -> WorkId {
        self.next_work += 1;
        WorkId(self.next_work)
    }

    /// Counts a table, function or SELECT, or refuses with 54001.
    fn one_more_relation(&mut self) -> Result<(), SqlError> {
        self.relations += 1;
        match self.relations <= RELATIONS_MAX {
            true => Ok(()),
            false => Err(parse::too_deep()),
        }
    }

    /// Runs `bind` one level deeper, or refuses with 54001.
    fn deeper<T>(
        &mut self,
        bind: impl FnOnce(&mut Self) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        if self.depth >= DEPTH_MAX {
            return Err(parse::too_deep());
        }
        self.depth += 1;
        let result = stacker::maybe_grow(128 << 10, 2 << 20, || bind(self));
        self.depth -= 1;
        result
    }

    /// Position of the start of a span.
    fn pos(&self, span: Span) -> Option<usize> {
        parse::position(self.sql, span.start)
    }

    /// Position of the operator behind its left operand: sqlparser keeps no span for it.
    fn pos_behind(&self, span: Span) -> Option<usize> {
        let end = parse::position(self.sql, span.end)?;
        let skipped =
            self.sql.chars().skip(end - 1).take_while(|c| c.is_whitespace() || *c == ')').count();
        Some(end + skipped)
    }

    /// Position of the parenthesis in front of a query.
    fn pos_parenthesis(&self, span: Span) -> Option<usize> {
        let start = parse::position(self.sql, span.start)?;
        let before: Vec<char> = self.sql.chars().take(start - 1).collect();
        let back = before.iter().rev().position(|c| *c == '(')?;
        Some(start - 1 - back)
    }

    /// The type of a parameter (0-based), if known by now.
    fn param(&mut self, index: usize) -> PgType {
        if self.params.len() <= index {
            self.params.resize(index + 1, None);
        }
        self.params[index].unwrap_or(PgType::UNKNOWN)
    }

    /// Gives a parameter its type. It must not have another one already.
    fn set_param(&mut self, index: usize, ty: PgType) -> Result<(), SqlError> {
        let ty = ty.base();
        match self.params[index] {
            Some(known) if !known.same(ty) => Err(SqlError::new(
                SqlState::AMBIGUOUS_PARAMETER,
                format!("inconsistent types deduced for parameter ${}", index + 1),
            )
            .detail(format!("{} versus {}", known.sql_name(), ty.sql_name()))),
            _ => {
                self.params[index] = Some(ty);
                Ok(())
            }
        }
    }
}

/// Text of an identifier: folded to lower case unless quoted. As in PostgreSQL with UTF-8, only
/// ASCII is folded.
pub fn fold(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

/// Parts of a dotted name, folded.
pub fn name_parts(name: &ast::ObjectName) -> Result<Vec<String>, SqlError> {
    name.0
        .iter()
        .map(|part| match part {
            ast::ObjectNamePart::Identifier(ident) => Ok(fold(ident)),
            ast::ObjectNamePart::Function(_) => Err(SqlError::unsupported("a computed name")),
        })
        .collect()
}

/// Schema, if any, and name of a relation; a database in front must be the current one.
pub fn relation_name(
    name: &ast::ObjectName,
    database: &str,
) -> Result<(Option<String>, String), SqlError> {
    let mut parts = name_parts(name)?;
    let last = parts.pop().ok_or_else(|| SqlError::syntax("empty name"))?;
    match parts.len() {
        0 => Ok((None, last)),
        1 => Ok((parts.pop(), last)),
        2 if parts[0] == database => Ok((parts.pop(), last)),
        2 => Err(SqlError::unsupported(format!(
            "a cross-database reference: \"{}.{}.{last}\"",
            parts[0], parts[1]
        ))),
        _ => {
            Err(SqlError::syntax(format!("improper relation name (too many dotted names): {name}")))
        }
    }
}
