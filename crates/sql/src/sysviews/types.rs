//! pg_type: the built-in types and their arrays.

use std::sync::Arc;

use pgtypes::{Datum, PgType, TypeId};

use super::class::collation;
use super::{OWNER, Row, Source, SystemView, oid, text, view};
use crate::session::ViewContext;

pub(super) fn views() -> Vec<Arc<SystemView>> {
    let labels = view(
        "pg_catalog",
        "pg_enum",
        "oid:o enumtypid:o enumsortorder:f enumlabel:n",
        Source::Catalog(pg_enum),
    );
    let types = view(
        "pg_catalog",
        "pg_type",
        "oid:o typname:n typnamespace:o typowner:o typlen:2 typbyval:b typtype:c typcategory:c \
         typispreferred:b typisdefined:b typdelim:c typrelid:o typsubscript:regproc typelem:o \
         typarray:o typinput:regproc typoutput:regproc typreceive:regproc typsend:regproc \
         typmodin:regproc typmodout:regproc typanalyze:regproc typalign:c typstorage:c \
         typnotnull:b typbasetype:o typtypmod:4 typndims:4 typcollation:o typdefaultbin:t \
         typdefault:t typacl:T",
        Source::Catalog(pg_type),
    );
    vec![types, labels]
}

/// Enumerations of the current database.
fn enums(cx: &ViewContext) -> impl Iterator<Item = &Arc<catalog::EnumType>> {
    cx.catalog.schemas_of(cx.info.database).flat_map(|s| cx.catalog.enums_of(s.id))
}

fn pg_enum(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for ty in enums(cx) {
        for label in &ty.labels {
            let order = Datum::Float4((label.value as f64 / catalog::EnumType::STEP as f64) as f32);
            rows.push(vec![oid(label.oid), oid(ty.id), order, text(&label.label)]);
        }
    }
    rows
}

fn pg_type(cx: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for id in TypeId::all() {
        rows.push(row(PgType::named(id)));
        if id.array_oid() != 0 {
            rows.push(row(PgType::array_of(id)));
        }
    }
    for ty in enums(cx) {
        let own = PgType::enumeration(ty.id);
        for of in [own, own.to_array()] {
            let mut row = row(of);
            row[TYPNAMESPACE] = oid(ty.schema);
            rows.push(row);
        }
    }
    rows
}

/// Position of typnamespace.
const TYPNAMESPACE: usize = 2;
/// `typalign`.
pub(super) fn align(ty: PgType) -> &'static str {
    let wide = |id: TypeId| {
        matches!(
            id,
            TypeId::Int8
                | TypeId::Float8
                | TypeId::Time
                | TypeId::Timestamp
                | TypeId::Timestamptz
                | TypeId::Interval
                | TypeId::Xid8
                | TypeId::Record
        )
    };
    match ty.id {
        id if wide(id) => "d",
        _ if ty.array => "i",
        TypeId::Int2 => "s",
        TypeId::Bool | TypeId::Char | TypeId::Name | TypeId::Uuid | TypeId::Unknown => "c",
        _ => "i",
    }
}

/// `typstorage`.
pub(super) fn storage(ty: PgType) -> &'static str {
    match ty.id {
        id if id.is_vector() => "p",
        TypeId::Numeric if !ty.array => "m",
        _ if ty.len() == -1 => "x",
        _ => "p",
    }
}

fn array_function(ty: PgType, function: u32) -> Datum {
    oid(if ty.array { function } else { 0 })
}

fn row(ty: PgType) -> Row {
    let b = Datum::Bool;
    let of_all = ty.id == TypeId::Enum && ty.enum_oid().is_none();
    let pseudo = of_all || matches!(ty.id, TypeId::Record | TypeId::Void | TypeId::Unknown);
    let element = PgType { array: false, ..ty };
    let has_array = ty.enum_oid().is_some() || ty.id.array_oid() != 0;
    let by_value = matches!(ty.len(), 1 | 2 | 4 | 8);
    vec![
        oid(ty.oid()),
        text(ty.type_name()),
        oid(catalog::PG_CATALOG_ID),
        oid(OWNER),
        Datum::Int2(ty.len()),
        b(by_value),
        text(match ty.id {
            _ if pseudo => "p",
            TypeId::Enum if !ty.array => "e",
            _ => "b",
        }),
        text(ty.category().letter().to_string()),
        b(ty.is_preferred()),
        b(true),
        text(","),
        oid(0),
        oid(0),
        oid(if ty.array { element.oid() } else { 0 }),
        oid(if ty.array || !has_array { 0 } else { ty.to_array().oid() }),
        // Drivers tell arrays by these; other types have no functions to be named, 0 prints as "-".
        array_function(ty, 750),
        array_function(ty, 751),
        array_function(ty, 2400),
        array_function(ty, 2401),
        oid(0),
        oid(0),
        oid(0),
        text(align(ty)),
        text(storage(ty)),
        b(false),
        oid(0),
        Datum::Int4(-1),
        Datum::Int4(0),
        oid(collation(ty)),
        Datum::Null,
        Datum::Null,
        Datum::Null,
    ]
}
