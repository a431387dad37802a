//! Keeping a stream to one peer: dials when there is none, again and again.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use proto::node::peer_client::PeerClient;
use tonic::transport::Channel;

use super::Peer;
use super::delay::delayed;
use super::inbound::{Inbound, dispatch};

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Frames hold snapshots' neighbours at most: entries of up to some MiB.
pub(crate) const MESSAGE_BYTES_MAX: usize = 128 << 20;

/// A client whose messages may be as large as ours get.
pub(crate) fn client(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Runs for as long as the peer is known.
pub(super) async fn keep(peer: Arc<Peer>, inbound: Arc<dyn Inbound>) {
    let mut backoff = BACKOFF_MIN;
    loop {
        // The peer may have dialled us; its address may not be known yet.
        if !peer.outbox.connected() && !peer.address.read().is_empty() {
            match exchange(&peer, inbound.as_ref()).await {
                Ok(()) => backoff = BACKOFF_MIN,
                Err(reason) => tracing::debug!(peer = %peer.id, %reason, "no stream"),
            }
            peer.calls.fail_all("the connection broke");
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

async fn exchange(peer: &Arc<Peer>, inbound: &dyn Inbound) -> Result<(), tonic::Status> {
    let address = peer.address.read().clone();
    let unreachable = |e: tonic::transport::Error| tonic::Status::unavailable(e.to_string());
    let channel = peer.dialer.connect(&address).await.map_err(unreachable)?;
    let frames = client(channel).exchange(peer.outbox.attach()).await?.into_inner();
    let mut frames = delayed(frames, peer.delay);
    tracing::debug!(peer = %peer.id, %address, "stream is up");
    while let Some(frame) = frames.try_next().await? {
        dispatch(inbound, peer, frame);
    }
    Ok(())
}
