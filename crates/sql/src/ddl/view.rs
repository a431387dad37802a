//! CREATE VIEW, and what a view is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{Change, ObjectKind, View, ViewColumn};
use pgtypes::{PgType, TypeId};
use sqlparser::ast::{CreateTableOptions, CreateView, ObjectName, Query};

use super::create_table::COLUMNS_MAX;
use super::{Ddl, new_oids};
use crate::bind::{fold, name_parts, relation_name};
use crate::ir::{Rel, Relation, Scalar};
use crate::session::{Session, Tag};
use crate::{SqlError, SqlState};

fn check_supported(create: &CreateView) -> Result<(), SqlError> {
    if create.materialized {
        return Err(SqlError::unsupported("CREATE MATERIALIZED VIEW"));
    }
    if create.temporary {
        return Err(SqlError::unsupported("CREATE TEMPORARY VIEW"));
    }
    if !matches!(create.options, CreateTableOptions::None) {
        return Err(SqlError::unsupported("CREATE VIEW … WITH"));
    }
    let foreign = create.or_alter
        || create.secure
        || create.if_not_exists
        || create.name_before_not_exists
        || !create.cluster_by.is_empty()
        || create.comment.is_some()
        || create.with_no_schema_binding
        || create.copy_grants
        || create.to.is_some()
        || create.params.is_some();
    if foreign {
        return Err(SqlError::unsupported("a clause of CREATE VIEW from another dialect"));
    }
    Ok(())
}

/// The view of that name; `None` if nothing has it.
pub(super) fn find(
    session: &Session,
    ddl: &Ddl,
    name: &ObjectName,
) -> Result<Option<Arc<View>>, SqlError> {
    let (schema, short) = relation_name(name, &session.env().database)?;
    let path = schema.map_or_else(|| session.search_path(), |schema| vec![schema]);
    Ok(path
        .iter()
        .filter_map(|s| ddl.catalog.schema(session.database(), s))
        .find_map(|s| ddl.catalog.view(s.id, &short))
        .cloned())
}

/// A query's columns, as a view or table made of it has them.
pub(super) fn columns_of(
    query: &crate::ir::Query,
    names: &[String],
    is_view: bool,
) -> Result<Vec<ViewColumn>, SqlError> {
    if names.len() > query.columns.len() {
        return Err(SqlError::syntax(match is_view {
            true => "CREATE VIEW specifies more column names than columns",
            false => "too many column names were specified",
        }));
    }
    if query.columns.len() > COLUMNS_MAX {
        return Err(SqlError::new(
            SqlState::TOO_MANY_COLUMNS,
            format!("tables can have at most {COLUMNS_MAX} columns"),
        ));
    }
    let mut columns: Vec<ViewColumn> = Vec::with_capacity(query.columns.len());
    for (n, column) in query.columns.iter().enumerate() {
        let name = names.get(n).cloned().unwrap_or_else(|| column.name.to_string());
        if columns.iter().any(|c| c.name == name) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        let ty = if column.ty.is_unknown() { PgType::TEXT } else { column.ty };
        if matches!(ty.id, TypeId::Record) {
            return Err(SqlError::new(
                SqlState::INVALID_TABLE_DEFINITION,
                format!("column \"{name}\" has pseudo-type record"),
            ));
        }
        columns.push(ViewColumn { name, source: column.name.to_string(), ty });
    }
    Ok(columns)
}

/// Tables and views that a query mentions, and the columns it uses of each.
fn uses(
    session: &Session,
    ddl: &Ddl,
    ast: &Query,
    bound: &crate::ir::Query,
) -> Vec<(u32, Vec<u32>)> {
    let mut found: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let view = session.view(&ddl.catalog);
    let statement = sqlparser::ast::Statement::Query(Box::new(ast.clone()));
    for (schema, name) in crate::bind::mentioned_tables(&statement) {
        match crate::ir::CatalogView::relation(&view, schema.as_deref(), &name) {
            Ok(Some(Relation::View(view))) => {
                found.entry(view.id).or_default();
            }
            Ok(Some(Relation::Table(table))) => {
                found.entry(table.id).or_default();
            }
            Ok(Some(Relation::Virtual(table))) => {
                let sequence = ddl
                    .catalog
                    .schema(session.database(), table.schema())
                    .and_then(|s| ddl.catalog.sequence(s.id, table.name()));
                if let Some(sequence) = sequence {
                    found.entry(sequence.id).or_default();
                }
            }
            Ok(None) | Err(_) => {}
        }
    }
    let mut used: Vec<crate::ir::ColId> = bound.columns.iter().map(|c| c.id).collect();
    let mut note = |scalar: &Scalar| {
        scalar.any(&mut |node| {
            if let Scalar::Column(id, _) = node {
                used.push(*id);
            }
            false
        });
    };
    bound.rel.for_each_rel(&mut |rel: &Rel| {
        for scalar in rel.scalars() {
            note(scalar);
        }
    });
    bound.rel.for_each_rel(&mut |rel: &Rel| {
        let Rel::Scan(scan) = rel else { return };
        // A table that only a view mentions is that view's business.
        let Some(columns) = found.get_mut(&scan.table.id) else { return };
        for (column, position) in &scan.columns {
            let id = scan.table.columns[*position].id;
            if used.contains(&column.id) && !columns.contains(&id) {
                columns.push(id);
            }
        }
    });
    found.into_iter().collect()
}

