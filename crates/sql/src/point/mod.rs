//! Statements on few rows by key, without DataFusion.
//!
//! ```text
//!   bound statement --compile--> PointPlan --keys from parameters--> kv --> rows, tag
//!    once per catalog version                 every execution
//! ```
//!
//! A plan is compiled when the statement is prepared and holds all that does not depend on
//! parameters: which index, which columns to decode, expressions over row slots. Executing it
//! allocates the key, the row's datums, and little else.
//!
//! # What qualifies
//!
//! - `SELECT … FROM t WHERE` all columns of the primary key or of a unique index `=` something known
//!   before the row is read, other conditions on the same row, FOR UPDATE or not;
//! - `SELECT … FROM t WHERE` a range of the primary key, `ORDER BY` it or not at all, LIMIT;
//! - UPDATE and DELETE with such a WHERE as the first, and no query inside;
//! - `INSERT … VALUES` without a query inside.
//!
//! # Rule
//!
//! A write locks its row first and computes from what the lock returned, which is the newest
//! version: nothing of the snapshot is read, so there is nothing to conflict about.

mod compile;
mod compile_write;
mod insert;
mod read;
mod write;

use std::sync::Arc;

use base::{Key, Timestamp};
use catalog::{CatalogSnapshot, IndexId, RowDecoder, Table};
use kv::Txn;
use pgtypes::{Datum, EvalEnv};

use crate::SqlError;
use crate::dml::{Deferrals, Event, References, Rules};
use crate::ir::{self, LockStrength, LockWait, Scalar};
use crate::session::api::{ResultColumn, Sink};
use crate::session::{SequenceCalls, Sequences, SessionSequences, catalog_error};

pub(crate) use compile::{Defaults, column_of, comparison_with, compile, same_key_form};
pub(crate) use insert::row_ids;

/// A compiled statement.
#[derive(Debug)]
pub(crate) enum PointPlan {
    Get(Get),
    Range(Range),
    Insert(Insert),
    Update(Update),
    Delete(Delete),
}

/// Which row: all columns of one unique index have a value known before the row is read.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) table: Arc<Table>,
    /// The primary index, or a unique one.
    pub(crate) index: IndexId,
    pub(crate) is_primary: bool,
    /// One value per column of the index.
    pub(crate) values: Vec<Scalar>,
    /// The rest of WHERE, over the slots of the decoded row.
    pub(crate) residual: Option<Scalar>,
}

/// What the client gets of a decoded row.
#[derive(Debug)]
pub(crate) enum Output {
    /// The decoded columns as they are.
    Row,
    /// Slots of it.
    Slots(Vec<usize>),
    /// Expressions over its slots.
    Exprs(Vec<Scalar>),
}

/// `SELECT` of one row.
#[derive(Debug)]
pub(crate) struct Get {
    pub(crate) probe: Probe,
    pub(crate) decoder: RowDecoder,
    pub(crate) output: Output,
    pub(crate) columns: Arc<[ResultColumn]>,
    pub(crate) lock: Option<(LockStrength, LockWait)>,
    pub(crate) limit: Option<Scalar>,
}

/// `SELECT` of a range of the primary key.
#[derive(Debug)]
pub(crate) struct Range {
    pub(crate) table: Arc<Table>,
    /// Values of leading key columns.
    pub(crate) equal: Vec<Scalar>,
    /// Bounds of the next one: value, and whether it is itself inside.
    pub(crate) lower: Option<(Scalar, bool)>,
    pub(crate) upper: Option<(Scalar, bool)>,
    pub(crate) residual: Option<Scalar>,
    pub(crate) reverse: bool,
    pub(crate) limit: Option<Scalar>,
    pub(crate) decoder: RowDecoder,
    /// Columns of the table that are decoded.
    pub(crate) width: usize,
    pub(crate) output: Output,
    pub(crate) columns: Arc<[ResultColumn]>,
}

/// `INSERT … VALUES`.
#[derive(Debug)]
pub(crate) struct Insert {
    pub(crate) table: Arc<Table>,
    pub(crate) rules: Rules,
    /// Per row and column of the table: the value.
    pub(crate) rows: Vec<Vec<Scalar>>,
    /// Some value is asked of a sequence.
    pub(crate) asks_sequences: bool,
    pub(crate) returning: Option<Returning>,
}

