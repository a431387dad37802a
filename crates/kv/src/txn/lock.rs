//! Row locks in the leaders' memory, and what happens to the snapshot when a locked row is newer.
//!
//! Who locks a row sees its newest version, whatever the snapshot; the transaction must then be able
//! to claim that all else it read is as new (`refresh.rs`).

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use base::{Key, Timestamp, TxnId};
use bytes::Bytes;
use futures::channel::oneshot;
use futures::future::{Either, select};
use proto::kv;
use proto::kv::kv_error::Error as RangeError;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::kv::{Isolation, Strength, WaitPolicy};

use super::claim::{Claim, release_these};
use super::read::present;
use super::state::Held;
use super::{Inner, Phase, State, Txn};
use crate::error::KvError;
use crate::router::{Refusal, Replay, unexpected};
use crate::scatter::scatter;
use crate::stats;

/// A lock request without a limit of its own is asked again so often, in case that it was lost.
const SLICE: Duration = Duration::from_secs(5);

/// What became of one key of a lock request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// The key.
    pub key: Key,
    /// Somebody else holds it, and SKIP LOCKED was asked for.
    pub skipped: bool,
    /// The row as this transaction sees it, its own writes included.
    pub value: Option<Bytes>,
    /// Since when the row is as it is in the store.
    pub seen: Timestamp,
    /// Who wrote it.
    pub by: Option<TxnId>,
}

impl Txn {
    /// Locks rows until the transaction ends and returns them in their newest state, in the order of
    /// `keys`. The snapshot moves forward to it where the isolation level allows; otherwise
    /// [`KvError::Restatement`] or [`KvError::Serialization`].
    pub async fn lock(
        &self,
        keys: &[Key],
        strength: Strength,
        wait: WaitPolicy,
    ) -> Result<Vec<Locked>, KvError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        if self.inner.options.read_only {
            return Err(KvError::NotUsable("it is read-only"));
        }
        let request = self.inner.lock_keys(keys, strength, wait);
        let locked = self.inner.unless_killed(request).await??;
        let read_ts = self.inner.note_locks(&locked, strength)?;
        let newest = locked.iter().max_by_key(|(seen, _)| *seen).expect("one for each key");
        if newest.0 > read_ts {
            self.inner.move_snapshot(newest.0, &newest.1.key, newest.1.by).await?;
        }
        Ok(locked.into_iter().map(|(_, row)| row).collect())
    }

    /// Gives locks back before the transaction ends: only for keys that nothing was decided by.
    pub(crate) async fn unlock(&self, keys: &[Key]) {
        let meta = {
            let mut state = self.inner.state.lock();
            for key in keys {
                state.locks.remove(key.as_bytes());
            }
            self.inner.meta(&state)
        };
        let router = &self.inner.shared.router;
        let claims = keys.iter().cloned().map(Claim::Key).collect();
        // Lost, it leaves a lock that ends with the transaction.
        drop(scatter(router, meta.as_ref(), Replay::Safe, claims, release_these).await);
    }
}

impl Txn {
    /// READ COMMITTED: locks rows and tells of each whether it is newer than the statement's snapshot,
    /// which stays where it is. The caller judges such a row again by itself.
    pub async fn lock_as_found(
        &self,
        keys: &[Key],
        strength: Strength,
    ) -> Result<Vec<(Locked, bool)>, KvError> {
        assert_eq!(
            self.inner.options.isolation,
            Isolation::ReadCommitted,
            "others need a snapshot"
        );
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let request = self.inner.lock_keys(keys, strength, WaitPolicy::Block);
        let locked = self.inner.unless_killed(request).await??;
        let newest = locked.iter().map(|(seen, _)| *seen).max().unwrap_or_default();
        let read_ts = self.inner.note_locks(&locked, strength)?;
        let mut state = self.inner.active()?;
        state.floor = state.floor.max(newest);
        Ok(locked.into_iter().map(|(seen, row)| (row, seen > read_ts)).collect())
    }
}

