//! How requests reach the fake cluster: at once on the same node, after a pause on another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Key, NodeId, Timestamp};
use bytes::Bytes;
use futures::future::BoxFuture;
use proto::kv;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;

use super::Fake;
use super::eval::Verdict;
use super::locks::conflict;
use super::store::Placed;
use crate::transport::{Transport, TransportError};

/// A request that waited so long tells its coordinator.
const NOTICE_AFTER: Duration = Duration::from_millis(20);

pub(super) struct FakeTransport {
    fake: Arc<Fake>,
    node: NodeId,
}

impl FakeTransport {
    pub(super) fn new(fake: Arc<Fake>, node: NodeId) -> Self {
        FakeTransport { fake, node }
    }
}

impl Transport for FakeTransport {
    fn send(
        &self,
        to: NodeId,
        request: kv::RangeRequest,
    ) -> BoxFuture<'_, Result<kv::RangeResponse, TransportError>> {
        Box::pin(async move {
            let (lose_request, lose_reply, latency) = self.fake.luck();
            if to != self.node {
                if latency.is_zero() {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(latency).await;
                }
            }
            if self.fake.store.lock().is_down(to) {
                return Err(TransportError::NotSent(to));
            }
            if lose_request {
                return Err(TransportError::AnswerLost(to));
            }
            let response = self.fake.carry_out(to, request).await;
            if lose_reply { Err(TransportError::AnswerLost(to)) } else { Ok(response) }
        })
    }

    fn local_node(&self) -> (NodeId, u64) {
        (self.node, 1)
    }

    fn hears_of(&self, node: NodeId) -> bool {
        !self.fake.store.lock().is_down(node)
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.fake.nodes.clone()
    }

    fn send_probe(&self, to: NodeId, probe: kv::Probe) {
        if let Some(db) = self.fake.db_of(to) {
            db.on_probe(probe);
        }
    }

    fn send_wait_notice(&self, to: NodeId, notice: kv::WaitNotice) {
        if let Some(db) = self.fake.db_of(to) {
            db.on_wait_notice(notice);
        }
    }
}

impl Fake {
    fn db_of(&self, node: NodeId) -> Option<crate::Db> {
        let shared = self.dbs.lock().get(&node)?.upgrade()?;
        Some(crate::Db { shared })
    }

    /// Whether the request and its answer get lost, and how long it takes.
    fn luck(&self) -> (bool, bool, Duration) {
        let mut faults = self.faults.lock();
        let mut roll = || {
            // Knuth's MMIX generator.
            faults.1 = faults
                .1
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((faults.1 >> 33) % 1000) as u32
        };
        let (request, reply) = (roll(), roll());
        let faults = &faults.0;
        (request < faults.requests_lost, reply < faults.replies_lost, faults.latency)
    }

    fn inspect(&self, node: NodeId, inspect: &kv::Inspect) -> kv::RangeResponse {
        let db = self.db_of(node);
        let mut answer = db.map(|db| db.answer_inspection(inspect)).unwrap_or_default();
        if inspect.what() == kv::inspect::What::Locks {
            answer.locks = self.store.lock().inspect_locks(node);
        }
        kv::RangeResponse { error: None, response: Some(Response::Inspected(answer)) }
    }

