//! The engine: four families of one RocksDB instance without a write-ahead log.
//!
//! What is durable is what was flushed, of all families at once (`atomic_flush`); see E1 to E4 of
//! [`storage::Engine`]. A block whose checksum does not match is an error that names its file, on
//! the first read and on every later one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{Key, KeyRange};
use bytes::Bytes;
use rocksdb::properties;
use rocksdb::{
    Cache, ColumnFamily, ColumnFamilyDescriptor, DB, FlushOptions, ReadOptions, ReadTier,
    WriteBufferManager, WriteOptions,
};
use storage::{
    BulkWriter, Engine, EngineError, EngineIter, EngineRead, EngineStats, Family, IterOptions, Op,
    ValueRef, WriteBatch,
};

use crate::bulk::{RocksBulkWriter, clean_bulk_directory};
use crate::config::{RocksConfig, engine_options, family_options};
use crate::error::engine_error;
use crate::iter::{IterPool, RocksIter, seek_first, span_options};
use crate::snapshot::RocksSnapshot;

/// Past every key of ours: no encoder writes so many of these.
const END_OF_KEYS: [u8; 64] = [0xFF; 64];

/// The engine on RocksDB.
pub struct RocksEngine {
    db: Arc<Db>,
    pool: IterPool,
}

/// The open database, shared with snapshots and bulk writers.
pub(crate) struct Db {
    pub(crate) db: DB,
    pub(crate) path: PathBuf,
    pub(crate) config: RocksConfig,
    pub(crate) cache: Cache,
    write: WriteOptions,
    read: ReadOptions,
    read_durable: ReadOptions,
}

impl RocksEngine {
    /// Opens the engine in a directory, creating it if there is none.
    pub fn open(path: &Path, config: RocksConfig) -> Result<Self, EngineError> {
        let cache = Cache::new_hyper_clock_cache(config.cache_bytes, 0);
        // Stalling would block the store loop inside a write; RocksDB slows down by itself first.
        let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            config.write_buffer_bytes,
            false,
            cache.clone(),
        );
        let options = engine_options(&config, &buffers);
        let default = ColumnFamilyDescriptor::new("default", rocksdb::Options::default());
        let families = Family::ALL.map(|family| {
            ColumnFamilyDescriptor::new(family.name(), family_options(family, &config, &cache))
        });
        let all = std::iter::once(default).chain(families);
        let db = DB::open_cf_descriptors(&options, path, all).map_err(engine_error)?;
        clean_bulk_directory(path)?;
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        let mut read_durable = ReadOptions::default();
        read_durable.set_read_tier(ReadTier::Persisted);
        let db = Db {
            db,
            path: path.to_owned(),
            config,
            cache,
            write,
            read: ReadOptions::default(),
            read_durable,
        };
        Ok(RocksEngine { db: Arc::new(db), pool: IterPool::new() })
    }

    /// Compacts everything: for tests and tools.
    pub fn compact(&self) {
        for family in Family::ALL {
            let family = self.db.family(family);
            self.db.db.compact_range_cf(family, None::<&[u8]>, None::<&[u8]>);
        }
    }
}

impl Db {
    pub(crate) fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("all families were opened")
    }

    pub(crate) fn get(
        &self,
        family: Family,
        key: &[u8],
        options: &ReadOptions,
    ) -> Result<Option<Bytes>, EngineError> {
        let value =
            self.db.get_pinned_cf_opt(self.family(family), key, options).map_err(engine_error)?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// The first entry with a prefix, in a family without a filter on prefixes.
    pub(crate) fn first_in_span(
        &self,
        family: Family,
        from: &[u8],
        prefix_len: usize,
        with: impl FnOnce(ReadOptions) -> ReadOptions,
        visit: &mut dyn FnMut(&[u8], ValueRef<'_>),
    ) -> Result<bool, EngineError> {
        let end = Key(Bytes::copy_from_slice(&from[..prefix_len])).prefix_end();
        let span = KeyRange { start: Bytes::copy_from_slice(from).into(), end };
        let options = with(span_options(&span, IterOptions::default()));
        let mut iter = self.db.raw_iterator_cf_opt(self.family(family), options);
        seek_first(&mut iter, from, visit)
    }

    /// Past the last key of a family, as it is and as the operations before this one make it.
    fn end_of<'a>(
        &self,
        family: Family,
        before: impl Iterator<Item = Op<'a>>,
    ) -> Result<Vec<u8>, EngineError> {
        let mut last = self.last_key(family)?;
        for op in before {
            if let Op::Put { family: into, key, .. } = op
                && into == family
                && last.as_deref().is_none_or(|last| last < key)
            {
                last = Some(key.to_vec());
            }
        }
        let mut end = last.unwrap_or_default();
        end.push(0);
        Ok(end)
    }

    fn last_key(&self, family: Family) -> Result<Option<Vec<u8>>, EngineError> {
        let options = span_options(&KeyRange::ALL, IterOptions::default());
        let mut iter = self.db.raw_iterator_cf_opt(self.family(family), options);
        iter.seek_to_last();
        iter.status().map_err(engine_error)?;
        Ok(iter.key().map(<[u8]>::to_vec))
    }

    fn property(&self, family: Family, name: &properties::PropName) -> u64 {
        self.db.property_int_value_cf(self.family(family), name).ok().flatten().unwrap_or(0)
    }

    /// Bytes of what is not flushed; a memtable without entries has buffers too, which do not
    /// count.
    fn unflushed(&self, family: Family) -> u64 {
        let entries = self.property(family, properties::NUM_ENTRIES_ACTIVE_MEM_TABLE)
            + self.property(family, properties::NUM_ENTRIES_IMM_MEM_TABLES);
        if entries == 0 { 0 } else { self.property(family, properties::CUR_SIZE_ALL_MEM_TABLES) }
    }

    fn sum(&self, name: &properties::PropName) -> u64 {
        Family::ALL.iter().map(|family| self.property(*family, name)).sum()
    }
}

