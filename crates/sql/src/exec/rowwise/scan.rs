//! Reading a table by what is known of its rows.

use std::sync::atomic::Ordering;

use base::Key;
use bytes::Bytes;
use catalog::{EntryDecoder, Index, RowDecoder};
use kv::ScanOptions;
use pgtypes::Datum;

use super::{BYTES_MAX, PROBE_ROWS, ROWS_MAX, Run, Stop};
use crate::error::SqlError;
use crate::exec::access::{self, Access};
use crate::exec::condition::{Comparison, Condition, Test};
use crate::exec::scan::span_lock;
use crate::indexed::Demands;
use crate::ir::{ColId, Scalar, Scan};
use crate::point::{column_of, comparison_with, same_key_form};

/// Most stretches of an index that one scan reads.
const SPANS_MAX: usize = 200;
/// Bytes fetched at a time.
const PAGE_BYTES: u64 = 1 << 20;

/// Columns whose values are known before a scan: of a row of what it is joined to.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) layout: &'a [ColId],
    pub(super) row: &'a [Datum],
}

impl Known<'_> {
    /// Nothing but parameters.
    pub(super) const NOTHING: Known<'static> = Known { layout: &[], row: &[] };

    /// Whether an expression can be computed from what is known.
    pub(super) fn suffices(&self, scalar: &Scalar) -> bool {
        !scalar.any(&mut |node| match node {
            Scalar::Column(id, _) => !self.layout.contains(id),
            Scalar::Slot(..) | Scalar::Subquery(_) => true,
            _ => false,
        })
    }
}

/// A table that a query mentions, and how its rows are decoded.
pub(super) struct Source<'a> {
    pub(super) scan: &'a Scan,
    pub(super) layout: Vec<ColId>,
    /// Positions of its columns.
    wanted: Vec<usize>,
    decoder: RowDecoder,
}

impl<'a> Source<'a> {
    pub(super) fn new(scan: &'a Scan) -> Self {
        let layout = scan.columns.iter().map(|(c, _)| c).chain(&scan.row_key).map(|c| c.id);
        let positions: Vec<usize> = scan.columns.iter().map(|(_, at)| *at).collect();
        let decoder = scan.table.codec().decoder(&positions);
        Source { scan, layout: layout.collect(), wanted: positions, decoder }
    }

    fn position_of(&self, id: ColId) -> Option<usize> {
        self.scan.columns.iter().find(|(column, _)| column.id == id).map(|(_, at)| *at)
    }

    fn row(&self, key: &Key, value: &Bytes) -> Result<Vec<Datum>, SqlError> {
        let mut row = Vec::with_capacity(self.layout.len());
        self.decoder.decode(key, value, &mut row)?;
        if self.scan.row_key.is_some() {
            row.push(Datum::Bytea(key.0.clone()));
        }
        Ok(row)
    }
}

