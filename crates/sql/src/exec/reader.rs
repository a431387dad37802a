//! The rows of one scan, page by page; of ranges whose leaders aggregate them, side by side.

use std::result::Result;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use base::{Key, KeyRange};
use bytes::Bytes;
use catalog::IndexCodec;
use futures::future::{BoxFuture, try_join_all};
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use kv::{KvError, ScanOptions, ScanPage};

use super::decode::Decoding;
use super::leaders::States;
use super::scan::TableScanExec;
use crate::error::SqlError;
use crate::fragment::Sent;

/// Most rows of one page.
const PAGE_ROWS: u64 = 4_096;
/// Most bytes of one page.
const PAGE_BYTES: u64 = 4 << 20;
/// Fewest rows of a page of which not all are sure to be wanted.
const PAGE_ROWS_MIN: u64 = 64;
/// Small spans that are asked for at a time.
const SPANS_AT_ONCE: usize = 32;
/// Ranges that are asked at a time where the order of rows does not matter.
const SIDE_BY_SIDE: usize = 4;

/// The state of one scan.
pub(super) struct Reader {
    scan: TableScanExec,
    decoding: Decoding,
    /// Of leaders that aggregate: what they are sent, and where their answers go.
    aggregates: Option<(Arc<Sent>, Arc<States>)>,
    /// Spans left, the next one last.
    spans: Vec<KeyRange>,
    /// Pages that are on their way.
    asked: FuturesUnordered<BoxFuture<'static, Result<ScanPage, KvError>>>,
    left: Option<usize>,
}

