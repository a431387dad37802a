//! Snapshots over the wire: checksummed chunks (`storage::mvcc::RawReader`), a stream of their own
//! so that they hold up nobody.

use std::sync::Arc;

use base::{NodeId, RangeId};
use bytes::Bytes;
use futures::{StreamExt, stream};
use proto::node::{SnapshotAck, SnapshotChunk, SnapshotHeader};
use range::SnapshotSource;
use tonic::{Status, Streaming};

use super::Store;
use crate::transport;

/// Bytes of one chunk.
const CHUNK_BYTES: usize = 1 << 20;
/// The largest snapshot taken in: ranges split long before.
const SNAPSHOT_BYTES_MAX: usize = 2 << 30;

/// Sends a snapshot; answers whether it arrived and was taken.
pub(super) async fn send(store: &Arc<Store>, to: NodeId, source: SnapshotSource) -> bool {
    let range = source.header().range_id;
    match stream_to(store, to, source).await {
        Ok(ack) if ack.accepted => true,
        Ok(ack) => {
            tracing::info!(range, %to, reason = ack.reason, "snapshot refused");
            false
        }
        Err(error) => {
            tracing::info!(range, %to, %error, "snapshot not sent");
            false
        }
    }
}

async fn stream_to(
    store: &Arc<Store>,
    to: NodeId,
    source: SnapshotSource,
) -> Result<SnapshotAck, Status> {
    let peer = store.peers.get(to).ok_or_else(|| Status::unavailable("unknown node"))?;
    let address = peer.address.read().clone();
    let unreachable = |e: tonic::transport::Error| Status::unavailable(e.to_string());
    let channel = peer.dialer.connect(&address).await.map_err(unreachable)?;
    let header = SnapshotChunk { header: Some(source.header().clone()), ..Default::default() };
    // Chunks are read as the stream asks for them: a slow receiver costs no memory here. One that
    // can't be read ends the stream without its last chunk, which the receiver refuses.
    let chunks = stream::unfold(Some(source), |source| async move {
        let mut source = source?;
        match source.next_chunk(CHUNK_BYTES) {
            Ok(Some(data)) => Some((chunk(data, false), Some(source))),
            Ok(None) => Some((chunk(Bytes::new(), true), None)),
            Err(error) => {
                tracing::error!(%error, "a snapshot can't be read");
                None
            }
        }
    });
    let stream = stream::iter([header]).chain(chunks);
    transport::client(channel).send_snapshot(stream).await.map(tonic::Response::into_inner)
}

fn chunk(data: Bytes, last: bool) -> SnapshotChunk {
    SnapshotChunk { header: None, data, last }
}

/// Takes a snapshot in.
pub(crate) async fn receive(
    store: &Arc<Store>,
    header: SnapshotHeader,
    mut chunks: Streaming<SnapshotChunk>,
) -> Result<SnapshotAck, Status> {
    let mut received = Vec::new();
    let mut bytes = 0;
    loop {
        let next = chunks.message().await?;
        let chunk = next.ok_or_else(|| Status::data_loss("the snapshot has no end"))?;
        if chunk.last {
            break;
        }
        bytes += chunk.data.len();
        if bytes > SNAPSHOT_BYTES_MAX {
            return Err(Status::resource_exhausted("the snapshot is too large"));
        }
        received.push(chunk.data);
    }
    let range = RangeId(header.range_id);
    let outcome = store.install(header, received);
    store.metrics.snapshots.inc();
    Ok(match outcome {
        Ok(()) => {
            tracing::info!(%range, bytes, "snapshot received");
            SnapshotAck { accepted: true, reason: String::new() }
        }
        Err(reason) => SnapshotAck { accepted: false, reason },
    })
}
