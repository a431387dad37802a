//! information_schema.

use std::sync::Arc;

use pgtypes::{Datum, PgType, TypeId, typmod};

use super::class::{indexes, relation_shown, stored_views, tables};
use super::{Row, Source, SystemView, int4, text, view};
use crate::session::ViewContext;

pub(super) fn views() -> Vec<Arc<SystemView>> {
    vec![
        view(
            "information_schema",
            "tables",
            "table_catalog table_schema table_name table_type self_referencing_column_name \
             reference_generation user_defined_type_catalog user_defined_type_schema \
             user_defined_type_name is_insertable_into is_typed commit_action",
            Source::Catalog(list_tables),
        ),
        view(
            "information_schema",
            "columns",
            "table_catalog table_schema table_name column_name ordinal_position:4 column_default \
             is_nullable data_type character_maximum_length:4 character_octet_length:4 \
             numeric_precision:4 numeric_precision_radix:4 numeric_scale:4 datetime_precision:4 \
             interval_type collation_name udt_catalog udt_schema udt_name is_identity \
             identity_generation identity_start identity_increment identity_maximum \
             identity_minimum identity_cycle is_generated generation_expression is_updatable",
            Source::Catalog(list_columns),
        ),
        view(
            "information_schema",
            "schemata",
            "catalog_name schema_name schema_owner default_character_set_catalog \
             default_character_set_schema default_character_set_name sql_path",
            Source::Catalog(schemata),
        ),
        view(
            "information_schema",
            "table_constraints",
            "constraint_catalog constraint_schema constraint_name table_catalog table_schema \
             table_name constraint_type is_deferrable initially_deferred enforced",
            Source::Catalog(table_constraints),
        ),
        view(
            "information_schema",
            "key_column_usage",
            "constraint_catalog constraint_schema constraint_name table_catalog table_schema \
             table_name column_name ordinal_position:4 position_in_unique_constraint:4",
            Source::Catalog(key_column_usage),
        ),
        view(
            "information_schema",
            "referential_constraints",
            "constraint_catalog constraint_schema constraint_name unique_constraint_catalog \
             unique_constraint_schema unique_constraint_name match_option update_rule delete_rule",
            Source::Catalog(referential_constraints),
        ),
        view(
            "information_schema",
            "check_constraints",
            "constraint_catalog constraint_schema constraint_name check_clause",
            Source::Catalog(check_constraints),
        ),
        view(
            "information_schema",
            "constraint_column_usage",
            "table_catalog table_schema table_name column_name constraint_catalog \
             constraint_schema constraint_name",
            Source::Catalog(constraint_column_usage),
        ),
        view(
            "information_schema",
            "views",
            "table_catalog table_schema table_name view_definition check_option is_updatable \
             is_insertable_into",
            Source::Catalog(list_views),
        ),
    ]
}

fn list_tables(cx: &ViewContext) -> Vec<Row> {
    let row = |schema: &str, name: &str, kind: &str, insertable: &str| {
        vec![
            text(&cx.info.database_name),
            text(schema),
            text(name),
            text(kind),
            Datum::Null,
            Datum::Null,
            Datum::Null,
            Datum::Null,
            Datum::Null,
            text(insertable),
            text("NO"),
            Datum::Null,
        ]
    };
    let mut rows: Vec<Row> =
        tables(cx).map(|(schema, t)| row(schema, &t.name, kind_of(schema), "YES")).collect();
    rows.extend(stored_views(cx).map(|(schema, v)| row(schema, &v.name, "VIEW", "NO")));
    rows.extend(super::VIEWS.iter().map(|view| match view.is_table() {
        true => row(view.schema, view.name, "BASE TABLE", "YES"),
        false => row(view.schema, view.name, "VIEW", "NO"),
    }));
    rows
}

fn kind_of(schema: &str) -> &'static str {
    match schema {
        crate::session::TEMP_SCHEMA => "LOCAL TEMPORARY",
        _ => "BASE TABLE",
    }
}

fn optional(value: Option<i32>) -> Datum {
    value.map_or(Datum::Null, Datum::Int4)
}

/// Precision, radix and scale of a number.
fn numeric_facts(ty: PgType) -> (Option<i32>, Option<i32>, Option<i32>) {
    match ty.id {
        _ if ty.array => (None, None, None),
        TypeId::Int2 => (Some(16), Some(2), Some(0)),
        TypeId::Int4 => (Some(32), Some(2), Some(0)),
        TypeId::Int8 => (Some(64), Some(2), Some(0)),
        TypeId::Float4 => (Some(24), Some(2), None),
        TypeId::Float8 => (Some(53), Some(2), None),
        TypeId::Numeric if ty.typmod >= 4 => {
            let bits = ty.typmod - 4;
            (Some(bits >> 16), Some(10), Some(bits & 0xFFFF))
        }
        TypeId::Numeric => (None, Some(10), None),
        _ => (None, None, None),
    }
}

