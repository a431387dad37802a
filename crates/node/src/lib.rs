//! The process: what carries out the effects of the state machines below, and the command line.
//!
//! ```text
//!   cli ─▶ process::Node ─┬─ transport   frames between nodes (gRPC)
//!                         ├─ store       replicas, their loop, their effects
//!                         ├─ kv::Db      coordinators of this node
//!                         ├─ gateway     PostgreSQL clients
//!                         └─ http        health, metrics
//! ```
//!
//! *Invariant:* nothing here decides about concurrency; it moves inputs and effects between the
//! state machines of `range`, `consensus`, `meta` and the world.

mod certificates;
mod cli;
mod cluster;
pub mod config;
mod demo;
pub mod error;
mod http;
mod identity;
mod machine;
mod member;
pub mod metrics;
pub mod process;
mod status;
mod store;
mod tls;
mod transport;

/// Runs the command line.
#[must_use]
pub fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("CONCLAVE_LOG")
                // The notices that servers send to the tools are not for the log.
                .unwrap_or_else(|_unset| "info,tokio_postgres=warn".into()),
        )
        .with_target(true)
        .init();
    cli::run()
}
