//! `conclave tpcc`: TPC-C's five transactions, one after another on two servers, or of many terminals on one.
//!
//! ```text
//!   seed ─┬─▶ rows ──────── COPY ──────▶ both servers
//!         └─▶ inputs ─┬─ --transactions: one after another ─▶ reference ─┐ answers of each,
//!                     │                                    └▶ tested ────┴▶ every table at the end
//!                     └─ --terminals: at once, --seconds long ─▶ tested ──▶ tpmC, latencies, retries
//!   afterwards: the consistency conditions of clause 3.3.2, on every server
//! ```
//!
//! Tables, rows, inputs and transactions are those of TPC-C 5.11 (clauses 1.3, 2.4 to 2.8, 4.3). Left out is
//! what makes a result of the benchmark: keying and thinking times, deliveries through a queue, and the
//! number of terminals per warehouse. Tables may be made smaller than the specification's for tests.
//!
//! # Invariants
//!
//! - **T1** A seed makes the same rows and inputs for ever: golden files depend on it.
//! - **T2** Moments are inputs too, so that two servers are told the same.

mod conditions;
mod decimal;
mod delivery;
mod input;
mod load;
mod order;
mod payment;
mod random;
mod run;
mod schema;
mod sequence;
mod terminal;

use std::path::PathBuf;

use clap::Args;

pub use run::{Report, run, tpcc};

/// Flags of `conclave tpcc`.
#[derive(Debug, Clone, Args)]
pub struct TpccArgs {
    /// The server that is tested, whose database `tpcc` is made anew. Given several times, the terminals go
    /// to the nodes in turn.
    #[arg(long, env = "CONCLAVE_URL", value_name = "URL")]
    #[arg(default_value = "postgres://conclave@127.0.0.1:15432/conclave")]
    pub url: Vec<String>,
    /// A server that is right, usually PostgreSQL.
    #[arg(long, value_name = "URL", conflicts_with = "terminals")]
    pub against: Option<String>,
    /// Folder of certificates, for a secure cluster.
    #[arg(long, env = "CONCLAVE_CERTS_DIR", value_name = "DIR")]
    pub certs_dir: Option<PathBuf>,
    /// Warehouses.
    #[arg(long, default_value_t = 1)]
    pub warehouses: i32,
    /// Items, which each warehouse has in stock.
    #[arg(long, default_value_t = 100_000)]
    pub items: i32,
    /// Customers of a district, and orders that it begins with.
    #[arg(long, default_value_t = 3_000)]
    pub customers: i32,
    /// Decides rows and inputs.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Transactions, one after another.
    #[arg(long, default_value_t = 2_000)]
    pub transactions: u64,
    /// Terminals at once, instead of one transaction after another.
    #[arg(long, requires = "seconds")]
    pub terminals: Option<u64>,
    /// How long terminals go on.
    #[arg(long, requires = "terminals")]
    pub seconds: Option<u64>,
    /// Seconds that a statement may take.
    #[arg(long, default_value_t = 600)]
    pub patience: u64,
    /// File of right answers, as `--keep` leaves it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["against", "terminals"])]
    pub expected: Option<PathBuf>,
    /// File for the answers.
    #[arg(long, value_name = "FILE", conflicts_with = "terminals")]
    pub keep: Option<PathBuf>,
}
