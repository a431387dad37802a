//! Drives the commit: carries out the effects of [`txn::coordinator`] and feeds the answers back.
//!
//! What to send next, and when the client may be told, is the coordinator's knowledge; here are the
//! messages, the grouping by range and the waiting. A commit that was begun goes on when its future
//! is dropped.

mod drive;
mod send;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use base::{Key, KeyRange, Timestamp};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use proto::kv;
use proto::kv::{Isolation, Strength};

use super::claim::Claim;
use super::premise::Premise;
use super::refresh::Verified;
use super::state::Held;
use super::{Inner, Phase};
use crate::error::KvError;
use crate::memory::Reservation;
use crate::runtime::Runtime;
use crate::scatter::Piece;
use crate::xact::Xact;

/// A buffered write on its way into the store.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    key: Key,
    write: kv::Write,
    must_not_exist: bool,
}

impl Piece for Pending {
    fn anchor(&self) -> &[u8] {
        self.key.as_bytes()
    }

    fn cut(self, _: &KeyRange) -> (Self, Option<Self>) {
        (self, None)
    }
}

/// Everything that the commit needs, taken out of the transaction's state.
pub(super) struct Task {
    inner: Arc<Inner>,
    meta: kv::TxnMeta,
    read_ts: Timestamp,
    /// In key order; the first key is the primary. None, if rows were locked only.
    writes: Vec<Pending>,
    bytes: usize,
    /// Snapshot reads to verify (SERIALIZABLE).
    reads: Vec<KeyRange>,
    /// Rows locked and not written, each since the version that was there; and what was tracked.
    locked_only: Vec<Verified>,
    premise: Mutex<Option<Premise>>,
    /// All that is locked, or that the ranges lock by themselves when it is written.
    held: Vec<Claim>,
    /// For all of these, given back when the commit is through.
    _memory: Option<Reservation>,
}

/// What there is to commit.
enum Taken {
    Task(Task),
    /// Nothing was written or locked: it is committed, and what it asked to lock is to be released.
    Nothing(Option<(kv::TxnMeta, Vec<Claim>)>),
    /// It is read-only, and somebody may ask what has become of it.
    Outcome(Arc<Xact>),
}

pub(super) async fn commit(inner: Arc<Inner>) -> Result<Option<Timestamp>, KvError> {
    let task = match Task::take(&inner)? {
        Taken::Task(task) => task,
        Taken::Nothing(held) => {
            inner.shared.router.metrics.commits_read_only.inc();
            if let Some(held) = held {
                inner.release(held);
            }
            return Ok(None);
        }
        Taken::Outcome(xact) => {
            let runtime = inner.shared.router.runtime.clone();
            let future = Some(xact.conclude(inner.shared.clone()));
            return Unstoppable { future, runtime }.await.map(|()| None);
        }
    };
    let runtime = inner.shared.router.runtime.clone();
    Unstoppable { future: Some(Box::pin(task.run())), runtime }.await
}

impl Task {
    /// Moves the transaction into its commit.
    fn take(inner: &Arc<Inner>) -> Result<Taken, KvError> {
        let mut state = inner.state.lock();
        state.usable()?;
        // What was read under a lock has not raised the read cache, so with locks there is something to do:
        // else somebody could write below the snapshot as soon as the lock is gone.
        let xact = state.xact.clone();
        if let Some(xact) = xact.clone().filter(|_| inner.options.read_only) {
            state.phase = Phase::Committed;
            state.hold = None;
            return Ok(Taken::Outcome(xact));
        }
        if state.buffer.is_empty() && state.locks.is_empty() && xact.is_none() {
            state.phase = Phase::Committed;
            state.reads = None;
            state.hold = None;
            state.memory = None;
            return Ok(Taken::Nothing(inner.take_held(&mut state)));
        }
        let meta = inner.meta(&state).expect("only read-only transactions have no id");
        let bytes = state.buffer.bytes();
        let read_ts = state.read_ts;
        let mut writes = Vec::new();
        let mut unlocked = Vec::new();
        if let Some(xact) = xact {
            if !xact.may_end(state.id) {
                return Err(KvError::DeclaredAborted { xact: xact.id() });
            }
            // The smallest key that is written outside of the catalog: mostly the primary.
            unlocked.push(xact.key());
            writes.push(Pending { key: xact.key(), write: xact.outcome(), must_not_exist: false });
        }
        for (key, entry) in state.buffer.iter() {
            let held = state.locks.get(key);
            if held.is_none() {
                unlocked.push(key.clone());
            }
            writes.push(Pending {
                key: key.clone(),
                write: entry.to_write(key, held.map(|h| h.seen)),
                must_not_exist: entry.must_not_exist,
            });
        }
        writes.sort_by(|a: &Pending, b: &Pending| a.key.cmp(&b.key));
        let only = |(key, _): &(&Key, &Held)| state.buffer.get(key.as_bytes()).is_none();
        // At SERIALIZABLE a row that others may change counts as read where it is locked.
        let weaker = inner.options.isolation != Isolation::Serializable;
        let span = |(key, held): (&Key, &Held)| Verified {
            from: held.seen,
            span: KeyRange::point(key.clone()),
            may_change: weaker && held.strength == Strength::KeyShare,
        };
        let tracked = state.tracked.iter().flat_map(|(from, read)| {
            read.iter().map(|span| Verified { from: *from, span, may_change: false })
        });
        let locked_only = state.locks.iter().filter(only).map(span).chain(tracked).collect();
        let premise = state.premise.clone().filter(Premise::is_relied_on);
        let reads = state.all_reads();
        let mut held = state.take_held();
        held.extend(unlocked.into_iter().map(Claim::Key));
        state.buffer.clear();
        state.phase = Phase::Committing;
        let inner = inner.clone();
        Ok(Taken::Task(Task {
            inner,
            meta,
            read_ts,
            writes,
            bytes,
            reads,
            locked_only,
            premise: Mutex::new(premise),
            held,
            _memory: state.memory.take(),
        }))
    }

    fn primary(&self) -> &Key {
        &self.writes[0].key
    }
}

/// A future that is run to its end in the background when its owner drops it.
struct Unstoppable<T: Send + 'static> {
    future: Option<BoxFuture<'static, T>>,
    runtime: Arc<dyn Runtime>,
}

impl<T: Send + 'static> Future for Unstoppable<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let future = self.future.as_mut().expect("not polled after it has ended");
        let output = std::task::ready!(future.as_mut().poll(context));
        self.future = None;
        Poll::Ready(output)
    }
}

impl<T: Send + 'static> Drop for Unstoppable<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            self.runtime.spawn(Box::pin(async move { drop(future.await) }));
        }
    }
}

/// Background resolutions beyond this many are waited for: a burst of commits must not leave behind
/// an unbounded trail of locks.
const RESOLVING_MAX: usize = 512;

impl Inner {
    /// Settles what a commit left behind; in the background, unless too much is there already.
    async fn finish(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let counter = self.shared.resolving.clone();
        let crowd = counter.fetch_add(1, Ordering::Relaxed);
        let counted = async move {
            work.await;
            counter.fetch_sub(1, Ordering::Relaxed);
        };
        if crowd < RESOLVING_MAX {
            crate::runtime::detach(&*self.shared.router.runtime, counted);
        } else {
            counted.await;
        }
    }
}
