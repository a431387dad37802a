//! CREATE INDEX.

use catalog::{Change, Index, IndexState, Table};
use sqlparser::ast::{CreateIndex, Expr, IndexColumn as AstColumn, IndexType};

use super::column::IndexColumnDef;
use super::create_table::resolve;
use super::{Ddl, duplicate_relation, free_name, new_oids, notice, rebuild};
use crate::bind::fold;
use crate::session::api::Sink;
use crate::session::{Session, Tag};
use crate::{SqlError, SqlState};

/// A column of an index as written. An expression is refused.
pub(super) fn index_column(column: &AstColumn) -> Result<IndexColumnDef, SqlError> {
    if let Some(class) = &column.operator_class {
        return Err(SqlError::unsupported(format!("operator class {class}")));
    }
    let name = match &column.column.expr {
        Expr::Identifier(ident) => fold(ident),
        other => return Err(SqlError::unsupported(format!("an index on the expression {other}"))),
    };
    let descending = column.column.options.asc == Some(false);
    // NULLs last in an ascending index, first in a descending one: PostgreSQL's defaults.
    if column.column.options.nulls_first.is_some_and(|first| first != descending) {
        return Err(SqlError::unsupported("NULLS FIRST or LAST against the default"));
    }
    Ok(IndexColumnDef { name, descending })
}

fn check_supported(create: &CreateIndex) -> Result<(), SqlError> {
    if create.predicate.is_some() {
        return Err(SqlError::unsupported("a partial index"));
    }
    if !create.include.is_empty() {
        return Err(SqlError::unsupported("INCLUDE"));
    }
    if create.nulls_distinct == Some(false) {
        return Err(SqlError::unsupported("NULLS NOT DISTINCT"));
    }
    if !create.index_options.is_empty() || !create.alter_options.is_empty() {
        return Err(SqlError::unsupported("an index option"));
    }
    match &create.using {
        None | Some(IndexType::BTree) => {}
        Some(other) => return Err(SqlError::unsupported(format!("USING {other}"))),
    }
    for option in &create.with {
        let text = option.to_string().to_lowercase();
        if !text.starts_with("fillfactor") {
            return Err(SqlError::unsupported(format!("index parameter {option}")));
        }
    }
    Ok(())
}

pub(super) async fn run(
    session: &mut Session,
    create: &CreateIndex,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    check_supported(create)?;
    let mut ddl = Ddl::begin(session).await?;
    let table = ddl.own_table(session, &create.table_name)?;
    let columns: Result<Vec<IndexColumnDef>, SqlError> =
        create.columns.iter().map(index_column).collect();
    let columns = columns?;
    let name = match &create.name {
        Some(name) => {
            let (_, name) = crate::bind::relation_name(name, &session.env().database)?;
            name
        }
        None => {
            let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
            let base = format!("{}_{}", table.name, names.join("_"));
            free_name(&ddl.catalog, table.schema, &[], &base, "idx")
        }
    };
    if ddl.catalog.relation_exists(table.schema, &name) {
        if create.if_not_exists {
            let message = format!("relation \"{name}\" already exists, skipping");
            notice(sink, SqlState::DUPLICATE_TABLE, message);
            return Ok(Tag::Text("CREATE INDEX"));
        }
        return Err(duplicate_relation(&name));
    }
    let columns = resolve(&table.columns, &columns, "index").map_err(|e| match e.code() {
        SqlState::UNDEFINED_COLUMN => {
            SqlError::new(SqlState::UNDEFINED_COLUMN, e.message().replace(" named in key", ""))
        }
        _ => e,
    })?;
    let oid = new_oids(session, 1).await?;
    let mut next = Table::clone(&table);
    let index = Index {
        id: oid,
        oid,
        name,
        unique: create.unique,
        columns,
        state: IndexState::Public,
        constraint: false,
        comment: None,
        constraint_comment: None,
    };
    next.indexes.push(index);
    rebuild::fill_indexes(session, &ddl, &table, &next, next.indexes.len() - 1).await?;
    ddl.write(session, vec![Change::PutTable(Box::new(next))]).await?;
    Ok(Tag::Text("CREATE INDEX"))
}
