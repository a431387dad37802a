//! The messages of a commit.

use std::sync::atomic::{AtomicBool, Ordering};

use base::{Key, KeyRange, Timestamp};
use futures::stream::{FuturesUnordered, StreamExt};
use proto::kv;
use proto::kv::kv_error::Error as RangeError;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use txn::coordinator::{Decided, Failure, Outcome, Reply};

use super::drive::Progress;
use super::{Pending, Task};
use crate::error::KvError;
use crate::router::{Refusal, Replay, unexpected};
use crate::scatter::scatter;
use crate::txn::Claim;
use crate::txn::end::{first_and_last, range_refused};
use crate::txn::refresh::Verified;

/// Prewrites of a large transaction that are under way at once.
const BATCHES_IN_FLIGHT: usize = 4;

/// What became of a one-phase command.
pub(super) enum OnePhase {
    Reply(Reply),
    /// The range did nothing: it no longer holds all keys.
    NotExecuted,
}

impl Task {
    pub(super) async fn send_one_phase(
        &self,
        exact: Option<Timestamp>,
        progress: &mut Progress,
    ) -> OnePhase {
        let router = &self.inner.shared.router;
        let home = match router.route(self.primary().as_bytes()).await {
            Ok(home) => home,
            Err(error) => return OnePhase::Reply(unavailable(error, progress)),
        };
        if !self.writes.iter().all(|w| home.span.contains(w.key.as_bytes())) {
            return OnePhase::NotExecuted;
        }
        let (answer, lost) = loop {
            let command = self.one_phase_command(exact, &home.span);
            let build = || (Some(self.meta), Request::CommitOnePhase(command.clone()));
            router.metrics.consensus_rounds.inc();
            // A range that has carried the command out answers a repetition as it did before.
            let lost = AtomicBool::new(false);
            let answer = router.call(&home, Replay::Noted(&lost), build).await;
            let lost = lost.load(Ordering::Relaxed);
            match &answer {
                Err(Refusal::Range(RangeError::RefreshFailed(changed)))
                    if !lost && self.stands(changed).await => {}
                _ => break (answer, lost),
            }
        };
        if lost {
            router.metrics.commits_looked_up.inc();
        }
        let reply = match answer {
            Ok(Response::Committed(done)) => {
                progress.released = Some(home.span.clone());
                Reply::Done(Timestamp(done.commit_ts))
            }
            Ok(other) => {
                progress.detail = Some(unexpected("a commit", &other));
                Reply::Unknown(Failure::Refused)
            }
            Err(Refusal::Moved) if !lost => return OnePhase::NotExecuted,
            Err(Refusal::Range(error)) => self.refused(error, progress),
            Err(Refusal::Unavailable(error)) => unavailable(error, progress),
            Err(Refusal::Moved) => Reply::Unknown(Failure::Contended),
        };
        OnePhase::Reply(match reply {
            Reply::Failed(failure) if lost => Reply::Unknown(failure),
            reply => reply,
        })
    }

    fn one_phase_command(&self, exact: Option<Timestamp>, home: &KeyRange) -> kv::CommitOnePhase {
        // At an exact timestamp everything was verified before the command is sent.
        let read_spans = match exact {
            Some(_) => Vec::new(),
            None => self.to_verify().iter().map(Verified::to_span).collect(),
        };
        let keys = self.held.iter().filter_map(Claim::key);
        let spans = self.held.iter().filter_map(Claim::span).filter_map(|s| s.intersect(home));
        kv::CommitOnePhase {
            writes: self.writes.iter().map(|w| w.write.clone()).collect(),
            read_spans,
            read_ts: self.read_ts.0,
            exact_ts: exact.unwrap_or_default().0,
            locked: first_and_last(keys.filter(|key| home.contains(key.as_bytes()))),
            locked_span: spans.reduce(|a, b| a.hull(&b)).map(kv::Span::from),
            must_not_exist: must_not_exist(&self.writes),
        }
    }

