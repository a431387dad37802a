//! Snapshot reads, with the transaction's own writes merged over them.
//!
//! A read may wait for another's replicated lock, and that one's commit for a lock that this transaction
//! holds: a deadlock like any other, so the victim's reads end as its waits for locks do.

use base::{Key, KeyRange, Timestamp};
use bytes::Bytes;
use proto::kv;
use proto::kv::Isolation;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use txn::read_set::ReadSet;

use super::{Inner, SpanLock, Txn};
use crate::buffer::WriteBuffer;
use crate::error::KvError;
use crate::fragment::Fragment;
use crate::router::{Refusal, Replay, unexpected};
use crate::scatter::scatter;
use crate::stats;

/// How a span is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScanOptions {
    /// From the end of the span to its start.
    pub reverse: bool,
    /// Stop after so many rows; 0: no limit.
    pub max_rows: u64,
    /// Stop after about so many bytes, at least one row; 0: no limit.
    pub max_bytes: u64,
    /// What is read need not hold at the commit: whoever asks locks what it uses, and checks it then.
    pub unchecked: bool,
    /// At SERIALIZABLE: keeps others from inserting into what was read, until the transaction ends.
    pub lock: Option<SpanLock>,
}

/// Some rows of a span.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// Rows in the order of the scan.
    pub rows: Vec<(Key, Bytes)>,
    /// What is left to read, if a limit cut the scan short. Read on until it is none: a page may be
    /// empty where everything was deleted by this transaction.
    pub resume: Option<KeyRange>,
    /// What leaders have made of rows, which are not among `rows`: [`Fragment::aggregates`].
    pub states: Vec<Bytes>,
}

/// A snapshot to read, and on whose behalf.
pub(super) struct View {
    meta: Option<kv::TxnMeta>,
    pub(super) read_ts: Timestamp,
}

impl Txn {
    /// Reads a row.
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>, KvError> {
        self.inner.unless_killed(self.read_row(key)).await?
    }

    /// Reads several rows, in the order of `keys`.
    pub async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Bytes>>, KvError> {
        self.get_several(keys, false).await
    }

    /// Reads several rows; `unchecked` as in [`ScanOptions`].
    pub async fn get_several(
        &self,
        keys: &[Key],
        unchecked: bool,
    ) -> Result<Vec<Option<Bytes>>, KvError> {
        self.inner.unless_killed(self.read_rows(keys, unchecked)).await?
    }

    /// Reads the rows of a span in key order, or in reverse.
    /// With [`ScanOptions::lock`], [`KvError::Restatement`] if others have written there since the
    /// snapshot, and the errors of [`Txn::lock`].
    pub async fn scan(&self, span: KeyRange, options: ScanOptions) -> Result<ScanPage, KvError> {
        let Some(lock) = options.lock else {
            return self.inner.unless_killed(self.read_span(span, options, None)).await?;
        };
        let page = self.inner.unless_killed(self.read_span(span.clone(), options, None)).await??;
        self.claim(covered(&span, page.resume.as_ref(), options.reverse), lock).await?;
        Ok(page)
    }

    /// As [`Txn::scan`] without [`ScanOptions::lock`], but leaders on other nodes may answer with what
    /// `fragment` makes of the rows; the transaction's own writes are among the rows as they are.
    pub async fn scan_reduced(
        &self,
        span: KeyRange,
        options: ScanOptions,
        fragment: &Fragment,
    ) -> Result<ScanPage, KvError> {
        debug_assert!(options.lock.is_none(), "what is locked is looked at again");
        self.inner.unless_killed(self.read_span(span, options, Some(fragment))).await?
    }

    /// Whether all of these spans, as far as is known here, lie in ranges that this node leads.
    #[must_use]
    pub fn is_local(&self, spans: &[KeyRange]) -> bool {
        let router = &self.inner.shared.router;
        router.transport.nodes().len() <= 1 || spans.iter().all(|span| router.leads(span))
    }

    /// A span cut at the borders of ranges, as far as they are known here: parts that can be read side by
    /// side.
    #[must_use]
    pub fn parts_of(&self, span: KeyRange) -> Vec<KeyRange> {
        self.inner.shared.router.cut(span)
    }