/// A column of a table or view.
struct Listed<'a> {
    schema: &'a str,
    relation: &'a str,
    name: &'a str,
    number: usize,
    ty: PgType,
    column: Option<&'a catalog::Column>,
}

fn list_columns(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for (schema, table) in tables(cx) {
        for (number, c) in (1..).zip(&table.columns) {
            let (relation, name) = (table.name.as_str(), c.name.as_str());
            let column = Some(c);
            rows.push(column_row(cx, &Listed { schema, relation, name, number, ty: c.ty, column }));
        }
    }
    for (schema, view) in stored_views(cx) {
        for (number, c) in (1..).zip(&view.columns) {
            let (relation, name) = (view.name.as_str(), c.name.as_str());
            let column = None;
            rows.push(column_row(cx, &Listed { schema, relation, name, number, ty: c.ty, column }));
        }
    }
    rows
}

fn column_row(cx: &ViewContext, listed: &Listed<'_>) -> Row {
    let Listed { schema, relation, name, number, ty, column } = *listed;
    let textual = matches!(ty.id, TypeId::Varchar | TypeId::Bpchar) && !ty.array;
    let length = (textual && ty.typmod >= 4).then(|| ty.typmod - 4);
    let (precision, radix, scale) = numeric_facts(ty);
    let temporal =
        matches!(ty.id, TypeId::Time | TypeId::Timestamp | TypeId::Timestamptz | TypeId::Interval);
    let data_type = match ty.id {
        _ if ty.array => "ARRAY".to_owned(),
        TypeId::Enum => "USER-DEFINED".to_owned(),
        _ => typmod::format_type(ty.base()),
    };
    let of_type = ty.enum_oid().and_then(|oid| cx.catalog.enum_by_id(oid));
    let type_schema = of_type.and_then(|ty| cx.catalog.schema_by_id(ty.schema));
    let identity =
        column.and_then(|c| Some((c.identity?, cx.catalog.sequence_by_id(c.sequence?)?)));
    let of_identity = |show: fn(&catalog::Sequence) -> String| {
        identity.map_or(Datum::Null, |(_, s)| text(show(s)))
    };
    let generated = column.and_then(|c| c.generated.as_ref());
    let default =
        column.filter(|c| c.generated.is_none()).and_then(|c| super::class::default_shown(cx, c));
    vec![
        text(&cx.info.database_name),
        text(schema),
        text(relation),
        text(name),
        int4(number),
        default.map_or(Datum::Null, text),
        text(if column.is_none_or(|c| c.nullable) { "YES" } else { "NO" }),
        text(data_type),
        optional(length),
        optional(length.map(|l| l.saturating_mul(4))),
        optional(precision),
        optional(radix),
        optional(scale),
        optional((temporal && !ty.array).then_some(if ty.typmod >= 0 { ty.typmod } else { 6 })),
        Datum::Null,
        Datum::Null,
        text(&cx.info.database_name),
        text(type_schema.map_or("pg_catalog", |schema| &schema.name)),
        text(ty.type_name()),
        text(if identity.is_some() { "YES" } else { "NO" }),
        identity.map_or(Datum::Null, |(kind, _)| {
            text(match kind {
                catalog::Identity::Always => "ALWAYS",
                catalog::Identity::ByDefault => "BY DEFAULT",
            })
        }),
        of_identity(|s| s.start.to_string()),
        of_identity(|s| s.increment.to_string()),
        of_identity(|s| s.max.to_string()),
        of_identity(|s| s.min.to_string()),
        text(match identity {
            Some((_, s)) if s.cycle => "YES",
            _ => "NO",
        }),
        text(if generated.is_some() { "ALWAYS" } else { "NEVER" }),
        generated.map_or(Datum::Null, text),
        text(if column.is_some() { "YES" } else { "NO" }),
    ]
}

fn schemata(cx: &ViewContext) -> Vec<Row> {
    cx.catalog
        .schemas_of(cx.info.database)
        .map(|s| {
            vec![
                text(&cx.info.database_name),
                text(&s.name),
                text(cx.catalog.role_name(s.owner)),
                Datum::Null,
                Datum::Null,
                Datum::Null,
                Datum::Null,
            ]
        })
        .collect()
}