impl Reader {
    /// `states`: where there is somebody who merges what leaders make of rows.
    pub(super) fn new(scan: TableScanExec, states: Option<Arc<States>>) -> Self {
        let sent = scan.sent.clone().filter(|sent| sent.fragment.aggregates);
        let aggregates = sent.zip(states);
        let mut spans = scan.access.spans.clone();
        if aggregates.is_some() {
            spans = spans.into_iter().flat_map(|span| scan.txn.parts_of(span)).collect();
        }
        if !scan.reverse {
            spans.reverse();
        }
        let left = scan.fetch;
        let asked = FuturesUnordered::new();
        Reader { decoding: scan.decoding(), scan, aggregates, spans, asked, left }
    }

    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        while self.left != Some(0) {
            let rows = if let Some((sent, states)) = self.aggregates.clone() {
                self.any_page(&sent, &states).await?
            } else if self.scan.access.points && self.scan.access.index.is_none() {
                self.points().await?
            } else if self.is_scattered() {
                self.pages().await?
            } else {
                self.page().await?
            };
            let Some(rows) = rows else { return Ok(None) };
            let batch = self.batch(&rows)?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// The rows of whichever page comes first; states are put where they are merged.
    async fn any_page(
        &mut self,
        sent: &Arc<Sent>,
        states: &States,
    ) -> Result<Option<Vec<(Key, Bytes)>>, SqlError> {
        while self.asked.len() < SIDE_BY_SIDE {
            let Some(span) = self.spans.pop() else { break };
            let (txn, sent) = (Arc::clone(&self.scan.txn), Arc::clone(sent));
            let options = self.options(PAGE_ROWS);
            let page = async move { txn.scan_reduced(span, options, &sent.fragment).await };
            self.asked.push(page.boxed());
        }
        let Some(page) = self.asked.next().await else { return Ok(None) };
        let page = page?;
        self.spans.extend(page.resume);
        for bytes in &page.states {
            sent.read_states(bytes, &mut |batch| states.push(batch))?;
        }
        Ok(Some(page.rows))
    }

    fn options(&self, max_rows: u64) -> ScanOptions {
        ScanOptions {
            reverse: self.scan.reverse,
            max_rows,
            max_bytes: PAGE_BYTES,
            unchecked: self.scan.unchecked,
            lock: self.scan.span_lock,
        }
    }

    /// Rows by whole primary keys: many spans in one visit.
    async fn points(&mut self) -> Result<Option<Vec<(Key, Bytes)>>, SqlError> {
        let Some(first) = self.spans.pop() else { return Ok(None) };
        let mut keys = vec![first.start];
        while keys.len() < PAGE_ROWS as usize {
            match self.spans.pop() {
                Some(span) => keys.push(span.start),
                None => break,
            }
        }
        let values = self.scan.txn.get_several(&keys, self.scan.unchecked).await?;
        let rows = keys.into_iter().zip(values);
        Ok(Some(rows.filter_map(|(key, value)| Some((key, value?))).collect()))
    }

    /// Whether there are many spans, in no order that anybody counts on, of which each is likely to be small.
    fn is_scattered(&self) -> bool {
        self.scan.scattered && self.spans.len() > 1
    }

    /// The first pages of several spans, asked for side by side; what is left of these goes back.
    async fn pages(&mut self) -> Result<Option<Vec<(Key, Bytes)>>, SqlError> {
        let first = self.spans.len() - self.spans.len().min(SPANS_AT_ONCE);
        let share = SPANS_AT_ONCE as u64;
        let options =
            ScanOptions { max_bytes: PAGE_BYTES / share, ..self.options(PAGE_ROWS / share) };
        let asked = self.spans.drain(first..).rev();
        let asked: Vec<_> = asked.map(|span| self.scan.txn.scan(span, options)).collect();
        let mut rows = Vec::new();
        for page in try_join_all(asked).await? {
            self.spans.extend(page.resume);
            rows.extend(page.rows);
        }
        self.resolved(rows).await.map(Some)
    }

    /// The next page of a span; what is left of it goes back.
    async fn page(&mut self) -> Result<Option<Vec<(Key, Bytes)>>, SqlError> {
        let Some(span) = self.spans.pop() else { return Ok(None) };
        let sent = self.scan.sent.as_ref().filter(|sent| !sent.fragment.aggregates);
        // Conditions may drop rows, so a small limit still asks for some more.
        let wanted = match self.left {
            Some(left) if self.scan.conditions.is_empty() => (left as u64).clamp(1, PAGE_ROWS),
            Some(left) => (left as u64).saturating_mul(2).clamp(PAGE_ROWS_MIN, PAGE_ROWS),
            None => {
                let enough = sent.and_then(|sent| sent.enough);
                enough.map_or(PAGE_ROWS, |rows| (rows as u64).clamp(PAGE_ROWS_MIN, PAGE_ROWS))
            }
        };
        let options = self.options(wanted);
        let page = match sent {
            Some(sent) => self.scan.txn.scan_reduced(span, options, &sent.fragment).await?,
            None => self.scan.txn.scan(span, options).await?,
        };
        self.spans.extend(page.resume);
        self.resolved(page.rows).await.map(Some)
    }

    /// What rows are made of: entries are looked up, unless they hold all that is wanted.
    async fn resolved(&mut self, read: Vec<(Key, Bytes)>) -> Result<Vec<(Key, Bytes)>, SqlError> {
        match self.scan.access.index {
            Some(at) if self.scan.alone.is_none() => {
                let table = Arc::clone(&self.scan.table);
                self.rows_of(&table.codec().indexes()[at], read).await
            }
            _ => Ok(read),
        }
    }

    /// The rows that index entries point to.
    async fn rows_of(
        &mut self,
        codec: &IndexCodec,
        entries: Vec<(Key, Bytes)>,
    ) -> Result<Vec<(Key, Bytes)>, SqlError> {
        let rows = self.scan.table.codec();
        let keys: Vec<Key> = entries
            .iter()
            .map(|(key, value)| rows.row_key(codec, key, value))
            .collect::<Result<_, _>>()?;
        let values = self.scan.txn.get_several(&keys, self.scan.unchecked).await?;
        keys.into_iter()
            .zip(values)
            .map(|(key, value)| match value {
                Some(value) => Ok((key, value)),
                None => Err(SqlError::new(
                    crate::SqlState::DATA_CORRUPTED,
                    format!("an entry of an index of \"{}\" has no row", self.scan.table.name),
                )),
            })
            .collect()
    }

    fn batch(&mut self, rows: &[(Key, Bytes)]) -> Result<RecordBatch, SqlError> {
        let batch = self.decoding.batch(rows, self.left, None)?;
        if let Some(left) = &mut self.left {
            *left -= batch.num_rows();
        }
        Ok(batch)
    }
}
