//! Who this node is: the data folder, its lock, and the identity kept in it.
//!
//! ```text
//!   DIR/lock        held exclusively while the process lives
//!   DIR/node.json   cluster id, node id, incarnation
//!   DIR/raft        log store
//!   DIR/data        state machine
//! ```
//!
//! The identity is written to a new file, synced, and renamed over the old one: a crash leaves one
//! or the other. The incarnation is raised and made durable before the process sends anything, so
//! that peers can tell its promises from those of an earlier process.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use base::NodeId;
use serde::{Deserialize, Serialize};

use crate::error::StartError;

/// What a node remembers about itself and its cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The cluster, or empty before it joined one.
    pub cluster_id: String,
    /// Its id in that cluster, or 0.
    pub node_id: u64,
    /// Raised at each start.
    pub incarnation: u64,
    /// RPC addresses of the members last known, by node id.
    #[serde(default)]
    pub peers: Vec<(u64, String)>,
}

impl Identity {
    /// The node id, if it has joined a cluster.
    #[must_use]
    pub(crate) fn joined(&self) -> Option<NodeId> {
        (self.node_id != 0).then_some(NodeId(self.node_id))
    }
}

/// The data folder of one node, locked against other processes.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    // Unlocked by the system when the process ends, however it ends.
    _lock: File,
}

impl DataDir {
    /// Opens or makes the folder and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        let fail = |source| StartError::File { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(fail)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(fail)?;
        lock.try_lock().map_err(|_busy| StartError::Locked(path.to_owned()))?;
        Ok(DataDir { path: path.to_owned(), _lock: lock })
    }

    /// Folder of the Raft log.
    #[must_use]
    pub(crate) fn raft(&self) -> PathBuf {
        self.path.join("raft")
    }

    /// Folder of the state machine's data.
    #[must_use]
    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Reads the identity, raises its incarnation and makes that durable.
    pub(crate) fn begin_incarnation(&self) -> Result<Identity, StartError> {
        let mut identity = self.read()?;
        identity.incarnation += 1;
        self.write(&identity)?;
        Ok(identity)
    }

    fn read(&self) -> Result<Identity, StartError> {
        let path = self.path.join("node.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| StartError::Identity { path, reason: e.to_string() }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Identity::default()),
            Err(source) => Err(StartError::File { path, source }),
        }
    }

    /// Makes an identity durable.
    pub(crate) fn write(&self, identity: &Identity) -> Result<(), StartError> {
        let path = self.path.join("node.json");
        let fail = |source| StartError::File { path: path.clone(), source };
        let bytes = serde_json::to_vec_pretty(identity).expect("an identity is plain data");
        let fresh = self.path.join("node.json.new");
        let mut file = File::create(&fresh).map_err(fail)?;
        file.write_all(&bytes).map_err(fail)?;
        file.sync_all().map_err(fail)?;
        fs::rename(&fresh, &path).map_err(fail)?;
        File::open(&self.path).and_then(|dir| dir.sync_all()).map_err(fail)
    }
}
