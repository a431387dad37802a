//! Who owns what: checks before a statement changes an object, and changes of owners.

use catalog::{CatalogSnapshot, Change, IndexId, Privileges, RoleId, Sequence, Table, View};
use sqlparser::ast;

use super::Ddl;
use super::depend::Object;
use super::role::{RoleSpec, resolve, spec_of};
use crate::privilege::{Authority, insufficient, not_owner};
use crate::session::Session;
use crate::{SqlError, SqlState};

/// The owner of `OWNER TO`, as sqlparser has read it.
pub(super) fn named(owner: &ast::Owner) -> RoleSpec {
    match owner {
        ast::Owner::Ident(ident) => spec_of(ident),
        ast::Owner::SessionUser => RoleSpec::Session,
        ast::Owner::CurrentRole | ast::Owner::CurrentUser => RoleSpec::Current,
    }
}

/// 42501 unless an index is the current role's.
pub(super) fn must_own_index(
    session: &Session,
    table: &Table,
    index: IndexId,
) -> Result<(), SqlError> {
    match session.authority().has(table.owner) {
        true => Ok(()),
        false => Err(not_owner("index", table.index(index).map_or("", |i| i.name.as_str()))),
    }
}

/// 42501 unless the current role may drop something: its owner, and the owner of its schema.
pub(super) fn may_drop(
    session: &Session,
    catalog: &CatalogSnapshot,
    object: Object,
) -> Result<(), SqlError> {
    let authority = session.authority();
    match object {
        Object::Table(id) => match catalog.table_by_id(id) {
            Some(table) => authority.must_own_or_its_schema(catalog, &**table, table.schema),
            None => Ok(()),
        },
        Object::View(id) => match catalog.view_by_id(id) {
            Some(view) => authority.must_own_or_its_schema(catalog, &**view, view.schema),
            None => Ok(()),
        },
        Object::Sequence(id) => match catalog.sequence_by_id(id) {
            Some(found) => authority.must_own_or_its_schema(catalog, &**found, found.schema),
            None => Ok(()),
        },
        Object::Index(table, oid) => {
            let Some(table) = catalog.table_by_id(table) else { return Ok(()) };
            let of_schema = catalog.schema_by_id(table.schema).map(|s| s.owner);
            if of_schema.is_some_and(|owner| authority.has(owner)) || authority.has(table.owner) {
                return Ok(());
            }
            Err(not_owner("index", table.index_by_oid(oid).map_or("", |i| i.name.as_str())))
        }
        Object::Type(id) => match catalog.enum_by_id(id) {
            Some(ty) => {
                let of_schema = catalog.schema_by_id(ty.schema).map(|s| s.owner);
                match of_schema.is_some_and(|owner| authority.has(owner)) {
                    true => Ok(()),
                    false => super::enums::must_own(session, ty),
                }
            }
            None => Ok(()),
        },
        // Parts of a table, which the statement has asked for already.
        Object::Column(..) | Object::Default(..) | Object::Constraint(..) => Ok(()),
    }
}

/// 42501 unless the current role may make another one an owner: it must be a member of it.
pub(super) fn may_give(
    session: &Session,
    catalog: &CatalogSnapshot,
    to: RoleId,
) -> Result<(), SqlError> {
    let user = session.authority().user();
    match catalog.is_member(user, to, session.database()) {
        true => Ok(()),
        false => {
            let name = catalog.role_name(to);
            Err(insufficient(format!("must be member of role \"{name}\"")))
        }
    }
}

/// Whose a new schema is, and whether it may be made.
pub(super) fn of_new_schema(
    session: &Session,
    ddl: &Ddl,
    named: Option<String>,
) -> Result<RoleId, SqlError> {
    let owner = match named {
        None => session.authority().user(),
        Some(name) => {
            let ident = ast::Ident::new(name);
            resolve(session, &ddl.catalog, &spec_of(&ident))?
        }
    };
    if let Some(database) = ddl.catalog.database_by_id(session.database()) {
        session.authority().demand(&**database, Privileges::CREATE)?;
    }
    may_give(session, &ddl.catalog, owner)?;
    Ok(owner)
}

/// OWNER TO of a table, view or sequence that the current role owns.
pub(super) async fn change(
    session: &mut Session,
    ddl: &mut Ddl,
    relation: u32,
    owner: &RoleSpec,
) -> Result<(), SqlError> {
    let catalog = ddl.catalog.clone();
    let to = resolve(session, &catalog, owner)?;
    let (old, schema) = match (catalog.table_by_id(relation), catalog.view_by_id(relation)) {
        (Some(table), _) => (table.owner, table.schema),
        (_, Some(view)) => (view.owner, view.schema),
        _ => match catalog.sequence_by_id(relation) {
            Some(sequence) => (sequence.owner, sequence.schema),
            None => return Ok(()),
        },
    };
    if old == to {
        return Ok(());
    }
    if let Some(sequence) = catalog.sequence_by_id(relation)
        && let Some(table) = sequence.owned_by.and_then(|(table, _)| catalog.table_by_id(table))
    {
        return Err(SqlError::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("cannot change owner of sequence \"{}\"", sequence.name),
        )
        .detail(format!("Sequence \"{}\" is linked to table \"{}\".", sequence.name, table.name)));
    }
    if !session.authority().is_superuser() {
        may_give(session, &catalog, to)?;
        // The new owner could not have made it there otherwise.
        let role = catalog.role_by_id(to).map(|role| &**role);
        let new = Authority::of(&catalog, session.database(), role);
        if let Some(schema) = catalog.schema_by_id(schema) {
            new.demand(&**schema, Privileges::CREATE)?;
        }
    }
    let changes = given(&catalog, relation, to);
    ddl.write(session, changes).await
}

/// The changes that give a relation, and the sequences of its columns, to another owner.
pub(super) fn given(catalog: &CatalogSnapshot, relation: u32, to: RoleId) -> Vec<Change> {
    let mut changes = Vec::new();
    if let Some(table) = catalog.table_by_id(relation) {
        let mut next = Table::clone(table);
        next.acl = table.acl.as_ref().map(|acl| acl.of_new_owner(table.owner, to));
        next.owner = to;
        changes.push(Change::PutTable(Box::new(next)));
        let owned = catalog.sequences().filter(|s| {
            s.owned_by.is_some_and(|(of, _)| of == table.id) && s.schema == table.schema
        });
        for sequence in owned {
            changes.push(sequence_given(sequence, to));
        }
    } else if let Some(view) = catalog.view_by_id(relation) {
        let mut next = View::clone(view);
        next.acl = view.acl.as_ref().map(|acl| acl.of_new_owner(view.owner, to));
        next.owner = to;
        changes.push(Change::PutView(Box::new(next)));
    } else if let Some(sequence) = catalog.sequence_by_id(relation) {
        changes.push(sequence_given(sequence, to));
    }
    changes
}

fn sequence_given(sequence: &Sequence, to: RoleId) -> Change {
    let mut next = sequence.clone();
    next.acl = sequence.acl.as_ref().map(|acl| acl.of_new_owner(sequence.owner, to));
    next.owner = to;
    Change::PutSequence(Box::new(next))
}
