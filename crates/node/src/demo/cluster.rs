//! Nodes of one process, each on a runtime of its own so that one can be killed like a process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::Runtime;

use crate::config::{Membership, NodeConfig};
use crate::error::StartError;
use crate::process::{Addresses, Node, runtime};
use crate::transport::Dialer;

/// How long the cluster may take to come up or to settle.
const PATIENCE: Duration = Duration::from_secs(60);

struct DemoNode {
    runtime: Runtime,
    node: Node,
}

/// A cluster in this process.
pub(super) struct DemoCluster {
    nodes: Vec<Option<DemoNode>>,
    addresses: Vec<Addresses>,
    folder: tempfile::TempDir,
    client: Runtime,
    keep: bool,
}

impl DemoCluster {
    pub(super) fn start(count: u16, first_port: u16, keep: bool) -> Result<Self, StartError> {
        let folder = tempfile::Builder::new()
            .prefix("conclave-demo-")
            .tempdir()
            .map_err(|source| StartError::File { path: std::env::temp_dir(), source })?;
        let mut cluster = DemoCluster {
            nodes: Vec::new(),
            addresses: Vec::new(),
            folder,
            client: runtime("demo")?,
            keep,
        };
        let bar = ProgressBar::new(u64::from(count) + 2);
        let style = ProgressStyle::with_template("{bar:30} {msg}").expect("a valid template");
        bar.set_style(style);
        for n in 0..count {
            bar.set_message(format!("starting node {}", n + 1));
            cluster.add(n, first_port)?;
            bar.inc(1);
        }
        bar.set_message("initialising");
        cluster.client.block_on(crate::cluster::init(
            &Dialer::default(),
            &cluster.addresses[0].rpc.to_string(),
        ))?;
        for node in cluster.nodes.iter().flatten() {
            let ready = async { tokio::time::timeout(PATIENCE, node.node.ready()).await };
            node.runtime.block_on(ready).map_err(|_elapsed| {
                StartError::Cluster("the nodes did not become ready".to_owned())
            })?;
        }
        bar.inc(1);
        bar.set_message("replicating");
        cluster.settle()?;
        bar.finish_and_clear();
        Ok(cluster)
    }

    fn add(&mut self, n: u16, first_port: u16) -> Result<(), StartError> {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let config = NodeConfig {
            data: self.folder.path().join(format!("n{}", n + 1)),
            sql: local(if first_port == 0 { 0 } else { first_port + n }),
            rpc: local(0),
            rpc_advertised: None,
            clock_offset_file: None,
            http: local(0),
            certs_dir: None,
            membership: Membership::Join(self.addresses.iter().map(|a| a.rpc).collect()),
            cache_bytes: 64 << 20,
            sql_memory_bytes: 64 << 20,
            range_max_bytes: 128 << 20,
            txn_memory_bytes: 64 << 20,
            range_locks_max: 1_000_000,
            contention_events: 4096,
            max_connections: 100,
            rpc_delay: Duration::ZERO,
        };
        let runtime = runtime(&format!("node-{}", n + 1))?;
        let node = runtime.block_on(Node::start(config))?;
        self.addresses.push(node.addresses);
        self.nodes.push(Some(DemoNode { runtime, node }));
        Ok(())
    }

    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Waits until every range has as many replicas as there are nodes for, and a leader.
    pub(super) fn settle(&self) -> Result<(), StartError> {
        let wanted = self.nodes.len().min(3);
        let start = Instant::now();
        loop {
            let status = self.client.block_on(self.status())?;
            let whole = status.ranges.iter().all(|range| {
                let voters = range.descriptor.as_ref().map_or(0, |d| d.voters().count());
                range.leader != 0 && voters >= wanted
            });
            if whole && !status.ranges.is_empty() {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                let text = crate::status::to_text(&status);
                return Err(StartError::Cluster(format!("ranges are not replicated:\n{text}")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The place of the node that leads most ranges, its id, and how many it leads.
    pub(super) fn busiest(&self) -> Result<(usize, u64, u64), StartError> {
        let status = self.client.block_on(self.status())?;
        let busiest = status.nodes.into_iter().max_by_key(|node| node.leaders);
        let known = busiest.and_then(|found| {
            let (leaders, node) = (found.leaders, found.node?);
            let at = |a: &Addresses| a.rpc.to_string() == node.rpc_address;
            Some((self.addresses.iter().position(at)?, node.node_id, leaders))
        });
        known.ok_or_else(|| StartError::Cluster("no node of the demo leads a range".to_owned()))
    }

    async fn status(&self) -> Result<proto::node::StatusResponse, StartError> {
        crate::status::fetch(&Dialer::default(), &self.addresses[0].rpc.to_string()).await
    }

    #[expect(clippy::print_stdout, reason = "the demonstration speaks to a person")]
    pub(super) fn print_status(&self) -> Result<(), StartError> {
        println!("{}", crate::status::to_text(&self.client.block_on(self.status())?));
        Ok(())
    }

    fn options(&self, node: usize) -> shell::Options {
        shell::Options {
            url: format!("postgres://conclave@{}/conclave", self.addresses[node].sql),
            ..shell::Options::default()
        }
    }

    /// Runs statements over a node, quietly.
    pub(super) fn execute(&self, node: usize, sql: &str) -> Result<(), StartError> {
        let quiet = sql == super::SAMPLE;
        let options = shell::Options { execute: vec![sql.to_owned()], quiet, ..self.options(node) };
        self.run_shell(options, sql)
    }

    /// Shows a statement and what it answers.
    pub(super) fn show(&self, node: usize, sql: &str) -> Result<(), StartError> {
        super::say(&format!("\nnode {}=> {sql};", node + 1));
        self.execute(node, sql)
    }

    /// Opens a shell on the first node.
    pub(super) fn shell(&self) -> Result<(), StartError> {
        super::say(
            "A cluster of its own, until this shell ends. Connect with any PostgreSQL client:",
        );
        for address in &self.addresses {
            super::say(&format!("  psql postgres://conclave@{}/conclave", address.sql));
        }
        super::say("Tables: customers, orders. \\? lists the shell's commands, \\q leaves.\n");
        let outcome = self.client.block_on(shell::run(self.options(0)));
        outcome.map(drop).map_err(|error| StartError::Demo(error.to_string()))
    }

    fn run_shell(&self, options: shell::Options, what: &str) -> Result<(), StartError> {
        let outcome = self.client.block_on(shell::run(options));
        let code = outcome.map_err(|error| StartError::Demo(error.to_string()))?;
        super::succeeded(code, what)
    }

    /// Ends a node at once: nothing is flushed, nobody is told.
    pub(super) fn kill(&mut self, node: usize) {
        if let Some(DemoNode { runtime, node }) = self.nodes[node].take() {
            node.kill();
            runtime.shutdown_background();
        }
    }

    /// Ends the cluster.
    pub(super) fn end(mut self) {
        for n in 0..self.nodes.len() {
            self.kill(n);
        }
        if self.keep {
            let path: PathBuf = self.folder.keep();
            super::say(&format!("The data is in {}", path.display()));
        }
    }
}
