//! Returning to a savepoint: writes are undone, and rows locked since then are let go.
//!
//! A row that was locked was not read from the snapshot, so the read-timestamp cache does not know of
//! it. Without its lock another transaction could write it *below* the snapshot, and
//!
//! 1. REPEATABLE READ would see another value when it reads the row the next time;
//! 2. SERIALIZABLE would not notice at its commit, which looks at versions above the snapshot only.
//!
//! So these levels read the rows once from the snapshot while they still hold them. READ COMMITTED
//! promises neither.

use base::Key;
use proto::kv;
use proto::kv::Isolation;
use proto::kv::range_request::Request;

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
    let free: Vec<Key> = {
        let mut state = inner.state.lock();
        state.usable()?;
        match savepoint {
            Some(mark) => state.buffer.rollback_to(mark),
            None => state.buffer.clear(),
        }
        let State { locks, buffer, .. } = &*state;
        let young = locks
            .iter()
            .filter(|(key, held)| held.taken > since && buffer.get(key.as_bytes()).is_none());
        young.map(|(key, _)| key.clone()).collect()
    };
    if free.is_empty() {
        return Ok(());
    }
    if inner.options.isolation != Isolation::ReadCommitted {
        txn.get_many(&free).await?;
    }
    let meta = {
        let mut state = inner.state.lock();
        for key in &free {
            state.locks.remove(key);
        }
        inner.meta(&state)
    };
    let build = |keys: &[Key]| {
        let keys = keys.iter().map(|key| key.0.clone()).collect();
        Request::ReleaseLocks(kv::ReleaseLocks { keys, ended: false })
    };
    // Waited for, so that it cannot overtake a later lock on the same row. One that is not released
    // now is released with the transaction.
    let router = &inner.shared.router;
    let released = scatter(router, meta.as_ref(), Replay::Safe, free.clone(), build).await;
    if !released.is_ok_and(|answers| answers.iter().all(|(_, answer)| answer.is_ok())) {
        inner.state.lock().requested.extend(free);
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
