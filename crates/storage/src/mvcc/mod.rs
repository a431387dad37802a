//! Versions, replicated locks and transaction records of user keys, on an [`crate::Engine`].
//!
//! Everything here reads from an [`crate::EngineRead`] (the present or a snapshot) and writes into
//! a [`crate::WriteBatch`] that the caller proposes. Nothing here decides: who may commit when is
//! the business of `txn` and `range`.
//!
//! ```text
//!   family   key                                   value
//!   data     user key | commit ts, newest first    put(value) or delete, and the transaction
//!   lock     user key                              replicated lock
//!   txn      user key | txn id                    transaction record: committed(ts), rolled back
//! ```
//!
//! A user key is encoded the same way in all three ([`encoding`]), so a range is one contiguous
//! span of each: [`encoding::encoded_span`].
//!
//! # Invariants
//!
//! - **V1** Two versions of a key never share a timestamp.
//! - **V2** A key has at most one replicated lock.
//! - **V3** A transaction's record never changes from committed to rolled back or the reverse.
//! - **V4** Garbage collection up to a safe point changes no read at or above it.
//!
//! Scripts: `scripts/mvcc/`, one per behaviour. Property tests: `tests/mvcc.rs`.

pub mod encoding;
mod gc;
mod lock;
mod raw;
mod read;
mod record;
mod scan;
mod split;
mod version;

pub use gc::{GcPage, collect_records, gc};
pub use lock::{Lock, LockKind, delete_lock, get_lock, locks_in_span, put_lock};
pub use raw::{RawReader, apply_chunk, clear_spans, clear_versions, range_spans};
pub use read::{
    Newest, Version, changed_in_span, changed_key, deleted_key, get_at, is_empty, newest_ts,
    newest_version, version_by, writer_of,
};
pub use record::{TxnRecord, delete_record, get_record, put_record};
pub use scan::{Row, ScanOptions, ScanPage, scan_at};
pub use split::{SpanStats, span_stats, split_key, split_point};
pub use version::put_version;
