//! pg_class, pg_attribute, pg_index, pg_attrdef and the views made of them (pg_tables, pg_indexes).

use std::sync::Arc;

use catalog::{Column, Identity, Index, Table, View};
use pgtypes::Datum;

use super::index::{index_definition, index_expressions, index_predicate};
use super::programs::operator_class;
use super::roles::shown;
use super::sequence::sequences;
use super::{OWNER, Row, Source, SystemView, oid, text, view};
use crate::session::ViewContext;

/// Oid of the btree access method, and of heap, as in PostgreSQL.
const BTREE: u32 = 403;
const HEAP: u32 = 2;

pub(super) fn views() -> Vec<Arc<SystemView>> {
    vec![
        view(
            "pg_catalog",
            "pg_class",
            "oid:o relname:n relnamespace:o reltype:o reloftype:o relowner:o relam:o relfilenode:o \
             reltablespace:o relpages:4 reltuples:f relallvisible:4 reltoastrelid:o relhasindex:b \
             relisshared:b relpersistence:c relkind:c relnatts:2 relchecks:2 relhasrules:b \
             relhastriggers:b relhassubclass:b relrowsecurity:b relforcerowsecurity:b \
             relispopulated:b relreplident:c relispartition:b relrewrite:o \
             relfrozenxid:x relminmxid:x relacl:T reloptions:T \
             relpartbound:t",
            Source::Catalog(pg_class),
        ),
        view(
            "pg_catalog",
            "pg_attribute",
            "attrelid:o attname:n atttypid:o attstattarget:4 attlen:2 attnum:2 attndims:4 \
             attcacheoff:4 atttypmod:4 attbyval:b attalign:c attstorage:c attcompression:c \
             attnotnull:b atthasdef:b atthasmissing:b attidentity:c attgenerated:c attisdropped:b \
             attislocal:b attinhcount:4 attcollation:o attacl:T attoptions:T \
             attfdwoptions:T attmissingval",
            Source::Catalog(pg_attribute),
        ),
        view(
            "pg_catalog",
            "pg_index",
            "indexrelid:o indrelid:o indnatts:2 indnkeyatts:2 indisunique:b indnullsnotdistinct:b \
             indisprimary:b indisexclusion:b indimmediate:b indisclustered:b indisvalid:b \
             indcheckxmin:b indisready:b indislive:b indisreplident:b indkey:v indcollation:V \
             indclass:V indoption:v indexprs:t indpred:t",
            Source::Catalog(pg_index),
        ),
        view(
            "pg_catalog",
            "pg_attrdef",
            "oid:o adrelid:o adnum:2 adbin:t",
            Source::Catalog(pg_attrdef),
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

/// What differs between the rows of pg_class.
struct Class<'a> {
    id: u32,
    name: &'a str,
    namespace: u32,
    am: u32,
    kind: &'a str,
    attributes: usize,
    has_index: bool,
    options: Datum,
    checks: usize,
    has_rules: bool,
    temporary: bool,
    /// Foreign keys are triggers to PostgreSQL; psql looks for them only where there are some.
    has_triggers: bool,
    owner: u32,
    acl: Datum,
    /// As ANALYZE found; -1 if it never looked.
    rows: f32,
}

fn class_row(class: Class<'_>) -> Row {
    let Class { id, name, namespace, am, kind, attributes, has_index, options, .. } = class;
    let b = Datum::Bool;
    vec![
        oid(id),
        text(name),
        oid(namespace),
        oid(0),
        oid(0),
        oid(class.owner),
        oid(am),
        oid(id),
        oid(0),
        Datum::Int4(0),
        Datum::Float4(class.rows),
        Datum::Int4(0),
        oid(0),
        b(has_index),
        b(false),
        text(if class.temporary { "t" } else { "p" }),
        text(kind),
        Datum::Int2(i16::try_from(attributes).unwrap_or(0)),
        Datum::Int2(i16::try_from(class.checks).unwrap_or(0)),
        b(class.has_rules),
        b(class.has_triggers),
        b(false),
        b(false),
        b(false),
        b(true),
        text("d"),
        b(false),
        oid(0),
        // No transaction's id is ever reused.
        oid(0),
        oid(0),
        class.acl,
        options,
        Datum::Null,
    ]
}

fn pg_class(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for (schema, table) in tables(cx) {
        let temporary = schema == crate::session::TEMP_SCHEMA;
        let options = if table.options.is_empty() {
            Datum::Null
        } else {
            Datum::array(table.options.iter().map(|(n, v)| text(format!("{n}={v}"))).collect())
        };
        let foreign = table.foreign_keys().next().is_some();
        rows.push(class_row(Class {
            kind: "r",
            am: HEAP,
            has_index: indexes(table).next().is_some(),
            checks: table.constraints.iter().filter(|c| c.check().is_some()).count(),
            has_triggers: foreign || cx.catalog.references_to(table.id).next().is_some(),
            options,
            owner: table.owner,
            acl: shown(&cx.catalog, table.acl.as_ref()),
            temporary,
            rows: cx.info.engine.statistics.of(table.id).map_or(-1.0, |known| known.rows() as f32),
            ..Class::of(table.id, &table.name, table.schema, table.columns.len())
        }));
        for index in indexes(table) {
            let width = index.columns.len() + index.include.len();
            rows.push(class_row(Class {
                kind: "i",
                am: BTREE,
                owner: table.owner,
                temporary,
                ..Class::of(index.oid, &index.name, table.schema, width)
            }));
        }
    }
    for (_, view) in stored_views(cx) {
        rows.push(class_row(Class {
            has_rules: true,
            owner: view.owner,
            acl: shown(&cx.catalog, view.acl.as_ref()),
            ..Class::of(view.id, &view.name, view.schema, view.columns.len())
        }));
    }
    for (_, sequence) in sequences(cx) {
        rows.push(class_row(Class {
            kind: "S",
            owner: sequence.owner,
            acl: shown(&cx.catalog, sequence.acl.as_ref()),
            ..Class::of(sequence.id, &sequence.name, sequence.schema, SEQUENCE_COLUMNS.len())
        }));
    }
    for view in super::VIEWS.iter() {
        let schema = cx.catalog.schema(cx.info.database, view.schema).map_or(0, |s| s.id);
        let class = Class::of(view.oid, view.name, schema, view.columns.len());
        rows.push(class_row(match view.is_table() {
            true => Class { kind: "r", am: HEAP, ..class },
            false => class,
        }));
    }
    rows
}

/// Columns of every sequence.
const SEQUENCE_COLUMNS: &[(&str, pgtypes::PgType)] = &[
    ("last_value", pgtypes::PgType::INT8),
    ("log_cnt", pgtypes::PgType::INT8),
    ("is_called", pgtypes::PgType::BOOL),
];

impl<'a> Class<'a> {
    /// A view.
    fn of(id: u32, name: &'a str, namespace: u32, attributes: usize) -> Self {
        Class {
            id,
            name,
            namespace,
            am: 0,
            kind: "v",
            attributes,
            has_index: false,
            options: Datum::Null,
            checks: 0,
            has_rules: false,
            has_triggers: false,
            owner: OWNER,
            acl: Datum::Null,
            temporary: false,
            rows: -1.0,
        }
    }
}

/// Views of the current database, with the names of their schemas.
pub(super) fn stored_views(cx: &ViewContext) -> impl Iterator<Item = (&str, &Arc<View>)> {
    cx.catalog
        .schemas_of(cx.info.database)
        .flat_map(|s| cx.catalog.views_of(s.id).map(move |v| (s.name.as_str(), v)))
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
        Datum::Int4(ty.modifier()),
        b(by_value),
        text(super::types::align(ty)),
        text(super::types::storage(ty)),
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
            let mut row = attribute_row(table.id, &c.name, c.ty, n, !c.nullable, has_default(c));
            row[ATTIDENTITY] = text(match c.identity {
                Some(Identity::Always) => "a",
                Some(Identity::ByDefault) => "d",
                None => "",
            });
            row[ATTIDENTITY + 1] = text(if c.generated.is_some() { "s" } else { "" });
            rows.push(row);
        }
        for index in indexes(table) {
            for (n, position) in (1..).zip(table.index_positions(index)) {
                let c = table.column_at(position);
                rows.push(attribute_row(index.oid, &c.name, c.ty, n, false, false));
            }
            let included = table.positions(&index.include);
            for (n, position) in (index.columns.len() + 1..).zip(included) {
                let c = table.column_at(position);
                rows.push(attribute_row(index.oid, &c.name, c.ty, n, false, false));
            }
        }
    }
    for (_, view) in stored_views(cx) {
        for (n, c) in (1..).zip(&view.columns) {
            rows.push(attribute_row(view.id, &c.name, c.ty, n, false, false));
        }
    }
    for (_, sequence) in sequences(cx) {
        for (n, (name, ty)) in (1..).zip(SEQUENCE_COLUMNS) {
            rows.push(attribute_row(sequence.id, name, *ty, n, true, false));
        }
    }
    for view in super::VIEWS.iter() {
        for (number, c) in (1..).zip(&view.columns) {
            rows.push(attribute_row(view.oid, c.name, c.ty, number, false, false));
        }
    }
    rows
}

