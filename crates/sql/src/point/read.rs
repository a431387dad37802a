//! Reading one row by key, and a stretch of the primary key.

use base::{Key, KeyRange};
use bytes::Bytes;
use catalog::store;
use kv::ScanOptions;
use pgtypes::Datum;

use super::{Get, Outcome, Output, PointContext, Probe, Range};
use crate::dml::codec_error;
use crate::exec::lock::{lock_strength, wait_policy};
use crate::ir::{self, LockStrength, LockWait, Scalar};
use crate::session::api::Sink;
use crate::session::catalog_error;
use crate::{SqlError, SqlState};

/// Bytes of rows fetched at a time.
const PAGE_BYTES: u64 = 256 << 10;
/// Rows between two flushes.
const FLUSH_ROWS: u64 = 256;

impl Probe {
    /// The key to look for; `None` if a value is NULL, which equals nothing.
    pub(crate) fn key(&self, cx: &PointContext<'_>) -> Result<Option<Key>, SqlError> {
        let mut values = smallvec::SmallVec::<[Datum; 4]>::new();
        for scalar in &self.values {
            let value = cx.value(scalar)?;
            if value.is_null() {
                return Ok(None);
            }
            values.push(value);
        }
        let index = self.table.codec().index(self.index).expect("compiled for this descriptor");
        match index.key_prefix(&values) {
            Ok(key) => Ok(Some(key)),
            // Nothing that long is stored.
            Err(catalog::CodecError::KeyTooLarge { .. }) => Ok(None),
            Err(error) => Err(codec_error(&error, &self.table)),
        }
    }

    /// The row's own key, which differs from the probe's for a secondary index.
    pub(super) async fn row_key(
        &self,
        cx: &PointContext<'_>,
        entry: Key,
    ) -> Result<Option<Key>, SqlError> {
        if self.is_primary {
            return Ok(Some(entry));
        }
        let Some(value) = cx.txn.get(&entry).await? else { return Ok(None) };
        let codec = self.table.codec();
        let index = codec.index(self.index).expect("compiled for this descriptor");
        codec.row_key(index, &entry, &value).map(Some).map_err(|e| codec_error(&e, &self.table))
    }
}

impl Output {
    /// Writes a decoded row.
    fn write(
        &self,
        cx: &PointContext<'_>,
        row: &[Datum],
        sink: &mut dyn Sink,
    ) -> Result<(), SqlError> {
        match self {
            Output::Row => sink.row(row),
            Output::Slots(slots) => {
                let values: Vec<Datum> = slots.iter().map(|&s| row[s].clone()).collect();
                sink.row(&values)
            }
            Output::Exprs(exprs) => {
                let values: Result<Vec<Datum>, SqlError> =
                    exprs.iter().map(|e| ir::eval(e, cx.env, row, cx.params)).collect();
                sink.row(&values?)
            }
        }
    }
}

