//! What this node tells about itself, for people to look at: its coordinators, and the lock tables of the
//! ranges that it leads. Read under each replica's mutex, one after the other.

use std::sync::Arc;

use base::NodeId;
use proto::kv::inspect::What;
use proto::kv::range_response::Response;
use proto::kv::{Inspect, Inspected, LockInfo, RangeResponse};
use range::eval::lock_infos;

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
            rows.extend(lock_infos(evaluator, cell.id, now).take(LOCKS_MAX - rows.len()));
        }
        rows
    }
}