impl Inner {
    /// Takes the locks. Returns the rows, each with the timestamp of its newest version.
    async fn lock_keys(
        &self,
        keys: &[Key],
        strength: Strength,
        wait: WaitPolicy,
    ) -> Result<Vec<(Timestamp, Locked)>, KvError> {
        let (meta, timeout) = {
            let mut state = self.active()?;
            state.requested.extend_from_slice(keys);
            (self.meta(&state), state.lock_timeout)
        };
        let items: Vec<_> = keys.iter().cloned().enumerate().collect();
        let started = self.shared.router.runtime.now();
        let mut left = items;
        let mut locked = vec![None; keys.len()];
        while !left.is_empty() {
            let slice = self.slice(timeout, started);
            let build = |items: &[(usize, Key)]| {
                Request::LockKeys(kv::LockKeys {
                    keys: items.iter().map(|(_, key)| key.0.clone()).collect(),
                    strength: strength as i32,
                    wait: wait as i32,
                    want_values: true,
                    timeout_ms: slice.as_millis() as u64,
                })
            };
            let router = &self.shared.router;
            let items = std::mem::take(&mut left);
            let sent = scatter(router, meta.as_ref(), Replay::Safe, items, build);
            for (items, answer) in sent.await? {
                match answer {
                    Ok(Response::LockKeys(result)) if result.keys.len() == items.len() => {
                        note_answer(&items, &result);
                        for ((place, key), got) in items.into_iter().zip(result.keys) {
                            let seen = Timestamp(if got.locked { got.version_ts } else { 0 });
                            locked[place] = Some((seen, self.row(key, got)));
                        }
                    }
                    Ok(other) => return Err(unexpected("a lock request", &other)),
                    Err(Refusal::Range(RangeError::LockConflict(conflict)))
                        if conflict.timed_out && !self.out_of_time(timeout, started) =>
                    {
                        left.extend(items);
                    }
                    Err(refusal) => return Err(self.lock_refused(refusal, started)),
                }
            }
        }
        Ok(locked.into_iter().map(|l| l.expect("every key was answered")).collect())
    }

    /// Whether this transaction stands for a lock of its session, whatever leaders know of it.
    pub(crate) fn is_session_lock(&self) -> bool {
        self.options.session_lock && self.state.lock().phase == Phase::Active
    }

    /// What it has been granted of a key.
    pub(crate) fn granted(&self, key: &Key) -> Option<Strength> {
        self.state.lock().locks.get(key.as_bytes()).map(|held| held.strength)
    }

    /// Takes a lock again that a leader may have lost.
    pub(crate) async fn lock_again(&self, key: &Key, strength: Strength) -> Result<(), KvError> {
        let keys = std::slice::from_ref(key);
        self.lock_keys(keys, strength, WaitPolicy::Nowait).await.map(drop)
    }

    /// What the refusal of a lock means that was first asked for at `started`.
    pub(super) fn lock_refused(&self, refusal: Refusal, started: Duration) -> KvError {
        let mut error = self.refused(refusal);
        if let KvError::LockNotAvailable { waited, .. } = &mut error {
            // Several requests, one wait.
            *waited = self.shared.router.runtime.now().saturating_sub(started);
        }
        error
    }

    pub(super) fn slice(&self, timeout: Option<Duration>, started: Duration) -> Duration {
        let waited = self.shared.router.runtime.now().saturating_sub(started);
        let left = timeout.map_or(SLICE, |t| t.saturating_sub(waited).min(SLICE));
        // 0 would mean no limit.
        left.max(Duration::from_millis(1))
    }

    pub(super) fn out_of_time(&self, timeout: Option<Duration>, started: Duration) -> bool {
        let waited = self.shared.router.runtime.now().saturating_sub(started);
        timeout.is_some_and(|t| waited >= t)
    }

    /// A locked row, with the transaction's own write over it.
    fn row(&self, key: Key, got: kv::LockedKey) -> Locked {
        let by = (got.by_txn != 0).then_some(TxnId(got.by_txn));
        let state = self.state.lock();
        let value = match state.buffer.get(key.as_bytes()) {
            Some(entry) => entry.value.clone(),
            None => got.value.and_then(present),
        };
        Locked { key, skipped: !got.locked, value, seen: Timestamp(got.version_ts), by }
    }

