//! `conclave start` and `conclave start-single`: their flags, and running until a signal.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use crate::config::{Membership, NodeConfig};
use crate::error::StartError;
use crate::machine;
use crate::process::Node;

/// Where a node listens.
#[derive(Debug, Args)]
pub(crate) struct Ports {
    /// Address for PostgreSQL clients.
    #[arg(long, env = "CONCLAVE_SQL", value_name = "HOST:PORT", default_value = "127.0.0.1:15432")]
    pub(crate) sql: String,
    /// Address for the other nodes, and for `init` and `status`.
    #[arg(long, env = "CONCLAVE_RPC", value_name = "HOST:PORT", default_value = "127.0.0.1:16432")]
    pub(crate) rpc: String,
    /// Address of /health, /ready and /metrics.
    #[arg(
        long,
        env = "CONCLAVE_HTTP",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:18432"
    )]
    pub(crate) http: String,
}

/// How much memory a node may use, and how it behaves.
#[derive(Debug, Args)]
pub(crate) struct Resources {
    /// Memory for cached blocks and unflushed writes of the storage engine.
    #[arg(long, env = "CONCLAVE_CACHE", value_name = "SIZE", default_value = "256MiB")]
    pub(crate) cache: ByteSize,
    /// Memory for all statements and open transactions: sorts, joins, aggregates, writes, locks.
    ///
    /// Beyond it sorts spill to files, and what cannot fails with 53200. A quarter of the machine's memory
    /// if not given, at least 256MiB.
    #[arg(long, env = "CONCLAVE_SQL_MEMORY", value_name = "SIZE")]
    pub(crate) sql_memory: Option<ByteSize>,
    /// Memory for the writes of one transaction; beyond, statements fail with 53200. Half of --sql-memory if
    /// not given.
    #[arg(long, env = "CONCLAVE_TXN_MEMORY", value_name = "SIZE")]
    pub(crate) txn_memory: Option<ByteSize>,
    /// Size above which a range splits by itself.
    #[arg(long, env = "CONCLAVE_RANGE_SIZE", value_name = "SIZE", default_value = "128MiB")]
    pub(crate) range_size: ByteSize,
    /// Locks in memory, held and waited for, of each range; beyond, statements fail with 53200.
    #[arg(long, env = "CONCLAVE_RANGE_LOCKS", value_name = "N", default_value_t = 1_000_000)]
    pub(crate) range_locks: usize,
    /// Conflicts that conclave.contention_events shows of each node.
    #[arg(long, env = "CONCLAVE_CONTENTION_EVENTS", value_name = "N", default_value_t = 4096)]
    pub(crate) contention_events: usize,
    /// SQL connections accepted at a time.
    #[arg(long, env = "CONCLAVE_MAX_CONNECTIONS", value_name = "N", default_value_t = 500)]
    pub(crate) max_connections: usize,
    /// Milliseconds by which messages of other nodes are held back: a wide network, for tests.
    #[arg(long, env = "CONCLAVE_RPC_DELAY_MS", value_name = "N", default_value_t = 0, hide = true)]
    pub(crate) rpc_delay_ms: u64,
    /// Serve without passwords and without TLS, on loopback addresses only.
    #[arg(long, env = "CONCLAVE_INSECURE")]
    pub(crate) insecure: bool,
    /// Serve over TLS, with passwords and client certificates: the folder of ca.crt, node.crt and
    /// node.key, as `conclave cert` makes them.
    #[arg(long, env = "CONCLAVE_CERTS_DIR", value_name = "DIR", conflicts_with = "insecure")]
    pub(crate) certs_dir: Option<PathBuf>,
}

