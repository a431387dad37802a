//! Roles, memberships and privileges.

use std::sync::Arc;

use catalog::{Acl, CatalogSnapshot, ObjectKind, Role};
use pgtypes::Datum;

use super::class::{stored_views, tables};
use super::{Row, Source, SystemView, oid, quote, text, view};
use crate::session::ViewContext;

pub(super) fn views() -> Vec<Arc<SystemView>> {
    let of = |schema, name, columns, rows| view(schema, name, columns, Source::Catalog(rows));
    vec![
        of(
            "pg_catalog",
            "pg_authid",
            "oid:o rolname:n rolsuper:b rolinherit:b rolcreaterole:b rolcreatedb:b rolcanlogin:b \
             rolreplication:b rolbypassrls:b rolconnlimit:4 rolpassword:t rolvaliduntil:z",
            pg_authid,
        ),
        of(
            "pg_catalog",
            "pg_roles",
            "rolname:n rolsuper:b rolinherit:b rolcreaterole:b rolcreatedb:b rolcanlogin:b \
             rolreplication:b rolconnlimit:4 rolpassword:t rolvaliduntil:z rolbypassrls:b \
             rolconfig:T oid:o",
            pg_roles,
        ),
        of(
            "pg_catalog",
            "pg_user",
            "usename:n usesysid:o usecreatedb:b usesuper:b userepl:b usebypassrls:b passwd:t \
             valuntil:z useconfig:T",
            |cx| users(cx, false),
        ),
        of(
            "pg_catalog",
            "pg_shadow",
            "usename:n usesysid:o usecreatedb:b usesuper:b userepl:b usebypassrls:b passwd:t \
             valuntil:z useconfig:T",
            |cx| users(cx, true),
        ),
        of("pg_catalog", "pg_group", "groname:n grosysid:o grolist:O", pg_group),
        of(
            "pg_catalog",
            "pg_auth_members",
            "roleid:o member:o grantor:o admin_option:b",
            pg_auth_members,
        ),
        of(
            "pg_catalog",
            "pg_default_acl",
            "oid:o defaclrole:o defaclnamespace:o defaclobjtype:c defaclacl:T",
            pg_default_acl,
        ),
        of("information_schema", "enabled_roles", "role_name:n", |cx| {
            let held = cx.catalog.roles().filter(|role| cx.authority.has(role.id));
            held.map(|role| vec![text(&role.name)]).collect()
        }),
        of(
            "information_schema",
            "applicable_roles",
            "grantee:n role_name:n is_grantable:t",
            applicable_roles,
        ),
        of(
            "information_schema",
            "table_privileges",
            "grantor:n grantee:n table_catalog:n table_schema:n table_name:n privilege_type:t \
             is_grantable:t with_hierarchy:t",
            table_privileges,
        ),
        of(
            "information_schema",
            "role_table_grants",
            "grantor:n grantee:n table_catalog:n table_schema:n table_name:n privilege_type:t \
             is_grantable:t with_hierarchy:t",
            |cx| {
                let mut rows = table_privileges(cx);
                rows.retain(|row| row[1].as_str() != Some("PUBLIC"));
                rows
            },
        ),
    ]
}

/// A list as the catalogs show it; NULL for the default.
pub(super) fn shown(catalog: &CatalogSnapshot, acl: Option<&Acl>) -> Datum {
    acl.map_or(Datum::Null, |acl| {
        let entries = acl.shown(|role| quote(&catalog.role_name(role)));
        Datum::array(entries.into_iter().map(Datum::text).collect())
    })
}

fn valid_until(role: &Role) -> Datum {
    role.valid_until.map_or(Datum::Null, Datum::Timestamptz)
}

fn settings(role: &Role) -> Datum {
    match role.settings.is_empty() {
        true => Datum::Null,
        false => {
            let each = role.settings.iter().map(|(name, value)| text(format!("{name}={value}")));
            Datum::array(each.collect())
        }
    }
}

fn pg_authid(cx: &ViewContext) -> Vec<Row> {
    let b = Datum::Bool;
    cx.catalog
        .roles()
        .map(|r| {
            vec![
                oid(r.id),
                text(&r.name),
                b(r.superuser),
                b(r.inherit),
                b(r.create_role),
                b(r.create_database),
                b(r.login),
                b(r.superuser),
                b(r.superuser),
                Datum::Int4(r.connection_limit),
                r.password.as_deref().map_or(Datum::Null, text),
                valid_until(r),
            ]
        })
        .collect()
}

