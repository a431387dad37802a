//! A sink that keeps rows, for results that are fetched in portions and for statements inside
//! statements (EXECUTE, EXPLAIN ANALYZE).

use std::collections::VecDeque;

use bytes::Bytes;
use futures::future::BoxFuture;
use pgtypes::{Datum, EvalEnv};

use super::api::{CopyShape, ResultColumn, Severity, Sink};
use crate::SqlError;

/// Keeps rows, or only counts them; notices and settings go through.
pub(crate) struct CollectSink<'a> {
    inner: &'a mut dyn Sink,
    rows: VecDeque<Vec<Datum>>,
    keeps: bool,
    count: u64,
}

impl<'a> CollectSink<'a> {
    pub(crate) fn over(inner: &'a mut dyn Sink) -> Self {
        CollectSink { inner, rows: VecDeque::new(), keeps: true, count: 0 }
    }

    /// Rows are counted and dropped.
    pub(crate) fn counting(inner: &'a mut dyn Sink) -> Self {
        CollectSink { keeps: false, ..CollectSink::over(inner) }
    }

    /// Rows written.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn into_rows(self) -> VecDeque<Vec<Datum>> {
        self.rows
    }
}

impl Sink for CollectSink<'_> {
    fn environment(&mut self, env: &EvalEnv) {
        self.inner.environment(env);
    }

    fn columns(&mut self, _: &[ResultColumn]) -> Result<(), SqlError> {
        Ok(())
    }

    fn row(&mut self, row: &[Datum]) -> Result<(), SqlError> {
        self.count += 1;
        if self.keeps {
            self.rows.push_back(row.to_vec());
        }
        Ok(())
    }

    fn complete(&mut self, _: &str) {}

    fn empty(&mut self) {}

    fn notice(&mut self, severity: Severity, notice: &SqlError) {
        self.inner.notice(severity, notice);
    }

    fn parameter_status(&mut self, name: &str, value: &str) {
        self.inner.parameter_status(name, value);
    }

    fn mark(&self) -> u64 {
        self.rows.len() as u64
    }

    fn rewind(&mut self, mark: u64) -> bool {
        self.rows.truncate(usize::try_from(mark).unwrap_or(usize::MAX));
        true
    }

    fn flush(&mut self) -> BoxFuture<'_, Result<(), SqlError>> {
        Box::pin(async { Ok(()) })
    }

    fn copy_in_start(&mut self, shape: CopyShape) -> BoxFuture<'_, Result<(), SqlError>> {
        self.inner.copy_in_start(shape)
    }

    fn copy_in(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SqlError>> {
        self.inner.copy_in()
    }

    fn copy_out_start(&mut self, shape: CopyShape) {
        self.inner.copy_out_start(shape);
    }

    fn copy_out(&mut self, data: &[u8]) {
        self.inner.copy_out(data);
    }

    fn copy_out_done(&mut self) {
        self.inner.copy_out_done();
    }
}
