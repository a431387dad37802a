//! ALTER DEFAULT PRIVILEGES: what objects are granted as they are made.

use catalog::{Acl, Change, DefaultAcl, ObjectKind, RoleId};

use super::{Grant, acl_error, wanted};
use crate::ddl::role::{RoleSpec, resolve};
use crate::ddl::{Ddl, new_oids};
use crate::privilege::insufficient;
use crate::session::Session;
use crate::{SqlError, SqlState};

pub(in crate::ddl) async fn defaults(
    session: &mut Session,
    ddl: &mut Ddl,
    roles: &[RoleSpec],
    schemas: &[String],
    grant: &Grant,
    kind: &str,
) -> Result<(), SqlError> {
    if grant.columns {
        return Err(SqlError::syntax("default privileges cannot be set for columns"));
    }
    let kind = match kind {
        "tables" => ObjectKind::Table,
        "sequences" => ObjectKind::Sequence,
        "functions" | "routines" => ObjectKind::Function,
        "types" => ObjectKind::Type,
        "schemas" => ObjectKind::Schema,
        other => {
            return Err(SqlError::syntax(format!("syntax error at or near \"{other}\"")));
        }
    };
    if kind == ObjectKind::Schema && !schemas.is_empty() {
        return Err(SqlError::new(
            SqlState::INVALID_GRANT_OPERATION,
            "cannot use IN SCHEMA clause when using GRANT/REVOKE ON SCHEMAS",
        ));
    }
    let makers = match roles {
        [] => vec![session.authority().user()],
        roles => roles
            .iter()
            .map(|role| resolve(session, &ddl.catalog, role))
            .collect::<Result<Vec<_>, _>>()?,
    };
    let mut places = Vec::new();
    for name in schemas {
        let found = ddl.catalog.schema(session.database(), name).ok_or_else(|| {
            SqlError::new(
                SqlState::INVALID_SCHEMA_NAME,
                format!("schema \"{name}\" does not exist"),
            )
        })?;
        places.push(found.id);
    }
    if places.is_empty() {
        places.push(0);
    }
    for maker in makers {
        if !session.authority().has(maker) {
            let name = ddl.catalog.role_name(maker);
            return Err(insufficient(format!("must be member of role \"{name}\"")));
        }
        for &schema in &places {
            let change = change(session, ddl, maker, schema, kind, grant).await?;
            if let Some(change) = change {
                ddl.write(session, vec![change]).await?;
            }
        }
    }
    Ok(())
}

async fn change(
    session: &Session,
    ddl: &Ddl,
    role: RoleId,
    schema: u32,
    kind: ObjectKind,
    grant: &Grant,
) -> Result<Option<Change>, SqlError> {
    let same =
        |d: &&std::sync::Arc<DefaultAcl>| d.role == role && d.schema == schema && d.kind == kind;
    let known = ddl.catalog.default_acls().find(same).cloned();
    // Those of a schema are added to what holds anywhere; those for anywhere stand for the default.
    let standard = match schema {
        0 => Acl::default_of(kind, role),
        _ => Acl::default(),
    };
    let mut acl = known.as_ref().map_or_else(|| standard.clone(), |d| d.acl.clone());
    let wanted = wanted(session, &ddl.catalog, grant, kind)?;
    for grantee in &wanted.grantees {
        let done = match grant.grant {
            true => acl.grant(role, *grantee, wanted.privileges, grant.option, role),
            false => {
                acl.revoke(role, *grantee, wanted.privileges, grant.option, grant.cascade, role)
            }
        };
        done.map_err(acl_error)?;
    }
    Ok(match known {
        Some(known) if acl.same(&standard) => Some(Change::DropDefaultAcl(known.id)),
        None if acl.same(&standard) => None,
        Some(known) => Some(Change::PutDefaultAcl(DefaultAcl { acl, ..(*known).clone() })),
        None => {
            let id = new_oids(session, 1).await?;
            Some(Change::PutDefaultAcl(DefaultAcl { id, role, schema, kind, acl }))
        }
    })
}
