//! ALTER COLUMN … TYPE.
//!
//! ```text
//!   stored alike (varchar(5) to text, int to bigint)   the descriptor changes
//!   otherwise                                          rows are written anew, converted
//! ```
//!
//! What is said in terms of the column is bound again: its default, CHECK constraints, expressions of
//! indexes. Foreign keys on either side are checked again once rows are written.

use std::sync::Arc;

use catalog::{Change, Column, ConstraintKind, Sequence, Table};
use pgtypes::cast::{self, Cast, Context};
use pgtypes::{Datum, PgType, TypeId};
use sqlparser::ast::{DataType, Expr};

use super::alter::new_storage;
use super::expression::{self, Use, columns_of_stored, stored};
use super::parse::SequenceOption;
use super::{Ddl, constraint, rebuild, sequence, view};
use crate::dml::is_comparable;
use crate::ir::{self, ColId, Scalar};
use crate::session::{CatalogDefaults, Session, stored_expr};
use crate::{SqlError, SqlState};

/// What becomes of a value of before.
enum Convert {
    /// Cast by assignment, or the type's modifier alone.
    Cast(Option<Cast>, PgType),
    /// USING, over the row of before.
    Using(Scalar),
    /// The column is generated: over the row of now.
    Generated(Scalar),
}

pub(super) async fn set_type(
    session: &mut Session,
    ddl: &mut Ddl,
    table: &Arc<Table>,
    at: usize,
    data_type: &DataType,
    using: Option<&Expr>,
    text: &str,
) -> Result<(), SqlError> {
    let ty = super::column_type(ddl, session, data_type)?;
    let column = &table.columns[at];
    let id = column.id;
    view::refuse_if_viewed(ddl, table.id, Some(id), "changing the type of a column")?;
    refuse_if_generates(table, at)?;
    let mut next = Table::clone(table);
    next.columns[at].ty = ty;
    let mut changes = Vec::new();
    if column.identity.is_some() {
        changes.extend(identity(session, ddl, column, data_type).await?);
    }
    rebind(session, ddl, &mut next, at, text)?;
    check_references(ddl, table, &next, id)?;
    let expressions = table.computed.iter();
    let in_expression = expressions
        .filter_map(|c| c.generated.as_deref())
        .any(|sql| columns_of_stored(sql, table).contains(&at));
    let alike = using.is_none() && column.generated.is_none() && !in_expression;
    if alike && is_stored_alike(column.ty, ty) {
        changes.push(Change::PutTable(Box::new(next)));
        return ddl.write(session, changes).await;
    }
    let convert = convert(session, ddl, table, at, ty, using, &next, text)?;
    next.columns[at].missing = None;
    new_storage(session, &mut next).await?;
    rewrite(session, ddl, table, &next, at, ty, convert).await?;
    session.note_dropped(table)?;
    session.mark_fresh(&next);
    changes.push(Change::PutTable(Box::new(next)));
    ddl.write(session, changes).await?;
    check_rows(session, ddl, table.id, at, id).await
}

/// Whether values of one type are those of the other as they are stored, in rows and in keys.
fn is_stored_alike(from: PgType, to: PgType) -> bool {
    if from.array || to.array {
        return from == to;
    }
    let width = |ty: PgType| match ty.id {
        TypeId::Int2 => 2,
        TypeId::Int4 => 4,
        TypeId::Int8 => 8,
        _ => 0,
    };
    let is_text = |ty: PgType| matches!(ty.id, TypeId::Text | TypeId::Varchar);
    let longer = to.typmod < 0 || (from.typmod >= 0 && to.typmod >= from.typmod);
    if is_text(from) && is_text(to) {
        return longer;
    }
    match (width(from), width(to)) {
        (0, _) | (_, 0) => {}
        (from, to) => return from <= to,
    }
    from.id == to.id && (to.typmod < 0 || from.typmod == to.typmod)
}

fn refuse_if_generates(table: &Table, at: usize) -> Result<(), SqlError> {
    let uses = |c: &&Column| {
        c.generated.as_deref().is_some_and(|sql| columns_of_stored(sql, table).contains(&at))
    };
    let Some(other) = table.columns.iter().find(uses) else { return Ok(()) };
    Err(SqlError::new(
        SqlState::FEATURE_NOT_SUPPORTED,
        "cannot alter type of a column used by a generated column",
    )
    .detail(format!(
        "Column \"{}\" is used by generated column \"{}\".",
        table.columns[at].name, other.name
    )))
}

