//! DROP TABLE, INDEX, SCHEMA and DATABASE.

use std::sync::Arc;

use catalog::{BOOTSTRAP_DATABASE_ID, Change, IndexId, Table};
use sqlparser::ast::{ObjectName, ObjectType, Statement};

use super::depend::{Drop, Object};
use super::{Ddl, closing, notice};
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
        ObjectType::View => ("DROP VIEW", "view"),
        ObjectType::Sequence => ("DROP SEQUENCE", "sequence"),
        ObjectType::Type => ("DROP TYPE", "type"),
        other => return Err(SqlError::unsupported(format!("DROP {other}"))),
    };
    if let ObjectType::Table | ObjectType::Index = object_type {
        let pick = |session: &Session, ddl: &Ddl| tables(session, ddl, names, kind);
        closing::close(session, pick).await?;
    }
    let mut ddl = Ddl::begin(session).await?;
    let mut changes = Vec::new();
    let mut roots: Vec<Object> = Vec::new();
    for name in names {
        let found = match object_type {
            ObjectType::Table | ObjectType::View | ObjectType::Sequence => {
                relation(session, &ddl, name, kind)?.map(|object| roots.push(object))
            }
            ObjectType::Index => index(session, &ddl, name)?.map(|object| roots.push(object)),
            ObjectType::Type => super::enums::find(session, &ddl, name)?
                .map(|found| roots.push(Object::Type(found.id))),
            ObjectType::Schema => schema(session, &mut ddl, name, *cascade, sink).await?,
            ObjectType::Database => {
                database(session, &ddl, name)?.map(|found| changes.extend(found))
            }
            _ => None,
        };
        if found.is_none() {
            missing(name, kind, *if_exists, sink)?;
        }
    }
    if !roots.is_empty() {
        let drop = Drop::of(&ddl.catalog, &roots);
        for root in &roots {
            refuse_identity(session, &ddl, &drop, *root)?;
        }
        drop.allow(session, &ddl.catalog, *cascade, sink)?;
        drop.carry_out(session, &mut ddl, Vec::new()).await?;
    }
    if !changes.is_empty() {
        ddl.write(session, changes).await?;
    }
    Ok(Tag::Text(tag))
}

/// The tables of those names, or of the indexes of those names.
fn tables(
    session: &Session,
    ddl: &Ddl,
    names: &[ObjectName],
    kind: &str,
) -> Result<Vec<Arc<Table>>, SqlError> {
    let mut tables: Vec<Arc<Table>> = Vec::new();
    for name in names {
        let found = match kind {
            "index" => index(session, ddl, name)?,
            _ => relation(session, ddl, name, kind)?,
        };
        if let Some(Object::Table(id) | Object::Index(id, _)) = found
            && !tables.iter().any(|table| table.id == id)
        {
            tables.extend(ddl.catalog.table_by_id(id).cloned());
        }
    }
    Ok(tables)
}

/// The sequence of an identity column goes with the column only.
fn refuse_identity(
    session: &Session,
    ddl: &Ddl,
    drop: &Drop,
    root: Object,
) -> Result<(), SqlError> {
    let Object::Sequence(id) = root else { return Ok(()) };
    let Some(sequence) = ddl.catalog.sequence_by_id(id) else { return Ok(()) };
    let Some((table, column)) = super::sequence::identity_of(&ddl.catalog, sequence) else {
        return Ok(());
    };
    if drop.takes(Object::Table(table.id)) {
        return Ok(());
    }
    let (sequence, table) =
        (session.relation_shown(&ddl.catalog, id), session.relation_shown(&ddl.catalog, table.id));
    let column = crate::sysviews::quote(&column.name);
    Err(SqlError::new(
        SqlState("2BP01"),
        format!(
            "cannot drop sequence {sequence} because column {column} of table {table} requires it"
        ),
    )
    .hint(format!("You can drop column {column} of table {table} instead.")))
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
        "index" | "type" => SqlState::UNDEFINED_OBJECT,
        _ => SqlState::UNDEFINED_TABLE,
    };
    if if_exists {
        notice(sink, SqlState("00000"), format!("{kind} \"{shown}\" does not exist, skipping"));
        return Ok(());
    }
    Err(SqlError::new(code, format!("{kind} \"{shown}\" does not exist")))
}

