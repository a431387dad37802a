//! Does a running cluster keep its promises? Clients that know it by its ports alone, faults, a verdict.
//!
//! ```text
//!   conclave check ─┬─ cluster     nodes at --url, or processes of our own (--start), behind proxies
//!                   ├─ workloads   clients on all nodes; each transaction recorded as it went
//!                   ├─ faults      kill, pause, partition, clock: one node at a time, healed again
//!                   └─ verdict     checker over the recorded histories; timeline; exit code
//! ```
//!
//! `conclave test` runs sqllogictest files (`suite`). `conclave fuzz`, `tpch` and `tpcc` compare two
//! servers, by random statements and by those of two benchmarks. The package's other half,
//! `conclave-bench`, measures instead of checking; see `bench/main.rs`.
//!
//! # Invariants
//!
//! - **W1** A transaction counts as failed only if the server said so with a code that means it, or COMMIT
//!   was never sent. Whatever else goes wrong at COMMIT leaves its outcome unknown.
//! - **W2** An instant is taken before the first byte is sent and after the answer has arrived.
//! - **W3** At most one node is out of order at a time, so that a majority is always there.

mod args;
mod cluster;
mod compare;
mod connect;
mod error;
mod faults;
pub mod fuzz;
mod processes;
mod proxy;
mod recorder;
mod report;
mod run;
mod server;
mod session;
pub mod suite;
mod timeline;
pub mod tpcc;
pub mod tpch;
mod workloads;

pub use args::{CheckArgs, Strength};
pub use connect::Connector;
pub use error::CheckError;
pub use faults::FaultKind;
pub use run::{Checked, Outlook, check, run};
pub use workloads::Workload;
