//! How requests reach nodes. The process implements it over gRPC, a simulation over its own network.

use base::NodeId;
use futures::future::BoxFuture;
use proto::kv;

/// The request did not get an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// It was never sent: safe to send it elsewhere.
    #[error("{0} can't be reached")]
    NotSent(NodeId),
    /// It was sent, and the answer is lost: it may have been carried out.
    #[error("answer of {0} was lost")]
    AnswerLost(NodeId),
}

/// Sends requests to nodes. A request to the local node is a function call: an implementation
/// answers it in the first poll wherever the range can (reads, lock grants).
pub trait Transport: Send + Sync + 'static {
    /// Carries one request to one node and its answer back. It need not give up by itself: the
    /// caller drops the future when its patience ends.
    fn send(
        &self,
        to: NodeId,
        request: kv::RangeRequest,
    ) -> BoxFuture<'_, Result<kv::RangeResponse, TransportError>>;

    /// This node and the incarnation of its process.
    fn local_node(&self) -> (NodeId, u64);

    /// Whether a node has shown a sign of life lately. If none does, its process is taken for ended.
    fn hears_of(&self, node: NodeId) -> bool;

    /// Nodes that may know the system range, the local one first.
    fn nodes(&self) -> Vec<NodeId>;

    /// Passes a deadlock probe to the coordinator on another node. Loss is harmless: probes are
    /// repeated while the wait lasts.
    fn send_probe(&self, to: NodeId, probe: kv::Probe);

    /// Passes a leader's wait notice to a coordinator on another node. Loss is harmless likewise.
    fn send_wait_notice(&self, to: NodeId, notice: kv::WaitNotice);
}
