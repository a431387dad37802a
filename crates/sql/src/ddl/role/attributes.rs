//! CREATE ROLE, ALTER ROLE: attributes, passwords, settings, names.

use catalog::{BOOTSTRAP_ROLE_ID, Change, Role, RoleId};
use pgtypes::{Datum, PgType};
use sqlparser::ast;

use super::parse::{Configuration, RoleOption};
use super::{Ddl, RoleSpec, known, membership, refuse_reserved, resolve, resolve_all};
use crate::ddl::{new_oids, notice};
use crate::privilege::insufficient;
use crate::session::api::Sink;
use crate::session::{Session, setting_text};
use crate::settings::{SETTINGS, Settings};
use crate::{SqlError, SqlState};

/// The name of a role that is to be.
fn new_name(role: &RoleSpec) -> Result<&str, SqlError> {
    let special = |what: &str| {
        let message = format!("{what} cannot be used as a role name here");
        Err(SqlError::new(SqlState("42939"), message))
    };
    match role {
        RoleSpec::Name(name) => {
            refuse_reserved(name)?;
            Ok(name)
        }
        RoleSpec::Current => special("CURRENT_USER"),
        RoleSpec::Session => special("SESSION_USER"),
        RoleSpec::Public => {
            Err(SqlError::new(SqlState("42939"), "role name \"public\" is reserved"))
        }
    }
}

