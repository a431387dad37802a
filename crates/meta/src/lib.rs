//! What the cluster knows about itself: where ranges are, which nodes there are, what time it is.
//!
//! ```text
//!   SystemState   the replicated state of range 1: commands in, results and a write batch out
//!     Directory     ranges by start key
//!     nodes, id counters, settings, the oracle's bound
//!   Oracle        issues timestamps below the bound, on the leader of range 1
//!   plan          what the leader of a range should do about its replicas
//! ```
//!
//! *Invariant:* no clock, no I/O, no randomness. Time and liveness are inputs.

mod directory;
mod oracle;
pub mod planner;
mod state;

pub use directory::Directory;
pub use oracle::Oracle;
pub use state::SystemState;