    /// The transaction's own writes as far as this handle shows them.
    fn own<'a>(&'a self, state: &'a super::State) -> &'a WriteBuffer {
        self.frozen.as_ref().map_or(&state.buffer, |frozen| &frozen.own)
    }

    pub(super) fn view(&self, state: &super::State) -> View {
        let read_ts = self.frozen.as_ref().and_then(|frozen| frozen.read_ts);
        View { meta: self.inner.meta(state), read_ts: read_ts.unwrap_or(state.read_ts) }
    }

    async fn read_row(&self, key: &Key) -> Result<Option<Bytes>, KvError> {
        let inner = &*self.inner;
        let view = {
            let mut state = inner.active()?;
            if let Some(entry) = self.own(&state).get(key.as_bytes()) {
                return Ok(entry.value.clone());
            }
            let view = self.view(&state);
            inner.note_key(&mut state, key, &view);
            view
        };
        let router = &inner.shared.router;
        inner.shared.oracle.until_issued(router, view.read_ts).await?;
        loop {
            let route = router.route(key.as_bytes()).await?;
            let build = || {
                let get = kv::Get { keys: vec![key.0.clone()], read_ts: view.read_ts.0 };
                (view.meta, Request::Get(get))
            };
            match router.call(&route, Replay::Safe, build).await {
                Ok(Response::Get(mut got)) if got.values.len() == 1 => {
                    stats::note(|stats| stats.read(key.0.len() + got.values[0].value.len()));
                    return Ok(present(got.values.swap_remove(0)));
                }
                Ok(other) => return Err(unexpected("a get", &other)),
                Err(Refusal::Moved) => {}
                Err(refusal) => return Err(inner.read_refused(refusal, &view)),
            }
        }
    }

    async fn read_rows(
        &self,
        keys: &[Key],
        unchecked: bool,
    ) -> Result<Vec<Option<Bytes>>, KvError> {
        let inner = &*self.inner;
        let mut values = vec![None; keys.len()];
        let mut missing = Vec::new();
        let view = {
            let mut state = inner.active()?;
            let view = self.view(&state);
            for (place, key) in keys.iter().enumerate() {
                match self.own(&state).get(key.as_bytes()) {
                    Some(entry) => values[place] = entry.value.clone(),
                    None => {
                        missing.push((place, key.clone()));
                        if unchecked {
                            state.statement.has_read = true;
                        } else {
                            inner.note_key(&mut state, key, &view);
                        }
                    }
                }
            }
            view
        };
        let build = |items: &[(usize, Key)]| {
            let keys = items.iter().map(|(_, key)| key.0.clone()).collect();
            Request::Get(kv::Get { keys, read_ts: view.read_ts.0 })
        };
        let router = &inner.shared.router;
        inner.shared.oracle.until_issued(router, view.read_ts).await?;
        let answers = scatter(router, view.meta.as_ref(), Replay::Safe, missing, build).await?;
        for (items, answer) in answers {
            match answer {
                Ok(Response::Get(got)) if got.values.len() == items.len() => {
                    stats::note(|stats| {
                        let keys = items.iter().map(|(_, key)| key.0.len());
                        let values = got.values.iter().map(|value| value.value.len());
                        stats.read(keys.chain(values).sum());
                    });
                    for ((place, _), value) in items.iter().zip(got.values) {
                        values[*place] = present(value);
                    }
                }
                Ok(other) => return Err(unexpected("a get", &other)),
                Err(refusal) => return Err(inner.read_refused(refusal, &view)),
            }
        }
        Ok(values)
    }

