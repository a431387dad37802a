//! The birth of a cluster: its first two ranges on its first node.

use std::sync::Arc;

use base::{NodeId, keyspace};
use proto::meta::system_command::Command;
use proto::meta::{InitCluster, PublishRanges, RangeDescriptor, Replica};

use super::Core;
use crate::error::StartError;

/// The first node of every cluster.
const FIRST: NodeId = NodeId(1);

impl Core {
    /// Starts a cluster of one: made at the first start, found at later ones.
    pub(crate) async fn start_single(self: &Arc<Self>) -> Result<(), StartError> {
        if self.identity.lock().joined().is_some() {
            return self.resume().await;
        }
        self.init_cluster().await.map(drop)
    }

    /// Runs what a member runs, unless it runs already: the node may have become one a moment ago, and two
    /// stores over one folder would undo each other's work.
    pub(super) async fn resume(self: &Arc<Self>) -> Result<(), StartError> {
        let _becoming = self.becoming.lock().await;
        match self.running() {
            Some(_) => Ok(()),
            None => self.run(&[]).map(drop),
        }
    }

    /// Makes a new cluster of this node; `None` if it is a member of one already. To be run to its end.
    pub(super) async fn init_cluster(self: &Arc<Self>) -> Result<Option<String>, StartError> {
        let _becoming = self.becoming.lock().await;
        if self.identity.lock().joined().is_some() {
            return Ok(None);
        }
        let cluster_id = uuid::Uuid::new_v4().to_string();
        // The ranges first: a crash before the identity is written leaves a node that can be
        // initialised again over them.
        crate::store::bootstrap(&self.engine, &self.logs, FIRST, &first_ranges())
            .map_err(|source| StartError::Storage { path: self.config.data.clone(), source })?;
        self.become_member(&cluster_id, FIRST)?;
        let running = self.run(&[])?;
        let failed = |error: kv::KvError| StartError::Cluster(error.to_string());
        let init = InitCluster { cluster_id: cluster_id.clone() };
        running.db.system(Command::InitCluster(init)).await.map_err(failed)?;
        let publish = PublishRanges { ranges: first_ranges() };
        running.db.system(Command::PublishRanges(publish)).await.map_err(failed)?;
        tracing::info!(cluster = cluster_id, "initialised");
        Ok(Some(cluster_id))
    }
}

fn first_ranges() -> Vec<RangeDescriptor> {
    [(1, keyspace::system()), (2, keyspace::user())]
        .into_iter()
        .map(|(range_id, span)| RangeDescriptor {
            range_id,
            start: span.start.0,
            end: span.end.0,
            generation: 1,
            replicas: vec![Replica { node_id: FIRST.0, learner: false }],
        })
        .collect()
}