impl EngineRead for RocksEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.db.get(family, key, &self.db.read)
    }

    fn iter(
        &self,
        family: Family,
        span: &KeyRange,
        options: IterOptions,
    ) -> Result<Box<dyn EngineIter + '_>, EngineError> {
        let options = span_options(span, options);
        let inner = self.db.db.raw_iterator_cf_opt(self.db.family(family), options);
        Ok(Box::new(RocksIter { inner, empty: span.is_empty() }))
    }

    fn first_with_prefix(
        &self,
        family: Family,
        from: &[u8],
        prefix_len: usize,
        visit: &mut dyn FnMut(&[u8], ValueRef<'_>),
    ) -> Result<bool, EngineError> {
        if family == Family::Data {
            return self.pool.first_with_prefix(&self.db, from, visit);
        }
        self.db.first_in_span(family, from, prefix_len, |options| options, visit)
    }
}

impl Engine for RocksEngine {
    fn snapshot(&self) -> Arc<dyn EngineRead> {
        Arc::new(RocksSnapshot::new(Arc::clone(&self.db)))
    }

    fn write(&self, batch: &WriteBatch) -> Result<(), EngineError> {
        let families = Family::ALL.map(|family| self.db.family(family));
        let room = batch.byte_size() + 4 * batch.len() + 12;
        let mut rocks = rocksdb::WriteBatch::with_capacity_bytes(room);
        for (position, op) in batch.iter().enumerate() {
            match op {
                Op::Put { family, key, value } => {
                    rocks.put_cf(families[family.index()], key, value);
                }
                Op::Delete { family, key } => rocks.delete_cf(families[family.index()], key),
                Op::DeleteRange { family, start, end } => {
                    let past_the_end;
                    let end = if end.is_empty() {
                        past_the_end = self.db.end_of(family, batch.iter().take(position))?;
                        &past_the_end[..]
                    } else {
                        end
                    };
                    if start < end {
                        rocks.delete_range_cf(families[family.index()], start, end);
                    }
                }
            }
        }
        self.db.db.write_opt(rocks, &self.db.write).map_err(engine_error)
    }

    fn flush(&self) -> Result<(), EngineError> {
        let families = Family::ALL.map(|family| self.db.family(family));
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db
            .db
            .flush_cfs_opt(&families.each_ref().map(|family| *family), &options)
            .map_err(engine_error)
    }

    fn get_durable(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.db.get(family, key, &self.db.read_durable)
    }

    fn bulk_writer(&self) -> Result<Box<dyn BulkWriter>, EngineError> {
        Ok(Box::new(RocksBulkWriter::new(Arc::clone(&self.db))?))
    }

    fn approximate_size(&self, family: Family, span: &KeyRange) -> Result<u64, EngineError> {
        if span.is_empty() {
            return Ok(0);
        }
        let end = if span.end.0.is_empty() { &END_OF_KEYS[..] } else { span.end.as_bytes() };
        let range = rocksdb::Range::new(span.start.as_bytes(), end);
        let sizes = self.db.db.get_approximate_sizes_cf(self.db.family(family), &[range]);
        Ok(sizes.into_iter().sum())
    }

    fn unflushed_bytes(&self) -> u64 {
        Family::ALL.iter().map(|family| self.db.unflushed(*family)).sum()
    }

    fn stats(&self) -> EngineStats {
        self.pool.clear();
        let db = &self.db;
        EngineStats {
            block_cache_bytes: db.cache.get_usage() as u64,
            write_buffer_bytes: self.unflushed_bytes(),
            table_reader_bytes: db.sum(properties::ESTIMATE_TABLE_READERS_MEM),
            disk_bytes: db.sum(properties::TOTAL_SST_FILES_SIZE),
            compaction_debt_bytes: db.sum(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
            background_jobs: db.property(Family::Data, properties::NUM_RUNNING_FLUSHES)
                + db.property(Family::Data, properties::NUM_RUNNING_COMPACTIONS),
        }
    }
}
