//! RocksDB keeps the promises of the traits: in an orderly life, when the process is killed, and
//! when the disk lies. One binary, because each would link all of RocksDB.

mod conformance;
mod corruption;
mod crash;
mod speed;
mod threads;
mod torn;

use std::path::Path;

use rocks::{LogConfig, RocksConfig, RocksEngine, RocksLogStore};

/// Small enough for the engine to flush and compact within a test.
fn open_engine(path: &Path) -> RocksEngine {
    let config =
        RocksConfig { cache_bytes: 4 << 20, write_buffer_bytes: 1 << 20, ..RocksConfig::default() };
    RocksEngine::open(path, config).expect("open the engine")
}

/// Small enough for log files to be recycled and tails to be dropped within a test.
fn open_log(path: &Path) -> RocksLogStore {
    let config =
        LogConfig { file_bytes: 1 << 20, tail_bytes_per_range: 200_000, tail_bytes: 1 << 20 };
    RocksLogStore::open(path, config).expect("open the log store")
}
