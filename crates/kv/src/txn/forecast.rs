//! What a transaction would cost to commit, and where keys lie: for EXPLAIN, before anything is done.
//!
//! The commit is foretold by the state machine that will carry it out ([`txn::coordinator`]): it is given
//! the transaction as it would be, and answers as ranges give them when nobody is in the way; what it
//! asks for until it answers the client is what the commit costs. Where keys are not known yet, a span
//! that holds them stands for them, as if every range of it had one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::{KeyRange, NodeId, RangeId, Timestamp};
use proto::kv;
use proto::kv::Isolation;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use txn::coordinator::{Coordinator, Decided, Effect, Input, Placement, Reply, Work};

use super::Txn;
use crate::db::{Db, Shared};
use crate::error::KvError;
use crate::router::Replay;
use crate::stats::Trips;

/// The part of a span that one range holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The range.
    pub range: RangeId,
    /// Who was last seen leading it, if anybody.
    pub leader: Option<NodeId>,
    /// The part.
    pub span: KeyRange,
}

/// What a statement would add to its transaction.
#[derive(Debug, Clone, Default)]
pub struct Footprint {
    /// Keys written: points, or spans that hold them.
    pub writes: Vec<KeyRange>,
    /// Keys locked, those written or not; likewise.
    pub locks: Vec<KeyRange>,
    /// What is read.
    pub reads: Vec<KeyRange>,
}

/// How a transaction would commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitWay {
    /// There is nothing to do.
    Nothing,
    /// Nothing is written; rows that are locked are verified.
    Verification,
    /// One command in one range.
    OnePhase,
    /// Locks in several ranges, which are the decision.
    Parallel,
    /// Locks in several ranges, then the decision.
    TwoPhase,
}

/// What a commit would cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitForecast {
    /// How.
    pub way: CommitWay,
    /// Ranges that are written to.
    pub ranges: Vec<RangeId>,
    /// Consensus rounds, one after another.
    pub consensus_rounds: u64,
    /// Requests, one visit to the oracle for each timestamp among them.
    pub trips: Trips,
    /// Whom these go to, and who was last seen leading each.
    pub visited: BTreeMap<RangeId, Option<NodeId>>,
    /// It depends on nothing that is known only at run time.
    pub certain: bool,
}

/// Everything that a commit would be about.
struct Subject {
    writes: Vec<KeyRange>,
    verified: Vec<KeyRange>,
    reads: bool,
    locked_only: bool,
    read_ts: Timestamp,
}

impl Db {
    /// How a span lies over ranges, in key order. What this node has not heard of is asked for.
    pub async fn parts(&self, span: &KeyRange) -> Result<Vec<Part>, KvError> {
        parts(&self.shared, span).await
    }
}

async fn parts(shared: &Shared, span: &KeyRange) -> Result<Vec<Part>, KvError> {
    let mut parts = Vec::new();
    let mut left = span.clone();
    while !left.is_empty() {
        let route = shared.router.route(left.start.as_bytes()).await?;
        if route.leader().is_none() {
            // Any replica says who leads; without an answer it is not known.
            let build = || (None, Request::RangeStatus(kv::RangeStatus {}));
            let answer = shared.router.call(&route, Replay::Safe, build).await;
            if let Ok(Response::RangeStatus(status)) = answer {
                route.set_leader((status.leader != 0).then_some(NodeId(status.leader)));
            }
        }
        let inside = route.span.intersect(&left).expect("the range was looked up by the span");
        parts.push(Part { range: route.id, leader: route.leader(), span: inside });
        if route.span.end.0.is_empty() {
            break;
        }
        left.start = route.span.end.clone();
        if !left.end.0.is_empty() && left.start >= left.end {
            break;
        }
    }
    Ok(parts)
}

impl CommitForecast {
    /// One request to each range of these.
    fn visit(&mut self, here: NodeId, parts: &[Part]) {
        let mut asked = BTreeSet::new();
        for part in parts {
            if asked.insert(part.range) {
                self.trips.add(part.leader == Some(here));
                self.visited.insert(part.range, part.leader);
            }
        }
    }
}

