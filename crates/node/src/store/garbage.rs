//! Garbage collection of the ranges led here: up to where, when, and how fast.
//!
//! ```text
//!                 gc.ttl                      time of the oracle
//!   ──────────────┬───────────────────────────────▶ now
//!          ▲      └ not above this
//!          └ nor above the oldest snapshot that any node has open,
//!            which holds it back by gc.hold_max at most
//! ```
//!
//! Each node tells its oldest snapshot along with its promises of closed timestamps. A node that is not
//! live does not count: its transactions have lost their locks, or are about to; and who reads below the
//! point after all gets an error, not an answer with holes.
//!
//! The same point decides when the data of dropped tables goes (`sql::Reclaimer`), and the one for records,
//! `gc.records_ttl` behind, when outcomes of transactions are forgotten (`kv::xact`).
//!
//! Ranges where nothing was written since the last pass are not touched. The others are gone through one
//! after the other, in small steps with pauses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::{Timestamp, keyspace};
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::kv::{Collect, RangeRequest};
use sql::settings::cluster::Retention;

use super::{Cell, Outcome, Store};

/// Turns follow each other at a quarter of `gc.ttl`, but not faster and not slower than this.
const TURN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// Between two steps of a pass: others want the disk too.
const STEP_PAUSE: Duration = Duration::from_millis(20);
/// How long a step may take.
const STEP_PATIENCE: Duration = Duration::from_secs(10);
/// What the others have open is not known right after the start.
const SETTLE_IN_US: u64 = 10_000_000;

/// Runs for as long as the node is a member.
pub(crate) async fn collect_garbage(store: Arc<Store>) {
    let mut retention = Retention::default();
    while !store.is_stopping() {
        tokio::time::sleep((retention.ttl / 4).clamp(TURN.0, TURN.1)).await;
        let Some(db) = store.db().cloned() else { continue };
        match db.cluster_settings().await {
            Ok(settings) => retention = Retention::of(&settings),
            Err(error) => tracing::debug!(%error, "the retention is as it was"),
        }
        store.collect_turn(&db, &retention).await;
    }
}

impl Store {
    /// Nobody reads a snapshot below it any more, as far as this node knows.
    pub(crate) fn safe_point(&self) -> Option<Timestamp> {
        Some(Timestamp(self.safe_point.load(Ordering::Relaxed))).filter(|ts| *ts > Timestamp::ZERO)
    }

    async fn collect_turn(self: &Arc<Self>, db: &kv::Db, retention: &Retention) {
        let Some(point) = self.find_safe_point(db, retention) else { return };
        self.safe_point.store(point.0, Ordering::Relaxed);
        self.metrics.garbage_turns.inc();
        let records = before(db.newest_known(), retention.records_ttl).min(point);
        for cell in self.all_cells() {
            if self.is_stopping() {
                return;
            }
            if cell.state.lock().replica.is_worth_collecting(point, records) {
                self.collect_range(&cell, point, records).await;
            }
        }
        if self.leads(&[keyspace::XACTS])
            && let Err(error) = db.forget_xacts(records).await
        {
            tracing::debug!(%error, "old outcomes are left for the next turn");
        }
    }

    fn leads(&self, key: &[u8]) -> bool {
        self.all_cells().iter().any(|cell| {
            let state = cell.state.lock();
            let replica = &state.replica;
            replica.evaluator().is_some() && replica.descriptor().span().contains(key)
        })
    }

    /// One pass over a range.
    async fn collect_range(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        point: Timestamp,
        records: Timestamp,
    ) {
        loop {
            let collect = Collect { safe_point: point.0, records_below: Some(records.0) };
            let request = Some(Request::Collect(collect));
            let answer = match self.call(RangeRequest { range_id: cell.id.0, txn: None, request }) {
                Outcome::Ready(response) => Some(response),
                Outcome::Later(answer) => {
                    tokio::time::timeout(STEP_PATIENCE, answer).await.ok().and_then(Result::ok)
                }
            };
            // A range that has moved is its new leader's.
            let Some(Response::Collected(done)) = answer.and_then(|a| a.response) else { return };
            self.metrics.garbage_dropped.inc_by(done.dropped);
            tokio::time::sleep(STEP_PAUSE).await;
            if !done.more || self.is_stopping() {
                return;
            }
        }
    }

    fn find_safe_point(&self, db: &kv::Db, retention: &Retention) -> Option<Timestamp> {
        let now = self.now();
        let newest = db.newest_known();
        if now < SETTLE_IN_US || newest == Timestamp::ZERO {
            return None;
        }
        let mut oldest = db.oldest_snapshot();
        let closing = self.closing.lock();
        for peer in self.peers.all() {
            if !self.liveness.read().is_live(peer.id, now) {
                continue;
            }
            if !closing.receiver.has_heard(peer.id) {
                return None;
            }
            let theirs = closing.receiver.oldest_snapshot(peer.id);
            oldest = [oldest, theirs].into_iter().flatten().min();
        }
        let usual = before(newest, retention.ttl);
        let least = before(usual, retention.hold_max);
        Some(usual.min(oldest.unwrap_or(usual)).max(least)).filter(|ts| *ts > Timestamp::ZERO)
    }
}

fn before(ts: Timestamp, by: Duration) -> Timestamp {
    let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(ts.millis().saturating_sub(millis))
}