    async fn read_span(
        &self,
        span: KeyRange,
        options: ScanOptions,
        fragment: Option<&Fragment>,
    ) -> Result<ScanPage, KvError> {
        let inner = &*self.inner;
        let view = {
            let state = inner.active()?;
            self.view(&state)
        };
        inner.shared.oracle.until_issued(&inner.shared.router, view.read_ts).await?;
        let mut left = (!span.is_empty()).then_some(span);
        let mut page = ScanPage::default();
        let mut bytes = 0;
        while let Some(span) = left.take() {
            let limits = remaining(&options, page.rows.len() as u64, bytes);
            let fragment = match fragment {
                Some(fragment) if !fragment.aggregates || !self.has_written(&span)? => {
                    fragment.content.clone()
                }
                _ => Bytes::new(),
            };
            let result = inner.scan_part(&view, &span, &limits, fragment).await?;
            let ScanPart { rows: part, states, resume } = result;
            let covered = covered(&span, resume.as_ref(), options.reverse);
            let from = page.rows.len();
            {
                let mut state = inner.active()?;
                if !states.is_empty() && self.own(&state).range(&covered).next().is_some() {
                    // Written meanwhile: next time the rows come, for the writes to be put over them.
                    left = Some(span);
                    continue;
                }
                left = resume;
                if options.unchecked {
                    state.statement.has_read = true;
                } else {
                    inner.note(&mut state, |reads| reads.add(covered.clone()));
                }
                merge(self.own(&state), &covered, part, options.reverse, &mut page.rows);
            }
            bytes +=
                page.rows[from..].iter().map(|(k, v)| k.0.len() + v.len()).sum::<usize>() as u64;
            bytes += states.iter().map(Bytes::len).sum::<usize>() as u64;
            page.states.extend(states);
            let full = (options.max_rows > 0 && page.rows.len() as u64 >= options.max_rows)
                || (options.max_bytes > 0 && bytes >= options.max_bytes);
            if full {
                if options.max_rows > 0 && page.rows.len() as u64 > options.max_rows {
                    page.rows.truncate(options.max_rows as usize);
                    let last = &page.rows[page.rows.len() - 1].0;
                    let rest = left.as_ref();
                    left = Some(rest_after(last, &covered, rest, options.reverse));
                }
                break;
            }
        }
        page.resume = left;
        Ok(page)
    }

    /// Whether the transaction, as this handle shows it, has written into a span.
    fn has_written(&self, span: &KeyRange) -> Result<bool, KvError> {
        let state = self.inner.active()?;
        Ok(self.own(&state).range(span).next().is_some())
    }
}

/// What one range has of a span.
struct ScanPart {
    rows: Vec<kv::KeyValue>,
    states: Vec<Bytes>,
    /// What is left of the span.
    resume: Option<KeyRange>,
}

impl Inner {
    /// Reads from the range at the scanning end of `span`. Answers with what is left, which begins
    /// where the range ends or a limit struck.
    async fn scan_part(
        &self,
        view: &View,
        span: &KeyRange,
        limits: &ScanOptions,
        fragment: Bytes,
    ) -> Result<ScanPart, KvError> {
        let router = &self.shared.router;
        loop {
            let route = if limits.reverse {
                router.route_before(span.end.as_bytes()).await?
            } else {
                router.route(span.start.as_bytes()).await?
            };
            let part = route.span.intersect(span).expect("the range was looked up by the span");
            let build = || {
                let scan = kv::Scan {
                    span: Some(part.clone().into()),
                    read_ts: view.read_ts.0,
                    reverse: limits.reverse,
                    max_rows: limits.max_rows,
                    max_bytes: limits.max_bytes,
                    fragment: fragment.clone(),
                };
                (view.meta, Request::Scan(scan))
            };
            match router.call(&route, Replay::Safe, build).await {
                Ok(Response::Scan(result)) => {
                    stats::note(|stats| {
                        let rows = result.rows.iter().map(|row| row.key.len() + row.value.len());
                        let states = result.states.iter().map(Bytes::len);
                        stats.read(rows.chain(states).sum());
                    });
                    let limited = result.resume.map(KeyRange::from);
                    let resume = rest_of(span, &part, limited, limits.reverse);
                    return Ok(ScanPart { rows: result.rows, states: result.states, resume });
                }
                Ok(other) => return Err(unexpected("a scan", &other)),
                Err(Refusal::Moved) => {}
                Err(refusal) => return Err(self.read_refused(refusal, view)),
            }
        }
    }

    /// Remembers that a key was read.
    fn note_key(&self, state: &mut super::State, key: &Key, view: &View) {
        let Some(premise) = state.premise.as_mut().filter(|premise| premise.key == *key) else {
            return self.note(state, |reads| reads.add_key(key));
        };
        let in_snapshot = self.options.isolation == Isolation::Serializable;
        premise.note(view.read_ts, in_snapshot);
        state.statement.has_read |= in_snapshot;
    }

