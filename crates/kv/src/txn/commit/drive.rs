//! The loop between the coordinator and the messages.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use base::{Key, KeyRange, Timestamp};
use futures::future::{Either, select};
use proto::kv;
use proto::kv::range_request::Request;
use txn::coordinator::{
    Answer, Coordinator, Decided, Effect, Failure, Input, Outcome, Placement, Reply, Work,
};

use super::Task;
use super::send::{BelowGc, OnePhase};
use crate::error::{KvError, SerializationCause};
use crate::router::Replay;
use crate::runtime::detach;
use crate::scatter::scatter;
use crate::stats::{self, Stats};
use crate::txn::premise::Premise;
use crate::txn::refresh::{NotRefreshed, Verified, as_of};
use crate::txn::{Claim, Phase};

/// What the loop knows besides the coordinator.
#[derive(Default)]
pub(super) struct Progress {
    /// What a range said, in more detail than the coordinator needs.
    pub(super) detail: Option<KvError>,
    /// The primary holds the record of the outcome.
    recorded: bool,
    /// The one-phase command released the locks in here.
    pub(super) released: Option<KeyRange>,
}

impl Task {
    pub(super) async fn run(self) -> Result<Option<Timestamp>, KvError> {
        let task = Arc::new(self);
        let limits = task.inner.shared.router.config.commit_limits();
        let mut coordinator = Coordinator::new(limits);
        let mut progress = Progress::default();
        let mut answer = None;
        let work = match task.until_verifiable().await {
            Ok(()) => task.work().await,
            Err(error) => Err(error),
        };
        let mut effects: VecDeque<Effect> = match work {
            Ok(work) => coordinator.step(Input::Commit(work)).into(),
            Err(error) => {
                progress.detail = Some(error);
                coordinator.step(Input::Rollback).into()
            }
        };
        while let Some(effect) = effects.pop_front() {
            let input = match effect {
                Effect::Answer(told) => {
                    let told = task.answer(told, &mut progress);
                    answer = Some(task.acknowledge(told, &mut effects, &mut progress).await);
                    None
                }
                effect => task.carry_out(effect, &mut progress).await,
            };
            if let Some(input) = input {
                effects.extend(coordinator.step(input));
            }
        }
        answer.expect("the coordinator answers before it ends (C1)")
    }

    async fn carry_out(self: &Arc<Self>, effect: Effect, progress: &mut Progress) -> Option<Input> {
        // What `Finish` sends nobody waits for.
        if let Effect::OnePhase { .. } | Effect::Prewrite { .. } | Effect::Decide { .. } = effect {
            self.inner.shared.router.metrics.commit_rounds.inc();
            stats::note(Stats::consensus_round);
        }
        match effect {
            Effect::OnePhase { exact } => Some(self.one_phase(exact, progress).await),
            Effect::Prewrite { primary, parallel, exact } => {
                assert_eq!(&primary, self.primary(), "the primary is the smallest key");
                let metrics = &self.inner.shared.router.metrics;
                if parallel { &metrics.commits_parallel } else { &metrics.commits_two_phase }.inc();
                let sent = self.with_heartbeats(self.prewrite(parallel, exact, progress));
                let result = self.inner.unless_killed(sent).await;
                Some(match result {
                    Ok(reply) => Input::Prewritten(self.doubt(reply).await),
                    Err(killed) => {
                        progress.detail = Some(killed);
                        Input::Rollback
                    }
                })
            }
            Effect::Draw => match self.inner.shared.oracle.draw(&self.inner.shared.router).await {
                Ok(ts) => Some(Input::Drawn(ts)),
                Err(error) => {
                    progress.detail = Some(error);
                    Some(Input::Rollback)
                }
            },
            Effect::Refresh { to } => Some(Input::Refreshed(self.verify(to, progress).await)),
            Effect::Decide { outcome: outcome @ Outcome::Commit(_), .. }
                if !self.inner.shared.router.config.rules.records_decide =>
            {
                Some(Input::Decided(Decided::Is(outcome)))
            }
            Effect::Decide { outcome, .. } => {
                let decided = self.with_heartbeats(self.decide(outcome, false)).await;
                progress.recorded = matches!(decided, Decided::Is(_));
                Some(Input::Decided(decided))
            }
            Effect::Finish { outcome, .. } => {
                let (task, recorded) = (self.clone(), progress.recorded);
                self.inner.finish(async move { task.settle(outcome, recorded).await }).await;
                None
            }
            Effect::Release => {
                self.inner.release((self.meta, self.still_held(progress.released.as_ref())));
                None
            }
            Effect::Answer(_) => unreachable!("handled by the loop"),
        }
    }

    async fn one_phase(&self, exact: Option<Timestamp>, progress: &mut Progress) -> Input {
        self.inner.shared.router.metrics.commits_one_phase.inc();
        let sent = self.send_one_phase(exact, progress);
        match self.inner.unless_killed(sent).await {
            Ok(OnePhase::Reply(reply)) => Input::OnePhase(self.doubt(reply).await),
            Ok(OnePhase::NotExecuted) => match self.work().await {
                Ok(work) => Input::Commit(work),
                Err(error) => {
                    progress.detail = Some(error);
                    Input::OnePhase(Reply::Failed(Failure::Unavailable))
                }
            },
            Err(killed) => {
                progress.detail = Some(killed);
                Input::Rollback
            }
        }
    }

