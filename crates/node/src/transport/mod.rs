//! How messages get from one node to another.
//!
//! One bidirectional gRPC stream per pair of nodes carries everything: Raft's messages, requests
//! and answers, liveness and deadlock probes. What is pushed while a frame is on its way travels
//! together in the next one, so load makes frames larger, not more.
//!
//! ```text
//!   store, kv ──push──▶ Outbox ──one Frame at a time──▶ gRPC stream ──▶ peer: Inbound
//!                         ▲ whichever side dialled; the newest stream owns the outbox
//! ```
//!
//! Raft messages may be lost at any time; when an outbox is full they are dropped. A call is
//! answered, or fails when the stream breaks or the peer is no longer live: it is then unknown
//! whether it was carried out, which `kv` sorts out.

mod calls;
mod delay;
mod dial;
mod inbound;
mod link;
mod outbox;
mod service;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use base::NodeId;
use parking_lot::{Mutex, RwLock};
use proto::meta::NodeDescriptor;
use proto::node as msg;
use proto::node::peer_client::PeerClient;
use tonic::transport::Channel;

pub(crate) use calls::Calls;
pub(crate) use dial::Dialer;
pub(crate) use inbound::Inbound;
pub(crate) use link::client;
pub(crate) use outbox::Outbox;
pub(crate) use service::{Member, PeerService};

/// The other nodes of the cluster as this one reaches them.
pub(crate) struct Peers {
    pub(crate) local: NodeId,
    pub(crate) incarnation: u64,
    /// How much later than they come frames are taken in: zero but in tests.
    delay: Duration,
    /// From where this node listens for its peers: whoever stands between two nodes can tell by their
    /// addresses which two.
    dialer: Dialer,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
}

/// One other node.
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    pub(crate) address: RwLock<String>,
    pub(crate) outbox: Outbox,
    pub(crate) calls: Calls,
    /// Of the peer's process, as last heard; 0 before.
    pub(crate) incarnation: AtomicU64,
    delay: Duration,
    /// How it is reached.
    pub(crate) dialer: Dialer,
    /// For questions outside the stream: the address it is for, and a client that dials when first used.
    side: Mutex<Option<(String, PeerClient<Channel>)>>,
    task: RwLock<Option<tokio::task::AbortHandle>>,
}

impl Peer {
    /// A client for questions that are neither urgent nor part of what the stream carries. None without
    /// a valid address.
    pub(crate) fn asking(&self) -> Option<PeerClient<Channel>> {
        let address = self.address.read().clone();
        let mut side = self.side.lock();
        if side.as_ref().is_none_or(|(known, _)| *known != address) {
            let channel = self.dialer.connect_lazy(&address).ok()?;
            *side = Some((address, client(channel)));
        }
        side.as_ref().map(|(_, client)| client.clone())
    }
}

impl Peers {
    pub(crate) fn new(
        local: NodeId,
        incarnation: u64,
        dialer: Dialer,
        delay: Duration,
    ) -> Arc<Self> {
        Arc::new(Peers { local, incarnation, dialer, delay, peers: RwLock::default() })
    }

    /// The peer, if it is known.
    pub(crate) fn get(&self, id: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().get(&id).cloned()
    }

    /// All other nodes known.
    pub(crate) fn all(&self) -> Vec<Arc<Peer>> {
        self.peers.read().values().cloned().collect()
    }

    /// Learns of a node, or of its new address, and keeps a stream to it.
    pub(crate) fn learn(self: &Arc<Self>, node: &NodeDescriptor, inbound: &Arc<dyn Inbound>) {
        let id = NodeId(node.node_id);
        if id == self.local || node.node_id == 0 {
            return;
        }
        if let Some(peer) = self.get(id) {
            let mut address = peer.address.write();
            if *address != node.rpc_address && !node.rpc_address.is_empty() {
                address.clone_from(&node.rpc_address);
            }
            return;
        }
        let peer = Arc::new(Peer {
            id,
            address: RwLock::new(node.rpc_address.clone()),
            outbox: Outbox::new(self.local, self.incarnation),
            calls: Calls::default(),
            incarnation: AtomicU64::new(0),
            delay: self.delay,
            dialer: self.dialer.clone(),
            side: Mutex::new(None),
            task: RwLock::new(None),
        });
        if self.peers.write().insert(id, Arc::clone(&peer)).is_none() {
            let task = tokio::spawn(link::keep(Arc::clone(&peer), Arc::clone(inbound)));
            *peer.task.write() = Some(task.abort_handle());
        }
    }

    /// Sends to a peer, if it is known; Raft's messages may be dropped.
    pub(crate) fn raft(&self, to: NodeId, messages: impl IntoIterator<Item = msg::RaftMessage>) {
        if let Some(peer) = self.get(to) {
            peer.outbox.raft(messages);
        }
    }

    /// Ends every stream.
    pub(crate) fn close(&self) {
        for peer in self.all() {
            if let Some(task) = peer.task.write().take() {
                task.abort();
            }
            peer.outbox.close();
            peer.calls.fail_all("the node is stopping");
        }
    }
}
