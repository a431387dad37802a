//! Carrying out what replicas ask for.
//!
//! Answers and messages leave at once. Errands (a timestamp, ids, the directory, another's lock)
//! run as tasks over this node's own `kv` client, and hand their result back to the replica; a
//! replica that has moved on ignores them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{NodeId, RangeId};
use kv::{IdKind, Transport};
use proto::kv::RangeResponse;
use proto::meta::system_command::Command;
use proto::meta::{PublishRanges, RangeDescriptor};
use proto::node::{RaftMessage, Reply};
use range::eval::ForeignLock;
use range::{Effect, NewRange};
use storage::{EngineError, Remedy};
use txn::settle::Verdict;

use super::requests::NodeTransport;
use super::{Cell, CellState, Store, Waiter, snapshots};

/// Pause before an errand is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// An answer and who waits for it.
pub(super) type Delivery = (Waiter, RangeResponse);

impl CellState {
    /// Takes the answers out of the effects, matched with those who wait.
    pub(super) fn take_answers(&mut self, effects: &mut Vec<Effect>) -> Vec<Delivery> {
        let mut answers = Vec::new();
        effects.retain_mut(|effect| {
            let Effect::Respond { token, response } = effect else { return true };
            if let Some(waiter) = self.waiters.remove(token) {
                answers.push((waiter, std::mem::take(response)));
            }
            false
        });
        answers
    }
}

impl Store {
    pub(super) fn deliver(&self, answers: Vec<Delivery>) {
        for (waiter, response) in answers {
            match waiter {
                // A caller that has gone needs no answer.
                Waiter::Local(sender) => drop(sender.send(response)),
                Waiter::Remote(peer, id) => {
                    peer.outbox.reply(Reply { id, response: Some(response) });
                }
            }
        }
    }

    pub(super) fn carry_out(self: &Arc<Self>, cell: &Arc<Cell>, effects: Vec<Effect>) {
        let mut messages: BTreeMap<NodeId, Vec<RaftMessage>> = BTreeMap::new();
        for effect in effects {
            match effect {
                Effect::Respond { .. } => unreachable!("answers were taken out"),
                Effect::Send(message) => {
                    messages.entry(NodeId(message.to)).or_default().push(message);
                }
                Effect::Schedule => self.schedule(cell),
                Effect::SendSnapshot { to, source } => {
                    let (store, cell) = (Arc::clone(self), Arc::clone(cell));
                    self.runtime.spawn(async move {
                        let arrived = snapshots::send(&store, to, *source).await;
                        store.touch(&cell, |r, ctx, out| r.snapshot_sent(ctx, to, arrived, out));
                    });
                }
                Effect::DrawTimestamp { term } => self.draw_timestamp(cell, term),
                Effect::AllocateRangeIds { ticket, count } => {
                    self.allocate_range_ids(cell, ticket, count);
                }
                Effect::PublishRanges(ranges) => self.publish(cell, ranges),
                Effect::RangesCreated(created) => {
                    self.open_created(created);
                    cell.state.lock().replica.created_are_open();
                }
                Effect::DescriptorChanged(descriptor) => {
                    if let Some(db) = self.db() {
                        db.learn_range(descriptor);
                    }
                }
                Effect::SplitWanted { bytes } => self.split_by_size(cell, bytes),
                Effect::Notice { to, notice } => {
                    NodeTransport(Arc::clone(self)).send_wait_notice(to, notice);
                }
                Effect::Settle(lock) => self.settle(cell, lock),
                Effect::Destroyed => self.retire(cell),
                Effect::Stop { error } => self.stopped(cell, &error),
            }
        }
        for (to, messages) in messages {
            self.metrics.raft_messages.inc_by(messages.len() as u64);
            self.peers.raft(to, messages);
        }
    }

