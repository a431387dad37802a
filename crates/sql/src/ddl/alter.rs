//! ALTER TABLE and ALTER INDEX, one operation after the other.

use std::sync::Arc;

use catalog::{Change, Index, Table};
use sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, ConstraintUsingIndex, ObjectName, Owner,
    RenameTableNameKind, TableConstraint,
};

use super::alter_way::{Way, close, way};
use super::column::{IndexColumnDef, KeyDef};
use super::create_table::{TableDef, resolve, storage_parameter, table_constraint};
use super::depend::{Drop, Object};
use super::parse::{Action, RelationChange, RelationKind};
use super::{
    Ddl, alter_column, constraint, duplicate_relation, free_name, new_oids, notice, online,
    rebuild, relation,
};
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
    // Of sequences and views too: pg_dump says it so.
    if let [AlterTableOperation::OwnerTo { new_owner: Owner::Ident(owner) }] =
        alter.operations.as_slice()
    {
        let change = RelationChange::Owner(owner.clone());
        let kind = RelationKind::Table;
        return relation::alter(session, kind, alter.if_exists, &alter.name, &change, sink).await;
    }
    let steps = way(&alter.operations) == Way::Steps;
    if !steps {
        close(session, &alter.name, || alter.operations.iter()).await?;
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
    session.authority().must_own(&*table)?;
    if steps && run_online(session, &ddl, &table, alter, text, sink).await? {
        return Ok(Tag::Text("ALTER TABLE"));
    }
    for operation in in_passes(&alter.operations) {
        operate(session, &mut ddl, &mut table, operation, text, sink).await?;
    }
    Ok(Tag::Text("ALTER TABLE"))
}

/// Carries out in steps what is one operation, if the table is large or in use. False: nothing was done.
async fn run_online(
    session: &mut Session,
    ddl: &Ddl,
    table: &Table,
    alter: &AlterTable,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<bool, SqlError> {
    let made;
    let change = match alter.operations.as_slice() {
        [AlterTableOperation::AddConstraint { constraint, .. }] => {
            made = table_constraint(constraint)?;
            match &made {
                TableDef::Key(key) => online::Change::Unique(&alter.name, key),
                TableDef::Other(def) => online::Change::Constraint(&alter.name, def),
            }
        }
        [AlterTableOperation::ValidateConstraint { name }] => {
            online::Change::Validation(&alter.name, fold(name))
        }
        [AlterTableOperation::AlterColumn { column_name, .. }] => {
            online::Change::NotNull(&alter.name, fold(column_name))
        }
        _ => return Ok(false),
    };
    if !online::is_due(session, ddl, table, false).await? {
        return Ok(false);
    }
    ddl.txn.rollback_to_and_release(None).await?;
    online::run(session, &change, text, sink).await?;
    Ok(true)
}

/// The same with actions that sqlparser does not know among them, in the order they are written.
pub(super) async fn run_mixed<'a>(
    session: &mut Session,
    if_exists: bool,
    name: &ObjectName,
    actions: &'a [Action],
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let known = |action: &'a Action| match action {
        Action::Other(operation) => Some(&**operation),
        Action::Generated { .. } => None,
    };
    close(session, name, || actions.iter().filter_map(known)).await?;
    let mut ddl = Ddl::begin(session).await?;
    let Some(mut table) = ddl.find_table(session, name)? else {
        if if_exists {
            let shown = super::view::said(name);
            let message = format!("relation \"{shown}\" does not exist, skipping");
            notice(sink, SqlState::UNDEFINED_TABLE, message);
            return Ok(Tag::Text("ALTER TABLE"));
        }
        return Err(ddl.table(session, name).expect_err("it was not found"));
    };
    session.authority().must_own(&*table)?;
    for action in actions {
        match action {
            Action::Generated { column, change } => {
                let ddl = &mut ddl;
                super::alter_generated::alter(session, ddl, &table, column, change, sink).await?;
                table = ddl.catalog.table_by_id(table.id).expect("it is being altered").clone();
            }
            Action::Other(operation) => {
                operate(session, &mut ddl, &mut table, operation, text, sink).await?;
            }
        }
    }
    Ok(Tag::Text("ALTER TABLE"))
}

