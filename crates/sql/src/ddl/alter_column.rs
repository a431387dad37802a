//! ALTER TABLE on columns.
//!
//! ADD COLUMN rewrites nothing: rows of before lack the column's cell, and the descriptor says what
//! that stands for ([`catalog::Column::missing`]). DROP COLUMN rewrites nothing either: cells of an
//! id that no column has are skipped, and ids are never given out again.

use std::sync::Arc;

use catalog::{Change, ConstraintKind, Table};
use sqlparser::ast::{AlterColumnOperation, AlterTableOperation};

use super::alter::new_storage;
use super::column::{ColumnDef, column, column_sequence, default_of, generation};
use super::create_table::COLUMNS_MAX;
use super::depend::{Drop, Object};
use super::expression::Use;
use super::{Ddl, expression, new_oids, notice, rebuild};
use crate::bind::fold;
use crate::session::Session;
use crate::session::api::Sink;
use crate::{SqlError, SqlState};

pub(super) fn position(table: &Table, name: &str) -> Result<usize, SqlError> {
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
) -> Result<Option<Table>, SqlError> {
    match operation {
        AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
            let at = position(table, &fold(old_column_name))?;
            let new = fold(new_column_name);
            if table.position(&new).is_some() {
                return Err(exists(table, &new));
            }
            super::view::refuse_if_viewed(
                ddl,
                table.id,
                Some(table.columns[at].id),
                "renaming a column",
            )?;
            let mut next = Table::clone(table);
            let from = std::mem::replace(&mut next.columns[at].name, new);
            let columns = next.columns.clone();
            let names = (from.as_str(), new_column_name);
            let renamed = |sql: &str, target, use_of| {
                expression::renamed(session, ddl, sql, &columns, names, (target, use_of))
            };
            for column in &mut next.columns {
                if let Some(sql) = &mut column.generated {
                    *sql = renamed(sql, Some(column.ty), Use::Generated)?;
                }
            }
            for column in &mut next.computed {
                if let Some(sql) = &mut column.generated {
                    *sql = renamed(sql, None, Use::IndexExpression)?;
                }
            }
            for constraint in &mut next.constraints {
                if let ConstraintKind::Check { expression } = &mut constraint.kind {
                    *expression = renamed(expression, None, Use::Check)?;
                }
            }
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

/// ADD COLUMN, with all its definition carries. Rows are rewritten only where each needs a value of its
/// own.
pub(super) async fn add(
    session: &mut Session,
    ddl: &mut Ddl,
    table: &Arc<Table>,
    operation: &AlterTableOperation,
    text: &str,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    let AlterTableOperation::AddColumn {
        if_not_exists,
        column_def: definition,
        column_position: None,
        ..
    } = operation
    else {
        return Err(SqlError::unsupported(format!("ALTER TABLE … {operation}")));
    };
    let name = fold(&definition.name);
    if table.position(&name).is_some() {
        if *if_not_exists {
            let message = format!(
                "column \"{name}\" of relation \"{}\" already exists, skipping",
                table.name
            );
            notice(sink, SqlState::DUPLICATE_COLUMN, message);
            return Ok(());
        }
        return Err(exists(table, &name));
    }
    if table.columns.len() >= COLUMNS_MAX {
        return Err(SqlError::new(
            SqlState::TOO_MANY_COLUMNS,
            format!("tables can have at most {COLUMNS_MAX} columns"),
        ));
    }
    let made = column(session, ddl, &table.name, table.next_column, definition, text)?;
    let ColumnDef { column: mut added, keys, constraints, sequence, generated } = made;
    let at = table.columns.len();
    let mut next = Table::clone(table);
    next.next_column += 1;
    let mut changes = Vec::new();
    let mut filled = None;
    if let Some(options) = sequence {
        let id = new_oids(session, 1).await?;
        let made = column_sequence(ddl, table, &mut Vec::new(), id, &added, &options)?;
        added.sequence = Some(id);
        filled = Some(made.clone());
        changes.push(Change::PutSequence(Box::new(made)));
    }
    next.columns.push(added);
    if let Some(expr) = &generated {
        let sql = generation(session, ddl, &next.columns, at, expr, text)?;
        next.columns[at].generated = Some(sql);
    }
    if let Some(sequence) = filled {
        fill_from_sequence(session, ddl, table, &mut next, at, &sequence).await?;
    } else if next.columns[at].generated.is_some() {
        fill_generated(session, ddl, table, &mut next, at).await?;
    } else {
        let required = !keys.iter().any(|k| k.primary);
        fill_default(session, ddl, table, &mut next, at, required).await?;
    }
    changes.push(Change::PutTable(Box::new(next)));
    ddl.write(session, changes).await?;
    let current = |ddl: &Ddl| ddl.catalog.table_by_id(table.id).expect("it is altered").clone();
    for key in keys {
        let table = current(ddl);
        let next = match key.primary {
            true => super::alter::add_primary_key(session, ddl, &table, &key).await?,
            false => super::alter::add_unique(session, ddl, &table, &key).await?,
        };
        ddl.write(session, vec![Change::PutTable(Box::new(next))]).await?;
    }
    for def in &constraints {
        let table = current(ddl);
        let next = super::alter::add_constraint(session, ddl, &table, def, false, text).await?;
        ddl.write(session, vec![Change::PutTable(Box::new(next))]).await?;
    }
    Ok(())
}

/// Rows of before have the default's value of now.
async fn fill_default(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    next: &mut Table,
    at: usize,
    required: bool,
) -> Result<(), SqlError> {
    let added = &next.columns[at];
    let mut missing = None;
    if let Some(default) = &added.default {
        let view = session.view(&ddl.catalog);
        let bound = crate::session::bind_default(&view, session.env(), default, added.ty)?;
        if crate::session::has_sequence_call(&bound) {
            return Err(SqlError::unsupported("ADD COLUMN with a default that calls nextval"));
        }
        if bound.any(&mut is_volatile) {
            let env = session.env().clone();
            new_storage(session, next).await?;
            let convert = |mut row: Vec<pgtypes::Datum>| {
                row.push(crate::ir::eval(&bound, &env, &[], &[])?);
                Ok(row)
            };
            return rewrite(session, ddl, table, next, convert).await;
        }
        let value = crate::ir::eval(&bound, session.env(), &[], &[])?;
        if !value.is_null() {
            let encoded = catalog::encode_single(&value, added.ty)
                .map_err(|e| crate::dml::codec_error(&e, table))?;
            missing = Some(encoded);
        }
    }
    next.columns[at].missing = missing;
    let added = &next.columns[at];
    if !added.nullable && added.missing.is_none() && required {
        let options = kv::ScanOptions { max_rows: 1, ..kv::ScanOptions::default() };
        let page = ddl.txn.scan(table.codec().span(), options).await?;
        if !page.rows.is_empty() {
            return Err(rebuild::contains_nulls(&added.name, &table.name));
        }
    }
    Ok(())
}

fn is_volatile(scalar: &crate::ir::Scalar) -> bool {
    matches!(scalar, crate::ir::Scalar::Call { func, .. }
        if func.volatility == pgtypes::registry::Volatility::Volatile)
}

/// Writes the rows anew; `next` has new storage.
async fn rewrite(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    next: &Table,
    convert: impl FnMut(Vec<pgtypes::Datum>) -> Result<Vec<pgtypes::Datum>, SqlError>,
) -> Result<(), SqlError> {
    rebuild::move_rows(session, ddl, table, next, convert).await?;
    session.note_dropped(table)?;
    session.mark_fresh(next);
    Ok(())
}

async fn fill_generated(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    next: &mut Table,
    at: usize,
) -> Result<(), SqlError> {
    new_storage(session, next).await?;
    let env = session.env().clone();
    let catalog = ddl.catalog.clone();
    let defaults = crate::session::CatalogDefaults { view: session.view(&catalog), env: &env };
    let column = &next.columns[at];
    let sql = column.generated.clone().expect("the caller has seen it");
    let value = crate::point::Defaults::over_row(&defaults, next, &sql, Some(column.ty))?;
    let (name, nullable) = (column.name.clone(), column.nullable);
    let relation = table.name.clone();
    let convert = |mut row: Vec<pgtypes::Datum>| {
        row.push(pgtypes::Datum::Null);
        let made = crate::ir::eval(&value, &env, &row, &[])?;
        if made.is_null() && !nullable {
            return Err(rebuild::contains_nulls(&name, &relation));
        }
        *row.last_mut().expect("just pushed") = made;
        Ok(row)
    };
    rewrite(session, ddl, table, next, convert).await
}

/// Rows of before get the first values of a sequence that nobody else knows of yet.
async fn fill_from_sequence(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    next: &mut Table,
    at: usize,
    sequence: &catalog::Sequence,
) -> Result<(), SqlError> {
    new_storage(session, next).await?;
    let ty = next.columns[at].ty;
    let mut state = catalog::store::SequenceState { last: sequence.start, called: false };
    let convert = |mut row: Vec<pgtypes::Datum>| {
        let value = crate::session::next_of(sequence, &mut state)?;
        row.push(match ty.id {
            pgtypes::TypeId::Int2 => pgtypes::Datum::Int2(value as i16),
            pgtypes::TypeId::Int4 => pgtypes::Datum::Int4(value as i32),
            _ => pgtypes::Datum::Int8(value),
        });
        Ok(row)
    };
    rewrite(session, ddl, table, next, convert).await?;
    if state.called {
        super::sequence::place(session, sequence, state).await?;
    }
    Ok(())
}

/// DROP COLUMN.
pub(super) async fn drop(
    session: &mut Session,
    ddl: &mut Ddl,
    table: &Arc<Table>,
    operation: &AlterTableOperation,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    let AlterTableOperation::DropColumn { column_names, if_exists, drop_behavior, .. } = operation
    else {
        return Err(SqlError::internal("not a DROP COLUMN"));
    };
    let cascade = *drop_behavior == Some(sqlparser::ast::DropBehavior::Cascade);
    for name in column_names {
        let name = fold(name);
        let Some(at) = table.position(&name) else {
            if *if_exists {
                let message = format!(
                    "column \"{name}\" of relation \"{}\" does not exist, skipping",
                    table.name
                );
                notice(sink, SqlState::UNDEFINED_COLUMN, message);
                continue;
            }
            return Err(position(table, &name).expect_err("it was not found"));
        };
        let id = table.columns[at].id;
        let drop = Drop::of(&ddl.catalog, &[Object::Column(table.id, id)]);
        drop.allow(session, &ddl.catalog, cascade, sink)?;
        drop.carry_out(session, ddl, Vec::new()).await?;
    }
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
            rebuild::check_no_nulls(session, ddl, table, at).await?;
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
        AlterColumnOperation::SetDefault { .. } | AlterColumnOperation::DropDefault
            if column.identity.is_some() || column.generated.is_some() =>
        {
            let kind = if column.identity.is_some() { "an identity" } else { "a generated" };
            return Err(SqlError::syntax(format!(
                "column \"{}\" of relation \"{}\" is {kind} column",
                column.name, table.name
            )));
        }
        AlterColumnOperation::SetDefault { value } => {
            column.default = default_of(session, ddl, value, column.ty, text)?;
            column.sequence = None;
        }
        AlterColumnOperation::DropDefault => {
            column.default = None;
            column.sequence = None;
        }
        AlterColumnOperation::SetDataType { .. } => {
            return Err(SqlError::internal("the type of a column is changed elsewhere"));
        }
        AlterColumnOperation::AddGenerated { .. } => {
            return Err(SqlError::unsupported("identity columns"));
        }
    }
    Ok(Some(next))
}
