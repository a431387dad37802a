//! What the cluster knows about itself: which range holds a key, which nodes there are, what time
//! it is.
//!
//! ```text
//!   SystemState   the replicated state of the system range: directory, nodes, settings, ids,
//!                 the oracle's bound. Commands in, results and a write batch out
//!   Oracle        issues timestamps under the bound; lives on the system range's leader
//!   Directory     ranges by start key; a later generation wins. Also the cache of a gateway
//!   planner       where replicas and leaders should be: a pure function
//!   Demand        whether a range's leader should be with the gateway that asks most
//! ```
//!
//! *Invariant:* knows neither Raft nor transactions. Who may issue timestamps or serve queries (the
//! leaseholder) is decided in `range`.
//!
//! Tests: `tests/meta.rs`.

pub mod demand;
mod directory;
mod oracle;
pub mod planner;
mod state;

pub use demand::{Demand, Wish};
pub use directory::{Directory, Displaced};
pub use oracle::{Draw, Oracle};
pub use state::{FIRST_TABLE_ID, SystemState, state_prefix};
