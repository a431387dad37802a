//! What of PostgreSQL there is: `conclave.pg_compat`.

use std::sync::Arc;

use super::{Row, Source, SystemView, text, view};
use crate::session::ViewContext;

pub(super) fn views() -> Vec<Arc<SystemView>> {
    let columns = "area feature status detail example";
    vec![view("conclave", "pg_compat", columns, Source::Session(rows))]
}

fn rows(_: &ViewContext) -> Vec<Row> {
    let row = |feature: crate::compat::Feature| {
        vec![
            text(feature.area),
            text(&feature.name),
            text(feature.status.as_str()),
            text(feature.detail),
            text(&feature.example),
        ]
    };
    crate::compat::features().into_iter().map(row).collect()
}