fn table_constraints(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for (schema, table) in tables(cx) {
        for index in indexes(table).filter(|i| i.constraint) {
            let primary = index.id == table.primary.id;
            rows.push(vec![
                text(&cx.info.database_name),
                text(schema),
                text(&index.name),
                text(&cx.info.database_name),
                text(schema),
                text(&table.name),
                text(if primary { "PRIMARY KEY" } else { "UNIQUE" }),
                text("NO"),
                text("NO"),
                text("YES"),
            ]);
        }
        for constraint in table.named_constraints() {
            let key = constraint.foreign_key();
            let yes = |holds: bool| text(if holds { "YES" } else { "NO" });
            rows.push(vec![
                text(&cx.info.database_name),
                text(schema),
                text(&constraint.name),
                text(&cx.info.database_name),
                text(schema),
                text(&table.name),
                text(if key.is_some() { "FOREIGN KEY" } else { "CHECK" }),
                yes(key.is_some_and(|key| key.deferrable)),
                yes(key.is_some_and(|key| key.deferred)),
                text("YES"),
            ]);
        }
    }
    rows
}

fn referential_constraints(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for (schema, table) in tables(cx) {
        for (constraint, key) in table.foreign_keys() {
            let Some(to) = cx.catalog.table_by_id(key.table) else { continue };
            let their = cx.catalog.schema_by_id(to.schema).map_or("", |s| s.name.as_str());
            let index = to.index_by_oid(key.index);
            rows.push(vec![
                text(&cx.info.database_name),
                text(schema),
                text(&constraint.name),
                text(&cx.info.database_name),
                text(their),
                index.map_or(Datum::Null, |i| text(&i.name)),
                text(if key.full { "FULL" } else { "NONE" }),
                text(key.on_update.name()),
                text(key.on_delete.name()),
            ]);
        }
    }
    rows
}

fn check_constraints(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for (schema, table) in tables(cx) {
        for constraint in &table.constraints {
            let Some(sql) = constraint.check() else { continue };
            let database = text(&cx.info.database_name);
            let clause = text(sql);
            rows.push(vec![database, text(schema), text(&constraint.name), clause]);
        }
    }
    rows
}

fn constraint_column_usage(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |schema: &str, table: &catalog::Table, position: usize, own: &str, name: &str| {
        rows.push(vec![
            text(&cx.info.database_name),
            text(schema),
            text(&table.name),
            text(&table.columns[position].name),
            text(&cx.info.database_name),
            text(own),
            text(name),
        ]);
    };
    for (schema, table) in tables(cx) {
        for index in indexes(table).filter(|i| i.constraint) {
            for position in table.index_positions(index) {
                add(schema, table, position, schema, &index.name);
            }
        }
        for constraint in table.named_constraints() {
            match &constraint.kind {
                catalog::ConstraintKind::Check { expression } => {
                    for position in crate::ddl::columns_of_stored(expression, table) {
                        add(schema, table, position, schema, &constraint.name);
                    }
                }
                catalog::ConstraintKind::ForeignKey(key) => {
                    let Some(to) = cx.catalog.table_by_id(key.table) else { continue };
                    let their = cx.catalog.schema_by_id(to.schema).map_or("", |s| s.name.as_str());
                    for position in to.positions(&key.referenced) {
                        add(their, to, position, schema, &constraint.name);
                    }
                }
                catalog::ConstraintKind::NotNull { .. } => {}
            }
        }
    }
    rows
}

fn list_views(cx: &ViewContext) -> Vec<Row> {
    stored_views(cx)
        .map(|(schema, view)| {
            vec![
                text(&cx.info.database_name),
                text(schema),
                text(&view.name),
                text(super::view_definition(&cx.catalog, view, |id| relation_shown(cx, id))),
                text("NONE"),
                text("NO"),
                text("NO"),
            ]
        })
        .collect()
}

fn key_column_usage(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for (schema, table) in tables(cx) {
        for index in indexes(table).filter(|i| i.constraint) {
            for (n, position) in (1..).zip(table.index_positions(index)) {
                rows.push(vec![
                    text(&cx.info.database_name),
                    text(schema),
                    text(&index.name),
                    text(&cx.info.database_name),
                    text(schema),
                    text(&table.name),
                    text(&table.columns[position].name),
                    int4(n),
                    Datum::Null,
                ]);
            }
        }
        for (constraint, key) in table.foreign_keys() {
            let index = cx.catalog.table_by_id(key.table).and_then(|to| {
                let index = to.index_by_oid(key.index)?;
                Some(to.index_positions(index).into_iter().map(|p| to.columns[p].id).collect())
            });
            let index: Vec<u32> = index.unwrap_or_default();
            for (n, position) in table.positions(&key.columns).into_iter().enumerate() {
                let their = index.iter().position(|c| *c == key.referenced[n]);
                rows.push(vec![
                    text(&cx.info.database_name),
                    text(schema),
                    text(&constraint.name),
                    text(&cx.info.database_name),
                    text(schema),
                    text(&table.name),
                    text(&table.columns[position].name),
                    int4(n + 1),
                    their.map_or(Datum::Null, |at| int4(at + 1)),
                ]);
            }
        }
    }
    rows
}