    /// A duplicate that was inserted behind the snapshot of a SERIALIZABLE transaction may only be one
    /// because what the transaction read has changed: then that is what is wrong, and running again
    /// mends it. (`INSERT INTO t SELECT max(id) + 1 FROM t`, twice at once.)
    async fn doubt(&self, reply: Reply) -> Reply {
        if !matches!(reply, Reply::Failed(Failure::KeyExists { .. })) {
            return reply;
        }
        let mut seen = as_of(self.read_ts, &self.reads);
        seen.extend(self.premise.lock().as_ref().and_then(Premise::verified));
        if seen.is_empty() {
            return reply;
        }
        let Ok(now) = self.inner.shared.oracle.draw(&self.inner.shared.router).await else {
            return reply;
        };
        match self.inner.refresh(seen, now).await {
            Err(NotRefreshed::Changed { key, version, .. }) => {
                Reply::Failed(Failure::Changed { key, version })
            }
            Ok(()) | Err(NotRefreshed::Failed(_)) => reply,
        }
    }

    /// Looks where everything lies.
    async fn work(&self) -> Result<Work, KvError> {
        let router = &self.inner.shared.router;
        let (reads, locked_only) = self.verifies();
        let Some(first) = self.writes.first() else {
            return Ok(Work {
                primary: None,
                keys: 0,
                bytes: 0,
                read_ts: self.read_ts,
                reads,
                locked_only,
                placement: Placement::ManyRanges,
            });
        };
        let home = router.route(first.key.as_bytes()).await?;
        let together = self.writes.iter().all(|w| home.span.contains(w.key.as_bytes()));
        let here = |verified: &Verified| home.span.contains_range(&verified.span);
        let placement = Placement::of(together, || self.to_verify().iter().all(here));
        Ok(Work {
            primary: Some(self.primary().clone()),
            keys: self.writes.len(),
            bytes: self.bytes,
            read_ts: self.read_ts,
            reads,
            locked_only,
            placement,
        })
    }

    /// Whether there is something to verify that holds at the snapshot, and something that may not.
    fn verifies(&self) -> (bool, bool) {
        let holds = self.premise.lock().as_ref().map(Premise::holds_at_snapshot);
        (
            !self.reads.is_empty() || holds == Some(true),
            !self.locked_only.is_empty() || holds == Some(false),
        )
    }

    /// Rows locked only, and snapshot reads.
    fn verified_rows(&self) -> Vec<Verified> {
        let mut spans = self.locked_only.clone();
        spans.extend(as_of(self.read_ts, &self.reads));
        spans
    }

    /// These, and the premise.
    pub(super) fn to_verify(&self) -> Vec<Verified> {
        let mut spans = self.verified_rows();
        spans.extend(self.premise.lock().as_ref().and_then(Premise::verified));
        spans
    }

    /// After a range has found `changed`: whether the premise goes on with it.
    pub(super) async fn stands(&self, changed: &kv::RefreshFailed) -> bool {
        let mut premise = self.premise.lock().clone();
        let (key, version) = (Key(changed.key.clone()), Timestamp(changed.version_ts));
        let stands = self.inner.stands(&mut premise, &key, version).await;
        *self.premise.lock() = premise;
        stands
    }

    async fn verify(&self, to: Timestamp, progress: &mut Progress) -> Result<(), Failure> {
        let mut premise = self.premise.lock().clone();
        let verified = self.inner.refresh_with(|| self.verified_rows(), &mut premise, to).await;
        *self.premise.lock() = premise;
        match verified {
            Ok(()) => Ok(()),
            Err(NotRefreshed::Changed { key, version, by }) => {
                progress.detail = Some(KvError::Serialization {
                    key: Some(key.clone()),
                    by,
                    cause: SerializationCause::ReadChanged(version),
                });
                Err(Failure::Changed { key, version })
            }
            Err(NotRefreshed::Failed(error)) => {
                progress.detail = Some(error);
                Err(Failure::Refused)
            }
        }
    }

    /// Reads are verified up to issued timestamps only; a snapshot that has moved to a row's newest
    /// version may lie above them.
    async fn until_verifiable(&self) -> Result<(), KvError> {
        if self.verifies() == (false, false) {
            return Ok(());
        }
        let shared = &self.inner.shared;
        shared.oracle.until_issued(&shared.router, self.read_ts).await
    }

    /// Holds a commit's acknowledgement back until every transaction that begins after it sees it.
    /// What is left to do, releasing locks above all, need not wait for that.
    async fn acknowledge(
        self: &Arc<Self>,
        told: Result<Option<Timestamp>, KvError>,
        left: &mut VecDeque<Effect>,
        progress: &mut Progress,
    ) -> Result<Option<Timestamp>, KvError> {
        let Ok(Some(at)) = told else { return told };
        for effect in left.drain(..) {
            self.carry_out(effect, progress).await;
        }
        let shared = &self.inner.shared;
        if !shared.router.config.rules.commits_wait_for_oracle {
            return told;
        }
        let seen = shared.oracle.until_issued(&shared.router, at.prev()).await;
        let unsure = |error| KvError::Ambiguous {
            reason: format!("it is committed, but others may begin before it: {error}"),
        };
        seen.map(|()| told.ok().flatten()).map_err(unsure)
    }

