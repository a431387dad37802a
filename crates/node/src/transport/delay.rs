//! Frames as they come, or held back: wires of a chosen length, for tests that count round trips.

use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use proto::node::Frame;
use tokio::time::Instant;
use tonic::{Status, Streaming};

/// Frames on their way at once; beyond, the sender is held up.
const ON_THE_WAY_MAX: usize = 65_536;

/// Incoming frames, in order, each `by` later than it came.
pub(super) fn delayed(
    frames: Streaming<Frame>,
    by: Duration,
) -> BoxStream<'static, Result<Frame, Status>> {
    if by.is_zero() {
        return frames.boxed();
    }
    let held = frames.map(move |frame| {
        let due = Instant::now() + by;
        async move {
            tokio::time::sleep_until(due).await;
            frame
        }
    });
    held.buffered(ON_THE_WAY_MAX).boxed()
}
