//! What a transaction holds in leaders' memory besides single rows: spans that it has read FOR UPDATE, which
//! others may not insert into.
//!
//! At SERIALIZABLE only, where what was read must hold at the commit; there an insertion into it would cost
//! the reader its commit. The other levels promise no such thing, and neither does FOR KEY SHARE. What SKIP
//! LOCKED has read proves nothing, so it is not claimed; what NOWAIT has read is claimed if that is free.
//!
//! A span is claimed after it was read, page by page: so it is what was read and no more (a LIMIT may have
//! stopped the scan). If somebody was faster, the leader tells, and the statement runs again on a newer
//! snapshot, as for a row that is newer when it is locked.
//!
//! A lost claim is harmless, for the commit verifies what was read in any case. So nothing is made of there
//! being too many of them: what is read beyond [`CLAIMS_MAX`] is not claimed.

use std::time::Duration;

use base::{Key, KeyRange, Timestamp, TxnId};
use proto::kv;
use proto::kv::kv_error::Error as RangeError;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::kv::{Isolation, Strength, WaitPolicy};

use super::end::first_and_last;
use super::{Inner, Txn};
use crate::error::KvError;
use crate::router::{Refusal, Replay, unexpected};
use crate::scatter::{Piece, scatter};
use crate::stats;

/// Spans that one transaction claims.
const CLAIMS_MAX: usize = 1024;

/// How spans that are read are claimed.
#[derive(Debug, Clone, Copy)]
pub struct SpanLock {
    /// What is kept away: as the locks on the rows.
    pub strength: Strength,
    /// Other than [`WaitPolicy::Block`]: not claimed if somebody is inserting there.
    pub wait: WaitPolicy,
}

/// A span claimed in leaders' memory.
#[derive(Debug, Clone)]
pub(crate) struct HeldSpan {
    pub(crate) span: KeyRange,
    strength: Strength,
    /// Which lock request it was: what is younger than a savepoint goes with it.
    pub(crate) taken: u64,
    /// The answer has come. Without it, it may be held or not.
    granted: bool,
}

impl HeldSpan {
    pub(crate) fn is_granted(&self) -> bool {
        self.granted
    }

    /// One that was to be released, and may be held still.
    pub(crate) fn perhaps(span: &KeyRange) -> Self {
        HeldSpan { span: span.clone(), strength: Strength::Share, taken: 0, granted: false }
    }
}

/// What is held in a leader's memory, or may be because it was asked for.
#[derive(Debug, Clone)]
pub(crate) enum Claim {
    Key(Key),
    Span(KeyRange),
}

/// A change of a span since it was read.
struct Changed {
    version: Timestamp,
    key: Key,
    by: Option<TxnId>,
}

impl Piece for Claim {
    fn anchor(&self) -> &[u8] {
        match self {
            Claim::Key(key) => key.as_bytes(),
            Claim::Span(span) => span.anchor(),
        }
    }

    fn cut(self, inside: &KeyRange) -> (Self, Option<Self>) {
        match self {
            Claim::Key(_) => (self, None),
            Claim::Span(span) => {
                let (part, rest) = span.cut(inside);
                (Claim::Span(part), rest.map(Claim::Span))
            }
        }
    }
}

impl Claim {
    pub(crate) fn key(&self) -> Option<&Key> {
        match self {
            Claim::Key(key) => Some(key),
            Claim::Span(_) => None,
        }
    }

    pub(crate) fn span(&self) -> Option<&KeyRange> {
        match self {
            Claim::Key(_) => None,
            Claim::Span(span) => Some(span),
        }
    }
}

/// Releases all that an ended transaction holds in a range.
pub(crate) fn release_all(claims: &[Claim]) -> Request {
    let keys = first_and_last(claims.iter().filter_map(Claim::key));
    let around = claims.iter().filter_map(Claim::span).cloned().reduce(|a, b| a.hull(&b));
    let spans = around.map(kv::Span::from).into_iter().collect();
    Request::ReleaseLocks(kv::ReleaseLocks { keys, spans, ended: true })
}

/// Releases these, and nothing else.
pub(super) fn release_these(claims: &[Claim]) -> Request {
    Request::ReleaseLocks(kv::ReleaseLocks {
        keys: claims.iter().filter_map(Claim::key).map(|key| key.0.clone()).collect(),
        spans: claims.iter().filter_map(Claim::span).cloned().map(kv::Span::from).collect(),
        ended: false,
    })
}