/// The sequence of an identity column has its column's type.
async fn identity(
    session: &Session,
    ddl: &Ddl,
    column: &Column,
    data_type: &DataType,
) -> Result<Option<Change>, SqlError> {
    let ty = crate::bind::type_of(data_type)?;
    super::column::check_identity_type(ty)?;
    let Some(old) = column.sequence.and_then(|id| ddl.catalog.sequence_by_id(id)) else {
        return Ok(None);
    };
    let options = [SequenceOption::As(data_type.clone())];
    sequence::changed(session, Sequence::clone(old), &options).await.map(Some)
}

/// Binds again what is said in terms of the column, which has its new type in `next`.
fn rebind(
    session: &Session,
    ddl: &Ddl,
    next: &mut Table,
    at: usize,
    text: &str,
) -> Result<(), SqlError> {
    let columns = next.columns.clone();
    let ty = columns[at].ty;
    if let Some(sql) = &columns[at].default {
        let expr = stored_expr(sql)?;
        let bound = stored(session, ddl, &expr, &[], Some(ty), Use::Default, sql);
        let (sql, _) = bound.map_err(|e| match e.code() {
            SqlState::DATATYPE_MISMATCH => SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "default for column \"{}\" cannot be cast automatically to type {}",
                    columns[at].name,
                    ty.sql_name()
                ),
            ),
            _ => e,
        })?;
        next.columns[at].default = Some(sql);
    }
    if let Some(sql) = &columns[at].generated {
        let expr = stored_expr(sql)?;
        next.columns[at].generated =
            Some(super::column::generation(session, ddl, &columns, at, &expr, text)?);
    }
    let mentions = |sql: &str, next: &Table| columns_of_stored(sql, next).contains(&at);
    for n in 0..next.constraints.len() {
        let ConstraintKind::Check { expression } = &next.constraints[n].kind else { continue };
        if mentions(expression, next) {
            let expr = stored_expr(expression)?;
            let (sql, _) = stored(session, ddl, &expr, &columns, None, Use::Check, expression)?;
            next.constraints[n].kind = ConstraintKind::Check { expression: sql };
        }
    }
    for n in 0..next.computed.len() {
        let Some(sql) = next.computed[n].generated.clone() else { continue };
        if mentions(&sql, next) {
            let expr = stored_expr(&sql)?;
            let use_of = Use::IndexExpression;
            let (sql, bound) = stored(session, ddl, &expr, &columns, None, use_of, &sql)?;
            if !expression::is_immutable(&bound) {
                return Err(SqlError::new(
                    SqlState("42P17"),
                    "functions in index expression must be marked IMMUTABLE",
                ));
            }
            next.computed[n].ty = bound.ty();
            next.computed[n].generated = Some(sql);
        }
    }
    let of_index = |id: u32| {
        next.indexes.iter().chain([&next.primary]).any(|i| i.columns.iter().any(|c| c.column == id))
    };
    let keys = next.columns.iter().chain(&next.computed).filter(|c| of_index(c.id));
    for column in keys {
        if !catalog::is_indexable(column.ty) {
            return Err(SqlError::new(
                SqlState::UNDEFINED_OBJECT,
                format!(
                    "data type {} has no default operator class for access method \"btree\"",
                    column.ty.sql_name()
                ),
            ));
        }
    }
    Ok(())
}

