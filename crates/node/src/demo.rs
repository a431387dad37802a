//! `conclave demo`: a whole cluster in one process, on a temporary folder.
//!
//! With a terminal it opens a shell on a small sample database. Without one it runs a script that
//! shows a cluster, a table over several ranges, a join over them, a node killed, and the data
//! still there; any step that fails makes the command fail.

mod cluster;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Args;

use crate::error::StartError;
use cluster::DemoCluster;

/// Flags of `conclave demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Nodes of the cluster.
    #[arg(long, env = "CONCLAVE_DEMO_NODES", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// SQL port of the first node; the others follow. 0: any free ports.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    sql: u16,
    /// Run these statements instead of the demonstration, and end.
    #[arg(long, value_name = "SQL;…")]
    run: Option<String>,
    /// Check the cluster's promises instead: clients of several kinds on a cluster of processes, then a
    /// verdict.
    #[arg(long, conflicts_with_all = ["run", "sql"])]
    check: bool,
    /// What goes wrong during --check.
    #[arg(long, value_enum, value_delimiter = ',', requires = "check")]
    chaos: Vec<workload::FaultKind>,
    /// How long --check lasts.
    #[arg(long, default_value_t = 60, requires = "check")]
    seconds: u64,
    /// Keep the data folder.
    #[arg(long)]
    keep: bool,
}

const SAMPLE: &str = include_str!("demo/sample.sql");

/// What the script runs before a node is killed.
const BEFORE: [&str; 4] = [
    "SELECT count(*) AS customers FROM customers",
    "ALTER TABLE orders SPLIT AT VALUES (250), (500), (750)",
    "SELECT c.country, count(*) AS orders, sum(o.amount) AS total FROM customers c \
     JOIN orders o ON o.customer_id = c.id GROUP BY c.country ORDER BY total DESC",
    "UPDATE orders SET amount = amount + 1 WHERE id IN (1, 300, 600, 900)",
];
/// What it runs afterwards, over another node.
const AFTER: [&str; 3] = [
    "SELECT count(*) AS orders, sum(amount) AS total FROM orders",
    "INSERT INTO orders VALUES (1001, 1, 99.50, 'placed after the kill')",
    "SELECT id, amount, note FROM orders WHERE id IN (1, 1001) ORDER BY id",
];

pub(crate) fn run(args: DemoArgs) -> Result<(), StartError> {
    if args.check {
        return check_promises(&args);
    }
    let interactive = std::io::stdin().is_terminal() && args.run.is_none();
    let mut cluster = DemoCluster::start(args.nodes, args.sql, args.keep)?;
    let outcome = if let Some(statements) = &args.run {
        cluster.execute(0, statements)
    } else if interactive {
        cluster.execute(0, SAMPLE).and_then(|()| cluster.shell())
    } else {
        demonstrate(&mut cluster)
    };
    cluster.end();
    outcome
}

/// `conclave check --start`, with what shows most.
fn check_promises(args: &DemoArgs) -> Result<(), StartError> {
    use workload::Workload;
    let check = workload::CheckArgs {
        workload: vec![Workload::Append, Workload::Bank, Workload::Skew, Workload::Set],
        start: Some(args.nodes),
        seconds: args.seconds,
        clients: 5,
        faults: args.chaos.clone(),
        keep: args.keep,
        ..workload::CheckArgs::default()
    };
    if workload::check(&check)? { Ok(()) } else { Err(StartError::Anomalies) }
}

fn demonstrate(cluster: &mut DemoCluster) -> Result<(), StartError> {
    say("A cluster of its own, every range on three nodes:");
    cluster.print_status()?;
    say("\nA sample database, written over node 1:");
    cluster.execute(0, SAMPLE)?;
    for sql in BEFORE {
        cluster.show(0, sql)?;
    }
    cluster.settle()?;
    cluster.print_status()?;
    let mut reader = 0;
    if cluster.nodes() > 2 {
        let (victim, id, leads) = cluster.busiest()?;
        say(&format!(
            "\nNode {id}, which leads {leads} ranges, is killed: no goodbye, nothing flushed."
        ));
        cluster.kill(victim);
        reader = (victim + 1) % cluster.nodes();
        say("Another one goes on:");
    }
    for sql in AFTER {
        cluster.show(reader, sql)?;
    }
    say("\nEverything acknowledged is there. `conclave start --help` runs a cluster to keep.");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the demonstration speaks to a person")]
fn say(text: &str) {
    println!("{text}");
}

/// What a shell's end means for the demo.
fn succeeded(code: ExitCode, what: &str) -> Result<(), StartError> {
    if code == ExitCode::SUCCESS {
        return Ok(());
    }
    Err(StartError::Demo(what.lines().next().unwrap_or_default().to_owned()))
}
