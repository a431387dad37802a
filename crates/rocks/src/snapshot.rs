//! A fixed state of the engine that may be sent to another thread and keeps the database open.

use std::sync::Arc;

use base::KeyRange;
use bytes::Bytes;
use rocksdb::{ReadOptions, Snapshot};
use self_cell::self_cell;
use storage::{EngineError, EngineIter, EngineRead, Family, IterOptions, ValueRef};

use crate::engine::Db;
use crate::iter::{RocksIter, prefix_options, seek_first, span_options};

self_cell!(
    struct OwnedSnapshot {
        owner: Arc<Db>,
        #[covariant]
        dependent: Snapshot,
    }
);

/// A fixed state of the engine.
pub(crate) struct RocksSnapshot {
    cell: OwnedSnapshot,
}

impl RocksSnapshot {
    pub(crate) fn new(db: Arc<Db>) -> Self {
        RocksSnapshot { cell: OwnedSnapshot::new(db, |db| db.db.snapshot()) }
    }

    fn here(&self, mut options: ReadOptions) -> ReadOptions {
        options.set_snapshot(self.cell.borrow_dependent());
        options
    }
}

impl EngineRead for RocksSnapshot {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.cell.borrow_owner().get(family, key, &self.here(ReadOptions::default()))
    }

    fn iter(
        &self,
        family: Family,
        span: &KeyRange,
        options: IterOptions,
    ) -> Result<Box<dyn EngineIter + '_>, EngineError> {
        let db = self.cell.borrow_owner();
        let options = self.here(span_options(span, options));
        let inner = db.db.raw_iterator_cf_opt(db.family(family), options);
        Ok(Box::new(RocksIter { inner, empty: span.is_empty() }))
    }

    fn first_with_prefix(
        &self,
        family: Family,
        from: &[u8],
        prefix_len: usize,
        visit: &mut dyn FnMut(&[u8], ValueRef<'_>),
    ) -> Result<bool, EngineError> {
        let db = self.cell.borrow_owner();
        if family != Family::Data {
            return db.first_in_span(family, from, prefix_len, |options| self.here(options), visit);
        }
        let options = self.here(prefix_options());
        let mut iter = db.db.raw_iterator_cf_opt(db.family(family), options);
        seek_first(&mut iter, from, visit)
    }
}