impl Txn {
    /// What its commit would cost if a statement added `more` to it.
    pub async fn forecast_commit(&self, more: &Footprint) -> Result<CommitForecast, KvError> {
        let shared = &self.inner.shared;
        let subject = self.subject(more);
        let mut forecast = CommitForecast {
            way: CommitWay::Nothing,
            ranges: Vec::new(),
            consensus_rounds: 0,
            trips: Trips::default(),
            visited: BTreeMap::new(),
            certain: true,
        };
        let written = parts_of(shared, &subject.writes).await?;
        let verified = parts_of(shared, &subject.verified).await?;
        let ranges = |parts: &[Part]| parts.iter().map(|p| p.range).collect::<BTreeSet<_>>();
        forecast.ranges = ranges(&written).into_iter().collect();
        // A span over several ranges may turn out to have keys in some of them only.
        forecast.certain = written.len() == subject.writes.len();
        let primary = subject.writes.first().map(|span| span.start.clone());
        let work = Work {
            placement: match &primary {
                None => Placement::ManyRanges,
                Some(primary) => {
                    let home = shared.router.route(primary.as_bytes()).await?;
                    let here = |span: &KeyRange| home.span.contains_range(span);
                    let together = subject.writes.iter().all(here);
                    Placement::of(together, || subject.verified.iter().all(here))
                }
            },
            primary,
            keys: subject.writes.len(),
            bytes: 0,
            read_ts: subject.read_ts,
            reads: subject.reads,
            locked_only: subject.locked_only,
        };
        let here = shared.router.transport.local_node().0;
        let oracle = shared.router.route(&[]).await?;
        let mut coordinator = Coordinator::new(shared.router.config.commit_limits());
        let mut effects: VecDeque<Effect> = coordinator.step(Input::Commit(work)).into();
        while let Some(effect) = effects.pop_front() {
            let answer = match effect {
                Effect::OnePhase { exact } => {
                    forecast.way = CommitWay::OnePhase;
                    forecast.consensus_rounds += 1;
                    forecast.visit(here, &written[..1]);
                    Input::OnePhase(Reply::Done(exact.unwrap_or(subject.read_ts)))
                }
                Effect::Prewrite { parallel, .. } => {
                    forecast.way = if parallel { CommitWay::Parallel } else { CommitWay::TwoPhase };
                    forecast.consensus_rounds += 1;
                    forecast.visit(here, &written);
                    Input::Prewritten(Reply::Done(Timestamp::ZERO))
                }
                Effect::Draw => {
                    forecast.trips.add(oracle.leader() == Some(here));
                    Input::Drawn(subject.read_ts.next())
                }
                Effect::Refresh { .. } => {
                    if forecast.way == CommitWay::Nothing {
                        forecast.way = CommitWay::Verification;
                    }
                    forecast.visit(here, &verified);
                    Input::Refreshed(Ok(()))
                }
                Effect::Decide { outcome, .. } => {
                    forecast.consensus_rounds += 1;
                    forecast.visit(here, &written[..1]);
                    Input::Decided(Decided::Is(outcome))
                }
                // What follows nobody waits for.
                Effect::Answer(_) | Effect::Finish { .. } | Effect::Release => break,
            };
            effects.extend(coordinator.step(answer));
        }
        Ok(forecast)
    }

    fn subject(&self, more: &Footprint) -> Subject {
        let state = self.inner.state.lock();
        let options = self.options();
        let mut writes: BTreeSet<KeyRange> =
            state.buffer.iter().map(|(key, _)| KeyRange::point(key.clone())).collect();
        writes.extend(state.xact.as_ref().map(|xact| KeyRange::point(xact.key())));
        writes.extend(more.writes.iter().filter(|span| !span.is_empty()).cloned());
        let written = |span: &KeyRange| writes.iter().any(|write| write.contains_range(span));
        let held = state.locks.keys().map(|key| KeyRange::point(key.clone()));
        let locked: Vec<KeyRange> =
            held.chain(more.locks.iter().cloned()).filter(|span| !written(span)).collect();
        let mut verified = locked.clone();
        let (mut reads, mut locked_only) = (false, !locked.is_empty());
        let commits = !writes.is_empty() || locked_only;
        let premise = state.premise.as_ref().filter(|_| commits);
        if let Some((premise, found)) = premise.and_then(|p| Some((p, p.verified()?))) {
            match premise.holds_at_snapshot() {
                true => reads = true,
                false => locked_only = true,
            }
            verified.push(found.span);
        }
        if options.isolation == Isolation::Serializable && !options.read_only {
            let all = state.all_reads();
            reads |= !all.is_empty() || !more.reads.is_empty();
            verified.extend(all);
            verified.extend(more.reads.iter().cloned());
        }
        Subject {
            writes: writes.into_iter().collect(),
            verified,
            reads,
            locked_only,
            read_ts: state.read_ts,
        }
    }
}

async fn parts_of(shared: &Shared, spans: &[KeyRange]) -> Result<Vec<Part>, KvError> {
    let mut all = Vec::with_capacity(spans.len());
    for span in spans {
        all.extend(parts(shared, span).await?);
    }
    Ok(all)
}
