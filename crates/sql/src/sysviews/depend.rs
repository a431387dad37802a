//! pg_description, pg_depend and pg_views.

use std::sync::Arc;

use catalog::View;

use super::class::{indexes, stored_views, tables};
use super::constraint::constraint_oid;
use super::sequence::sequences;
use super::{Row, Source, SystemView, int4, oid, text, view};
use crate::session::ViewContext;

/// Oid of a system table, as `regclass` knows it.
fn catalog_oid(name: &str) -> u32 {
    super::oid_of("pg_catalog", name).unwrap_or(0)
}

pub(super) fn views() -> Vec<Arc<SystemView>> {
    vec![
        view(
            "pg_catalog",
            "pg_description",
            "objoid:o classoid:o objsubid:4 description:t",
            Source::Catalog(pg_description),
        ),
        view(
            "pg_catalog",
            "pg_depend",
            "classid:o objid:o objsubid:4 refclassid:o refobjid:o refobjsubid:4 deptype:c",
            Source::Catalog(pg_depend),
        ),
        view(
            "pg_catalog",
            "pg_views",
            "schemaname:n viewname:n viewowner:n definition:t",
            Source::Catalog(pg_views),
        ),
    ]
}

fn pg_description(cx: &ViewContext) -> Vec<Row> {
    let class = catalog_oid("pg_class");
    let mut rows = Vec::new();
    let mut add = |object: u32, class: u32, number: usize, comment: &str| {
        rows.push(vec![oid(object), oid(class), int4(number), text(comment)]);
    };
    for (_, table) in tables(cx) {
        for (column, comment) in &table.comments {
            add(table.id, class, table.position_of(*column).map_or(0, |p| p + 1), comment);
        }
        for index in indexes(table) {
            index.comment.iter().for_each(|comment| add(index.oid, class, 0, comment));
            if let Some(comment) = &index.constraint_comment {
                add(constraint_oid(index), catalog_oid("pg_constraint"), 0, comment);
            }
        }
        for constraint in &table.constraints {
            if let Some(comment) = &constraint.comment {
                add(constraint.oid, catalog_oid("pg_constraint"), 0, comment);
            }
        }
    }
    for (_, view) in stored_views(cx) {
        for (column, comment) in &view.comments {
            add(view.id, class, usize::try_from(*column).unwrap_or(0), comment);
        }
    }
    for (_, sequence) in sequences(cx) {
        sequence.comment.iter().for_each(|comment| add(sequence.id, class, 0, comment));
    }
    for schema in cx.catalog.schemas_of(cx.info.database) {
        let class = catalog_oid("pg_namespace");
        schema.comment.iter().for_each(|comment| add(schema.id, class, 0, comment));
    }
    rows
}

/// What depends on what, as far as clients ask: sequences on their columns, views on what they read.
fn pg_depend(cx: &ViewContext) -> Vec<Row> {
    let class = catalog_oid("pg_class");
    let row = |from: (u32, u32, usize), to: (u32, u32, usize), kind: &str| {
        vec![oid(from.0), oid(from.1), int4(from.2), oid(to.0), oid(to.1), int4(to.2), text(kind)]
    };
    let mut rows = Vec::new();
    for (_, sequence) in sequences(cx) {
        let Some((table, column)) = sequence.owned_by else { continue };
        let Some(table) = cx.catalog.table_by_id(table) else { continue };
        let number = table.position_of(column).map_or(0, |p| p + 1);
        let internal = crate::ddl::identity_of(&cx.catalog, sequence).is_some();
        let kind = if internal { "i" } else { "a" };
        rows.push(row((class, sequence.id, 0), (class, table.id, number), kind));
    }
    let constraints = catalog_oid("pg_constraint");
    for (_, table) in tables(cx) {
        for index in indexes(table).filter(|i| i.constraint) {
            let own = (constraints, constraint_oid(index), 0);
            rows.push(row((class, index.oid, 0), own, "i"));
        }
        for (constraint, key) in table.foreign_keys() {
            rows.push(row((constraints, constraint.oid, 0), (class, key.table, 0), "n"));
        }
    }
    rows
}

fn pg_views(cx: &ViewContext) -> Vec<Row> {
    stored_views(cx)
        .map(|(schema, view)| {
            let owner = text(cx.catalog.role_name(view.owner));
            vec![text(schema), text(&view.name), owner, text(view_definition(view))]
        })
        .collect()
}

/// A view's query as pg_get_viewdef prints it.
pub(crate) fn view_definition(view: &View) -> String {
    format!(" {};", view.sql)
}
