//! Roles: making, changing and dropping them, memberships, ownership as a whole.
//!
//! ```text
//!   parse       the statements             membership  GRANT and REVOKE of roles
//!   attributes  CREATE, ALTER, SET         drop        DROP ROLE, and what keeps a role from it
//!   owned       REASSIGN and DROP OWNED    ../grant    privileges
//! ```

mod attributes;
mod drop;
mod membership;
mod owned;
mod parse;
mod parse_grant;

use catalog::{CatalogSnapshot, Change, Privileges, Role, RoleId};

pub(crate) use parse::{
    Grant, RoleSpec, RoleStatement, Targets, is_role_statement, parse_role_statement, spec_of,
};

use super::{Ddl, owner};
use crate::privilege::{Authority, insufficient, no_role};
use crate::session::api::Sink;
use crate::session::{Session, Tag};
use crate::{SqlError, SqlState};

impl RoleStatement {
    /// Name of the statement: its tag.
    fn verb(&self) -> &'static str {
        match self {
            RoleStatement::Create { .. } => "CREATE ROLE",
            RoleStatement::Alter { .. }
            | RoleStatement::AlterGroup { .. }
            | RoleStatement::Configure { .. }
            | RoleStatement::Rename { .. } => "ALTER ROLE",
            RoleStatement::Drop { .. } => "DROP ROLE",
            RoleStatement::Membership { grant: true, .. } => "GRANT ROLE",
            RoleStatement::Membership { grant: false, .. } => "REVOKE ROLE",
            RoleStatement::Privileges(Grant { grant: true, .. }, _) => "GRANT",
            RoleStatement::Privileges(..) => "REVOKE",
            RoleStatement::Defaults { .. } => "ALTER DEFAULT PRIVILEGES",
            RoleStatement::Reassign { .. } => "REASSIGN OWNED",
            RoleStatement::DropOwned { .. } => "DROP OWNED",
            RoleStatement::SchemaOwner { .. } => "ALTER SCHEMA",
            RoleStatement::DatabaseOwner { .. } => "ALTER DATABASE",
            RoleStatement::Comment { .. } => "COMMENT",
            RoleStatement::ResetSessionAuthorization => "RESET",
            RoleStatement::Unsupported(_) => "this statement",
        }
    }
}

/// Runs one.
pub(crate) async fn run_role(
    session: &mut Session,
    statement: &RoleStatement,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let verb = statement.verb();
    match statement {
        RoleStatement::ResetSessionAuthorization => return session.reset_who(true, sink),
        RoleStatement::Unsupported(what) => return Err(SqlError::unsupported(what)),
        _ => session.refuse_if_read_only(verb)?,
    }
    let mut ddl = Ddl::begin(session).await?;
    match statement {
        RoleStatement::Create { name, login, options } => {
            attributes::create(session, &mut ddl, name, *login, options, sink).await?;
        }
        RoleStatement::Alter { role, options } => {
            attributes::alter(session, &mut ddl, role, options, sink).await?;
        }
        RoleStatement::AlterGroup { role, add, members } => {
            let role = resolve(session, &ddl.catalog, role)?;
            let members = resolve_all(session, &ddl.catalog, members)?;
            let change = membership::Change { grant: *add, admin: false, granted_by: None };
            membership::run(session, &mut ddl, &[role], &members, change, sink).await?;
        }
        RoleStatement::Configure { role, change } => {
            attributes::configure(session, &mut ddl, role, change).await?;
        }
        RoleStatement::Rename { role, name } => {
            attributes::rename(session, &mut ddl, role, name).await?;
        }
        RoleStatement::Drop { if_exists, roles } => {
            drop::run(session, &mut ddl, *if_exists, roles, sink).await?;
        }
        RoleStatement::Membership { grant, roles, members, admin, granted_by } => {
            let known = |name: &String| {
                ddl.catalog.role(name).map(|role| role.id).ok_or_else(|| no_role(name))
            };
            let roles = roles.iter().map(known).collect::<Result<Vec<_>, _>>()?;
            let members = resolve_all(session, &ddl.catalog, members)?;
            let granted_by =
                granted_by.as_ref().map(|r| resolve(session, &ddl.catalog, r)).transpose()?;
            let change = membership::Change { grant: *grant, admin: *admin, granted_by };
            membership::run(session, &mut ddl, &roles, &members, change, sink).await?;
        }
        RoleStatement::Privileges(grant, targets) => {
            super::grant::run(session, &mut ddl, grant, targets, sink).await?;
        }
        RoleStatement::Defaults { roles, schemas, grant, kind } => {
            super::grant::defaults(session, &mut ddl, roles, schemas, grant, kind).await?;
        }
        RoleStatement::Reassign { from, to } => {
            owned::reassign(session, &mut ddl, from, to).await?;
        }
        RoleStatement::DropOwned { roles, cascade } => {
            owned::drop(session, &mut ddl, roles, *cascade, sink).await?;
        }
        RoleStatement::SchemaOwner { schema, owner } => {
            schema_owner(session, &mut ddl, schema, owner).await?;
        }
        RoleStatement::DatabaseOwner { database, owner } => {
            database_owner(session, &mut ddl, database, owner).await?;
        }
        RoleStatement::Comment { role, comment } => {
            let role = resolve(session, &ddl.catalog, role)?;
            attributes::may_alter(session, &ddl, role)?;
            let mut next = known(&ddl.catalog, role)?.clone();
            next.comment = comment.clone().filter(|comment| !comment.is_empty());
            ddl.write(session, vec![Change::PutRole(next)]).await?;
        }
        RoleStatement::ResetSessionAuthorization | RoleStatement::Unsupported(_) => {}
    }
    Ok(Tag::Text(verb))
}

