//! What each kind of statement does: see [`super`].

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Key, KeyRange};
use catalog::{Column, Index, IndexCodec, Table};
use kv::Strength;
use pgtypes::Datum;

use super::{Forecast, When};
use crate::SqlError;
use crate::dml::{Writes, update_strength};
use crate::exec::lock::lock_strength;
use crate::exec::scan::TableScanExec;
use crate::ir::{Insert, InsertSource, Rel, RowLock, Scalar, Statement};
use crate::point::{self, Defaults, PointPlan, Probe};
use crate::session::has_sequence_call;

/// Rows of an INSERT whose keys are worked out.
const ROWS_MAX: usize = 1_000;

impl Forecast<'_> {
    /// A point plan.
    pub(crate) async fn point(&mut self, plan: &PointPlan) -> Result<(), SqlError> {
        match plan {
            PointPlan::Get(get) => {
                let lock = get.lock.map(|(strength, _)| lock_strength(strength));
                self.probe(&get.probe, lock).await.map(drop)
            }
            PointPlan::Range(range) => self.range(range).await,
            PointPlan::Insert(insert) => {
                self.certain &= !insert.rules.has_references();
                let known = |(scalar, column): (&Scalar, &Column)| {
                    let known = column.generated.is_none() && !has_sequence_call(scalar);
                    known.then(|| scalar.clone())
                };
                let columns = &insert.table.columns;
                let rows = insert
                    .rows
                    .iter()
                    .map(|scalars| scalars.iter().zip(columns).map(known).collect());
                self.insert_rows(&insert.table, rows.collect(), !self.cx.lone).await
            }
            PointPlan::Update(update) => {
                self.certain &= !update.follows;
                let table = &update.probe.table;
                let assigned: Vec<usize> = update.assignments.iter().map(|(at, _)| *at).collect();
                let strength = update_strength(table, assigned.iter().copied());
                let rows = self.probe(&update.probe, Some(strength)).await?;
                self.change_rows(table, &rows, Some(&assigned)).await
            }
            PointPlan::Delete(delete) => {
                self.certain &= !delete.follows;
                let rows = self.probe(&delete.probe, Some(Strength::Update)).await?;
                self.change_rows(&delete.probe.table, &rows, None).await
            }
        }
    }

    /// Looks a row up, or locks it. Where it is.
    async fn probe(
        &mut self,
        probe: &Probe,
        lock: Option<Strength>,
    ) -> Result<Vec<KeyRange>, SqlError> {
        let table = &probe.table;
        let Some(key) = probe.key(self.cx)? else { return Ok(Vec::new()) };
        let index = table.index(probe.index).expect("compiled for this descriptor");
        let entry = KeyRange::point(key.clone());
        let parts = self.cx.db.parts(&entry).await?;
        let ranges = parts.iter().map(|part| (part.range, part.leader)).collect();
        let tracked = self.tracks_reads() && (lock.is_none() || !probe.is_primary);
        let spans = std::slice::from_ref(&entry);
        self.point_scan = self.said_of_scan(table, index, spans, &ranges, tracked);
        self.ask(spans).await?;
        if tracked {
            self.footprint.reads.push(entry.clone());
        }
        if probe.is_primary {
            if let Some(strength) = lock {
                self.lock_key((table, &table.primary), &key, (strength, When::Now));
            }
            return Ok(vec![entry]);
        }
        let rows = table.codec().span();
        self.guess(std::slice::from_ref(&rows)).await?;
        match lock {
            Some(strength) => self.lock_unknown(table, &table.primary, (strength, When::Now)),
            None if tracked => self.footprint.reads.push(rows.clone()),
            None => {}
        }
        Ok(vec![rows])
    }

    async fn range(&mut self, range: &point::Range) -> Result<(), SqlError> {
        let table = &range.table;
        let span = range.span(self.cx)?;
        let mut ranges = BTreeMap::new();
        if let Some(span) = &span {
            let parts = self.cx.db.parts(span).await?;
            ranges.extend(parts.iter().map(|part| (part.range, part.leader)));
            self.ask(std::slice::from_ref(span)).await?;
            // It may have more than one page, and end early.
            self.certain = false;
        }
        let spans: Vec<KeyRange> = span.into_iter().collect();
        let tracked = self.tracks_reads();
        self.point_scan = self.said_of_scan(table, &table.primary, &spans, &ranges, tracked);
        if tracked {
            self.footprint.reads.extend(spans);
        }
        Ok(())
    }

    /// A statement without a point plan; `scans` are those of its plan.
    pub(crate) async fn bound(
        &mut self,
        statement: &Statement,
        scans: &[&TableScanExec],
        defaults: &dyn Defaults,
    ) -> Result<(), SqlError> {
        let locks = row_locks(statement);
        for scan in scans {
            self.scan(scan).await?;
        }
        for lock in &locks {
            for scan in scans_of(scans, &lock.table, &lock.alias) {
                self.lock_rows(scan, lock_strength(lock.strength)).await?;
            }
        }
        let written = match statement {
            Statement::Update(update) => Some(&update.target.table),
            Statement::Delete(delete) => Some(&delete.target.table),
            Statement::Insert(insert) => Some(&insert.table),
            _ => None,
        };
        // What foreign keys look up and bring about is not foretold.
        self.certain &=
            written.is_none_or(|t| t.foreign_keys().next().is_none() && !defaults.is_referenced(t));
        match statement {
            Statement::Update(update) => {
                let table = &update.target.table;
                let assigned: Vec<usize> = update.assignments.iter().map(|a| a.column).collect();
                let strength = update_strength(table, assigned.iter().copied());
                for scan in scans_of(scans, table, &update.target.alias) {
                    let rows = self.lock_rows(scan, strength).await?;
                    self.change_rows(table, &rows, Some(&assigned)).await?;
                }
            }
            Statement::Delete(delete) => {
                let table = &delete.target.table;
                for scan in scans_of(scans, table, &delete.target.alias) {
                    let rows = self.lock_rows(scan, Strength::Update).await?;
                    self.change_rows(table, &rows, None).await?;
                }
            }
            Statement::Insert(insert) => {
                let rows = given_rows(insert, defaults)?;
                let checked = !self.cx.lone || insert.on_conflict.is_some();
                self.insert_rows(&insert.table, rows, checked).await?;
                // Rows that exist are looked for first, and may be changed instead.
                self.certain &= insert.on_conflict.is_none();
                self.certain &= !matches!(insert.source, InsertSource::Query(_));
            }
            Statement::Query(_)
            | Statement::With(_)
            | Statement::Explain(_)
            | Statement::Utility(_) => {}
        }
        Ok(())
    }

    /// Locks what a scan finds. Where the rows are.
    async fn lock_rows(
        &mut self,
        scan: &TableScanExec,
        strength: Strength,
    ) -> Result<Vec<KeyRange>, SqlError> {
        let table = &scan.table;
        let how = (strength, When::Now);
        let spans = &scan.access.spans;
        if scan.access.index.is_some() {
            let rows = table.codec().span();
            if spans.is_empty() {
                return Ok(Vec::new());
            }
            self.guess(std::slice::from_ref(&rows)).await?;
            self.certain = false;
            self.lock_unknown(table, &table.primary, how);
            return Ok(vec![rows]);
        }
        self.ask(spans).await?;
        if scan.access.points {
            let points: Vec<KeyRange> =
                spans.iter().map(|span| KeyRange::point(span.start.clone())).collect();
            for point in &points {
                self.lock_key((table, &table.primary), &point.start, how);
            }
            return Ok(points);
        }
        self.certain = false;
        self.lock_found(table, spans, how);
        Ok(spans.clone())
    }

    /// Writes of rows that exist: those columns of them, or `None` if they go.
    async fn change_rows(
        &mut self,
        table: &Table,
        rows: &[KeyRange],
        assigned: Option<&[usize]>,
    ) -> Result<(), SqlError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.footprint.writes.extend_from_slice(rows);
        let assigns = |index: &Index| {
            let positions = table.index_positions(index);
            let included = index.include.iter().filter_map(|id| table.position_of(*id));
            let mut all = positions.into_iter().chain(included);
            // An expression may mention any column.
            index.predicate.is_some()
                || assigned.is_none_or(|assigned| {
                    all.any(|at| table.is_computed(at) || assigned.contains(&at))
                })
        };
        let when = if self.cx.lone { When::AtCommit } else { When::Now };
        let moves = assigned.is_some() && assigns(&table.primary);
        if moves {
            self.claim_unknown(table, &table.primary, when).await?;
        }
        for index in &table.indexes {
            if !moves && !assigns(index) {
                continue;
            }
            match index.unique && assigned.is_some() {
                true => self.claim_unknown(table, index, when).await?,
                false => self.footprint.writes.extend(span_of(table, index)),
            }
        }
        Ok(())
    }

    /// A key that must be new, and that only the run knows.
    async fn claim_unknown(
        &mut self,
        table: &Table,
        index: &Index,
        when: When,
    ) -> Result<(), SqlError> {
        let span: Vec<KeyRange> = span_of(table, index).into_iter().collect();
        self.footprint.writes.extend(span.iter().cloned());
        self.lock_unknown(table, index, (Strength::Update, when));
        if when == When::Now {
            self.guess(&span).await?;
        }
        Ok(())
    }

    /// Rows that are new, with what is known of each column. `checked`: whether they are is looked at now,
    /// not by the commit.
    async fn insert_rows(
        &mut self,
        table: &Arc<Table>,
        rows: Vec<Vec<Option<Scalar>>>,
        checked: bool,
    ) -> Result<(), SqlError> {
        let mut claims: Vec<Key> = Vec::new();
        let mut unknown = rows.len() > ROWS_MAX;
        for row in rows.iter().take(ROWS_MAX) {
            match self.keys_of_row(table, row)? {
                Some(writes) => {
                    claims.extend(writes.claims().cloned());
                    let others = writes.others().cloned().map(KeyRange::point);
                    self.footprint.writes.extend(others);
                }
                None => unknown = true,
            }
        }
        let when = if checked { When::Now } else { When::AtCommit };
        let how = (Strength::Update, when);
        for key in &claims {
            self.footprint.writes.push(KeyRange::point(key.clone()));
            let of = indexes(table).find(|index| {
                let codec = table.codec().index(index.id);
                codec.is_some_and(|codec| codec.span().contains(key.as_bytes()))
            });
            if let Some(index) = of {
                self.lock_key((table, index), key, how);
            }
        }
        if when == When::Now {
            let points: Vec<KeyRange> = claims.into_iter().map(KeyRange::point).collect();
            self.ask(&points).await?;
        }
        if unknown {
            self.certain = false;
            let hidden = table.has_hidden_row_id();
            for index in indexes(table) {
                match index.unique && !(hidden && index.id == table.primary.id) {
                    true => self.claim_unknown(table, index, when).await?,
                    false => self.footprint.writes.extend(span_of(table, index)),
                }
            }
            if hidden {
                self.footprint.writes.push(table.codec().span());
            }
        }
        Ok(())
    }

    /// The keys of a new row; nothing if they depend on what only the run knows.
    fn keys_of_row(
        &self,
        table: &Table,
        row: &[Option<Scalar>],
    ) -> Result<Option<Writes>, SqlError> {
        if table.has_hidden_row_id() {
            return Ok(None);
        }
        let mut values: Vec<Datum> = Vec::with_capacity(row.len());
        for scalar in row {
            match scalar {
                Some(scalar) if !scalar.is_volatile() && !scalar.has_subquery() => {
                    values.push(self.cx.value(scalar)?);
                }
                Some(_) | None => return Ok(None),
            }
        }
        let mut writes = Writes::default();
        // A NULL in the key is the run's to complain about.
        Ok(writes.insert(table, &values, None).is_ok().then_some(writes))
    }
}

