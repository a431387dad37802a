//! What a bound statement does with relations, and whether it may.

use catalog::role::READ_ALL_STATS_ROLE_ID;
use catalog::{CatalogSnapshot, DatabaseId, Privileges, RoleId};

use super::{Authority, Object, denied, insufficient};
use crate::SqlError;

/// Something that a statement does with a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) relation: Accessed,
    pub(crate) wanted: Privileges,
    /// Whose rights count: the owner's of the view that the relation stands in; `None`: the user's.
    pub(crate) as_role: Option<RoleId>,
}

impl Access {
    /// Whether rows of it are written.
    pub(crate) fn writes(&self) -> bool {
        let writes =
            Privileges::INSERT | Privileges::UPDATE | Privileges::DELETE | Privileges::TRUNCATE;
        !(self.wanted & writes).is_empty()
    }
}

/// What is accessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Accessed {
    /// A table or view.
    Stored(u32),
    /// What is computed: a system view, or a sequence read as a table.
    Computed { schema: String, name: String },
}

/// 42501 for the first access that is not allowed.
pub(crate) fn check(
    catalog: &CatalogSnapshot,
    database: DatabaseId,
    user: &Authority,
    accesses: &[Access],
) -> Result<(), SqlError> {
    for access in accesses {
        match access.as_role.filter(|role| *role != user.user()) {
            None if user.is_superuser() => {}
            None => allow(catalog, database, user, access)?,
            Some(role) => {
                let role = catalog.role_by_id(role).map(|role| &**role);
                allow(catalog, database, &Authority::of(catalog, database, role), access)?;
            }
        }
    }
    Ok(())
}

fn allow(
    catalog: &CatalogSnapshot,
    database: DatabaseId,
    authority: &Authority,
    access: &Access,
) -> Result<(), SqlError> {
    let wanted = access.wanted;
    match &access.relation {
        Accessed::Stored(id) => {
            if let Some(table) = catalog.table_by_id(*id) {
                authority.demand(Object::from(&**table), wanted)
            } else if let Some(view) = catalog.view_by_id(*id) {
                authority.demand(Object::from(&**view), wanted)
            } else {
                // Gone since: whose it was is not known any more.
                match authority.is_superuser() {
                    true => Ok(()),
                    false => Err(insufficient("permission denied for a relation that is gone")),
                }
            }
        }
        Accessed::Computed { schema, name } => {
            let found = catalog.schema(database, schema);
            if let Some(sequence) = found.and_then(|s| catalog.sequence(s.id, name)) {
                return authority.demand(Object::from(&**sequence), wanted);
            }
            let allowed = match (schema.as_str(), name.as_str()) {
                // Verifiers of passwords.
                ("pg_catalog", "pg_authid" | "pg_shadow") => authority.is_superuser(),
                // Statements and keys of others.
                ("conclave", _) => authority.has(READ_ALL_STATS_ROLE_ID),
                _ => true,
            };
            match allowed {
                true => Ok(()),
                false if schema == "conclave" => Err(denied("view", name)
                    .hint("Members of pg_monitor or pg_read_all_stats may read it.")),
                false => Err(denied("table", name)),
            }
        }
    }
}
