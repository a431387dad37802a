//! `has_table_privilege` and its kin, `pg_has_role`.

use catalog::{CatalogSnapshot, DatabaseId, ObjectKind, Privileges, Role, RoleId};
use pgtypes::{Datum, TypeError};

use super::{Authority, Object};
use crate::SqlState;

/// What is asked of: by name, by oid.
pub(crate) trait Lookup {
    /// The relation of that name, along the search path.
    fn relation_of(&self, name: &str) -> Option<u32>;
}

fn error(code: SqlState, message: String) -> TypeError {
    TypeError::new(code.as_str(), message)
}

/// The role that an argument names.
fn role<'a>(catalog: &'a CatalogSnapshot, arg: &Datum) -> pgtypes::Result<Option<&'a Role>> {
    match arg {
        Datum::Oid(id) => Ok(catalog.role_by_id(*id).map(|role| &**role)),
        arg => {
            let name = arg.as_str().unwrap_or_default();
            let found = catalog.role(name);
            match found {
                Some(role) => Ok(Some(role)),
                None => Err(error(
                    SqlState::UNDEFINED_OBJECT,
                    format!("role \"{name}\" does not exist"),
                )),
            }
        }
    }
}

/// The privileges of a list as functions take it, and whether each is wanted with the right to grant.
fn wanted(text: &str, allowed: Privileges) -> pgtypes::Result<Vec<(Privileges, bool)>> {
    text.split(',')
        .map(|word| {
            let word = word.trim();
            let upper = word.to_uppercase();
            let plain = upper.strip_suffix(" WITH GRANT OPTION").map(str::trim_end);
            let (name, option) = plain.map_or((upper.as_str(), false), |name| (name, true));
            match Privileges::named(name).filter(|privilege| allowed.has(*privilege)) {
                Some(privilege) => Ok((privilege, option)),
                None => Err(error(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("unrecognized privilege type: \"{word}\""),
                )),
            }
        })
        .collect()
}

/// Answers one of the functions. `user` is who asks, where no role is named.
pub(crate) fn has_privilege(
    catalog: &CatalogSnapshot,
    database: DatabaseId,
    user: &Authority,
    lookup: &dyn Lookup,
    function: &str,
    args: &[Datum],
) -> pgtypes::Result<Datum> {
    let with_column = matches!(function, "has_column_privilege");
    let (asked, rest) = match args.len() - usize::from(with_column) {
        3 => (Some(&args[0]), &args[1..]),
        _ => (None, args),
    };
    let other;
    let authority = match asked {
        None => user,
        Some(arg) => {
            let Some(role) = role(catalog, arg)? else { return Ok(Datum::Null) };
            other = Authority::of(catalog, database, Some(role));
            &other
        }
    };
    let text = rest.last().and_then(Datum::as_str).unwrap_or_default();
    let object = &rest[0];
    if function == "pg_has_role" {
        return has_role(catalog, database, authority.user(), object, text);
    }
    let answer = |object: Object<'_>| -> pgtypes::Result<Datum> {
        let (held, grantable) = (authority.privileges(&object), authority.grantable(&object));
        let wanted = wanted(text, object.kind.all())?;
        let any = |(one, option): &(Privileges, bool)| match option {
            true => grantable.has(*one),
            false => held.has(*one),
        };
        Ok(Datum::Bool(wanted.iter().any(any)))
    };
    let named = |arg: &Datum| arg.as_str().map(str::to_owned);
    match function {
        "has_table_privilege"
        | "has_any_column_privilege"
        | "has_column_privilege"
        | "has_sequence_privilege" => {
            let id = match object {
                Datum::Oid(id) => *id,
                arg => {
                    let name = named(arg).unwrap_or_default();
                    lookup.relation_of(&name).ok_or_else(|| {
                        let message = format!("relation \"{name}\" does not exist");
                        error(SqlState::UNDEFINED_TABLE, message)
                    })?
                }
            };
            relation(catalog, function, id, &rest[1..], &answer)
        }
        "has_schema_privilege" => {
            let found = match object {
                Datum::Oid(id) => catalog.schema_by_id(*id),
                arg => {
                    let name = named(arg).unwrap_or_default();
                    Some(catalog.schema(database, &name).ok_or_else(|| {
                        error(
                            SqlState::INVALID_SCHEMA_NAME,
                            format!("schema \"{name}\" does not exist"),
                        )
                    })?)
                }
            };
            found.map_or(Ok(Datum::Null), |schema| answer(Object::from(&**schema)))
        }
        "has_database_privilege" => {
            let found = match object {
                Datum::Oid(id) => catalog.database_by_id(*id),
                arg => {
                    let name = named(arg).unwrap_or_default();
                    Some(catalog.database(&name).ok_or_else(|| {
                        error(
                            SqlState::INVALID_CATALOG_NAME,
                            format!("database \"{name}\" does not exist"),
                        )
                    })?)
                }
            };
            found.map_or(Ok(Datum::Null), |database| answer(Object::from(&**database)))
        }
        // Functions and types are built in: everybody may use them.
        "has_function_privilege" => {
            wanted(text, ObjectKind::Function.all()).map(|_| Datum::Bool(true))
        }
        _ => wanted(text, ObjectKind::Type.all()).map(|_| Datum::Bool(true)),
    }
}

