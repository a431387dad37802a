//! Returning to a savepoint: writes are undone, and rows locked since then are let go.
//!
//! A row that was locked was not read from the snapshot, so the read-timestamp cache does not know of
//! it. Without its lock another transaction could write it *below* the snapshot, and
//!
//! 1. REPEATABLE READ would see another value when it reads the row the next time;
//! 2. SERIALIZABLE would not notice at its commit, which looks at versions above the snapshot only.
//!
//! So these levels read the rows once from the snapshot while they still hold them. READ COMMITTED
//! promises neither. Spans that were claimed were read, and are let go without more ado.

use base::Key;
use proto::kv::Isolation;

use super::claim::{Claim, HeldSpan, release_these, younger_than};
use super::{Inner, Phase, State, Txn, lock};
use crate::buffer::Savepoint;
use crate::error::KvError;
use crate::router::Replay;
use crate::scatter::scatter;

pub(super) async fn rollback_to_and_release(
    txn: &Txn,
    savepoint: Option<Savepoint>,
) -> Result<(), KvError> {
    let inner = &txn.inner;
    let since = savepoint.map_or(0, |mark| mark.locks);
    let (free, spans) = {
        let mut state = inner.state.lock();
        state.usable()?;
        match savepoint {
            Some(mark) => state.buffer.rollback_to(mark),
            None => state.buffer.clear(),
        }
        let State { locks, spans, buffer, .. } = &*state;
        let young = locks
            .iter()
            .filter(|(key, held)| held.taken > since && buffer.get(key.as_bytes()).is_none());
        let young: Vec<Key> = young.map(|(key, _)| key.clone()).collect();
        (young, younger_than(since, spans))
    };
    if free.is_empty() && spans.is_empty() {
        return Ok(());
    }
    if !free.is_empty() && inner.options.isolation != Isolation::ReadCommitted {
        txn.get_many(&free).await?;
    }
    let meta = {
        let mut state = inner.state.lock();
        for key in &free {
            state.locks.remove(key);
        }
        // Those that were asked for in vain may be held all the same: they stay until the end.
        state.spans.retain(|held| held.taken <= since || !held.is_granted());
        inner.meta(&state)
    };
    let spans = spans.into_iter().map(Claim::Span);
    let claims: Vec<Claim> = free.iter().cloned().map(Claim::Key).chain(spans).collect();
    // Waited for, so that it cannot overtake a later lock on the same row. One that is not released
    // now is released with the transaction.
    let router = &inner.shared.router;
    let released =
        scatter(router, meta.as_ref(), Replay::Safe, claims.clone(), release_these).await;
    if !released.is_ok_and(|answers| answers.iter().all(|(_, answer)| answer.is_ok())) {
        let mut state = inner.state.lock();
        state.requested.extend(free);
        state.spans.extend(claims.iter().filter_map(Claim::span).map(HeldSpan::perhaps));
    }
    Ok(())
}

impl Inner {
    /// Ends the waits of a commit.
    pub(super) fn interrupt(&self) {
        let mut state = self.state.lock();
        if state.phase != Phase::Committing {
            return;
        }
        state.interrupted = true;
        for wait in std::mem::take(&mut state.waits) {
            // A wait that has just ended otherwise finds the flag at the next one.
            drop(wait.send(lock::interrupted()));
        }
    }
}
