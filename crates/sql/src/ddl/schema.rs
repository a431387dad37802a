//! CREATE SCHEMA, CREATE DATABASE, COMMENT.

use catalog::{Change, Database, Schema, Table};
use sqlparser::ast::{CommentObject, SchemaName, Statement};

use super::{Ddl, new_oids, notice};
use crate::bind::{fold, name_parts};
use crate::session::api::Sink;
use crate::session::{Session, Tag};
use crate::{SqlError, SqlState};

pub(super) async fn create_schema(
    session: &mut Session,
    statement: &Statement,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let Statement::CreateSchema {
        schema_name,
        if_not_exists,
        with: None,
        options: None,
        default_collate_spec: None,
        clone: None,
    } = statement
    else {
        return Err(SqlError::unsupported("a clause of CREATE SCHEMA"));
    };
    let (name, owner) = match schema_name {
        SchemaName::Simple(name) => (name_parts(name)?.join("."), None),
        SchemaName::UnnamedAuthorization(role) => (fold(role), Some(fold(role))),
        SchemaName::NamedAuthorization(name, role) => {
            (name_parts(name)?.join("."), Some(fold(role)))
        }
    };
    if name.starts_with("pg_") {
        return Err(SqlError::new(
            SqlState("42939"),
            format!("unacceptable schema name \"{name}\""),
        )
        .detail("The prefix \"pg_\" is reserved for system schemas."));
    }
    let mut ddl = Ddl::begin(session).await?;
    let owner = owner.unwrap_or_else(|| session.env().current_user.clone());
    if ddl.catalog.role(&owner).is_none() {
        return Err(SqlError::new(
            SqlState::UNDEFINED_OBJECT,
            format!("role \"{owner}\" does not exist"),
        ));
    }
    if ddl.catalog.schema(session.database(), &name).is_some() {
        if *if_not_exists {
            let message = format!("schema \"{name}\" already exists, skipping");
            notice(sink, SqlState::DUPLICATE_SCHEMA, message);
            return Ok(Tag::Text("CREATE SCHEMA"));
        }
        return Err(SqlError::new(
            SqlState::DUPLICATE_SCHEMA,
            format!("schema \"{name}\" already exists"),
        ));
    }
    let id = new_oids(session, 1).await?;
    let schema = Schema { id, database: session.database(), name, owner };
    ddl.write(session, vec![Change::PutSchema(schema)]).await?;
    Ok(Tag::Text("CREATE SCHEMA"))
}

pub(super) async fn create_database(
    session: &mut Session,
    statement: &Statement,
) -> Result<Tag, SqlError> {
    let Statement::CreateDatabase { db_name, if_not_exists, .. } = statement else {
        return Err(SqlError::internal("not a CREATE DATABASE"));
    };
    let plain =
        format!("CREATE DATABASE {}{db_name}", if *if_not_exists { "IF NOT EXISTS " } else { "" });
    if statement.to_string() != plain {
        return Err(SqlError::unsupported("an option of CREATE DATABASE"));
    }
    session.refuse_in_block("CREATE DATABASE")?;
    let name = name_parts(db_name)?.join(".");
    let mut ddl = Ddl::begin(session).await?;
    if ddl.catalog.database(&name).is_some() {
        if *if_not_exists {
            return Ok(Tag::Text("CREATE DATABASE"));
        }
        return Err(SqlError::new(
            SqlState::DUPLICATE_DATABASE,
            format!("database \"{name}\" already exists"),
        ));
    }
    let id = new_oids(session, 2).await?;
    let owner = session.env().current_user.clone();
    let public =
        Schema { id: id + 1, database: id, name: "public".to_owned(), owner: owner.clone() };
    let database = Database { id, name, owner };
    ddl.write(session, vec![Change::PutDatabase(database), Change::PutSchema(public)]).await?;
    Ok(Tag::Text("CREATE DATABASE"))
}

/// COMMENT ON TABLE and COLUMN; others have nowhere to be kept.
pub(super) async fn comment(session: &mut Session, statement: &Statement) -> Result<Tag, SqlError> {
    let Statement::Comment { object_type, object_name, comment, if_exists: false } = statement
    else {
        return Err(SqlError::unsupported("COMMENT IF EXISTS"));
    };
    let mut ddl = Ddl::begin(session).await?;
    let (table, column) = match object_type {
        CommentObject::Table => (ddl.table(session, object_name)?, 0),
        CommentObject::Column => {
            let mut name = object_name.clone();
            let column = match name.0.pop() {
                Some(sqlparser::ast::ObjectNamePart::Identifier(ident)) => fold(&ident),
                _ => return Err(SqlError::syntax("column name must be qualified")),
            };
            if name.0.is_empty() {
                return Err(SqlError::syntax("column name must be qualified"));
            }
            let table = ddl.table(session, &name)?;
            let at = table.position(&column).ok_or_else(|| {
                SqlError::new(
                    SqlState::UNDEFINED_COLUMN,
                    format!("column \"{column}\" of relation \"{}\" does not exist", table.name),
                )
            })?;
            let id = table.columns[at].id;
            (table, id)
        }
        other => return Err(SqlError::unsupported(format!("COMMENT ON {other}"))),
    };
    let mut next = Table::clone(&table);
    next.comments.retain(|(id, _)| *id != column);
    if let Some(comment) = comment.as_ref().filter(|c| !c.is_empty()) {
        next.comments.push((column, comment.clone()));
    }
    ddl.write(session, vec![Change::PutTable(Box::new(next))]).await?;
    Ok(Tag::Text("COMMENT"))
}
