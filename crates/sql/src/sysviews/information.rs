//! information_schema.

use std::sync::Arc;

use pgtypes::{Datum, PgType, TypeId, typmod};

use super::class::{indexes, tables};
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
             is_generated generation_expression is_updatable",
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
        tables(cx).map(|(schema, t)| row(schema, &t.name, "BASE TABLE", "YES")).collect();
    rows.extend(super::all().map(|(schema, name, _)| row(schema, name, "VIEW", "NO")));
    rows
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

fn list_columns(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for (schema, table) in tables(cx) {
        for (n, c) in (1..).zip(&table.columns) {
            let ty = c.ty;
            let textual = matches!(ty.id, TypeId::Varchar | TypeId::Bpchar) && !ty.array;
            let length = (textual && ty.typmod >= 4).then(|| ty.typmod - 4);
            let (precision, radix, scale) = numeric_facts(ty);
            let temporal = matches!(
                ty.id,
                TypeId::Time | TypeId::Timestamp | TypeId::Timestamptz | TypeId::Interval
            );
            let data_type =
                if ty.array { "ARRAY".to_owned() } else { typmod::format_type(ty.base()) };
            rows.push(vec![
                text(&cx.info.database_name),
                text(schema),
                text(&table.name),
                text(&c.name),
                int4(n),
                c.default.as_ref().map_or(Datum::Null, text),
                text(if c.nullable { "YES" } else { "NO" }),
                text(data_type),
                optional(length),
                optional(length.map(|l| l.saturating_mul(4))),
                optional(precision),
                optional(radix),
                optional(scale),
                optional((temporal && !ty.array).then_some(if ty.typmod >= 0 {
                    ty.typmod
                } else {
                    6
                })),
                Datum::Null,
                Datum::Null,
                text(&cx.info.database_name),
                text("pg_catalog"),
                text(ty.type_name()),
                text("NO"),
                text("NEVER"),
                Datum::Null,
                text("YES"),
            ]);
        }
    }
    rows
}

fn schemata(cx: &ViewContext) -> Vec<Row> {
    cx.catalog
        .schemas_of(cx.info.database)
        .map(|s| {
            vec![
                text(&cx.info.database_name),
                text(&s.name),
                text(&s.owner),
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
    }
    rows
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
    }
    rows
}
