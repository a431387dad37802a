//! The gRPC service that peers, `init` and `status` call.

use std::pin::Pin;
use std::sync::Arc;

use base::NodeId;
use futures::{Stream, StreamExt, TryStreamExt};
use proto::node as msg;
use proto::node::peer_server::{Peer, PeerServer};
use tonic::{Request, Response, Status, Streaming};

use super::delay::delayed;
use super::inbound::{Inbound, dispatch};
use super::link::MESSAGE_BYTES_MAX;
use crate::tls::{PeerName, SUPERUSER};

/// What the service answers from. Until the node is part of a cluster only `join` and `init` mean
/// something; the rest is refused as unavailable.
#[tonic::async_trait]
pub(crate) trait Member: Send + Sync + 'static {
    fn inbound(&self) -> Option<Arc<dyn Inbound>>;
    async fn join(&self, request: msg::JoinRequest) -> Result<msg::JoinResponse, Status>;
    async fn init(self: Arc<Self>) -> Result<msg::InitResponse, Status>;
    async fn status(&self, led_only: bool) -> Result<msg::StatusResponse, Status>;
    async fn install_snapshot(
        &self,
        header: msg::SnapshotHeader,
        chunks: Streaming<msg::SnapshotChunk>,
    ) -> Result<msg::SnapshotAck, Status>;
}

/// The service.
pub(crate) struct PeerService {
    member: Arc<dyn Member>,
}

impl PeerService {
    pub(crate) fn server(member: Arc<dyn Member>) -> PeerServer<Self> {
        PeerServer::new(PeerService { member })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// 7 (permission denied) unless a connection over TLS was made with a certificate of one of these.
fn only<T>(request: &Request<T>, names: &[&str]) -> Result<(), Status> {
    // In the clear nobody shows a certificate: that is the insecure mode.
    let Some(PeerName(name)) = request.extensions().get::<PeerName>() else { return Ok(()) };
    match name.as_deref().is_some_and(|name| names.contains(&name)) {
        true => Ok(()),
        false => Err(Status::permission_denied("this certificate is not one for that")),
    }
}

type FrameStream = Pin<Box<dyn Stream<Item = Result<msg::Frame, Status>> + Send>>;

#[tonic::async_trait]
impl Peer for PeerService {
    type ExchangeStream = FrameStream;

    async fn exchange(
        &self,
        request: Request<Streaming<msg::Frame>>,
    ) -> Result<Response<FrameStream>, Status> {
        only(&request, &[certs::NODE])?;
        let inbound =
            self.member.inbound().ok_or_else(|| Status::unavailable("not in a cluster yet"))?;
        let mut frames = request.into_inner();
        // The dialler's name is in its first frame; every node sends one within a liveness
        // interval.
        let first =
            frames.message().await?.ok_or_else(|| Status::cancelled("no frame was sent"))?;
        let peer = inbound
            .peer(NodeId(first.from))
            .ok_or_else(|| Status::unavailable(format!("n{} is not known here", first.from)))?;
        let outgoing = peer.outbox.attach().map(Ok).boxed();
        tokio::spawn(async move {
            dispatch(inbound.as_ref(), &peer, first);
            let mut frames = delayed(frames, peer.delay);
            loop {
                match frames.try_next().await {
                    Ok(Some(frame)) => dispatch(inbound.as_ref(), &peer, frame),
                    Ok(None) => break,
                    Err(status) => {
                        tracing::debug!(peer = %peer.id, %status, "stream broke");
                        peer.calls.fail_all("the connection broke");
                        break;
                    }
                }
            }
        });
        Ok(Response::new(outgoing))
    }

    async fn send_snapshot(
        &self,
        request: Request<Streaming<msg::SnapshotChunk>>,
    ) -> Result<Response<msg::SnapshotAck>, Status> {
        only(&request, &[certs::NODE])?;
        let mut chunks = request.into_inner();
        let header = chunks
            .message()
            .await?
            .and_then(|chunk| chunk.header)
            .ok_or_else(|| Status::invalid_argument("a snapshot starts with its header"))?;
        self.member.install_snapshot(header, chunks).await.map(Response::new)
    }

    async fn join(
        &self,
        request: Request<msg::JoinRequest>,
    ) -> Result<Response<msg::JoinResponse>, Status> {
        only(&request, &[certs::NODE])?;
        self.member.join(request.into_inner()).await.map(Response::new)
    }

    async fn init(
        &self,
        request: Request<msg::InitRequest>,
    ) -> Result<Response<msg::InitResponse>, Status> {
        only(&request, &[certs::NODE, SUPERUSER])?;
        Arc::clone(&self.member).init().await.map(Response::new)
    }

    async fn status(
        &self,
        request: Request<msg::StatusRequest>,
    ) -> Result<Response<msg::StatusResponse>, Status> {
        only(&request, &[certs::NODE, SUPERUSER])?;
        self.member.status(request.into_inner().led_only).await.map(Response::new)
    }
}
