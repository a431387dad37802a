//! GRANT and REVOKE of roles to roles.

use catalog::{Membership, Role, RoleId};

use super::{Ddl, known};
use crate::privilege::insufficient;
use crate::session::Session;
use crate::session::api::{Severity, Sink};
use crate::{SqlError, SqlState};

/// What becomes of memberships.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) grant: bool,
    /// GRANT … WITH ADMIN OPTION; REVOKE ADMIN OPTION FOR: that alone.
    pub(super) admin: bool,
    pub(super) granted_by: Option<RoleId>,
}

/// Admits each of the members to each of the roles, or ends their memberships.
pub(super) async fn run(
    session: &mut Session,
    ddl: &mut Ddl,
    roles: &[RoleId],
    members: &[RoleId],
    change: Change,
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    for &role in roles {
        may_admit(session, ddl, role, change)?;
        for &member in members {
            if let Some(next) = changed(session, ddl, role, member, change, sink)? {
                ddl.write(session, vec![catalog::Change::PutRole(next)]).await?;
            }
        }
    }
    Ok(())
}

fn may_admit(session: &Session, ddl: &Ddl, role: RoleId, change: Change) -> Result<(), SqlError> {
    let authority = session.authority();
    let of = known(&ddl.catalog, role)?;
    if let Some(by) = change.granted_by
        && by != authority.user()
        && !authority.is_superuser()
    {
        return Err(insufficient("must be superuser to set grantor"));
    }
    if of.superuser && !authority.is_superuser() {
        return Err(insufficient("must be superuser to alter superusers"));
    }
    if !of.superuser
        && !authority.may_create_role()
        && !ddl.catalog.may_admit(authority.user(), role, session.database())
    {
        return Err(insufficient(format!("must have admin option on role \"{}\"", of.name)));
    }
    Ok(())
}

/// The member with the membership changed; `None` if there is nothing to change.
fn changed(
    session: &Session,
    ddl: &Ddl,
    role: RoleId,
    member: RoleId,
    change: Change,
    sink: &mut dyn Sink,
) -> Result<Option<Role>, SqlError> {
    let catalog = &ddl.catalog;
    let (of, is) = (known(catalog, role)?, known(catalog, member)?);
    let mut next = is.clone();
    let at = next.member_of.iter().position(|m| m.role == role);
    if !change.grant {
        let Some(at) = at else {
            let message = format!("role \"{}\" is not a member of role \"{}\"", is.name, of.name);
            sink.notice(Severity::Warning, &SqlError::new(SqlState::WARNING, message));
            return Ok(None);
        };
        match change.admin {
            true => next.member_of[at].admin = false,
            false => drop(next.member_of.remove(at)),
        }
        return Ok(Some(next));
    }
    if role == catalog::role::DATABASE_OWNER_ROLE_ID {
        return Err(SqlError::new(
            SqlState::INVALID_GRANT_OPERATION,
            format!("role \"{}\" cannot have explicit members", of.name),
        ));
    }
    if member == role || catalog.is_listed_member(role, member, session.database()) {
        return Err(SqlError::new(
            SqlState::INVALID_GRANT_OPERATION,
            format!("role \"{}\" is a member of role \"{}\"", of.name, is.name),
        ));
    }
    match at {
        Some(at) if next.member_of[at].admin || !change.admin => {
            let message =
                format!("role \"{}\" is already a member of role \"{}\"", is.name, of.name);
            sink.notice(Severity::Notice, &SqlError::new(SqlState("00000"), message));
            Ok(None)
        }
        Some(at) => {
            next.member_of[at].admin = true;
            Ok(Some(next))
        }
        None => {
            let grantor = change.granted_by.unwrap_or_else(|| session.authority().user());
            next.member_of.push(Membership { role, grantor, admin: change.admin });
            Ok(Some(next))
        }
    }
}
