//! GRANT and REVOKE of privileges, ALTER DEFAULT PRIVILEGES.
//!
//! Who grants is not who says so: the owner's rights are used where the current role has them, and
//! else those of the one of its roles that may grant most of what is wanted, as in PostgreSQL.

mod defaults;
mod target;

use std::sync::Arc;

use catalog::acl::{AclError, PUBLIC};
use catalog::{Acl, CatalogSnapshot, ObjectKind, Privileges, RoleId};

pub(super) use defaults::defaults;

use super::Ddl;
use super::role::{Grant, RoleSpec, Targets, resolve};
use crate::privilege::{Authority, Object, denied};
use crate::session::Session;
use crate::session::api::{Severity, Sink};
use crate::{SqlError, SqlState};

/// What is written out of a [`Grant`], for one kind of objects.
struct Wanted {
    privileges: Privileges,
    /// ALL: what cannot be granted is no matter.
    all: bool,
    grantees: Vec<RoleId>,
}

pub(super) async fn run(
    session: &mut Session,
    ddl: &mut Ddl,
    grant: &Grant,
    targets: &Targets,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    if grant.columns {
        return Err(SqlError::unsupported("privileges on columns"));
    }
    if let Some(by) = &grant.granted_by
        && resolve(session, &ddl.catalog, by)? != session.authority().user()
    {
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "grantor must be current user"));
    }
    let kind = match targets {
        Targets::Tables(_) | Targets::AllTables(_) => ObjectKind::Table,
        Targets::Sequences(_) | Targets::AllSequences(_) => ObjectKind::Sequence,
        Targets::Schemas(_) => ObjectKind::Schema,
        Targets::Databases(_) => ObjectKind::Database,
        Targets::Functions(_) | Targets::AllFunctions(_) => ObjectKind::Function,
        Targets::Unsupported(what) => {
            let verb = if grant.grant { "GRANT" } else { "REVOKE" };
            return Err(SqlError::unsupported(format!("{verb} … ON {what}")));
        }
    };
    let found = target::find(session, ddl, targets)?;
    let mut changes = Vec::new();
    for secured in found {
        // Names of sequences may stand where tables do.
        let kind = match secured.object().kind {
            ObjectKind::Sequence if kind == ObjectKind::Table => ObjectKind::Sequence,
            _ => kind,
        };
        let wanted = wanted(session, &ddl.catalog, grant, kind)?;
        let mut object = secured.object();
        object.kind = kind;
        let Some(acl) = changed(session, &ddl.catalog, grant, &wanted, &object, sink)? else {
            continue;
        };
        changes.push(secured.with(acl));
    }
    match changes.is_empty() {
        true => Ok(()),
        false => ddl.write(session, changes).await,
    }
}

/// Privileges and grantees by what they stand for.
fn wanted(
    session: &Session,
    catalog: &CatalogSnapshot,
    grant: &Grant,
    kind: ObjectKind,
) -> Result<Wanted, SqlError> {
    let mut grantees = Vec::new();
    for role in &grant.grantees {
        grantees.push(match role {
            RoleSpec::Public if grant.grant && grant.option => {
                return Err(SqlError::new(
                    SqlState::INVALID_GRANT_OPERATION,
                    "grant options can only be granted to roles",
                ));
            }
            RoleSpec::Public => PUBLIC,
            role => resolve(session, catalog, role)?,
        });
    }
    if grant.privileges.is_empty() {
        return Ok(Wanted { privileges: kind.all(), all: true, grantees });
    }
    let mut privileges = Privileges::NONE;
    for name in &grant.privileges {
        let Some(one) = Privileges::named(name) else {
            return Err(SqlError::syntax(format!(
                "unrecognized privilege type \"{}\"",
                name.to_lowercase()
            )));
        };
        if !kind.all().has(one) {
            let name = one.names().next().unwrap_or_default();
            return Err(SqlError::new(
                SqlState::INVALID_GRANT_OPERATION,
                match kind {
                    ObjectKind::Table => {
                        format!("invalid privilege type {name} for relation")
                    }
                    _ => format!("invalid privilege type {name} for {}", kind.name()),
                },
            ));
        }
        privileges |= one;
    }
    Ok(Wanted { privileges, all: false, grantees })
}

/// The list of an object after the statement; `None` if nothing changes.
fn changed(
    session: &Session,
    catalog: &CatalogSnapshot,
    grant: &Grant,
    wanted: &Wanted,
    object: &Object<'_>,
    sink: &mut dyn Sink,
) -> Result<Option<Acl>, SqlError> {
    let standard = Acl::default_of(object.kind, object.owner);
    let before = object.acl.cloned().unwrap_or(standard);
    let authority = session.authority();
    let (grantor, may) = best_grantor(authority, &before, object, wanted.privileges);
    if may.is_empty() {
        let role = catalog.role_by_id(grantor).map(|role| &**role);
        let own = Authority::of(catalog, session.database(), role);
        if own.privileges(object).is_empty() {
            return Err(denied(object.word, object.name));
        }
    }
    let privileges = wanted.privileges & may;
    let (code, verb) = match grant.grant {
        true => (SqlState("01007"), "were granted"),
        false => (SqlState("01006"), "could be revoked"),
    };
    let mut warn = |how: &str| {
        let message = format!("{how} privileges {verb} for \"{}\"", object.name);
        sink.notice(Severity::Warning, &SqlError::new(code, message));
    };
    if privileges.is_empty() {
        warn("no");
    } else if !wanted.all && privileges != wanted.privileges {
        warn("not all");
    }
    let mut after = before.clone();
    for grantee in &wanted.grantees {
        let done = match grant.grant {
            true => after.grant(grantor, *grantee, privileges, grant.option, object.owner),
            false => after.revoke(
                grantor,
                *grantee,
                privileges,
                grant.option,
                grant.cascade,
                object.owner,
            ),
        };
        done.map_err(acl_error)?;
    }
    #[cfg(debug_assertions)]
    after.check_invariants(object.owner);
    Ok((object.acl.is_none() || after != before).then_some(after))
}

fn acl_error(error: AclError) -> SqlError {
    match error {
        AclError::Dependent => {
            SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, "dependent privileges exist")
                .hint("Use CASCADE to revoke them too.")
        }
        AclError::Circular => SqlError::new(
            SqlState::INVALID_GRANT_OPERATION,
            "grant options cannot be granted back to your own grantor",
        ),
    }
}

/// The role that grants, and what of the wanted it may.
fn best_grantor(
    authority: &Arc<Authority>,
    acl: &Acl,
    object: &Object<'_>,
    wanted: Privileges,
) -> (RoleId, Privileges) {
    if authority.is_superuser() || authority.user() == object.owner {
        return (object.owner, wanted);
    }
    let own = authority.user();
    let mut best = (own, Privileges::NONE);
    for role in std::iter::once(own).chain(authority.roles().filter(|role| *role != own)) {
        let may = match role == object.owner {
            true => wanted,
            false => {
                acl.items()
                    .iter()
                    .filter(|i| i.grantee == role)
                    .fold(Privileges::NONE, |all, item| all | item.grantable)
                    & wanted
            }
        };
        if may.count() > best.1.count() {
            best = (role, may);
        }
    }
    best
}
