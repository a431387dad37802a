//! What peers send, handed to the store and the coordinators.

use std::sync::{Arc, Weak};

use base::NodeId;
use proto::kv::{Probe, RangeRequest, WaitNotice};
use proto::meta::NodeDescriptor;
use proto::node::{Closed, Liveness, RaftMessage};

use crate::store::Store;
use crate::transport::{Inbound, Peer};

pub(super) struct NodeInbound {
    store: Arc<Store>,
    db: kv::Db,
    own: Weak<NodeInbound>,
}

impl NodeInbound {
    pub(super) fn shared(store: Arc<Store>, db: kv::Db) -> Arc<dyn Inbound> {
        Arc::new_cyclic(|own| NodeInbound { store, db, own: own.clone() })
    }
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

    fn closed(&self, peer: &Arc<Peer>, incarnation: u64, closed: Closed) {
        self.store.on_closed(peer, incarnation, &closed);
    }

    fn closed_again(&self, peer: &Arc<Peer>) {
        self.store.closed_again(peer.id);
    }

    fn wait_notice(&self, notice: WaitNotice) {
        self.db.on_wait_notice(notice);
    }

    fn probe(&self, probe: Probe) {
        self.db.on_probe(probe);
    }

    fn peer(&self, id: NodeId) -> Option<Arc<Peer>> {
        if self.store.peers.get(id).is_none() {
            // A member that this node has not read of in the registry yet. It must be heard all the
            // same: the registry itself may need the two of them to elect a leader.
            let unread = NodeDescriptor { node_id: id.0, ..Default::default() };
            self.store.peers.learn(&unread, &(self.own.upgrade()? as Arc<dyn Inbound>));
            self.store.liveness.write().set_peers([id]);
        }
        self.store.peers.get(id)
    }
}
