//! pg_class, pg_attribute, pg_index, pg_constraint, pg_attrdef, pg_description and the views made
//! of them (pg_tables, pg_indexes).

use std::sync::Arc;

use catalog::{Index, Table};
use pgtypes::Datum;

use super::{OWNER, Row, Source, SystemView, all, int4, oid, text, view};
use crate::session::ViewContext;

/// Oid of the btree access method, and of heap, as in PostgreSQL.
const BTREE: u32 = 403;
const HEAP: u32 = 2;
/// Oid of pg_class itself, which pg_description refers to.
const PG_CLASS: u32 = 1_259;

pub(super) fn views() -> Vec<Arc<SystemView>> {
    vec![
        view(
            "pg_catalog",
            "pg_class",
            "oid:o relname:n relnamespace:o reltype:o reloftype:o relowner:o relam:o relfilenode:o \
             reltablespace:o relpages:4 reltuples:f relallvisible:4 reltoastrelid:o relhasindex:b \
             relisshared:b relpersistence:c relkind:c relnatts:2 relchecks:2 relhasrules:b \
             relhastriggers:b relhassubclass:b relrowsecurity:b relforcerowsecurity:b \
             relispopulated:b relreplident:c relispartition:b relrewrite:o relacl:T reloptions:T \
             relpartbound:t",
            Source::Catalog(pg_class),
        ),
        view(
            "pg_catalog",
            "pg_attribute",
            "attrelid:o attname:n atttypid:o attstattarget:4 attlen:2 attnum:2 attndims:4 \
             attcacheoff:4 atttypmod:4 attbyval:b attalign:c attstorage:c attcompression:c \
             attnotnull:b atthasdef:b atthasmissing:b attidentity:c attgenerated:c attisdropped:b \
             attislocal:b attinhcount:4 attcollation:o attacl:T attoptions:T attfdwoptions:T",
            Source::Catalog(pg_attribute),
        ),
        view(
            "pg_catalog",
            "pg_index",
            "indexrelid:o indrelid:o indnatts:2 indnkeyatts:2 indisunique:b indnullsnotdistinct:b \
             indisprimary:b indisexclusion:b indimmediate:b indisclustered:b indisvalid:b \
             indcheckxmin:b indisready:b indislive:b indisreplident:b indkey:S indcollation:O \
             indclass:O indoption:S indexprs:t indpred:t",
            Source::Catalog(pg_index),
        ),
        view(
            "pg_catalog",
            "pg_constraint",
            "oid:o conname:n connamespace:o contype:c condeferrable:b condeferred:b convalidated:b \
             conrelid:o contypid:o conindid:o conparentid:o confrelid:o confupdtype:c confdeltype:c \
             confmatchtype:c conislocal:b coninhcount:4 connoinherit:b conkey:S confkey:S conbin:t",
            Source::Catalog(pg_constraint),
        ),
        view(
            "pg_catalog",
            "pg_attrdef",
            "oid:o adrelid:o adnum:2 adbin:t",
            Source::Catalog(pg_attrdef),
        ),
        view(
            "pg_catalog",
            "pg_description",
            "objoid:o classoid:o objsubid:4 description:t",
            Source::Catalog(pg_description),
        ),
        view(
            "pg_catalog",
            "pg_tables",
            "schemaname:n tablename:n tableowner:n tablespace:n hasindexes:b hasrules:b \
             hastriggers:b rowsecurity:b",
            Source::Catalog(pg_tables),
        ),
        view(
            "pg_catalog",
            "pg_indexes",
            "schemaname:n tablename:n indexname:n tablespace:n indexdef:t",
            Source::Catalog(pg_indexes),
        ),
    ]
}

/// Tables of the current database, with the names of their schemas.
pub(super) fn tables(cx: &ViewContext) -> impl Iterator<Item = (&str, &Arc<Table>)> {
    cx.catalog
        .schemas_of(cx.info.database)
        .flat_map(|s| cx.catalog.tables_of(s.id).map(move |t| (s.name.as_str(), t)))
}

/// Indexes that the user knows of: not the hidden row id's.
pub(super) fn indexes(table: &Table) -> impl Iterator<Item = &Index> {
    std::iter::once(&table.primary).filter(|i| !i.columns.is_empty()).chain(&table.indexes)
}

/// Oid of a system view: stable within a version, and below what users get.
fn view_oid(n: usize) -> u32 {
    super::FIRST_VIEW_OID + u32::try_from(n).unwrap_or(0)
}

