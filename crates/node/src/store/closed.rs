//! Promises of closed timestamps between nodes (`range::closed`): once a second, one small message to
//! each peer, for all ranges led here.
//!
//! The time is the oracle's: what this node has drawn anyhow, or one timestamp drawn for the purpose
//! where it has drawn none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{NodeId, RangeId, Timestamp};
use proto::kv::RangeRequest;
use proto::kv::range_request::Request;
use proto::node::Closed;
use range::closed::{Promise, Receiver, Sender};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Store;
use crate::config::CLOSED_INTERVAL;
use crate::transport::Peer;

/// How long the oracle is waited for. Without it nothing new can be closed.
const DRAW_PATIENCE: Duration = Duration::from_secs(2);

/// What was said to the peers, and what they said.
#[derive(Default)]
pub(super) struct Closing {
    senders: BTreeMap<NodeId, Sender>,
    pub(super) receiver: Receiver,
}

/// Runs for as long as the node is a member.
pub(crate) async fn keep_closed(store: Arc<Store>) {
    let mut turns = interval(CLOSED_INTERVAL);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Timestamp::ZERO;
    while !store.is_stopping() {
        turns.tick().await;
        let Some(db) = store.db().cloned() else { continue };
        if db.newest_known() == last {
            // No answer, or an error: next time.
            drop(timeout(DRAW_PATIENCE, db.now()).await);
        }
        last = db.newest_known();
        store.close(&db, last);
    }
}

impl Store {
    fn close(&self, db: &kv::Db, issued: Timestamp) {
        let lag = Timestamp::from_millis(self.open.config.eval.close_lag_ms);
        let closed = Timestamp(issued.0.saturating_sub(lag.0));
        let mut led: BTreeMap<NodeId, BTreeMap<RangeId, u64>> = BTreeMap::new();
        for cell in self.all_cells() {
            let mut state = cell.state.lock();
            let promised = self.with_ctx(|ctx| state.replica.close(ctx, issued));
            // A range that can't promise as much as the others is left out of the message.
            let Some((index, _)) = promised.filter(|(_, ts)| *ts >= closed) else { continue };
            for replica in &state.replica.descriptor().replicas {
                led.entry(NodeId(replica.node_id)).or_default().insert(cell.id, index);
            }
        }
        let oldest = db.oldest_snapshot();
        let mut closing = self.closing.lock();
        let nothing = BTreeMap::new();
        for peer in self.peers.all() {
            let sender = closing.senders.entry(peer.id).or_default();
            let message = sender.next(closed, led.get(&peer.id).unwrap_or(&nothing), oldest);
            if !peer.outbox.closed(message) {
                sender.start_over();
            }
        }
    }

    /// A peer's promises have come.
    pub(crate) fn on_closed(&self, peer: &Arc<Peer>, incarnation: u64, message: &Closed) {
        let due = self.closing.lock().receiver.receive(peer.id, incarnation, message);
        let Some(due) = due else { return peer.outbox.closed_again() };
        for Promise { range, index, ts } in due {
            if let Some(cell) = self.cell(range) {
                cell.state.lock().replica.promised(index, ts);
            }
        }
    }

    /// A peer has missed some of our promises.
    pub(crate) fn closed_again(&self, peer: NodeId) {
        if let Some(sender) = self.closing.lock().senders.get_mut(&peer) {
            sender.start_over();
        }
    }

    /// The newest promise for the range, if the request is one that any replica may answer: quiet
    /// ranges are not told of every one.
    pub(super) fn promise_for(&self, request: &RangeRequest) -> Option<Promise> {
        match request.request {
            Some(Request::Get(_) | Request::Scan(_)) if request.txn.is_none() => {
                self.closing.lock().receiver.lookup(RangeId(request.range_id))
            }
            _ => None,
        }
    }
}
