//! ALTER SCHEMA and ALTER DATABASE: names and owners.

use catalog::{CatalogSnapshot, Change, Database, Schema, View};

use super::Ddl;
use super::owner::may_give;
use super::parse::RelationChange;
use super::role::{resolve, spec_of};
use crate::bind::fold;
use crate::session::{Session, Tag};
use crate::{SqlError, SqlState};

pub(super) async fn alter_schema(
    session: &mut Session,
    name: &str,
    change: &RelationChange,
) -> Result<Tag, SqlError> {
    let mut ddl = Ddl::begin(session).await?;
    let schema = ddl.catalog.schema(session.database(), name).cloned().ok_or_else(|| {
        SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"))
    })?;
    if schema.database == 0 {
        return Err(SqlError::new(
            SqlState::INSUFFICIENT_PRIVILEGE,
            format!("permission denied for schema {name}"),
        ));
    }
    session.authority().must_own(&*schema)?;
    let mut next = Schema::clone(&schema);
    let mut changes = Vec::new();
    match change {
        RelationChange::Rename(new) => {
            let new = fold(new);
            super::schema::check_name(&new)?;
            if ddl.catalog.schema(session.database(), &new).is_some() {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_SCHEMA,
                    format!("schema \"{new}\" already exists"),
                ));
            }
            changes.extend(renamed_paths(&ddl.catalog, &schema, &new)?);
            next.name = new;
        }
        RelationChange::Owner(owner) => {
            let to = resolve(session, &ddl.catalog, &spec_of(owner))?;
            may_give(session, &ddl.catalog, to)?;
            next.acl = next.acl.as_ref().map(|acl| acl.of_new_owner(next.owner, to));
            next.owner = to;
        }
        RelationChange::Schema(_) => return Err(SqlError::internal("not of a schema")),
    }
    changes.push(Change::PutSchema(next));
    ddl.write(session, changes).await?;
    Ok(Tag::Text("ALTER SCHEMA"))
}

/// Views look names up by a search path of their own, which has the schema under its new name then. A view
/// whose text names the schema is refused.
fn renamed_paths(
    catalog: &CatalogSnapshot,
    schema: &Schema,
    new: &str,
) -> Result<Vec<Change>, SqlError> {
    let mut changes = Vec::new();
    let of_database = |view: &&std::sync::Arc<View>| {
        catalog.schema_by_id(view.schema).is_some_and(|s| s.database == schema.database)
    };
    for view in catalog.views().filter(of_database) {
        let statements = crate::bind::parse(&view.sql)?;
        let names = statements.iter().flat_map(crate::bind::mentioned_tables);
        if names.into_iter().any(|(of, _)| of.as_deref() == Some(&schema.name)) {
            return Err(SqlError::unsupported("renaming a schema that a view mentions")
                .detail(format!("View \"{}\" mentions it.", view.name)));
        }
        if view.path.contains(&schema.name) {
            let mut next = View::clone(view);
            for name in next.path.iter_mut().filter(|name| **name == schema.name) {
                new.clone_into(name);
            }
            changes.push(Change::PutView(Box::new(next)));
        }
    }
    Ok(changes)
}

pub(super) async fn alter_database(
    session: &mut Session,
    name: &str,
    change: &RelationChange,
) -> Result<Tag, SqlError> {
    let mut ddl = Ddl::begin(session).await?;
    let database = ddl.catalog.database(name).cloned().ok_or_else(|| {
        SqlError::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist"))
    })?;
    session.authority().must_own(&*database)?;
    let mut next = Database::clone(&database);
    match change {
        RelationChange::Rename(new) => {
            let new = fold(new);
            if ddl.catalog.database(&new).is_some() {
                return Err(SqlError::new(
                    SqlState::DUPLICATE_DATABASE,
                    format!("database \"{new}\" already exists"),
                ));
            }
            if database.id == session.database() {
                return Err(SqlError::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    "current database cannot be renamed",
                ));
            }
            next.name = new;
        }
        RelationChange::Owner(owner) => {
            let to = resolve(session, &ddl.catalog, &spec_of(owner))?;
            may_give(session, &ddl.catalog, to)?;
            next.acl = next.acl.as_ref().map(|acl| acl.of_new_owner(next.owner, to));
            next.owner = to;
        }
        RelationChange::Schema(_) => return Err(SqlError::internal("not of a database")),
    }
    ddl.write(session, vec![Change::PutDatabase(next)]).await?;
    Ok(Tag::Text("ALTER DATABASE"))
}
