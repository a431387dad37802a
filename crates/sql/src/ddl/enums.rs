//! CREATE TYPE … AS ENUM and ALTER TYPE.
//!
//! A label is stored as a number that orders as the labels do ([`pgtypes::enums`]). One added between two
//! others gets a number between theirs: nothing that is stored changes.

use std::sync::Arc;

use catalog::{CatalogSnapshot, Change, EnumLabel, EnumType};
use sqlparser::ast::{
    AlterTypeAddValuePosition, AlterTypeOperation, Ident, ObjectName, UserDefinedTypeRepresentation,
};

use super::owner::may_give;
use super::parse::RelationChange;
use super::role::{resolve, spec_of};
use super::{Ddl, new_oids, notice};
use crate::bind::{fold, relation_name};
use crate::privilege::not_owner;
use crate::session::api::Sink;
use crate::session::{Session, Tag};
use crate::{SqlError, SqlState};

/// Longest label, in bytes, as in PostgreSQL.
const LABEL_MAX: usize = 63;

/// The enumeration of that name; `None` if there is none.
pub(super) fn find(
    session: &Session,
    ddl: &Ddl,
    name: &ObjectName,
) -> Result<Option<Arc<EnumType>>, SqlError> {
    let (schema, short) = relation_name(name, &session.env().database)?;
    let path = schema.map_or_else(|| session.search_path(), |schema| vec![schema]);
    Ok(path
        .iter()
        .filter_map(|s| ddl.catalog.schema(session.database(), s))
        .find_map(|s| ddl.catalog.enum_type(s.id, &short))
        .cloned())
}

fn check_label(label: &str) -> Result<(), SqlError> {
    if label.len() <= LABEL_MAX {
        return Ok(());
    }
    Err(SqlError::new(SqlState("42602"), format!("invalid enum label \"{label}\""))
        .detail(format!("Labels must be {LABEL_MAX} bytes or less.")))
}

/// 42710 if a type or a relation, whose rows are a type, has the name.
fn check_free(catalog: &CatalogSnapshot, schema: u32, name: &str) -> Result<(), SqlError> {
    let row_type = catalog.table(schema, name).is_some() || catalog.view(schema, name).is_some();
    if row_type || catalog.enum_type(schema, name).is_some() {
        return Err(SqlError::new(
            SqlState::DUPLICATE_OBJECT,
            format!("type \"{name}\" already exists"),
        ));
    }
    Ok(())
}

pub(super) async fn create(
    session: &mut Session,
    name: &ObjectName,
    representation: Option<&UserDefinedTypeRepresentation>,
) -> Result<Tag, SqlError> {
    let Some(UserDefinedTypeRepresentation::Enum { labels }) = representation else {
        return Err(SqlError::unsupported("CREATE TYPE other than AS ENUM"));
    };
    let mut ddl = Ddl::begin(session).await?;
    let (schema, name) = ddl.target(session, name)?;
    check_free(&ddl.catalog, schema.id, &name)?;
    // The type, its array type, and the labels.
    let id = new_oids(session, 2 + labels.len() as u64).await?;
    let mut made: Vec<EnumLabel> = Vec::with_capacity(labels.len());
    for (oid, ident) in (id + 2..).zip(labels) {
        let label = ident.value.clone();
        check_label(&label)?;
        if made.iter().any(|known| known.label == label) {
            return Err(SqlError::new(
                SqlState::UNIQUE_VIOLATION,
                "duplicate key value violates unique constraint \"pg_enum_typid_label_index\"",
            )
            .detail(format!("Key (enumtypid, enumlabel)=({id}, {label}) already exists.")));
        }
        let value = EnumType::STEP * i64::try_from(made.len() + 1).unwrap_or(i64::MAX);
        made.push(EnumLabel { oid, value, label });
    }
    let owner = session.authority().user();
    let ty = EnumType { id, schema: schema.id, name, owner, labels: made, comment: None };
    ddl.write(session, vec![Change::PutType(Box::new(ty))]).await?;
    Ok(Tag::Text("CREATE TYPE"))
}

/// 42501 unless the current role owns the type.
pub(super) fn must_own(session: &Session, ty: &EnumType) -> Result<(), SqlError> {
    match session.authority().has(ty.owner) {
        true => Ok(()),
        false => Err(not_owner("type", &ty.name)),
    }
}

fn missing(name: &ObjectName) -> SqlError {
    SqlError::new(
        SqlState::UNDEFINED_OBJECT,
        format!("type \"{}\" does not exist", super::view::said(name)),
    )
}

fn not_a_label(label: &str) -> SqlError {
    SqlError::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("\"{label}\" is not an existing enum label"),
    )
}

fn duplicate(label: &str) -> SqlError {
    SqlError::new(SqlState::DUPLICATE_OBJECT, format!("enum label \"{label}\" already exists"))
}

