//! CHECK and FOREIGN KEY: from the tree to the descriptor, and whether the rows that are there meet them.

use std::sync::Arc;

use catalog::{Action, Column, Constraint, ConstraintKind, ForeignKey, Privileges, Table};
use pgtypes::PgType;
use sqlparser::ast::{
    ConstraintCharacteristics, ConstraintReferenceMatchKind, DeferrableInitial, Expr,
    ForeignKeyConstraint, Ident, ReferentialAction,
};

use super::expression::{self, Use};
use super::rebuild::{self, Rows};
use super::{Ddl, NAME_MAX};
use crate::bind::{fold, name_parts};
use crate::dml::is_comparable;
use crate::session::{CatalogDefaults, Session};
use crate::{SqlError, SqlState};

/// A CHECK as written.
pub(super) struct CheckDef {
    pub(super) name: Option<String>,
    pub(super) expr: Expr,
}

/// A FOREIGN KEY as written; `columns` of a column's REFERENCES are that column.
pub(super) struct ForeignDef {
    pub(super) name: Option<String>,
    pub(super) columns: Vec<String>,
    pub(super) key: ForeignKeyConstraint,
}

/// A constraint to be made.
pub(super) enum Def {
    Check(CheckDef),
    Foreign(ForeignDef),
}

impl ForeignDef {
    pub(super) fn new(name: Option<&Ident>, own: Option<&str>, key: &ForeignKeyConstraint) -> Self {
        let columns = match own {
            Some(column) => vec![column.to_owned()],
            None => key.columns.iter().map(fold).collect(),
        };
        let name = name.or(key.name.as_ref()).map(fold);
        ForeignDef { name, columns, key: key.clone() }
    }
}

/// `base_suffix`, `base_suffix1`, …: none that a constraint of the table has.
fn free_constraint_name(table: &Table, base: &str, suffix: &str) -> String {
    let taken = |name: &str| {
        table.constraints.iter().any(|c| c.name == name)
            || std::iter::once(&table.primary)
                .chain(&table.indexes)
                .any(|i| i.constraint && i.name == name)
    };
    let mut n = 0;
    loop {
        let tail = if n == 0 { format!("_{suffix}") } else { format!("_{suffix}{n}") };
        let mut head = base.to_owned();
        while head.len() + tail.len() > NAME_MAX {
            head.pop();
        }
        let name = format!("{head}{tail}");
        if !taken(&name) {
            return name;
        }
        n += 1;
    }
}

/// 42710 if the table has a constraint of that name.
pub(super) fn check_free(table: &Table, name: &str) -> Result<(), SqlError> {
    let index = |i: &catalog::Index| i.constraint && i.name == name;
    let taken = table.constraints.iter().any(|c| c.name == name)
        || std::iter::once(&table.primary).chain(&table.indexes).any(index);
    match taken {
        false => Ok(()),
        true => Err(SqlError::new(
            SqlState::DUPLICATE_OBJECT,
            format!("constraint \"{name}\" for relation \"{}\" already exists", table.name),
        )),
    }
}

/// Makes a constraint of `table`, which has its columns and indexes already.
pub(super) fn make(
    session: &Session,
    ddl: &Ddl,
    table: &Table,
    def: &Def,
    text: &str,
    oid: u32,
) -> Result<Constraint, SqlError> {
    match def {
        Def::Check(def) => {
            let name = match &def.name {
                Some(name) => name.clone(),
                None => {
                    let columns = expression::columns_of(&def.expr, &table.columns);
                    let base = match columns.as_slice() {
                        [one] => format!("{}_{}", table.name, table.columns[*one].name),
                        _ => table.name.clone(),
                    };
                    free_constraint_name(table, &base, "check")
                }
            };
            check_free(table, &name)?;
            let expression = check_expression(session, ddl, &table.columns, &def.expr, text)?;
            let kind = ConstraintKind::Check { expression };
            Ok(Constraint::new(oid, name, kind))
        }
        Def::Foreign(def) => {
            let name = match &def.name {
                Some(name) => name.clone(),
                None => {
                    let base = format!("{}_{}", table.name, def.columns.join("_"));
                    free_constraint_name(table, &base, "fkey")
                }
            };
            check_free(table, &name)?;
            let key = foreign_key(session, ddl, table, &name, def)?;
            let kind = ConstraintKind::ForeignKey(key);
            Ok(Constraint::new(oid, name, kind))
        }
    }
}

