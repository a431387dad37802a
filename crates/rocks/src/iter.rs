//! Iterators, and the pool of them that point reads draw from.
//!
//! Making an iterator costs more than using it once. A point read therefore takes one from the
//! pool, refreshes it (cheap while no file or memtable has come or gone), seeks, and puts it back.
//! As an idle iterator keeps the memtables of its last use alive, the pool is emptied now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::KeyRange;
use parking_lot::Mutex;
use rocksdb::{DBRawIterator, ReadOptions};
use self_cell::self_cell;
use storage::{EngineError, EngineIter, Family, IterOptions, ValueRef};

use crate::engine::Db;
use crate::error::engine_error;

const BULK_READAHEAD_BYTES: usize = 2 << 20;
const POOL_SLOTS: usize = 16;
/// Uses of the pool between two emptyings.
const USES_BETWEEN_CLEANING: usize = 1 << 14;

/// Options for an iterator that stays inside a span.
pub(crate) fn span_options(span: &KeyRange, options: IterOptions) -> ReadOptions {
    let mut read = ReadOptions::default();
    if !span.start.0.is_empty() {
        read.set_iterate_lower_bound(span.start.as_bytes());
    }
    if !span.end.0.is_empty() {
        read.set_iterate_upper_bound(span.end.as_bytes());
    }
    read.set_total_order_seek(true);
    if options.bulk {
        read.fill_cache(false);
        read.set_readahead_size(BULK_READAHEAD_BYTES);
    }
    read
}

/// Options for an iterator that only looks at entries with the prefix of what was sought.
pub(crate) fn prefix_options() -> ReadOptions {
    let mut read = ReadOptions::default();
    read.set_prefix_same_as_start(true);
    read
}

/// An iterator of the engine or a snapshot.
pub(crate) struct RocksIter<'a> {
    pub(crate) inner: DBRawIterator<'a>,
    /// Nothing lies inside: RocksDB takes an upper bound at or below the lower one badly.
    pub(crate) empty: bool,
}

impl RocksIter<'_> {
    fn landed(&self) -> Result<bool, EngineError> {
        if self.inner.valid() {
            return Ok(true);
        }
        self.inner.status().map_err(engine_error)?;
        Ok(false)
    }

    fn moved(
        &mut self,
        movement: impl FnOnce(&mut DBRawIterator<'_>),
    ) -> Result<bool, EngineError> {
        if self.empty {
            return Ok(false);
        }
        movement(&mut self.inner);
        self.landed()
    }
}

impl EngineIter for RocksIter<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<bool, EngineError> {
        self.moved(|inner| inner.seek(key))
    }

    fn seek_for_prev(&mut self, key: &[u8]) -> Result<bool, EngineError> {
        self.moved(|inner| inner.seek_for_prev(key))
    }

    fn seek_to_first(&mut self) -> Result<bool, EngineError> {
        self.moved(|inner| inner.seek_to_first())
    }

    fn seek_to_last(&mut self) -> Result<bool, EngineError> {
        self.moved(|inner| inner.seek_to_last())
    }

    fn next(&mut self) -> Result<bool, EngineError> {
        self.moved(|inner| inner.next())
    }

    fn prev(&mut self) -> Result<bool, EngineError> {
        self.moved(|inner| inner.prev())
    }

    fn key(&self) -> &[u8] {
        self.inner.key().expect("the last movement ended on an entry")
    }

    fn value(&self) -> ValueRef<'_> {
        ValueRef::Pinned(self.inner.value().expect("the last movement ended on an entry"))
    }
}

type PrefixIter<'a> = DBRawIterator<'a>;

self_cell!(
    /// An iterator that keeps its database open.
    struct OwnedIter {
        owner: Arc<Db>,
        #[not_covariant]
        dependent: PrefixIter,
    }
);

/// Iterators for point reads of the newest state of [`Family::Data`].
pub(crate) struct IterPool {
    slots: [Mutex<Option<OwnedIter>>; POOL_SLOTS],
    uses: AtomicUsize,
}

impl IterPool {
    pub(crate) fn new() -> Self {
        IterPool { slots: Default::default(), uses: AtomicUsize::new(0) }
    }

    /// Visits the first entry at or after `from` with the same prefix.
    pub(crate) fn first_with_prefix(
        &self,
        db: &Arc<Db>,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], ValueRef<'_>),
    ) -> Result<bool, EngineError> {
        let uses = self.uses.fetch_add(1, Ordering::Relaxed);
        if uses % USES_BETWEEN_CLEANING == USES_BETWEEN_CLEANING - 1 {
            self.clear();
        }
        let Some(mut slot) = self.slots.iter().find_map(|slot| slot.try_lock()) else {
            let mut iter = db.prefix_iter();
            return seek_first(&mut iter, from, visit);
        };
        let mut cell = match slot.take() {
            Some(mut cell) => {
                cell.with_dependent_mut(|_, iter| iter.refresh()).map_err(engine_error)?;
                cell
            }
            None => OwnedIter::new(Arc::clone(db), |db| db.prefix_iter()),
        };
        // An iterator that met an error is not put back.
        let found = cell.with_dependent_mut(|_, iter| seek_first(iter, from, visit))?;
        *slot = Some(cell);
        Ok(found)
    }

    /// Lets go of what idle iterators keep alive.
    pub(crate) fn clear(&self) {
        for slot in &self.slots {
            if let Some(mut slot) = slot.try_lock() {
                *slot = None;
            }
        }
    }
}

/// Seeks within the prefix of `from` and visits where it lands.
pub(crate) fn seek_first(
    iter: &mut DBRawIterator<'_>,
    from: &[u8],
    visit: &mut dyn FnMut(&[u8], ValueRef<'_>),
) -> Result<bool, EngineError> {
    iter.seek(from);
    if let Some((key, value)) = iter.item() {
        visit(key, ValueRef::Pinned(value));
        return Ok(true);
    }
    iter.status().map_err(engine_error)?;
    Ok(false)
}

impl Db {
    /// An iterator over versions of single user keys.
    pub(crate) fn prefix_iter(&self) -> DBRawIterator<'_> {
        self.db.raw_iterator_cf_opt(self.family(Family::Data), prefix_options())
    }
}
