//! One Raft group as a state machine, and the liveness of nodes on which its leases rest.
//!
//! The only crate that names raft-rs. Nothing here has a clock, a task, a disk or a random number:
//! messages and the time go in, messages and log changes come out.
//!
//! ```text
//!   propose, step, tick ──▶ Group ──▶ ready(): messages to send at once, entries for the log,
//!                             │                entries committed
//!                             │       persisted(): messages that had to wait for the log
//!   Liveness (one per node) ──┴────▶ lease_until(): how long this leader may answer reads alone
//! ```
//!
//! * [`liveness`]: promises between *nodes*, so that quiet groups cost nothing, and the proof that
//!   two leases of one group never overlap.
//! * [`Group`]: raft-rs with pre-vote, check-quorum, learners and joint changes; the leader sends
//!   before its own log is durable.
//!
//! Tests: `tests/lease.rs` (random faults against real groups), `tests/group.rs`.

mod convert;
mod group;
pub mod liveness;
mod log_view;
mod members;
mod message;

pub use group::{
    Committed, Group, GroupConfig, Payload, PeerStatus, ProposeError, Ready, Role, SnapshotPoint,
    Status,
};
pub use liveness::{Epoch, Liveness, LivenessConfig};
pub use members::{MemberChange, Members};
pub use message::{Outbound, answer_for_missing, asks_vote, is_snapshot};
