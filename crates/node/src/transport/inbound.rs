//! What a node does with what its peers send.

use std::sync::Arc;

use base::NodeId;
use proto::kv::{Probe, RangeRequest, WaitNotice};
use proto::node::{Closed, Frame, Liveness, RaftMessage, Reply};

use super::Peer;

/// The receiving side of a node: its store and its coordinators.
pub(crate) trait Inbound: Send + Sync + 'static {
    /// Raft's messages of one frame.
    fn raft(&self, messages: Vec<RaftMessage>);
    /// A request to a range; the answer goes back through the peer's outbox.
    fn call(&self, peer: &Arc<Peer>, id: u64, request: RangeRequest);
    /// A peer asks for, or gives, support of liveness.
    fn liveness(&self, peer: &Arc<Peer>, incarnation: u64, liveness: Liveness);
    /// A leader says that one of our transactions waits.
    fn wait_notice(&self, notice: WaitNotice);
    /// A deadlock probe for one of our transactions.
    fn probe(&self, probe: Probe);
    /// A peer's promises of closed timestamps.
    fn closed(&self, peer: &Arc<Peer>, incarnation: u64, closed: Closed);
    /// A peer has missed some of ours.
    fn closed_again(&self, peer: &Arc<Peer>);
    /// The peer that dialled us, once it is known.
    fn peer(&self, id: NodeId) -> Option<Arc<Peer>>;
}

/// Hands out the parts of a frame.
pub(super) fn dispatch(inbound: &dyn Inbound, peer: &Arc<Peer>, frame: Frame) {
    if let Some(liveness) = frame.liveness {
        inbound.liveness(peer, frame.incarnation, liveness);
    }
    if !frame.raft.is_empty() {
        inbound.raft(frame.raft);
    }
    if let Some(closed) = frame.closed {
        inbound.closed(peer, frame.incarnation, closed);
    }
    if frame.closed_again {
        inbound.closed_again(peer);
    }
    for Reply { id, response } in frame.replies {
        peer.calls.answer(id, response.ok_or_else(|| "empty answer".to_owned()));
    }
    for call in frame.calls {
        match call.request {
            Some(request) => inbound.call(peer, call.id, request),
            None => tracing::warn!(from = %peer.id, "a call without a request"),
        }
    }
    for notice in frame.wait_notices {
        inbound.wait_notice(notice);
    }
    for probe in frame.probes {
        inbound.probe(probe);
    }
}
