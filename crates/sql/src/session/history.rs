//! What a transaction has done so far, so that the server can do it again by itself.
//!
//! Each statement is kept with what it needs to run and with what is known of its output:
//!
//! * a *place* in what has not been sent yet: the output may be written anew, whatever the statement
//!   returns this time (a batch of the extended protocol, up to Sync);
//! * a *digest* of all that the client was told: a repetition that tells the same could not be told
//!   from the first run, so the client need not hear of it (`repeat.rs`).
//!
//! # Invariants
//!
//! - **H1** A whole history has every statement of the transaction since it began, in order.
//! - **H2** What cannot be repeated (COPY, a cursor, results beyond the buffer, an error the client
//!   has seen) makes it incomplete for good; it then holds nothing.

use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use pgtypes::{Datum, EvalEnv, PgType};

use super::api::{CopyShape, ResultColumn, Severity, Sink};
use super::cache::Prepared;
use super::execute::Tag;
use super::modes::Modes;
use crate::{SqlError, SqlState};

/// Bookkeeping per statement, counted against the limit.
const OVERHEAD: usize = 128;

/// A statement as it can be run again.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    Text(Arc<str>),
    Prepared(Arc<Prepared>, Arc<[Datum]>),
}

impl Said {
    /// Whether it may take or give back an advisory lock, which outlives the run of a transaction.
    fn is_about_the_session(&self) -> bool {
        let text = match self {
            Said::Text(text) => text,
            Said::Prepared(prepared, _) => &prepared.text,
        };
        let word = b"advisory";
        text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
    }
}

/// Where a statement's output stands among what has not been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which Execute of the batch it was: see [`Sink::executions`].
    pub(crate) nth: usize,
    pub(crate) mark: u64,
    pub(crate) end: u64,
}

/// One statement of the transaction.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) said: Said,
    pub(crate) place: Option<Place>,
    pub(crate) digest: Option<u64>,
}

/// The statements of a transaction.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) entries: Vec<Entry>,
    /// The modes of BEGIN, before SET TRANSACTION.
    pub(crate) modes: Option<Modes>,
    bytes: usize,
    incomplete: bool,
}

impl History {
    /// Whether it has everything.
    pub(crate) fn is_whole(&self) -> bool {
        !self.incomplete
    }

    /// Something happened that cannot be done again.
    pub(crate) fn lose(&mut self) {
        *self = History { incomplete: true, ..History::default() };
    }

    /// Remembers a statement, unless that takes more than `limit` bytes in all.
    pub(crate) fn add(&mut self, entry: Entry, limit: usize) {
        if self.incomplete {
            return;
        }
        if entry.said.is_about_the_session() {
            return self.lose();
        }
        self.bytes += OVERHEAD
            + match &entry.said {
                Said::Text(text) => text.len(),
                // Its text is shared with the cache of statements.
                Said::Prepared(_, params) => params.iter().map(Datum::size).sum(),
            };
        if self.bytes > limit {
            return self.lose();
        }
        self.entries.push(entry);
    }

    /// Where the first statement's output begins, if all of it has a place.
    pub(crate) fn begins_at(&self) -> Option<u64> {
        let placed = self.entries.iter().all(|entry| entry.place.is_some());
        let first = self.entries.first()?.place?;
        placed.then_some(first.mark)
    }

    /// Whether a repetition can be compared with what the client was told.
    pub(crate) fn is_verifiable(&self) -> bool {
        self.entries.iter().all(|entry| entry.digest.is_some())
    }

    /// Everything so far has been sent: from here on it can only be compared.
    pub(crate) fn sent(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.place = None);
    }
}

/// A sink that computes a digest of what a statement tells, and hands it on or keeps it to itself.
pub(crate) struct Watch<'a> {
    inner: Option<&'a mut dyn Sink>,
    hasher: std::hash::DefaultHasher,
    types: Vec<PgType>,
    env: EvalEnv,
    bytes: usize,
    limit: usize,
}

struct Hashing<'a>(&'a mut std::hash::DefaultHasher, &'a mut usize);

impl fmt::Write for Hashing<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        *self.1 += text.len();
        Ok(())
    }
}

impl<'a> Watch<'a> {
    /// Hands everything on.
    pub(crate) fn over(inner: &'a mut dyn Sink, limit: usize) -> Self {
        Watch { inner: Some(inner), ..Watch::silent(limit) }
    }