/// The role that a statement names; 42704 if there is none.
pub(super) fn resolve(
    session: &Session,
    catalog: &CatalogSnapshot,
    role: &RoleSpec,
) -> Result<RoleId, SqlError> {
    match role {
        RoleSpec::Name(name) => catalog.role(name).map(|role| role.id).ok_or_else(|| no_role(name)),
        RoleSpec::Current => Ok(session.authority().user()),
        RoleSpec::Session => Ok(session.session_authority(catalog).user()),
        RoleSpec::Public => Err(no_role("public")),
    }
}

pub(super) fn resolve_all(
    session: &Session,
    catalog: &CatalogSnapshot,
    roles: &[RoleSpec],
) -> Result<Vec<RoleId>, SqlError> {
    roles.iter().map(|role| resolve(session, catalog, role)).collect()
}

/// The role of an id that was just found.
fn known(catalog: &CatalogSnapshot, role: RoleId) -> Result<&Role, SqlError> {
    let role = catalog.role_by_id(role).map(|role| &**role);
    role.ok_or_else(|| SqlError::new(SqlState::UNDEFINED_OBJECT, "the role is gone"))
}

/// 42939 for names that no role may have.
fn refuse_reserved(name: &str) -> Result<(), SqlError> {
    let reserved = |message| SqlError::new(SqlState("42939"), message);
    if name.starts_with("pg_") {
        return Err(reserved(format!("role name \"{name}\" is reserved"))
            .detail("Role names starting with \"pg_\" are reserved."));
    }
    match name {
        "none" | "public" => Err(reserved(format!("role name \"{name}\" is reserved"))),
        _ => Ok(()),
    }
}

async fn schema_owner(
    session: &mut Session,
    ddl: &mut Ddl,
    name: &str,
    to: &RoleSpec,
) -> Result<(), SqlError> {
    let schema = ddl.catalog.schema(session.database(), name).cloned().ok_or_else(|| {
        SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"))
    })?;
    let to = resolve(session, &ddl.catalog, to)?;
    if schema.owner == to {
        return Ok(());
    }
    session.authority().must_own(&*schema)?;
    owner::may_give(session, &ddl.catalog, to)?;
    if let Some(database) = ddl.catalog.database_by_id(session.database()) {
        let role = ddl.catalog.role_by_id(to).map(|role| &**role);
        let new = Authority::of(&ddl.catalog, session.database(), role);
        if !session.authority().is_superuser() {
            new.demand(&**database, Privileges::CREATE)?;
        }
    }
    if schema.database == 0 {
        return Err(insufficient(format!("permission denied for schema {name}"))
            .detail("System catalog modifications are currently disallowed."));
    }
    let mut next = catalog::Schema::clone(&schema);
    next.acl = schema.acl.as_ref().map(|acl| acl.of_new_owner(schema.owner, to));
    next.owner = to;
    ddl.write(session, vec![Change::PutSchema(next)]).await
}

async fn database_owner(
    session: &mut Session,
    ddl: &mut Ddl,
    name: &str,
    to: &RoleSpec,
) -> Result<(), SqlError> {
    let database = ddl.catalog.database(name).cloned().ok_or_else(|| {
        SqlError::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist"))
    })?;
    let to = resolve(session, &ddl.catalog, to)?;
    if database.owner == to {
        return Ok(());
    }
    session.authority().must_own(&*database)?;
    owner::may_give(session, &ddl.catalog, to)?;
    if !session.authority().may_create_database() {
        return Err(insufficient("permission denied to change owner of database"));
    }
    let mut next = catalog::Database::clone(&database);
    next.acl = database.acl.as_ref().map(|acl| acl.of_new_owner(database.owner, to));
    next.owner = to;
    ddl.write(session, vec![Change::PutDatabase(next)]).await
}
