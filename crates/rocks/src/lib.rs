//! [`storage::Engine`] and [`storage::LogStore`] on RocksDB.
//!
//! Two instances in two directories, because they need opposite things: the engine writes without a
//! log of its own and flushes all families together; the log store is little but a log, synced on
//! every append, with files that are recycled so that a sync moves no metadata.
//!
//! ```text
//!   engine   data, lock, txn, local   memtables -> sorted files; no write-ahead log, atomic flush
//!   log      one family               write-ahead log, fdatasync per append; tails kept in memory
//! ```
//!
//! *Invariant:* nothing in here decides what a key or an entry means, but for one thing: the last
//! eight bytes of a key in [`storage::Family::Data`] are its version, so the rest can be filtered
//! by.

mod bulk;
mod config;
mod engine;
mod error;
mod iter;
mod log;
mod log_tail;
mod snapshot;

pub use config::{LogConfig, RocksConfig};
pub use engine::RocksEngine;
pub use log::RocksLogStore;
