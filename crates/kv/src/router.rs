//! Brings a request to the leader of the range that can serve it.
//!
//! The router knows nothing of transactions. It repairs what it knows of ranges and leaders from the
//! answers, and has the patience to wait for a range that elects a leader. What a range *refuses* is
//! the caller's business.
//!
//! A request names one range. When that range no longer holds the keys, the caller is told
//! [`Refusal::Moved`] and groups its keys anew.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::{Key, NodeId};
use futures::future::{Either, select};
use proto::kv::kv_error::Error as RangeError;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::{kv, meta};

use crate::config::Config;
use crate::directory::{Directory, Route};
use crate::error::KvError;
use crate::metrics::Metrics;
use crate::nearest::reads_the_past;
use crate::runtime::Runtime;
use crate::stats::{self, Stats};
use crate::transport::{Transport, TransportError};

/// Why a request brought no result.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The range refused, for a reason that concerns the transaction.
    Range(RangeError),
    /// The range no longer holds all the keys; the directory is repaired.
    Moved,
    /// No leader answered for as long as we may wait. Nothing was done.
    Unavailable(KvError),
}

/// Requests are sent again when an answer was lost: the ranges answer a repetition as before.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Replay<'a> {
    Safe,
    /// The caller wants to know: an earlier sending may yet be carried out.
    Noted(&'a AtomicBool),
}

/// How long a caller is ready to look for a leader.
pub(crate) struct Patience {
    deadline: Duration,
    pause: Duration,
    attempts: usize,
}

pub(crate) struct Router {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) directory: Directory,
}

enum Attempt {
    Answer(Response),
    Refused(Refusal),
    /// Try the next node, at once if a hint was given.
    Again {
        reason: String,
        hinted: bool,
    },
}

impl Router {
    pub(crate) fn patience(&self) -> Patience {
        Patience {
            deadline: self.runtime.now() + self.config.unavailable_after,
            pause: self.config.backoff_min,
            attempts: 0,
        }
    }

    /// The range that holds a key.
    pub(crate) async fn route(&self, key: &[u8]) -> Result<Arc<Route>, KvError> {
        match self.directory.lookup(key) {
            Some(route) => Ok(route),
            None => self.look_up(key, |d| d.lookup(key)).await,
        }
    }

    /// The range that holds the keys just below `end`.
    pub(crate) async fn route_before(&self, end: &[u8]) -> Result<Arc<Route>, KvError> {
        if let Some(route) = self.directory.lookup_before(end) {
            return Ok(route);
        }
        // The range that holds `end` may begin right there: ask for a key just below it.
        let below = if end.is_empty() { vec![0xFF; 64] } else { just_below(end) };
        self.look_up(&below, |d| d.lookup_before(end)).await
    }

    async fn look_up(
        &self,
        key: &[u8],
        found: impl Fn(&Directory) -> Option<Arc<Route>>,
    ) -> Result<Arc<Route>, KvError> {
        let mut patience = self.patience();
        loop {
            let query = meta::system_query::Query::LookupKey(key.to_vec().into());
            let answer = self.query(query).await?;
            for range in answer.ranges {
                self.directory.insert(range);
            }
            if let Some(route) = found(&self.directory) {
                return Ok(route);
            }
            self.pause(&mut patience, key, "the directory has no such range").await?;
        }
    }

    /// Asks the system range.
    pub(crate) async fn query(
        &self,
        query: meta::system_query::Query,
    ) -> Result<meta::SystemAnswer, KvError> {
        let request = Request::SystemQuery(meta::SystemQuery { query: Some(query) });
        match self.call_system(request).await? {
            Response::SystemAnswer(answer) => Ok(answer),
            other => Err(unexpected("a system query", &other)),
        }
    }

