//! What the nodes know, for people to look at: transactions, locks, sessions, conflicts.
//!
//! ```text
//!   Db::inspect ──Inspect──▶ every node ──▶ Db::answer_inspection      registry, ring of conflicts
//!                                      └──▶ the node's lock tables      LOCKS
//! ```
//!
//! Nothing here decides anything. A node that does not answer within a second is left out, and the
//! caller is told which.
//!
//! Conflicts that ended statements are kept in a ring of [`crate::Config::contention_events`] entries on
//! the node whose client was told.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::{Key, NodeId, Timestamp, TxnId};
use futures::future::{Either, join_all, select};
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use proto::kv;
use proto::kv::inspect::What;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;

use crate::activity::{Activity, Client};
use crate::db::Db;

/// How long a node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long an error waits to learn who was in the way.
const WHO_WITHIN: Duration = Duration::from_millis(250);

/// The conflicts that sessions of this node were told of, newest last.
#[derive(Debug, Default)]
pub(crate) struct Contention(Mutex<VecDeque<kv::ContentionEvent>>);

impl Contention {
    fn push(&self, event: kv::ContentionEvent, capacity: usize) {
        let mut events = self.0.lock();
        while events.len() >= capacity.max(1) {
            events.pop_front();
        }
        events.push_back(event);
    }

    fn all(&self) -> Vec<kv::ContentionEvent> {
        self.0.lock().iter().cloned().collect()
    }
}

impl Db {
    /// A session begins, at `now_us` by the wall clock; it is seen until the last reference to what is
    /// returned is dropped.
    #[must_use]
    pub fn open_session(&self, client: Client, now_us: u64) -> Arc<Activity> {
        self.shared.registry.open_session(client, now_us)
    }

    /// How many sessions a role has on this node.
    #[must_use]
    pub fn sessions_of(&self, user: &str) -> usize {
        self.shared.registry.sessions_of(user)
    }

    /// Keeps a conflict that a client is told of.
    pub fn note_contention(&self, event: kv::ContentionEvent) {
        self.shared.contention.push(event, self.shared.router.config.contention_events);
    }

    /// Asks every node, and returns what each has answered; none where it did not in time.
    pub async fn inspect(&self, what: What) -> Vec<(NodeId, Option<kv::Inspected>)> {
        let nodes = self.shared.router.transport.nodes();
        let asked = nodes.into_iter().map(|node| async move {
            let inspect = kv::Inspect { what: what as i32, ..kv::Inspect::default() };
            (node, self.ask(node, inspect, ANSWER_WITHIN).await)
        });
        join_all(asked).await
    }

    /// Who a transaction is, wherever it runs or ran; none if nobody knows, or not soon enough.
    pub async fn who(&self, txn: TxnId) -> Option<kv::TxnInfo> {
        let nodes = self.shared.router.transport.nodes();
        let inspect =
            kv::Inspect { what: What::Txn as i32, txn_id: txn.0, key: Default::default() };
        let ask = |node| self.ask(node, inspect.clone(), WHO_WITHIN);
        let mut answers: FuturesUnordered<_> = nodes.into_iter().map(ask).collect();
        while let Some(answer) = answers.next().await {
            if let Some(found) = answer.and_then(|answer| answer.txns.into_iter().next()) {
                return Some(found);
            }
        }
        None
    }

    /// Asks one node.
    pub(crate) async fn ask(
        &self,
        node: NodeId,
        inspect: kv::Inspect,
        within: Duration,
    ) -> Option<kv::Inspected> {
        let router = &self.shared.router;
        let request =
            kv::RangeRequest { range_id: 0, txn: None, request: Some(Request::Inspect(inspect)) };
        let answer = router.transport.send(node, request);
        match select(answer, router.runtime.sleep(within)).await {
            Either::Left((Ok(kv::RangeResponse { response, .. }), _)) => match response {
                Some(Response::Inspected(inspected)) => Some(inspected),
                Some(_) | None => None,
            },
            Either::Left((Err(_), _)) | Either::Right(_) => None,
        }
    }

    /// What this node's coordinators and sessions know. Lock tables are the node's to add.
    #[must_use]
    pub fn answer_inspection(&self, inspect: &kv::Inspect) -> kv::Inspected {
        let shared = &self.shared;
        let (_, incarnation) = shared.router.transport.local_node();
        let mut answer = kv::Inspected { incarnation, ..kv::Inspected::default() };
        match inspect.what() {
            What::Txn => {
                let txn = TxnId(inspect.txn_id);
                let running = shared.registry.get(txn).map(|inner| inner.info());
                answer.txns.extend(running.or_else(|| shared.registry.ended(txn)));
            }
            What::Txns => {
                answer.txns = shared.registry.running().iter().map(|inner| inner.info()).collect();
            }
            What::Locks => {}
            What::Alive => {
                answer.held = shared.router.transport.hears_of(NodeId(inspect.txn_id));
            }
            What::Xact => answer.held = shared.xacts.is_open(Timestamp(inspect.txn_id)),
            What::Events => answer.events = shared.contention.all(),
            What::Sessions => answer.sessions = shared.registry.sessions(),
            What::Reassert => {
                answer.held = self.reassert(TxnId(inspect.txn_id), &Key(inspect.key.clone()));
            }
        }
        answer
    }
}
