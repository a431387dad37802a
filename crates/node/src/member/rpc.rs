//! What other processes ask of a node over RPC.

use std::sync::Arc;
use std::time::Duration;

use base::NodeId;
use proto::meta::RegisterNode;
use proto::meta::system_command::Command;
use proto::meta::system_query::Query;
use proto::meta::system_result::Result as Outcome;
use proto::node as msg;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::server::TcpIncoming;
use tonic::{Status, Streaming};

use super::{Core, Running};

use crate::transport::{Inbound, Member, PeerService};

/// Serves peers until the node stops.
pub(crate) async fn serve_rpc(core: Arc<Core>, listener: TcpListener, stop: watch::Receiver<bool>) {
    // Peers are heard while the node drains: leaders are still to be handed over.
    drop(stop);
    let tls = core.tls.as_ref().map(|tls| Arc::clone(&tls.rpc));
    let router = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(2)))
        .http2_keepalive_timeout(Some(Duration::from_secs(4)))
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .add_service(PeerService::server(core));
    let served = match tls {
        None => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            router.serve_with_incoming(incoming).await
        }
        Some(tls) => {
            let accepted = crate::tls::accept(listener, tls);
            let incoming = futures::stream::unfold(accepted, async |mut accepted| {
                let secured = accepted.recv().await?;
                Some((Ok::<_, std::io::Error>(secured), accepted))
            });
            router.serve_with_incoming(Box::pin(incoming)).await
        }
    };
    if let Err(error) = served {
        tracing::error!(%error, "RPC");
    }
}

fn unavailable(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

impl Core {
    fn member(&self) -> Result<Arc<Running>, Status> {
        self.running().ok_or_else(|| Status::unavailable("not part of a cluster yet"))
    }
}

#[tonic::async_trait]
impl Member for Core {
    fn inbound(&self) -> Option<Arc<dyn Inbound>> {
        self.running().map(|running| running.inbound())
    }

    async fn join(&self, request: msg::JoinRequest) -> Result<msg::JoinResponse, Status> {
        let Some(running) = self.running() else { return Ok(msg::JoinResponse::default()) };
        let mut node = request.node.ok_or_else(|| Status::invalid_argument("no node"))?;
        if node.node_id == 0 {
            // Not before this node has its own entry: the joiner would be given its id.
            let answer = running.db.query(Query::AllNodes(true)).await.map_err(unavailable)?;
            if answer.nodes.iter().all(|known| known.node_id != running.store.me.0) {
                return Ok(msg::JoinResponse::default());
            }
            let command = Command::RegisterNode(RegisterNode { node: Some(node.clone()) });
            let Outcome::NodeId(id) = running.db.system(command).await.map_err(unavailable)? else {
                return Err(Status::internal("registering gave no id"));
            };
            node.node_id = id;
        } else if request.cluster_id != running.cluster_id {
            return Err(Status::failed_precondition("a node of another cluster"));
        }
        running.learn(std::slice::from_ref(&node));
        // A node that comes back may find the registry unavailable without it: what this node
        // knows must do.
        let mut nodes = running.known_nodes();
        let registry = running.db.query(Query::AllNodes(true));
        if let Ok(Ok(answer)) = tokio::time::timeout(Duration::from_secs(1), registry).await {
            nodes = answer.nodes;
        }
        nodes.push(self.descriptor());
        Ok(msg::JoinResponse {
            ready: true,
            node_id: node.node_id,
            cluster_id: running.cluster_id.clone(),
            nodes,
            ranges: Vec::new(),
        })
    }

    async fn init(self: Arc<Self>) -> Result<msg::InitResponse, Status> {
        // Whoever asked may lose patience; half a cluster would be made of it.
        let core = Arc::clone(&self);
        let making = tokio::spawn(async move { core.init_cluster().await });
        match making.await.map_err(unavailable)?.map_err(unavailable)? {
            Some(cluster_id) => Ok(msg::InitResponse { already: false, cluster_id }),
            None => Ok(msg::InitResponse {
                already: true,
                cluster_id: self.identity.lock().cluster_id.clone(),
            }),
        }
    }

    async fn status(&self, led_only: bool) -> Result<msg::StatusResponse, Status> {
        let running = self.member()?;
        if led_only {
            let led = running.store.led_here().into_iter();
            let ranges = led.map(|descriptor| proto::kv::RangeStatusResult {
                descriptor: Some(descriptor),
                leader: running.store.me.0,
                ..Default::default()
            });
            return Ok(msg::StatusResponse { ranges: ranges.collect(), ..Default::default() });
        }
        let answer = running.db.query(Query::AllNodes(true)).await.map_err(unavailable)?;
        let ranges = running.db.ranges().await.map_err(unavailable)?;
        let mut statuses = Vec::with_capacity(ranges.len());
        for range in ranges {
            let key = base::Key(range.start.clone());
            let asked = tokio::time::timeout(Duration::from_secs(1), running.db.range_status(&key));
            statuses.push(match asked.await {
                Ok(Ok(status)) => status,
                _ => proto::kv::RangeStatusResult { descriptor: Some(range), ..Default::default() },
            });
        }
        let now = running.store.now();
        let nodes = answer
            .nodes
            .into_iter()
            .map(|node| running.node_status(node, &statuses, now))
            .collect();
        Ok(msg::StatusResponse { cluster_id: running.cluster_id.clone(), nodes, ranges: statuses })
    }

    async fn install_snapshot(
        &self,
        header: msg::SnapshotHeader,
        chunks: Streaming<msg::SnapshotChunk>,
    ) -> Result<msg::SnapshotAck, Status> {
        let running = self.member()?;
        crate::store::snapshots::receive(&running.store, header, chunks).await
    }
}

impl Running {
    fn known_nodes(&self) -> Vec<proto::meta::NodeDescriptor> {
        let peers = self.peers.all().into_iter();
        peers
            .map(|peer| proto::meta::NodeDescriptor {
                node_id: peer.id.0,
                rpc_address: peer.address.read().clone(),
                ..Default::default()
            })
            .collect()
    }

    fn node_status(
        &self,
        node: proto::meta::NodeDescriptor,
        ranges: &[proto::kv::RangeStatusResult],
        now: u64,
    ) -> msg::NodeStatus {
        let id = NodeId(node.node_id);
        let here = |r: &&proto::kv::RangeStatusResult| {
            r.descriptor.as_ref().is_some_and(|d| d.has_replica(id))
        };
        msg::NodeStatus {
            live: self.store.liveness.read().is_live(id, now),
            leaders: ranges.iter().filter(|r| r.leader == id.0).count() as u64,
            replicas: ranges.iter().filter(here).count() as u64,
            bytes: ranges.iter().filter(here).map(|r| r.bytes).sum(),
            node: Some(node),
        }
    }
}
