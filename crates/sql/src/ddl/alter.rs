//! ALTER TABLE and ALTER INDEX, one operation after the other.

use std::sync::Arc;

use catalog::{Change, Index, IndexState, Table};
use sqlparser::ast::{
    AlterIndexOperation, AlterTable, AlterTableOperation, ObjectName, RenameTableNameKind,
};

use super::create_table::{KeyDef, constraint_key, resolve, storage_parameter};
use super::{Ddl, alter_column, duplicate_relation, free_name, new_oids, notice, rebuild};
use crate::bind::{fold, name_parts};
use crate::session::api::Sink;
use crate::session::{Session, Tag};
use crate::{SqlError, SqlState};

pub(super) async fn run(
    session: &mut Session,
    alter: &AlterTable,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    if alter.location.is_some() || alter.on_cluster.is_some() || alter.table_type.is_some() {
        return Err(SqlError::unsupported("a clause of ALTER TABLE"));
    }
    let mut ddl = Ddl::begin(session).await?;
    let Some(mut table) = ddl.find_table(session, &alter.name)? else {
        if alter.if_exists {
            let name = name_parts(&alter.name)?.join(".");
            let message = format!("relation \"{name}\" does not exist, skipping");
            notice(sink, SqlState::UNDEFINED_TABLE, message);
            return Ok(Tag::Text("ALTER TABLE"));
        }
        return Err(ddl.table(session, &alter.name).expect_err("it was not found"));
    };
    for operation in &alter.operations {
        if let Some(next) = apply(session, &ddl, &table, operation, text, sink).await? {
            ddl.write(session, vec![Change::PutTable(Box::new(next))]).await?;
            table = ddl.catalog.table_by_id(table.id).expect("just written").clone();
        }
    }
    Ok(Tag::Text("ALTER TABLE"))
}

/// The table after an operation; `None` if nothing changes.
async fn apply(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    operation: &AlterTableOperation,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Option<Table>, SqlError> {
    match operation {
        AlterTableOperation::AddConstraint { constraint, not_valid: false } => {
            let key = constraint_key(constraint)?;
            if key.primary {
                add_primary_key(session, ddl, table, &key).await.map(Some)
            } else {
                add_unique(session, ddl, table, &key).await.map(Some)
            }
        }
        AlterTableOperation::DropConstraint { if_exists, name, drop_behavior: _ } => {
            drop_constraint(session, table, &fold(name), *if_exists, sink)
        }
        AlterTableOperation::AddColumn { .. }
        | AlterTableOperation::DropColumn { .. }
        | AlterTableOperation::RenameColumn { .. }
        | AlterTableOperation::AlterColumn { .. } => {
            alter_column::apply(session, ddl, table, operation, text, sink).await
        }
        AlterTableOperation::RenameTable { table_name } => {
            let (RenameTableNameKind::To(name) | RenameTableNameKind::As(name)) = table_name;
            rename(ddl, table, &name_parts(name)?.join(".")).map(Some)
        }
        AlterTableOperation::RenameConstraint { old_name, new_name } => {
            rename_key(ddl, table, &fold(old_name), &fold(new_name)).map(Some)
        }
        AlterTableOperation::SetOptionsParens { options } => {
            let mut next = Table::clone(table);
            for option in options {
                let (name, value) = storage_parameter(option)?;
                next.options.retain(|(n, _)| *n != name);
                next.options.push((name, value));
            }
            Ok(Some(next))
        }
        AlterTableOperation::OwnerTo { new_owner } => {
            let owner = new_owner.to_string();
            if owner == table.owner || owner.eq_ignore_ascii_case("current_user") {
                return Ok(None);
            }
            Err(SqlError::unsupported("ALTER TABLE … OWNER TO another role"))
        }
        other => Err(SqlError::unsupported(format!("ALTER TABLE … {other}"))),
    }
}

fn rename(ddl: &Ddl, table: &Arc<Table>, name: &str) -> Result<Table, SqlError> {
    if ddl.catalog.relation_exists(table.schema, name) {
        return Err(duplicate_relation(name));
    }
    let mut next = Table::clone(table);
    name.clone_into(&mut next.name);
    Ok(next)
}

fn no_constraint(name: &str, table: &str) -> SqlError {
    SqlError::new(
        SqlState::UNDEFINED_OBJECT,
        format!("constraint \"{name}\" of relation \"{table}\" does not exist"),
    )
}

fn rename_key(ddl: &Ddl, table: &Arc<Table>, old: &str, new: &str) -> Result<Table, SqlError> {
    if ddl.catalog.relation_exists(table.schema, new) {
        return Err(duplicate_relation(new));
    }
    let mut next = Table::clone(table);
    let index = std::iter::once(&mut next.primary)
        .filter(|i| !i.columns.is_empty())
        .chain(&mut next.indexes)
        .find(|i| i.constraint && i.name == old)
        .ok_or_else(|| no_constraint(old, &table.name))?;
    new.clone_into(&mut index.name);
    Ok(next)
}

/// Gives every index of `table` a new id: its data is about to be somewhere else. Ids come from the
/// cluster's counter and not from the descriptor, because a descriptor rolls back: an id must not be
/// met again by those who find there what a failed attempt has left.
pub(super) async fn new_storage(session: &Session, table: &mut Table) -> Result<(), SqlError> {
    let first = new_oids(session, 1 + table.indexes.len() as u64).await?;
    table.primary.id = first;
    for (id, index) in (first + 1..).zip(&mut table.indexes) {
        index.id = id;
    }
    Ok(())
}

/// Rows move from a hidden row id to the key.
async fn add_primary_key(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    key: &KeyDef,
) -> Result<Table, SqlError> {
    if !table.has_hidden_row_id() {
        return Err(SqlError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            format!("multiple primary keys for table \"{}\" are not allowed", table.name),
        ));
    }
    let mut next = Table::clone(table);
    let columns = resolve(&table.columns, &key.columns, "primary key")?;
    let name = key
        .name
        .clone()
        .unwrap_or_else(|| free_name(&ddl.catalog, table.schema, &[], &table.name, "pkey"));
    if ddl.catalog.relation_exists(table.schema, &name) {
        return Err(duplicate_relation(&name));
    }
    new_storage(session, &mut next).await?;
    for column in &mut next.columns {
        column.nullable &= !columns.iter().any(|c| c.column == column.id);
    }
    next.primary.name = name;
    next.primary.columns = columns;
    next.primary.constraint = true;
    rebuild::move_rows(session, ddl, table, &next, Ok).await?;
    session.note_dropped(table)?;
    session.mark_fresh(&next);
    Ok(next)
}