    /// Places locks on all written keys. The worst answer counts.
    pub(super) async fn prewrite(
        &self,
        parallel: bool,
        exact: Option<Timestamp>,
        progress: &mut Progress,
    ) -> Reply {
        let lost = AtomicBool::new(false);
        let mut batches = self.batches().into_iter();
        let first = batches.next().expect("something is written");
        // The primary's lock comes first, so that whoever meets another lock finds it.
        let mut worst = self.prewrite_batch(first, parallel, exact, &lost).await;
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < BATCHES_IN_FLIGHT && matches!(worst.0, Reply::Done(_)) {
                let Some(batch) = batches.next() else { break };
                under_way.push(self.prewrite_batch(batch, parallel, exact, &lost));
            }
            let Some(next) = under_way.next().await else { break };
            worst = worse(worst, next);
        }
        progress.detail = worst.1.or(progress.detail.take());
        match worst.0 {
            Reply::Failed(failure) if lost.load(Ordering::Relaxed) => Reply::Unknown(failure),
            reply => reply,
        }
    }

    async fn prewrite_batch(
        &self,
        batch: Vec<Pending>,
        parallel: bool,
        exact: Option<Timestamp>,
        lost: &AtomicBool,
    ) -> (Reply, Option<KvError>) {
        let router = &self.inner.shared.router;
        let build = |writes: &[Pending]| {
            router.metrics.consensus_rounds.inc();
            Request::Prewrite(self.prewrite_command(writes, parallel, exact))
        };
        let replay = Replay::Noted(lost);
        let mut worst = (Reply::Done(Timestamp::ZERO), None);
        match scatter(router, Some(&self.meta), replay, batch, build).await {
            Err(error) => return (Reply::Unknown(Failure::Unavailable), Some(error)),
            Ok(answers) => {
                for (_, answer) in answers {
                    let mut detail = Progress::default();
                    let reply = match answer {
                        Ok(Response::Prewritten(placed)) => {
                            Reply::Done(Timestamp(placed.min_commit_ts))
                        }
                        Ok(other) => {
                            detail.detail = Some(unexpected("a prewrite", &other));
                            Reply::Unknown(Failure::Refused)
                        }
                        Err(Refusal::Range(error)) => self.refused(error, &mut detail),
                        Err(Refusal::Unavailable(error)) => unavailable(error, &mut detail),
                        Err(Refusal::Moved) => unreachable!("what has moved is cut anew"),
                    };
                    worst = worse(worst, (reply, detail.detail));
                }
            }
        }
        worst
    }

    fn prewrite_command(
        &self,
        writes: &[Pending],
        parallel: bool,
        exact: Option<Timestamp>,
    ) -> kv::Prewrite {
        let primary = self.primary();
        let secondaries = if parallel && writes.iter().any(|w| w.key == *primary) {
            self.writes[1..].iter().map(|w| w.key.0.clone()).collect()
        } else {
            Vec::new()
        };
        kv::Prewrite {
            writes: writes.iter().map(|w| w.write.clone()).collect(),
            primary: primary.0.clone(),
            secondaries,
            parallel,
            exact_ts: exact.unwrap_or_default().0,
            read_ts: self.read_ts.0,
            ttl_ms: self.inner.shared.router.config.lock_ttl.as_millis() as u64,
            must_not_exist: must_not_exist(writes),
        }
    }

    /// The writes in key order, cut so that no request is too large.
    fn batches(&self) -> Vec<Vec<Pending>> {
        let limit = self.inner.shared.router.config.request_bytes;
        let mut batches = vec![Vec::new()];
        let mut bytes = 0;
        for write in &self.writes {
            if bytes > limit {
                batches.push(Vec::new());
                bytes = 0;
            }
            bytes += write.key.0.len() + write.write.value.len();
            batches.last_mut().expect("there is always one").push(write.clone());
        }
        batches
    }

    /// Writes the record at the primary, or learns what it says. `settled` tells that no lock is left.
    pub(super) async fn decide(&self, outcome: Outcome, settled: bool) -> Decided {
        self.record(outcome, settled).await.unwrap_or(Decided::Unknown)
    }

    /// The same. An error: the transaction is so old that the primary's range may have forgotten what
    /// became of it. It takes no more writes of it either.
    pub(super) async fn record(&self, outcome: Outcome, settled: bool) -> Result<Decided, BelowGc> {
        let router = &self.inner.shared.router;
        let commit_ts = match outcome {
            Outcome::Commit(at) => at.0,
            Outcome::Rollback => 0,
        };
        let build = |keys: &[Key]| {
            router.metrics.consensus_rounds.inc();
            let primary = keys[0].0.clone();
            Request::EndTxn(kv::EndTxn { txn_id: self.meta.id, primary, commit_ts, settled })
        };
        let primary = vec![self.primary().clone()];
        let Ok(mut answers) = scatter(router, Some(&self.meta), Replay::Safe, primary, build).await
        else {
            return Ok(Decided::Unknown);
        };
        Ok(match answers.pop().map(|(_, answer)| answer) {
            Some(Ok(Response::Done(_))) => Decided::Is(outcome),
            Some(Ok(Response::TxnState(state))) => decided(&state, outcome),
            Some(Err(Refusal::Range(RangeError::TxnGone(_)))) => Decided::Is(Outcome::Rollback),
            Some(Err(Refusal::Range(RangeError::TimestampTooLow(low)))) => {
                Decided::TooLow(Timestamp(low.min_ts))
            }
            Some(Err(Refusal::Range(RangeError::BelowGc(_)))) => return Err(BelowGc),
            Some(Ok(_) | Err(_)) | None => Decided::Unknown,
        })
    }

    /// Turns the locks into versions, or removes them. Answers whether none is left.
    pub(super) async fn resolve(&self, outcome: Outcome) -> bool {
        let router = &self.inner.shared.router;
        let commit_ts = match outcome {
            Outcome::Commit(at) => at.0,
            Outcome::Rollback => 0,
        };
        for batch in self.batches() {
            let build = |writes: &[Pending]| {
                router.metrics.consensus_rounds.inc();
                let keys = writes.iter().map(|w| w.key.0.clone()).collect();
                Request::Resolve(kv::Resolve { txn_id: self.meta.id, keys, commit_ts })
            };
            // What fails here is settled by whoever meets the lock.
            match scatter(router, Some(&self.meta), Replay::Safe, batch, build).await {
                Ok(answers) if answers.iter().all(|(_, answer)| answer.is_ok()) => {}
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    /// Sorts a refusal for the coordinator.
    fn refused(&self, error: RangeError, progress: &mut Progress) -> Reply {
        match error {
            RangeError::TimestampTooLow(_) => Reply::TooLow,
            RangeError::RefreshFailed(changed) => {
                progress.detail = Some(range_refused(RangeError::RefreshFailed(changed.clone())));
                Reply::Failed(Failure::Changed {
                    key: Key(changed.key),
                    version: Timestamp(changed.version_ts),
                })
            }
            RangeError::WriteConflict(conflict) => {
                progress.detail = Some(range_refused(RangeError::WriteConflict(conflict.clone())));
                Reply::Failed(Failure::WriteConflict {
                    key: Key(conflict.key),
                    version: Timestamp(conflict.version_ts),
                })
            }
            RangeError::KeyExists(exists) => {
                Reply::Failed(Failure::KeyExists { key: Key(exists.key) })
            }
            RangeError::TxnGone(_) => Reply::Failed(Failure::Gone),
            RangeError::BelowGc(gc) => {
                progress.detail = Some(KvError::SnapshotTooOld {
                    read_ts: self.read_ts.min(Timestamp(self.meta.start_ts)),
                    safe_point: Timestamp(gc.safe_point),
                });
                Reply::Failed(Failure::Refused)
            }
            error => {
                progress.detail = Some(range_refused(error));
                Reply::Failed(Failure::Refused)
            }
        }
    }
}

/// The primary's range knows nothing any more of transactions as old as this one.
pub(super) struct BelowGc;

fn must_not_exist(writes: &[Pending]) -> Vec<u32> {
    let new = writes.iter().enumerate().filter(|(_, w)| w.must_not_exist);
    new.map(|(place, _)| place as u32).collect()
}

fn decided(state: &kv::TxnState, asked: Outcome) -> Decided {
    match state.state() {
        kv::txn_state::State::Committed => Decided::Is(Outcome::Commit(Timestamp(state.commit_ts))),
        kv::txn_state::State::RolledBack => Decided::Is(Outcome::Rollback),
        kv::txn_state::State::Unknown
        | kv::txn_state::State::Pending
        | kv::txn_state::State::Staging => match asked {
            Outcome::Commit(_) => Decided::TooLow(Timestamp(state.min_commit_ts)),
            Outcome::Rollback => Decided::Unknown,
        },
    }
}

fn unavailable(error: KvError, progress: &mut Progress) -> Reply {
    progress.detail = Some(error);
    Reply::Failed(Failure::Unavailable)
}

/// The later in the order of [`Reply`] wins; of two that are done, the larger timestamp.
fn worse(a: (Reply, Option<KvError>), b: (Reply, Option<KvError>)) -> (Reply, Option<KvError>) {
    let rank = |reply: &Reply| match reply {
        Reply::Done(_) => 0,
        Reply::TooLow => 1,
        Reply::Failed(_) => 2,
        Reply::Unknown(_) => 3,
    };
    match (&a.0, &b.0) {
        (Reply::Done(x), Reply::Done(y)) => {
            if x >= y {
                a
            } else {
                b
            }
        }
        (x, y) => {
            if rank(x) >= rank(y) {
                a
            } else {
                b
            }
        }
    }
}
