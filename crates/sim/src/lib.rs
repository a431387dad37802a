//! A whole Conclave cluster inside of a deterministic simulation: what no test of a part can show.
//!
//! The real code of `storage`, `txn`, `consensus`, `meta`, `range` and `kv` runs on a simulated clock,
//! network and disk, from one seed. [`World`] is the cluster; what drives replicas in it mirrors
//! `node::store`, step by step.
//!
//! *Invariant:* same seed, same run, byte for byte.
//!
//! `SIM_SEED=n` runs one seed, `SIM_SEEDS=n` so many of them from there on, `SIM_LOG=1` tells what
//! happens. See docs/testing.md.

mod fault;
pub mod nemesis;
mod rng;
mod run;
mod seeds;
mod settings;
mod tally;
mod trace;
pub mod workload;
mod world;

pub use fault::{Moment, Step, Trap};
pub use nemesis::{Fault, Nemesis, Struck};
pub use rng::Rng;
pub use run::{Run, Verdict};
pub use seeds::{for_each, seeds, survey};
pub use settings::{Duties, Network, Retention, Settings};
pub use tally::{Deeds, Tally};
pub use world::{Client, Lost, Micros, Owner, World};
