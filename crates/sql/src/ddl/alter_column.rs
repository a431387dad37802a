//! ALTER TABLE on columns.
//!
//! ADD COLUMN rewrites nothing: rows of before lack the column's cell, and the descriptor says what
//! that stands for ([`catalog::Column::missing`]). DROP COLUMN rewrites nothing either: cells of an
//! id that no column has are skipped, and ids are never given out again.

use std::sync::Arc;

use catalog::Table;
use pgtypes::cast::{self, Context};
use sqlparser::ast::{AlterColumnOperation, AlterTableOperation};

use super::alter::new_storage;
use super::create_table::{COLUMNS_MAX, column, default_of};
use super::{Ddl, notice, rebuild};
use crate::bind::{fold, type_of};
use crate::session::Session;
use crate::session::api::Sink;
use crate::{SqlError, SqlState};

fn position(table: &Table, name: &str) -> Result<usize, SqlError> {
    table.position(name).ok_or_else(|| {
        SqlError::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
        )
    })
}

pub(super) async fn apply(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    operation: &AlterTableOperation,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Option<Table>, SqlError> {
    match operation {
        AlterTableOperation::AddColumn {
            if_not_exists, column_def, column_position: None, ..
        } => add(session, ddl, table, column_def, *if_not_exists, text, sink).await,
        AlterTableOperation::DropColumn { column_names, if_exists, drop_behavior: _, .. } => {
            let mut next = Table::clone(table);
            for name in column_names {
                drop_column(session, table, &mut next, &fold(name), *if_exists, sink)?;
            }
            Ok(Some(next))
        }
        AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
            let at = position(table, &fold(old_column_name))?;
            let new = fold(new_column_name);
            if table.position(&new).is_some() {
                return Err(exists(table, &new));
            }
            let mut next = Table::clone(table);
            next.columns[at].name = new;
            Ok(Some(next))
        }
        AlterTableOperation::AlterColumn { column_name, op } => {
            let at = position(table, &fold(column_name))?;
            alter(session, ddl, table, at, op, text).await
        }
        other => Err(SqlError::unsupported(format!("ALTER TABLE … {other}"))),
    }
}

fn exists(table: &Table, column: &str) -> SqlError {
    SqlError::new(
        SqlState::DUPLICATE_COLUMN,
        format!("column \"{column}\" of relation \"{}\" already exists", table.name),
    )
}