/// RETURNING over the columns of the table.
#[derive(Debug)]
pub(crate) struct Returning {
    pub(crate) exprs: Vec<Scalar>,
    pub(crate) columns: Arc<[ResultColumn]>,
}

/// `UPDATE` of one row.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) probe: Probe,
    pub(crate) rules: Rules,
    /// Position in the table, and the value over the old row's slots.
    pub(crate) assignments: Vec<(usize, Scalar)>,
    /// What is assigned may concern a foreign key.
    pub(crate) follows: bool,
    pub(crate) returning: Option<Returning>,
}

/// `DELETE` of one row.
#[derive(Debug)]
pub(crate) struct Delete {
    pub(crate) probe: Probe,
    /// Rows of some table refer to those of this one.
    pub(crate) follows: bool,
    pub(crate) returning: Option<Returning>,
}

/// What an execution may use.
pub(crate) struct PointContext<'a> {
    pub(crate) db: &'a kv::Db,
    pub(crate) sequences: &'a Sequences,
    pub(crate) own_sequences: &'a SessionSequences,
    /// Checks put off to the commit.
    pub(crate) deferrals: &'a Deferrals,
    pub(crate) txn: &'a Txn,
    pub(crate) env: &'a EvalEnv,
    pub(crate) params: &'a [Datum],
    pub(crate) catalog: &'a CatalogSnapshot,
    /// The transaction has not read the catalog's version yet: read it along, and say
    /// [`Outcome::Stale`] if it is not this one.
    pub(crate) unchecked_version: Option<u64>,
    /// When this node saw that version: where the check may be left to the commit.
    pub(crate) version_seen_at: Option<Timestamp>,
    /// Nothing else runs in this transaction: duplicates are left to the commit.
    pub(crate) lone: bool,
}

/// How an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Rows returned or written.
    Done(u64),
    /// The catalog has another version: nothing was done.
    Stale,
}

impl PointPlan {
    /// Whether it reads rows without end.
    pub(crate) fn has_no_limit(&self) -> bool {
        matches!(self, PointPlan::Range(range) if range.limit.is_none())
    }

    /// Whether a plan does better, because leaders on other nodes do a part of it. `small`: what is known to
    /// be read in a moment.
    pub(crate) fn is_for_leaders(
        &self,
        cx: &PointContext<'_>,
        small: impl Fn(catalog::TableId) -> bool,
    ) -> Result<bool, SqlError> {
        match self {
            PointPlan::Range(range) => Ok(!small(range.table.id) && range.is_for_leaders(cx)?),
            PointPlan::Get(_)
            | PointPlan::Insert(_)
            | PointPlan::Update(_)
            | PointPlan::Delete(_) => Ok(false),
        }
    }

    /// The table that it writes to.
    pub(crate) fn written(&self) -> Option<catalog::TableId> {
        match self {
            PointPlan::Get(_) | PointPlan::Range(_) => None,
            PointPlan::Insert(insert) => Some(insert.table.id),
            PointPlan::Update(update) => Some(update.probe.table.id),
            PointPlan::Delete(delete) => Some(delete.probe.table.id),
        }
    }