/// Flags of `conclave start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Folder of this node's data; made when missing.
    #[arg(long, env = "CONCLAVE_DATA", value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    ports: Ports,
    /// Where other nodes reach --rpc, if not there: behind a proxy, or another name of this machine.
    #[arg(long, env = "CONCLAVE_ADVERTISE_RPC", value_name = "HOST:PORT")]
    advertise_rpc: Option<String>,
    /// For tests: milliseconds in this file are added to the wall clock, from soon after it changes.
    #[arg(long, hide = true, value_name = "FILE")]
    clock_offset_file: Option<PathBuf>,
    /// RPC addresses of some other nodes of the cluster.
    #[arg(long, env = "CONCLAVE_JOIN", value_name = "HOST:PORT,…", value_delimiter = ',')]
    join: Vec<String>,
    #[command(flatten)]
    resources: Resources,
}

/// Flags of `conclave start-single`.
#[derive(Debug, Args)]
pub(crate) struct StartSingleArgs {
    /// Folder of this node's data; made when missing.
    #[arg(long, env = "CONCLAVE_DATA", value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    ports: Ports,
    #[command(flatten)]
    resources: Resources,
}

pub(super) fn run(args: StartArgs) -> Result<(), StartError> {
    let join = args.join.iter().map(|a| resolve("--join", a)).collect::<Result<Vec<_>, _>>()?;
    let mut config = config(args.data, &args.ports, &args.resources, Membership::Join(join))?;
    let advertised = args.advertise_rpc.map(|a| resolve("--advertise-rpc", &a)).transpose()?;
    config.rpc_advertised = advertised;
    config.clock_offset_file = args.clock_offset_file;
    serve(config)
}

pub(super) fn run_single(args: StartSingleArgs) -> Result<(), StartError> {
    serve(config(args.data, &args.ports, &args.resources, Membership::Single)?)
}

fn config(
    data: PathBuf,
    ports: &Ports,
    resources: &Resources,
    membership: Membership,
) -> Result<NodeConfig, StartError> {
    let sql_memory_bytes = resources.sql_memory.map_or_else(machine::sql_memory_bytes, to_usize);
    let config = NodeConfig {
        data,
        sql: resolve("--sql", &ports.sql)?,
        rpc: resolve("--rpc", &ports.rpc)?,
        rpc_advertised: None,
        clock_offset_file: None,
        http: resolve("--http", &ports.http)?,
        membership,
        certs_dir: resources.certs_dir.clone(),
        cache_bytes: to_usize(resources.cache),
        sql_memory_bytes,
        txn_memory_bytes: resources.txn_memory.map_or(sql_memory_bytes / 2, to_usize),
        range_max_bytes: resources.range_size.as_u64(),
        range_locks_max: resources.range_locks,
        contention_events: resources.contention_events,
        max_connections: resources.max_connections,
        rpc_delay: Duration::from_millis(resources.rpc_delay_ms),
    };
    for (flag, address) in [("--sql", config.sql), ("--rpc", config.rpc), ("--http", config.http)] {
        if config.certs_dir.is_none() && !address.ip().is_loopback() {
            return Err(StartError::NotLoopback { flag, address });
        }
    }
    if !resources.insecure && config.certs_dir.is_none() {
        tracing::warn!(
            "serving without passwords and TLS on loopback addresses; --certs-dir changes that, \
             --insecure says that it is intended"
        );
    }
    Ok(config)
}

fn resolve(flag: &'static str, text: &str) -> Result<SocketAddr, StartError> {
    text.to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .ok_or_else(|| StartError::Address { flag, text: text.to_owned() })
}

fn to_usize(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

/// Serves until SIGTERM or Ctrl-C, then drains.
fn serve(config: NodeConfig) -> Result<(), StartError> {
    let runtime = crate::process::runtime("conclave")?;
    runtime.block_on(async {
        let signal = crate::process::termination()?;
        let node = Node::start(config).await?;
        let ready = node.announce_when_ready();
        tokio::select! {
            outcome = node.failed() => return outcome,
            () = signal.wait() => {}
        }
        ready.abort();
        tracing::info!("draining");
        node.drain().await;
        Ok(())
    })
}
