//! Rollback and restart, and what a range's refusal means to the transaction.

use std::sync::Arc;
use std::time::Duration;

use base::{Key, Timestamp, TxnId};
use proto::kv;
use proto::kv::kv_error::Error as RangeError;

use super::claim::{Claim, release_all};
use super::state::{State, Statement};
use super::{Inner, Phase};
use crate::db::Shared;
use crate::error::{KvError, SerializationCause};
use crate::router::{Refusal, Replay, refused_outside_txn};
use crate::runtime::detach;
use crate::scatter::scatter;

impl Inner {
    /// Ends the transaction if nothing else has.
    pub(super) fn rollback(&self) {
        let held = {
            let mut state = self.state.lock();
            match state.phase {
                Phase::New | Phase::Active | Phase::Killed => state.phase = Phase::RolledBack,
                // The commit goes on by itself.
                Phase::Committing | Phase::Committed | Phase::RolledBack => return,
            }
            state.buffer.clear();
            state.memory = None;
            state.reads = None;
            state.hold = None;
            state.statement = Statement::default();
            state.waits.clear();
            if state.id == TxnId(0) {
                return;
            }
            self.take_held(&mut state)
        };
        self.shared.router.metrics.rollbacks.inc();
        if let Some(held) = held {
            self.release(held);
        }
    }

    pub(super) fn restart(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Active {
            // Same id, same locks: what it holds it need not wait for again.
            state.buffer.clear();
            state.reads = None;
            (state.tracks, state.tracked) = (false, Vec::new());
            if let Some(premise) = &mut state.premise {
                premise.forget();
            }
            state.read_before = false;
            state.statement = Statement::default();
            state.stale_snapshot = true;
            return;
        }
        assert!(
            !matches!(state.phase, Phase::Committing | Phase::Committed),
            "a transaction that may be committed can't run again"
        );
        // Prewrites of the old id may still arrive somewhere, so the new run takes a new id.
        *state = State {
            start: state.start,
            lock_timeout: state.lock_timeout,
            activity: state.activity.take(),
            xact: state.xact.take(),
            ..State::default()
        };
    }

    /// Takes what is to be released. In one step with the change of phase: right after it, the
    /// transaction may begin to run again, with other locks and another id.
    pub(super) fn take_held(&self, state: &mut State) -> Option<(kv::TxnMeta, Vec<Claim>)> {
        Some((self.meta(state)?, state.take_held()))
    }

    /// Releases in-memory locks in the background, wherever some were taken or asked for. From now
    /// on this node doesn't know the transaction.
    pub(super) fn release(&self, (meta, held): (kv::TxnMeta, Vec<Claim>)) {
        self.shared.registry.remove(meta.txn_id());
        if held.is_empty() {
            return;
        }
        let runtime = self.shared.router.runtime.clone();
        detach(&*runtime, release(self.shared.clone(), meta, held));
    }

    /// What a range's refusal of a read or lock means.
    pub(super) fn refused(&self, refusal: Refusal) -> KvError {
        match refusal {
            Refusal::Range(RangeError::BelowGc(gc)) => KvError::SnapshotTooOld {
                read_ts: self.state.lock().read_ts,
                safe_point: Timestamp(gc.safe_point),
            },
            Refusal::Range(error) => range_refused(error),
            Refusal::Unavailable(error) => error,
            Refusal::Moved => unreachable!("callers look the range up again"),
        }
    }
}

async fn release(shared: Arc<Shared>, meta: kv::TxnMeta, held: Vec<Claim>) {
    // A failure is harmless: locks in memory die with their leader, and with their coordinator.
    drop(scatter(&shared.router, Some(&meta), Replay::Safe, held, release_all).await);
}

/// The ends of what the keys cover: short, however many they are, and a range that has both has all.
pub(super) fn first_and_last<'a>(keys: impl Iterator<Item = &'a Key> + Clone) -> Vec<bytes::Bytes> {
    let ends = [keys.clone().min(), keys.max()];
    ends.into_iter().flatten().map(|key| key.0.clone()).collect()
}

pub(crate) fn range_refused(error: RangeError) -> KvError {
    match error {
        RangeError::LockConflict(c) => KvError::LockNotAvailable {
            wish: c.wish(),
            held: c.held(),
            waited: Duration::from_millis(c.waited_ms),
            key: Key(c.key),
            holder: TxnId(c.holder),
            timed_out: c.timed_out,
        },
        RangeError::LocksExhausted(_) => KvError::LocksExhausted { what: "a range's lock table" },
        RangeError::Deadlock(d) => KvError::Deadlock {
            victim: TxnId(d.victim),
            cycle: d.cycle.into_iter().map(Into::into).collect(),
        },
        RangeError::TxnGone(_) => {
            KvError::Serialization { key: None, by: None, cause: SerializationCause::RolledBack }
        }
        RangeError::RefreshFailed(r) => KvError::Serialization {
            key: Some(Key(r.key)),
            by: known(r.by_txn),
            cause: SerializationCause::ReadChanged(Timestamp(r.version_ts)),
        },
        RangeError::WriteConflict(w) => KvError::Serialization {
            key: Some(Key(w.key)),
            by: known(w.by_txn),
            cause: SerializationCause::WriteConflict(Timestamp(w.version_ts)),
        },
        RangeError::KeyExists(k) => KvError::DuplicateKey { key: Key(k.key) },
        RangeError::Overloaded(o) => KvError::Overloaded { reason: o.reason },
        RangeError::BelowGc(gc) => KvError::SnapshotTooOld {
            read_ts: Timestamp::ZERO,
            safe_point: Timestamp(gc.safe_point),
        },
        RangeError::NotLeader(_)
        | RangeError::WrongRange(_)
        | RangeError::TimestampTooLow(_)
        | RangeError::Ambiguous(_)
        | RangeError::Corrupt(_)
        | RangeError::Unavailable(_)
        | RangeError::Invalid(_) => refused_outside_txn(error),
    }
}

fn known(txn: u64) -> Option<TxnId> {
    (txn != 0).then_some(TxnId(txn))
}