    /// First word of the tag, with what comes before the count.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            PointPlan::Get(_) | PointPlan::Range(_) => "SELECT",
            PointPlan::Insert(_) => "INSERT 0",
            PointPlan::Update(_) => "UPDATE",
            PointPlan::Delete(_) => "DELETE",
        }
    }

    /// What is refused in a read-only transaction.
    pub(crate) fn command(&self) -> &'static str {
        match self {
            PointPlan::Get(Get { lock: Some((strength, _)), .. }) => match strength {
                LockStrength::KeyShare => "SELECT FOR KEY SHARE",
                LockStrength::Share => "SELECT FOR SHARE",
                LockStrength::NoKeyUpdate => "SELECT FOR NO KEY UPDATE",
                LockStrength::Update => "SELECT FOR UPDATE",
            },
            other => other.verb(),
        }
    }

    /// Whether it writes or locks.
    pub(crate) fn writes(&self) -> bool {
        match self {
            PointPlan::Get(get) => get.lock.is_some(),
            PointPlan::Range(_) => false,
            PointPlan::Insert(_) | PointPlan::Update(_) | PointPlan::Delete(_) => true,
        }
    }

    /// Columns of the result, if it has rows.
    pub(crate) fn columns(&self) -> Option<&Arc<[ResultColumn]>> {
        match self {
            PointPlan::Get(get) => Some(&get.columns),
            PointPlan::Range(range) => Some(&range.columns),
            PointPlan::Insert(insert) => insert.returning.as_ref().map(|r| &r.columns),
            PointPlan::Update(update) => update.returning.as_ref().map(|r| &r.columns),
            PointPlan::Delete(delete) => delete.returning.as_ref().map(|r| &r.columns),
        }
    }

    /// Runs it.
    pub(crate) async fn run(
        &self,
        cx: &PointContext<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, SqlError> {
        match self {
            PointPlan::Get(get) => get.run(cx, sink).await,
            PointPlan::Range(range) => range.run(cx, sink).await,
            PointPlan::Insert(insert) => insert.run(cx, sink).await,
            PointPlan::Update(update) => update.run(cx, sink).await,
            PointPlan::Delete(delete) => delete.run(cx, sink).await,
        }
    }
}

impl PointContext<'_> {
    /// The value of something that does not depend on a row.
    pub(crate) fn value(&self, scalar: &Scalar) -> Result<Datum, SqlError> {
        match scalar {
            Scalar::Param { index, .. } if *index < self.params.len() => {
                Ok(self.params[*index].clone())
            }
            Scalar::Literal(datum, _) => Ok(datum.clone()),
            Scalar::Relabel(arg, _) => self.value(arg),
            other => ir::eval(other, self.env, &[], self.params),
        }
    }

    /// Calls of sequence functions.
    pub(crate) fn sequence_calls(&self) -> SequenceCalls<'_> {
        let read_only = self.txn.options().read_only;
        SequenceCalls::new(self.db, self.sequences, self.own_sequences, self.catalog, read_only)
    }

    /// What foreign keys make of rows that were written.
    pub(crate) async fn follow(&self, events: Vec<Event>) -> Result<(), SqlError> {
        let sequences = self.sequence_calls();
        let references = References {
            db: self.db,
            txn: self.txn,
            env: self.env,
            catalog: self.catalog,
            deferrals: self.deferrals,
            sequences: &sequences,
        };
        references.follow(events).await
    }

    /// Whether the condition holds of the row; none does.
    pub(crate) fn holds(
        &self,
        condition: Option<&Scalar>,
        row: &[Datum],
    ) -> Result<bool, SqlError> {
        let Some(condition) = condition else { return Ok(true) };
        Ok(matches!(ir::eval(condition, self.env, row, self.params)?, Datum::Bool(true)))
    }

    /// Leaves the check of the catalog's version to the commit, if that costs nothing: when the only
    /// statement of the transaction writes in the version's range.
    pub(crate) fn defer_version_check(&self, writes: &Key) -> bool {
        let Some(seen_at) = self.version_seen_at else { return false };
        let version = catalog::store::version_key();
        let may =
            self.lone && self.unchecked_version.is_some() && self.db.in_one_range(&version, writes);
        if may {
            self.txn.relies_since(seen_at);
        }
        may
    }

    /// Reads the catalog's version if the transaction has not yet; false: it is another one.
    pub(crate) async fn check_version(&self) -> Result<bool, SqlError> {
        let Some(expected) = self.unchecked_version else { return Ok(true) };
        let value = self.txn.get(&catalog::store::version_key()).await?;
        let version = catalog::store::decode_version(value.as_ref()).map_err(catalog_error)?;
        Ok(version == expected)
    }
}

/// Writes RETURNING's row.
pub(crate) fn return_row(
    returning: &Returning,
    cx: &PointContext<'_>,
    row: &[Datum],
    sink: &mut dyn Sink,
) -> Result<(), SqlError> {
    let values: Result<Vec<Datum>, SqlError> =
        returning.exprs.iter().map(|e| ir::eval(e, cx.env, row, cx.params)).collect();
    sink.row(&values?)
}
