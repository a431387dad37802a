//! The prepared statements of this session: pg_prepared_statements.

use std::sync::Arc;

use pgtypes::{Datum, PgType};

use super::{Row, Source, SystemView, text, view};
use crate::session::ViewContext;

pub(super) fn views() -> Vec<Arc<SystemView>> {
    vec![view(
        "pg_catalog",
        "pg_prepared_statements",
        "name statement prepare_time:z parameter_types:regtypes from_sql:b generic_plans:8 \
         custom_plans:8",
        Source::Session(rows),
    )]
}

fn rows(cx: &ViewContext) -> Vec<Row> {
    let types = |types: &[PgType]| types.iter().map(|ty| Datum::Oid(ty.oid())).collect();
    let row = |(name, listed): (&String, &crate::session::Listed)| {
        vec![
            text(name),
            text(listed.prepared.text()),
            Datum::Timestamptz(listed.since),
            Datum::array(types(listed.prepared.params())),
            Datum::Bool(listed.from_sql),
            // Plans are shared by the sessions of a node, and not counted by statement.
            Datum::Null,
            Datum::Null,
        ]
    };
    cx.prepared.iter().map(row).collect()
}
