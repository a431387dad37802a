//! Filling a new index from a table's rows, and moving a table's rows under a new primary key.

use std::sync::Arc;

use base::{Key, KeyRange};
use bytes::Bytes;
use catalog::{CatalogSnapshot, Change, Table};
use kv::{Db, ScanOptions, ScanPage};
use pgtypes::Datum;

use super::Ddl;
use super::beside::{self, Awaited};
use super::bulk::{BulkWriter, duplicated};
use crate::dml::{Names, codec_error};
use crate::indexed::with_computed;
use crate::session::Session;
use crate::{SqlError, SqlState};

/// Bytes of rows read at a time.
const PAGE_BYTES: u64 = 1 << 20;
/// Row ids fetched at a time.
const ROW_IDS: u64 = 20_000;

/// Reads all rows of a table in a transaction, so that the whole span is in its read set. The next page is
/// read while one is worked on.
pub(super) struct Rows<'a> {
    ddl: &'a Ddl,
    db: Db,
    table: &'a Table,
    next: Option<Awaited<ScanPage>>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(session: &Session, ddl: &'a Ddl, table: &'a Table) -> Self {
        let db = session.engine().db.clone();
        let mut rows = Rows { ddl, db, table, next: None };
        rows.read(table.codec().span());
        rows
    }

    fn read(&mut self, span: KeyRange) {
        let txn = Arc::clone(&self.ddl.txn);
        let options = ScanOptions { max_bytes: PAGE_BYTES, ..ScanOptions::default() };
        self.next = Some(beside::begin(&self.db, async move { txn.scan(span, options).await }));
    }

    pub(super) async fn page(&mut self) -> Result<Option<Vec<(Key, Bytes)>>, SqlError> {
        let Some(next) = self.next.take() else { return Ok(None) };
        let page = beside::end(next.await)?;
        if let Some(left) = page.resume {
            self.read(left);
        }
        Ok(Some(page.rows))
    }

    pub(super) fn decode(&self, key: &Key, value: &Bytes) -> Result<Vec<Datum>, SqlError> {
        self.table.codec().decode(key, value).map_err(|e| codec_error(&e, self.table))
    }
}

/// The catalog with `next` in it, to name its indexes in errors.
fn with(ddl: &Ddl, next: &Table) -> CatalogSnapshot {
    ddl.catalog.with(ddl.catalog.version(), [Change::PutTable(Box::new(next.clone()))])
}

/// Fills the indexes of `next` from position `from` on with entries for the rows of `old`; rows stay.
pub(super) async fn fill_indexes(
    session: &mut Session,
    ddl: &Ddl,
    old: &Arc<Table>,
    next: &Table,
    from: usize,
) -> Result<(), SqlError> {
    let codec = next.codec().clone();
    for index in &codec.indexes()[from..] {
        session.note_loaded(index.span());
    }
    let catalog = with(ddl, next);
    let env = session.env().clone();
    let names = Names { catalog: &catalog, env: &env };
    let failed = |e| duplicated(names.kv_error(e));
    let mut writer = BulkWriter::new(session.engine().db.clone(), ddl.txn.read_ts());
    let mut rows = Rows::new(session, ddl, old);
    while let Some(page) = rows.page().await? {
        for (key, value) in page {
            let row = rows.decode(&key, &value)?;
            let row = with_computed(next, &row)?;
            for index in &codec.indexes()[from..] {
                let entry = codec.entry(index, &key, &row).map_err(|e| codec_error(&e, next))?;
                let Some(entry) = entry else { continue };
                writer.put(entry.key, entry.value).await.map_err(failed)?;
            }
        }
    }
    writer.finish().await.map_err(failed)
}

/// Writes the rows of `old` as `next` has them: new primary index, all secondary ones new too.
/// `convert` makes the new row of an old one.
pub(super) async fn move_rows(
    session: &mut Session,
    ddl: &Ddl,
    old: &Arc<Table>,
    next: &Table,
    mut convert: impl FnMut(Vec<Datum>) -> Result<Vec<Datum>, SqlError>,
) -> Result<(), SqlError> {
    let codec = next.codec().clone();
    session.note_loaded(codec.span());
    for index in codec.indexes() {
        session.note_loaded(index.span());
    }
    let catalog = with(ddl, next);
    let env = session.env().clone();
    let names = Names { catalog: &catalog, env: &env };
    let failed = |e| duplicated(names.kv_error(e));
    let mut writer = BulkWriter::new(session.engine().db.clone(), ddl.txn.read_ts());
    let mut rows = Rows::new(session, ddl, old);
    let mut ids = 0..0;
    while let Some(page) = rows.page().await? {
        for (old_key, value) in page {
            let row = convert(rows.decode(&old_key, &value)?)?;
            let key = if next.has_hidden_row_id() && !old.has_hidden_row_id() {
                if ids.is_empty() {
                    let first = crate::point::row_ids(session.engine().db(), ROW_IDS).await?;
                    ids = first..first + ROW_IDS;
                }
                codec.hidden_key(ids.next().expect("just filled"))
            } else if next.has_hidden_row_id() {
                let id = old_key.as_bytes().last_chunk::<8>().expect("a row id is in the key");
                codec.hidden_key(u64::from_be_bytes(*id))
            } else {
                check_key_not_null(next, &row)?;
                codec.key(&row).map_err(|e| codec_error(&e, next))?
            };
            let row = with_computed(next, &row)?;
            for index in codec.indexes() {
                let entry = codec.entry(index, &key, &row).map_err(|e| codec_error(&e, next))?;
                let Some(entry) = entry else { continue };
                writer.put(entry.key, entry.value).await.map_err(failed)?;
            }
            let value = codec.value(&row).map_err(|e| codec_error(&e, next))?;
            writer.put(key, value).await.map_err(failed)?;
        }
    }
    writer.finish().await.map_err(failed)
}

fn check_key_not_null(table: &Table, row: &[Datum]) -> Result<(), SqlError> {
    for position in table.index_positions(&table.primary) {
        if row[position].is_null() {
            let column = &table.columns[position].name;
            return Err(contains_nulls(column, &table.name));
        }
    }
    Ok(())
}

/// 23502 of a constraint that comes later than the rows.
pub(super) fn contains_nulls(column: &str, table: &str) -> SqlError {
    SqlError::new(
        SqlState::NOT_NULL_VIOLATION,
        format!("column \"{column}\" of relation \"{table}\" contains null values"),
    )
}

/// Whether a column holds NULL in some row.
pub(super) async fn check_no_nulls(
    session: &Session,
    ddl: &Ddl,
    table: &Arc<Table>,
    position: usize,
) -> Result<(), SqlError> {
    let mut rows = Rows::new(session, ddl, table);
    while let Some(page) = rows.page().await? {
        for (key, value) in page {
            if rows.decode(&key, &value)?[position].is_null() {
                return Err(contains_nulls(&table.columns[position].name, &table.name));
            }
        }
    }
    Ok(())
}
