//! The time zones: pg_timezone_names.

use std::sync::Arc;

use pgtypes::datetime::zone::{ZoneNow, all_at};
use pgtypes::{Datum, EvalEnv, Interval};

use super::{Row, Source, SystemView, text, view};
use crate::session::ViewContext;

pub(super) fn views() -> Vec<Arc<SystemView>> {
    let columns = "name abbrev utc_offset:i is_dst:b";
    vec![view("pg_catalog", "pg_timezone_names", columns, Source::Session(rows))]
}

fn rows(_: &ViewContext) -> Vec<Row> {
    let row = |zone: ZoneNow| {
        let micros = i64::from(zone.east) * 1_000_000;
        vec![
            text(zone.name),
            text(&zone.abbreviation),
            Datum::Interval(Interval { months: 0, days: 0, micros }),
            Datum::Bool(zone.is_dst),
        ]
    };
    all_at(EvalEnv::clock_micros()).into_iter().map(row).collect()
}
