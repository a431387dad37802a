//! What the data of one replica is: an ordered store with four families, multi-version reads and
//! writes on top of it, and the log that Raft keeps beside it.
//!
//! ```text
//!   mvcc         versions, replicated locks, transaction records: functions over an engine
//!   Engine       ordered bytes in families; writes are atomic, durable only after a flush
//!   LogStore     Raft entries and hard states of all groups of a node; appends are synced
//!   Mem...       both in memory, able to lose what was not flushed or synced
//!   conformance  what every engine and log store must do, as callable tests
//! ```
//!
//! *Invariant:* no clock, no thread, no task and no random number in here, and nothing that knows
//! what Raft or a transaction coordinator does.

mod batch;
pub mod conformance;
mod engine;
mod error;
mod local;
mod log;
mod mem_engine;
mod mem_iter;
mod mem_log;
mod mem_power;
pub mod mvcc;
mod varint;

pub use batch::{BatchIter, Op, WriteBatch};
pub use engine::{
    BulkWriter, Engine, EngineIter, EngineRead, EngineStats, Family, IterOptions, ValueRef,
};
pub use error::{EngineError, Remedy};
pub use local::{local_key, local_range_of, local_ranges_span, local_span, node_key};
pub use log::{HardState, LogBatch, LogEntry, LogOp, LogPosition, LogState, LogStore};
pub use mem_engine::MemEngine;
pub use mem_log::MemLogStore;
pub use mem_power::MemPower;
