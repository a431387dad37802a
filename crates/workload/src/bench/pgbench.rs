//! pgbench: loading its tables and running its scripts.

use std::fmt;
use std::io::Write;
use std::process::Command;
use std::time::Instant;

use clap::ValueEnum;

use crate::error::BenchError;
use crate::process;
use crate::server::Address;

/// What clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// One row by primary key, prepared.
    Select,
    /// The TPC-B-like transaction, prepared.
    Tpcb,
    /// One row inserted, durable, prepared.
    Insert,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Workload::Select => "select",
            Workload::Tpcb => "tpcb",
            Workload::Insert => "insert",
        })
    }
}

/// One run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) workload: Workload,
    pub(crate) clients: u32,
    pub(crate) seconds: u32,
    pub(crate) scale: u32,
}

/// What a run came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// Transactions (rows, for the load) per second.
    pub(crate) per_second: f64,
    /// Average latency in milliseconds.
    pub(crate) latency_ms: f64,
    /// Transactions that failed for good.
    pub(crate) failed: u64,
}

const INSERT: &str = "\\set aid random(1, 100000 * :scale)
\\set bid random(1, 1 * :scale)
\\set tid random(1, 10 * :scale)
\\set delta random(-5000, 5000)
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) \
VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
";

/// `pgbench -i`: how fast accounts are loaded, primary keys included.
pub(crate) fn load(address: &Address, scale: u32) -> Result<Outcome, BenchError> {
    let start = Instant::now();
    process::output(command(address).args(["-i", "-q", "-s", &scale.to_string()]))?;
    let seconds = start.elapsed().as_secs_f64();
    let per_second = f64::from(scale) * 100_000.0 / seconds;
    Ok(Outcome { per_second, latency_ms: seconds * 1000.0, failed: 0 })
}

/// Runs one workload.
pub(crate) fn run(address: &Address, run: &Run) -> Result<Outcome, BenchError> {
    let mut script = tempfile::NamedTempFile::new()
        .map_err(|source| BenchError::File { path: std::env::temp_dir(), source })?;
    let mut command = command(address);
    command.args(["-n", "-M", "prepared", "-s", &run.scale.to_string()]);
    command.args(["-c", &run.clients.to_string(), "-j", &run.clients.min(2).to_string()]);
    command.args(["-T", &run.seconds.to_string()]);
    match run.workload {
        Workload::Select => command.args(["-b", "select-only"]),
        Workload::Tpcb => command.args(["-b", "tpcb-like"]),
        Workload::Insert => {
            script
                .write_all(INSERT.as_bytes())
                .map_err(|source| BenchError::File { path: script.path().to_owned(), source })?;
            command.arg("-f").arg(script.path())
        }
    };
    Ok(parse(&process::output(&mut command)?))
}

fn command(address: &Address) -> Command {
    let mut command = Command::new("pgbench");
    command.args(["-h", "127.0.0.1", "-p", &address.port.to_string(), "-U", address.user]);
    command.env("PGDATABASE", address.database);
    command
}

fn parse(output: &str) -> Outcome {
    let number = |prefix: &str| {
        let line = output.lines().find_map(|line| line.strip_prefix(prefix))?;
        line.split_whitespace().find_map(|word| word.parse::<f64>().ok())
    };
    Outcome {
        per_second: number("tps =").unwrap_or(0.0),
        latency_ms: number("latency average =").unwrap_or(0.0),
        failed: number("number of failed transactions:").map_or(0, |n| n as u64),
    }
}