/// In PostgreSQL's order: what goes, types, new columns, what is said of columns, keys, constraints.
fn in_passes(operations: &[AlterTableOperation]) -> Vec<&AlterTableOperation> {
    use sqlparser::ast::AlterColumnOperation as Column;
    let pass = |operation: &&AlterTableOperation| match operation {
        AlterTableOperation::DropColumn { .. } | AlterTableOperation::DropConstraint { .. } => 0,
        AlterTableOperation::AlterColumn { op, .. } => match op {
            Column::DropNotNull | Column::DropDefault => 0,
            Column::SetDataType { .. } => 1,
            Column::SetNotNull | Column::AddGenerated { .. } => 3,
            Column::SetDefault { .. } => 5,
        },
        AlterTableOperation::AddColumn { .. } => 2,
        AlterTableOperation::AddConstraint { constraint, .. } => match constraint {
            TableConstraint::PrimaryKey(_)
            | TableConstraint::Unique(_)
            | TableConstraint::PrimaryKeyUsingIndex(_)
            | TableConstraint::UniqueUsingIndex(_) => 4,
            _ => 5,
        },
        _ => 6,
    };
    let mut ordered: Vec<&AlterTableOperation> = operations.iter().collect();
    ordered.sort_by_key(pass);
    ordered
}

/// Carries one operation out; `table` is the descriptor before and then after it.
pub(super) async fn operate(
    session: &mut Session,
    ddl: &mut Ddl,
    table: &mut Arc<Table>,
    operation: &AlterTableOperation,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    match operation {
        AlterTableOperation::AddColumn { .. } => {
            alter_column::add(session, ddl, table, operation, text, sink).await?;
        }
        AlterTableOperation::DropColumn { .. } => {
            alter_column::drop(session, ddl, table, operation, sink).await?;
        }
        AlterTableOperation::AlterColumn {
            column_name,
            op: AlterColumnOperation::SetDataType { data_type, using, .. },
        } => {
            let at = alter_column::position(table, &fold(column_name))?;
            let using = using.as_ref();
            super::alter_type::set_type(session, ddl, table, at, data_type, using, text).await?;
        }
        AlterTableOperation::DropConstraint { if_exists, name, drop_behavior } => {
            let cascade = *drop_behavior == Some(sqlparser::ast::DropBehavior::Cascade);
            let name = fold(name);
            drop_constraint(session, ddl, table, &name, *if_exists, cascade, sink).await?;
        }
        AlterTableOperation::OwnerTo { new_owner } => {
            let owner = super::owner::named(new_owner);
            super::owner::change(session, ddl, table.id, &owner).await?;
        }
        other => {
            if let Some(next) = apply(session, ddl, table, other, text).await? {
                ddl.write(session, vec![Change::PutTable(Box::new(next))]).await?;
            }
        }
    }
    *table = ddl.catalog.table_by_id(table.id).expect("it is being altered").clone();
    Ok(())
}