fn pg_roles(cx: &ViewContext) -> Vec<Row> {
    let b = Datum::Bool;
    cx.catalog
        .roles()
        .map(|r| {
            vec![
                text(&r.name),
                b(r.superuser),
                b(r.inherit),
                b(r.create_role),
                b(r.create_database),
                b(r.login),
                b(r.superuser),
                Datum::Int4(r.connection_limit),
                text("********"),
                valid_until(r),
                b(r.superuser),
                settings(r),
                oid(r.id),
            ]
        })
        .collect()
}

fn users(cx: &ViewContext, verifiers: bool) -> Vec<Row> {
    let b = Datum::Bool;
    cx.catalog
        .roles()
        .filter(|r| r.login)
        .map(|r| {
            vec![
                text(&r.name),
                oid(r.id),
                b(r.create_database),
                b(r.superuser),
                b(r.superuser),
                b(r.superuser),
                match verifiers {
                    true => r.password.as_deref().map_or(Datum::Null, text),
                    false => text("********"),
                },
                valid_until(r),
                settings(r),
            ]
        })
        .collect()
}

fn pg_group(cx: &ViewContext) -> Vec<Row> {
    cx.catalog
        .roles()
        .filter(|r| !r.login)
        .map(|r| {
            let members = cx.catalog.members_of(r.id).map(|(member, _)| oid(member.id));
            vec![text(&r.name), oid(r.id), Datum::array(members.collect())]
        })
        .collect()
}

fn pg_auth_members(cx: &ViewContext) -> Vec<Row> {
    let members = cx.catalog.roles();
    members
        .flat_map(|member| {
            let row = |m: &catalog::Membership| {
                vec![oid(m.role), oid(member.id), oid(m.grantor), Datum::Bool(m.admin)]
            };
            member.member_of.iter().map(row).collect::<Vec<_>>()
        })
        .collect()
}

fn pg_default_acl(cx: &ViewContext) -> Vec<Row> {
    cx.catalog
        .default_acls()
        .map(|d| {
            let kind = match d.kind {
                ObjectKind::Table => "r",
                ObjectKind::Sequence => "S",
                ObjectKind::Function => "f",
                ObjectKind::Type => "T",
                ObjectKind::Schema | ObjectKind::Database => "n",
            };
            vec![
                oid(d.id),
                oid(d.role),
                oid(d.schema),
                text(kind),
                shown(&cx.catalog, Some(&d.acl)),
            ]
        })
        .collect()
}

fn applicable_roles(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for role in cx.catalog.roles().filter(|role| cx.authority.has(role.id)) {
        for membership in &role.member_of {
            rows.push(vec![
                text(&role.name),
                text(cx.catalog.role_name(membership.role)),
                text(if membership.admin { "YES" } else { "NO" }),
            ]);
        }
    }
    rows
}

fn table_privileges(cx: &ViewContext) -> Vec<Row> {
    let catalog = &cx.catalog;
    let mut rows = Vec::new();
    let mut add = |schema: &str, name: &str, owner: u32, acl: Option<&Acl>| {
        let standard = Acl::default_of(ObjectKind::Table, owner);
        for item in acl.unwrap_or(&standard).items() {
            let seen = item.grantee == catalog::acl::PUBLIC
                || cx.authority.has(item.grantee)
                || cx.authority.has(item.grantor);
            if !seen {
                continue;
            }
            let grantee = match item.grantee {
                catalog::acl::PUBLIC => "PUBLIC".to_owned(),
                role => catalog.role_name(role),
            };
            for one in item.privileges.each() {
                let grantable = item.grantable.has(one) || item.grantee == owner;
                let privilege = one.names().next().unwrap_or_default();
                rows.push(vec![
                    text(catalog.role_name(item.grantor)),
                    text(&grantee),
                    text(&cx.info.database_name),
                    text(schema),
                    text(name),
                    text(privilege),
                    text(if grantable { "YES" } else { "NO" }),
                    text(if privilege == "SELECT" { "YES" } else { "NO" }),
                ]);
            }
        }
    };
    for (schema, table) in tables(cx) {
        add(schema, &table.name, table.owner, table.acl.as_ref());
    }
    for (schema, view) in stored_views(cx) {
        add(schema, &view.name, view.owner, view.acl.as_ref());
    }
    rows
}