async fn add_unique(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    key: &KeyDef,
) -> Result<Table, SqlError> {
    let mut next = Table::clone(table);
    let columns = resolve(&table.columns, &key.columns, "unique")?;
    let name = key.name.clone().unwrap_or_else(|| {
        let names: Vec<&str> = key.columns.iter().map(|c| c.name.as_str()).collect();
        let base = format!("{}_{}", table.name, names.join("_"));
        free_name(&ddl.catalog, table.schema, &[], &base, "key")
    });
    if ddl.catalog.relation_exists(table.schema, &name) {
        return Err(duplicate_relation(&name));
    }
    let oid = new_oids(session, 1).await?;
    next.indexes.push(Index {
        id: oid,
        oid,
        name,
        unique: true,
        columns,
        state: IndexState::Public,
        constraint: true,
    });
    rebuild::fill_indexes(session, ddl, table, &next, next.indexes.len() - 1).await?;
    Ok(next)
}

fn drop_constraint(
    session: &mut Session,
    table: &Arc<Table>,
    name: &str,
    if_exists: bool,
    sink: &mut dyn Sink,
) -> Result<Option<Table>, SqlError> {
    if !table.has_hidden_row_id() && table.primary.name == name {
        return Err(SqlError::unsupported("dropping a primary key"));
    }
    let found = table.indexes.iter().position(|i| i.constraint && i.name == name);
    let Some(at) = found else {
        if if_exists {
            let message = format!(
                "constraint \"{name}\" of relation \"{}\" does not exist, skipping",
                table.name
            );
            notice(sink, SqlState::UNDEFINED_OBJECT, message);
            return Ok(None);
        }
        return Err(no_constraint(name, &table.name));
    };
    let mut next = Table::clone(table);
    let index = next.indexes.remove(at);
    session.note_dropped_index(table, &index)?;
    Ok(Some(next))
}

/// ALTER INDEX … RENAME TO.
pub(super) async fn rename_index(
    session: &mut Session,
    name: &ObjectName,
    operation: &AlterIndexOperation,
) -> Result<Tag, SqlError> {
    let AlterIndexOperation::RenameIndex { index_name } = operation;
    let mut ddl = Ddl::begin(session).await?;
    let (table, index) = super::drop::find_index(session, &ddl, name)?.ok_or_else(|| {
        SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
    })?;
    let new = name_parts(index_name)?.join(".");
    if ddl.catalog.relation_exists(table.schema, &new) {
        return Err(duplicate_relation(&new));
    }
    let mut next = Table::clone(&table);
    std::iter::once(&mut next.primary)
        .chain(&mut next.indexes)
        .find(|i| i.id == index)
        .expect("just found")
        .name = new;
    ddl.write(session, vec![Change::PutTable(Box::new(next))]).await?;
    Ok(Tag::Text("ALTER INDEX"))
}