    /// A request to the system range. The requests that it serves are all safe to repeat.
    pub(crate) async fn call_system(&self, request: Request) -> Result<Response, KvError> {
        loop {
            let route = self.directory.lookup(&[]).expect("the system range is never forgotten");
            match self.call(&route, Replay::Safe, || (None, request.clone())).await {
                Ok(response) => return Ok(response),
                Err(Refusal::Moved) => {}
                Err(Refusal::Range(error)) => return Err(refused_outside_txn(error)),
                Err(Refusal::Unavailable(error)) => return Err(error),
            }
        }
    }

    /// Sends a request to a range until its leader has answered. `build` is called for each attempt,
    /// so that the first one needs no copy.
    pub(crate) async fn call(
        &self,
        route: &Arc<Route>,
        replay: Replay<'_>,
        mut build: impl FnMut() -> (Option<kv::TxnMeta>, Request),
    ) -> Result<Response, Refusal> {
        let mut patience: Option<Patience> = None;
        let mut candidate = 0;
        if let Some(answer) = self.call_nearest(route, &mut build).await {
            return answer;
        }
        loop {
            let (txn, request) = build();
            let to = match route.leader() {
                Some(leader) => leader,
                None => {
                    candidate += 1;
                    self.candidate(route, candidate - 1)
                }
            };
            let request = kv::RangeRequest { range_id: route.id.0, txn, request: Some(request) };
            match self.attempt(route, to, replay, request).await {
                Attempt::Answer(response) => return Ok(response),
                Attempt::Refused(refusal) => return Err(refusal),
                Attempt::Again { reason, hinted } => {
                    self.metrics.retries.inc();
                    let patience = patience.get_or_insert_with(|| self.patience());
                    let round = route.descriptor.replicas.len().max(1);
                    patience.attempts += 1;
                    // A first round over all replicas goes without a pause.
                    if (hinted || candidate < round) && patience.attempts < 2 * round {
                        continue;
                    }
                    let key = route.span.start.as_bytes();
                    if let Err(error) = self.pause(patience, key, &reason).await {
                        return Err(Refusal::Unavailable(error));
                    }
                    if patience.attempts.is_multiple_of(4 * round) && self.has_moved(route).await {
                        return Err(Refusal::Moved);
                    }
                }
            }
        }
    }

    /// Whether all of a span lies in ranges that this node leads, as far as it knows.
    pub(crate) fn leads(&self, span: &base::KeyRange) -> bool {
        let local = self.transport.local_node().0;
        let mut from = span.start.clone();
        loop {
            let Some(route) = self.directory.lookup(from.as_bytes()) else { return false };
            if route.leader() != Some(local) {
                return false;
            }
            let end = &route.span.end;
            if end.0.is_empty() || (!span.end.0.is_empty() && span.end <= *end) {
                return true;
            }
            from = end.clone();
        }
    }

    /// A span cut at the borders of ranges that are known here, in key order.
    pub(crate) fn cut(&self, mut span: base::KeyRange) -> Vec<base::KeyRange> {
        let mut parts = Vec::new();
        while let Some(route) = self.directory.lookup(span.start.as_bytes()) {
            let end = &route.span.end;
            if end.0.is_empty() || (!span.end.0.is_empty() && span.end <= *end) {
                break;
            }
            parts.push(base::KeyRange { start: span.start, end: end.clone() });
            span.start = end.clone();
        }
        parts.push(span);
        parts
    }

    /// Counts a request to a range.
    pub(crate) fn note_call(&self, route: &Route, local: bool) {
        if local { &self.metrics.local_calls } else { &self.metrics.remote_calls }.inc();
        stats::note(|stats| {
            stats.trip(local);
            if route.id != base::RangeId::SYSTEM {
                stats.range(route.id);
            }
        });
    }

