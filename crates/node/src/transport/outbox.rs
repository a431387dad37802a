//! What waits to be sent to one peer, merged to the next frame.
//!
//! # Invariants
//!
//! - **O1** At most one stream takes frames: the one attached last. An earlier one ends.
//! - **O2** A full outbox drops Raft messages and refuses calls; it never grows without bound.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use base::NodeId;
use futures::Stream;
use parking_lot::Mutex;
use proto::kv::{Probe, WaitNotice};
use proto::node::{Call, Closed, Frame, Liveness, RaftMessage, Reply};

/// Messages that may wait for a peer before Raft's are dropped and calls refused.
const MESSAGES_MAX: usize = 8192;
/// Bytes of Raft messages that may wait for a peer.
const RAFT_BYTES_MAX: usize = 64 << 20;
/// Bytes of Raft messages in one frame.
const FRAME_BYTES_MAX: usize = 4 << 20;

/// The queue of one peer. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outbox {
    shared: Arc<Mutex<State>>,
    from: NodeId,
    incarnation: u64,
}

#[derive(Default)]
struct State {
    pending: Frame,
    raft_bytes: usize,
    // The stream that owns the outbox (O1); 0: none.
    owner: u64,
    streams: u64,
    waker: Option<Waker>,
    closed: bool,
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn is_empty(&self) -> bool {
        let f = &self.pending;
        f.raft.is_empty()
            && f.calls.is_empty()
            && f.replies.is_empty()
            && f.liveness.is_none()
            && f.wait_notices.is_empty()
            && f.probes.is_empty()
            && f.closed.is_none()
            && !f.closed_again
    }

    fn take(&mut self) -> Frame {
        let mut frame = std::mem::take(&mut self.pending);
        let mut bytes = 0;
        let fits = frame
            .raft
            .iter()
            .take_while(|m| {
                bytes += m.message.len();
                bytes <= FRAME_BYTES_MAX
            })
            .count()
            .max(1);
        if fits < frame.raft.len() {
            self.pending.raft = frame.raft.split_off(fits);
        }
        self.raft_bytes = self.pending.raft.iter().map(|m| m.message.len()).sum();
        frame
    }
}

impl Outbox {
    pub(crate) fn new(from: NodeId, incarnation: u64) -> Self {
        Outbox { shared: Arc::default(), from, incarnation }
    }

    fn push(&self, put: impl FnOnce(&mut State)) {
        let mut state = self.shared.lock();
        put(&mut state);
        state.wake();
    }

    /// Queues Raft messages, or drops them when there is no room (O2).
    pub(crate) fn raft(&self, messages: impl IntoIterator<Item = RaftMessage>) {
        self.push(|state| {
            for message in messages {
                let bytes = message.message.len();
                if state.pending.raft.len() < MESSAGES_MAX
                    && state.raft_bytes + bytes <= RAFT_BYTES_MAX
                {
                    state.raft_bytes += bytes;
                    state.pending.raft.push(message);
                }
            }
        });
    }

    /// Queues a call; false when there is no stream or no room.
    pub(crate) fn call(&self, call: Call) -> bool {
        let mut state = self.shared.lock();
        if state.owner == 0 || state.closed || state.pending.calls.len() >= MESSAGES_MAX {
            return false;
        }
        state.pending.calls.push(call);
        state.wake();
        true
    }

    pub(crate) fn reply(&self, reply: Reply) {
        self.push(|state| state.pending.replies.push(reply));
    }

    /// Merges a liveness request or promise into the next frame.
    pub(crate) fn liveness(&self, liveness: Liveness) {
        self.push(|state| {
            let next = state.pending.liveness.get_or_insert_default();
            if liveness.asked_at_us != 0 {
                next.asked_at_us = liveness.asked_at_us;
            }
            if liveness.support_epoch != 0 {
                next.echo_us = liveness.echo_us;
                next.support_epoch = liveness.support_epoch;
                next.echo_incarnation = liveness.echo_incarnation;
            }
            next.withdraw |= liveness.withdraw;
        });
    }

    pub(crate) fn wait_notice(&self, notice: WaitNotice) {
        self.push(|state| {
            if state.pending.wait_notices.len() < MESSAGES_MAX {
                state.pending.wait_notices.push(notice);
            }
        });
    }

    pub(crate) fn probe(&self, probe: Probe) {
        self.push(|state| {
            if state.pending.probes.len() < MESSAGES_MAX {
                state.pending.probes.push(probe);
            }
        });
    }

    /// Queues what is promised of closed timestamps; false when there is no stream, or the message
    /// before is still waiting: then all must be said anew.
    pub(crate) fn closed(&self, closed: Closed) -> bool {
        let mut state = self.shared.lock();
        if state.owner == 0 || state.closed || state.pending.closed.is_some() {
            return false;
        }
        state.pending.closed = Some(closed);
        state.wake();
        true
    }

    /// Asks the peer to say all of its promises anew.
    pub(crate) fn closed_again(&self) {
        self.push(|state| state.pending.closed_again = true);
    }

    /// Whether a stream to the peer is up.
    pub(crate) fn connected(&self) -> bool {
        self.shared.lock().owner != 0
    }

    /// Makes a new stream the owner; the one before ends (O1).
    pub(crate) fn attach(&self) -> Frames {
        let mut state = self.shared.lock();
        state.streams += 1;
        state.owner = state.streams;
        state.wake();
        Frames { outbox: self.clone(), id: state.owner }
    }

    pub(crate) fn close(&self) {
        self.push(|state| state.closed = true);
    }
}

/// The frames of one stream, made when the stream asks for the next.
pub(crate) struct Frames {
    outbox: Outbox,
    id: u64,
}

impl Stream for Frames {
    type Item = Frame;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let mut state = self.outbox.shared.lock();
        if state.closed || state.owner != self.id {
            return Poll::Ready(None);
        }
        if state.is_empty() {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut frame = state.take();
        frame.from = self.outbox.from.0;
        frame.incarnation = self.outbox.incarnation;
        Poll::Ready(Some(frame))
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let mut state = self.outbox.shared.lock();
        if state.owner == self.id {
            state.owner = 0;
            state.waker = None;
            // What waited may be stale by the time a stream is back; replies go to a caller that
            // has been told that its stream broke.
            state.pending = Frame::default();
            state.raft_bytes = 0;
        }
    }
}
