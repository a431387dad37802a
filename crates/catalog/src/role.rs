//! Roles: who may connect, who is a member of what, and whose privileges each has therefore.
//!
//! ```text
//!   alice ──member of──▶ staff ──member of──▶ readers     alice has what all three have,
//!     (inherit)            (inherit)                      as far as each one on the way inherits
//! ```
//!
//! A membership is kept with the member. Everything here is computed from one snapshot; nothing is
//! cached but by who asks.
//!
//! # Invariants
//!
//! - **R1** Memberships make no circle.
//! - **R2** Whatever a role may set itself to (`SET ROLE`) includes whatever it inherits from.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::acl::{Acl, RoleId};
use crate::{BOOTSTRAP_ROLE, BOOTSTRAP_ROLE_ID, CatalogSnapshot, DatabaseId, ObjectKind, SchemaId};

/// The owner of each database's `public` schema: whoever owns the database, implicitly.
pub const DATABASE_OWNER_ROLE_ID: RoleId = 6_171;
/// Its members may read every table, view and sequence.
pub const READ_ALL_DATA_ROLE_ID: RoleId = 6_181;
/// Its members may write to every table.
pub const WRITE_ALL_DATA_ROLE_ID: RoleId = 6_182;
/// Its members see what other sessions do.
pub const READ_ALL_STATS_ROLE_ID: RoleId = 3_375;
/// Likewise: PostgreSQL's role for monitoring.
pub const MONITOR_ROLE_ID: RoleId = 3_373;
/// Its members may cancel and end sessions of others, those of superusers apart.
pub const SIGNAL_BACKEND_ROLE_ID: RoleId = 4_200;
/// Its members may run CHECKPOINT.
pub const CHECKPOINT_ROLE_ID: RoleId = 4_544;

/// A role: a user, a group, or both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Role {
    /// Identity and oid.
    pub id: RoleId,
    /// Name.
    pub name: String,
    /// Whether privileges are not checked.
    pub superuser: bool,
    /// Whether it may connect.
    pub login: bool,
    /// Whether it has the privileges of what it is a member of without SET ROLE.
    #[serde(default = "yes")]
    pub inherit: bool,
    /// Whether it may make databases.
    #[serde(default)]
    pub create_database: bool,
    /// Whether it may make, change and drop roles.
    #[serde(default)]
    pub create_role: bool,
    /// Sessions at a time on each node; -1: any number.
    #[serde(default = "unlimited")]
    pub connection_limit: i32,
    /// The SCRAM-SHA-256 verifier of its password.
    #[serde(default)]
    pub password: Option<String>,
    /// When the password ceases to be good: microseconds since 2000, in UTC.
    #[serde(default)]
    pub valid_until: Option<i64>,
    /// What it is a member of.
    #[serde(default)]
    pub member_of: Vec<Membership>,
    /// Settings of its sessions.
    #[serde(default)]
    pub settings: Vec<(String, String)>,
    /// What COMMENT ON says of it.
    #[serde(default)]
    pub comment: Option<String>,
}

/// That a role is a member of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The role that it is a member of.
    pub role: RoleId,
    /// Who said so.
    pub grantor: RoleId,
    /// Whether it may admit others.
    pub admin: bool,
}

/// What objects that a role makes are granted as they are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DefaultAcl {
    /// Identity and oid.
    pub id: u32,
    /// The role that makes them.
    pub role: RoleId,
    /// The schema they are made in; 0: any, and then the list replaces the kind's default.
    pub schema: SchemaId,
    /// What is made.
    pub kind: ObjectKind,
    /// What is granted.
    pub acl: Acl,
}

fn yes() -> bool {
    true
}

fn unlimited() -> i32 {
    -1
}

/// An owner, by id; descriptors from before there were roles name the only one there was.
pub(crate) fn owner<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RoleId, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Id(RoleId),
        Name(String),
    }
    match Stored::deserialize(deserializer)? {
        Stored::Id(id) => Ok(id),
        Stored::Name(name) if name == BOOTSTRAP_ROLE => Ok(BOOTSTRAP_ROLE_ID),
        Stored::Name(name) => Err(serde::de::Error::custom(format!("no role is called {name}"))),
    }
}

impl Role {
    /// A role as CREATE ROLE makes it without options.
    #[must_use]
    pub fn new(id: RoleId, name: String) -> Role {
        Role {
            id,
            name,
            superuser: false,
            login: false,
            inherit: true,
            create_database: false,
            create_role: false,
            connection_limit: -1,
            password: None,
            valid_until: None,
            member_of: Vec::new(),
            settings: Vec::new(),
            comment: None,
        }
    }

