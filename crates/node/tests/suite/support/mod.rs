//! Clusters of real `conclave` processes on loopback, for tests that kill them.
//!
//! Nodes listen on ports that were free a moment ago and keep them over restarts. Everything a test
//! waits for has a deadline and is asked for again and again; nothing sleeps for luck.

#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod secure;
pub(crate) mod slt;

use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A node's ports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub sql: u16,
    pub rpc: u16,
    pub http: u16,
}

/// One node: a process, when it runs.
pub(crate) struct Node {
    pub ports: Ports,
    data: PathBuf,
    join: Option<String>,
    flags: Vec<String>,
    /// Of a secure node.
    certs: Option<String>,
    child: Option<Child>,
}

/// Nodes and their folder. Dropped: all are killed.
pub(crate) struct Cluster {
    pub nodes: Vec<Node>,
    folder: TempDir,
}

fn free_ports(count: usize) -> Vec<u16> {
    // A port is free between this look and the node's: so each test process takes them from a stretch of
    // its own, below those that the system gives out by itself.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = 10_000 + std::process::id() % 1_300 * 17;
    let mut ports = Vec::with_capacity(count);
    while ports.len() < count {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from((first + nth - 10_000) % 22_000 + 10_000).expect("below 32,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.push(port);
        }
    }
    ports
}

impl Node {
    /// Starts the process and returns when it has announced that it serves (or, not yet
    /// initialised, when its RPC port answers).
    pub(crate) fn spawn(&mut self) {
        assert!(self.child.is_none(), "the node runs already");
        let mut command = Command::new(env!("CARGO_BIN_EXE_conclave"));
        command.arg(if self.join.is_some() { "start" } else { "start-single" });
        match &self.certs {
            Some(certs) => command.args(["--certs-dir", certs]),
            None => command.arg("--insecure"),
        };
        command.arg("--data").arg(&self.data);
        for (flag, port) in
            [("--sql", self.ports.sql), ("--rpc", self.ports.rpc), ("--http", self.ports.http)]
        {
            command.args([flag, &format!("127.0.0.1:{port}")]);
        }
        if let Some(join) = &self.join {
            command.args(["--join", join]);
        }
        command.args(&self.flags);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.data.with_extension("log"))
            .expect("a log file");
        command.stderr(log);
        self.child = Some(command.spawn().expect("conclave starts"));
    }

    /// Waits for the line `ready …`, which it returns.
    pub(crate) fn wait_ready(&mut self) -> String {
        let child = self.child.as_mut().expect("the node runs");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let line = receiver.recv_timeout(PATIENCE);
        line.unwrap_or_else(|_| panic!("not ready in time:\n{}", self.log_tail()))
    }

    /// The last lines of the node's log.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// SIGKILL: no drain, no flush.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the process is ours");
            child.wait().expect("the process is ours");
        }
    }

    /// Sends a signal by name, as in `kill -STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().expect("the node runs").to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.expect("kill runs").success(), "kill -{name} {pid}");
        if name == "STOP" {
            wait_stopped(&pid);
        }
    }

    /// SIGTERM, and waits for the end; answers whether it was clean.
    pub(crate) fn terminate(&mut self) -> bool {
        self.signal("TERM");
        let mut child = self.child.take().expect("the node runs");
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("the process is ours") {
                return status.success();
            }
            assert!(start.elapsed() < PATIENCE, "does not stop:\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn rpc(&self) -> String {
        format!("127.0.0.1:{}", self.ports.rpc)
    }

    /// A figure of the node's metrics page.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let page = self.http_get("/metrics");
        let line = page.lines().find(|line| line.split(' ').next() == Some(name));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("no figure {name} in\n{page}")) as u64
    }

    /// What the node's HTTP port answers, headers included.
    pub(crate) fn http_get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.http)).expect("HTTP");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = format!("GET {path} HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("HTTP");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("HTTP");
        answer
    }

    /// A connection, made when the node serves.
    pub(crate) async fn connect(&self) -> Client {
        eventually("a connection", || self.try_connect()).await
    }

    /// Where PostgreSQL clients connect.
    pub(crate) fn url(&self) -> String {
        format!("postgres://conclave@127.0.0.1:{}/conclave?connect_timeout=5", self.ports.sql)
    }

    pub(crate) async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Drop for Cluster {
    /// A test that fails leaves the nodes' data and logs behind.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("the nodes' data and logs are in {}", self.folder.path().display());
        }
    }
}

impl Cluster {
    /// One node, initialised.
    pub(crate) fn single(flags: &[&str]) -> Cluster {
        let mut cluster = Cluster::prepare(1, flags);
        cluster.nodes[0].join = None;
        cluster.nodes[0].spawn();
        cluster.nodes[0].wait_ready();
        cluster
    }

    /// One node, secure: with certificates from this folder.
    pub(crate) fn single_secure(certs: &str) -> Cluster {
        let mut cluster = Cluster::prepare(1, &[]);
        cluster.nodes[0].join = None;
        cluster.nodes[0].certs = Some(certs.to_owned());
        cluster.nodes[0].spawn();
        cluster.nodes[0].wait_ready();
        cluster
    }

    /// `count` nodes, initialised, every range on three of them.
    pub(crate) async fn start(count: usize, flags: &[&str]) -> Cluster {
        let mut cluster = Cluster::prepare(count, flags);
        for node in &mut cluster.nodes {
            node.spawn();
        }
        let rpc = cluster.nodes[0].rpc();
        eventually("init", || async {
            let init = conclave(&["init", "--rpc", &rpc]);
            if init.success { Ok(()) } else { Err(init.text) }
        })
        .await;
        for node in &mut cluster.nodes {
            node.wait_ready();
        }
        cluster.wait_replicated(count.min(3)).await;
        cluster
    }

