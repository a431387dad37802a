//! A cluster of our own: `conclave` processes on loopback, which talk to each other over proxies.
//!
//! Ports are free ones at the start and are kept over restarts. Processes are ended by their id when the
//! value is dropped.

use std::fs::OpenOptions;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::CheckError;
use crate::proxy::{Cuts, Proxies, home};

/// How long the cluster may take to come up.
const START_PATIENCE: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Processes, their proxies and their folder.
pub(crate) struct Processes {
    binary: PathBuf,
    nodes: Vec<Process>,
    proxies: Proxies,
    folder: TempDir,
}

struct Process {
    sql: SocketAddr,
    rpc: SocketAddr,
    http: SocketAddr,
    child: Option<Child>,
    stopped: bool,
}

/// An address that nobody listens on. Held together with others so that they differ.
fn free(ip: Ipv4Addr, held: &mut Vec<TcpListener>) -> Result<SocketAddr, CheckError> {
    let fail = |source| CheckError::Spawn { program: "a listener".to_owned(), source };
    let listener = TcpListener::bind((ip, 0)).map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    held.push(listener);
    Ok(address)
}

impl Processes {
    /// Starts `count` nodes and initialises them as a cluster.
    pub(crate) async fn start(
        binary: PathBuf,
        count: usize,
        keep: bool,
    ) -> Result<Self, CheckError> {
        let mut folder = tempfile::Builder::new()
            .prefix("conclave-check-")
            .tempdir()
            .map_err(|source| CheckError::File { path: std::env::temp_dir(), source })?;
        folder.disable_cleanup(keep);
        let mut held = Vec::new();
        let mut nodes = Vec::new();
        for node in 0..count {
            nodes.push(Process {
                sql: free(Ipv4Addr::LOCALHOST, &mut held)?,
                rpc: free(home(node), &mut held)?,
                http: free(Ipv4Addr::LOCALHOST, &mut held)?,
                child: None,
                stopped: false,
            });
        }
        drop(held);
        let targets: Vec<SocketAddr> = nodes.iter().map(|node| node.rpc).collect();
        let proxies = Proxies::start(&targets).await?;
        let mut processes = Processes { binary, nodes, proxies, folder };
        for node in 0..count {
            processes.spawn(node)?;
        }
        processes.init().await?;
        Ok(processes)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Where PostgreSQL clients connect, per node.
    pub(crate) fn urls(&self) -> Vec<String> {
        let url = |node: &Process| format!("postgres://conclave@{}/conclave", node.sql);
        self.nodes.iter().map(url).collect()
    }

    /// Whose RPC address this is: the one that the node is known by to others.
    pub(crate) fn cut(&self, cuts: Cuts) {
        self.proxies.cut(cuts);
    }

    fn clock_file(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("n{}.clock", node + 1))
    }

    /// Moves a node's wall clock by this many milliseconds from the truth.
    pub(crate) fn set_clock(&self, node: usize, offset_ms: i64) -> Result<(), CheckError> {
        let path = self.clock_file(node);
        // Written aside and renamed: the node must not read half a number.
        let aside = path.with_extension("clock.new");
        std::fs::write(&aside, offset_ms.to_string())
            .and_then(|()| std::fs::rename(&aside, &path))
            .map_err(|source| CheckError::File { path, source })
    }

    /// Starts a node's process, with the data it had.
    pub(crate) fn spawn(&mut self, node: usize) -> Result<(), CheckError> {
        let data = self.folder.path().join(format!("n{}", node + 1));
        let log = data.with_extension("log");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|source| CheckError::File { path: log, source })?;
        let join: Vec<String> = self.proxies.addresses.iter().map(ToString::to_string).collect();
        let process = &self.nodes[node];
        let mut command = Command::new(&self.binary);
        command.args(["start", "--insecure", "--data"]).arg(&data);
        command.args(["--sql", &process.sql.to_string(), "--rpc", &process.rpc.to_string()]);
        command.args(["--http", &process.http.to_string(), "--join", &join.join(",")]);
        command.args(["--advertise-rpc", &self.proxies.addresses[node].to_string()]);
        command.arg("--clock-offset-file").arg(self.clock_file(node));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(|source| {
            let program = self.binary.display().to_string();
            CheckError::Spawn { program, source }
        })?;
        self.nodes[node].child = Some(child);
        Ok(())
    }

    async fn init(&self) -> Result<(), CheckError> {
        let rpc = self.nodes[0].rpc.to_string();
        let start = Instant::now();
        loop {
            let init = tokio::process::Command::new(&self.binary)
                .args(["init", "--rpc", &rpc])
                .env("CONCLAVE_LOG", "error")
                .stdin(Stdio::null())
                .output()
                .await;
            let output = init.map_err(|source| {
                let program = self.binary.display().to_string();
                CheckError::Spawn { program, source }
            })?;
            if output.status.success() {
                return Ok(());
            }
            if start.elapsed() > START_PATIENCE {
                let text = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(CheckError::NotReady(text));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// SIGKILL: no drain, no flush.
    pub(crate) fn kill(&mut self, node: usize) {
        if let Some(mut child) = self.nodes[node].child.take() {
            // It may have ended by itself; then there is nothing to kill, and it is waited for all the same.
            drop(child.kill());
            drop(child.wait());
        }
        self.nodes[node].stopped = false;
    }

    /// SIGSTOP, or SIGCONT.
    pub(crate) fn pause(&mut self, node: usize, stop: bool) -> Result<(), CheckError> {
        if let Some(child) = &self.nodes[node].child {
            signal(child.id(), if stop { "STOP" } else { "CONT" })?;
            self.nodes[node].stopped = stop;
        }
        Ok(())
    }

    /// The exit of a node that nobody killed, if there was one: its process and how it ended.
    pub(crate) fn unexpected_exit(&mut self) -> Option<String> {
        self.nodes.iter_mut().enumerate().find_map(|(n, node)| {
            let status = node.child.as_mut()?.try_wait().ok()??;
            Some(format!("node {} ended by itself: {status}", n + 1))
        })
    }
}

/// Sends a signal by name.
pub(crate) fn signal(pid: u32, name: &str) -> Result<(), CheckError> {
    let fail = |source| CheckError::Spawn { program: format!("kill -{name} {pid}"), source };
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    if status.map_err(fail)?.success() {
        return Ok(());
    }
    Err(CheckError::Refused(format!("process {pid} takes no signals of ours")))
}

impl Drop for Processes {
    fn drop(&mut self) {
        for node in 0..self.nodes.len() {
            self.kill(node);
        }
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
        }
    }
}
