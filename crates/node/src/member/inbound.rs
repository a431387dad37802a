//! What peers send, handed to the store and the coordinators.

use std::sync::Arc;

use base::NodeId;
use proto::kv::{Probe, RangeRequest, WaitNotice};
use proto::node::{Liveness, RaftMessage};

use crate::store::Store;
use crate::transport::{Inbound, Peer};

pub(super) struct NodeInbound {
    pub(super) store: Arc<Store>,
    pub(super) db: kv::Db,
}

impl Inbound for NodeInbound {
    fn raft(&self, messages: Vec<RaftMessage>) {
        self.store.step(messages);
    }

    fn call(&self, peer: &Arc<Peer>, id: u64, request: RangeRequest) {
        self.store.call_remote(peer, id, request);
    }

    fn liveness(&self, peer: &Arc<Peer>, incarnation: u64, message: Liveness) {
        self.store.on_liveness(peer, incarnation, &message);
    }

    fn wait_notice(&self, notice: WaitNotice) {
        self.db.on_wait_notice(notice);
    }

    fn probe(&self, probe: Probe) {
        self.db.on_probe(probe);
    }

    fn peer(&self, id: NodeId) -> Option<Arc<Peer>> {
        self.store.peers.get(id)
    }
}
