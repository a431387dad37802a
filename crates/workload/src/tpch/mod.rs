//! `conclave tpch`: the 22 queries of TPC-H to one server or two. Are the answers the same, and how long?
//!
//! ```text
//!   tables ── rows of tpchgen ── COPY ─▶ both servers ── foreign keys, ANALYZE
//!   queries ── 01.sql … 22.sql ───────▶ reference ─▶ Answer ─┐
//!                     └───────────────▶ tested ────▶ Answer ─┴▶ compare ─▶ a line per query
//!                                       answers in a folder ──┘  (--expected)
//! ```
//!
//! The queries have the parameters of the specification's validation runs (TPC-H 3.0.1, clause 2.4). Nothing
//! here is a result of the benchmark: there is no refresh, no power and no throughput run.

mod answers;
mod queries;
mod run;
mod tables;

use std::path::PathBuf;

use clap::Args;

pub use run::{Asked, Verdict, ask_all, tpch};

/// Flags of `conclave tpch`.
#[derive(Debug, Clone, Args)]
pub struct TpchArgs {
    /// The server that is tested. Its database `tpch` is made anew.
    #[arg(long, env = "CONCLAVE_URL", value_name = "URL")]
    #[arg(default_value = "postgres://conclave@127.0.0.1:15432/conclave")]
    pub url: String,
    /// A server that is right, usually PostgreSQL.
    #[arg(long, value_name = "URL")]
    pub against: Option<String>,
    /// Folder of certificates, for a secure cluster.
    #[arg(long, env = "CONCLAVE_CERTS_DIR", value_name = "DIR")]
    pub certs_dir: Option<PathBuf>,
    /// How much data: 1 is about a gigabyte.
    #[arg(long, default_value_t = 0.1)]
    pub scale: f64,
    /// Numbers of queries; all of them if there are none.
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    pub queries: Vec<u8>,
    /// The database is there already, from an earlier run at the same scale.
    #[arg(long)]
    pub loaded: bool,
    /// Seconds that a query may take.
    #[arg(long, default_value_t = 600)]
    pub patience: u64,
    /// Folder of right answers, as `--keep` leaves them.
    #[arg(long, value_name = "DIR")]
    pub expected: Option<PathBuf>,
    /// Folder for the tested server's answers, a file for each query.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}
