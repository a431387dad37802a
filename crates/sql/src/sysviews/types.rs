//! pg_type: the built-in types and their arrays.

use std::sync::Arc;

use pgtypes::{Datum, PgType, TypeId};

use super::class::collation;
use super::{OWNER, Row, Source, SystemView, oid, text, view};
use crate::session::ViewContext;

pub(super) fn views() -> Vec<Arc<SystemView>> {
    vec![view(
        "pg_catalog",
        "pg_type",
        "oid:o typname:n typnamespace:o typowner:o typlen:2 typbyval:b typtype:c typcategory:c \
         typispreferred:b typisdefined:b typdelim:c typrelid:o typsubscript:regproc typelem:o \
         typarray:o typinput:regproc typoutput:regproc typreceive:regproc typsend:regproc \
         typmodin:regproc typmodout:regproc typanalyze:regproc typalign:c typstorage:c \
         typnotnull:b typbasetype:o typtypmod:4 typndims:4 typcollation:o typdefaultbin:t \
         typdefault:t typacl:T",
        Source::Catalog(pg_type),
    )]
}

fn pg_type(_: &ViewContext) -> Vec<Row> {
    let mut rows = Vec::new();
    for id in TypeId::all() {
        rows.push(row(PgType::named(id)));
        if id.array_oid() != 0 {
            rows.push(row(PgType::array_of(id)));
        }
    }
    rows
}

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
    let pseudo = matches!(ty.id, TypeId::Record | TypeId::Void | TypeId::Unknown);
    let by_value = matches!(ty.len(), 1 | 2 | 4 | 8);
    vec![
        oid(ty.oid()),
        text(ty.type_name()),
        oid(catalog::PG_CATALOG_ID),
        oid(OWNER),
        Datum::Int2(ty.len()),
        b(by_value),
        text(if pseudo { "p" } else { "b" }),
        text(ty.category().letter().to_string()),
        b(ty.is_preferred()),
        b(true),
        text(","),
        oid(0),
        oid(0),
        oid(if ty.array { ty.element().id.oid() } else { 0 }),
        oid(if ty.array { 0 } else { ty.id.array_oid() }),
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
