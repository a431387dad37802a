//! The options of both instances, and why they differ from RocksDB's own.

use rocksdb::{
    BlockBasedOptions, BlockBasedTablePinningTier, Cache, DBCompressionType, Options,
    SliceTransform, WriteBufferManager,
};
use storage::Family;
use storage::mvcc::encoding::TS_BYTES;

const BLOOM_BITS_PER_KEY: f64 = 10.0;
const BLOCK_BYTES: usize = 8 << 10;
const TARGET_FILE_BYTES: u64 = 32 << 20;
const LEVEL_BASE_BYTES: u64 = 256 << 20;
const INFO_LOG_BYTES: usize = 4 << 20;
const INFO_LOG_FILES: usize = 3;

/// How much of the machine the engine may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RocksConfig {
    /// Bytes of blocks, indexes and filters kept in memory, and of what is not flushed yet.
    pub cache_bytes: usize,
    /// How many of these bytes may be unflushed data, of all families together.
    pub write_buffer_bytes: usize,
    /// Threads for flushes and compactions.
    pub background_jobs: i32,
    /// Compress what is flushed.
    pub compress: bool,
}

impl Default for RocksConfig {
    fn default() -> Self {
        RocksConfig {
            cache_bytes: 256 << 20,
            write_buffer_bytes: 64 << 20,
            background_jobs: 2,
            compress: true,
        }
    }
}

/// How much of the machine the log store may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// Bytes of a log file, and of what is in memory before it is sorted to disk. Log files are
    /// recycled, so up to three times as much lies on disk.
    pub file_bytes: usize,
    /// Bytes of newest entries kept in memory for one range.
    pub tail_bytes_per_range: usize,
    /// The same for all ranges; beyond it, a range keeps only its last few entries.
    pub tail_bytes: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { file_bytes: 32 << 20, tail_bytes_per_range: 32 << 10, tail_bytes: 8 << 20 }
    }
}

/// Options of the engine as a whole.
pub(crate) fn engine_options(config: &RocksConfig, buffers: &WriteBufferManager) -> Options {
    let mut options = common_options(config.background_jobs);
    options.create_missing_column_families(true);
    // Without a log of its own, the families are consistent after a crash only if they are flushed
    // together: E1 of `storage::Engine`.
    options.set_atomic_flush(true);
    options.set_write_buffer_manager(buffers);
    options
}

/// Options of one family of the engine.
pub(crate) fn family_options(family: Family, config: &RocksConfig, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(BLOCK_BYTES);
    table.set_format_version(6);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    // A seek walks half an interval, entry by entry.
    table.set_block_restart_interval(4);
    // Indexes and filters count as cache, so that memory stays bounded, but are not looked up in
    // it.
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_top_level_index_pinning_tier(BlockBasedTablePinningTier::All);
    table.set_partition_pinning_tier(BlockBasedTablePinningTier::All);
    table.set_unpartitioned_pinning_tier(BlockBasedTablePinningTier::All);

    let mut options = Options::default();
    if family == Family::Data {
        // Reads ask for a user key and take whatever version comes first: filter by the user key.
        options.set_prefix_extractor(SliceTransform::create(
            "conclave.without-version",
            without_version,
            Some(has_version),
        ));
        options.set_memtable_prefix_bloom_ratio(0.05);
        table.set_whole_key_filtering(false);
    } else {
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(0.02);
    }
    options.set_block_based_table_factory(&table);
    // One family full means a flush of all. Early, so that the log can be truncated while its
    // entries are still in memory; the buffer manager bounds what piles up behind a slow flush.
    options.set_write_buffer_size(config.write_buffer_bytes / 4);
    options.set_max_write_buffer_number(4);
    options.set_target_file_size_base(TARGET_FILE_BYTES);
    options.set_max_bytes_for_level_base(LEVEL_BASE_BYTES);
    // The same on all levels: files that overlap no other, those of a bulk load, then move down a level
    // as they are instead of being merged and written again.
    let packed = if config.compress { DBCompressionType::Lz4 } else { DBCompressionType::None };
    options.set_compression_type(packed);
    options
}

/// Options of the log store.
pub(crate) fn log_options(config: &LogConfig, cache: &Cache) -> Options {
    let mut options = common_options(2);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(BLOCK_BYTES * 2);
    table.set_format_version(6);
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(config.file_bytes);
    options.set_max_write_buffer_number(3);
    // A recycled file has its blocks and its size already: fdatasync then writes data only, which
    // halves its cost. It needs the default recovery mode, point in time.
    options.set_recycle_log_file_num(2);
    options.set_wal_bytes_per_sync(0);
    options.set_target_file_size_base(TARGET_FILE_BYTES);
    options.set_max_bytes_for_level_base(LEVEL_BASE_BYTES);
    options.set_compression_type(DBCompressionType::None);
    options
}

fn common_options(background_jobs: i32) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_paranoid_checks(true);
    options.set_max_background_jobs(background_jobs.max(2));
    options.set_max_open_files(-1);
    options.set_max_file_opening_threads(2);
    options.set_use_fsync(false);
    options.set_bytes_per_sync(1 << 20);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options.set_keep_log_file_num(INFO_LOG_FILES);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    // One thread writes at a time: the store loop.
    options.set_allow_concurrent_memtable_write(false);
    options
}

fn has_version(key: &[u8]) -> bool {
    key.len() > TS_BYTES
}

fn without_version(key: &[u8]) -> &[u8] {
    &key[..key.len() - TS_BYTES]
}