/// Foreign keys of the column and to it can be kept.
fn check_references(ddl: &Ddl, table: &Table, next: &Table, id: u32) -> Result<(), SqlError> {
    let column = |table: u32, column: u32| {
        let of = if table == next.id { Some(next) } else { None };
        let found = of.or_else(|| ddl.catalog.table_by_id(table).map(|t| &**t));
        found.and_then(|t| t.columns.iter().find(|c| c.id == column)).cloned()
    };
    let own = table.foreign_keys().map(|(c, key)| (table.id, c, key));
    let others = ddl.catalog.references_to(table.id).map(|(from, c, key)| (from.id, c, key));
    for (from, constraint, key) in own.chain(others) {
        for (mine, theirs) in key.columns.iter().zip(&key.referenced) {
            let concerned =
                (from == table.id && *mine == id) || (key.table == table.id && *theirs == id);
            let (Some(a), Some(b)) = (column(from, *mine), column(key.table, *theirs)) else {
                continue;
            };
            if concerned && !is_comparable(a.ty, b.ty) {
                return Err(SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!("foreign key constraint \"{}\" cannot be implemented", constraint.name),
                )
                .detail(format!(
                    "Key columns \"{}\" and \"{}\" are of incompatible types: {} and {}.",
                    a.name,
                    b.name,
                    a.ty.sql_name(),
                    b.ty.sql_name()
                )));
            }
        }
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "the statement has as many parts")]
fn convert(
    session: &Session,
    ddl: &Ddl,
    table: &Table,
    at: usize,
    ty: PgType,
    using: Option<&Expr>,
    next: &Table,
    text: &str,
) -> Result<Convert, SqlError> {
    let column = &table.columns[at];
    if let Some(sql) = &next.columns[at].generated {
        if using.is_some() {
            return Err(SqlError::new(
                SqlState::INVALID_TABLE_DEFINITION,
                "cannot specify USING when altering type of generated column",
            )
            .detail(format!("Column \"{}\" is a generated column.", column.name)));
        }
        let catalog = ddl.catalog.clone();
        let defaults = CatalogDefaults { view: session.view(&catalog), env: session.env() };
        let value = crate::point::Defaults::over_row(&defaults, next, sql, Some(ty))?;
        return Ok(Convert::Generated(value));
    }
    let Some(using) = using else {
        let cast = cast::lookup(column.ty, ty).filter(|c| c.context <= Context::Assignment);
        if cast.is_none() && !column.ty.same(ty) {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "column \"{}\" cannot be cast automatically to type {}",
                    column.name,
                    ty.sql_name()
                ),
            )
            .hint(format!(
                "You might need to specify \"USING {}::{}\".",
                crate::sysviews::quote(&column.name),
                pgtypes::typmod::format_type(ty)
            )));
        }
        return Ok(Convert::Cast(cast, column.ty));
    };
    let use_of = Use::Transform;
    let bound = stored(session, ddl, using, &table.columns, Some(ty), use_of, text);
    let (_, bound) = bound.map_err(|e| match e.code() {
        SqlState::DATATYPE_MISMATCH => SqlError::new(
            SqlState::DATATYPE_MISMATCH,
            format!(
                "result of USING clause for column \"{}\" cannot be cast automatically to type {}",
                column.name,
                ty.sql_name()
            ),
        )
        .hint("You might need to add an explicit cast."),
        _ => e,
    })?;
    let layout: Vec<ColId> = (0u32..).zip(&table.columns).map(|(id, _)| ColId(id)).collect();
    Ok(Convert::Using(bound.over(&layout)?))
}

async fn rewrite(
    session: &mut Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    next: &Table,
    at: usize,
    ty: PgType,
    convert: Convert,
) -> Result<(), SqlError> {
    let env = session.env().clone();
    let (nullable, name) = (next.columns[at].nullable, next.columns[at].name.clone());
    let relation = table.name.clone();
    let one = |mut row: Vec<Datum>| {
        let made = match &convert {
            Convert::Using(value) => ir::eval(value, &env, &row, &[])?,
            Convert::Generated(value) => ir::eval(value, &env, &row, &[])?,
            Convert::Cast(cast, from) => match (std::mem::take(&mut row[at]), cast) {
                (value, _) if value.is_null() => value,
                (value, Some(cast)) => cast.apply(&env, value, *from, ty, false)?,
                (value, None) => cast::apply_typmod(value, ty, false)?,
            },
        };
        if made.is_null() && !nullable {
            return Err(rebuild::contains_nulls(&name, &relation));
        }
        row[at] = made;
        Ok(row)
    };
    rebuild::move_rows(session, ddl, table, next, one).await
}

/// Constraints about the column hold for the rows as they are now.
async fn check_rows(
    session: &mut Session,
    ddl: &Ddl,
    table: u32,
    at: usize,
    id: u32,
) -> Result<(), SqlError> {
    let table = ddl.catalog.table_by_id(table).expect("just written").clone();
    for constraint in table.constraints.iter().filter(|c| c.validated) {
        let concerned = match &constraint.kind {
            ConstraintKind::Check { expression } => {
                columns_of_stored(expression, &table).contains(&at)
            }
            ConstraintKind::ForeignKey(key) => key.columns.contains(&id),
            ConstraintKind::NotNull { .. } => false,
        };
        if concerned {
            constraint::validate(session, ddl, &table, &table, constraint).await?;
        }
    }
    let catalog = ddl.catalog.clone();
    let others = catalog.references_to(table.id).filter(|(from, c, key)| {
        from.id != table.id && c.validated && key.referenced.contains(&id)
    });
    for (from, constraint, _) in others {
        constraint::validate(session, ddl, from, from, constraint).await?;
    }
    Ok(())
}