fn check_expression(
    session: &Session,
    ddl: &Ddl,
    columns: &[Column],
    expr: &Expr,
    text: &str,
) -> Result<String, SqlError> {
    let (sql, bound) = expression::stored(session, ddl, expr, columns, None, Use::Check, text)?;
    let ty = bound.ty();
    if !ty.same(PgType::BOOL) && !ty.is_unknown() {
        return Err(SqlError::new(
            SqlState::DATATYPE_MISMATCH,
            format!("argument of CHECK must be type boolean, not type {}", ty.sql_name()),
        ));
    }
    Ok(sql)
}

fn action(action: Option<&ReferentialAction>) -> Action {
    match action {
        None | Some(ReferentialAction::NoAction) => Action::NoAction,
        Some(ReferentialAction::Restrict) => Action::Restrict,
        Some(ReferentialAction::Cascade) => Action::Cascade,
        Some(ReferentialAction::SetNull) => Action::SetNull,
        Some(ReferentialAction::SetDefault) => Action::SetDefault,
    }
}

/// Whether it is deferrable, and deferred at first.
fn deferral(given: Option<&ConstraintCharacteristics>) -> Result<(bool, bool), SqlError> {
    let Some(given) = given else { return Ok((false, false)) };
    if given.enforced.is_some() {
        return Err(SqlError::unsupported("ENFORCED"));
    }
    let deferred = given.initially == Some(DeferrableInitial::Deferred);
    if deferred && given.deferrable == Some(false) {
        return Err(SqlError::syntax("constraint declared INITIALLY DEFERRED must be DEFERRABLE"));
    }
    Ok((given.deferrable.unwrap_or(deferred), deferred))
}

const INVALID_FOREIGN_KEY: SqlState = SqlState("42830");