    /// Keeps everything to itself: a repetition that the client does not see.
    pub(crate) fn silent(limit: usize) -> Self {
        Watch {
            inner: None,
            hasher: std::hash::DefaultHasher::new(),
            types: Vec::new(),
            env: EvalEnv::default(),
            bytes: 0,
            limit,
        }
    }

    /// Of all that was told, the tag included; none if that was more than the limit.
    pub(crate) fn digest(mut self, tag: &Tag) -> Option<u64> {
        let text = match tag {
            Tag::Count(verb, count) => format!("{verb} {count}"),
            Tag::Text(text) => (*text).to_owned(),
            Tag::Empty => String::new(),
        };
        self.hasher.write(text.as_bytes());
        (self.bytes <= self.limit).then(|| self.hasher.finish())
    }

    fn restart(&mut self) {
        self.hasher = std::hash::DefaultHasher::new();
        self.bytes = 0;
    }

    fn cannot_copy() -> SqlError {
        SqlError::new(SqlState::SERIALIZATION_FAILURE, "COPY cannot be repeated")
    }
}

impl Sink for Watch<'_> {
    fn environment(&mut self, env: &EvalEnv) {
        // Text only feeds the digest, so whatever prints differently for different values will do,
        // as long as it is the same in both runs.
        self.env.time_zone = env.time_zone.clone();
        if let Some(inner) = &mut self.inner {
            inner.environment(env);
        }
    }

    fn columns(&mut self, columns: &[ResultColumn]) -> Result<(), SqlError> {
        self.types = columns.iter().map(|column| column.ty).collect();
        match &mut self.inner {
            Some(inner) => inner.columns(columns),
            None => Ok(()),
        }
    }

    fn row(&mut self, row: &[Datum]) -> Result<(), SqlError> {
        if self.bytes <= self.limit {
            for (value, ty) in row.iter().zip(&self.types) {
                self.hasher.write_u8(u8::from(value.is_null()));
                if !value.is_null() {
                    let mut out = Hashing(&mut self.hasher, &mut self.bytes);
                    pgtypes::to_text(value, *ty, &self.env, &mut out);
                }
            }
            self.hasher.write_u8(b'\n');
            self.bytes += 1;
        }
        match &mut self.inner {
            Some(inner) => inner.row(row),
            None => Ok(()),
        }
    }

    fn complete(&mut self, tag: &str) {
        if let Some(inner) = &mut self.inner {
            inner.complete(tag);
        }
    }

    fn empty(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.empty();
        }
    }

    fn notice(&mut self, severity: Severity, notice: &SqlError) {
        self.hasher.write(notice.message().as_bytes());
        if let Some(inner) = &mut self.inner {
            inner.notice(severity, notice);
        }
    }

    fn parameter_status(&mut self, name: &str, value: &str) {
        if let Some(inner) = &mut self.inner {
            inner.parameter_status(name, value);
        }
    }

    fn mark(&self) -> u64 {
        self.inner.as_ref().map_or(0, |inner| inner.mark())
    }

    fn rewind(&mut self, mark: u64) -> bool {
        // Statements take their mark before they write anything.
        let done = match &mut self.inner {
            Some(inner) => inner.rewind(mark),
            None => true,
        };
        if done {
            self.restart();
        }
        done
    }

    fn flush(&mut self) -> BoxFuture<'_, Result<(), SqlError>> {
        match &mut self.inner {
            Some(inner) => inner.flush(),
            None => Box::pin(async { Ok(()) }),
        }
    }

    fn copy_in_start(&mut self, shape: CopyShape) -> BoxFuture<'_, Result<(), SqlError>> {
        match &mut self.inner {
            Some(inner) => inner.copy_in_start(shape),
            None => Box::pin(async { Err(Self::cannot_copy()) }),
        }
    }

    fn copy_in(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SqlError>> {
        match &mut self.inner {
            Some(inner) => inner.copy_in(),
            None => Box::pin(async { Err(Self::cannot_copy()) }),
        }
    }

    fn forget_copied(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.forget_copied();
        }
    }

    fn copy_out_start(&mut self, shape: CopyShape) {
        if let Some(inner) = &mut self.inner {
            inner.copy_out_start(shape);
        }
    }

    fn copy_out(&mut self, data: &[u8]) {
        self.hasher.write(data);
        self.bytes += data.len();
        if let Some(inner) = &mut self.inner {
            inner.copy_out(data);
        }
    }

    fn copy_out_done(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.copy_out_done();
        }
    }
}