/// The table after an operation; `None` if nothing changes.
async fn apply(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    operation: &AlterTableOperation,
    text: &str,
) -> Result<Option<Table>, SqlError> {
    match operation {
        AlterTableOperation::AddConstraint { constraint, not_valid } => {
            let using_index = match constraint {
                TableConstraint::PrimaryKeyUsingIndex(using) => Some((using, true)),
                TableConstraint::UniqueUsingIndex(using) => Some((using, false)),
                _ => None,
            };
            if let Some((using, primary)) = using_index {
                return use_index(session, ddl, table, using, primary).await.map(Some);
            }
            match table_constraint(constraint)? {
                TableDef::Key(_) if *not_valid => {
                    Err(SqlError::unsupported("PRIMARY KEY or UNIQUE constraints marked NOT VALID"))
                }
                TableDef::Key(key) if key.primary => {
                    add_primary_key(session, ddl, table, &key).await.map(Some)
                }
                TableDef::Key(key) => add_unique(session, ddl, table, &key).await.map(Some),
                TableDef::Other(def) => {
                    add_constraint(session, ddl, table, &def, *not_valid, text).await.map(Some)
                }
            }
        }
        AlterTableOperation::ValidateConstraint { name } => {
            validate(session, ddl, table, &fold(name)).await
        }
        AlterTableOperation::RenameColumn { .. } | AlterTableOperation::AlterColumn { .. } => {
            alter_column::apply(session, ddl, table, operation, text).await
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
        other => Err(SqlError::unsupported(format!("ALTER TABLE … {other}"))),
    }
}

fn rename(ddl: &Ddl, table: &Arc<Table>, name: &str) -> Result<Table, SqlError> {
    if ddl.catalog.relation_exists(table.schema, name) {
        return Err(duplicate_relation(name));
    }
    super::view::refuse_if_viewed(ddl, table.id, None, "renaming a table")?;
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
    let mut next = Table::clone(table);
    if let Some(at) = table.constraints.iter().position(|c| c.name == old) {
        constraint::check_free(table, new)?;
        new.clone_into(&mut next.constraints[at].name);
        return Ok(next);
    }
    if ddl.catalog.relation_exists(table.schema, new) {
        return Err(duplicate_relation(new));
    }
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
pub(crate) async fn new_storage(session: &Session, table: &mut Table) -> Result<(), SqlError> {
    let first = new_oids(session, 1 + table.indexes.len() as u64).await?;
    table.primary.id = first;
    for (id, index) in (first + 1..).zip(&mut table.indexes) {
        index.id = id;
    }
    Ok(())
}

/// Rows move from a hidden row id to the key.
pub(super) async fn add_primary_key(
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

pub(super) async fn add_unique(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    key: &KeyDef,
) -> Result<Table, SqlError> {
    let mut next = with_unique(ddl, table, key)?;
    super::index::name_last(&mut next, new_oids(session, 1).await?);
    rebuild::fill_indexes(session, ddl, table, &next, next.indexes.len() - 1).await?;
    Ok(next)
}

/// The table with the index of a UNIQUE constraint as its last, without an id.
pub(super) fn with_unique(ddl: &Ddl, table: &Table, key: &KeyDef) -> Result<Table, SqlError> {
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
    next.indexes.push(Index {
        columns,
        nulls_not_distinct: key.nulls_not_distinct,
        constraint: true,
        ..Index::new(0, name, true)
    });
    Ok(next)
}

/// CHECK and FOREIGN KEY.
pub(super) async fn add_constraint(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    def: &constraint::Def,
    not_valid: bool,
    text: &str,
) -> Result<Table, SqlError> {
    let oid = new_oids(session, 1).await?;
    let mut made = constraint::make(session, ddl, table, def, text, oid)?;
    made.validated = !not_valid;
    let mut next = Table::clone(table);
    next.constraints.push(made.clone());
    if !not_valid {
        constraint::validate(session, ddl, table, &next, &made).await?;
    }
    Ok(next)
}

/// VALIDATE CONSTRAINT.
async fn validate(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    name: &str,
) -> Result<Option<Table>, SqlError> {
    let Some(at) = to_validate(table, name)? else { return Ok(None) };
    let mut next = Table::clone(table);
    next.constraints[at].validated = true;
    let made = next.constraints[at].clone();
    constraint::validate(session, ddl, table, &next, &made).await?;
    Ok(Some(next))
}

/// The place of a constraint whose rows are to be looked at; none if that has been done.
pub(super) fn to_validate(table: &Table, name: &str) -> Result<Option<usize>, SqlError> {
    let Some(at) = table.constraints.iter().position(|c| c.name == name) else {
        let key = std::iter::once(&table.primary).chain(&table.indexes);
        if key.into_iter().any(|i| i.constraint && i.name == name) {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!(
                    "constraint \"{name}\" of relation \"{}\" is not a foreign key or check \
                     constraint",
                    table.name
                ),
            ));
        }
        return Err(no_constraint(name, &table.name));
    };
    match table.constraints[at].validation {
        Some(_) => Err(SqlError::new(
            SqlState::OBJECT_IN_USE,
            format!("constraint \"{name}\" of relation \"{}\" is being validated", table.name),
        )),
        None => Ok(Some(at).filter(|&at| !table.constraints[at].validated)),
    }
}

/// UNIQUE and PRIMARY KEY USING INDEX: the index becomes the constraint's. Rows of a primary key are
/// kept in its order, so that they move.
async fn use_index(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    using: &ConstraintUsingIndex,
    primary: bool,
) -> Result<Table, SqlError> {
    if using.characteristics.is_some() {
        return Err(SqlError::unsupported("DEFERRABLE in a UNIQUE or PRIMARY KEY constraint"));
    }
    let name = fold(&using.index_name);
    let Some(at) = table.indexes.iter().position(|i| i.name == name) else {
        return Err(SqlError::new(
            SqlState::UNDEFINED_OBJECT,
            format!("index \"{name}\" does not exist"),
        ));
    };
    let index = &table.indexes[at];
    if !index.state.is_public() {
        return Err(SqlError::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("index \"{name}\" is not valid"),
        ));
    }
    if index.constraint {
        return Err(SqlError::new(
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("index \"{name}\" is already associated with a constraint"),
        ));
    }
    let refused = |message: String| {
        SqlError::new(SqlState::WRONG_OBJECT_TYPE, message)
            .detail("Cannot create a primary key or unique constraint using such an index.")
    };
    if !index.unique {
        return Err(refused(format!("\"{name}\" is not a unique index")));
    }
    if index.predicate.is_some() {
        return Err(refused(format!("\"{name}\" is a partial index")));
    }
    if !table.is_plain(index) {
        return Err(refused(format!("index \"{name}\" contains expressions")));
    }
    let other = |c: &catalog::IndexColumn| c.descending || c.nulls_reversed || c.pattern;
    if let Some(at) = index.columns.iter().position(other) {
        return Err(refused(format!(
            "index \"{name}\" column number {} does not have default sorting behavior",
            at + 1
        )));
    }
    let new_name = using.name.as_ref().map_or_else(|| name.clone(), fold);
    if new_name != name && ddl.catalog.relation_exists(table.schema, &new_name) {
        return Err(duplicate_relation(&new_name));
    }
    let mut next = Table::clone(table);
    if !primary {
        next.indexes[at].constraint = true;
        next.indexes[at].name = new_name;
        return Ok(next);
    }
    let columns = table
        .index_positions(index)
        .into_iter()
        .map(|p| IndexColumnDef { name: table.columns[p].name.clone(), descending: false });
    let key = KeyDef {
        name: Some(new_name),
        columns: columns.collect(),
        primary: true,
        nulls_not_distinct: false,
    };
    let gone = next.indexes.remove(at);
    let referenced = ddl.catalog.references_to(table.id).any(|(.., key)| key.index == gone.oid);
    if referenced {
        return Err(SqlError::unsupported(
            "PRIMARY KEY USING INDEX of an index that a foreign key depends on",
        ));
    }
    let without = Arc::new(next);
    session.note_dropped_index(table, &gone)?;
    let with = ddl
        .catalog
        .with(ddl.catalog.version(), [Change::PutTable(Box::new(Table::clone(&without)))]);
    let ddl = Ddl { txn: ddl.txn.clone(), catalog: Arc::new(with) };
    add_primary_key(session, &ddl, &without, &key).await
}

