//! Statistics views: what ANALYZE found. Accesses are not counted by table or index: those counts are NULL,
//! the rows are there.

use std::sync::Arc;

use catalog::{Privileges, decode_single};
use pgtypes::{Datum, EvalEnv, PgType, text_of};

use super::class::{indexes, tables};
use super::{Row, Source, SystemView, all_of, oid, text, view};
use crate::privilege::Object;
use crate::session::ViewContext;

const TABLES: &str = "relid:o schemaname:n relname:n seq_scan:8 seq_tup_read:8 idx_scan:8 \
    idx_tup_fetch:8 n_tup_ins:8 n_tup_upd:8 n_tup_del:8 n_tup_hot_upd:8 n_live_tup:8 n_dead_tup:8 \
    n_mod_since_analyze:8 n_ins_since_vacuum:8 last_vacuum:z last_autovacuum:z last_analyze:z \
    last_autoanalyze:z vacuum_count:8 autovacuum_count:8 analyze_count:8 autoanalyze_count:8";
const TABLES_IO: &str = "relid:o schemaname:n relname:n heap_blks_read:8 heap_blks_hit:8 \
    idx_blks_read:8 idx_blks_hit:8 toast_blks_read:8 toast_blks_hit:8 tidx_blks_read:8 \
    tidx_blks_hit:8";
const INDEXES: &str = "relid:o indexrelid:o schemaname:n relname:n indexrelname:n idx_scan:8 \
    idx_tup_read:8 idx_tup_fetch:8";
const INDEXES_IO: &str = "relid:o indexrelid:o schemaname:n relname:n indexrelname:n \
    idx_blks_read:8 idx_blks_hit:8";
const DATABASES: &str = "datid:o datname:n numbackends:4 xact_commit:8 xact_rollback:8 \
    blks_read:8 blks_hit:8 tup_returned:8 tup_fetched:8 tup_inserted:8 tup_updated:8 tup_deleted:8 \
    conflicts:8 temp_files:8 temp_bytes:8 deadlocks:8 checksum_failures:8 checksum_last_failure:z \
    blk_read_time:d blk_write_time:d session_time:d active_time:d idle_in_transaction_time:d \
    sessions:8 sessions_abandoned:8 sessions_fatal:8 sessions_killed:8 stats_reset:z";

pub(super) fn views() -> Vec<Arc<SystemView>> {
    let catalog = |name, columns, rows| view("pg_catalog", name, columns, Source::Catalog(rows));
    // What is known of rows changes without the catalog.
    let known = |name, columns, rows| view("pg_catalog", name, columns, Source::Session(rows));
    vec![
        catalog("pg_stat_all_tables", TABLES, |cx| analyzed(cx).chain(of_system(20)).collect()),
        known("pg_stat_user_tables", TABLES, |cx| analyzed(cx).collect()),
        known("pg_stats", COLUMNS, of_columns),
        catalog("pg_stat_sys_tables", TABLES, |_| of_system(20)),
        catalog("pg_stat_xact_all_tables", TABLES_XACT, |cx| of_tables(cx, true, 8)),
        catalog("pg_stat_xact_user_tables", TABLES_XACT, |cx| of_tables(cx, false, 8)),
        catalog("pg_statio_all_tables", TABLES_IO, |cx| of_tables(cx, true, 8)),
        catalog("pg_statio_user_tables", TABLES_IO, |cx| of_tables(cx, false, 8)),
        catalog("pg_stat_all_indexes", INDEXES, |cx| of_indexes(cx, 3)),
        catalog("pg_stat_user_indexes", INDEXES, |cx| of_indexes(cx, 3)),
        catalog("pg_statio_all_indexes", INDEXES_IO, |cx| of_indexes(cx, 2)),
        catalog("pg_statio_user_indexes", INDEXES_IO, |cx| of_indexes(cx, 2)),
        catalog("pg_stat_database", DATABASES, of_databases),
    ]
}

const COLUMNS: &str = "schemaname:n tablename:n attname:n inherited:b null_frac:f avg_width:4 \
    n_distinct:f most_common_vals most_common_freqs:F histogram_bounds correlation:f \
    most_common_elems most_common_elem_freqs:F elem_count_histogram:F";
