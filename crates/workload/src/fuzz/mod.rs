//! `conclave fuzz`: the same statements to two servers, from one seed. Do they say the same?
//!
//! ```text
//!   seed ─▶ schema ──────────▶ setup on both
//!             └▶ statement ──▶ reference ─▶ Answer ─┐
//!                        └───▶ tested ────▶ Answer ─┴▶ compare ─▶ known? ─▶ shrink ─▶ told
//! ```
//!
//! A round is a schema of its own with some hundred statements; `--seed` and the round's number make it
//! again. Statements that write run in a transaction, with a look at all tables behind them; some are kept.
//! A finding is made smaller in transactions that are rolled back, so that it shows on the same rows.
//!
//! # Invariants
//!
//! - **Z1** A statement has one answer, whatever plan is chosen: LIMIT, DISTINCT ON and window functions
//!   order by all columns, sums are exact, a row is written once.
//! - **Z2** Nothing is kept of a statement that is no finding.
//! - **Z3** What is meant to differ is in `known`, with its reason, and is counted.

mod aggregate;
mod dml;
mod expr;
mod from;
mod known;
mod query;
mod run;
mod schema;
mod scope;
mod shrink;
mod tree;
mod types;

use std::path::PathBuf;

use clap::Args;

pub use run::fuzz;

/// Flags of `conclave fuzz`.
#[derive(Debug, Clone, Args)]
pub struct FuzzArgs {
    /// The server that is tested.
    #[arg(long, env = "CONCLAVE_URL", value_name = "URL")]
    #[arg(default_value = "postgres://conclave@127.0.0.1:15432/conclave")]
    pub url: String,
    /// The server that is right, usually PostgreSQL.
    #[arg(long, value_name = "URL")]
    pub against: String,
    /// Folder of certificates, for a secure cluster.
    #[arg(long, env = "CONCLAVE_CERTS_DIR", value_name = "DIR")]
    pub certs_dir: Option<PathBuf>,
    /// Decides every statement.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Round to begin with.
    #[arg(long, default_value_t = 0)]
    pub round: u64,
    /// How long to go on.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Statements of a round.
    #[arg(long, default_value_t = 300)]
    pub statements: usize,
    /// Findings after which it ends.
    #[arg(long, default_value_t = 20)]
    pub findings: usize,
    /// Seconds that a statement may take; longer ones are findings.
    #[arg(long, default_value_t = 10)]
    pub patience: u64,
}