pub(super) async fn create(
    session: &mut Session,
    ddl: &mut Ddl,
    name: &RoleSpec,
    login: bool,
    options: &[RoleOption],
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    refuse_twice(options)?;
    let superuser = options.iter().any(|o| matches!(o, RoleOption::Superuser(true)));
    let authority = session.authority();
    if superuser && !authority.is_superuser() {
        return Err(insufficient("must be superuser to create superusers"));
    }
    if !authority.may_create_role() {
        return Err(insufficient("permission denied to create role"));
    }
    let name = new_name(name)?;
    if ddl.catalog.role(name).is_some() {
        return Err(SqlError::new(
            SqlState::DUPLICATE_OBJECT,
            format!("role \"{name}\" already exists"),
        ));
    }
    let id = new_oids(session, 1).await?;
    let mut role = Role::new(id, name.to_owned());
    role.login = login;
    apply(session, &mut role, options, sink)?;
    ddl.write(session, vec![Change::PutRole(role)]).await?;
    let grant = |admin| membership::Change { grant: true, admin, granted_by: None };
    for option in options {
        match option {
            RoleOption::In(roles) => {
                let roles = resolve_all(session, &ddl.catalog, roles)?;
                membership::run(session, ddl, &roles, &[id], grant(false), sink).await?;
            }
            RoleOption::Members(members, admin) => {
                let members = resolve_all(session, &ddl.catalog, members)?;
                membership::run(session, ddl, &[id], &members, grant(*admin), sink).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn refuse_twice(options: &[RoleOption]) -> Result<(), SqlError> {
    for (at, option) in options.iter().enumerate() {
        if let RoleOption::Unsupported(what) = option {
            return Err(SqlError::unsupported(what));
        }
        if options[..at].iter().any(|before| before.kind() == option.kind()) {
            return Err(SqlError::syntax("conflicting or redundant options"));
        }
    }
    Ok(())
}

/// Puts what the options say into a role; memberships apart.
fn apply(
    session: &Session,
    role: &mut Role,
    options: &[RoleOption],
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    for option in options {
        match option {
            RoleOption::Superuser(on) => role.superuser = *on,
            RoleOption::CreateDb(on) => role.create_database = *on,
            RoleOption::CreateRole(on) => role.create_role = *on,
            RoleOption::Inherit(on) => role.inherit = *on,
            RoleOption::Login(on) => role.login = *on,
            RoleOption::ConnectionLimit(limit) => {
                role.connection_limit =
                    i32::try_from(*limit).ok().filter(|limit| *limit >= -1).ok_or_else(|| {
                        SqlError::new(
                            SqlState::INVALID_PARAMETER_VALUE,
                            format!("invalid connection limit: {limit}"),
                        )
                    })?;
            }
            RoleOption::Password(password) => {
                role.password = password.as_deref().map(verifier).transpose()?.flatten();
                if password.as_deref() == Some("") {
                    let message = "empty string is not a valid password, clearing password";
                    notice(sink, SqlState("00000"), message.to_owned());
                }
            }
            RoleOption::ValidUntil(time) => {
                let literal = ast::Value::SingleQuotedString(time.clone());
                let expr = ast::Expr::Value(literal.into());
                role.valid_until = match session.constant(&expr, PgType::TIMESTAMPTZ, "")? {
                    Datum::Timestamptz(micros) => Some(micros),
                    _ => None,
                };
            }
            RoleOption::In(_) | RoleOption::Members(..) | RoleOption::Unsupported(_) => {}
        }
    }
    Ok(())
}

/// What is kept of a password: never itself. A verifier is taken as it is; none for no password.
fn verifier(password: &str) -> Result<Option<String>, SqlError> {
    if password.is_empty() {
        return Ok(None);
    }
    if password.len() == 35 && password.starts_with("md5") {
        return Err(SqlError::unsupported("a password hashed with MD5")
            .hint("Give the password itself, or a SCRAM-SHA-256 verifier."));
    }
    if is_verifier(password) {
        return Ok(Some(password.to_owned()));
    }
    Ok(Some(postgres_protocol::password::scram_sha_256(password.as_bytes())))
}

/// `SCRAM-SHA-256$4096:salt$stored key:server key`.
fn is_verifier(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("SCRAM-SHA-256$") else { return false };
    let Some((head, keys)) = rest.split_once('$') else { return false };
    let base64 = |text: &str, bytes: Option<usize>| {
        let known = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
        !text.is_empty()
            && text.len().is_multiple_of(4)
            && text.chars().all(known)
            && bytes.is_none_or(|bytes| text.len() == bytes.div_ceil(3) * 4)
    };
    let head = head.split_once(':');
    let keys = keys.split_once(':');
    head.is_some_and(|(n, salt)| n.parse::<u32>().is_ok_and(|n| n > 0) && base64(salt, None))
        && keys.is_some_and(|(stored, server)| base64(stored, Some(32)) && base64(server, Some(32)))
}

/// 42501 unless the current role may change another one, its own password apart.
pub(super) fn may_alter(session: &Session, ddl: &Ddl, role: RoleId) -> Result<(), SqlError> {
    let authority = session.authority();
    if known(&ddl.catalog, role)?.superuser && !authority.is_superuser() {
        return Err(insufficient("must be superuser to alter superusers"));
    }
    match authority.may_create_role() {
        true => Ok(()),
        false => Err(insufficient("permission denied")),
    }
}

fn refuse_predefined(ddl: &Ddl, role: RoleId) -> Result<(), SqlError> {
    let name = &known(&ddl.catalog, role)?.name;
    match name.starts_with("pg_") {
        true => Err(SqlError::new(SqlState("42939"), format!("role name \"{name}\" is reserved"))
            .detail("Cannot alter reserved roles.")),
        false => Ok(()),
    }
}

pub(super) async fn alter(
    session: &mut Session,
    ddl: &mut Ddl,
    role: &RoleSpec,
    options: &[RoleOption],
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    refuse_twice(options)?;
    if options.iter().any(|o| matches!(o, RoleOption::In(_) | RoleOption::Members(_, true))) {
        return Err(SqlError::syntax("ALTER ROLE with memberships").hint("Use GRANT and REVOKE."));
    }
    let id = resolve(session, &ddl.catalog, role)?;
    refuse_predefined(ddl, id)?;
    let mut next = known(&ddl.catalog, id)?.clone();
    let authority = session.authority();
    let changes_superuser = options.iter().any(|o| matches!(o, RoleOption::Superuser(_)));
    if (next.superuser || changes_superuser) && !authority.is_superuser() {
        return Err(insufficient(
            "must be superuser to alter superuser roles or change superuser attribute",
        ));
    }
    let own_password = id == authority.user() && matches!(options, [RoleOption::Password(_)]);
    if !authority.may_create_role() && !own_password {
        return Err(insufficient("permission denied"));
    }
    apply(session, &mut next, options, sink)?;
    if id == BOOTSTRAP_ROLE_ID && !next.superuser {
        return Err(insufficient("permission denied to alter role")
            .detail("The bootstrap superuser must have the SUPERUSER attribute."));
    }
    ddl.write(session, vec![Change::PutRole(next)]).await?;
    for option in options {
        if let RoleOption::Members(members, _) = option {
            let members = resolve_all(session, &ddl.catalog, members)?;
            let change = membership::Change { grant: true, admin: false, granted_by: None };
            membership::run(session, ddl, &[id], &members, change, sink).await?;
        }
    }
    Ok(())
}

/// Whether a setting of a role is not the one of that name.
fn other(name: &str) -> impl Fn(&(String, String)) -> bool {
    move |(known, _)| !known.eq_ignore_ascii_case(name)
}

pub(super) async fn configure(
    session: &mut Session,
    ddl: &mut Ddl,
    role: &RoleSpec,
    change: &Configuration,
) -> Result<(), SqlError> {
    let id = resolve(session, &ddl.catalog, role)?;
    refuse_predefined(ddl, id)?;
    if id != session.authority().user() {
        may_alter(session, ddl, id)?;
    }
    let mut next = known(&ddl.catalog, id)?.clone();
    match change {
        Configuration::Set(name, values) => match setting_text(values)? {
            Some(value) => {
                let (name, value) = Settings::default().set(name, &value)?;
                let shown = SETTINGS.iter().find(|s| s.name.eq_ignore_ascii_case(&name));
                next.settings.retain(other(&name));
                next.settings.push((shown.map_or(name, |s| s.name.to_owned()), value));
            }
            None => next.settings.retain(other(name)),
        },
        Configuration::Reset(name) => next.settings.retain(other(name)),
        Configuration::ResetAll => next.settings.clear(),
    }
    ddl.write(session, vec![Change::PutRole(next)]).await
}

pub(super) async fn rename(
    session: &mut Session,
    ddl: &mut Ddl,
    role: &RoleSpec,
    name: &str,
) -> Result<(), SqlError> {
    let id = resolve(session, &ddl.catalog, role)?;
    refuse_predefined(ddl, id)?;
    let refused = |what: &str| Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, what));
    if id == session.session_authority(&ddl.catalog).user() {
        return refused("session user cannot be renamed");
    }
    if id == session.authority().user() {
        return refused("current user cannot be renamed");
    }
    refuse_reserved(name)?;
    if ddl.catalog.role(name).is_some() {
        return Err(SqlError::new(
            SqlState::DUPLICATE_OBJECT,
            format!("role \"{name}\" already exists"),
        ));
    }
    let mut next = known(&ddl.catalog, id)?.clone();
    let authority = session.authority();
    if next.superuser && !authority.is_superuser() {
        return Err(insufficient("must be superuser to rename superusers"));
    }
    if !authority.may_create_role() {
        return Err(insufficient("permission denied to rename role"));
    }
    name.clone_into(&mut next.name);
    ddl.write(session, vec![Change::PutRole(next)]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_is_told_from_a_password() {
        let made = verifier("secret").expect("a password").expect("not empty");
        assert!(is_verifier(&made), "{made}");
        assert_eq!(verifier(&made), Ok(Some(made.clone())));
        for text in ["SCRAM-SHA-256", "SCRAM-SHA-256$4096:abcd", "SCRAM-SHA-256$0:abcd$x:y"] {
            assert!(!is_verifier(text), "{text}");
        }
        assert!(verifier("md5aabbccddeeff00112233445566778899").is_err());
    }
}