const TABLES_XACT: &str = "relid:o schemaname:n relname:n seq_scan:8 seq_tup_read:8 idx_scan:8 \
    idx_tup_fetch:8 n_tup_ins:8 n_tup_upd:8 n_tup_del:8 n_tup_hot_upd:8";

/// What is known, and NULL for each of `unknown` counts.
fn row(known: impl IntoIterator<Item = Datum>, unknown: usize) -> Row {
    known.into_iter().chain(std::iter::repeat_n(Datum::Null, unknown)).collect()
}

/// Tables, with what is known of their rows.
fn analyzed(cx: &ViewContext) -> impl Iterator<Item = Row> {
    tables(cx).map(|(schema, table)| {
        let mut row = row([oid(table.id), text(schema), text(&table.name)], 20);
        let statistics = &cx.info.engine.statistics;
        let count = |n: u64| Datum::Int8(i64::try_from(n).unwrap_or(i64::MAX));
        row[13] = count(statistics.written(table.id));
        if let Some(known) = statistics.of(table.id) {
            row[11] = count(known.known.rows);
            let when = if known.known.automatic { 18 } else { 17 };
            row[when] = Datum::Timestamptz(known.known.analyzed_at);
        }
        row
    })
}

/// What is known of the values of columns, for who may read them.
fn of_columns(cx: &ViewContext) -> Vec<Row> {
    let env = EvalEnv::default();
    let mut rows = Vec::new();
    for (schema, table) in tables(cx) {
        let may = cx.authority.may(&Object::from(&**table), Privileges::SELECT);
        let Some(known) = cx.info.engine.statistics.of(table.id).filter(|_| may) else { continue };
        for column in &known.known.columns {
            let Some(at) = table.columns.iter().position(|c| c.id == column.column) else {
                continue;
            };
            let ty = table.columns[at].ty;
            let shown = |bytes: &Vec<u8>| {
                decode_single(bytes, ty).map_or(Datum::Null, |v| text(text_of(&v, ty, &env)))
            };
            let list = |values: Vec<Datum>| match values.is_empty() {
                true => Datum::Null,
                false => text(text_of(&Datum::array(values), PgType::TEXT.to_array(), &env)),
            };
            let common = list(column.common.iter().map(|(value, _)| shown(value)).collect());
            let shares = column.common.iter().map(|(_, share)| Datum::Float4(*share)).collect();
            let shares = if column.common.is_empty() { Datum::Null } else { Datum::array(shares) };
            rows.push(vec![
                text(schema),
                text(&table.name),
                text(&table.columns[at].name),
                Datum::Bool(false),
                Datum::Float4(column.null_share),
                Datum::Int4(i32::try_from(column.width).unwrap_or(i32::MAX)),
                Datum::Float4(column.distinct as f32),
                common,
                shares,
                list(column.bounds.iter().map(shown).collect()),
                Datum::Float4(column.correlation),
                Datum::Null,
                Datum::Null,
                Datum::Null,
            ]);
        }
    }
    rows
}

fn of_tables(cx: &ViewContext, system: bool, unknown: usize) -> Vec<Row> {
    let user = tables(cx)
        .map(|(schema, table)| row([oid(table.id), text(schema), text(&table.name)], unknown));
    let mut rows: Vec<Row> = user.collect();
    if system {
        rows.extend(of_system(unknown));
    }
    rows
}

fn of_system(unknown: usize) -> Vec<Row> {
    let tables = all_of(|view| view.is_table());
    tables.map(|view| row([oid(view.oid), text(view.schema), text(view.name)], unknown)).collect()
}

fn of_indexes(cx: &ViewContext, unknown: usize) -> Vec<Row> {
    let all = tables(cx).flat_map(|(schema, table)| {
        indexes(table).map(move |index| {
            let names = [text(schema), text(&table.name), text(&index.name)];
            row([oid(table.id), oid(index.oid)].into_iter().chain(names), unknown)
        })
    });
    all.collect()
}

fn of_databases(cx: &ViewContext) -> Vec<Row> {
    let one = |d: &Arc<catalog::Database>| row([oid(d.id), text(&d.name)], 26);
    cx.catalog.databases().map(one).collect()
}
