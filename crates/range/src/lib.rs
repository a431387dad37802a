//! One replica of a range: what it holds, who leads it, and what happens to requests sent to it.
//!
//! Pure: requests, messages and the time go in, [`Effect`]s come out, in the order in which they
//! must happen. The driver (`node::store`) owns the threads, the sockets and the disks.
//!
//! ```text
//!   request ──▶ Replica ──▶ eval::Evaluator ──▶ answer at once (reads, under the lease)
//!                  ▲              │
//!                  │           proposals
//!                  │              ▼                     messages at once ──▶ other replicas
//!                  └── apply ◀── consensus::Group ──┤
//!                        │                              log entries ──▶ one synced append for all
//!                        ▼                                              ranges ──▶ persisted()
//!                  one write batch: data, descriptor, applied index
//! ```
//!
//! One file per operation, each *propose, apply, after*: `op/split.rs`, `op/membership.rs`,
//! `op/system.rs` (system range and oracle), `op/truncate.rs`, `op/remove.rs`, `op/publish.rs`,
//! `op/closed.rs` (reads by followers), `snapshot.rs`. What a transactional request does is in [`eval`].
//!
//! *Invariant:* no clock, no task, no thread, no random number. The clock is a callback because a
//! read must look at it *after* reading: a paused process must not answer from a lease it lost.
//!
//! Tests: `tests/` drives clusters of real replicas over in-memory engines and logs, with crashes,
//! partitions and pauses.

pub mod closed;
mod effect;
pub mod eval;
mod op;
mod replica;
mod route;
mod snapshot;
mod state;

pub use effect::{Ctx, Effect, NewRange};
pub use eval::Token;
pub use replica::{Config, Open, Replica, ReplicaView};
pub use snapshot::SnapshotSource;
pub use state::{INIT_AT, Tombstone, tombstone};