#[expect(clippy::too_many_arguments, reason = "one per column that differs")]
fn class_row(
    id: u32,
    name: &str,
    namespace: u32,
    am: u32,
    kind: &str,
    attributes: usize,
    has_index: bool,
    options: Datum,
) -> Row {
    let b = Datum::Bool;
    vec![
        oid(id),
        text(name),
        oid(namespace),
        oid(0),
        oid(0),
        oid(OWNER),
        oid(am),
        oid(id),
        oid(0),
        Datum::Int4(0),
        Datum::Float4(-1.0),
        Datum::Int4(0),
        oid(0),
        b(has_index),
        b(false),
        text("p"),
        text(kind),
        Datum::Int2(i16::try_from(attributes).unwrap_or(0)),
        Datum::Int2(0),
        b(false),
        b(false),
        b(false),
        b(false),
        b(false),
        b(true),
        text("d"),
        b(false),
        oid(0),
        Datum::Null,
        options,
        Datum::Null,
    ]
}

fn pg_class(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for (_, table) in tables(cx) {
        let options = if table.options.is_empty() {
            Datum::Null
        } else {
            Datum::array(table.options.iter().map(|(n, v)| text(format!("{n}={v}"))).collect())
        };
        let has_index = indexes(table).next().is_some();
        let width = table.columns.len();
        rows.push(class_row(
            table.id,
            &table.name,
            table.schema,
            HEAP,
            "r",
            width,
            has_index,
            options,
        ));
        for index in indexes(table) {
            let width = index.columns.len();
            rows.push(class_row(
                index.oid,
                &index.name,
                table.schema,
                BTREE,
                "i",
                width,
                false,
                Datum::Null,
            ));
        }
    }
    for (n, (schema, name, width)) in all().enumerate() {
        let schema = cx.catalog.schema(cx.info.database, schema).map_or(0, |s| s.id);
        rows.push(class_row(view_oid(n), name, schema, 0, "v", width, false, Datum::Null));
    }
    rows
}

fn attribute_row(
    relation: u32,
    name: &str,
    ty: pgtypes::PgType,
    number: usize,
    not_null: bool,
    has_default: bool,
) -> Row {
    let b = Datum::Bool;
    let by_value = matches!(ty.len(), 1 | 2 | 4 | 8);
    vec![
        oid(relation),
        text(name),
        oid(ty.oid()),
        Datum::Int4(-1),
        Datum::Int2(ty.len()),
        Datum::Int2(i16::try_from(number).unwrap_or(0)),
        Datum::Int4(i32::from(ty.array)),
        Datum::Int4(-1),
        Datum::Int4(ty.typmod),
        b(by_value),
        text("i"),
        text(if ty.len() == -1 { "x" } else { "p" }),
        text(""),
        b(not_null),
        b(has_default),
        b(false),
        text(""),
        text(""),
        b(false),
        b(true),
        Datum::Int4(0),
        oid(collation(ty)),
        Datum::Null,
        Datum::Null,
        Datum::Null,
    ]
}

/// Text columns have the default collation (which is "C" here); others have none.
pub(super) fn collation(ty: pgtypes::PgType) -> u32 {
    use pgtypes::TypeId;
    match ty.id {
        TypeId::Text | TypeId::Varchar | TypeId::Bpchar => 100,
        TypeId::Name => 950,
        _ => 0,
    }
}

fn pg_attribute(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for (_, table) in tables(cx) {
        for (n, c) in (1..).zip(&table.columns) {
            rows.push(attribute_row(table.id, &c.name, c.ty, n, !c.nullable, c.default.is_some()));
        }
        for index in indexes(table) {
            for (n, position) in (1..).zip(table.index_positions(index)) {
                let c = &table.columns[position];
                rows.push(attribute_row(index.oid, &c.name, c.ty, n, false, false));
            }
        }
    }
    for (n, view) in super::VIEWS.iter().enumerate() {
        for (number, c) in (1..).zip(&view.columns) {
            rows.push(attribute_row(view_oid(n), c.name, c.ty, number, false, false));
        }
    }
    rows
}

fn smallints(values: impl Iterator<Item = usize>) -> Datum {
    Datum::array(values.map(|v| Datum::Int2(i16::try_from(v).unwrap_or(0))).collect())
}

