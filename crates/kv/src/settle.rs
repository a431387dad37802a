//! Settling another transaction's replicated lock: carries out the effects of [`txn::settle`].
//!
//! A range's driver asks for it when a lock stands in somebody's way. Anybody may settle anything at
//! any time: each step is idempotent, and the record at the primary is the one decision.

use std::collections::VecDeque;

use base::{Key, NodeId, Timestamp, TxnId};
use proto::kv;
use proto::kv::kv_error::Error as RangeError;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::kv::txn_state;
use txn::coordinator::Outcome;
use txn::settle::{Checked, Effect, Input, Settle, State, Verdict};

use crate::db::{Db, Shared};
use crate::router::{Refusal, Replay, Router};
use crate::runtime::detach;
use crate::scatter::scatter;

/// A replicated lock in somebody's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignLock {
    /// Where it was met.
    pub key: Key,
    /// Whose it is.
    pub txn: TxnId,
    /// The node that coordinates the transaction.
    pub coordinator: NodeId,
    /// The incarnation of that node's process.
    pub incarnation: u64,
    /// Where the transaction is decided.
    pub primary: Key,
    /// A reader at this timestamp would be content to see it pushed; zero if only its end will do.
    pub push_above: Timestamp,
}

impl Db {
    /// Finds out what has become of a lock's transaction, and settles it if it is decided or its
    /// coordinator is silent.
    pub async fn settle(&self, lock: ForeignLock) -> Verdict {
        let shared = &self.shared;
        shared.router.metrics.settlements.inc();
        let (mut settle, effects) =
            Settle::new(lock.primary.clone(), lock.key.clone(), lock.push_above);
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            let input = match effect {
                Effect::Query { push_above } => query(&shared.router, &lock, push_above).await,
                Effect::Check { keys } => check(&shared.router, lock.txn, keys).await,
                Effect::Decide(outcome) => decide(&shared.router, &lock, outcome, false).await,
                Effect::Resolve { keys, outcome } => {
                    resolve(&shared.router, lock.txn, keys, outcome).await
                }
                Effect::MarkSettled(outcome) => {
                    mark_settled(shared.clone(), lock.clone(), outcome);
                    continue;
                }
                Effect::Over(verdict) => return verdict,
            };
            effects.extend(settle.step(input));
        }
        unreachable!("a settlement ends with its verdict")
    }
}

async fn query(router: &Router, lock: &ForeignLock, push_above: Timestamp) -> Input {
    let build = |keys: &[Key]| {
        Request::QueryTxn(kv::QueryTxn {
            txn_id: lock.txn.0,
            primary: keys[0].0.clone(),
            push_above_ts: push_above.0,
            coordinator: lock.coordinator.0,
            incarnation: lock.incarnation,
        })
    };
    let Some(Ok(Response::TxnState(state))) = ask(router, &lock.primary, build).await else {
        return Input::Failed;
    };
    Input::State(match state.state() {
        txn_state::State::Committed => State::Decided(Outcome::Commit(Timestamp(state.commit_ts))),
        txn_state::State::RolledBack => State::Decided(Outcome::Rollback),
        txn_state::State::Pending => State::Pending(Timestamp(state.min_commit_ts)),
        txn_state::State::Unknown => State::Unknown,
        txn_state::State::Staging => State::Staging {
            min_commit: Timestamp(state.min_commit_ts),
            secondaries: state.secondaries.into_iter().map(Key).collect(),
        },
    })
}

async fn check(router: &Router, txn: TxnId, keys: Vec<Key>) -> Input {
    let mut checked = vec![None; keys.len()];
    let items: Vec<_> = keys.into_iter().enumerate().collect();
    let build = |items: &[(usize, Key)]| {
        let keys = items.iter().map(|(_, key)| key.0.clone()).collect();
        Request::CheckKeys(kv::CheckKeys { txn_id: txn.0, keys, prevent: true })
    };
    let Ok(answers) = scatter(router, None, Replay::Safe, items, build).await else {
        return Input::Failed;
    };
    for (items, answer) in answers {
        let Ok(Response::CheckKeys(result)) = answer else { return Input::Failed };
        for ((place, _), key) in items.into_iter().zip(result.keys) {
            let ts = Timestamp(key.ts);
            checked[place] = match key.state() {
                kv::checked_key::State::Locked => Some(Checked::Locked(ts)),
                kv::checked_key::State::Committed => Some(Checked::Committed(ts)),
                kv::checked_key::State::Prevented => Some(Checked::Prevented),
                // Nothing is missing after it was prevented.
                kv::checked_key::State::Missing => return Input::Failed,
            };
        }
    }
    let all: Option<Vec<_>> = checked.into_iter().collect();
    all.map_or(Input::Failed, Input::Checked)
}

async fn decide(router: &Router, lock: &ForeignLock, outcome: Outcome, settled: bool) -> Input {
    let build = |keys: &[Key]| {
        router.metrics.consensus_rounds.inc();
        Request::EndTxn(kv::EndTxn {
            txn_id: lock.txn.0,
            primary: keys[0].0.clone(),
            commit_ts: commit_ts(outcome),
            settled,
        })
    };
    match ask(router, &lock.primary, build).await {
        Some(Ok(Response::TxnState(state))) => match state.state() {
            txn_state::State::Committed => {
                Input::Decided(Outcome::Commit(Timestamp(state.commit_ts)))
            }
            txn_state::State::RolledBack => Input::Decided(Outcome::Rollback),
            txn_state::State::Unknown | txn_state::State::Pending | txn_state::State::Staging => {
                Input::Failed
            }
        },
        Some(Err(Refusal::Range(RangeError::TimestampTooLow(_)))) => Input::TooLow,
        Some(Ok(_) | Err(_)) | None => Input::Failed,
    }
}

async fn resolve(router: &Router, txn: TxnId, keys: Vec<Key>, outcome: Outcome) -> Input {
    let build = |keys: &[Key]| {
        router.metrics.consensus_rounds.inc();
        let keys = keys.iter().map(|key| key.0.clone()).collect();
        Request::Resolve(kv::Resolve { txn_id: txn.0, keys, commit_ts: commit_ts(outcome) })
    };
    match scatter(router, None, Replay::Safe, keys, build).await {
        Ok(answers) if answers.iter().all(|(_, answer)| answer.is_ok()) => Input::Resolved,
        Ok(_) | Err(_) => Input::Failed,
    }
}

fn mark_settled(shared: std::sync::Arc<Shared>, lock: ForeignLock, outcome: Outcome) {
    let runtime = shared.router.runtime.clone();
    detach(&*runtime, async move {
        // Without it the record is kept for longer than necessary.
        drop(decide(&shared.router, &lock, outcome, true).await);
    });
}

async fn ask(
    router: &Router,
    key: &Key,
    build: impl Fn(&[Key]) -> Request,
) -> Option<Result<Response, Refusal>> {
    let answers = scatter(router, None, Replay::Safe, vec![key.clone()], build).await.ok()?;
    answers.into_iter().next().map(|(_, answer)| answer)
}

fn commit_ts(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Commit(at) => at.0,
        Outcome::Rollback => 0,
    }
}
