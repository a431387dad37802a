//! The rows of computed tables, fetched once per statement, and found by the values of columns.
//!
//! A query over pg_catalog mentions the same tables again and again, above all in subqueries that run for
//! each row. So their rows are kept for the statement, and an index is made over the columns that a
//! look-up asks for.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use pgtypes::{Datum, PgType};

use super::ExecContext;
use crate::error::SqlError;
use crate::ir::VirtualTable;

/// Places of rows, by the bytes of their values.
type Index = HashMap<Vec<u8>, Vec<u32>>;

/// The rows of one table.
#[derive(Default)]
pub(crate) struct Loaded {
    pub(crate) rows: Vec<Vec<Datum>>,
    /// By the columns they are over.
    indexes: Mutex<HashMap<Vec<usize>, Arc<Index>>>,
}

/// The computed tables that a statement has read.
#[derive(Default, Clone)]
pub(crate) struct Virtuals(Arc<Mutex<Vec<(Arc<dyn VirtualTable>, Arc<Loaded>)>>>);

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
        let find = || {
            let known = self.0.lock();
            known.iter().find(|(t, _)| Arc::ptr_eq(t, table)).map(|(_, loaded)| loaded.clone())
        };
        if let Some(loaded) = find() {
            return Ok(loaded);
        }
        let rows = table.rows(ctx).await?;
        let loaded = Arc::new(Loaded { rows, indexes: Mutex::default() });
        self.0.lock().push((Arc::clone(table), loaded.clone()));
        Ok(loaded)
    }
}

impl Loaded {
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
