//! The rows of computed tables, fetched once, and found by the values of columns.
//!
//! A query over pg_catalog mentions the same tables again and again, above all in subqueries that run for
//! each row. So their rows are kept for the statement, and an index is made over the columns that a
//! look-up asks for.
//!
//! An ORM asks dozens of such queries in a row. So the rows that depend on the catalog and its reader alone
//! are kept for the next statements as well, until one reads another version, or as somebody else, or
//! statistics have changed (pg_class tells them).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::ArrayRef;
use parking_lot::Mutex;
use pgtypes::{Datum, PgType, arrow_bridge};

use super::ExecContext;
use crate::error::SqlError;
use crate::ir::{Version, VirtualTable};

/// Values that are kept for other statements at most.
const KEPT_VALUES_MAX: usize = 1_000_000;

/// Places of rows, by the bytes of their values.
type Index = HashMap<Vec<u8>, Vec<u32>>;

/// The rows of one table.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) rows: Vec<Vec<Datum>>,
    /// The same as columns.
    arrays: OnceLock<Vec<ArrayRef>>,
    /// By the columns they are over.
    indexes: Mutex<HashMap<Vec<usize>, Arc<Index>>>,
}

/// Tables with their rows.
type Tables = Vec<(Arc<dyn VirtualTable>, Arc<Loaded>)>;

/// The computed tables that a statement has read.
#[derive(Default, Clone)]
pub(crate) struct Virtuals(Arc<Mutex<Tables>>);

/// Those that the next statements may read as well: of one version.
#[derive(Default)]
pub(crate) struct Kept(Mutex<(Option<Of>, Tables)>);

/// What rows depend on: the catalog and its reader, and which statistics.
type Of = (Version, u64);

fn find(tables: &Tables, table: &Arc<dyn VirtualTable>) -> Option<Arc<Loaded>> {
    tables.iter().find(|(known, _)| Arc::ptr_eq(known, table)).map(|(_, loaded)| loaded.clone())
}

impl Kept {
    fn get(&self, version: &Of, table: &Arc<dyn VirtualTable>) -> Option<Arc<Loaded>> {
        let kept = self.0.lock();
        if kept.0.as_ref() == Some(version) { find(&kept.1, table) } else { None }
    }

    fn put(&self, version: Of, table: &Arc<dyn VirtualTable>, loaded: &Arc<Loaded>) {
        let mut kept = self.0.lock();
        if kept.0.as_ref() != Some(&version) {
            *kept = (Some(version), Tables::new());
        }
        let values = |loaded: &Loaded| loaded.rows.len() * loaded.rows.first().map_or(0, Vec::len);
        let held: usize = kept.1.iter().map(|(_, other)| values(other)).sum();
        if held + values(loaded) <= KEPT_VALUES_MAX {
            kept.1.push((table.clone(), loaded.clone()));
        }
    }
}

impl fmt::Debug for Virtuals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.lock().iter().map(|(table, _)| table.name())).finish()
    }
}

impl Virtuals {
    /// The rows of a table.
    pub(crate) async fn load(
        &self,
        ctx: &ExecContext,
        table: &Arc<dyn VirtualTable>,
    ) -> Result<Arc<Loaded>, SqlError> {
        if let Some(loaded) = find(&self.0.lock(), table) {
            return Ok(loaded);
        }
        let generation = ctx.engine.statistics().generation();
        let version = table.version(ctx).map(|version| (version, generation));
        let kept = version.as_ref().and_then(|version| ctx.engine.kept().get(version, table));
        let loaded = match kept {
            Some(loaded) => loaded,
            None => {
                let loaded = Arc::new(Loaded { rows: table.rows(ctx).await?, ..Loaded::default() });
                if let Some(version) = version {
                    ctx.engine.kept().put(version, table, &loaded);
                }
                loaded
            }
        };
        self.0.lock().push((Arc::clone(table), loaded.clone()));
        Ok(loaded)
    }
}

impl Loaded {
    /// The columns, of these types.
    pub(crate) fn arrays(&self, types: impl Iterator<Item = PgType>) -> &[ArrayRef] {
        self.arrays.get_or_init(|| {
            let column = |(at, ty): (usize, PgType)| {
                let mut builder = arrow_bridge::ColumnBuilder::new(ty, self.rows.len());
                self.rows.iter().for_each(|row| builder.push(&row[at]));
                builder.finish()
            };
            types.enumerate().map(column).collect()
        })
    }

    /// Rows with these values in these columns. NULL is in none.
    pub(crate) fn find(&self, columns: &[(usize, PgType)], values: &[Datum]) -> Vec<&Vec<Datum>> {
        if values.iter().any(Datum::is_null) {
            return Vec::new();
        }
        let places: Vec<usize> = columns.iter().map(|(at, _)| *at).collect();
        let key = |row: &mut dyn Iterator<Item = &Datum>| {
            let mut bytes = Vec::with_capacity(16);
            for (value, (_, ty)) in row.zip(columns) {
                let at = bytes.len();
                bytes.extend_from_slice(&[0; 4]);
                pgtypes::sortkey::sort_key(value, *ty, &mut bytes);
                let length = u32::try_from(bytes.len() - at - 4).unwrap_or(u32::MAX);
                bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
            bytes
        };
        let known = self.indexes.lock().get(&places).cloned();
        let index = known.unwrap_or_else(|| {
            let mut index = Index::new();
            for (n, row) in (0u32..).zip(&self.rows) {
                if places.iter().all(|&at| !row[at].is_null()) {
                    let key = key(&mut places.iter().map(|&at| &row[at]));
                    index.entry(key).or_default().push(n);
                }
            }
            let index = Arc::new(index);
            self.indexes.lock().insert(places.clone(), index.clone());
            index
        });
        let found = index.get(&key(&mut values.iter()));
        found.into_iter().flatten().map(|&n| &self.rows[n as usize]).collect()
    }
}
