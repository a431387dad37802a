//! `conclave-bench`: pgbench against PostgreSQL, one node of ours and three, side by side.
//!
//! Absolute figures mean little away from the machine they were measured on, so every figure is
//! also a ratio against a PostgreSQL that runs in the same minutes: a single one for reads and for
//! our single node, one with two quorum standbys (a commit is durable on two of three copies) for
//! our three nodes. Only one server runs at a time.
//!
//! ```text
//!   for each server: start, load (timed), for each workload and number of clients: pgbench
//!   then: one table, one chart (SVG), one CSV
//! ```

mod chart;
mod error;
mod pgbench;
mod postgres;
mod process;
mod report;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use crate::error::BenchError;
use crate::pgbench::{Run, Workload};
use crate::server::Kind;

/// Runs pgbench against PostgreSQL and Conclave and prints one table with ratios.
#[derive(Debug, Parser)]
struct Args {
    /// Seconds of each run.
    #[arg(long, env = "CONCLAVE_BENCH_SECONDS", default_value_t = 10)]
    seconds: u32,
    /// pgbench's scale: 100,000 accounts each.
    #[arg(long, env = "CONCLAVE_BENCH_SCALE", default_value_t = 10)]
    scale: u32,
    /// Numbers of clients.
    #[arg(long, env = "CONCLAVE_BENCH_CLIENTS", value_delimiter = ',', default_value = "1,8,32")]
    clients: Vec<u32>,
    /// Servers to measure.
    #[arg(
        long,
        env = "CONCLAVE_BENCH_SERVERS",
        value_enum,
        value_delimiter = ',',
        default_value = "postgres,conclave1,postgres3,conclave3"
    )]
    servers: Vec<Kind>,
    /// Workloads to run.
    #[arg(
        long,
        env = "CONCLAVE_BENCH_WORKLOADS",
        value_enum,
        value_delimiter = ',',
        default_value = "select,tpcb,insert"
    )]
    workloads: Vec<Workload>,
    /// The conclave binary; by default the one beside this one.
    #[arg(long, env = "CONCLAVE_BINARY")]
    binary: Option<PathBuf>,
    /// Folder of the results.
    #[arg(long, default_value = "bench-results")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match bench(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> Result<(), BenchError> {
    let binary = match &args.binary {
        Some(path) => path.clone(),
        None => process::beside_us("conclave")?,
    };
    let bar = progress(args);
    let mut results = Vec::new();
    for &kind in &args.servers {
        bar.set_message(format!("{kind}: starting"));
        let Some(server) = server::start(kind, &binary)? else {
            bar.println(format!("{kind}: PostgreSQL's server is not installed, left out"));
            bar.inc(steps_per_server(args));
            continue;
        };
        bar.set_message(format!("{kind}: loading"));
        let load = pgbench::load(server.address(), args.scale)?;
        results.push(report::Measured { server: kind, run: None, outcome: load });
        bar.inc(1);
        for &workload in &args.workloads {
            for &clients in &args.clients {
                let run = Run { workload, clients, seconds: args.seconds, scale: args.scale };
                bar.set_message(format!("{kind}: {workload}, {clients} clients"));
                let outcome = pgbench::run(server.address(), &run)?;
                results.push(report::Measured { server: kind, run: Some(run), outcome });
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    report::print(&results);
    report::write_csv(&results, &args.out)?;
    chart::write(&results, &args.out)
}

fn steps_per_server(args: &Args) -> u64 {
    1 + (args.workloads.len() * args.clients.len()) as u64
}

fn progress(args: &Args) -> ProgressBar {
    let bar = ProgressBar::new(args.servers.len() as u64 * steps_per_server(args));
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg}")
        .expect("a valid template");
    bar.set_style(style);
    bar.enable_steady_tick(std::time::Duration::from_millis(500));
    bar
}