async fn add(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    definition: &sqlparser::ast::ColumnDef,
    if_not_exists: bool,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<Option<Table>, SqlError> {
    let name = fold(&definition.name);
    if table.position(&name).is_some() {
        if if_not_exists {
            let message = format!(
                "column \"{name}\" of relation \"{}\" already exists, skipping",
                table.name
            );
            notice(sink, SqlState::DUPLICATE_COLUMN, message);
            return Ok(None);
        }
        return Err(exists(table, &name));
    }
    if table.columns.len() >= COLUMNS_MAX {
        return Err(SqlError::new(
            SqlState::TOO_MANY_COLUMNS,
            format!("tables can have at most {COLUMNS_MAX} columns"),
        ));
    }
    let (mut added, keys) = column(session, ddl, table.next_column, definition, text)?;
    if added.sequence.is_some() {
        return Err(SqlError::unsupported("ADD COLUMN of type serial"));
    }
    if !keys.is_empty() {
        return Err(SqlError::unsupported("ADD COLUMN with a key")
            .hint("Add the column first, then the constraint."));
    }
    let mut next = Table::clone(table);
    if let Some(default) = &added.default {
        let view = session.view(&ddl.catalog);
        let bound = crate::session::bind_default(&view, session.env(), default, added.ty)?;
        let value = crate::ir::eval(&bound, session.env(), &[], &[])?;
        if !value.is_null() {
            let encoded = catalog::encode_single(&value, added.ty)
                .map_err(|e| crate::dml::codec_error(&e, table))?;
            added.missing = Some(encoded);
        }
    }
    if !added.nullable && added.missing.is_none() {
        let options = kv::ScanOptions { max_rows: 1, ..kv::ScanOptions::default() };
        let page = ddl.txn.scan(table.codec().span(), options).await?;
        if !page.rows.is_empty() {
            return Err(rebuild::contains_nulls(&added.name, &table.name));
        }
    }
    next.next_column += 1;
    next.columns.push(added);
    Ok(Some(next))
}

fn drop_column(
    session: &mut Session,
    table: &Arc<Table>,
    next: &mut Table,
    name: &str,
    if_exists: bool,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    let Some(at) = next.position(name) else {
        if if_exists {
            let message = format!(
                "column \"{name}\" of relation \"{}\" does not exist, skipping",
                table.name
            );
            notice(sink, SqlState::UNDEFINED_COLUMN, message);
            return Ok(());
        }
        return Err(position(next, name).expect_err("it was not found"));
    };
    let id = next.columns[at].id;
    if next.primary.columns.iter().any(|c| c.column == id) {
        return Err(SqlError::unsupported("dropping a column of the primary key"));
    }
    // An index goes with any of its columns, as in PostgreSQL.
    let (gone, kept) = std::mem::take(&mut next.indexes)
        .into_iter()
        .partition::<Vec<_>, _>(|i| i.columns.iter().any(|c| c.column == id));
    next.indexes = kept;
    for index in &gone {
        session.note_dropped_index(table, index)?;
    }
    next.columns.remove(at);
    Ok(())
}

async fn alter(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    at: usize,
    operation: &AlterColumnOperation,
    text: &str,
) -> Result<Option<Table>, SqlError> {
    let mut next = Table::clone(table);
    let column = &mut next.columns[at];
    match operation {
        AlterColumnOperation::SetNotNull => {
            rebuild::check_no_nulls(ddl, table, at).await?;
            column.nullable = false;
        }
        AlterColumnOperation::DropNotNull => {
            if table.primary.columns.iter().any(|c| c.column == column.id) {
                return Err(SqlError::new(
                    SqlState::INVALID_TABLE_DEFINITION,
                    format!("column \"{}\" is in a primary key", column.name),
                ));
            }
            column.nullable = true;
        }
        AlterColumnOperation::SetDefault { value } => {
            column.default = default_of(session, ddl, value, column.ty, text)?;
            column.sequence = None;
        }
        AlterColumnOperation::DropDefault => {
            column.default = None;
            column.sequence = None;
        }
        AlterColumnOperation::SetDataType { data_type, using: None, .. } => {
            let ty = type_of(data_type)?;
            return set_type(session, ddl, table, at, ty).await.map(Some);
        }
        AlterColumnOperation::SetDataType { using: Some(_), .. } => {
            return Err(SqlError::unsupported("ALTER COLUMN … TYPE … USING"));
        }
        AlterColumnOperation::AddGenerated { .. } => {
            return Err(SqlError::unsupported("identity columns"));
        }
    }
    Ok(Some(next))
}

async fn set_type(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    at: usize,
    ty: pgtypes::PgType,
) -> Result<Table, SqlError> {
    let from = table.columns[at].ty;
    let cast = cast::lookup(from, ty).filter(|c| c.context <= Context::Assignment);
    if cast.is_none() && !from.same(ty) {
        return Err(SqlError::new(
            SqlState::DATATYPE_MISMATCH,
            format!(
                "column \"{}\" cannot be cast automatically to type {}",
                table.columns[at].name, ty
            ),
        ));
    }
    let mut next = Table::clone(table);
    new_storage(session, &mut next).await?;
    next.columns[at].ty = ty;
    next.columns[at].missing = None;
    let env = session.env().clone();
    let convert = |mut row: Vec<pgtypes::Datum>| {
        let value = std::mem::take(&mut row[at]);
        row[at] = match cast {
            _ if value.is_null() => value,
            Some(cast) => cast.apply(&env, value, from, ty, false)?,
            None => cast::apply_typmod(value, ty, false)?,
        };
        Ok(row)
    };
    rebuild::move_rows(session, ddl, table, &next, convert).await?;
    session.note_dropped(table)?;
    session.mark_fresh(&next);
    Ok(next)
}
