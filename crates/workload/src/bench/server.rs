//! The servers that are compared, each started fresh in a temporary folder on loopback.

use std::fmt;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use tempfile::TempDir;

use crate::error::BenchError;
use crate::postgres;
use crate::process::{self, Server};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// PostgreSQL, one copy.
    Postgres,
    /// PostgreSQL with two standbys; a commit waits for one of them.
    Postgres3,
    /// One node of ours.
    Conclave1,
    /// Three nodes of ours.
    Conclave3,
}

impl Kind {
    /// What it is compared with.
    pub(crate) fn baseline(self) -> Kind {
        match self {
            Kind::Postgres | Kind::Conclave1 => Kind::Postgres,
            Kind::Postgres3 | Kind::Conclave3 => Kind::Postgres3,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Postgres => "PostgreSQL",
            Kind::Postgres3 => "PostgreSQL, 3 copies",
            Kind::Conclave1 => "Conclave, 1 node",
            Kind::Conclave3 => "Conclave, 3 nodes",
        })
    }
}

/// Where a client connects.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) port: u16,
    pub(crate) user: &'static str,
    pub(crate) database: &'static str,
}

/// A running server, or several that make one.
pub(crate) struct Running {
    address: Address,
    // Stopped first to last, before their folder goes.
    _servers: Vec<Server>,
    _folder: TempDir,
}

impl Running {
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }
}

/// Starts a server; `None` where PostgreSQL's server is not installed.
pub(crate) fn start(kind: Kind, conclave: &Path) -> Result<Option<Running>, BenchError> {
    let folder = tempfile::Builder::new()
        .prefix("conclave-bench-")
        .tempdir()
        .map_err(|source| BenchError::File { path: std::env::temp_dir(), source })?;
    let started = match kind {
        Kind::Postgres => postgres::start(folder.path(), 1)?,
        Kind::Postgres3 => postgres::start(folder.path(), 3)?,
        Kind::Conclave1 => Some(start_single(folder.path(), conclave)?),
        Kind::Conclave3 => Some(start_three(folder.path(), conclave)?),
    };
    Ok(started.map(|(address, servers)| Running { address, _servers: servers, _folder: folder }))
}

/// A port that nobody listens on. Another process could take it before we do; a bench run on a
/// busy machine is void anyway.
pub(crate) fn free_port() -> Result<u16, BenchError> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| BenchError::Spawn { program: "a listener".to_owned(), source })
}

fn ours(port: u16) -> Address {
    Address { port, user: "conclave", database: "conclave" }
}

fn start_single(folder: &Path, conclave: &Path) -> Result<(Address, Vec<Server>), BenchError> {
    let sql = free_port()?;
    let mut command =
        node_command(conclave, "start-single", &folder.join("n1"), sql, free_port()?)?;
    Ok((ours(sql), vec![Server::start(&mut command, "ready")?]))
}

fn start_three(folder: &Path, conclave: &Path) -> Result<(Address, Vec<Server>), BenchError> {
    let ports: Vec<(u16, u16)> =
        (0..3).map(|_| Ok((free_port()?, free_port()?))).collect::<Result<_, BenchError>>()?;
    let join: Vec<String> = ports.iter().map(|(_, rpc)| format!("127.0.0.1:{rpc}")).collect();
    let mut servers = Vec::new();
    for (n, &(sql, rpc)) in ports.iter().enumerate() {
        let mut command =
            node_command(conclave, "start", &folder.join(format!("n{}", n + 1)), sql, rpc)?;
        command.args(["--join", &join.join(",")]);
        let address = ours(sql);
        if n == 0 {
            // Only an initialised cluster serves, so the first node is initialised before it is
            // waited for.
            servers.push(Server::start_until(&mut command, "-TERM", || {
                process::output(Command::new(conclave).args(["init", "--rpc", &join[0]])).is_ok()
            })?);
        } else {
            servers.push(Server::start_until(&mut command, "-TERM", || answers(&address))?);
        }
    }
    wait_for_copies(conclave, &join[0], 3)?;
    Ok((ours(ports[0].0), servers))
}

fn answers(address: &Address) -> bool {
    let mut psql = Command::new("psql");
    psql.args(["-h", "127.0.0.1", "-p", &address.port.to_string(), "-U", address.user]);
    process::output(psql.args(["-d", address.database, "-qAtc", "select 1"])).is_ok()
}

/// Waits until every range has as many replicas as a durable commit should be measured with.
fn wait_for_copies(conclave: &Path, rpc: &str, copies: usize) -> Result<(), BenchError> {
    for _ in 0..600 {
        let status = process::output(Command::new(conclave).args(["status", "--rpc", rpc]))?;
        let ranges = status.lines().filter(|line| line.trim_start().starts_with('r'));
        let short = ranges
            .filter(|line| !line.contains("range"))
            .filter(|line| line.matches(" n").count() < copies)
            .count();
        if short == 0 {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Err(BenchError::NotReady("replication to three nodes".to_owned()))
}

fn node_command(
    conclave: &Path,
    verb: &str,
    data: &Path,
    sql: u16,
    rpc: u16,
) -> Result<Command, BenchError> {
    let http = free_port()?;
    let mut command = Command::new(conclave);
    command.arg(verb).arg("--insecure").arg("--data").arg(data);
    for (flag, port) in [("--sql", sql), ("--rpc", rpc), ("--http", http)] {
        command.args([flag, &format!("127.0.0.1:{port}")]);
    }
    Ok(command)
}
