//! Get and Scan: what a snapshot shows.
//!
//! 1. Wait for commands in flight that could commit at or below the snapshot.
//! 2. Wait for replicated locks of others that could.
//! 3. Raise the read cache, so that nobody commits below the snapshot later (E1).
//! 4. Read.
//!
//! Evaluation is one step, so the order of 3 and 4 is of no consequence here; that the lease holds
//! *after* it is the driver's to check. In-memory locks never block a snapshot read.

use base::{KeyRange, Timestamp};
use proto::kv::{self, kv_error::Error, range_response::Response};
use storage::EngineRead;
use storage::mvcc::{self, ScanOptions, ScanPage, Version};

use super::common::{Evaluated, Refusal, key, reader_of, span_of};
use super::waits::Wait;
use super::{Evaluator, Step};

impl Evaluator {
    pub(super) fn get(
        &mut self,
        engine: &dyn EngineRead,
        txn: Option<&kv::TxnMeta>,
        get: &kv::Get,
    ) -> Evaluated {
        let ts = self.read_ts(engine, get.read_ts)?;
        let reader = reader_of(txn);
        if !self.latches.is_empty() && self.config.rules.reads_wait_for_commands {
            for key in &get.keys {
                if let Some(command) = self.latches.read_conflict(key, ts) {
                    return Ok(Step::Wait(Wait::Latch(command)));
                }
            }
        }
        if self.may_have_locks(engine)? {
            for bytes in &get.keys {
                if let Some(wait) = self.foreign_on_key(engine, &key(bytes), ts, reader)? {
                    return Ok(Step::Wait(wait));
                }
            }
        }
        let mut values = Vec::with_capacity(get.keys.len());
        for key in &get.keys {
            if self.config.rules.reads_are_remembered {
                self.cache.read(key, ts, reader);
            }
            values.push(optional(mvcc::get_at(engine, key, ts)?));
        }
        Ok(Step::Done(Response::Get(kv::GetResult { values })))
    }

    pub(super) fn scan(
        &mut self,
        engine: &dyn EngineRead,
        txn: Option<&kv::TxnMeta>,
        scan: &kv::Scan,
    ) -> Evaluated {
        let ts = self.read_ts(engine, scan.read_ts)?;
        let reader = reader_of(txn);
        let span = scan.span.as_ref().map(span_of).unwrap_or_default();
        let page = mvcc::scan_at(engine, &span, ts, options_of(scan))?;
        // Only what was read: a scan with a limit is not stopped by what lies behind its last row.
        let read = match &page.resume {
            None => span,
            Some(rest) if scan.reverse => KeyRange { start: rest.end.clone(), end: span.end },
            Some(rest) => KeyRange { start: span.start, end: rest.start.clone() },
        };
        if self.config.rules.reads_wait_for_commands
            && let Some(command) = self.latches.span_conflict(&read, ts)
        {
            return Ok(Step::Wait(Wait::Latch(command)));
        }
        if let Some(wait) = self.foreign_in_span(engine, &read, ts, reader)? {
            return Ok(Step::Wait(wait));
        }
        if self.config.rules.reads_are_remembered {
            self.cache.read_span(&read, ts, reader);
        }
        Ok(Step::Done(scan_result(page)))
    }

    /// Refuses snapshots that can't be read any more, and the end of time: reading there would forbid
    /// every later write.
    fn read_ts(&mut self, engine: &dyn EngineRead, ts: u64) -> Evaluated<Timestamp> {
        let ts = Timestamp(ts);
        if ts == Timestamp::MAX || ts == Timestamp::ZERO {
            return Err(Refusal::invalid("a read needs a timestamp from the oracle"));
        }
        let gc_point = self.gc_point(engine)?;
        if ts < gc_point && self.config.rules.collected_reads_are_refused {
            return Err(Refusal::new(Error::BelowGc(kv::BelowGc { safe_point: gc_point.0 })));
        }
        self.note_issued(ts);
        Ok(ts)
    }
}

/// What the request asks of the storage; locks are looked for apart.
pub(super) fn options_of(scan: &kv::Scan) -> ScanOptions {
    ScanOptions {
        reverse: scan.reverse,
        max_rows: usize::try_from(scan.max_rows).unwrap_or(usize::MAX),
        max_bytes: usize::try_from(scan.max_bytes).unwrap_or(usize::MAX),
        txn: None,
        skip_locks: true,
    }
}

pub(super) fn scan_result(page: ScanPage) -> Response {
    let rows = page.rows.into_iter().map(|row| kv::KeyValue { key: row.key.0, value: row.value });
    let resume = page.resume.map(Into::into);
    Response::Scan(kv::ScanResult { rows: rows.collect(), resume, states: Vec::new() })
}

pub(super) fn optional(version: Option<Version>) -> kv::OptionalValue {
    match version {
        Some(version) => kv::OptionalValue { present: true, value: version.value },
        None => kv::OptionalValue::default(),
    }
}