    async fn carry_out(&self, node: NodeId, request: kv::RangeRequest) -> kv::RangeResponse {
        if let Some(Request::Inspect(inspect)) = &request.request {
            return self.inspect(node, inspect);
        }
        let started = Instant::now();
        let limit = match &request.request {
            Some(
                Request::LockKeys(kv::LockKeys { timeout_ms, .. })
                | Request::LockSpans(kv::LockSpans { timeout_ms, .. }),
            ) if *timeout_ms > 0 => Some(Duration::from_millis(*timeout_ms)),
            Some(_) | None => None,
        };
        let mut notice_at = NOTICE_AFTER;
        let mut waiting = Waiting { fake: self, txn: request.txn, keys: Vec::new() };
        loop {
            // Listening begins before the look, so that no change falls in between.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let verdict = self.store.lock().evaluate(node, &request);
            let (key, holder, held, queued, replicated) = match verdict {
                Verdict::Done(mut response) => {
                    self.changed.notify_waiters();
                    if let Response::LockKeys(locked) = &mut response
                        && !waiting.keys.is_empty()
                    {
                        locked.waited_us = started.elapsed().as_micros() as u64;
                    }
                    return kv::RangeResponse { error: None, response: Some(response) };
                }
                Verdict::Refused(error) => {
                    self.changed.notify_waiters();
                    return refusal(error);
                }
                Verdict::Wait { key, holder, held, queued, replicated } => {
                    (key, holder, held, queued, replicated)
                }
            };
            if !waiting.keys.contains(&key) {
                waiting.keys.push(key.clone());
            }
            let waited = started.elapsed();
            if limit.is_some_and(|limit| waited >= limit) {
                let waited = waited.as_millis() as u64;
                return refusal(conflict(&key, wish_of(&request), (&holder, held), waited, true));
            }
            if waited >= notice_at {
                notice_at = waited + NOTICE_AFTER;
                let waited = waited.as_millis() as u64;
                self.tell_coordinator(&request, key, (holder, held), queued, waited);
            }
            if let Some(lock) = replicated.filter(|lock| lock.expires <= Instant::now()) {
                self.settle(node, &lock).await;
                continue;
            }
            let pause = limit.map_or(NOTICE_AFTER, |l| (l - waited).min(NOTICE_AFTER));
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tells a waiter's coordinator whom it waits for.
    fn tell_coordinator(
        &self,
        request: &kv::RangeRequest,
        key: Bytes,
        (holder, held): (kv::TxnMeta, kv::Strength),
        queued: bool,
        waited_ms: u64,
    ) {
        let Some(txn) = &request.txn else { return };
        // A place in the queue behind another waiter: that one's own wait tells more.
        if queued {
            return;
        }
        if let Some(db) = self.db_of(NodeId(txn.coordinator)) {
            db.on_wait_notice(kv::WaitNotice {
                waiter: txn.id,
                waiter_start_ts: txn.start_ts,
                blockers: vec![kv::Blocker { txn: Some(holder), key, held: held as i32 }],
                range_id: request.range_id,
                wish: wish_of(request) as i32,
                waited_ms,
            });
        }
    }

    /// Has the client of the leader's node settle an expired lock.
    async fn settle(&self, node: NodeId, lock: &Placed) {
        if let Some(db) = self.db_of(node) {
            let foreign = crate::ForeignLock {
                key: Key(lock.write.key.clone()),
                txn: lock.owner.txn_id(),
                coordinator: NodeId(lock.owner.coordinator),
                incarnation: lock.owner.incarnation,
                primary: Key(lock.primary.clone()),
                push_above: Timestamp::ZERO,
            };
            // Boxed: a settlement sends requests, which may find locks to settle.
            let settled: BoxFuture<'_, _> = Box::pin(async move { db.settle(foreign).await });
            settled.await;
        }
        tokio::time::sleep(NOTICE_AFTER).await;
    }
}

/// Leaves the queues when the request is given up or done.
struct Waiting<'a> {
    fake: &'a Fake,
    txn: Option<kv::TxnMeta>,
    keys: Vec<Bytes>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(txn) = &self.txn else { return };
        if self.keys.is_empty() {
            return;
        }
        let mut store = self.fake.store.lock();
        for key in &self.keys {
            store.stop_waiting(txn, key);
        }
        drop(store);
        self.fake.changed.notify_waiters();
    }
}

fn wish_of(request: &kv::RangeRequest) -> kv::Strength {
    match &request.request {
        Some(Request::LockKeys(lock)) => lock.strength(),
        Some(Request::LockSpans(lock)) => lock.strength(),
        Some(_) | None => kv::Strength::Update,
    }
}

fn refusal(error: kv::kv_error::Error) -> kv::RangeResponse {
    kv::RangeResponse { error: Some(kv::KvError { error: Some(error) }), response: None }
}