fn relation(
    catalog: &CatalogSnapshot,
    function: &str,
    id: u32,
    rest: &[Datum],
    answer: &dyn Fn(Object<'_>) -> pgtypes::Result<Datum>,
) -> pgtypes::Result<Datum> {
    if let Some(sequence) = catalog.sequence_by_id(id) {
        let mut object = Object::from(&**sequence);
        if function != "has_sequence_privilege" {
            object.kind = ObjectKind::Table;
        }
        return answer(object);
    }
    let table = catalog.table_by_id(id);
    let view = catalog.view_by_id(id);
    if function == "has_sequence_privilege" {
        let name = table.map(|t| &t.name).or_else(|| view.map(|v| &v.name));
        return match name {
            Some(name) => {
                Err(error(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a sequence")))
            }
            None => Ok(Datum::Null),
        };
    }
    if let (Some(table), "has_column_privilege") = (table, function) {
        let known = match &rest[0] {
            Datum::Int2(n) => {
                usize::try_from(*n).is_ok_and(|n| table.position_of(n as u32).is_some())
            }
            arg => {
                let name = arg.as_str().unwrap_or_default();
                if table.position(name).is_none() {
                    return Err(error(
                        SqlState::UNDEFINED_COLUMN,
                        format!("column \"{name}\" of relation \"{}\" does not exist", table.name),
                    ));
                }
                true
            }
        };
        if !known {
            return Ok(Datum::Null);
        }
    }
    match (table, view) {
        (Some(table), _) => answer(Object::from(&**table)),
        (_, Some(view)) => answer(Object::from(&**view)),
        _ => match crate::sysviews::system_relation(id) {
            // Everybody may read the system's own views.
            Some((_, name)) => {
                let owner = catalog::BOOTSTRAP_ROLE_ID;
                let acl = catalog::Acl::of(vec![catalog::AclItem {
                    grantee: catalog::acl::PUBLIC,
                    grantor: owner,
                    privileges: Privileges::SELECT,
                    grantable: Privileges::NONE,
                }]);
                let (kind, word) = (ObjectKind::Table, "table");
                answer(Object { kind, word, name, owner, acl: Some(&acl) })
            }
            None => Ok(Datum::Null),
        },
    }
}

fn has_role(
    catalog: &CatalogSnapshot,
    database: DatabaseId,
    member: RoleId,
    of: &Datum,
    text: &str,
) -> pgtypes::Result<Datum> {
    let Some(of) = role(catalog, of)? else { return Ok(Datum::Null) };
    let superuser = catalog.role_by_id(member).is_some_and(|r| r.superuser);
    let mut any = false;
    for word in text.split(',') {
        let upper = word.trim().to_uppercase();
        any |= match upper.as_str() {
            "MEMBER" => catalog.is_member(member, of.id, database),
            "USAGE" => superuser || catalog.inherited(member, database).contains(&of.id),
            "MEMBER WITH ADMIN OPTION"
            | "MEMBER WITH GRANT OPTION"
            | "USAGE WITH ADMIN OPTION"
            | "USAGE WITH GRANT OPTION" => catalog.may_admit(member, of.id, database),
            _ => {
                return Err(error(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("unrecognized privilege type: \"{}\"", word.trim()),
                ));
            }
        };
    }
    Ok(Datum::Bool(any))
}