    /// What the client is told, and where the transaction stands then.
    fn answer(&self, told: Answer, progress: &mut Progress) -> Result<Option<Timestamp>, KvError> {
        let metrics = &self.inner.shared.router.metrics;
        let result = match told {
            Answer::Committed(ts) => Ok(ts),
            Answer::RolledBack => Err(progress.detail.take().unwrap_or(rolled_back())),
            Answer::Failed(failure) => Err(self.failed(failure, progress.detail.take())),
            Answer::Ambiguous => {
                let reason = "the range that holds the decision can't be reached".to_owned();
                Err(KvError::Ambiguous { reason })
            }
        };
        let result = result.map_err(|error| self.inner.unless_declared_aborted(error));
        let phase = if result.is_ok() { Phase::Committed } else { Phase::RolledBack };
        {
            let mut state = self.inner.state.lock();
            state.phase = phase;
            state.hold = None;
        }
        if matches!(result, Err(KvError::Serialization { .. })) {
            metrics.serialization_errors.inc();
        }
        result
    }

    fn failed(&self, failure: Failure, detail: Option<KvError>) -> KvError {
        match failure {
            Failure::Changed { key, version } => conflict(
                detail,
                KvError::Serialization {
                    key: Some(key),
                    by: None,
                    cause: SerializationCause::ReadChanged(version),
                },
            ),
            Failure::WriteConflict { key, version } => conflict(
                detail,
                KvError::Serialization {
                    key: Some(key),
                    by: None,
                    cause: SerializationCause::WriteConflict(version),
                },
            ),
            Failure::KeyExists { key } => KvError::DuplicateKey { key },
            Failure::Gone | Failure::RolledBack | Failure::Contended => {
                detail.unwrap_or(rolled_back())
            }
            Failure::Unavailable | Failure::Refused => detail.unwrap_or(rolled_back()),
        }
    }

    /// What is to be released: a one-phase command has released the locks of its range.
    fn still_held(&self, released: Option<&KeyRange>) -> Vec<Claim> {
        let Some(released) = released else { return self.held.clone() };
        let mut left = Vec::new();
        for claim in &self.held {
            match claim {
                Claim::Key(key) if released.contains(key.as_bytes()) => {}
                Claim::Key(_) => left.push(claim.clone()),
                Claim::Span(span) => {
                    left.extend(span.without(released).into_iter().map(Claim::Span));
                }
            }
        }
        left
    }

    /// Tells the primary's range that the coordinator lives, while a step takes long.
    async fn with_heartbeats<F: Future>(&self, future: F) -> F::Output {
        let mut future = std::pin::pin!(future);
        if let Poll::Ready(output) = futures::poll!(&mut future) {
            return output;
        }
        let router = &self.inner.shared.router;
        loop {
            let pause = router.runtime.sleep(router.config.heartbeat_every);
            match select(&mut future, pause).await {
                Either::Left((output, _)) => return output,
                Either::Right(_) => self.heartbeat(),
            }
        }
    }

    fn heartbeat(&self) {
        let (shared, meta, primary) =
            (self.inner.shared.clone(), self.meta, self.primary().clone());
        detach(&*self.inner.shared.router.runtime, async move {
            let build =
                |keys: &[Key]| Request::Heartbeat(kv::Heartbeat { primary: keys[0].0.clone() });
            // One that fails is followed by the next.
            drop(scatter(&shared.router, Some(&meta), Replay::Safe, vec![primary], build).await);
        });
    }

    /// Records the outcome, settles the locks, and lets the record go. Every step is idempotent, and
    /// is done by whoever meets the locks if it fails here.
    async fn settle(&self, outcome: Outcome, recorded: bool) {
        let stands = match recorded {
            true => true,
            false => match self.record(outcome, false).await {
                Ok(decided) => matches!(decided, Decided::Is(is) if is == outcome),
                // A rollback needs no record then: no late prewrite of the primary can make it a commit.
                Err(BelowGc) => outcome == Outcome::Rollback,
            },
        };
        if stands && self.resolve(outcome).await {
            // Whether the mark arrives only decides how soon the record is collected.
            self.decide(outcome, true).await;
        }
    }
}

/// What the range said of the conflict, if it is that one.
fn conflict(detail: Option<KvError>, known: KvError) -> KvError {
    match (detail, &known) {
        (
            Some(KvError::Serialization { key, by, cause }),
            KvError::Serialization { key: same, cause: same_cause, .. },
        ) if key == *same && cause == *same_cause => KvError::Serialization { key, by, cause },
        (Some(_) | None, _) => known,
    }
}

fn rolled_back() -> KvError {
    KvError::Serialization { key: None, by: None, cause: SerializationCause::RolledBack }
}
