//! The flags of `conclave check`.

use std::path::PathBuf;

use checker::Level;
use clap::{Args, ValueEnum};

use crate::error::CheckError;
use crate::faults::FaultKind;
use crate::workloads::Workload;

/// Isolation levels by their names on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Strength {
    /// Strict serializability.
    Serializable,
    /// Snapshot isolation.
    RepeatableRead,
    /// A snapshot per statement.
    ReadCommitted,
}

impl Strength {
    /// As the checker calls it.
    #[must_use]
    pub fn level(self) -> Level {
        match self {
            Strength::Serializable => Level::Serializable,
            Strength::RepeatableRead => Level::RepeatableRead,
            Strength::ReadCommitted => Level::ReadCommitted,
        }
    }
}

/// Flags of `conclave check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// What the clients do. Several run side by side.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "append")]
    pub workload: Vec<Workload>,
    /// A node of a running cluster; the others are asked of it.
    #[arg(long, env = "CONCLAVE_URL", value_name = "URL", conflicts_with = "start")]
    #[arg(default_value = "postgres://conclave@127.0.0.1:15432/conclave")]
    pub url: String,
    /// Folder of certificates, for a secure cluster at --url.
    #[arg(long, env = "CONCLAVE_CERTS_DIR", value_name = "DIR", conflicts_with = "start")]
    pub certs_dir: Option<PathBuf>,
    /// Start a cluster of this many processes on a temporary folder, and end it afterwards.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9))]
    pub start: Option<u16>,
    /// The isolation level of the clients' transactions.
    #[arg(long, value_enum, default_value = "serializable")]
    pub level: Strength,
    /// How long the clients work.
    #[arg(long, env = "CONCLAVE_CHECK_SECONDS", default_value_t = 30)]
    pub seconds: u64,
    /// Clients of each workload, spread over the nodes.
    #[arg(long, default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub clients: u16,
    /// What goes wrong meanwhile. Kill, partition and clock need --start; pause needs it or --pids.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub faults: Vec<FaultKind>,
    /// Seconds from one fault to the next.
    #[arg(long, default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(4..=3600))]
    pub fault_every: u64,
    /// Processes of the nodes at --url, on this machine, that may be paused.
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Transactions per second of each client, at most.
    #[arg(long, default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: u32,
    /// What the clients choose and which node suffers. A cluster's own timing is not repeated by it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the histories into this folder, a line per transaction.
    #[arg(long, value_name = "DIR")]
    pub history: Option<PathBuf>,
    /// Hold a history written earlier to --level; no cluster is asked.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["start", "faults"])]
    pub recheck: Option<PathBuf>,
    /// The conclave binary of --start; by default the one that runs.
    #[arg(long, env = "CONCLAVE_BINARY", value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// Keep the data and logs of the processes that --start made.
    #[arg(long)]
    pub keep: bool,
}

impl Default for CheckArgs {
    fn default() -> Self {
        CheckArgs {
            workload: vec![Workload::Append],
            url: String::new(),
            certs_dir: None,
            start: None,
            level: Strength::Serializable,
            seconds: 30,
            clients: 10,
            faults: Vec::new(),
            fault_every: 10,
            pids: Vec::new(),
            rate: 200,
            seed: 1,
            history: None,
            recheck: None,
            binary: None,
            keep: false,
        }
    }
}

impl CheckArgs {
    /// Refuses what would be left out in silence.
    pub(crate) fn validate(&self) -> Result<(), CheckError> {
        let refuse = |text: &str| Err(CheckError::Refused(text.to_owned()));
        for fault in &self.faults {
            match (fault, self.start) {
                (_, Some(nodes)) if nodes < 3 => {
                    return refuse("faults need three nodes: with fewer nothing would be left");
                }
                (_, Some(_)) => {}
                (FaultKind::Pause, None) if self.pids.len() < 3 => {
                    return refuse("--faults pause needs --start, or the --pids of three nodes");
                }
                (FaultKind::Pause, None) => {}
                (FaultKind::Kill, None) => {
                    return refuse("--faults kill needs --start: nobody would start them again");
                }
                (FaultKind::Partition, None) => {
                    return refuse(
                        "--faults partition needs --start: the nodes must talk over proxies",
                    );
                }
                (FaultKind::Clock, None) => {
                    return refuse(
                        "--faults clock needs --start: the clock of a process is told to it",
                    );
                }
            }
        }
        Ok(())
    }
}
