//! DROP TABLE, INDEX, SCHEMA and DATABASE.

use std::sync::Arc;

use catalog::{BOOTSTRAP_DATABASE_ID, Change, IndexId, PUBLIC_SCHEMA_ID, Table};
use sqlparser::ast::{ObjectName, ObjectType, Statement};

use super::{Ddl, notice};
use crate::bind::{name_parts, relation_name};
use crate::session::api::Sink;
use crate::session::{Session, Tag};
use crate::{SqlError, SqlState};

/// The index of that name and its table; the primary one included.
pub(super) fn find_index(
    session: &Session,
    ddl: &Ddl,
    name: &ObjectName,
) -> Result<Option<(Arc<Table>, IndexId)>, SqlError> {
    let (schema, name) = relation_name(name, &session.env().database)?;
    let path = match schema {
        Some(schema) => vec![schema],
        None => session.search_path(),
    };
    Ok(path
        .iter()
        .filter_map(|s| ddl.catalog.schema(session.database(), s))
        .find_map(|s| ddl.catalog.index(s.id, &name))
        .map(|(table, index)| (table.clone(), index.id)))
}

pub(super) async fn run(
    session: &mut Session,
    statement: &Statement,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let Statement::Drop {
        object_type,
        if_exists,
        names,
        cascade,
        restrict: _,
        purge: false,
        temporary: false,
        table: None,
    } = statement
    else {
        return Err(SqlError::unsupported("a clause of DROP"));
    };
    let (tag, kind) = match object_type {
        ObjectType::Table => ("DROP TABLE", "table"),
        ObjectType::Index => ("DROP INDEX", "index"),
        ObjectType::Schema => ("DROP SCHEMA", "schema"),
        ObjectType::Database => ("DROP DATABASE", "database"),
        // There are none to be dropped, so an IF EXISTS of a migration can be served.
        ObjectType::View => ("DROP VIEW", "view"),
        ObjectType::Sequence => ("DROP SEQUENCE", "sequence"),
        other => return Err(SqlError::unsupported(format!("DROP {other}"))),
    };
    let mut ddl = Ddl::begin(session).await?;
    let mut changes = Vec::new();
    for name in names {
        let found = match object_type {
            ObjectType::Table => table(session, &ddl, name)?,
            ObjectType::Index => index(session, &ddl, name, &mut changes)?,
            ObjectType::Schema => schema(session, &ddl, name, *cascade)?,
            ObjectType::Database => database(session, &ddl, name)?,
            _ => None,
        };
        match found {
            Some(found) => changes.extend(found),
            None => missing(name, kind, *if_exists, sink)?,
        }
    }
    if !changes.is_empty() {
        ddl.write(session, changes).await?;
    }
    Ok(Tag::Text(tag))
}

fn missing(
    name: &ObjectName,
    kind: &str,
    if_exists: bool,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    let shown = name_parts(name)?.join(".");
    let code = match kind {
        "schema" => SqlState::INVALID_SCHEMA_NAME,
        "database" => SqlState::INVALID_CATALOG_NAME,
        "index" => SqlState::UNDEFINED_OBJECT,
        _ => SqlState::UNDEFINED_TABLE,
    };
    if if_exists {
        notice(sink, SqlState("00000"), format!("{kind} \"{shown}\" does not exist, skipping"));
        return Ok(());
    }
    Err(SqlError::new(code, format!("{kind} \"{shown}\" does not exist")))
}

fn table(
    session: &mut Session,
    ddl: &Ddl,
    name: &ObjectName,
) -> Result<Option<Vec<Change>>, SqlError> {
    let Some(table) = ddl.find_table(session, name)? else {
        if find_index(session, ddl, name)?.is_some() {
            let shown = name_parts(name)?.join(".");
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("\"{shown}\" is not a table"),
            )
            .hint("Use DROP INDEX to remove an index."));
        }
        return Ok(None);
    };
    session.note_dropped(&table)?;
    Ok(Some(vec![Change::DropTable(table.id)]))
}

fn index(
    session: &mut Session,
    ddl: &Ddl,
    name: &ObjectName,
    changes: &mut Vec<Change>,
) -> Result<Option<Vec<Change>>, SqlError> {
    let Some((table, id)) = find_index(session, ddl, name)? else { return Ok(None) };
    // Another index of the same table may have been dropped by this statement.
    let pending =
        changes.iter().rposition(|c| matches!(c, Change::PutTable(t) if t.id == table.id));
    let mut next = match pending {
        Some(at) => match changes.remove(at) {
            Change::PutTable(table) => *table,
            _ => unreachable!("the position of a PutTable"),
        },
        None => Table::clone(&table),
    };
    let Some(at) = next.indexes.iter().position(|i| i.id == id && !i.constraint) else {
        let shown = name_parts(name)?.join(".");
        return Err(SqlError::new(
            SqlState("2BP01"),
            format!(
                "cannot drop index {shown} because constraint {shown} on table {} requires it",
                table.name
            ),
        )
        .hint(format!("You can drop constraint {shown} on table {} instead.", table.name)));
    };
    let gone = next.indexes.remove(at);
    session.note_dropped_index(&table, &gone)?;
    Ok(Some(vec![Change::PutTable(Box::new(next))]))
}

fn schema(
    session: &mut Session,
    ddl: &Ddl,
    name: &ObjectName,
    cascade: bool,
) -> Result<Option<Vec<Change>>, SqlError> {
    let name = name_parts(name)?.join(".");
    let Some(schema) = ddl.catalog.schema(session.database(), &name).cloned() else {
        return Ok(None);
    };
    if schema.database == 0 {
        return Err(SqlError::new(
            SqlState("2BP01"),
            format!("cannot drop schema {name} because it is required by the database system"),
        ));
    }
    if schema.id == PUBLIC_SCHEMA_ID {
        return Err(SqlError::unsupported("dropping the schema public of the first database"));
    }
    let tables: Vec<Arc<Table>> = ddl.catalog.tables_of(schema.id).cloned().collect();
    if !tables.is_empty() && !cascade {
        return Err(SqlError::new(
            SqlState("2BP01"),
            format!("cannot drop schema {name} because other objects depend on it"),
        )
        .hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    let mut changes: Vec<Change> = Vec::new();
    for table in &tables {
        session.note_dropped(table)?;
        changes.push(Change::DropTable(table.id));
    }
    changes.push(Change::DropSchema(schema.id));
    Ok(Some(changes))
}

fn database(
    session: &mut Session,
    ddl: &Ddl,
    name: &ObjectName,
) -> Result<Option<Vec<Change>>, SqlError> {
    session.refuse_in_block("DROP DATABASE")?;
    let name = name_parts(name)?.join(".");
    let Some(database) = ddl.catalog.database(&name).cloned() else { return Ok(None) };
    if database.id == session.database() {
        return Err(SqlError::new(
            SqlState::OBJECT_IN_USE,
            "cannot drop the currently open database",
        ));
    }
    if database.id == BOOTSTRAP_DATABASE_ID {
        return Err(SqlError::unsupported("dropping the first database"));
    }
    let mut changes = Vec::new();
    let schemas: Vec<u32> = ddl
        .catalog
        .schemas_of(database.id)
        .filter(|s| s.database == database.id)
        .map(|s| s.id)
        .collect();
    for schema in schemas {
        for table in ddl.catalog.tables_of(schema) {
            session.note_dropped(table)?;
            changes.push(Change::DropTable(table.id));
        }
        changes.push(Change::DropSchema(schema));
    }
    changes.push(Change::DropDatabase(database.id));
    Ok(Some(changes))
}