/// The scans that the statement calls so.
fn scans_of<'s>(scans: &[&'s TableScanExec], table: &Table, alias: &str) -> Vec<&'s TableScanExec> {
    let is_it = |scan: &&&TableScanExec| scan.table.id == table.id && *scan.alias == *alias;
    scans.iter().filter(is_it).copied().collect()
}

/// The rows of an INSERT, with what is known of each column.
fn given_rows(
    insert: &Insert,
    defaults: &dyn Defaults,
) -> Result<Vec<Vec<Option<Scalar>>>, SqlError> {
    let table = &insert.table;
    // What a sequence gives, and what is computed of it, nobody knows yet.
    let known = |value: &Scalar| !has_sequence_call(value);
    let mut fill = Vec::with_capacity(table.columns.len());
    for (at, column) in table.columns.iter().enumerate() {
        let default = defaults.default_of(table, at)?;
        fill.push(Some(default).filter(|d| column.generated.is_none() && known(d)));
    }
    Ok(match &insert.source {
        InsertSource::Values(rows) => rows
            .iter()
            .map(|values| {
                let mut row = fill.clone();
                for (&column, value) in insert.columns.iter().zip(values) {
                    if value.is_some() {
                        row[column] = value.clone().filter(known);
                    }
                }
                row
            })
            .collect(),
        InsertSource::Default => vec![fill],
        InsertSource::Query(_) => vec![vec![None; table.columns.len()]],
    })
}

fn indexes(table: &Table) -> impl Iterator<Item = &Index> {
    std::iter::once(&table.primary).filter(|i| !i.columns.is_empty()).chain(&table.indexes)
}

fn span_of(table: &Table, index: &Index) -> Option<KeyRange> {
    table.codec().index(index.id).map(IndexCodec::span)
}

/// Every locking clause of a query.
fn row_locks(statement: &Statement) -> Vec<RowLock> {
    let mut found = Vec::new();
    if let Statement::Query(query) = statement {
        query.rel.for_each_rel(&mut |rel| {
            if let Rel::Lock { locks, .. } = rel {
                found.extend(locks.iter().cloned());
            }
        });
    }
    found
}
