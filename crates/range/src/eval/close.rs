//! Closed timestamps: what the leader promises ([`crate::closed`], T1 and T3), and the reads that any
//! replica may answer on the strength of it.
//!
//! A read of the past changes nothing and is remembered nowhere: no read cache need keep writers away
//! from where none will write. It waits for nobody either. What it cannot answer at once, because a
//! lock lies in the way that may have become a version by now, is the leader's to answer.

use base::{Key, Timestamp};
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::kv::{self, kv_error::Error};
use storage::mvcc::{self, ScanOptions};
use storage::{EngineError, EngineRead};
use txn::Rules;

use super::Evaluator;
use super::collect::gc_point;
use super::common::span_of;
use super::read::{optional, options_of, scan_result};

impl Evaluator {
    /// Promises as much as usual: up to some seconds behind what the oracle has issued, of which
    /// `issued` may be news. The promise holds for the log as far as it is applied, and is as good for
    /// any later part of it.
    pub fn close(&mut self, issued: Timestamp) -> Timestamp {
        self.note_issued(issued);
        let lag = Timestamp::from_millis(self.config.close_lag_ms);
        self.close_at(Timestamp(self.issued.0.saturating_sub(lag.0)))
    }

    /// Promises not to place anything at or below `wanted`, or as near to it as is possible now.
    /// Returns what is promised.
    pub fn close_at(&mut self, wanted: Timestamp) -> Timestamp {
        let in_flight = match self.config.rules.closing_waits_for_commands {
            true => self.latches.lowest_commit(),
            false => Timestamp::MAX,
        };
        self.closed = self.closed.max(wanted.min(self.issued).min(in_flight.prev()));
        self.closed
    }
}

/// Answers a snapshot read from a replica that knows the range's past to be settled up to `closed`;
/// nothing if only the leader can. `start` is where the range begins.
pub fn read_closed(
    engine: &dyn EngineRead,
    start: &Key,
    closed: Timestamp,
    rules: &Rules,
    request: &kv::RangeRequest,
) -> Result<Option<kv::RangeResponse>, EngineError> {
    // What a transaction reads at its own snapshot is the leader's business: it may hold locks there.
    if request.txn.is_some() {
        return Ok(None);
    }
    let (Some(Request::Get(kv::Get { read_ts, .. }))
    | Some(Request::Scan(kv::Scan { read_ts, .. }))) = &request.request
    else {
        return Ok(None);
    };
    let ts = Timestamp(*read_ts);
    if ts == Timestamp::ZERO || ts > closed {
        return Ok(None);
    }
    let safe_point = gc_point(engine, start)?;
    if ts < safe_point && rules.collected_reads_are_refused {
        let below = Error::BelowGc(kv::BelowGc { safe_point: safe_point.0 });
        return Ok(Some(super::common::error_response(below)));
    }
    let response = match &request.request {
        Some(Request::Get(get)) => get_closed(engine, get, ts)?,
        Some(Request::Scan(scan)) => scan_closed(engine, scan, ts)?,
        _ => None,
    };
    let answer = |response| kv::RangeResponse { error: None, response: Some(response) };
    Ok(response.map(answer))
}

fn get_closed(
    engine: &dyn EngineRead,
    get: &kv::Get,
    ts: Timestamp,
) -> Result<Option<Response>, EngineError> {
    let mut values = Vec::with_capacity(get.keys.len());
    for key in &get.keys {
        if mvcc::get_lock(engine, key)?.is_some_and(|lock| lock.blocks_read_at(ts)) {
            return Ok(None);
        }
        values.push(optional(mvcc::get_at(engine, key, ts)?));
    }
    Ok(Some(Response::Get(kv::GetResult { values })))
}

fn scan_closed(
    engine: &dyn EngineRead,
    scan: &kv::Scan,
    ts: Timestamp,
) -> Result<Option<Response>, EngineError> {
    let span = scan.span.as_ref().map(span_of).unwrap_or_default();
    let options = ScanOptions { skip_locks: false, ..options_of(scan) };
    let page = mvcc::scan_at(engine, &span, ts, options)?;
    Ok(page.locks.is_empty().then(|| scan_result(page)))
}
