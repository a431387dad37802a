//! DROP ROLE: refused while something in the cluster is the role's, or is granted to it.

use catalog::{Acl, CatalogSnapshot, Change, RoleId};

use super::{Ddl, RoleSpec, known};
use crate::ddl::notice;
use crate::privilege::{insufficient, no_role};
use crate::session::Session;
use crate::session::api::Sink;
use crate::{SqlError, SqlState};

pub(super) async fn run(
    session: &mut Session,
    ddl: &mut Ddl,
    if_exists: bool,
    roles: &[RoleSpec],
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    if !session.authority().may_create_role() {
        return Err(insufficient("permission denied to drop role"));
    }
    for role in roles {
        let RoleSpec::Name(name) = role else {
            return Err(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                "cannot use special role specifier in DROP ROLE",
            ));
        };
        let Some(role) = ddl.catalog.role(name).map(|role| role.id) else {
            if !if_exists {
                return Err(no_role(name));
            }
            let message = format!("role \"{name}\" does not exist, skipping");
            notice(sink, SqlState("00000"), message);
            continue;
        };
        may_drop(session, ddl, role)?;
        let mut changes = Vec::new();
        let mut members: Vec<RoleId> = ddl.catalog.members_of(role).map(|(m, _)| m.id).collect();
        members.dedup();
        for member in members {
            let mut next = known(&ddl.catalog, member)?.clone();
            next.member_of.retain(|m| m.role != role);
            changes.push(Change::PutRole(next));
        }
        changes.push(Change::DropRole(role));
        ddl.write(session, changes).await?;
    }
    Ok(())
}

fn may_drop(session: &Session, ddl: &Ddl, role: RoleId) -> Result<(), SqlError> {
    let authority = session.authority();
    let found = known(&ddl.catalog, role)?;
    let in_use = |what: &str| {
        Err(SqlError::new(SqlState::OBJECT_IN_USE, format!("{what} user cannot be dropped")))
    };
    if role == authority.user() {
        return in_use("current");
    }
    if role == session.session_authority(&ddl.catalog).user() {
        return in_use("session");
    }
    if found.superuser && !authority.is_superuser() {
        return Err(insufficient("must be superuser to drop superusers"));
    }
    let refused = |message| SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message);
    if role < catalog::FIRST_USER_ID {
        return Err(refused(format!(
            "cannot drop role {} because it is required by the database system",
            found.name
        )));
    }
    let holds = dependents(&ddl.catalog, session.database(), role);
    if holds.is_empty() {
        return Ok(());
    }
    Err(refused(format!(
        "role \"{}\" cannot be dropped because some objects depend on it",
        found.name
    ))
    .detail(holds.join("\n")))
}

/// What keeps a role, in words: of other databases, how many objects there are.
fn dependents(catalog: &CatalogSnapshot, database: u32, role: RoleId) -> Vec<String> {
    let mut found = Vec::new();
    let mut elsewhere = std::collections::BTreeMap::<u32, usize>::new();
    let mut note = |of: u32, owner: RoleId, acl: Option<&Acl>, what: &str, name: &str| {
        let what = match (owner == role, acl.is_some_and(|acl| acl.mentions(role))) {
            (true, _) => format!("owner of {what} {name}"),
            (false, true) => format!("privileges for {what} {name}"),
            (false, false) => return,
        };
        match of == database || of == 0 {
            true => found.push(what),
            false => *elsewhere.entry(of).or_default() += 1,
        }
    };
    let of = |schema: u32| catalog.schema_by_id(schema).map_or(0, |s| s.database);
    for it in catalog.databases() {
        note(0, it.owner, it.acl.as_ref(), "database", &it.name);
    }
    for it in catalog.schemas() {
        note(it.database, it.owner, it.acl.as_ref(), "schema", &it.name);
    }
    for it in catalog.tables() {
        note(of(it.schema), it.owner, it.acl.as_ref(), "table", &it.name);
    }
    for it in catalog.views() {
        note(of(it.schema), it.owner, it.acl.as_ref(), "view", &it.name);
    }
    for it in catalog.sequences() {
        note(of(it.schema), it.owner, it.acl.as_ref(), "sequence", &it.name);
    }
    for it in catalog.default_acls() {
        let owner = catalog.role_name(it.role);
        let what =
            format!("default privileges on new {}s belonging to role {owner}", it.kind.name());
        let place = match catalog.schema_by_id(it.schema) {
            Some(schema) => format!("in schema {}", schema.name),
            None => String::new(),
        };
        if it.role == role {
            found.push(format!("owner of {what} {place}").trim_end().to_owned());
        } else if it.acl.mentions(role) {
            found.push(format!("privileges for {what} {place}").trim_end().to_owned());
        }
    }
    for (of, count) in elsewhere {
        let name = catalog.database_by_id(of).map_or("?", |d| d.name.as_str());
        let objects = if count == 1 { "object" } else { "objects" };
        found.push(format!("{count} {objects} in database {name}"));
    }
    found
}