/// A table, view or sequence, as the statement calls it.
fn relation(
    session: &Session,
    ddl: &Ddl,
    name: &ObjectName,
    kind: &str,
) -> Result<Option<Object>, SqlError> {
    let (schema, short) = relation_name(name, &session.env().database)?;
    let path = schema.map_or_else(|| session.search_path(), |schema| vec![schema]);
    for schema in path.iter().filter_map(|s| ddl.catalog.schema(session.database(), s)) {
        let catalog = &ddl.catalog;
        let (object, is, article) = if let Some(table) = catalog.table(schema.id, &short) {
            (Object::Table(table.id), "table", "a table")
        } else if let Some(view) = catalog.view(schema.id, &short) {
            (Object::View(view.id), "view", "a view")
        } else if let Some(sequence) = catalog.sequence(schema.id, &short) {
            (Object::Sequence(sequence.id), "sequence", "a sequence")
        } else if let Some((table, index)) = catalog.index(schema.id, &short) {
            (Object::Index(table.id, index.oid), "index", "an index")
        } else {
            continue;
        };
        if is == kind {
            super::owner::may_drop(session, catalog, object)?;
            return Ok(Some(object));
        }
        let wanted = format!("a {kind}");
        let shown = name_parts(name)?.join(".");
        return Err(SqlError::new(
            SqlState::WRONG_OBJECT_TYPE,
            format!("\"{shown}\" is not {wanted}"),
        )
        .hint(format!("Use DROP {} to remove {article}.", is.to_uppercase())));
    }
    Ok(None)
}

fn index(session: &Session, ddl: &Ddl, name: &ObjectName) -> Result<Option<Object>, SqlError> {
    let Some((table, id)) = find_index(session, ddl, name)? else { return Ok(None) };
    match table.indexes.iter().find(|i| i.id == id && !i.constraint) {
        Some(index) => {
            let object = Object::Index(table.id, index.oid);
            super::owner::may_drop(session, &ddl.catalog, object)?;
            Ok(Some(object))
        }
        None => {
            let shown = name_parts(name)?.join(".");
            Err(SqlError::new(
                SqlState("2BP01"),
                format!(
                    "cannot drop index {shown} because constraint {shown} on table {} requires it",
                    table.name
                ),
            )
            .hint(format!("You can drop constraint {shown} on table {} instead.", table.name)))
        }
    }
}

/// DROP SCHEMA; `None` if there is none of that name.
async fn schema(
    session: &mut Session,
    ddl: &mut Ddl,
    name: &ObjectName,
    cascade: bool,
    sink: &mut dyn Sink,
) -> Result<Option<()>, SqlError> {
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
    session.authority().must_own(&*schema)?;
    let catalog = &ddl.catalog;
    let mut objects: Vec<Object> = Vec::new();
    objects.extend(catalog.tables_of(schema.id).map(|t| Object::Table(t.id)));
    objects.extend(catalog.views_of(schema.id).map(|v| Object::View(v.id)));
    let free = |s: &&Arc<catalog::Sequence>| s.owned_by.is_none();
    objects.extend(catalog.sequences_of(schema.id).filter(free).map(|s| Object::Sequence(s.id)));
    objects.extend(catalog.enums_of(schema.id).map(|t| Object::Type(t.id)));
    objects.sort_by_key(|object| object.oid());
    let drop = Drop::of(catalog, &objects);
    drop.allow_schema(session, catalog, &name, cascade, sink)?;
    drop.carry_out(session, ddl, vec![Change::DropSchema(schema.id)]).await.map(Some)
}

fn database(
    session: &mut Session,
    ddl: &Ddl,
    name: &ObjectName,
) -> Result<Option<Vec<Change>>, SqlError> {
    session.refuse_in_block("DROP DATABASE")?;
    let name = name_parts(name)?.join(".");
    let Some(database) = ddl.catalog.database(&name).cloned() else { return Ok(None) };
    session.authority().must_own(&*database)?;
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
        changes.extend(ddl.catalog.views_of(schema).map(|v| Change::DropView(v.id)));
        changes.extend(ddl.catalog.enums_of(schema).map(|t| Change::DropType(t.id)));
        changes.extend(ddl.catalog.sequences_of(schema).map(|s| Change::DropSequence(s.id)));
        changes.push(Change::DropSchema(schema));
    }
    changes.push(Change::DropDatabase(database.id));
    Ok(Some(changes))
}
