//! The client of ranges: transactions over a key space that is cut into ranges somewhere.
//!
//! ```text
//!   Db ── begin ──▶ Txn            what SQL uses: get, scan, lock, put, commit
//!                    │
//!     txn::coordinator             which message next (crate txn: pure)
//!                    │
//!   scatter          │             cuts an operation at the borders of ranges
//!   router           │             finds the leader, repairs the directory, has patience
//!   oracle           │             one call in flight, shared by all that wait
//!                    ▼
//!   Transport                      a function call to a local leader, gRPC to others
//! ```
//!
//! The protocol is `docs/transactions.md`; what is decided when is in crate `txn`. This crate does
//! the waiting, and *nothing here is an authority*: every cached range, leader and id can be wrong,
//! and the ranges say so.
//!
//! [`testing::FakeCluster`] is a whole cluster in memory, for tests of what lies above.

mod activity;
mod advisory;
mod buffer;
mod config;
mod db;
mod deadlock;
mod directory;
mod error;
mod fragment;
mod inspect;
mod load;
pub mod memory;
mod metrics;
mod nearest;
mod oracle;
mod registry;
mod router;
mod runtime;
mod scatter;
mod settle;
mod snapshots;
mod stats;
pub mod testing;
mod transport;
mod txn;
mod xact;

pub use ::txn::coordinator::Outcome;
pub use ::txn::settle::Verdict as Settled;
pub use activity::{Activity, Client};
pub use advisory::{AdvisoryKey, AdvisoryLocks, Scope};
pub use buffer::Savepoint;
pub use config::Config;
pub use db::Db;
pub use error::{KvError, Remedy, SerializationCause, WaitEdge};
pub use fragment::{Fragment, FragmentEvaluator, FragmentRun, Reduced, Unreduced};
pub use memory::{MemoryBudget, Reservation};
pub use metrics::{Counter, Metrics};
pub use proto::kv::inspect::What as Inspection;
pub use proto::kv::{Isolation, Strength, WaitPolicy};
pub use proto::meta::allocate_ids::Kind as IdKind;
pub use runtime::{Runtime, TokioRuntime};
pub use settle::ForeignLock;
pub use stats::{Cost, Stats, Trips};
pub use transport::{Transport, TransportError};
pub use txn::{
    CommitForecast, CommitWay, Footprint, Judge, Locked, Part, ScanOptions, ScanPage, SpanLock,
    Txn, TxnOptions,
};
pub use xact::XactStatus;