pub(super) async fn alter(
    session: &mut Session,
    name: &ObjectName,
    operation: &AlterTypeOperation,
    sink: &mut dyn Sink,
) -> Result<Tag, SqlError> {
    let tag = Tag::Text("ALTER TYPE");
    let mut ddl = Ddl::begin(session).await?;
    let ty = find(session, &ddl, name)?.ok_or_else(|| missing(name))?;
    must_own(session, &ty)?;
    let mut next = EnumType::clone(&ty);
    match operation {
        AlterTypeOperation::Rename(rename) => {
            let new = fold(&rename.new_name);
            check_free(&ddl.catalog, ty.schema, &new)?;
            next.name = new;
        }
        AlterTypeOperation::RenameValue(rename) => {
            let (from, to) = (&rename.from.value, &rename.to.value);
            check_label(to)?;
            if ty.labels.iter().any(|l| l.label == *to) {
                return Err(duplicate(to));
            }
            let found = next.labels.iter_mut().find(|l| l.label == *from);
            found.ok_or_else(|| not_a_label(from))?.label.clone_from(to);
        }
        AlterTypeOperation::AddValue(add) => {
            let label = add.value.value.clone();
            check_label(&label)?;
            if ty.labels.iter().any(|l| l.label == label) {
                if add.if_not_exists {
                    let message = format!("enum label \"{label}\" already exists, skipping");
                    notice(sink, SqlState::DUPLICATE_OBJECT, message);
                    return Ok(tag);
                }
                return Err(duplicate(&label));
            }
            let position = |of: &Ident| {
                let found = ty.labels.iter().position(|l| l.label == of.value);
                found.ok_or_else(|| not_a_label(&of.value))
            };
            let at = match &add.position {
                None => ty.labels.len(),
                Some(AlterTypeAddValuePosition::Before(other)) => position(other)?,
                Some(AlterTypeAddValuePosition::After(other)) => position(other)? + 1,
            };
            let value = between(&ty.labels, at)?;
            let oid = new_oids(session, 1).await?;
            next.labels.insert(at, EnumLabel { oid, value, label });
        }
    }
    ddl.write(session, vec![Change::PutType(Box::new(next))]).await?;
    Ok(tag)
}

/// A number for a label that goes to position `at`.
fn between(labels: &[EnumLabel], at: usize) -> Result<i64, SqlError> {
    let before = at.checked_sub(1).map(|at| labels[at].value);
    let after = labels.get(at).map(|l| l.value);
    let value = match (before, after) {
        (None, None) => Some(EnumType::STEP),
        (Some(before), None) => before.checked_add(EnumType::STEP),
        (None, Some(after)) => after.checked_sub(EnumType::STEP),
        (Some(before), Some(after)) => {
            let middle = before + (after - before) / 2;
            (middle > before).then_some(middle)
        }
    };
    value.ok_or_else(|| {
        SqlError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            "too many labels were added at the same place of the enumeration",
        )
        .hint("Create a new type, and change the columns' type to it.")
    })
}

/// OWNER TO and SET SCHEMA.
pub(super) async fn change(
    session: &mut Session,
    name: &ObjectName,
    change: &RelationChange,
) -> Result<Tag, SqlError> {
    let mut ddl = Ddl::begin(session).await?;
    let ty = find(session, &ddl, name)?.ok_or_else(|| missing(name))?;
    must_own(session, &ty)?;
    let mut next = EnumType::clone(&ty);
    match change {
        RelationChange::Owner(owner) => {
            let to = resolve(session, &ddl.catalog, &spec_of(owner))?;
            may_give(session, &ddl.catalog, to)?;
            next.owner = to;
        }
        RelationChange::Schema(schema) => {
            let name = fold(schema);
            let found = ddl.catalog.schema(session.database(), &name).cloned();
            let found = found.filter(|s| s.database != 0).ok_or_else(|| {
                SqlError::new(
                    SqlState::INVALID_SCHEMA_NAME,
                    format!("schema \"{name}\" does not exist"),
                )
            })?;
            check_free(&ddl.catalog, found.id, &ty.name)?;
            next.schema = found.id;
        }
        RelationChange::Rename(_) => return Err(SqlError::internal("renamed elsewhere")),
    }
    ddl.write(session, vec![Change::PutType(Box::new(next))]).await?;
    Ok(Tag::Text("ALTER TYPE"))
}

/// How stored text names an enumeration.
pub(crate) fn stored_name(oid: u32) -> String {
    format!("\"{}enum {oid}\"", crate::bind::LOCK_MARK)
}

/// Stored text for people: labels and names of enumerations in place of numbers.
pub(crate) fn enums_shown(sql: &str) -> String {
    let mark = format!("::\"{}enum ", crate::bind::LOCK_MARK);
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some(at) = rest.find(&mark) {
        let (head, tail) = (&rest[..at], &rest[at + mark.len()..]);
        let Some((oid, behind)) = tail.split_once('"') else { break };
        let oid: u32 = oid.parse().unwrap_or(0);
        // `(1099511627776)` is a label.
        let number = head.rfind('(').and_then(|open| {
            let value: i64 = head[open + 1..].strip_suffix(')')?.parse().ok()?;
            Some((open, pgtypes::enums::known_label(oid, value)?))
        });
        match number {
            Some((open, label)) => {
                out.push_str(&head[..open]);
                out.push_str(&format!("'{}'", label.replace('\'', "''")));
            }
            None => out.push_str(head),
        }
        out.push_str("::");
        out.push_str(&pgtypes::PgType::enumeration(oid).sql_name());
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// Whether stored text mentions an enumeration.
pub(super) fn mentions(sql: &str, oid: u32) -> bool {
    sql.contains(&stored_name(oid))
}