impl Run<'_> {
    /// How the rows for which `conjuncts` hold are found.
    pub(super) fn access<'s>(
        &self,
        source: &Source<'_>,
        conjuncts: impl Iterator<Item = &'s Scalar>,
        known: Known<'_>,
    ) -> Result<Access, Stop> {
        let conjuncts: Vec<&Scalar> = conjuncts.collect();
        let mut conditions = Vec::new();
        for conjunct in &conjuncts {
            conditions.extend(self.condition(source, conjunct, known)?);
        }
        let table = &source.scan.table;
        let position = |id| source.position_of(id);
        let demands = Demands::new(table, conjuncts.into_iter(), &position, &self.ctx.params);
        let implied = |index: &Index| demands.imply(index);
        // Some key is longer than any that is stored.
        let statistics = self.ctx.engine.statistics().of(table.id);
        let known = access::Known {
            implied: &implied,
            // Here every row is looked up.
            covers: &|_| false,
            estimates: statistics.as_deref(),
        };
        access::choose(table, &conditions, &known).map_err(|_| Stop::GivenUp)
    }

    /// What a conjunct says about a column. It need not say all: the rows are checked again.
    fn condition(
        &self,
        source: &Source<'_>,
        conjunct: &Scalar,
        known: Known<'_>,
    ) -> Result<Option<Condition>, SqlError> {
        let value = |scalar: &Scalar| self.eval(&scalar.over(known.layout)?, known.row);
        let position = |id| source.position_of(id);
        let table = &source.scan.table;
        let types = |at: usize| table.column_at(at).ty;
        match conjunct {
            Scalar::Call { .. } => {
                let suffices = |scalar: &Scalar| known.suffices(scalar);
                let found = comparison_with(conjunct, table, &position, &suffices);
                let Some((column, op, constant)) = found else { return Ok(None) };
                let op = match op {
                    "=" => Comparison::Equal,
                    "<" => Comparison::Less,
                    "<=" => Comparison::LessOrEqual,
                    ">" => Comparison::Greater,
                    ">=" => Comparison::GreaterOrEqual,
                    _ => return Ok(None),
                };
                Ok(Some(Condition { column, test: Test::Compare(op, value(constant)?) }))
            }
            Scalar::InList { needle, list, .. } => {
                let Some(column) = column_of(table, needle, &position) else { return Ok(None) };
                let fits = |s: &Scalar| known.suffices(s) && same_key_form(types(column), s.ty());
                if !list.iter().all(fits) {
                    return Ok(None);
                }
                let values = list.iter().map(value).collect::<Result<Vec<_>, _>>()?;
                Ok(Some(Condition { column, test: Test::one_of(values) }))
            }
            Scalar::Quantified { op, needle, array, all: false } if op.name == "=" => {
                let Some(column) = column_of(table, needle, &position) else { return Ok(None) };
                if !known.suffices(array) || !same_key_form(types(column), array.ty().element()) {
                    return Ok(None);
                }
                let Datum::Array(array) = value(array)? else { return Ok(None) };
                Ok(Some(Condition { column, test: Test::one_of(array.items.clone()) }))
            }
            _ => Ok(None),
        }
    }

    /// The rows that `access` finds and for which `residual`, over the source's layout, holds.
    pub(super) async fn read(
        &self,
        source: &Source<'_>,
        access: &Access,
        residual: &[Scalar],
        goal: Option<usize>,
    ) -> Result<Vec<Vec<Datum>>, Stop> {
        let mut found = Vec::new();
        if access.points && access.index.is_none() {
            let keys: Vec<Key> = access.spans.iter().map(|span| span.start.clone()).collect();
            for (key, value) in self.rows_at(keys).await? {
                self.keep(source, &key, &value, residual, &mut found)?;
            }
            return Ok(found);
        }
        if access.spans.len() > SPANS_MAX {
            return Err(Stop::GivenUp);
        }
        let codec = source.scan.table.codec();
        let index = access.index.map(|at| &codec.indexes()[at]);
        let alone = index.and_then(|index| EntryDecoder::new(codec, index, &source.wanted));
        let most = if access.bounded { ROWS_MAX } else { PROBE_ROWS };
        let mut read = 0;
        for span in &access.spans {
            let mut left = Some(span.clone());
            while let Some(span) = left {
                let wanted = match goal {
                    Some(goal) if found.len() >= goal => return Ok(found),
                    Some(goal) if residual.is_empty() => goal - found.len(),
                    // One more than allowed tells that there are too many.
                    _ => most + 1 - read,
                };
                let options = ScanOptions {
                    max_rows: wanted.min(most + 1 - read) as u64,
                    max_bytes: PAGE_BYTES,
                    lock: span_lock(source.scan, access),
                    ..ScanOptions::default()
                };
                let page = self.ctx.txn.scan(span, options).await?;
                read += page.rows.len();
                if read > most {
                    return Err(Stop::GivenUp);
                }
                left = page.resume;
                let rows = match (index, &alone) {
                    (Some(index), Some(alone)) => {
                        self.count_read(&page.rows)?;
                        for (key, value) in &page.rows {
                            let mut row = Vec::with_capacity(source.layout.len());
                            let key = alone.decode(codec, index, (key, value), &mut row)?;
                            if source.scan.row_key.is_some() {
                                row.push(Datum::Bytea(key.0));
                            }
                            if self.passes(residual, &row)? {
                                found.push(row);
                            }
                        }
                        continue;
                    }
                    (None, _) => {
                        self.count_read(&page.rows)?;
                        page.rows
                    }
                    (Some(index), None) => {
                        let key = |(key, value): &(Key, Bytes)| codec.row_key(index, key, value);
                        let keys = page.rows.iter().map(key).collect::<Result<_, _>>()?;
                        self.rows_at(keys).await?
                    }
                };
                for (key, value) in &rows {
                    self.keep(source, key, value, residual, &mut found)?;
                }
            }
        }
        Ok(found)
    }

    /// The rows of primary keys, as far as there are any.
    pub(super) async fn rows_at(&self, keys: Vec<Key>) -> Result<Vec<(Key, Bytes)>, Stop> {
        if keys.len() > ROWS_MAX {
            return Err(Stop::GivenUp);
        }
        let values = self.ctx.txn.get_several(&keys, false).await?;
        let found: Vec<(Key, Bytes)> =
            keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect();
        self.count_read(&found)?;
        Ok(found)
    }

    pub(super) fn keep(
        &self,
        source: &Source<'_>,
        key: &Key,
        value: &Bytes,
        residual: &[Scalar],
        found: &mut Vec<Vec<Datum>>,
    ) -> Result<(), Stop> {
        let row = source.row(key, value)?;
        if self.passes(residual, &row)? {
            found.push(row);
        }
        Ok(())
    }

    fn count_read(&self, rows: &[(Key, Bytes)]) -> Result<(), Stop> {
        let size: usize = rows.iter().map(|(key, value)| key.0.len() + value.len()).sum();
        let read = self.rows.fetch_add(rows.len(), Ordering::Relaxed) + rows.len();
        let bytes = self.bytes.fetch_add(size, Ordering::Relaxed) + size;
        if read > ROWS_MAX || bytes > BYTES_MAX {
            return Err(Stop::GivenUp);
        }
        Ok(())
    }
}
