//! Statistics views. Nothing is counted by table or index: the counts are NULL, the rows are there.

use std::sync::Arc;

use pgtypes::Datum;

use super::class::{indexes, tables};
use super::{Row, Source, SystemView, all_of, oid, text, view};
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
    vec![
        catalog("pg_stat_all_tables", TABLES, |cx| of_tables(cx, true, 20)),
        catalog("pg_stat_user_tables", TABLES, |cx| of_tables(cx, false, 20)),
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

const TABLES_XACT: &str = "relid:o schemaname:n relname:n seq_scan:8 seq_tup_read:8 idx_scan:8 \
    idx_tup_fetch:8 n_tup_ins:8 n_tup_upd:8 n_tup_del:8 n_tup_hot_upd:8";

/// What is known, and NULL for each of `unknown` counts.
fn row(known: impl IntoIterator<Item = Datum>, unknown: usize) -> Row {
    known.into_iter().chain(std::iter::repeat_n(Datum::Null, unknown)).collect()
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