/// Position of attidentity; attgenerated follows.
const ATTIDENTITY: usize = 16;

/// The name of a relation as text of this session says it.
pub(super) fn relation_shown(cx: &ViewContext, id: u32) -> Option<String> {
    let catalog = &cx.catalog;
    let (schema, name) =
        match (catalog.table_by_id(id), catalog.sequence_by_id(id), catalog.view_by_id(id)) {
            (Some(table), ..) => (table.schema, &table.name),
            (_, Some(sequence), _) => (sequence.schema, &sequence.name),
            (.., Some(view)) => (view.schema, &view.name),
            _ => return None,
        };
    let schema = &catalog.schema_by_id(schema)?.name;
    let path = cx.settings.iter().find(|(name, ..)| *name == "search_path");
    let path = path.map_or("", |(_, value, _)| value.as_str());
    let visible = *schema == crate::session::TEMP_SCHEMA
        || path.split(',').any(|s| s.trim().trim_matches('"') == schema);
    Some(match visible {
        true => quote(name),
        false => format!("{}.{}", quote(schema), quote(name)),
    })
}

/// Whether pg_attrdef says something of a column.
pub(super) fn has_default(column: &Column) -> bool {
    column.default.is_some()
        || column.generated.is_some()
        || (column.sequence.is_some() && column.identity.is_none())
}

