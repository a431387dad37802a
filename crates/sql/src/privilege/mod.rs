//! May this role do that? Where the answer is no: 42501, in PostgreSQL's words.
//!
//! ```text
//!   Binder ──Access, Access, …──▶ check ──▶ kept with the plan, per catalog version and role
//!   DDL    ──must_own, demand───▶ Authority ──▶ Acl::privileges over the roles it has
//! ```
//!
//! An [`Authority`] is one role under one catalog: whether it is a superuser, and whose privileges it
//! has. A query's tables are checked when it is planned, and the answer is part of the plan: running
//! a cached one asks nothing. GRANT and the like raise the catalog's version, so a plan made before
//! is made anew. What a view reads is checked as the view's owner.

mod access;
mod functions;

use std::collections::BTreeSet;

use catalog::role::{READ_ALL_DATA_ROLE_ID, SIGNAL_BACKEND_ROLE_ID, WRITE_ALL_DATA_ROLE_ID};
use catalog::{
    Acl, BOOTSTRAP_ROLE_ID, CatalogSnapshot, Database, DatabaseId, ObjectKind, Privileges, Role,
    RoleId, Schema, Sequence, Table, View,
};

use crate::{SqlError, SqlState};

pub(crate) use access::{Access, Accessed, check};
pub(crate) use functions::{Lookup, has_privilege};

/// An object as privileges see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object<'a> {
    pub(crate) kind: ObjectKind,
    /// `table`, `view`, …: for messages.
    pub(crate) word: &'static str,
    pub(crate) name: &'a str,
    pub(crate) owner: RoleId,
    pub(crate) acl: Option<&'a Acl>,
}

macro_rules! objects {
    ($($descriptor:ident: $kind:ident, $word:literal;)*) => {
        $(impl<'a> From<&'a $descriptor> for Object<'a> {
            fn from(it: &'a $descriptor) -> Self {
                let (kind, acl) = (ObjectKind::$kind, it.acl.as_ref());
                Object { kind, word: $word, name: &it.name, owner: it.owner, acl }
            }
        })*
    };
}

objects! {
    Table: Table, "table";
    View: Table, "view";
    Sequence: Sequence, "sequence";
    Schema: Schema, "schema";
    Database: Database, "database";
}

/// What one role may do, under one catalog.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    user: RoleId,
    superuser: bool,
    /// Whose privileges it has, its own among them.
    roles: BTreeSet<RoleId>,
    create_database: bool,
    create_role: bool,
}

impl Authority {
    /// What a role may do; one that is gone may nothing.
    pub(crate) fn of(
        catalog: &CatalogSnapshot,
        database: DatabaseId,
        role: Option<&Role>,
    ) -> Authority {
        let Some(role) = role else {
            return Authority {
                user: RoleId::MAX,
                superuser: false,
                roles: BTreeSet::new(),
                create_database: false,
                create_role: false,
            };
        };
        Authority {
            user: role.id,
            superuser: role.superuser,
            roles: match role.superuser {
                true => BTreeSet::from([role.id]),
                false => catalog.inherited(role.id, database),
            },
            create_database: role.create_database || role.superuser,
            create_role: role.create_role || role.superuser,
        }
    }

    /// Of what the server does by itself.
    pub(crate) fn unlimited() -> Authority {
        Authority {
            user: BOOTSTRAP_ROLE_ID,
            superuser: true,
            roles: BTreeSet::from([BOOTSTRAP_ROLE_ID]),
            create_database: true,
            create_role: true,
        }
    }

    /// The role.
    pub(crate) fn user(&self) -> RoleId {
        self.user
    }

    /// Whether nothing is refused.
    pub(crate) fn is_superuser(&self) -> bool {
        self.superuser
    }

    /// Whether it may make databases.
    pub(crate) fn may_create_database(&self) -> bool {
        self.create_database
    }

    /// Whether it may make and change roles.
    pub(crate) fn may_create_role(&self) -> bool {
        self.create_role
    }

    /// Whether it has the privileges of a role.
    pub(crate) fn has(&self, role: RoleId) -> bool {
        self.superuser || self.roles.contains(&role)
    }

    /// The roles whose privileges it has; of a superuser, itself only.
    pub(crate) fn roles(&self) -> impl Iterator<Item = RoleId> {
        self.roles.iter().copied()
    }

    /// Whether it may do what only an owner may.
    pub(crate) fn owns(&self, object: &Object<'_>) -> bool {
        self.has(object.owner)
    }

