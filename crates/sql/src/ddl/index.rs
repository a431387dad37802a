//! CREATE INDEX.

use std::sync::Arc;

use catalog::{Change, Column, ColumnId, Index, IndexColumn, Table, is_indexable};
use pgtypes::PgType;
use sqlparser::ast::{CreateIndex, Expr, IndexColumn as AstColumn, IndexType, ObjectName};

use super::column::IndexColumnDef;
use super::expression::{Use, is_immutable, stored};
use super::{Ddl, duplicate_relation, free_name, new_oids, notice, online, rebuild};
use crate::bind::fold;
use crate::session::api::Sink;
use crate::session::{Session, Tag};
use crate::{SqlError, SqlState};

/// Most columns of an index, included ones among them.
const COLUMNS_MAX: usize = 32;

/// A column of a key constraint as written.
pub(super) fn index_column(column: &AstColumn) -> Result<IndexColumnDef, SqlError> {
    if let Some(class) = &column.operator_class {
        return Err(SqlError::unsupported(format!("operator class {class}")));
    }
    let name = match &column.column.expr {
        Expr::Identifier(ident) => fold(ident),
        other => return Err(SqlError::unsupported(format!("a constraint on {other}"))),
    };
    let options = &column.column.options;
    if options.asc == Some(false) || options.nulls_first.is_some() {
        return Err(SqlError::unsupported("an order of a column in a constraint"));
    }
    Ok(IndexColumnDef { name, descending: false })
}

fn check_supported(create: &CreateIndex) -> Result<(), SqlError> {
    if !create.index_options.is_empty() || !create.alter_options.is_empty() {
        return Err(SqlError::unsupported("an index option"));
    }
    match &create.using {
        None | Some(IndexType::BTree) => {}
        Some(other) => return Err(SqlError::unsupported(format!("USING {other}"))),
    }
    for option in &create.with {
        let text = option.to_string().to_lowercase();
        if !text.starts_with("fillfactor") && !text.starts_with("deduplicate_items") {
            return Err(SqlError::unsupported(format!("index parameter {option}")));
        }
    }
    Ok(())
}

pub(super) async fn run(
    session: &mut Session,
    create: &CreateIndex,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    check_supported(create)?;
    if create.concurrently {
        session.refuse_in_block("CREATE INDEX CONCURRENTLY")?;
    }
    let mut ddl = Ddl::begin(session).await?;
    let Some((table, mut next)) = definition(session, &ddl, create, text, sink)? else {
        return Ok(Tag::Text("CREATE INDEX"));
    };
    if online::is_due(session, &ddl, &table, create.concurrently).await? {
        ddl.txn.rollback_to_and_release(None).await?;
        online::run(session, &online::Change::Index(create), text, sink).await?;
        return Ok(Tag::Text("CREATE INDEX"));
    }
    let oid = new_oids(session, 1).await?;
    name_last(&mut next, oid);
    rebuild::fill_indexes(session, &ddl, &table, &next, next.indexes.len() - 1).await?;
    ddl.write(session, vec![Change::PutTable(Box::new(next))]).await?;
    Ok(Tag::Text("CREATE INDEX"))
}

/// Gives the index that was defined last its identity.
pub(super) fn name_last(table: &mut Table, oid: u32) {
    let index = table.indexes.last_mut().expect("one was defined");
    (index.id, index.oid) = (oid, oid);
}

/// The table, and what it will be: the new index is its last, without an id. Nothing if there is a relation
/// of that name, and the statement is content with that.
pub(super) fn definition(
    session: &Session,
    ddl: &Ddl,
    create: &CreateIndex,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Option<(Arc<Table>, Table)>, SqlError> {
    let table = ddl.own_table(session, &create.table_name)?;
    let mut name = match &create.name {
        Some(name) => {
            let (schema, name) = crate::bind::relation_name(name, &session.env().database)?;
            if schema.is_some() {
                return Err(SqlError::syntax("an index is in the schema of its table"));
            }
            Some(super::truncate_name(&name))
        }
        None => None,
    };
    if let Some(name) = &name
        && ddl.catalog.relation_exists(table.schema, name)
    {
        if create.if_not_exists {
            let message = format!("relation \"{name}\" already exists, skipping");
            notice(sink, SqlState::DUPLICATE_TABLE, message);
            return Ok(None);
        }
        return Err(duplicate_relation(name));
    }
    let mut next = Table::clone(&table);
    let mut index = Index::new(0, String::new(), create.unique);
    for column in &create.columns {
        let column = element(session, ddl, &mut next, column, text)?;
        index.columns.push(column);
    }
    for ident in &create.include {
        let name = fold(ident);
        let position = next.position(&name).ok_or_else(|| missing(&name))?;
        index.include.push(next.columns[position].id);
    }
    if index.columns.len() + index.include.len() > COLUMNS_MAX {
        return Err(SqlError::new(
            SqlState::TOO_MANY_COLUMNS,
            "cannot use more than 32 columns in an index",
        ));
    }
    if let Some(predicate) = &create.predicate {
        index.predicate = Some(condition(session, ddl, &mut next, predicate, text)?);
    }
    index.nulls_not_distinct = create.unique && create.nulls_distinct == Some(false);
    index.name = name.take().unwrap_or_else(|| default_name(ddl, &next, &index));
    next.indexes.push(index);
    Ok(Some((table, next)))
}

fn missing(column: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{column}\" does not exist"))
}

/// The name of an index that was given none: table, columns, `idx`.
pub(super) fn default_name(ddl: &Ddl, table: &Table, index: &Index) -> String {
    free_name(&ddl.catalog, table.schema, &[], &default_base(table, index), "idx")
}