/// What pg_attrdef says of a column: its default, or the expression it is generated by.
pub(super) fn default_shown(cx: &ViewContext, column: &Column) -> Option<String> {
    let name_of = |id| relation_shown(cx, id);
    if let Some(sql) = &column.generated {
        return Some(crate::ddl::shown(sql, name_of));
    }
    if let Some(id) = column.sequence {
        let name = relation_shown(cx, id).filter(|_| column.identity.is_none())?;
        return Some(format!("nextval('{}'::regclass)", name.replace('\'', "''")));
    }
    column.default.as_ref().map(|sql| crate::ddl::shown(sql, name_of))
}

/// An int2vector.
fn vector(values: impl Iterator<Item = usize>) -> Datum {
    Datum::vector(values.map(|v| Datum::Int2(i16::try_from(v).unwrap_or(0))).collect())
}

pub(super) fn smallints(values: impl Iterator<Item = usize>) -> Datum {
    Datum::array(values.map(|v| Datum::Int2(i16::try_from(v).unwrap_or(0))).collect())
}

fn pg_index(cx: &ViewContext) -> Vec<Row> {
    let b = Datum::Bool;
    let mut rows = Vec::new();
    for (_, table) in tables(cx) {
        for index in indexes(table) {
            let width = |n: usize| Datum::Int2(i16::try_from(n).unwrap_or(0));
            let keys = index.columns.len();
            let positions = table.index_positions(index);
            let included = table.positions(&index.include);
            let attributes = positions.iter().chain(&included);
            // An expression is column 0.
            let number = |&p: &usize| if table.is_computed(p) { 0 } else { p + 1 };
            let primary = index.id == table.primary.id;
            rows.push(vec![
                oid(index.oid),
                oid(table.id),
                width(keys + included.len()),
                width(keys),
                b(index.unique),
                b(index.nulls_not_distinct),
                b(primary),
                b(false),
                b(true),
                b(false),
                b(index.state.is_public()),
                b(false),
                b(true),
                b(true),
                b(false),
                vector(attributes.map(number)),
                Datum::vector(
                    positions.iter().map(|&p| oid(collation(table.column_at(p).ty))).collect(),
                ),
                Datum::vector(
                    positions.iter().map(|&p| oid(operator_class(table.column_at(p).ty))).collect(),
                ),
                // Bit 0: descending; bit 1: NULLs first.
                vector(
                    index
                        .columns
                        .iter()
                        .map(|c| usize::from(c.descending) + 2 * usize::from(c.nulls_first())),
                ),
                index_expressions(table, index),
                index_predicate(table, index).map_or(Datum::Null, text),
            ]);
        }
    }
    rows
}

/// The oid of a default: needed to join by, never to look up, so table and number make it unique.
pub(super) fn default_oid(table: &Table, number: u16) -> u32 {
    table.id.wrapping_mul(1_601).wrapping_add(u32::from(number))
}

fn pg_attrdef(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for (_, table) in tables(cx) {
        for (n, column) in (1i16..).zip(&table.columns) {
            let Some(default) = default_shown(cx, column) else { continue };
            let id = default_oid(table, n.unsigned_abs());
            rows.push(vec![oid(id), oid(table.id), Datum::Int2(n), text(default)]);
        }
    }
    rows
}

fn pg_tables(cx: &ViewContext) -> Vec<Row> {
    let b = Datum::Bool;
    tables(cx)
        .map(|(schema, table)| {
            let has_index = indexes(table).next().is_some();
            let owner = text(cx.catalog.role_name(table.owner));
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

/// An identifier, quoted where it must be.
pub(crate) use pgtypes::registry::quote_ident as quote;

fn pg_indexes(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for (schema, table) in tables(cx) {
        for index in indexes(table) {
            rows.push(vec![
                text(schema),
                text(&table.name),
                text(&index.name),
                Datum::Null,
                text(index_definition(schema, table, index, false)),
            ]);
        }
    }
    rows
}
