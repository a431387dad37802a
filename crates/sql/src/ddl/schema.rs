//! CREATE SCHEMA, CREATE DATABASE, COMMENT.

use catalog::{Change, Database, ObjectKind, Schema, Sequence, Table, View};
use sqlparser::ast::{CommentObject, Ident, ObjectName, SchemaName, Statement};

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
    check_name(&name)?;
    let mut ddl = Ddl::begin(session).await?;
    let owner = super::owner::of_new_schema(session, &ddl, owner)?;
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
    let acl = ddl.catalog.acl_of_new(ObjectKind::Schema, owner, 0);
    let schema = Schema { id, database: session.database(), name, owner, acl, comment: None };
    ddl.write(session, vec![Change::PutSchema(schema)]).await?;
    Ok(Tag::Text("CREATE SCHEMA"))
}

/// 42939 for a name that system schemas have.
pub(super) fn check_name(name: &str) -> Result<(), SqlError> {
    if !name.starts_with("pg_") {
        return Ok(());
    }
    Err(SqlError::new(SqlState("42939"), format!("unacceptable schema name \"{name}\""))
        .detail("The prefix \"pg_\" is reserved for system schemas."))
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
    if !session.authority().may_create_database() {
        return Err(crate::privilege::insufficient("permission denied to create database"));
    }
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
    let owner = session.authority().user();
    let public = catalog::public_schema(id + 1, id);
    let database = Database { id, name, owner, acl: None };
    ddl.write(session, vec![Change::PutDatabase(database), Change::PutSchema(public)]).await?;
    Ok(Tag::Text("CREATE DATABASE"))
}

fn undefined(message: String) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, message)
}

/// COMMENT ON TABLE, COLUMN, VIEW, SEQUENCE, INDEX and SCHEMA; others have nowhere to be kept.
pub(super) async fn comment(session: &mut Session, statement: &Statement) -> Result<Tag, SqlError> {
    let Statement::Comment { object_type, object_name, comment, if_exists: false, .. } = statement
    else {
        return Err(SqlError::unsupported("COMMENT IF EXISTS"));
    };
    let comment = comment.clone().filter(|c| !c.is_empty());
    let mut ddl = Ddl::begin(session).await?;
    let not_found = |kind: &str| {
        SqlError::new(
            SqlState::UNDEFINED_TABLE,
            format!("{kind} \"{}\" does not exist", super::view::said(object_name)),
        )
    };
    let change = match object_type {
        CommentObject::Table => {
            let mut next = Table::clone(&*ddl.own_table(session, object_name)?);
            set(&mut next.comments, 0, comment);
            Change::PutTable(Box::new(next))
        }
        CommentObject::View => {
            let view = super::view::find(session, &ddl, object_name)?;
            let mut next = View::clone(&*view.ok_or_else(|| not_found("relation"))?);
            session.authority().must_own(&next)?;
            set(&mut next.comments, 0, comment);
            Change::PutView(Box::new(next))
        }
        CommentObject::Sequence => {
            let sequence = super::sequence::find(session, &ddl, object_name)?;
            let mut next = Sequence::clone(&*sequence.ok_or_else(|| not_found("relation"))?);
            session.authority().must_own(&next)?;
            next.comment = comment;
            Change::PutSequence(Box::new(next))
        }
        CommentObject::Index => {
            let found = super::drop::find_index(session, &ddl, object_name)?;
            let (table, id) = found.ok_or_else(|| not_found("relation"))?;
            super::owner::must_own_index(session, &table, id)?;
            let mut next = Table::clone(&table);
            let indexes = std::iter::once(&mut next.primary).chain(&mut next.indexes);
            for index in indexes.filter(|i| i.id == id) {
                index.comment.clone_from(&comment);
            }
            Change::PutTable(Box::new(next))
        }
        CommentObject::Schema => {
            let name = super::view::said(object_name);
            let schema = ddl.catalog.schema(session.database(), &name).ok_or_else(|| {
                SqlError::new(
                    SqlState::INVALID_SCHEMA_NAME,
                    format!("schema \"{name}\" does not exist"),
                )
            })?;
            session.authority().must_own(&**schema)?;
            let mut next = Schema::clone(schema);
            next.comment = comment;
            Change::PutSchema(next)
        }
        CommentObject::Column => comment_on_column(session, &ddl, object_name, comment)?,
        other => return Err(SqlError::unsupported(format!("COMMENT ON {other}"))),
    };
    ddl.write(session, vec![change]).await?;
    Ok(Tag::Text("COMMENT"))
}

fn set(comments: &mut Vec<(u32, String)>, of: u32, comment: Option<String>) {
    comments.retain(|(id, _)| *id != of);
    comments.extend(comment.map(|comment| (of, comment)));
}

fn comment_on_column(
    session: &Session,
    ddl: &Ddl,
    object_name: &ObjectName,
    comment: Option<String>,
) -> Result<Change, SqlError> {
    let mut name = object_name.clone();
    let column = match name.0.pop() {
        Some(sqlparser::ast::ObjectNamePart::Identifier(ident)) if !name.0.is_empty() => {
            fold(&ident)
        }
        _ => return Err(SqlError::syntax("column name must be qualified")),
    };
    let missing = |relation: &str| {
        SqlError::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{column}\" of relation \"{relation}\" does not exist"),
        )
    };
    if let Some(view) = super::view::find(session, ddl, &name)? {
        let at = view.columns.iter().position(|c| c.name == column);
        session.authority().must_own(&*view)?;
        let at = at.ok_or_else(|| missing(&view.name))?;
        let mut next = View::clone(&view);
        set(&mut next.comments, u32::try_from(at + 1).unwrap_or(0), comment);
        return Ok(Change::PutView(Box::new(next)));
    }
    let table = ddl.own_table(session, &name)?;
    let at = table.position(&column).ok_or_else(|| missing(&table.name))?;
    let mut next = Table::clone(&table);
    set(&mut next.comments, table.columns[at].id, comment);
    Ok(Change::PutTable(Box::new(next)))
}

/// COMMENT ON CONSTRAINT.
pub(super) async fn comment_on_constraint(
    session: &mut Session,
    name: &Ident,
    table: &ObjectName,
    comment: Option<&str>,
) -> Result<Tag, SqlError> {
    let mut ddl = Ddl::begin(session).await?;
    let mut next = Table::clone(&*ddl.own_table(session, table)?);
    let name = fold(name);
    let comment = comment.filter(|c| !c.is_empty()).map(str::to_owned);
    let indexes = std::iter::once(&mut next.primary).chain(&mut next.indexes);
    let mut places = indexes
        .filter(|i| i.constraint && i.name == name)
        .map(|i| &mut i.constraint_comment)
        .chain(next.constraints.iter_mut().filter(|c| c.name == name).map(|c| &mut c.comment));
    match places.next() {
        Some(place) => *place = comment,
        None => {
            return Err(undefined(format!(
                "constraint \"{name}\" for table \"{}\" does not exist",
                super::view::said(table)
            )));
        }
    }
    drop(places);
    ddl.write(session, vec![Change::PutTable(Box::new(next))]).await?;
    Ok(Tag::Text("COMMENT"))
}