    fn note_locks(
        &self,
        locked: &[(Timestamp, Locked)],
        strength: Strength,
    ) -> Result<Timestamp, KvError> {
        let mut state = self.active()?;
        state.lock_requests += 1;
        let taken = state.lock_requests;
        for (seen, row) in locked.iter().filter(|(_, row)| !row.skipped) {
            // Of a row locked twice the first look counts: the second may come after a lost lock.
            let held =
                state.locks.entry(row.key.clone()).or_insert(Held { strength, seen: *seen, taken });
            held.strength = held.strength.max(strength);
        }
        let State { requested, locks, .. } = &mut *state;
        requested.retain(|key| !locks.contains_key(key));
        self.reserve(&mut state)?;
        Ok(state.read_ts)
    }

    /// Waits for an answer that may take long, unless the transaction is chosen as the victim of a
    /// deadlock meanwhile.
    pub(super) async fn unless_killed<F: Future>(
        self: &Arc<Self>,
        future: F,
    ) -> Result<F::Output, KvError> {
        let mut future = std::pin::pin!(future);
        if let Poll::Ready(output) = futures::poll!(&mut future) {
            return Ok(output);
        }
        let (sender, killed) = oneshot::channel();
        {
            let mut state = self.state.lock();
            if state.interrupted {
                return Err(interrupted());
            }
            state.waits.push(sender);
        }
        let waiting = Waiting { inner: self };
        // A kill makes the ranges refuse what waits, for a lesser reason.
        let ended = select(killed, future).await;
        // From here on a kill finds no wait; one that came before has left its word.
        drop(waiting);
        match ended {
            Either::Right((output, mut killed)) => match killed.try_recv() {
                Ok(Some(error)) => Err(error),
                Ok(None) | Err(oneshot::Canceled) => Ok(output),
            },
            Either::Left((Ok(error), _)) => Err(error),
            Either::Left((Err(oneshot::Canceled), _)) => {
                Err(KvError::NotUsable("it ended while it waited for a lock"))
            }
        }
    }

    /// Ends every wait of a deadlock's victim, and releases what it holds, so that the others go on.
    /// A transaction that doesn't wait is in no cycle: the probe was late.
    pub(crate) fn kill(&self, error: &KvError) {
        let held = {
            let mut state = self.state.lock();
            if state.waits.is_empty() {
                return;
            }
            for wait in std::mem::take(&mut state.waits) {
                // A wait that has just ended otherwise finds the transaction killed.
                drop(wait.send(error.clone()));
            }
            if state.phase == Phase::Active {
                state.phase = Phase::Killed;
                state.death = Some(error.clone());
                self.take_held(&mut state)
            } else {
                // The commit ends by itself when it hears of it.
                None
            }
        };
        self.shared.router.metrics.deadlocks.inc();
        if let Some(held) = held {
            self.release(held);
        }
    }
}

/// Counts what a lock request has read, and how long it waited.
fn note_answer(items: &[(usize, Key)], result: &kv::LockKeysResult) {
    stats::note(|stats| {
        let keys = items.iter().map(|(_, key)| key.0.len());
        let values = result.keys.iter().flat_map(|key| &key.value).map(|value| value.value.len());
        stats.read(keys.chain(values).sum());
        if result.waited_us > 0 {
            stats.waited(result.waited_us);
        }
    });
}

/// What ends the waits of a commit that was asked to give up.
pub(super) fn interrupted() -> KvError {
    KvError::NotUsable("its commit was cancelled")
}

/// A wait under way.
struct Waiting<'a> {
    inner: &'a Inner,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let done = {
            let mut state = self.inner.state.lock();
            state.waits.retain(|wait| !wait.is_canceled());
            state.waits.is_empty().then_some(state.id)
        };
        if let Some(id) = done {
            self.inner.shared.detector.lock().ended(id);
        }
    }
}