async fn drop_constraint(
    session: &mut Session,
    ddl: &mut Ddl,
    table: &Arc<Table>,
    name: &str,
    if_exists: bool,
    cascade: bool,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    let object = if !table.has_hidden_row_id() && table.primary.name == name {
        Object::Index(table.id, table.primary.oid)
    } else if let Some(c) = table.constraints.iter().find(|c| c.name == name) {
        Object::Constraint(table.id, c.oid)
    } else if let Some(i) = table.indexes.iter().find(|i| i.constraint && i.name == name) {
        Object::Index(table.id, i.oid)
    } else if if_exists {
        let message = format!(
            "constraint \"{name}\" of relation \"{}\" does not exist, skipping",
            table.name
        );
        notice(sink, SqlState::UNDEFINED_OBJECT, message);
        return Ok(());
    } else {
        return Err(no_constraint(name, &table.name));
    };
    let drop = Drop::of(&ddl.catalog, &[object]);
    drop.allow(session, &ddl.catalog, cascade, sink)?;
    drop.carry_out(session, ddl, Vec::new()).await
}

/// Rows move from the key to a hidden row id.
pub(super) async fn drop_primary_key(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
) -> Result<Table, SqlError> {
    let mut next = Table::clone(table);
    new_storage(session, &mut next).await?;
    next.primary.oid = new_oids(session, 1).await?;
    next.primary.name = format!("{}_rows", table.name);
    next.primary.columns = Vec::new();
    next.primary.constraint = false;
    rebuild::move_rows(session, ddl, table, &next, Ok).await?;
    session.note_dropped(table)?;
    session.mark_fresh(&next);
    Ok(next)
}

/// ALTER INDEX … RENAME TO.
pub(super) async fn rename_index(
    session: &mut Session,
    if_exists: bool,
    name: &ObjectName,
    new: &str,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let mut ddl = Ddl::begin(session).await?;
    let Some((table, index)) = super::drop::find_index(session, &ddl, name)? else {
        let message = format!("relation \"{}\" does not exist", super::view::said(name));
        if if_exists {
            notice(sink, SqlState::UNDEFINED_TABLE, format!("{message}, skipping"));
            return Ok(Tag::Text("ALTER INDEX"));
        }
        return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
    };
    super::owner::must_own_index(session, &table, index)?;
    if ddl.catalog.relation_exists(table.schema, new) {
        return Err(duplicate_relation(new));
    }
    let mut next = Table::clone(&table);
    let all = std::iter::once(&mut next.primary).chain(&mut next.indexes);
    for index in all.filter(|i| i.id == index) {
        new.clone_into(&mut index.name);
    }
    ddl.write(session, vec![Change::PutTable(Box::new(next))]).await?;
    Ok(Tag::Text("ALTER INDEX"))
}
