//! The cursors of this session: pg_cursors.

use std::sync::Arc;

use pgtypes::Datum;

use super::{Row, Source, SystemView, text, view};
use crate::session::ViewContext;

fn cursors(context: &ViewContext) -> Vec<Row> {
    let row = |cursor: &crate::session::CursorInfo| {
        vec![
            text(&cursor.name),
            text(&cursor.statement),
            Datum::Bool(cursor.hold),
            Datum::Bool(cursor.binary),
            Datum::Bool(cursor.scroll),
            Datum::Timestamptz(cursor.declared_at),
        ]
    };
    context.cursors.iter().map(row).collect()
}

pub(super) fn views() -> Vec<Arc<SystemView>> {
    let columns = "name:t statement:t is_holdable:b is_binary:b is_scrollable:b creation_time:z";
    vec![view("pg_catalog", "pg_cursors", columns, Source::Session(cursors))]
}
