//! pg_description, pg_depend and pg_views.

use std::cell::RefCell;
use std::sync::Arc;

use catalog::{CatalogSnapshot, View};
use pgtypes::Datum;

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
            "pg_init_privs",
            "objoid:o classoid:o objsubid:4 privtype:c initprivs:T",
            Source::Catalog(pg_init_privs),
        ),
        view(
            "pg_catalog",
            "pg_extension",
            "oid:o extname:n extowner:o extnamespace:o extrelocatable:b extversion extconfig:O \
             extcondition:T",
            Source::Catalog(pg_extension),
        ),
        view(
            "pg_catalog",
            "pg_rewrite",
            "oid:o rulename:n ev_class:o ev_type:c ev_enabled:c is_instead:b ev_qual ev_action",
            Source::Catalog(pg_rewrite),
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
        for constraint in table.named_constraints() {
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
    let about = "the cluster: ranges, nodes, transactions, waits, conflicts";
    add(EXTENSION, catalog_oid("pg_extension"), 0, about);
    for schema in cx.catalog.schemas_of(cx.info.database) {
        let class = catalog_oid("pg_namespace");
        let usual = (schema.name == "public").then_some("standard public schema");
        let comment = schema.comment.as_deref().or(usual);
        comment.into_iter().for_each(|comment| add(schema.id, class, 0, comment));
    }
    rows
}

/// The oid of what schema `conclave` and its views are members of: pg_dump leaves out what an extension
/// that comes with the server brings.
const EXTENSION: u32 = 11_999;

/// What the schemas that come with the server had from the beginning: pg_dump leaves it out.
fn pg_init_privs(cx: &ViewContext) -> Vec<Row> {
    let class = catalog_oid("pg_namespace");
    let schemas = cx.catalog.schemas_of(cx.info.database);
    let own = schemas.filter(|schema| schema.database == 0 && schema.acl.is_some());
    let row = |schema: &Arc<catalog::Schema>| {
        let acl = super::roles::shown(&cx.catalog, schema.acl.as_ref());
        vec![oid(schema.id), oid(class), int4(0), text("i"), acl]
    };
    own.map(row).collect()
}

fn pg_extension(cx: &ViewContext) -> Vec<Row> {
    let schema = cx.catalog.schema(cx.info.database, "conclave").map_or(0, |schema| schema.id);
    vec![vec![
        oid(EXTENSION),
        text("conclave"),
        oid(super::OWNER),
        oid(schema),
        Datum::Bool(false),
        text(env!("CARGO_PKG_VERSION")),
        Datum::Null,
        Datum::Null,
    ]]
}

/// The rule that makes a view of it. Oids are unique per system table only.
fn rule_oid(view: &View) -> u32 {
    view.id
}

fn pg_rewrite(cx: &ViewContext) -> Vec<Row> {
    let row = |(_, view): (&str, &Arc<View>)| {
        vec![
            oid(rule_oid(view)),
            text("_RETURN"),
            oid(view.id),
            text("1"),
            text("O"),
            Datum::Bool(true),
            Datum::Null,
            Datum::Null,
        ]
    };
    stored_views(cx).map(row).collect()
}

/// Relations that a stored expression names.
fn relations_in(sql: &str) -> Vec<u32> {
    let found = RefCell::new(Vec::new());
    crate::ddl::shown(sql, |id| {
        found.borrow_mut().push(id);
        None
    });
    found.into_inner()
}

/// What depends on what, as far as clients ask: relations on their schemas, defaults and constraints on
/// columns, sequences on their columns, views on what they read.
fn pg_depend(cx: &ViewContext) -> Vec<Row> {
    let class = catalog_oid("pg_class");
    let row = |from: (u32, u32, usize), to: (u32, u32, usize), kind: &str| {
        vec![oid(from.0), oid(from.1), int4(from.2), oid(to.0), oid(to.1), int4(to.2), text(kind)]
    };
    let mut rows = Vec::new();
    let extension = (catalog_oid("pg_extension"), EXTENSION, 0);
    if let Some(schema) = cx.catalog.schema(cx.info.database, "conclave") {
        rows.push(row((catalog_oid("pg_namespace"), schema.id, 0), extension, "e"));
    }
    for view in super::all_of(|view| view.schema == "conclave") {
        rows.push(row((class, view.oid, 0), extension, "e"));
    }
    for (_, sequence) in sequences(cx) {
        let Some((table, column)) = sequence.owned_by else { continue };
        let Some(table) = cx.catalog.table_by_id(table) else { continue };
        let number = table.position_of(column).map_or(0, |p| p + 1);
        let internal = crate::ddl::identity_of(&cx.catalog, sequence).is_some();
        let kind = if internal { "i" } else { "a" };
        rows.push(row((class, sequence.id, 0), (class, table.id, number), kind));
    }
    let constraints = catalog_oid("pg_constraint");
    let namespaces = catalog_oid("pg_namespace");
    for (_, view) in stored_views(cx) {
        rows.push(row((class, view.id, 0), (namespaces, view.schema, 0), "n"));
        let rule = (catalog_oid("pg_rewrite"), rule_oid(view), 0);
        rows.push(row(rule, (class, view.id, 0), "i"));
        for (relation, columns) in &view.uses {
            let number = |column: &u32| match cx.catalog.table_by_id(*relation) {
                Some(table) => table.position_of(*column).map_or(0, |p| p + 1),
                None => usize::try_from(*column).unwrap_or(0),
            };
            let numbers: Vec<usize> = match columns.as_slice() {
                [] => vec![0],
                columns => columns.iter().map(number).collect(),
            };
            rows.extend(numbers.into_iter().map(|n| row(rule, (class, *relation, n), "n")));
        }
    }
    for (_, sequence) in sequences(cx) {
        rows.push(row((class, sequence.id, 0), (namespaces, sequence.schema, 0), "n"));
    }
    for (_, table) in tables(cx) {
        rows.push(row((class, table.id, 0), (namespaces, table.schema, 0), "n"));
        for (n, column) in (1u16..).zip(&table.columns) {
            if !super::class::has_default(column) {
                continue;
            }
            let default = (catalog_oid("pg_attrdef"), super::class::default_oid(table, n), 0);
            rows.push(row(default, (class, table.id, usize::from(n)), "a"));
            let own = column.sequence.into_iter();
            let mentioned = column.default.as_deref().map(relations_in).unwrap_or_default();
            rows.extend(own.chain(mentioned).map(|id| row(default, (class, id, 0), "n")));
        }
        for constraint in table.named_constraints() {
            let positions = match (constraint.check(), constraint.foreign_key()) {
                (Some(sql), _) => crate::ddl::columns_of_stored(sql, table),
                (None, Some(key)) => table.positions(&key.columns),
                (None, None) => Vec::new(),
            };
            let own = (constraints, constraint.oid, 0);
            rows.extend(positions.into_iter().map(|p| row(own, (class, table.id, p + 1), "a")));
        }
        for index in indexes(table) {
            let own = match index.constraint {
                true => (constraints, constraint_oid(index), 0),
                false => (class, index.oid, 0),
            };
            let positions = table.index_positions(index).into_iter();
            rows.extend(positions.map(|p| row(own, (class, table.id, p + 1), "a")));
        }
        for index in indexes(table).filter(|i| i.constraint) {
            let own = (constraints, constraint_oid(index), 0);
            rows.push(row((class, index.oid, 0), own, "i"));
        }
        for (constraint, key) in table.foreign_keys() {
            rows.push(row((constraints, constraint.oid, 0), (class, key.table, 0), "n"));
            rows.push(row((constraints, constraint.oid, 0), (class, key.index, 0), "n"));
        }
    }
    rows
}

fn pg_views(cx: &ViewContext) -> Vec<Row> {
    stored_views(cx)
        .map(|(schema, view)| {
            let owner = text(cx.catalog.role_name(view.owner));
            let relation = |id| super::class::relation_shown(cx, id);
            let definition = view_definition(&cx.catalog, view, relation);
            vec![text(schema), text(&view.name), owner, text(definition)]
        })
        .collect()
}

/// A view's query as pg_get_viewdef prints it, relations named as `shown` has them.
pub(crate) fn view_definition(
    catalog: &CatalogSnapshot,
    view: &View,
    shown: impl Fn(u32) -> Option<String>,
) -> String {
    format!(" {};", crate::ddl::view_text(catalog, view, shown))
}