    /// Runs an errand over the node's own client, again and again until it works.
    fn errand<T, F>(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        ask: impl Fn(kv::Db) -> F + Send + Sync + 'static,
        done: impl FnOnce(&mut range::Replica, &range::Ctx<'_>, T, &mut Vec<Effect>) + Send + 'static,
    ) where
        T: Send + 'static,
        F: Future<Output = Result<T, kv::KvError>> + Send + 'static,
    {
        let (store, cell) = (Arc::clone(self), Arc::clone(cell));
        self.runtime.spawn(async move {
            while !store.is_stopping() {
                let Some(db) = store.db().cloned() else { return };
                match ask(db).await {
                    Ok(result) => {
                        store.touch(&cell, |replica, ctx, out| done(replica, ctx, result, out));
                        return;
                    }
                    Err(error) => tracing::debug!(range = %cell.id, %error, "an errand waits"),
                }
                tokio::time::sleep(RETRY).await;
            }
        });
    }

    fn draw_timestamp(self: &Arc<Self>, cell: &Arc<Cell>, term: u64) {
        self.errand(
            cell,
            |db| async move { db.now().await },
            move |replica, ctx, ts, out| replica.timestamp_drawn(ctx, term, ts, out),
        );
    }

    fn allocate_range_ids(self: &Arc<Self>, cell: &Arc<Cell>, ticket: u64, count: u64) {
        self.errand(
            cell,
            move |db| async move { db.allocate_ids(IdKind::Range, count).await },
            move |replica, ctx, first, out| replica.range_ids(ctx, ticket, RangeId(first), out),
        );
    }

    fn publish(self: &Arc<Self>, cell: &Arc<Cell>, ranges: Vec<RangeDescriptor>) {
        let generation = ranges.iter().map(|r| r.generation).max().unwrap_or_default();
        let command = PublishRanges { ranges };
        self.errand(
            cell,
            move |db| {
                let command = Command::PublishRanges(command.clone());
                async move { db.system(command).await }
            },
            move |replica, _ctx, _done, _out| replica.published(generation),
        );
    }

    fn open_created(self: &Arc<Self>, created: Vec<NewRange>) {
        for range in created {
            if let Err(error) = self.open_split(range) {
                self.fail("a new range", &error);
            }
        }
    }

    /// Finds the middle of a range that has grown too large and asks for a split there.
    fn split_by_size(self: &Arc<Self>, cell: &Arc<Cell>, bytes: u64) {
        let (store, cell) = (Arc::clone(self), Arc::clone(cell));
        self.runtime.spawn(async move {
            let Some((span, db)) = store.span_of(&cell).zip(store.db().cloned()) else { return };
            let engine = Arc::clone(&store.engine);
            // A scan of the range: not on a thread that serves.
            let found =
                tokio::task::spawn_blocking(move || super::split_point(&engine, &span)).await;
            match found {
                Ok(Ok((Some(key), _))) => {
                    tracing::info!(range = %cell.id, bytes, at = %key, "splitting by size");
                    if let Err(error) = db.split(&[key]).await {
                        tracing::debug!(range = %cell.id, %error, "not split");
                    }
                }
                Ok(Ok((None, size))) => {
                    store.touch(&cell, |replica, _ctx, _out| replica.set_size(size));
                }
                Ok(Err(error)) => store.fail("looking for a split key", &error),
                Err(error) => tracing::error!(%error, "looking for a split key"),
            }
        });
    }

    fn settle(self: &Arc<Self>, cell: &Arc<Cell>, lock: ForeignLock) {
        let (store, cell) = (Arc::clone(self), Arc::clone(cell));
        self.runtime.spawn(async move {
            let Some(db) = store.db().cloned() else { return };
            let txn = lock.owner.txn;
            let verdict = db
                .settle(kv::ForeignLock {
                    key: lock.key,
                    txn,
                    coordinator: lock.owner.coordinator,
                    incarnation: lock.owner.incarnation,
                    primary: lock.primary,
                    push_above: lock.push_above,
                })
                .await;
            // A lock that is gone was resolved by a request to the range itself.
            if let Verdict::Pushed(min_commit) = verdict {
                store.touch(&cell, |replica, ctx, out| replica.pushed(ctx, txn, min_commit, out));
            }
        });
    }

    fn stopped(self: &Arc<Self>, cell: &Arc<Cell>, error: &EngineError) {
        match error.remedy() {
            Remedy::StopReplica => {
                tracing::error!(range = %cell.id, %error, "the replica stops: its data can't be trusted");
            }
            Remedy::RefuseWrites => {
                tracing::error!(range = %cell.id, %error, "the replica stops until there is room");
            }
            Remedy::StopNode => self.fail("the storage engine", error),
        }
    }
}
