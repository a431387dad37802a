//! What this node tells about itself, for people to look at: its coordinators, and the lock tables of the
//! ranges that it leads. Read under each replica's mutex, one after the other.

use std::sync::Arc;

use base::NodeId;
use proto::kv::inspect::What;
use proto::kv::range_response::Response;
use proto::kv::{Inspect, Inspected, LockInfo, Obstacle, RangeResponse, Span, TxnMeta};
use range::eval::strength_out;
use txn::lock_table::Place;

use super::Store;

/// Rows of lock tables in one answer: what nobody can read need not be sent.
const LOCKS_MAX: usize = 10_000;

impl Store {
    pub(super) fn inspect(self: &Arc<Self>, inspect: &Inspect) -> RangeResponse {
        let answered = self.db().map(|db| db.answer_inspection(inspect));
        let mut answer: Inspected = answered.unwrap_or_default();
        if inspect.what() == What::Locks {
            answer.locks = self.lock_rows();
        }
        RangeResponse { error: None, response: Some(Response::Inspected(answer)) }
    }

    /// Whether a node is live as far as this one has heard.
    pub(super) fn hears_of(&self, node: NodeId) -> bool {
        node == self.me || self.liveness.read().is_live(node, self.now())
    }

    fn lock_rows(&self) -> Vec<LockInfo> {
        let now = self.now();
        let mut rows = Vec::new();
        for cell in self.all_cells() {
            let state = cell.state.lock();
            let Some(evaluator) = state.replica.evaluator() else { continue };
            for row in evaluator.lock_rows() {
                if rows.len() >= LOCKS_MAX {
                    return rows;
                }
                let wait = evaluator.wait_of(&row.place, row.owner.txn).filter(|_| !row.granted);
                let (since, behind) = wait.unwrap_or((now, Vec::new()));
                rows.push(LockInfo {
                    key: row.place.start().0.clone(),
                    span: span_of(row.place),
                    txn: Some(meta(row.owner)),
                    strength: strength_out(row.strength) as i32,
                    granted: row.granted,
                    range_id: cell.id.0,
                    waited_ms: now.saturating_sub(since) / 1000,
                    behind: behind
                        .into_iter()
                        .map(|ahead| Obstacle {
                            txn: Some(meta(ahead.owner)),
                            strength: strength_out(ahead.strength) as i32,
                        })
                        .collect(),
                });
            }
        }
        rows
    }
}

fn span_of(place: Place) -> Option<Span> {
    match place {
        Place::Key(_) => None,
        Place::Span(span) => Some(span.into()),
    }
}

fn meta(owner: txn::Owner) -> TxnMeta {
    TxnMeta {
        id: owner.txn.0,
        start_ts: owner.start.0,
        isolation: 0,
        coordinator: owner.coordinator.0,
        incarnation: owner.incarnation,
    }
}