    async fn attempt(
        &self,
        route: &Arc<Route>,
        to: NodeId,
        replay: Replay<'_>,
        request: kv::RangeRequest,
    ) -> Attempt {
        let local = to == self.transport.local_node().0;
        self.note_call(route, local);
        if let Some(Request::SystemCommand(_)) = &request.request {
            stats::note(Stats::consensus_round);
        }
        let waits = attempt_limit(&request, self.config.attempt_timeout);
        // Whoever answers one need not lead.
        let from_any =
            reads_the_past(&request) || matches!(request.request, Some(Request::RangeStatus(_)));
        let answer = match waits {
            Some(limit) => self.within(limit, self.transport.send(to, request)).await,
            None => Some(self.transport.send(to, request).await),
        };
        match answer {
            Some(Ok(kv::RangeResponse {
                error: Some(kv::KvError { error: Some(error) }), ..
            })) => self.refused(route, to, replay, error),
            Some(Ok(kv::RangeResponse { response: Some(response), .. })) => {
                if route.leader() != Some(to) && !from_any {
                    route.set_leader(Some(to));
                }
                Attempt::Answer(response)
            }
            Some(Ok(_)) => {
                Attempt::Again { reason: format!("empty answer of {to}"), hinted: false }
            }
            Some(Err(error @ TransportError::NotSent(_))) => {
                self.unreached(route, error.to_string())
            }
            Some(Err(error @ TransportError::AnswerLost(_))) => {
                self.lost(route, replay, error.to_string())
            }
            None => self.lost(route, replay, format!("no answer of {to}")),
        }
    }

    /// Sorts a range's refusal: ours to repair, or the caller's to decide.
    fn refused(
        &self,
        route: &Arc<Route>,
        from: NodeId,
        replay: Replay<'_>,
        error: RangeError,
    ) -> Attempt {
        match error {
            RangeError::NotLeader(hint) => {
                self.metrics.stale_leaders.inc();
                let leader =
                    (hint.leader != 0 && hint.leader != from.0).then_some(NodeId(hint.leader));
                route.set_leader(leader);
                Attempt::Again {
                    reason: format!("{from} does not lead it"),
                    hinted: leader.is_some(),
                }
            }
            RangeError::WrongRange(wrong) => {
                self.metrics.stale_ranges.inc();
                let mut repaired = false;
                for descriptor in wrong.ranges {
                    repaired |= self.directory.insert(descriptor);
                }
                if route.descriptor.replicas.is_empty() {
                    // The system range before anybody told us where it is: this node has none.
                    return self.unreached(route, format!("{from} does not hold it"));
                }
                if !repaired {
                    self.directory.evict(route);
                }
                Attempt::Refused(Refusal::Moved)
            }
            RangeError::Unavailable(why) => self.unreached(route, why.reason),
            RangeError::Overloaded(why) => Attempt::Again { reason: why.reason, hinted: false },
            RangeError::Ambiguous(why) => self.lost(route, replay, why.reason),
            RangeError::LockConflict(_)
            | RangeError::Deadlock(_)
            | RangeError::TxnGone(_)
            | RangeError::TimestampTooLow(_)
            | RangeError::RefreshFailed(_)
            | RangeError::KeyExists(_)
            | RangeError::WriteConflict(_)
            | RangeError::BelowGc(_)
            | RangeError::Corrupt(_)
            | RangeError::LocksExhausted(_)
            | RangeError::Invalid(_) => Attempt::Refused(Refusal::Range(error)),
        }
    }

    fn unreached(&self, route: &Route, reason: String) -> Attempt {
        route.set_leader(None);
        Attempt::Again { reason, hinted: false }
    }

    fn lost(&self, route: &Route, replay: Replay<'_>, reason: String) -> Attempt {
        match replay {
            Replay::Safe => {}
            Replay::Noted(lost) => lost.store(true, Ordering::Relaxed),
        }
        self.unreached(route, reason)
    }

    /// Whom to ask when nobody is known to lead: the replicas in turn, ours first.
    fn candidate(&self, route: &Route, attempt: usize) -> NodeId {
        let local = self.transport.local_node().0;
        let mut nodes: Vec<NodeId> = route.descriptor.voters().collect();
        if nodes.is_empty() {
            nodes = self.transport.nodes();
        }
        if let Some(at) = nodes.iter().position(|&n| n == local) {
            nodes.swap(0, at);
        }
        if nodes.is_empty() { local } else { nodes[attempt % nodes.len()] }
    }