fn pg_index(cx: &ViewContext) -> Vec<Row> {
    let b = Datum::Bool;
    let mut rows = Vec::new();
    for (_, table) in tables(cx) {
        for index in indexes(table) {
            let width = Datum::Int2(i16::try_from(index.columns.len()).unwrap_or(0));
            let positions = table.index_positions(index);
            let primary = index.id == table.primary.id;
            rows.push(vec![
                oid(index.oid),
                oid(table.id),
                width.clone(),
                width,
                b(index.unique),
                b(false),
                b(primary),
                b(false),
                b(true),
                b(false),
                b(true),
                b(false),
                b(true),
                b(true),
                b(false),
                smallints(positions.iter().map(|p| p + 1)),
                Datum::array(
                    positions.iter().map(|&p| oid(collation(table.columns[p].ty))).collect(),
                ),
                Datum::array(positions.iter().map(|_| oid(0)).collect()),
                // Bit 0: descending; bit 1: NULLs first.
                smallints(index.columns.iter().map(|c| if c.descending { 3 } else { 0 })),
                Datum::Null,
                Datum::Null,
            ]);
        }
    }
    rows
}

fn pg_constraint(cx: &ViewContext) -> Vec<Row> {
    let b = Datum::Bool;
    let mut rows = Vec::new();
    for (_, table) in tables(cx) {
        for index in indexes(table).filter(|i| i.constraint) {
            let kind = if index.id == table.primary.id { "p" } else { "u" };
            rows.push(vec![
                oid(constraint_oid(index)),
                text(&index.name),
                oid(table.schema),
                text(kind),
                b(false),
                b(false),
                b(true),
                oid(table.id),
                oid(0),
                oid(index.oid),
                oid(0),
                oid(0),
                text(" "),
                text(" "),
                text(" "),
                b(true),
                Datum::Int4(0),
                b(true),
                smallints(table.index_positions(index).iter().map(|p| p + 1)),
                Datum::Null,
                Datum::Null,
            ]);
        }
    }
    rows
}

/// A constraint's oid: oids are unique per system table only.
pub(super) fn constraint_oid(index: &Index) -> u32 {
    index.oid
}

fn pg_attrdef(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for (_, table) in tables(cx) {
        for (n, column) in (1i16..).zip(&table.columns) {
            let Some(default) = &column.default else { continue };
            // The oid is needed to join by, never to look up: table and number make it unique.
            let id = table.id.wrapping_mul(1_601).wrapping_add(u32::from(n.unsigned_abs()));
            rows.push(vec![oid(id), oid(table.id), Datum::Int2(n), text(default)]);
        }
    }
    rows
}

fn pg_description(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for (_, table) in tables(cx) {
        for (column, comment) in &table.comments {
            let number = table.position_of(*column).map_or(0, |p| p + 1);
            rows.push(vec![oid(table.id), oid(PG_CLASS), int4(number), text(comment)]);
        }
    }
    rows
}

fn pg_tables(cx: &ViewContext) -> Vec<Row> {
    let b = Datum::Bool;
    tables(cx)
        .map(|(schema, table)| {
            let has_index = indexes(table).next().is_some();
            let owner = text(&table.owner);
            vec![
                text(schema),
                text(&table.name),
                owner,
                Datum::Null,
                b(has_index),
                b(false),
                b(false),
                b(false),
            ]
        })
        .collect()
}

/// `CREATE INDEX …` as pg_get_indexdef prints it.
pub(crate) fn index_definition(schema: &str, table: &Table, index: &Index) -> String {
    let columns: Vec<String> = index
        .columns
        .iter()
        .zip(table.index_positions(index))
        .map(|(c, p)| {
            let desc = if c.descending { " DESC" } else { "" };
            format!("{}{desc}", quote(&table.columns[p].name))
        })
        .collect();
    format!(
        "CREATE {}INDEX {} ON {}.{} USING btree ({})",
        if index.unique { "UNIQUE " } else { "" },
        quote(&index.name),
        quote(schema),
        quote(&table.name),
        columns.join(", ")
    )
}

/// `PRIMARY KEY (a, b)` as pg_get_constraintdef prints it.
pub(crate) fn constraint_definition(table: &Table, index: &Index) -> String {
    let kind = if index.id == table.primary.id { "PRIMARY KEY" } else { "UNIQUE" };
    let columns: Vec<String> =
        table.index_positions(index).iter().map(|&p| quote(&table.columns[p].name)).collect();
    format!("{kind} ({})", columns.join(", "))
}

/// An identifier, quoted where it must be.
pub(crate) fn quote(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn pg_indexes(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for (schema, table) in tables(cx) {
        for index in indexes(table) {
            rows.push(vec![
                text(schema),
                text(&table.name),
                text(&index.name),
                Datum::Null,
                text(index_definition(schema, table, index)),
            ]);
        }
    }
    rows
}
