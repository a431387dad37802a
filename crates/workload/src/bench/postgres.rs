//! PostgreSQL as the peer: durable settings, optionally with two standbys of which one must have
//! flushed before a commit is acknowledged.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::BenchError;
use crate::process::{self, Server};
use crate::server::{Address, free_port};

const USER: &str = "bench";

/// Starts one server, or a primary with `copies - 1` standbys. `None` where it is not installed.
pub(crate) fn start(
    folder: &Path,
    copies: u16,
) -> Result<Option<(Address, Vec<Server>)>, BenchError> {
    let Some(bin) = installed() else { return Ok(None) };
    let cluster = Cluster { bin, folder };
    cluster.own(folder)?;
    let port = free_port()?;
    let primary = folder.join("p1");
    cluster.run(
        "initdb",
        &["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"],
        &primary,
    )?;
    cluster.configure(&primary, port, SETTINGS)?;
    let mut servers = vec![cluster.serve(&primary, port)?];
    for n in 1..copies {
        let (standby, standby_port) = (folder.join(format!("p{}", n + 1)), free_port()?);
        let source = format!("host=127.0.0.1 port={port} user={USER} application_name=s{n}");
        cluster.run(
            "pg_basebackup",
            &["-d", &source, "-R", "-X", "stream", "-c", "fast"],
            &standby,
        )?;
        cluster.configure(&standby, standby_port, "")?;
        servers.push(cluster.serve(&standby, standby_port)?);
    }
    if copies > 1 {
        // Asked for only now, so that the start never waits for a standby that is not there yet.
        cluster.configure(&primary, port, "synchronous_standby_names = 'ANY 1 (s1,s2)'\n")?;
        cluster.psql(port, "select pg_reload_conf()")?;
        cluster.wait_for_quorum(port, copies - 1)?;
    }
    cluster.psql(port, "create database bench")?;
    Ok(Some((Address { port, user: USER, database: "bench" }, servers)))
}

const SETTINGS: &str = "listen_addresses = '127.0.0.1'
max_connections = 200
shared_buffers = 1GB
effective_cache_size = 4GB
work_mem = 32MB
maintenance_work_mem = 256MB
fsync = on
synchronous_commit = on
full_page_writes = on
wal_level = replica
max_wal_size = 8GB
checkpoint_timeout = 15min
random_page_cost = 1.1
";

fn installed() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("postgres").exists())
        .collect();
    versions.sort();
    versions.pop()
}

struct Cluster<'a> {
    bin: PathBuf,
    folder: &'a Path,
}

impl Cluster<'_> {
    /// A command of PostgreSQL's, as the user `postgres` where we are root: it refuses root.
    fn command(&self, program: &str) -> Command {
        let path = self.bin.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir("/");
        command
    }

    fn run(&self, program: &str, args: &[&str], data: &Path) -> Result<(), BenchError> {
        process::output(self.command(program).args(args).arg("-D").arg(data)).map(drop)
    }

    fn own(&self, path: &Path) -> Result<(), BenchError> {
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, mode)
            .map_err(|source| BenchError::File { path: path.to_owned(), source })?;
        if is_root() {
            process::output(Command::new("chown").arg("-R").arg("postgres").arg(path))?;
        }
        Ok(())
    }

    fn configure(&self, data: &Path, port: u16, settings: &str) -> Result<(), BenchError> {
        use std::io::Write;
        let path = data.join("postgresql.conf");
        let lines =
            format!("{settings}port = {port}\nunix_socket_directories = '{}'\n", data.display());
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(lines.as_bytes()))
            .map_err(|source| BenchError::File { path, source })
    }

    fn serve(&self, data: &Path, port: u16) -> Result<Server, BenchError> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(data);
        // runuser passes SIGTERM on; PostgreSQL then waits for clients, of which there are none.
        Server::start_until(&mut command, "-TERM", || self.psql(port, "select 1").is_ok())
    }

    fn wait_for_quorum(&self, port: u16, standbys: u16) -> Result<(), BenchError> {
        let count = "select count(*) from pg_stat_replication where sync_state = 'quorum'";
        for _ in 0..300 {
            if self.psql(port, count)?.trim() == standbys.to_string() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        Err(BenchError::NotReady(format!("the standbys in {}", self.folder.display())))
    }

    fn psql(&self, port: u16, sql: &str) -> Result<String, BenchError> {
        let mut psql = Command::new("psql");
        psql.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", USER, "-d", "postgres"]);
        process::output(psql.args(["-qAtXc", sql]))
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self")
        .map(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
        .unwrap_or(false)
}