impl Get {
    pub(super) async fn run(
        &self,
        cx: &PointContext<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, SqlError> {
        let probe = self.probe.key(cx)?;
        let (key, value) = match (probe, &self.lock) {
            (Some(key), None) if self.probe.is_primary => match cx.unchecked_version {
                Some(expected) => {
                    // One request to the leader when both are in one range.
                    let mut got = cx.txn.get_many(&[store::version_key(), key.clone()]).await?;
                    let value = got.pop().expect("two keys, two values");
                    let version = got.pop().expect("two keys, two values");
                    if store::decode_version(version.as_ref()).map_err(catalog_error)? != expected {
                        return Ok(Outcome::Stale);
                    }
                    (key, value)
                }
                None => {
                    let value = cx.txn.get(&key).await?;
                    (key, value)
                }
            },
            (probe, lock) => {
                if !cx.check_version().await? {
                    return Ok(Outcome::Stale);
                }
                let found = match probe {
                    Some(key) => self.fetch(cx, key, lock.as_ref()).await?,
                    None => None,
                };
                match found {
                    Some((key, value)) => (key, Some(value)),
                    None => (Key::MIN, None),
                }
            }
        };
        sink.columns(&self.columns)?;
        let Some(value) = value else { return Ok(Outcome::Done(0)) };
        let mut row = Vec::with_capacity(self.columns.len());
        self.decoder
            .decode(&key, &value, &mut row)
            .map_err(|e| codec_error(&e, &self.probe.table))?;
        if !cx.holds(self.probe.residual.as_ref(), &row)?
            || row_limit(cx, self.limit.as_ref())? == Some(0)
        {
            return Ok(Outcome::Done(0));
        }
        self.output.write(cx, &row, sink)?;
        Ok(Outcome::Done(1))
    }

    async fn fetch(
        &self,
        cx: &PointContext<'_>,
        probe: Key,
        lock: Option<&(LockStrength, LockWait)>,
    ) -> Result<Option<(Key, Bytes)>, SqlError> {
        let Some(key) = self.probe.row_key(cx, probe).await? else { return Ok(None) };
        let value = match lock {
            None => cx.txn.get(&key).await?,
            Some((strength, wait)) => {
                let keys = std::slice::from_ref(&key);
                let mut locked =
                    cx.txn.lock(keys, lock_strength(*strength), wait_policy(*wait)).await?;
                let locked = locked.pop().expect("one key, one answer");
                if locked.skipped { None } else { locked.value }
            }
        };
        Ok(value.map(|value| (key, value)))
    }
}

/// The value of LIMIT; `None` for all.
fn row_limit(cx: &PointContext<'_>, limit: Option<&Scalar>) -> Result<Option<u64>, SqlError> {
    let Some(limit) = limit else { return Ok(None) };
    match cx.value(limit)?.as_i64() {
        None => Ok(None),
        Some(n) => u64::try_from(n).map(Some).map_err(|_| {
            SqlError::new(SqlState::INVALID_ROW_COUNT_IN_LIMIT, "LIMIT must not be negative")
        }),
    }
}

impl Range {
    /// The span of keys; `None` if a bound is NULL.
    pub(crate) fn span(&self, cx: &PointContext<'_>) -> Result<Option<KeyRange>, SqlError> {
        let index = self.table.codec().primary();
        let mut values = Vec::with_capacity(self.equal.len() + 1);
        for scalar in &self.equal {
            values.push(cx.value(scalar)?);
        }
        let failed = |e| codec_error(&e, &self.table);
        if values.iter().any(Datum::is_null) {
            return Ok(None);
        }
        let mut span = index.key_prefix(&values).map_err(failed)?.prefix_range();
        let descending =
            values.len() < index.positions().len() && index.is_descending(values.len());
        for (bound, is_lower) in [(&self.lower, true), (&self.upper, false)] {
            let Some((scalar, inclusive)) = bound else { continue };
            let value = cx.value(scalar)?;
            if value.is_null() {
                return Ok(None);
            }
            values.push(value);
            let at = index.key_prefix(&values).map_err(failed)?;
            values.pop();
            // In a descending column the lower bound of the values is the upper one of the keys.
            if is_lower != descending {
                span.start = if *inclusive { at } else { at.prefix_end() };
            } else {
                span.end = if *inclusive { at.prefix_end() } else { at };
            }
        }
        Ok((!span.is_empty()).then_some(span))
    }

    /// Whether leaders on other nodes have something to leave out of much that is read: then a plan is worth
    /// its making, since it sends them a fragment.
    pub(super) fn is_for_leaders(&self, cx: &PointContext<'_>) -> Result<bool, SqlError> {
        let short = !self.equal.is_empty() || (self.lower.is_some() && self.upper.is_some());
        let reduces = self.residual.is_some()
            || (self.limit.is_none() && self.width < self.table.columns.len());
        if short || !reduces || cx.txn.options().as_of.is_some() {
            return Ok(false);
        }
        Ok(self.span(cx)?.is_some_and(|span| !cx.txn.is_local(&[span])))
    }

    pub(super) async fn run(
        &self,
        cx: &PointContext<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, SqlError> {
        if !cx.check_version().await? {
            return Ok(Outcome::Stale);
        }
        sink.columns(&self.columns)?;
        let limit = row_limit(cx, self.limit.as_ref())?;
        let mut left = if limit == Some(0) { None } else { self.span(cx)? };
        let mut count = 0;
        let mut row = Vec::new();
        while let Some(span) = left {
            let max_rows = match (limit, &self.residual) {
                (Some(limit), None) => limit - count,
                _ => 0,
            };
            let options = ScanOptions {
                reverse: self.reverse,
                max_rows,
                max_bytes: PAGE_BYTES,
                ..ScanOptions::default()
            };
            let page = cx.txn.scan(span, options).await?;
            for (key, value) in &page.rows {
                row.clear();
                self.decoder
                    .decode(key, value, &mut row)
                    .map_err(|e| codec_error(&e, &self.table))?;
                if !cx.holds(self.residual.as_ref(), &row)? {
                    continue;
                }
                self.output.write(cx, &row, sink)?;
                count += 1;
                if count % FLUSH_ROWS == 0 {
                    sink.flush().await?;
                }
                if Some(count) == limit {
                    return Ok(Outcome::Done(count));
                }
            }
            left = page.resume;
        }
        Ok(Outcome::Done(count))
    }
}
