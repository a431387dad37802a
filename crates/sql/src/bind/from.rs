//! FROM: tables, subqueries, and what they are called.

use std::sync::Arc;

use catalog::Privileges;
use pgtypes::{PgType, TypeId};
use sqlparser::ast::{self, Spanned, TableAlias, TableFactor, TableWithJoins};
use sqlparser::tokenizer::Span;

use super::parse::{CHAIN_MAX, too_deep};
use super::scope::{FromItem, Scope, ScopeColumn, ScopeTable, plain_columns};
use super::{Binder, fold, parse, relation_name};
use crate::error::{SqlError, SqlState};
use crate::ir::{ColId, Join, JoinKind, OutputColumn, Rel, Relation, Scan, VirtualScan};
use crate::privilege::Accessed;

impl Binder<'_> {
    /// The comma-separated list of FROM; its names go into `scope`.
    pub(crate) fn tables_of_from(
        &mut self,
        from: &[TableWithJoins],
        scope: &mut Scope<'_>,
    ) -> Result<Rel, SqlError> {
        // A list is a chain of joins.
        if from.len() > CHAIN_MAX {
            return Err(too_deep());
        }
        let mut result: Option<Rel> = None;
        for table in from {
            let item = self.table_with_joins(table, scope)?;
            refuse_duplicates(scope, &item)?;
            scope.add(&item);
            result = Some(match result {
                None => item.rel,
                Some(left) => {
                    let lateral = item.rel.mentions(&left);
                    Rel::Join(Box::new(Join {
                        kind: JoinKind::Inner,
                        left,
                        right: item.rel,
                        on: None,
                        lateral,
                    }))
                }
            });
        }
        Ok(result.unwrap_or(Rel::OneRow))
    }

    /// One entry of FROM. `scope` has the entries before it, for LATERAL.
    pub(crate) fn table_factor(
        &mut self,
        factor: &TableFactor,
        scope: &Scope<'_>,
    ) -> Result<FromItem, SqlError> {
        self.one_more_relation()?;
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                if sample.is_some() {
                    return Err(SqlError::unsupported("TABLESAMPLE"));
                }
                if version.is_some() {
                    return Err(SqlError::unsupported("a version of a table"));
                }
                if !with_hints.is_empty()
                    || !partitions.is_empty()
                    || json_path.is_some()
                    || !index_hints.is_empty()
                {
                    return Err(SqlError::unsupported("a hint, partition or path behind a table"));
                }
                if let Some(args) = args {
                    if args.settings.is_some() {
                        return Err(SqlError::unsupported("SETTINGS"));
                    }
                    let alias = alias.as_ref();
                    return self.function_in_from(name, &args.args, *with_ordinality, alias, scope);
                }
                if *with_ordinality {
                    return Err(SqlError::syntax("WITH ORDINALITY needs a function"));
                }
                let (schema, table) = relation_name(name, &self.env.database)?;
                self.named_relation(schema.as_deref(), &table, alias.as_ref(), name.span(), scope)
            }
            TableFactor::Derived { lateral, subquery, alias, sample } => {
                if sample.is_some() {
                    return Err(SqlError::unsupported("TABLESAMPLE"));
                }
                self.derived(*lateral, subquery, alias.as_ref(), scope)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let mut item = self.table_with_joins(table_with_joins, scope)?;
                if let Some(alias) = alias {
                    let columns = item.columns.clone();
                    item.tables = vec![self.aliased(alias, columns, &mut item.columns)?];
                }
                Ok(item)
            }
            TableFactor::Function { lateral: _, name, args, with_ordinality, alias } => {
                self.function_in_from(name, args, *with_ordinality, alias.as_ref(), scope)
            }
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset,
                with_offset_alias,
                with_ordinality,
            } => {
                if *with_offset || with_offset_alias.is_some() {
                    return Err(SqlError::unsupported("WITH OFFSET"));
                }
                self.unnest_in_from(array_exprs, *with_ordinality, alias.as_ref(), scope)
            }
            other => Err(SqlError::unsupported(format!("{other} in FROM"))),
        }
    }

    /// `FROM ONLY t` looks to the parser like a table `only` with the alias `t`.
    pub(super) fn refuse_only(
        &self,
        schema: Option<&str>,
        name: &str,
        span: Span,
    ) -> Result<(), SqlError> {
        if schema.is_none() && name == "only" {
            return Err(SqlError::unsupported("ONLY").at(self.pos(span)));
        }
        Ok(())
    }

    /// A table, view or common table expression by name.
    pub(crate) fn named_relation(
        &mut self,
        schema: Option<&str>,
        name: &str,
        alias: Option<&TableAlias>,
        span: Span,
        scope: &Scope<'_>,
    ) -> Result<FromItem, SqlError> {
        if schema.is_none()
            && let Some((cte, at)) = scope.cte(name)
        {
            let (cte, at) = (cte.clone(), at.clone());
            let query = self.cte(&cte, &at, span)?;
            return self.subquery_item(query.rel, &query.columns, name, None, alias);
        }
        let Some(relation) = self.catalog.relation(schema, name)? else {
            self.refuse_only(schema, name, span)?;
            let shown = match schema {
                Some(schema) => format!("{schema}.{name}"),
                None => name.to_owned(),
            };
            return Err(SqlError::new(
                SqlState::UNDEFINED_TABLE,
                format!("relation \"{shown}\" does not exist"),
            )
            .at(self.pos(span)));
        };
        match relation {
            Relation::Table(table) => {
                self.access(Accessed::Stored(table.id), Privileges::SELECT);
                let scan = self.scan(&table, alias.map(|a| fold(&a.name)), false);
                let primary = table.index_positions(&table.primary);
                let key = primary.iter().map(|&at| scan.columns[at].0.id).collect();
                let columns: Vec<ScopeColumn> = scan
                    .columns
                    .iter()
                    .map(|(column, at)| ScopeColumn {
                        column: column.clone(),
                        origin: Some((table.id, *at)),
                    })
                    .collect();
                let (rel, hidden) = self.with_table_oid(Rel::Scan(scan), table.id);
                let mut item = self.item(rel, columns, &table.name, schema, key, alias)?;
                item.tables[0].hidden = hidden;
                Ok(item)
            }
            Relation::Virtual(table) => {
                let (schema_name, table_name) =
                    (table.schema().to_owned(), table.name().to_owned());
                let computed = Accessed::Computed { schema: schema_name, name: table_name };
                self.access(computed, Privileges::SELECT);
                let columns: Vec<_> =
                    table.columns().iter().map(|c| self.fresh(c.name, c.ty)).collect();
                let shown = alias.map_or_else(|| name.to_owned(), |a| fold(&a.name));
                let names = plain_columns(&columns);
                let oid = table.oid();
                let rel = Rel::Virtual(VirtualScan { table, alias: Arc::from(shown), columns });
                let (rel, hidden) = self.with_table_oid(rel, oid);
                let mut item = self.item(rel, names, name, schema, Vec::new(), alias)?;
                item.tables[0].hidden = hidden;
                Ok(item)
            }
            Relation::View(view) => {
                self.access(Accessed::Stored(view.id), Privileges::SELECT);
                let query = self.deeper(|binder| binder.view(&view))?;
                let mut columns = Vec::with_capacity(view.columns.len());
                for wanted in &view.columns {
                    // By name: `*` may stand for more columns than when the view was made.
                    let found = query.columns.iter().find(|c| *c.name == *wanted.source);
                    let mut column = found.cloned().ok_or_else(|| {
                        SqlError::internal(format!("view \"{name}\" lost \"{}\"", wanted.source))
                    })?;
                    column.name = Arc::from(wanted.name.as_str());
                    columns.push(column);
                }
                self.subquery_item(query.rel, &columns, name, schema, alias)
            }
        }
    }

    /// The query of a view. Its text is another one, so positions in it mean nothing here.
    fn view(&mut self, view: &catalog::View) -> Result<crate::ir::Query, SqlError> {
        let statements = parse(&view.sql)?;
        let [ast::Statement::Query(query)] = statements.as_slice() else {
            return Err(SqlError::internal("a view that is no query"));
        };
        let names = self.catalog.under(&view.path);
        let mut inner = Binder {
            catalog: &*names,
            env: self.env,
            sql: "",
            params: Vec::new(),
            next_column: self.next_column,
            next_work: self.next_work,
            parts: Vec::new(),
            at_top: false,
            depth: self.depth,
            cte_mentions: self.cte_mentions,
            relations: self.relations,
            in_cte: self.in_cte,
            mentioned: std::collections::HashMap::new(),
            accesses: std::mem::take(&mut self.accesses),
            as_role: Some(view.owner),
            outer_aggregates: Vec::new(),
            read: std::mem::take(&mut self.read),
            mentions_table_oid: view.sql.to_ascii_lowercase().contains("tableoid").into(),
        };
        let bound = inner.query(query, None);
        self.accesses = inner.accesses;
        self.read = inner.read;
        self.next_column = inner.next_column;
        self.next_work = inner.next_work;
        self.relations = inner.relations;
        bound
    }

    /// A scan of every column.
    pub(crate) fn scan(
        &mut self,
        table: &Arc<catalog::Table>,
        alias: Option<String>,
        row_key: bool,
    ) -> Scan {
        let columns = table
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| (self.fresh(column.name.as_str(), column.ty), at))
            .collect();
        let row_key = row_key.then(|| self.fresh("row key", PgType::new(TypeId::Bytea)));
        let alias = Arc::from(alias.unwrap_or_else(|| table.name.clone()));
        let lockable = self.in_cte == 0;
        Scan { table: Arc::clone(table), alias, columns, row_key, lockable, lock: None }
    }

    fn derived(
        &mut self,
        lateral: bool,
        subquery: &ast::Query,
        alias: Option<&TableAlias>,
        scope: &Scope<'_>,
    ) -> Result<FromItem, SqlError> {
        let Some(alias) = alias else {
            return Err(SqlError::syntax("subquery in FROM must have an alias")
                .hint("For example, FROM (SELECT ...) [AS] foo.")
                .at(self.pos_parenthesis(subquery.span())));
        };
        let query = if lateral {
            self.query(subquery, Some(scope))?
        } else {
            // Without LATERAL the entries before it are out of sight, enclosing queries are not.
            let outside = Scope { parent: scope.parent, ..Scope::default() };
            self.query(subquery, Some(&outside))?
        };
        self.subquery_item(query.rel, &query.columns, "", None, Some(alias))
    }

    /// A query as an entry of FROM.
    pub(crate) fn subquery_item(
        &mut self,
        rel: Rel,
        output: &[OutputColumn],
        name: &str,
        schema: Option<&str>,
        alias: Option<&TableAlias>,
    ) -> Result<FromItem, SqlError> {
        let columns: Vec<ScopeColumn> = output
            .iter()
            .map(|column| ScopeColumn {
                column: crate::ir::RelColumn {
                    id: column.id,
                    name: Arc::clone(&column.name),
                    ty: column.ty,
                },
                origin: column.origin,
            })
            .collect();
        self.item(rel, columns, name, schema, Vec::new(), alias)
    }

    /// An entry of FROM under its alias.
    pub(crate) fn item(
        &mut self,
        rel: Rel,
        columns: Vec<ScopeColumn>,
        name: &str,
        schema: Option<&str>,
        primary_key: Vec<ColId>,
        alias: Option<&TableAlias>,
    ) -> Result<FromItem, SqlError> {
        let mut shown = columns;
        let mut table = match alias {
            Some(alias) => {
                let columns = shown.clone();
                self.aliased(alias, columns, &mut shown)?
            }
            None => ScopeTable {
                alias: Arc::from(name),
                name: Arc::from(name),
                schema: Some(Arc::from(schema.unwrap_or("public"))),
                columns: shown.clone(),
                hidden: Vec::new(),
                primary_key: Vec::new(),
                is_value: false,
            },
        };
        table.name = Arc::from(name);
        table.primary_key = primary_key;
        Ok(FromItem { rel, tables: vec![table], columns: shown })
    }

    /// Columns under the names an alias gives them; `shown` gets the same names.
    fn aliased(
        &self,
        alias: &TableAlias,
        mut columns: Vec<ScopeColumn>,
        shown: &mut Vec<ScopeColumn>,
    ) -> Result<ScopeTable, SqlError> {
        let TableAlias { explicit: _, name, columns: names, at } = alias;
        if at.is_some() {
            return Err(SqlError::unsupported("AT in an alias"));
        }
        let folded = fold(name);
        if names.len() > columns.len() {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                format!(
                    "table \"{folded}\" has {} columns available but {} columns specified",
                    columns.len(),
                    names.len()
                ),
            )
            .at(self.pos(name.span)));
        }
        for (column, name) in columns.iter_mut().zip(names) {
            if name.data_type.is_some() {
                return Err(SqlError::unsupported("a column definition list in an alias"));
            }
            column.column.name = Arc::from(fold(&name.name));
        }
        *shown = columns.clone();
        let alias: Arc<str> = Arc::from(folded);
        let name = Arc::clone(&alias);
        Ok(ScopeTable {
            alias,
            name,
            schema: None,
            columns,
            hidden: Vec::new(),
            primary_key: Vec::new(),
            is_value: false,
        })
    }
}

/// 42712 if a table is called like one that is there already.
pub(crate) fn refuse_duplicates(scope: &Scope<'_>, item: &FromItem) -> Result<(), SqlError> {
    for table in &item.tables {
        let same = |known: &ScopeTable| known.alias == table.alias && known.schema == table.schema;
        if scope.tables.iter().any(same) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_ALIAS,
                format!("table name \"{}\" specified more than once", table.alias),
            ));
        }
    }
    Ok(())
}
