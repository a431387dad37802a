//! Scans of peers with a fragment ([`kv::FragmentEvaluator`]): read page by page, answered with what is left.
//!
//! ```text
//!   call_remote ──▶ task:  Scan of the next few thousand rows ──▶ evaluator ─┐ until enough is left, or
//!                              ▲                                             │ enough was read
//!                              └─────────────────────────────────────────────┘
//!                          ──▶ answer: what is left, and where to go on
//! ```
//!
//! Each page is a request like any other, at the timestamp and for the transaction of the peer's, and waits
//! for locks as that would. Between two pages the task gives way. In memory are one page and what is left of
//! those before.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::Key;
use bytes::Bytes;
use futures::FutureExt;
use kv::FragmentRun;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::kv::{
    KvError, RangeRequest, RangeResponse, Scan, ScanResult, Span, Unavailable, kv_error,
};
use proto::node::Reply;

use super::{Outcome, Store};
use crate::transport::Peer;

/// Most rows of a page.
const PAGE_ROWS: u64 = 4_096;
/// Most bytes of a page.
const PAGE_BYTES: u64 = 1 << 20;
/// Most rows that one request reads.
const ROWS_MAX: u64 = 16 * PAGE_ROWS;
/// After so long a request is answered with what there is: its sender's patience is some seconds.
const TIME_MAX: Duration = Duration::from_millis(300);

impl Store {
    /// The evaluation that a peer's request asks for, if it asks for one that is known here.
    pub(super) fn fragment_of(&self, request: &RangeRequest) -> Option<Box<dyn FragmentRun>> {
        match &request.request {
            Some(Request::Scan(scan)) if !scan.fragment.is_empty() => {
                self.evaluator.begin(&scan.fragment)
            }
            _ => None,
        }
    }

    /// Serves a peer's scan on a task of its own.
    pub(super) fn spawn_reduced(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        id: u64,
        request: RangeRequest,
        run: Box<dyn FragmentRun>,
    ) {
        let (store, peer) = (Arc::clone(self), Arc::clone(peer));
        self.runtime.spawn(async move {
            let reduced = AssertUnwindSafe(store.reduced(&request, run)).catch_unwind().await;
            let response = match reduced {
                Ok(Some(response)) => response,
                Ok(None) => store.answer(request).await,
                Err(_panic) => {
                    tracing::error!(peer = %peer.id, "a fragment's evaluation panicked");
                    store.answer(request).await
                }
            };
            peer.outbox.reply(Reply { id, response: Some(response) });
        });
    }

    /// What is left of a scan; nothing, if the rows have to be answered as they are.
    async fn reduced(
        self: &Arc<Self>,
        request: &RangeRequest,
        mut run: Box<dyn FragmentRun>,
    ) -> Option<RangeResponse> {
        let Some(Request::Scan(scan)) = &request.request else { return None };
        let limit = |limit: u64| if limit == 0 { u64::MAX } else { limit };
        let (rows_max, bytes_max) = (limit(scan.max_rows), limit(scan.max_bytes));
        let begin = Instant::now();
        let mut step = rows_max.min(PAGE_ROWS);
        let mut read = 0;
        let mut next = scan.span.clone();
        while let Some(span) = next.take() {
            let page = Scan {
                span: Some(span.clone()),
                max_rows: step,
                max_bytes: PAGE_BYTES,
                fragment: Bytes::new(),
                ..scan.clone()
            };
            let page = RangeRequest { request: Some(Request::Scan(page)), ..request.clone() };
            let response = self.answer(page).await;
            let Some(Response::Scan(result)) = response.response else {
                if read == 0 {
                    return Some(response);
                }
                // Whoever goes on from here is told why that is not possible.
                next = Some(span);
                break;
            };
            read += result.rows.len() as u64;
            next = result.resume;
            run.add(result.rows).await.ok()?;
            let (rows, bytes) = run.left();
            let enough = rows >= rows_max || bytes >= bytes_max;
            if enough || read >= ROWS_MAX || begin.elapsed() >= TIME_MAX {
                break;
            }
            // A small limit tells of few rows wanted, not of how many have to be read for them.
            step = (2 * step).min(PAGE_ROWS);
            tokio::task::yield_now().await;
        }
        let reduced = run.finish().await.ok()?;
        let mut result = ScanResult { rows: reduced.rows, resume: next, states: reduced.states };
        cut(&mut result, scan, rows_max);
        Some(RangeResponse { response: Some(Response::Scan(result)), error: None })
    }

    /// The answer to a request, as this node's own requests get theirs.
    async fn answer(self: &Arc<Self>, request: RangeRequest) -> RangeResponse {
        match self.call(request) {
            Outcome::Ready(response) => response,
            Outcome::Later(answer) => answer.await.unwrap_or_else(|_stopped| {
                let reason = "the node is stopping".to_owned();
                let error = kv_error::Error::Unavailable(Unavailable { reason });
                RangeResponse { error: Some(KvError { error: Some(error) }), response: None }
            }),
        }
    }
}

/// Leaves no more rows than asked for: the scan goes on behind the last one.
fn cut(result: &mut ScanResult, scan: &Scan, rows_max: u64) {
    let rows_max = usize::try_from(rows_max).unwrap_or(usize::MAX);
    if result.rows.len() <= rows_max {
        return;
    }
    result.rows.truncate(rows_max);
    let (Some(last), Some(whole)) = (result.rows.last(), &scan.span) else { return };
    let last = Key(last.key.clone());
    let rest = if scan.reverse {
        Span { end: last.0, ..whole.clone() }
    } else {
        Span { start: last.next().0, ..whole.clone() }
    };
    result.resume = (rest.start != rest.end).then_some(rest);
}

#[cfg(test)]
mod tests {
    use proto::kv::KeyValue;

    use super::*;

    fn row(key: &'static str) -> KeyValue {
        KeyValue { key: Bytes::from_static(key.as_bytes()), value: Bytes::new() }
    }

    fn left(reverse: bool, keys: &[&'static str], most: u64) -> (usize, Option<(Bytes, Bytes)>) {
        let span = Span { start: "a".into(), end: "z".into(), ..Span::default() };
        let scan = Scan { span: Some(span), reverse, ..Scan::default() };
        let rows = keys.iter().map(|key| row(key)).collect();
        let mut result = ScanResult { rows, ..ScanResult::default() };
        cut(&mut result, &scan, most);
        (result.rows.len(), result.resume.map(|span| (span.start, span.end)))
    }

    #[test]
    fn a_scan_goes_on_behind_the_last_row_that_was_wanted() {
        assert_eq!(left(false, &["b", "c"], 2), (2, None));
        assert_eq!(left(false, &["b", "c", "d"], 2), (2, Some(("c\0".into(), "z".into()))));
        assert_eq!(left(true, &["d", "c", "b"], 2), (2, Some(("a".into(), "c".into()))));
        assert_eq!(left(true, &["d", "c"], u64::MAX), (2, None));
    }
}
