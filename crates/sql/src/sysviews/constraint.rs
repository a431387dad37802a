//! pg_constraint, and constraints as text.

use std::sync::Arc;

use catalog::{Action, CatalogSnapshot, Constraint, ConstraintKind, Index, Table};
use pgtypes::Datum;

use super::class::{indexes, quote, smallints, tables};
use super::{Row, Source, SystemView, oid, text, view};
use crate::session::ViewContext;

pub(super) fn views() -> Vec<Arc<SystemView>> {
    vec![view(
        "pg_catalog",
        "pg_constraint",
        "oid:o conname:n connamespace:o contype:c condeferrable:b condeferred:b convalidated:b \
             conrelid:o contypid:o conindid:o conparentid:o confrelid:o confupdtype:c confdeltype:c \
             confmatchtype:c conislocal:b coninhcount:4 connoinherit:b conkey:S confkey:S conpfeqop:O \
             conppeqop:O conffeqop:O confdelsetcols:S conexclop:O conbin:t",
        Source::Catalog(pg_constraint),
    )]
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
                Datum::Null,
                Datum::Null,
                Datum::Null,
                Datum::Null,
                Datum::Null,
            ]);
        }
        for constraint in table.named_constraints() {
            rows.push(constraint_row(cx, table, constraint));
        }
    }
    rows
}

fn constraint_row(cx: &ViewContext, table: &Table, constraint: &Constraint) -> Row {
    let b = Datum::Bool;
    let letter = |action: Action| match action {
        Action::NoAction => "a",
        Action::Restrict => "r",
        Action::Cascade => "c",
        Action::SetNull => "n",
        Action::SetDefault => "d",
    };
    let numbers = |table: &Table, columns: &[u32]| {
        smallints(columns.iter().filter_map(|c| table.position_of(*c)).map(|p| p + 1))
    };
    let key = constraint.foreign_key();
    let to = key.and_then(|key| cx.catalog.table_by_id(key.table));
    vec![
        oid(constraint.oid),
        text(&constraint.name),
        oid(table.schema),
        text(if key.is_some() { "f" } else { "c" }),
        b(key.is_some_and(|key| key.deferrable)),
        b(key.is_some_and(|key| key.deferred)),
        b(constraint.validated),
        oid(table.id),
        oid(0),
        oid(key.map_or(0, |key| key.index)),
        oid(0),
        oid(key.map_or(0, |key| key.table)),
        text(key.map_or(" ", |key| letter(key.on_update))),
        text(key.map_or(" ", |key| letter(key.on_delete))),
        text(key.map_or(" ", |key| if key.full { "f" } else { "s" })),
        b(true),
        Datum::Int4(0),
        b(key.is_some()),
        match constraint.check() {
            Some(sql) => {
                smallints(crate::ddl::columns_of_stored(sql, table).into_iter().map(|p| p + 1))
            }
            None => numbers(table, &key.expect("a key or a check").columns),
        },
        to.zip(key).map_or(Datum::Null, |(to, key)| numbers(to, &key.referenced)),
        Datum::Null,
        Datum::Null,
        Datum::Null,
        Datum::Null,
        Datum::Null,
        constraint.check().map_or(Datum::Null, text),
    ]
}

/// A constraint's oid: oids are unique per system table only.
pub(super) fn constraint_oid(index: &Index) -> u32 {
    index.oid
}

/// A CHECK or FOREIGN KEY as pg_get_constraintdef prints it.
pub(crate) fn other_definition(
    catalog: &CatalogSnapshot,
    table: &Table,
    constraint: &Constraint,
    relation: impl Fn(u32) -> Option<String>,
    pretty: bool,
) -> String {
    let columns = |table: &Table, columns: &[u32]| {
        let names = columns.iter().filter_map(|c| table.position_of(*c));
        names.map(|p| quote(&table.columns[p].name)).collect::<Vec<_>>().join(", ")
    };
    let mut out = match &constraint.kind {
        ConstraintKind::Check { expression } => {
            let shown = crate::ddl::shown(expression, relation);
            match pretty {
                true => format!("CHECK ({})", pgtypes::registry::pretty_expr(&shown)),
                false => format!("CHECK ({shown})"),
            }
        }
        ConstraintKind::ForeignKey(key) => {
            let to = catalog.table_by_id(key.table);
            let their = to.map_or_else(String::new, |to| columns(to, &key.referenced));
            let mut out = format!(
                "FOREIGN KEY ({}) REFERENCES {}({their})",
                columns(table, &key.columns),
                relation(key.table).unwrap_or_default()
            );
            if key.full {
                out.push_str(" MATCH FULL");
            }
            for (event, action) in [("UPDATE", key.on_update), ("DELETE", key.on_delete)] {
                if action != Action::NoAction {
                    out.push_str(&format!(" ON {event} {}", action.name()));
                }
            }
            if key.deferrable {
                out.push_str(" DEFERRABLE");
            }
            if key.deferred {
                out.push_str(" INITIALLY DEFERRED");
            }
            out
        }
        ConstraintKind::NotNull { column } => format!("NOT NULL {}", columns(table, &[*column])),
    };
    if !constraint.validated {
        out.push_str(" NOT VALID");
    }
    out
}

/// `PRIMARY KEY (a, b)` as pg_get_constraintdef prints it.
pub(crate) fn constraint_definition(table: &Table, index: &Index) -> String {
    let kind = if index.id == table.primary.id { "PRIMARY KEY" } else { "UNIQUE" };
    let columns: Vec<String> =
        table.index_positions(index).iter().map(|&p| quote(&table.columns[p].name)).collect();
    let nulls = if index.nulls_not_distinct { " NULLS NOT DISTINCT" } else { "" };
    format!("{kind}{nulls} ({})", columns.join(", "))
}
