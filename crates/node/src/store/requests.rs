//! Requests to ranges, from coordinators here and from peers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::{NodeId, RangeId};
use futures::FutureExt;
use futures::future::BoxFuture;
use kv::{Transport, TransportError};
use proto::kv::range_request::Request;
use proto::kv::{KvError, NotLeader, RangeRequest, RangeResponse, kv_error};
use proto::node::{Call, Reply};
use range::{Effect, Token};
use tokio::sync::oneshot;

use super::worker::EndOnPanic;
use super::{Store, Waiter};
use crate::transport::Peer;

/// What a request came to.
#[expect(clippy::large_enum_variant, reason = "a box would cost every answer an allocation")]
pub(crate) enum Outcome {
    /// Answered inline.
    Ready(RangeResponse),
    /// The answer will come.
    Later(oneshot::Receiver<RangeResponse>),
}

impl Store {
    /// Serves a request of this node.
    pub(crate) fn call(self: &Arc<Self>, request: RangeRequest) -> Outcome {
        let mut later = None;
        let answer = self.serve(request, || {
            let (sender, receiver) = oneshot::channel();
            later = Some(receiver);
            Waiter::Local(sender)
        });
        match (answer, later) {
            (Some(response), _) => Outcome::Ready(response),
            (None, Some(receiver)) => Outcome::Later(receiver),
            (None, None) => unreachable!("without an answer a waiter was made"),
        }
    }

    /// Serves a request of a peer.
    pub(crate) fn call_remote(self: &Arc<Self>, peer: &Arc<Peer>, id: u64, request: RangeRequest) {
        self.metrics.remote_requests.inc();
        if let Some(run) = self.fragment_of(&request) {
            self.spawn_reduced(peer, id, request, run);
            return;
        }
        let answer = self.serve(request, || Waiter::Remote(Arc::clone(peer), id));
        if let Some(response) = answer {
            peer.outbox.reply(Reply { id, response: Some(response) });
        }
    }

    fn serve(
        self: &Arc<Self>,
        request: RangeRequest,
        waiter: impl FnOnce() -> Waiter,
    ) -> Option<RangeResponse> {
        self.metrics.requests.inc();
        if let Some(Request::Inspect(inspect)) = &request.request {
            return Some(self.inspect(inspect));
        }
        let range = RangeId(request.range_id);
        let Some(cell) = self.cell(range) else { return Some(no_replica(range)) };
        let token = Token(self.tokens.fetch_add(1, Ordering::Relaxed) + 1);
        let mut effects = Vec::new();
        let mut answer = None;
        let promise = self.promise_for(&request);
        let unharmed = EndOnPanic;
        let answers = {
            let mut state = cell.state.lock();
            if let Some(promise) = promise {
                state.replica.promised(promise.index, promise.ts);
            }
            self.with_ctx(|ctx| state.replica.request(ctx, token, request, &mut effects));
            effects.retain_mut(|effect| match effect {
                Effect::Respond { token: whose, response } if *whose == token => {
                    answer = Some(std::mem::take(response));
                    false
                }
                _ => true,
            });
            if answer.is_none() {
                state.waiters.insert(token, waiter());
            }
            state.take_answers(&mut effects)
        };
        drop(unharmed);
        self.deliver(answers);
        self.carry_out(&cell, effects);
        self.drive();
        answer
    }
}

fn no_replica(range: RangeId) -> RangeResponse {
    let error = kv_error::Error::NotLeader(NotLeader { range_id: range.0, leader: 0 });
    RangeResponse { error: Some(KvError { error: Some(error) }), response: None }
}

/// Forgets a call whose caller lost patience.
struct Open {
    peer: Arc<Peer>,
    id: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.peer.calls.forget(self.id);
    }
}

/// `kv`'s way to ranges: a function call here, a frame elsewhere.
pub(crate) struct NodeTransport(pub(crate) Arc<Store>);

impl NodeTransport {
    async fn remote(
        &self,
        to: NodeId,
        request: RangeRequest,
    ) -> Result<RangeResponse, TransportError> {
        let peer = self.0.peers.get(to).ok_or(TransportError::NotSent(to))?;
        let (id, answer) = peer.calls.open();
        let open = Open { peer, id };
        if !open.peer.outbox.call(Call { id, request: Some(request) }) {
            return Err(TransportError::NotSent(to));
        }
        match answer.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) | Err(_) => Err(TransportError::AnswerLost(to)),
        }
    }
}

impl Transport for NodeTransport {
    fn send(
        &self,
        to: NodeId,
        request: RangeRequest,
    ) -> BoxFuture<'_, Result<RangeResponse, TransportError>> {
        if to != self.0.me {
            return self.remote(to, request).boxed();
        }
        match self.0.call(request) {
            Outcome::Ready(response) => futures::future::ready(Ok(response)).boxed(),
            Outcome::Later(answer) => {
                async move { answer.await.map_err(|_stopped| TransportError::AnswerLost(to)) }
                    .boxed()
            }
        }
    }

    fn local_node(&self) -> (NodeId, u64) {
        (self.0.me, self.0.incarnation)
    }

    fn hears_of(&self, node: NodeId) -> bool {
        self.0.hears_of(node)
    }

    fn nodes(&self) -> Vec<NodeId> {
        let peers = self.0.peers.all().into_iter().map(|peer| peer.id);
        std::iter::once(self.0.me).chain(peers).collect()
    }

    fn send_probe(&self, to: NodeId, probe: proto::kv::Probe) {
        if to == self.0.me {
            if let Some(db) = self.0.db() {
                db.on_probe(probe);
            }
        } else if let Some(peer) = self.0.peers.get(to) {
            peer.outbox.probe(probe);
        }
    }

    fn send_wait_notice(&self, to: NodeId, notice: proto::kv::WaitNotice) {
        if to == self.0.me {
            if let Some(db) = self.0.db() {
                db.on_wait_notice(notice);
            }
        } else if let Some(peer) = self.0.peers.get(to) {
            peer.outbox.wait_notice(notice);
        }
    }
}