    /// Whether the directory knows by now that the range has changed. Asked when no replica answers:
    /// all of them may have been replaced.
    async fn has_moved(&self, route: &Arc<Route>) -> bool {
        if route.id == base::RangeId::SYSTEM {
            return false;
        }
        let key = meta::system_query::Query::LookupKey(route.span.start.0.clone());
        // A failure is harmless: the caller goes on trying until its patience ends.
        let Ok(answer) = Box::pin(self.query(key)).await else { return false };
        let mut moved = false;
        for range in answer.ranges {
            moved |= self.directory.insert(range);
        }
        moved
    }

    pub(crate) async fn pause(
        &self,
        patience: &mut Patience,
        key: &[u8],
        reason: &str,
    ) -> Result<(), KvError> {
        if self.runtime.now() >= patience.deadline {
            let key = Key(key.to_vec().into());
            return Err(KvError::Unavailable { key, reason: reason.to_owned() });
        }
        self.runtime.sleep(patience.pause).await;
        patience.pause = (patience.pause * 2).min(self.config.backoff_max);
        Ok(())
    }

    /// Waits for an answer up to a limit. What is answered at once costs no timer.
    async fn within<F: Future + Unpin>(&self, limit: Duration, mut future: F) -> Option<F::Output> {
        if let std::task::Poll::Ready(answer) = futures::poll!(&mut future) {
            return Some(answer);
        }
        match select(future, self.runtime.sleep(limit)).await {
            Either::Left((answer, _)) => Some(answer),
            Either::Right(_) => None,
        }
    }
}

/// How long an answer may take before the request is sent again. Lock requests wait as long as their
/// own timeout tells; commits are never given up, because their answer decides what the user hears.
fn attempt_limit(request: &kv::RangeRequest, usual: Duration) -> Option<Duration> {
    match request.request.as_ref()? {
        Request::LockKeys(kv::LockKeys { timeout_ms, .. })
        | Request::LockSpans(kv::LockSpans { timeout_ms, .. }) => match timeout_ms {
            0 => None,
            ms => Some(usual + Duration::from_millis(*ms)),
        },
        Request::CommitOnePhase(_) => None,
        Request::Get(_)
        | Request::Scan(_)
        | Request::Prewrite(_)
        | Request::Load(_)
        | Request::Clear(_)
        | Request::Resolve(_)
        | Request::EndTxn(_)
        | Request::QueryTxn(_)
        | Request::CheckKeys(_)
        | Request::Refresh(_)
        | Request::ReleaseLocks(_)
        | Request::Heartbeat(_)
        | Request::Oracle(_)
        | Request::SystemCommand(_)
        | Request::SystemQuery(_)
        | Request::Inspect(_)
        | Request::RangeStatus(_) => Some(usual),
        Request::Split(_)
        | Request::ChangeReplicas(_)
        | Request::TransferLeader(_)
        | Request::Collect(_) => Some(4 * usual),
    }
}

/// A key a little below `end`, close enough to lie in the range that ends there.
fn just_below(end: &[u8]) -> Vec<u8> {
    let mut key = end.to_vec();
    match key.pop() {
        None | Some(0) => {}
        Some(last) => {
            key.push(last - 1);
            key.extend_from_slice(&[0xFF; 32]);
        }
    }
    key
}

pub(crate) fn unexpected(asked: &str, got: &Response) -> KvError {
    KvError::Invalid(format!("{asked} was answered by {got:?}"))
}

/// What a refusal means to a request that belongs to no transaction.
pub(crate) fn refused_outside_txn(error: RangeError) -> KvError {
    match error {
        RangeError::Corrupt(c) => KvError::Corrupt { file: c.file, detail: c.detail },
        RangeError::Invalid(i) => KvError::Invalid(i.reason),
        other => KvError::Invalid(format!("{other:?}")),
    }
}