/// The parts of spans younger than a savepoint that no older one covers.
pub(super) fn younger_than(since: u64, spans: &[HeldSpan]) -> Vec<KeyRange> {
    let (old, young): (Vec<_>, Vec<_>) = spans.iter().partition(|held| held.taken <= since);
    let mut free: Vec<KeyRange> = young.iter().map(|held| held.span.clone()).collect();
    for kept in old {
        free = free.iter().flat_map(|span| span.without(&kept.span)).collect();
    }
    free
}

impl Txn {
    /// Keeps others from inserting into a span that was just read, until the transaction ends.
    pub(super) async fn claim(&self, span: KeyRange, how: SpanLock) -> Result<(), KvError> {
        let inner = &self.inner;
        let serializable = inner.options.isolation == Isolation::Serializable;
        let pointless = how.strength == Strength::KeyShare || how.wait == WaitPolicy::SkipLocked;
        if !serializable || inner.options.read_only || pointless || span.is_empty() {
            return Ok(());
        }
        let Some(taken) = inner.begin_claim(&span, how.strength)? else { return Ok(()) };
        let read_ts = {
            let state = inner.active()?;
            self.view(&state).read_ts
        };
        let changed = inner.unless_killed(inner.lock_span(span, how, read_ts)).await??;
        for held in &mut inner.active()?.spans {
            held.granted |= held.taken == taken;
        }
        match changed {
            Some(newer) => inner.move_snapshot(newer.version, &newer.key, newer.by).await,
            None => Ok(()),
        }
    }
}

impl Inner {
    /// Notes a claim that is about to be asked for; none if there is no need to, or no room.
    fn begin_claim(&self, span: &KeyRange, strength: Strength) -> Result<Option<u64>, KvError> {
        let mut state = self.active()?;
        let covers = |held: &HeldSpan| {
            held.granted && held.strength >= strength && held.span.contains_range(span)
        };
        if state.spans.iter().any(covers) || state.spans.len() >= CLAIMS_MAX {
            return Ok(None);
        }
        state.lock_requests += 1;
        let taken = state.lock_requests;
        state.spans.push(HeldSpan { span: span.clone(), strength, taken, granted: false });
        Ok(Some(taken))
    }

    /// Claims a span, a part in each range.
    async fn lock_span(
        &self,
        span: KeyRange,
        how: SpanLock,
        read_ts: Timestamp,
    ) -> Result<Option<Changed>, KvError> {
        let (meta, timeout) = {
            let state = self.active()?;
            (self.meta(&state), state.lock_timeout)
        };
        let router = &self.shared.router;
        let started = router.runtime.now();
        let mut left = vec![span];
        let mut changed: Option<Changed> = None;
        while !left.is_empty() {
            let slice: Duration = self.slice(timeout, started);
            let build = |spans: &[KeyRange]| {
                Request::LockSpans(kv::LockSpans {
                    spans: spans.iter().cloned().map(kv::Span::from).collect(),
                    strength: how.strength as i32,
                    wait: how.wait as i32,
                    timeout_ms: slice.as_millis() as u64,
                    read_ts: read_ts.0,
                })
            };
            let spans = std::mem::take(&mut left);
            let sent = scatter(router, meta.as_ref(), Replay::Safe, spans, build);
            for (spans, answer) in sent.await? {
                match answer {
                    Ok(Response::LockedSpans(locked)) => {
                        if locked.waited_us > 0 {
                            stats::note(|stats| stats.waited(locked.waited_us));
                        }
                        let version = Timestamp(locked.version_ts);
                        if version > changed.as_ref().map_or(Timestamp::ZERO, |c| c.version) {
                            let by = (locked.by_txn != 0).then_some(TxnId(locked.by_txn));
                            changed = Some(Changed { version, key: Key(locked.key), by });
                        }
                    }
                    Ok(other) => return Err(unexpected("a claim of a span", &other)),
                    Err(Refusal::Range(RangeError::LockConflict(conflict)))
                        if conflict.timed_out && !self.out_of_time(timeout, started) =>
                    {
                        left.extend(spans);
                    }
                    Err(refusal) => return Err(self.lock_refused(refusal, started)),
                }
            }
        }
        Ok(changed)
    }
}
