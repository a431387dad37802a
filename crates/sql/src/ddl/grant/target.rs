//! The objects that GRANT and REVOKE are about.

use std::sync::Arc;

use catalog::{Acl, Change, Database, Schema, Sequence, Table, View};
use sqlparser::ast::ObjectName;

use super::{Ddl, Targets};
use crate::bind::{name_parts, relation_name};
use crate::privilege::{Object, insufficient};
use crate::session::Session;
use crate::{SqlError, SqlState};

/// An object that has a list.
pub(super) enum Secured {
    Table(Arc<Table>),
    View(Arc<View>),
    Sequence(Arc<Sequence>),
    Schema(Arc<Schema>),
    Database(Arc<Database>),
}

impl Secured {
    pub(super) fn object(&self) -> Object<'_> {
        match self {
            Secured::Table(it) => Object::from(&**it),
            Secured::View(it) => Object::from(&**it),
            Secured::Sequence(it) => Object::from(&**it),
            Secured::Schema(it) => Object::from(&**it),
            Secured::Database(it) => Object::from(&**it),
        }
    }

    /// The object with another list.
    pub(super) fn with(&self, acl: Acl) -> Change {
        let acl = Some(acl);
        match self {
            Secured::Table(it) => {
                let mut next = Table::clone(it);
                next.acl = acl;
                Change::PutTable(Box::new(next))
            }
            Secured::View(it) => Change::PutView(Box::new(View { acl, ..View::clone(it) })),
            Secured::Sequence(it) => {
                Change::PutSequence(Box::new(Sequence { acl, ..Sequence::clone(it) }))
            }
            Secured::Schema(it) => Change::PutSchema(Schema { acl, ..Schema::clone(it) }),
            Secured::Database(it) => Change::PutDatabase(Database { acl, ..Database::clone(it) }),
        }
    }
}

pub(super) fn find(
    session: &Session,
    ddl: &Ddl,
    targets: &Targets,
) -> Result<Vec<Secured>, SqlError> {
    let catalog = &ddl.catalog;
    match targets {
        Targets::Tables(names) => names.iter().map(|name| relation(session, ddl, name)).collect(),
        Targets::Sequences(names) => names
            .iter()
            .map(|name| match relation(session, ddl, name)? {
                found @ Secured::Sequence(_) => Ok(found),
                other => Err(SqlError::new(
                    SqlState::WRONG_OBJECT_TYPE,
                    format!("\"{}\" is not a sequence", other.object().name),
                )),
            })
            .collect(),
        Targets::Schemas(names) => {
            names.iter().map(|name| schema(session, ddl, name).map(Secured::Schema)).collect()
        }
        Targets::Databases(names) => names
            .iter()
            .map(|name| {
                let found = catalog.database(name).cloned().map(Secured::Database);
                found.ok_or_else(|| {
                    SqlError::new(
                        SqlState::INVALID_CATALOG_NAME,
                        format!("database \"{name}\" does not exist"),
                    )
                })
            })
            .collect(),
        Targets::AllTables(names) => {
            let mut found = Vec::new();
            for name in names {
                let schema = schema(session, ddl, name)?.id;
                found.extend(catalog.tables_of(schema).cloned().map(Secured::Table));
                found.extend(catalog.views_of(schema).cloned().map(Secured::View));
            }
            Ok(found)
        }
        Targets::AllSequences(names) => {
            let mut found = Vec::new();
            for name in names {
                let schema = schema(session, ddl, name)?.id;
                found.extend(catalog.sequences_of(schema).cloned().map(Secured::Sequence));
            }
            Ok(found)
        }
        // There are none but the built-in ones, which are in no schema of a user.
        Targets::AllFunctions(names) => {
            for name in names {
                schema(session, ddl, name)?;
            }
            Ok(Vec::new())
        }
        Targets::Functions(names) => {
            let name = names.first().map(name_parts).transpose()?.unwrap_or_default().join(".");
            let short = name.rsplit('.').next().unwrap_or_default();
            if crate::bind::is_function(short) {
                return Err(SqlError::unsupported("GRANT and REVOKE on a built-in function"));
            }
            Err(SqlError::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("could not find a function named \"{name}\""),
            ))
        }
        Targets::Unsupported(_) => Ok(Vec::new()),
    }
}

fn schema(session: &Session, ddl: &Ddl, name: &str) -> Result<Arc<Schema>, SqlError> {
    let found = ddl.catalog.schema(session.database(), name).cloned().ok_or_else(|| {
        SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"))
    })?;
    match found.database {
        0 => Err(SqlError::unsupported("GRANT and REVOKE on a schema of the system")),
        _ => Ok(found),
    }
}

/// A table, view or sequence by name.
fn relation(session: &Session, ddl: &Ddl, name: &ObjectName) -> Result<Secured, SqlError> {
    let (schema, short) = relation_name(name, &session.env().database)?;
    let catalog = &ddl.catalog;
    let path = schema.map_or_else(|| session.search_path(), |schema| vec![schema]);
    for schema in path.iter().filter_map(|s| catalog.schema(session.database(), s)) {
        if let Some(table) = catalog.table(schema.id, &short) {
            return Ok(Secured::Table(table.clone()));
        }
        if let Some(view) = catalog.view(schema.id, &short) {
            return Ok(Secured::View(view.clone()));
        }
        if let Some(sequence) = catalog.sequence(schema.id, &short) {
            return Ok(Secured::Sequence(sequence.clone()));
        }
        if catalog.index(schema.id, &short).is_some() {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("\"{short}\" is an index"),
            ));
        }
        if crate::sysviews::find(&schema.name, &short).is_some() {
            return Err(insufficient(format!(
                "permission denied: \"{short}\" is a system catalog"
            )));
        }
    }
    let shown = name_parts(name)?.join(".");
    Err(SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist")))
}
