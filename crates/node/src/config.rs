//! What one node is told at its start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How a node comes to be part of a cluster.
#[derive(Debug, Clone)]
pub enum Membership {
    /// A cluster of its own, initialised at the first start.
    Single,
    /// Member of a cluster that these nodes (by RPC address) know, or that `init` makes.
    Join(Vec<SocketAddr>),
}

/// Settings of one node.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Folder of identity, Raft log and data.
    pub data: PathBuf,
    /// Where PostgreSQL clients connect. Port 0: any free one.
    pub sql: SocketAddr,
    /// Where other nodes connect. Port 0: any free one.
    pub rpc: SocketAddr,
    /// Where other nodes reach `rpc`, if not there.
    pub rpc_advertised: Option<SocketAddr>,
    /// Milliseconds in this file are added to the wall clock: a fault for tests.
    pub clock_offset_file: Option<PathBuf>,
    /// Where health and metrics are served. Port 0: any free one.
    pub http: SocketAddr,
    /// Folder of certificates; `None`: without TLS and passwords.
    pub certs_dir: Option<PathBuf>,
    /// How it finds its cluster.
    pub membership: Membership,
    /// Bytes for the storage engine's block cache and memtables.
    pub cache_bytes: usize,
    /// Bytes for all SQL statements and open transactions.
    pub sql_memory_bytes: usize,
    /// Bytes above which a range splits.
    pub range_max_bytes: u64,
    /// Bytes that the writes of one transaction may take.
    pub txn_memory_bytes: usize,
    /// Locks in memory, held and waited for, of each range that the node leads.
    pub range_locks_max: usize,
    /// Conflicts kept for `conclave.contention_events`.
    pub contention_events: usize,
    /// SQL connections at a time.
    pub max_connections: usize,
    /// How long each message of another node is held back: zero but in tests of round trips.
    pub rpc_delay: Duration,
}

/// How long SIGTERM lets running statements finish.
pub const DRAIN: Duration = Duration::from_secs(10);
/// How often a node asks its peers for support of its liveness.
pub const LIVENESS_INTERVAL: Duration = Duration::from_millis(400);
/// How often groups that want it are ticked.
pub const TICK_INTERVAL: Duration = Duration::from_millis(100);
/// How often replication, splits, flushes and garbage are looked after.
pub const MAINTENANCE_INTERVAL: Duration = Duration::from_millis(500);
/// How often peers are told up to where the past of the ranges led here is settled.
pub const CLOSED_INTERVAL: Duration = Duration::from_secs(1);