pub(super) async fn create(
    session: &mut Session,
    create: &CreateView,
    text: &str,
) -> Result<Tag, SqlError> {
    check_supported(create)?;
    let mut ddl = Ddl::begin(session).await?;
    let (schema, name) = ddl.target(session, &create.name)?;
    let names = ddl.catalog.clone();
    let view = session.view(&names);
    let bound = crate::bind::Binder::new(&view, session.env(), text).bind_query(&create.query)?;
    let given: Vec<String> = create.columns.iter().map(|c| fold(&c.name)).collect();
    let columns = columns_of(&bound, &given, true)?;
    let uses = uses(session, &ddl, &create.query, &bound);
    if uses.iter().any(|(used, _)| session.temp().has(*used)) {
        return Err(SqlError::unsupported("a view of a temporary table"));
    }
    let old = ddl.catalog.view(schema.id, &name).cloned();
    let id = match &old {
        Some(old) if create.or_replace => {
            check_replacement(old, &columns)?;
            old.id
        }
        _ if ddl.catalog.relation_exists(schema.id, &name) => {
            if create.or_replace {
                return Err(SqlError::new(
                    SqlState::WRONG_OBJECT_TYPE,
                    format!("\"{name}\" is not a view"),
                ));
            }
            return Err(super::duplicate_relation(&name));
        }
        _ => new_oids(session, 1).await?,
    };
    if let Some(old) = &old {
        session.authority().must_own(&**old)?;
    }
    let (owner, acl) = match &old {
        Some(old) => (old.owner, old.acl.clone()),
        None => {
            let owner = session.authority().user();
            (owner, ddl.catalog.acl_of_new(ObjectKind::Table, owner, schema.id))
        }
    };
    if uses.iter().any(|(used, _)| *used == id) {
        return Err(SqlError::new(
            SqlState("42P17"),
            format!("infinite recursion detected in rules for relation \"{name}\""),
        ));
    }
    let made = View {
        id,
        schema: schema.id,
        name,
        owner,
        acl,
        sql: create.query.to_string(),
        columns,
        path: session.creation_path(),
        uses,
        comments: old.map_or_else(Vec::new, |old| old.comments.clone()),
    };
    ddl.write(session, vec![Change::PutView(Box::new(made))]).await?;
    Ok(Tag::Text("CREATE VIEW"))
}

/// OR REPLACE may add columns at the end and nothing else.
fn check_replacement(old: &View, columns: &[ViewColumn]) -> Result<(), SqlError> {
    let refused = |message: String| Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
    if columns.len() < old.columns.len() {
        return refused("cannot drop columns from view".to_owned());
    }
    for (old, new) in old.columns.iter().zip(columns) {
        if old.name != new.name {
            return Err(SqlError::new(
                SqlState::INVALID_TABLE_DEFINITION,
                format!("cannot change name of view column \"{}\" to \"{}\"", old.name, new.name),
            )
            .hint("Use ALTER VIEW ... RENAME COLUMN ... to change name of view column instead."));
        }
        if old.ty != new.ty {
            return refused(format!(
                "cannot change data type of view column \"{}\" from {} to {}",
                old.name, old.ty, new.ty
            ));
        }
    }
    Ok(())
}

/// 0A000 if a view's text names what is about to be renamed.
pub(super) fn refuse_if_viewed(
    ddl: &Ddl,
    relation: u32,
    column: Option<u32>,
    what: &str,
) -> Result<(), SqlError> {
    let uses = |view: &&Arc<View>| {
        view.uses
            .iter()
            .any(|(used, columns)| *used == relation && column.is_none_or(|c| columns.contains(&c)))
    };
    match ddl.catalog.views().find(uses) {
        Some(view) => Err(SqlError::unsupported(format!("{what} that a view uses"))
            .detail(format!("View \"{}\" names it.", view.name))
            .hint("Drop the view first, and make it again.")),
        None => Ok(()),
    }
}

/// Names as they are said in a message.
pub(super) fn said(name: &ObjectName) -> String {
    name_parts(name).map(|parts| parts.join(".")).unwrap_or_default()
}