    /// Remembers a read, as far as the isolation level cares.
    fn note(&self, state: &mut super::State, add: impl FnOnce(&mut ReadSet)) {
        state.statement.has_read = true;
        let limit = self.shared.router.config.max_read_spans;
        match self.options.isolation {
            _ if self.options.read_only => {}
            Isolation::Serializable => add(state.reads(limit)),
            _ if state.tracks => add(state.tracked(limit)),
            Isolation::RepeatableRead | Isolation::ReadCommitted => {}
        }
    }

    fn read_refused(&self, refusal: Refusal, view: &View) -> KvError {
        match refusal {
            Refusal::Range(kv::kv_error::Error::BelowGc(gc)) => KvError::SnapshotTooOld {
                read_ts: view.read_ts,
                safe_point: Timestamp(gc.safe_point),
            },
            other => self.refused(other),
        }
    }
}

pub(super) fn present(value: kv::OptionalValue) -> Option<Bytes> {
    value.present.then_some(value.value)
}

fn remaining(options: &ScanOptions, rows: u64, bytes: u64) -> ScanOptions {
    // A limit that is used up ended the scan, so what is left is never 0, which means no limit.
    ScanOptions {
        reverse: options.reverse,
        max_rows: options.max_rows.saturating_sub(rows),
        max_bytes: options.max_bytes.saturating_sub(bytes),
        unchecked: options.unchecked,
        lock: options.lock,
    }
}

/// What is left of `span` after the range held `part` of it and perhaps a limit struck inside.
fn rest_of(
    span: &KeyRange,
    part: &KeyRange,
    limited: Option<KeyRange>,
    reverse: bool,
) -> Option<KeyRange> {
    let rest = if reverse {
        let end = limited.map_or(part.start.clone(), |resume| resume.end);
        // An empty end would mean "to the end of the key space".
        if end.0.is_empty() {
            return None;
        }
        KeyRange { start: span.start.clone(), end }
    } else {
        let start = match limited {
            Some(resume) => resume.start,
            None if part.end.0.is_empty() => return None,
            None => part.end.clone(),
        };
        KeyRange { start, end: span.end.clone() }
    };
    (!rest.is_empty()).then_some(rest)
}

/// The part of `span` that was read.
fn covered(span: &KeyRange, rest: Option<&KeyRange>, reverse: bool) -> KeyRange {
    match rest {
        None => span.clone(),
        Some(rest) if reverse => KeyRange { start: rest.end.clone(), end: span.end.clone() },
        Some(rest) => KeyRange { start: span.start.clone(), end: rest.start.clone() },
    }
}

/// What is left when a page ends right after `last`, inside the part just read.
fn rest_after(last: &Key, covered: &KeyRange, rest: Option<&KeyRange>, reverse: bool) -> KeyRange {
    if reverse {
        let start = rest.map_or(&covered.start, |rest| &rest.start);
        KeyRange { start: start.clone(), end: last.clone() }
    } else {
        let end = rest.map_or(&covered.end, |rest| &rest.end);
        KeyRange { start: last.next(), end: end.clone() }
    }
}

/// Appends `rows`, read over `covered`, with the transaction's own writes over them.
fn merge(
    buffer: &WriteBuffer,
    covered: &KeyRange,
    rows: Vec<kv::KeyValue>,
    reverse: bool,
    out: &mut Vec<(Key, Bytes)>,
) {
    let rows = rows.into_iter().map(|row| (Key(row.key), row.value));
    if buffer.is_empty() {
        out.extend(rows);
        return;
    }
    let mut own: Vec<_> = buffer.range(covered).collect();
    if reverse {
        own.reverse();
    }
    let before = |a: &Key, b: &Key| if reverse { a > b } else { a < b };
    let mut own = own.into_iter().peekable();
    for (key, value) in rows {
        while let Some((k, entry)) = own.next_if(|(k, _)| before(k, &key)) {
            out.extend(entry.value.clone().map(|v| (k.clone(), v)));
        }
        match own.next_if(|(k, _)| **k == key) {
            Some((_, entry)) => out.extend(entry.value.clone().map(|v| (key, v))),
            None => out.push((key, value)),
        }
    }
    for (key, entry) in own {
        out.extend(entry.value.clone().map(|v| (key.clone(), v)));
    }
}
