//! What CREATE TABLE says of temporary tables.

use catalog::{CatalogSnapshot, Privileges, Table};
use sqlparser::ast::{CreateTable, ObjectName};

use super::Ddl;
use crate::bind::relation_name;
use crate::privilege::{Object, insufficient};
use crate::session::{OnCommit, Session, TEMP_SCHEMA, is_temporary_table};
use crate::{SqlError, SqlState};

/// Whether a table is to be a temporary one: by a word, or by its schema.
pub(super) fn is_temporary(
    session: &Session,
    temporary: bool,
    name: &ObjectName,
) -> Result<bool, SqlError> {
    match relation_name(name, &session.env().database)?.0 {
        Some(schema) if schema == TEMP_SCHEMA => Ok(true),
        Some(_) if temporary => Err(SqlError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            "cannot create temporary relation in non-temporary schema",
        )),
        _ => Ok(temporary),
    }
}

/// 42501 unless the current role may make temporary tables in the database.
pub(super) fn may_make(session: &Session, catalog: &CatalogSnapshot) -> Result<(), SqlError> {
    let Some(database) = catalog.database_by_id(session.database()) else { return Ok(()) };
    let authority = session.authority_under(catalog);
    match authority.may(&Object::from(&**database), Privileges::TEMPORARY) {
        true => Ok(()),
        false => Err(insufficient(format!(
            "permission denied to create temporary tables in database \"{}\"",
            database.name
        ))),
    }
}

/// The name with the schema of temporary tables in front.
pub(super) fn qualified(name: &ObjectName) -> ObjectName {
    let last = name.0.last().cloned();
    let schema = sqlparser::ast::ObjectNamePart::Identifier(TEMP_SCHEMA.into());
    ObjectName(std::iter::once(schema).chain(last).collect())
}

/// ON COMMIT.
pub(super) fn on_commit(create: &CreateTable, temporary: bool) -> Result<OnCommit, SqlError> {
    use sqlparser::ast::OnCommit as Said;
    let said = match create.on_commit {
        None => return Ok(OnCommit::Preserve),
        Some(Said::PreserveRows) => OnCommit::Preserve,
        Some(Said::DeleteRows) => OnCommit::Delete,
        Some(Said::Drop) => OnCommit::Drop,
    };
    match temporary {
        true => Ok(said),
        false => Err(SqlError::new(
            SqlState::INVALID_TABLE_DEFINITION,
            "ON COMMIT can only be used on temporary tables",
        )),
    }
}

/// Temporary tables refer to temporary ones, others to others.
pub(super) fn check_reference(
    session: &Session,
    ddl: &Ddl,
    from: &Table,
    to: &Table,
) -> Result<(), SqlError> {
    let temporary =
        |table: &Table| is_temporary_table(&ddl.catalog, table) || session.temp().has(table.id);
    let message = match (temporary(from), temporary(to)) {
        (true, false) => "constraints on temporary tables may reference only temporary tables",
        (false, true) => "constraints on permanent tables may reference only permanent tables",
        _ => return Ok(()),
    };
    Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message))
}
