//! RENAME TO, SET SCHEMA and OWNER TO of tables, views and sequences.

use std::sync::Arc;

use catalog::{Change, Privileges, Schema, Sequence, Table, View};
use sqlparser::ast::ObjectName;

use super::parse::{RelationChange, RelationKind};
use super::{Ddl, duplicate_relation, notice, sequence, view};
use crate::bind::fold;
use crate::session::api::Sink;
use crate::session::{Session, Tag};
use crate::{SqlError, SqlState};

impl RelationKind {
    /// The statement, for tags.
    pub(super) fn verb(self) -> &'static str {
        match self {
            RelationKind::Table => "ALTER TABLE",
            RelationKind::Sequence => "ALTER SEQUENCE",
            RelationKind::View => "ALTER VIEW",
        }
    }
}

/// A relation of any of these kinds.
enum Found {
    Table(Arc<Table>),
    Sequence(Arc<Sequence>),
    View(Arc<View>),
}

fn find(
    session: &Session,
    ddl: &Ddl,
    kind: RelationKind,
    name: &ObjectName,
) -> Result<Option<Found>, SqlError> {
    // ALTER TABLE takes the others too, as in PostgreSQL.
    let wrong = |what: &str| {
        SqlError::new(
            SqlState::WRONG_OBJECT_TYPE,
            format!("\"{}\" is not a {what}", view::said(name)),
        )
    };
    if let Some(table) = ddl.find_table(session, name)? {
        return match kind {
            RelationKind::Table => Ok(Some(Found::Table(table))),
            RelationKind::Sequence => Err(wrong("sequence")),
            RelationKind::View => Err(wrong("view")),
        };
    }
    if let Some(found) = view::find(session, ddl, name)? {
        return match kind {
            RelationKind::Sequence => Err(wrong("sequence")),
            RelationKind::Table | RelationKind::View => Ok(Some(Found::View(found))),
        };
    }
    match sequence::find(session, ddl, name)? {
        Some(_) if kind == RelationKind::View => Err(wrong("view")),
        found => Ok(found.map(Found::Sequence)),
    }
}

impl Found {
    fn schema(&self) -> u32 {
        match self {
            Found::Table(table) => table.schema,
            Found::Sequence(sequence) => sequence.schema,
            Found::View(view) => view.schema,
        }
    }

    fn id(&self) -> u32 {
        match self {
            Found::Table(table) => table.id,
            Found::Sequence(sequence) => sequence.id,
            Found::View(view) => view.id,
        }
    }

    fn name(&self) -> &str {
        match self {
            Found::Table(table) => &table.name,
            Found::Sequence(sequence) => &sequence.name,
            Found::View(view) => &view.name,
        }
    }

    fn must_be_own(&self, session: &Session) -> Result<(), SqlError> {
        match self {
            Found::Table(table) => session.authority().must_own(&**table),
            Found::Sequence(sequence) => session.authority().must_own(&**sequence),
            Found::View(view) => session.authority().must_own(&**view),
        }
    }

    /// The descriptor with other fields.
    fn with(&self, edit: impl FnOnce(&mut u32, &mut String)) -> Change {
        match self {
            Found::Table(table) => {
                let mut next = Table::clone(table);
                edit(&mut next.schema, &mut next.name);
                Change::PutTable(Box::new(next))
            }
            Found::Sequence(sequence) => {
                let mut next = Sequence::clone(sequence);
                edit(&mut next.schema, &mut next.name);
                Change::PutSequence(Box::new(next))
            }
            Found::View(view) => {
                let mut next = View::clone(view);
                edit(&mut next.schema, &mut next.name);
                Change::PutView(Box::new(next))
            }
        }
    }
}

pub(super) async fn alter(
    session: &mut Session,
    kind: RelationKind,
    if_exists: bool,
    name: &ObjectName,
    change: &RelationChange,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let tag = Tag::Text(kind.verb());
    let mut ddl = Ddl::begin(session).await?;
    let Some(found) = find(session, &ddl, kind, name)? else {
        let message = format!("relation \"{}\" does not exist", view::said(name));
        if if_exists {
            notice(sink, SqlState::UNDEFINED_TABLE, format!("{message}, skipping"));
            return Ok(tag);
        }
        return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
    };
    found.must_be_own(session)?;
    let changes = match change {
        RelationChange::Rename(new) => vec![rename(&ddl, &found, &fold(new))?],
        RelationChange::Schema(new) => {
            let new = fold(new);
            let schema =
                ddl.catalog.schema(session.database(), &new).cloned().ok_or_else(|| {
                    SqlError::new(
                        SqlState::INVALID_SCHEMA_NAME,
                        format!("schema \"{new}\" does not exist"),
                    )
                })?;
            session.authority().demand(&*schema, Privileges::CREATE)?;
            set_schema(&ddl, &found, &schema)?
        }
        RelationChange::Owner(new) => {
            let owner = super::role::spec_of(new);
            super::owner::change(session, &mut ddl, found.id(), &owner).await?;
            Vec::new()
        }
    };
    if !changes.is_empty() {
        ddl.write(session, changes).await?;
    }
    Ok(tag)
}

fn rename(ddl: &Ddl, found: &Found, new: &str) -> Result<Change, SqlError> {
    if ddl.catalog.relation_exists(found.schema(), new) {
        return Err(duplicate_relation(new));
    }
    view::refuse_if_viewed(ddl, found.id(), None, "renaming a relation")?;
    Ok(found.with(|_, name| new.clone_into(name)))
}

fn set_schema(ddl: &Ddl, found: &Found, schema: &Arc<Schema>) -> Result<Vec<Change>, SqlError> {
    if schema.id == found.schema() {
        return Ok(Vec::new());
    }
    if schema.database == 0 {
        return Err(SqlError::new(
            SqlState::INSUFFICIENT_PRIVILEGE,
            format!("permission denied for schema {}", schema.name),
        ));
    }
    let taken = |name: &str| match ddl.catalog.relation_exists(schema.id, name) {
        true => Err(SqlError::new(
            SqlState::DUPLICATE_TABLE,
            format!("relation \"{name}\" already exists in schema \"{}\"", schema.name),
        )),
        false => Ok(()),
    };
    taken(found.name())?;
    view::refuse_if_viewed(ddl, found.id(), None, "moving a relation")?;
    let mut changes = vec![found.with(|of, _| *of = schema.id)];
    match found {
        Found::Table(table) => {
            for index in std::iter::once(&table.primary).chain(&table.indexes) {
                if !index.columns.is_empty() {
                    taken(&index.name)?;
                }
            }
            for owned in sequence::owned(&ddl.catalog, table, None) {
                taken(&owned.name)?;
                let mut next = Sequence::clone(&owned);
                next.schema = schema.id;
                changes.push(Change::PutSequence(Box::new(next)));
            }
        }
        Found::Sequence(sequence) => {
            if let Some((table, _)) =
                sequence.owned_by.and_then(|(t, _)| ddl.catalog.table_by_id(t).map(|t| (t, ())))
            {
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "cannot move an owned sequence into another schema",
                )
                .detail(format!(
                    "Sequence \"{}\" is linked to table \"{}\".",
                    sequence.name, table.name
                )));
            }
        }
        Found::View(_) => {}
    }
    Ok(changes)
}
