//! Why a node did not start, in words for its operator.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a command of the `conclave` binary failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The flag's value names no address.
    #[error("{flag} {text}: not an address; expected HOST:PORT")]
    Address {
        /// The flag.
        flag: &'static str,
        /// Its value.
        text: String,
    },
    /// Without passwords and TLS only loopback addresses are safe.
    #[error(
        "{flag} {address}: without passwords and TLS a node listens on loopback addresses only \
         (127.0.0.1); --certs-dir makes it secure"
    )]
    NotLoopback {
        /// The flag.
        flag: &'static str,
        /// Its value.
        address: SocketAddr,
    },
    /// The port is taken, or not ours to take.
    #[error("cannot listen on {address} for {what}")]
    Listen {
        /// sql, rpc or http.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Another process uses the folder.
    #[error("{0} is in use by another process")]
    Locked(PathBuf),
    /// A file or folder cannot be used.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The identity file holds no identity.
    #[error("{path} is damaged: {reason}")]
    Identity {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The storage engine does not open.
    #[error("storage in {path}")]
    Storage {
        /// The data folder.
        path: PathBuf,
        /// The engine's reason.
        #[source]
        source: storage::EngineError,
    },
    /// The certificates cannot be made or used.
    #[error("certificates")]
    Certificates(#[from] certs::CertError),
    /// The operating system gives no threads or signals.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    /// Standard output takes nothing.
    #[error("cannot print")]
    Output(#[source] std::io::Error),
    /// Another node could not be asked.
    #[error("cannot reach {address}: {reason}")]
    Peer {
        /// Its RPC address.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// `init` on a cluster that is initialised.
    #[error("the cluster {0} is initialised already; `init` is run once")]
    AlreadyInitialised(String),
    /// The cluster did not come up in time.
    #[error("{0}")]
    Cluster(String),
    /// The checker could not do its work.
    #[error("the check could not be made")]
    Check(#[from] workload::CheckError),
    /// The checker found something.
    #[error("the cluster broke its promises")]
    Anomalies,
    /// Something the demo ran failed.
    #[error("the demonstration failed: {0}")]
    Demo(String),
}
