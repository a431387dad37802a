//! Schemas, databases, settings, access methods, functions.

use std::sync::Arc;

use pgtypes::Datum;

use super::{OWNER, Row, Source, SystemView, oid, text, view};
use crate::session::ViewContext;
use crate::settings::{Kind, SETTINGS};

pub(super) fn views() -> Vec<Arc<SystemView>> {
    vec![
        view(
            "pg_catalog",
            "pg_namespace",
            "oid:o nspname:n nspowner:o nspacl:T",
            Source::Catalog(pg_namespace),
        ),
        view(
            "pg_catalog",
            "pg_database",
            "oid:o datname:n datdba:o encoding:4 datlocprovider:c datistemplate:b datallowconn:b \
             datconnlimit:4 datfrozenxid:x datminmxid:x dattablespace:o datcollate:t datctype:t \
             daticulocale:t datcollversion:t datacl:T",
            Source::Catalog(pg_database),
        ),
        view(
            "pg_catalog",
            "pg_settings",
            "name setting unit category short_desc extra_desc context vartype source min_val \
             max_val enumvals:T boot_val reset_val sourcefile sourceline:4 pending_restart:b",
            Source::Session(pg_settings),
        ),
        view(
            "pg_catalog",
            "pg_am",
            "oid:o amname:n amhandler:regproc amtype:c",
            Source::Catalog(pg_am),
        ),
        view(
            "pg_catalog",
            "pg_collation",
            "oid:o collname:n collnamespace:o collowner:o collprovider:c collisdeterministic:b \
             collencoding:4 collcollate:t collctype:t colliculocale:t collversion:t",
            Source::Catalog(pg_collation),
        ),
        view(
            "pg_catalog",
            "pg_tablespace",
            "oid:o spcname:n spcowner:o spcacl:T spcoptions:T",
            Source::Catalog(|_| {
                let row =
                    |id, name| vec![oid(id), text(name), oid(OWNER), Datum::Null, Datum::Null];
                vec![row(1_663, "pg_default"), row(1_664, "pg_global")]
            }),
        ),
    ]
}

fn pg_namespace(cx: &ViewContext) -> Vec<Row> {
    cx.catalog
        .schemas_of(cx.info.database)
        .map(|s| {
            let acl = super::roles::shown(&cx.catalog, s.acl.as_ref());
            vec![oid(s.id), text(&s.name), oid(s.owner), acl]
        })
        .collect()
}

fn pg_database(cx: &ViewContext) -> Vec<Row> {
    cx.catalog
        .databases()
        .map(|d| {
            vec![
                oid(d.id),
                text(&d.name),
                oid(d.owner),
                // UTF8
                Datum::Int4(6),
                text("c"),
                Datum::Bool(false),
                Datum::Bool(true),
                Datum::Int4(-1),
                oid(0),
                oid(0),
                oid(1_663),
                text("C"),
                text("C"),
                Datum::Null,
                Datum::Null,
                super::roles::shown(&cx.catalog, d.acl.as_ref()),
            ]
        })
        .collect()
}

fn pg_settings(cx: &ViewContext) -> Vec<Row> {
    SETTINGS
        .iter()
        .zip(&cx.settings)
        .map(|(setting, (_, value, _))| {
            let (kind, enums) = match setting.kind {
                Kind::Bool => ("bool", Datum::Null),
                Kind::Int(..) | Kind::Millis => ("integer", Datum::Null),
                Kind::Enum(values) => {
                    ("enum", Datum::array(values.iter().map(|v| text(*v)).collect()))
                }
                _ => ("string", Datum::Null),
            };
            let context = if setting.kind == Kind::ReadOnly { "internal" } else { "user" };
            vec![
                text(setting.name),
                text(value),
                if setting.kind == Kind::Millis { text("ms") } else { Datum::Null },
                text("Client Connection Defaults"),
                text(setting.description),
                Datum::Null,
                text(context),
                text(kind),
                text(if value == setting.default { "default" } else { "session" }),
                Datum::Null,
                Datum::Null,
                enums,
                text(setting.default),
                text(setting.default),
                Datum::Null,
                Datum::Null,
                Datum::Bool(false),
            ]
        })
        .collect()
}

fn pg_am(_: &ViewContext) -> Vec<Row> {
    vec![
        vec![oid(2), text("heap"), oid(3), text("t")],
        vec![oid(403), text("btree"), oid(330), text("i")],
    ]
}

fn pg_collation(_: &ViewContext) -> Vec<Row> {
    let row = |id: u32, name: &str| {
        vec![
            oid(id),
            text(name),
            oid(catalog::PG_CATALOG_ID),
            oid(OWNER),
            text(if id == 100 { "d" } else { "c" }),
            Datum::Bool(true),
            Datum::Int4(-1),
            text("C"),
            text("C"),
            Datum::Null,
            Datum::Null,
        ]
    };
    vec![row(100, "default"), row(950, "C"), row(951, "POSIX")]
}