    /// The same, secure: with certificates from this folder.
    pub(crate) async fn secure(count: usize, certs: &str) -> Cluster {
        let mut cluster = Cluster::prepare(count, &[]);
        for node in &mut cluster.nodes {
            node.certs = Some(certs.to_owned());
        }
        cluster.init_secure(count, certs).await;
        cluster
    }

    /// Two secure nodes, and a third one with certificates of another authority.
    pub(crate) async fn secure_with_stranger(certs: &str, foreign: &str) -> Cluster {
        let mut cluster = Cluster::prepare(3, &[]);
        for (n, node) in cluster.nodes.iter_mut().enumerate() {
            node.certs = Some(if n < 2 { certs } else { foreign }.to_owned());
        }
        cluster.init_secure(2, certs).await;
        cluster
    }

    async fn init_secure(&mut self, ready: usize, certs: &str) {
        for node in &mut self.nodes {
            node.spawn();
        }
        let rpc = self.nodes[0].rpc();
        eventually("init", || async {
            let init = conclave(&["init", "--rpc", &rpc, "--certs-dir", certs]);
            if init.success { Ok(()) } else { Err(init.text) }
        })
        .await;
        for node in &mut self.nodes[..ready] {
            node.wait_ready();
        }
    }

    fn prepare(count: usize, flags: &[&str]) -> Cluster {
        let folder = tempfile::Builder::new().prefix("conclave-test-").tempdir().expect("a folder");
        let ports = free_ports(count * 3);
        let join: Vec<String> =
            (0..count).map(|n| format!("127.0.0.1:{}", ports[n * 3 + 1])).collect();
        let nodes = (0..count)
            .map(|n| Node {
                ports: Ports { sql: ports[n * 3], rpc: ports[n * 3 + 1], http: ports[n * 3 + 2] },
                data: folder.path().join(format!("n{}", n + 1)),
                join: Some(join.join(",")),
                flags: flags.iter().map(|&f| f.to_owned()).collect(),
                certs: None,
                child: None,
            })
            .collect();
        Cluster { nodes, folder }
    }

    /// The state of the cluster as JSON, from the first node that answers.
    pub(crate) fn status(&self) -> Option<serde_json::Value> {
        self.nodes.iter().filter(|n| n.is_running()).find_map(|node| {
            let status = conclave(&["status", "--json", "--rpc", &node.rpc()]);
            status.success.then(|| serde_json::from_str(&status.text).expect("status is JSON"))
        })
    }

    /// Waits until every range has `copies` replicas and a leader.
    pub(crate) async fn wait_replicated(&self, copies: usize) {
        eventually("replicated ranges", || async {
            let status = self.status().ok_or_else(|| "no node answers".to_owned())?;
            let ranges = status["ranges"].as_array().cloned().unwrap_or_default();
            let whole = |r: &serde_json::Value| {
                r["leader"] != 0 && r["voters"].as_array().is_some_and(|all| all.len() >= copies)
            };
            if !ranges.is_empty() && ranges.iter().all(whole) {
                Ok(())
            } else {
                Err(status.to_string())
            }
        })
        .await;
    }

    /// New ranges are led where they were split off, and spread after some seconds; then they stay.
    pub(crate) async fn wait_leaders_spread(&self) {
        eventually("leaders on all nodes", || async {
            let status = self.status().ok_or("no node answers")?;
            let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
            let leads = |node: &serde_json::Value| node["leaders"].as_u64() > Some(0);
            if !nodes.is_empty() && nodes.iter().all(leads) {
                Ok(())
            } else {
                Err("some lead none")
            }
        })
        .await;
    }

    /// The index of the node that leads most ranges.
    pub(crate) fn busiest_leader(&self) -> Option<usize> {
        let status = self.status()?;
        let most = status["nodes"].as_array()?.iter().max_by_key(|n| n["leaders"].as_u64())?;
        let address = most["rpc"].as_str()?;
        self.nodes.iter().position(|n| n.rpc() == address)
    }
}

/// The body of a page that a node serves; empty if it does not answer.
pub(crate) async fn http_get(port: u16, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let get = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        Ok::<String, std::io::Error>(page)
    };
    let page = tokio::time::timeout(Duration::from_secs(5), get).await;
    page.ok().and_then(Result::ok).unwrap_or_default()
}

/// What a run of the binary printed.
pub(crate) struct Output {
    pub success: bool,
    pub text: String,
}

/// Runs the `conclave` binary to its end.
pub(crate) fn conclave(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_conclave"))
        .args(args)
        .env("CONCLAVE_LOG", "error")
        .stdin(Stdio::null())
        .output()
        .expect("conclave runs");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        text += &String::from_utf8_lossy(&output.stderr);
    }
    Output { success: output.status.success(), text }
}

/// Asks again until it works or the test's patience ends.
pub(crate) async fn eventually<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(error) if start.elapsed() > PATIENCE => panic!("{what}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Returns when all threads of a process stand still: the signal may find them in the middle of an answer.
fn wait_stopped(pid: &str) {
    let state = |task: std::io::Result<std::fs::DirEntry>| {
        let stat = task.and_then(|task| std::fs::read_to_string(task.path().join("stat")));
        stat.map_or('T', |stat| {
            stat.rsplit(") ").next().and_then(|s| s.chars().next()).unwrap_or('T')
        })
    };
    let stands = || {
        let mut tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
        tasks.all(|task| state(task) == 'T')
    };
    while !stands() {
        std::thread::sleep(Duration::from_millis(1));
    }
}