    /// The roles every cluster is born with.
    pub(crate) fn predefined() -> Vec<Role> {
        let named = |id, name: &str| Role::new(id, name.to_owned());
        let superuser = Role {
            superuser: true,
            login: true,
            create_database: true,
            create_role: true,
            ..named(BOOTSTRAP_ROLE_ID, BOOTSTRAP_ROLE)
        };
        let stats =
            Membership { role: READ_ALL_STATS_ROLE_ID, grantor: BOOTSTRAP_ROLE_ID, admin: false };
        vec![
            superuser,
            named(DATABASE_OWNER_ROLE_ID, "pg_database_owner"),
            named(READ_ALL_DATA_ROLE_ID, "pg_read_all_data"),
            named(WRITE_ALL_DATA_ROLE_ID, "pg_write_all_data"),
            named(READ_ALL_STATS_ROLE_ID, "pg_read_all_stats"),
            Role { member_of: vec![stats], ..named(MONITOR_ROLE_ID, "pg_monitor") },
            named(SIGNAL_BACKEND_ROLE_ID, "pg_signal_backend"),
            named(CHECKPOINT_ROLE_ID, "pg_checkpoint"),
        ]
    }
}

impl CatalogSnapshot {
    /// The roles whose privileges a role has: itself, and what it inherits from.
    #[must_use]
    pub fn inherited(&self, role: RoleId, database: DatabaseId) -> BTreeSet<RoleId> {
        self.reached(role, database, true)
    }

    /// Whether a role is a member of another, directly or not; it is one of itself, and a superuser is
    /// one of all.
    #[must_use]
    pub fn is_member(&self, role: RoleId, of: RoleId, database: DatabaseId) -> bool {
        self.role_by_id(role).is_some_and(|r| r.superuser)
            || self.reached(role, database, false).contains(&of)
    }

    /// The same, where being a superuser does not count.
    #[must_use]
    pub fn is_listed_member(&self, role: RoleId, of: RoleId, database: DatabaseId) -> bool {
        self.reached(role, database, false).contains(&of)
    }

    /// Whether a role may admit others to another one.
    #[must_use]
    pub fn may_admit(&self, role: RoleId, to: RoleId, database: DatabaseId) -> bool {
        if self.role_by_id(role).is_some_and(|r| r.superuser) {
            return true;
        }
        let mut members = self.reached(role, database, false).into_iter();
        members.any(|member| {
            let known = self.role_by_id(member).map(|r| &r.member_of[..]);
            known.unwrap_or_default().iter().any(|m| m.role == to && m.admin)
        })
    }

    fn reached(&self, role: RoleId, database: DatabaseId, inherit: bool) -> BTreeSet<RoleId> {
        let owner = self.database_by_id(database).map(|d| d.owner);
        let mut reached = BTreeSet::from([role]);
        let mut ahead = vec![role];
        while let Some(id) = ahead.pop() {
            let Some(found) = self.role_by_id(id) else { continue };
            if inherit && !found.inherit {
                continue;
            }
            let implied = (owner == Some(id)).then_some(DATABASE_OWNER_ROLE_ID);
            for of in found.member_of.iter().map(|m| m.role).chain(implied) {
                if reached.insert(of) {
                    ahead.push(of);
                }
            }
        }
        reached
    }

    /// The members that a role has admitted or that were admitted to it, directly.
    pub fn members_of(&self, role: RoleId) -> impl Iterator<Item = (&Arc<Role>, &Membership)> {
        self.roles().flat_map(move |member| {
            let of = member.member_of.iter().filter(move |m| m.role == role);
            of.map(move |m| (member, m))
        })
    }

    /// The list that a new object gets: `None` for the kind's default.
    #[must_use]
    pub fn acl_of_new(&self, kind: ObjectKind, owner: RoleId, schema: SchemaId) -> Option<Acl> {
        let found = |schema| {
            self.default_acls().find(|d| d.role == owner && d.schema == schema && d.kind == kind)
        };
        let (anywhere, here) = (found(0), found(schema).filter(|_| schema != 0));
        if anywhere.is_none() && here.is_none() {
            return None;
        }
        let standard = Acl::default_of(kind, owner);
        let mut acl = anywhere.map_or_else(|| standard.clone(), |d| d.acl.clone());
        for item in here.map_or(&[][..], |d| d.acl.items()) {
            acl.merge(*item);
        }
        (!acl.same(&standard)).then_some(acl)
    }
}