fn foreign_key(
    session: &Session,
    ddl: &Ddl,
    table: &Table,
    name: &str,
    def: &ForeignDef,
) -> Result<ForeignKey, SqlError> {
    let ForeignKeyConstraint {
        name: _,
        index_name,
        columns: _,
        foreign_table,
        referred_columns,
        on_delete,
        on_update,
        match_kind,
        characteristics,
    } = &def.key;
    if index_name.is_some() {
        return Err(SqlError::syntax("FOREIGN KEY with a name of an index"));
    }
    let other = match name_parts(foreign_table)?.as_slice() {
        [own] if *own == table.name && ddl.find_table(session, foreign_table)?.is_none() => None,
        _ => {
            let found = ddl.find_table(session, foreign_table)?;
            if found.is_none() && super::view::find(session, ddl, foreign_table)?.is_some() {
                return Err(SqlError::new(
                    SqlState::WRONG_OBJECT_TYPE,
                    format!("referenced relation \"{foreign_table}\" is not a table"),
                ));
            }
            match found {
                Some(found) => Some(found),
                None => Some(ddl.table(session, foreign_table)?),
            }
        }
    };
    let to: &Table = match &other {
        // Its own descriptor may be older than the change under way.
        Some(other) if other.id != table.id => other,
        _ => table,
    };
    session.authority().demand(to, Privileges::REFERENCES)?;
    super::temporary::check_reference(session, ddl, table, to)?;
    let resolve = |table: &Table, names: &[String]| -> Result<Vec<usize>, SqlError> {
        names
            .iter()
            .map(|name| {
                table.position(name).ok_or_else(|| {
                    SqlError::new(
                        SqlState::UNDEFINED_COLUMN,
                        format!(
                            "column \"{name}\" referenced in foreign key constraint does not exist"
                        ),
                    )
                })
            })
            .collect()
    };
    let own = resolve(table, &def.columns)?;
    let their = if referred_columns.is_empty() {
        if to.has_hidden_row_id() {
            return Err(SqlError::new(
                SqlState::UNDEFINED_OBJECT,
                format!("there is no primary key for referenced table \"{}\"", to.name),
            ));
        }
        to.index_positions(&to.primary)
    } else {
        let names: Vec<String> = referred_columns.iter().map(fold).collect();
        resolve(to, &names)?
    };
    if own.len() != their.len() {
        return Err(SqlError::new(
            INVALID_FOREIGN_KEY,
            "number of referencing and referenced columns for foreign key disagree",
        ));
    }
    let unique = |index: &&catalog::Index| {
        let positions = to.index_positions(index);
        index.unique
            && index.state.is_public()
            && to.is_plain(index)
            && !positions.is_empty()
            && positions.len() == their.len()
            && positions.iter().all(|p| their.contains(p))
    };
    let index = std::iter::once(&to.primary).chain(&to.indexes).find(unique).ok_or_else(|| {
        SqlError::new(
            INVALID_FOREIGN_KEY,
            format!(
                "there is no unique constraint matching given keys for referenced table \"{}\"",
                to.name
            ),
        )
    })?;
    for (own, their) in own.iter().zip(&their) {
        let (a, b) = (&table.columns[*own], &to.columns[*their]);
        if !is_comparable(a.ty, b.ty) {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("foreign key constraint \"{name}\" cannot be implemented"),
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
    let (on_delete, on_update) = (action(on_delete.as_ref()), action(on_update.as_ref()));
    if own.iter().any(|&p| table.columns[p].generated.is_some()) {
        let sets = |action| matches!(action, Action::SetNull | Action::SetDefault);
        let which = if on_update == Action::Cascade || sets(on_update) {
            Some("UPDATE")
        } else {
            sets(on_delete).then_some("DELETE")
        };
        if let Some(which) = which {
            return Err(SqlError::syntax(format!(
                "invalid ON {which} action for foreign key constraint containing generated column"
            )));
        }
    }
    let full = match match_kind {
        None | Some(ConstraintReferenceMatchKind::Simple) => false,
        Some(ConstraintReferenceMatchKind::Full) => true,
        Some(ConstraintReferenceMatchKind::Partial) => {
            return Err(SqlError::unsupported("MATCH PARTIAL"));
        }
    };
    let (deferrable, deferred) = deferral(characteristics.as_ref())?;
    let ids = |table: &Table, positions: &[usize]| {
        positions.iter().map(|&p| table.columns[p].id).collect()
    };
    Ok(ForeignKey {
        columns: ids(table, &own),
        table: to.id,
        referenced: ids(to, &their),
        index: index.oid,
        on_delete,
        on_update,
        full,
        deferrable,
        deferred,
    })
}

/// Checks the rows of `old` against a constraint of `next`, which is the same table with it.
pub(super) async fn validate(
    session: &Session,
    ddl: &Ddl,
    old: &Arc<Table>,
    next: &Table,
    constraint: &Constraint,
) -> Result<(), SqlError> {
    let next = Arc::new(next.clone());
    match &constraint.kind {
        ConstraintKind::Check { expression } => {
            let defaults = CatalogDefaults { view: session.view(&ddl.catalog), env: session.env() };
            let condition =
                crate::point::Defaults::over_row(&defaults, &next, expression, Some(PgType::BOOL))?;
            let env = session.env().clone();
            let mut rows = Rows::new(session, ddl, old);
            while let Some(page) = rows.page().await? {
                for (key, value) in page {
                    let row = rows.decode(&key, &value)?;
                    if crate::ir::eval(&condition, &env, &row, &[])? == pgtypes::Datum::Bool(false)
                    {
                        return Err(violated_by_some_row(ddl, &next, constraint));
                    }
                }
            }
            Ok(())
        }
        ConstraintKind::NotNull { column } => {
            let at = next.position_of(*column).expect("a constraint of its column");
            rebuild::check_no_nulls(session, ddl, old, at).await
        }
        ConstraintKind::ForeignKey(key) => {
            let to = match key.table == next.id {
                true => next.clone(),
                false => ddl.catalog.table_by_id(key.table).expect("it refers to it").clone(),
            };
            let mut rows = Rows::new(session, ddl, old);
            while let Some(page) = rows.page().await? {
                let decoded: Result<Vec<_>, SqlError> =
                    page.iter().map(|(key, value)| rows.decode(key, value)).collect();
                let decoded = decoded?;
                let (next, to, constraint) = (next.clone(), to.clone(), constraint.clone());
                session
                    .referee(&ddl.txn, &ddl.catalog, move |references| {
                        Box::pin(async move {
                            references.validate(next, to, &constraint, decoded).await
                        })
                    })
                    .await?;
            }
            Ok(())
        }
    }
}

fn violated_by_some_row(ddl: &Ddl, table: &Table, constraint: &Constraint) -> SqlError {
    let schema = ddl.catalog.schema_by_id(table.schema).map_or("", |s| s.name.as_str());
    SqlError::new(
        SqlState::CHECK_VIOLATION,
        format!(
            "check constraint \"{}\" of relation \"{}\" is violated by some row",
            constraint.name, table.name
        ),
    )
    .table(schema, table.name.as_str())
    .constraint(constraint.name.as_str())
}