    /// All that it may do with an object.
    pub(crate) fn privileges(&self, object: &Object<'_>) -> Privileges {
        if self.superuser {
            return object.kind.all();
        }
        let holds = |role: RoleId| self.roles.contains(&role);
        let mut held = match object.acl {
            Some(acl) => acl.privileges(holds),
            None => Acl::default_of(object.kind, object.owner).privileges(holds),
        };
        let relation = matches!(object.kind, ObjectKind::Table | ObjectKind::Sequence);
        if holds(READ_ALL_DATA_ROLE_ID) {
            match object.kind {
                ObjectKind::Schema => held |= Privileges::USAGE,
                _ if relation => held |= Privileges::SELECT,
                _ => {}
            }
        }
        if holds(WRITE_ALL_DATA_ROLE_ID) {
            match object.kind {
                ObjectKind::Schema => held |= Privileges::USAGE,
                _ if relation => {
                    held |= Privileges::INSERT | Privileges::UPDATE | Privileges::DELETE;
                }
                _ => {}
            }
        }
        held & object.kind.all()
    }

    /// What of it it may grant to others.
    pub(crate) fn grantable(&self, object: &Object<'_>) -> Privileges {
        if self.owns(object) {
            return object.kind.all();
        }
        let holds = |role: RoleId| self.roles.contains(&role);
        object.acl.map_or(Privileges::NONE, |acl| acl.grantable(holds))
    }

    /// Whether it may do all that is wanted.
    pub(crate) fn may(&self, object: &Object<'_>, wanted: Privileges) -> bool {
        self.superuser || self.privileges(object).has(wanted)
    }

    /// 42501 unless it may do all that is wanted.
    pub(crate) fn demand<'a>(
        &self,
        object: impl Into<Object<'a>>,
        wanted: Privileges,
    ) -> Result<(), SqlError> {
        let object = object.into();
        match self.may(&object, wanted) {
            true => Ok(()),
            false => Err(denied(object.word, object.name)),
        }
    }

    /// 42501 unless it may do something of what is wanted.
    pub(crate) fn demand_any<'a>(
        &self,
        object: impl Into<Object<'a>>,
        wanted: Privileges,
    ) -> Result<(), SqlError> {
        let object = object.into();
        match self.superuser || !(self.privileges(&object) & wanted).is_empty() {
            true => Ok(()),
            false => Err(denied(object.word, object.name)),
        }
    }

    /// 42501 unless it is the owner's.
    pub(crate) fn must_own<'a>(&self, object: impl Into<Object<'a>>) -> Result<(), SqlError> {
        let object = object.into();
        match self.owns(&object) {
            true => Ok(()),
            false => Err(not_owner(object.word, object.name)),
        }
    }

    /// 42501 unless it owns a relation, or the schema that it is in: who may drop it.
    pub(crate) fn must_own_or_its_schema<'a>(
        &self,
        catalog: &CatalogSnapshot,
        object: impl Into<Object<'a>>,
        schema: u32,
    ) -> Result<(), SqlError> {
        let of_schema = catalog.schema_by_id(schema).is_some_and(|s| self.has(s.owner));
        if of_schema { Ok(()) } else { self.must_own(object) }
    }

    /// 42501 unless it is a superuser.
    pub(crate) fn must_be_superuser(&self, what: &str) -> Result<(), SqlError> {
        match self.superuser {
            true => Ok(()),
            false => Err(insufficient(format!("must be superuser to {what}"))),
        }
    }
}

/// 42501 unless a session of `user` may be stopped: by members of that role, and by those who may stop
/// everybody's; a superuser's by superusers only.
pub(crate) fn may_signal(
    catalog: &CatalogSnapshot,
    authority: &Authority,
    user: &str,
    terminate: bool,
) -> Result<(), SqlError> {
    let role = catalog.role(user);
    if authority.is_superuser() {
        return Ok(());
    }
    if role.is_none_or(|role| role.superuser) {
        return Err(insufficient(match terminate {
            true => "must be a superuser to terminate superuser process",
            false => "must be a superuser to cancel superuser query",
        }));
    }
    let may = role.is_some_and(|role| authority.has(role.id));
    match may || authority.has(SIGNAL_BACKEND_ROLE_ID) {
        true => Ok(()),
        false => Err(insufficient(format!(
            "must be a member of the role whose {} or member of pg_signal_backend",
            if terminate { "process is being terminated" } else { "query is being canceled" }
        ))),
    }
}

/// 42501 with a message.
pub(crate) fn insufficient(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, message)
}

/// `permission denied for table t`.
pub(crate) fn denied(word: &str, name: &str) -> SqlError {
    insufficient(format!("permission denied for {word} {name}"))
}

/// `must be owner of table t`.
pub(crate) fn not_owner(word: &str, name: &str) -> SqlError {
    insufficient(format!("must be owner of {word} {name}"))
}

/// 42704: there is no role of that name.
pub(crate) fn no_role(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"))
}
