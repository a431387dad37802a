//! REASSIGN OWNED and DROP OWNED: what a role owns in this database, and what it was granted.

use catalog::{Acl, CatalogSnapshot, Change, Database, RoleId, Schema, Sequence, Table, View};

use super::{Ddl, RoleSpec, resolve, resolve_all};
use crate::ddl::depend::{Drop, Object};
use crate::ddl::owner::given;
use crate::privilege::insufficient;
use crate::session::Session;
use crate::session::api::Sink;
use crate::{SqlError, SqlState};

/// 42501 unless the current role has the privileges of all of them.
fn must_have(
    session: &Session,
    catalog: &CatalogSnapshot,
    roles: &[RoleId],
    what: &str,
) -> Result<(), SqlError> {
    for role in roles {
        if *role == catalog::BOOTSTRAP_ROLE_ID {
            return Err(SqlError::new(
                SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                format!(
                    "cannot {what} objects owned by role {} because they are required by the \
                     database system",
                    catalog.role_name(*role)
                ),
            ));
        }
        if !session.authority().has(*role) {
            return Err(insufficient(format!("permission denied to {what} objects")));
        }
    }
    Ok(())
}

/// Whether a schema is this database's.
fn is_here(session: &Session, catalog: &CatalogSnapshot, schema: u32) -> bool {
    catalog.schema_by_id(schema).is_some_and(|s| s.database == session.database())
}

/// Relations of this database that the roles own; sequences of columns go with their tables.
fn relations(session: &Session, catalog: &CatalogSnapshot, roles: &[RoleId]) -> Vec<Object> {
    let mine =
        |owner: RoleId, schema: u32| roles.contains(&owner) && is_here(session, catalog, schema);
    let tables = catalog.tables().filter(|t| mine(t.owner, t.schema)).map(|t| Object::Table(t.id));
    let views = catalog.views().filter(|v| mine(v.owner, v.schema)).map(|v| Object::View(v.id));
    let sequences = catalog
        .sequences()
        .filter(|s| s.owned_by.is_none() && mine(s.owner, s.schema))
        .map(|s| Object::Sequence(s.id));
    tables.chain(views).chain(sequences).collect()
}

pub(super) async fn reassign(
    session: &mut Session,
    ddl: &mut Ddl,
    from: &[RoleSpec],
    to: &RoleSpec,
) -> Result<(), SqlError> {
    let from = resolve_all(session, &ddl.catalog, from)?;
    let to = resolve(session, &ddl.catalog, to)?;
    must_have(session, &ddl.catalog, &from, "reassign")?;
    if !session.authority().has(to) {
        return Err(insufficient("permission denied to reassign objects"));
    }
    let catalog = ddl.catalog.clone();
    let mut changes = Vec::new();
    for object in relations(session, &catalog, &from) {
        changes.extend(given(&catalog, object.oid(), to));
    }
    for schema in catalog.schemas_of(session.database()).filter(|s| from.contains(&s.owner)) {
        let mut next = Schema::clone(schema);
        next.acl = schema.acl.as_ref().map(|acl| acl.of_new_owner(schema.owner, to));
        next.owner = to;
        changes.push(Change::PutSchema(next));
    }
    for database in catalog.databases().filter(|d| from.contains(&d.owner)) {
        let mut next = Database::clone(database);
        next.acl = database.acl.as_ref().map(|acl| acl.of_new_owner(database.owner, to));
        next.owner = to;
        changes.push(Change::PutDatabase(next));
    }
    match changes.is_empty() {
        true => Ok(()),
        false => ddl.write(session, changes).await,
    }
}

pub(super) async fn drop(
    session: &mut Session,
    ddl: &mut Ddl,
    roles: &[RoleSpec],
    cascade: bool,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    let roles = resolve_all(session, &ddl.catalog, roles)?;
    must_have(session, &ddl.catalog, &roles, "drop")?;
    let changes = revoked(session, &ddl.catalog, &roles);
    if !changes.is_empty() {
        ddl.write(session, changes).await?;
    }
    let catalog = ddl.catalog.clone();
    let mut roots = relations(session, &catalog, &roles);
    let schemas: Vec<u32> = catalog
        .schemas_of(session.database())
        .filter(|s| roles.contains(&s.owner))
        .map(|s| s.id)
        .collect();
    for schema in &schemas {
        let inside: Vec<Object> = catalog
            .tables_of(*schema)
            .map(|t| Object::Table(t.id))
            .chain(catalog.views_of(*schema).map(|v| Object::View(v.id)))
            .chain(catalog.sequences_of(*schema).map(|s| Object::Sequence(s.id)))
            .filter(|object| !roots.contains(object))
            .collect();
        if !cascade && let Some(object) = inside.first() {
            let name = session.relation_shown(&catalog, object.oid());
            let schema = catalog.schema_by_id(*schema).map_or("", |s| s.name.as_str());
            return Err(SqlError::new(
                SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
                "cannot drop desired object(s) because other objects depend on them",
            )
            .detail(format!("{name} depends on schema {schema}"))
            .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        roots.extend(inside);
    }
    let drop = Drop::of(&catalog, &roots);
    drop.allow(session, &catalog, cascade, sink)?;
    drop.carry_out(session, ddl, schemas.into_iter().map(Change::DropSchema).collect()).await
}

/// Changes that take the roles out of all lists of this database, and of databases.
fn revoked(session: &Session, catalog: &CatalogSnapshot, roles: &[RoleId]) -> Vec<Change> {
    let without = |acl: &Option<Acl>, owner: RoleId| -> Option<Acl> {
        let acl = acl.as_ref()?;
        let others = roles.iter().filter(|role| **role != owner && acl.mentions(**role));
        let mut next: Option<Acl> = None;
        for role in others {
            next = Some(next.as_ref().unwrap_or(acl).without(*role, owner));
        }
        next
    };
    let mut changes = Vec::new();
    for table in catalog.tables().filter(|t| is_here(session, catalog, t.schema)) {
        if let Some(acl) = without(&table.acl, table.owner) {
            let mut next = Table::clone(table);
            next.acl = Some(acl);
            changes.push(Change::PutTable(Box::new(next)));
        }
    }
    for view in catalog.views().filter(|v| is_here(session, catalog, v.schema)) {
        if let Some(acl) = without(&view.acl, view.owner) {
            let mut next = View::clone(view);
            next.acl = Some(acl);
            changes.push(Change::PutView(Box::new(next)));
        }
    }
    for sequence in catalog.sequences().filter(|s| is_here(session, catalog, s.schema)) {
        if let Some(acl) = without(&sequence.acl, sequence.owner) {
            let mut next = Sequence::clone(sequence);
            next.acl = Some(acl);
            changes.push(Change::PutSequence(Box::new(next)));
        }
    }
    for schema in catalog.schemas_of(session.database()).filter(|s| s.database != 0) {
        if let Some(acl) = without(&schema.acl, schema.owner) {
            let mut next = Schema::clone(schema);
            next.acl = Some(acl);
            changes.push(Change::PutSchema(next));
        }
    }
    for database in catalog.databases() {
        if let Some(acl) = without(&database.acl, database.owner) {
            let mut next = Database::clone(database);
            next.acl = Some(acl);
            changes.push(Change::PutDatabase(next));
        }
    }
    for default in catalog.default_acls() {
        if roles.contains(&default.role) {
            changes.push(Change::DropDefaultAcl(default.id));
        } else if let Some(acl) = without(&Some(default.acl.clone()), default.role) {
            changes.push(Change::PutDefaultAcl(catalog::DefaultAcl { acl, ..(**default).clone() }));
        }
    }
    changes
}