/// What it begins with.
pub(super) fn default_base(table: &Table, index: &Index) -> String {
    let ids = index.columns.iter().map(|c| c.column).chain(index.include.iter().copied());
    let mut names: Vec<String> = Vec::new();
    for id in ids {
        let position = table.position_of(id).expect("a column of the table");
        let base = table.column_at(position).name.clone();
        // Expressions without a name of their own: expr, expr1, …
        let mut name = base.clone();
        let mut n = 0;
        while names.contains(&name) {
            n += 1;
            name = format!("{base}{n}");
        }
        names.push(name);
    }
    format!("{}_{}", table.name, names.join("_"))
}

/// One element of the list: a column, or an expression.
fn element(
    session: &Session,
    ddl: &Ddl,
    table: &mut Table,
    column: &AstColumn,
    text: &str,
) -> Result<IndexColumn, SqlError> {
    let expr = unwrapped(&column.column.expr);
    let id = match expr {
        Expr::Identifier(ident) => {
            let name = fold(ident);
            let position = table.position(&name).ok_or_else(|| missing(&name))?;
            table.columns[position].id
        }
        expr => {
            let use_of = Use::IndexExpression;
            let (sql, bound) = stored(session, ddl, expr, &table.columns, None, use_of, text)?;
            if !is_immutable(&bound) {
                return Err(SqlError::new(
                    SqlState("42P17"),
                    "functions in index expression must be marked IMMUTABLE",
                ));
            }
            computed(table, sql, expression_name(expr), bound.ty())
        }
    };
    let position = table.position_of(id).expect("just found or made");
    let ty = table.column_at(position).ty;
    if !is_indexable(ty) {
        return Err(SqlError::new(
            SqlState::UNDEFINED_OBJECT,
            format!(
                "data type {} has no default operator class for access method \"btree\"",
                ty.sql_name()
            ),
        )
        .hint(
            "You must specify an operator class for the index or define a default operator class \
             for the data type.",
        ));
    }
    let pattern = match &column.operator_class {
        Some(class) => is_pattern_class(class, ty)?,
        None => false,
    };
    let options = &column.column.options;
    let descending = options.asc == Some(false);
    let nulls_first = options.nulls_first.unwrap_or(descending);
    Ok(IndexColumn { column: id, descending, nulls_reversed: nulls_first != descending, pattern })
}

/// Operator classes whose order is the bytewise one that every index has; true for `…_pattern_ops`.
fn is_pattern_class(class: &ObjectName, ty: PgType) -> Result<bool, SqlError> {
    use pgtypes::TypeId;
    let name = class.to_string().to_ascii_lowercase();
    let name = name.trim_start_matches("pg_catalog.");
    let textual = matches!(ty.id, TypeId::Text | TypeId::Varchar | TypeId::Bpchar);
    match name {
        "text_pattern_ops" | "varchar_pattern_ops" | "bpchar_pattern_ops" if textual => Ok(true),
        "text_ops" | "varchar_ops" | "bpchar_ops" if textual => Ok(false),
        other if other == format!("{}_ops", ty.id.name()) => Ok(false),
        _ => Err(SqlError::unsupported(format!("operator class {class}"))),
    }
}

/// The condition of a partial index: a computed column of type boolean.
fn condition(
    session: &Session,
    ddl: &Ddl,
    table: &mut Table,
    predicate: &Expr,
    text: &str,
) -> Result<ColumnId, SqlError> {
    let target = Some(PgType::BOOL);
    let use_of = Use::IndexPredicate;
    let (sql, bound) = stored(session, ddl, predicate, &table.columns, target, use_of, text)?;
    if !is_immutable(&bound) {
        return Err(SqlError::new(
            SqlState("42P17"),
            "functions in index predicate must be marked IMMUTABLE",
        ));
    }
    Ok(computed(table, sql, "expr".to_owned(), PgType::BOOL))
}

/// The computed column of an expression; indexes share it.
fn computed(table: &mut Table, sql: String, name: String, ty: PgType) -> ColumnId {
    let same = |c: &&Column| c.generated.as_deref() == Some(&sql) && c.ty == ty;
    if let Some(known) = table.computed.iter().find(same) {
        return known.id;
    }
    let id = table.next_column;
    table.next_column += 1;
    table.computed.push(Column { generated: Some(sql), ..Column::new(id, name, ty) });
    id
}

/// Without the parentheses that an expression of an index is written in.
fn unwrapped(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => unwrapped(inner),
        other => other,
    }
}

/// What PostgreSQL calls the column of an expression.
fn expression_name(expr: &Expr) -> String {
    match expr {
        Expr::Function(function) => function
            .name
            .0
            .last()
            .and_then(|part| part.as_ident())
            .map_or_else(|| "expr".to_owned(), fold),
        Expr::Cast { expr, data_type, .. } => match unwrapped(expr) {
            Expr::Identifier(ident) => fold(ident),
            Expr::Function(_) => expression_name(unwrapped(expr)),
            _ => crate::bind::type_of(data_type)
                .map_or_else(|_| "expr".to_owned(), |ty| ty.id.name().to_owned()),
        },
        Expr::Nested(inner) => expression_name(inner),
        Expr::Case { .. } => "case".to_owned(),
        Expr::Substring { .. } => "substring".to_owned(),
        Expr::Trim { .. } => "btrim".to_owned(),
        Expr::Extract { .. } => "extract".to_owned(),
        Expr::Ceil { .. } => "ceil".to_owned(),
        Expr::Floor { .. } => "floor".to_owned(),
        Expr::Position { .. } => "position".to_owned(),
        _ => "expr".to_owned(),
    }
}
