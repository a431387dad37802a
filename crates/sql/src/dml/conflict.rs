//! ON CONFLICT.
//!
//! The keys that may conflict are locked before anything is decided, so that what is found there
//! stays so until the transaction ends: two statements never both find a key free.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::Key;
use catalog::{IndexId, Table};
use kv::{Strength, WaitPolicy};
use pgtypes::Datum;

use super::{Event, Names, Rules, Writes, codec_error, update_strength};
use crate::indexed::with_computed;
use crate::ir::{self, ColId, ConflictTarget, OnConflict, Scalar};
use crate::point::{Defaults, row_ids};
use crate::session::{Before, DmlContext};
use crate::{SqlError, SqlState};

/// What to do about rows that exist.
pub(super) struct Conflict {
    /// Unique indexes whose conflicts are meant.
    arbiters: Vec<IndexId>,
    update: Option<Update>,
    /// Rows this statement has inserted or updated.
    touched: BTreeSet<Key>,
}

/// DO UPDATE, over the slots of the existing row followed by those of the one proposed.
struct Update {
    assignments: Vec<(usize, Scalar)>,
    filter: Option<Scalar>,
    /// For expressions with queries in them, which are not over slots.
    before: Option<Before>,
    layout: Vec<ColId>,
}

impl Conflict {
    pub(super) fn new(
        cx: &DmlContext,
        table: &Arc<Table>,
        on_conflict: &OnConflict,
        target: &[ColId],
        defaults: &dyn Defaults,
    ) -> Result<Conflict, SqlError> {
        let unique = || {
            std::iter::once(&table.primary)
                .filter(|i| !i.columns.is_empty())
                .chain(table.indexes.iter().filter(|i| i.unique))
        };
        let arbiters: Vec<IndexId> = match &on_conflict.target {
            ConflictTarget::Any => unique().map(|i| i.id).collect(),
            ConflictTarget::Indexes(ids) => ids.clone(),
            ConflictTarget::Constraint(name) => {
                unique().filter(|i| i.constraint && *i.name == **name).map(|i| i.id).collect()
            }
        };
        if arbiters.is_empty() {
            match &on_conflict.target {
                ConflictTarget::Any => {}
                ConflictTarget::Indexes(_) => {
                    return Err(SqlError::new(
                        SqlState::INVALID_COLUMN_REFERENCE,
                        "there is no unique or exclusion constraint matching the ON CONFLICT \
                         specification",
                    ));
                }
                ConflictTarget::Constraint(name) => {
                    return Err(SqlError::new(
                        SqlState::UNDEFINED_OBJECT,
                        format!(
                            "constraint \"{name}\" for table \"{}\" does not exist",
                            table.name
                        ),
                    ));
                }
            }
        }
        let update = match &on_conflict.update {
            None => None,
            Some(update) => Some(Update::new(cx, table, update, target, defaults)?),
        };
        Ok(Conflict { arbiters, update, touched: BTreeSet::new() })
    }

    /// Inserts or updates rows. Returns the rows as they are now, those left out excepted.
    pub(super) async fn apply(
        &mut self,
        cx: &DmlContext,
        table: &Arc<Table>,
        rules: &Rules,
        rows: Vec<Vec<Datum>>,
        events: &mut Vec<Event>,
    ) -> Result<Vec<Vec<Datum>>, SqlError> {
        let mut next_id = match table.has_hidden_row_id() {
            true => Some(row_ids(&cx.db, rows.len() as u64).await?),
            false => None,
        };
        let mut written = Vec::new();
        for row in rows {
            let id = next_id;
            next_id = next_id.map(|id| id + 1);
            let names = Names { catalog: &cx.catalog, env: &cx.env };
            let Some(existing) = self.existing(cx, table, &row).await? else {
                let mut writes = Writes::default();
                let key = writes.insert(table, &row, id)?;
                writes.apply(&cx.txn, true, &names).await?;
                if rules.has_references() {
                    let (key, new) = (key.clone(), Some(row.clone()));
                    events.push(Event { table: table.clone(), key, old: None, new });
                }
                self.touched.insert(key);
                written.push(row);
                continue;
            };
            let Some(update) = &self.update else { continue };
            if self.touched.contains(&existing) {
                return Err(SqlError::new(
                    SqlState::CARDINALITY_VIOLATION,
                    "ON CONFLICT DO UPDATE command cannot affect row a second time",
                )
                .hint(
                    "Ensure that no rows proposed for insertion within the same command have \
                     duplicate constrained values.",
                ));
            }
            let keys = std::slice::from_ref(&existing);
            let assigned = update.assignments.iter().map(|(column, _)| *column);
            let strength = update_strength(table, assigned);
            let mut locked = cx.txn.lock(keys, strength, WaitPolicy::Block).await?;
            let Some(value) = locked.pop().and_then(|l| l.value) else { continue };
            let old =
                table.codec().decode(&existing, &value).map_err(|e| codec_error(&e, table))?;
            let Some(mut new) = update.row(cx, &old, &row).await? else { continue };
            rules.complete(&mut new, &cx.env)?;
            let mut writes = Writes::default();
            let key = writes.update(table, existing.clone(), &old, &new)?;
            writes.apply(&cx.txn, true, &names).await?;
            if rules.has_references() {
                let (old, new) = (Some(old), Some(new.clone()));
                events.push(Event { table: table.clone(), key, old, new });
            }
            self.touched.insert(existing);
            written.push(new);
        }
        Ok(written)
    }

    /// The key of a row that a proposed one conflicts with.
    async fn existing(
        &self,
        cx: &DmlContext,
        table: &Arc<Table>,
        row: &[Datum],
    ) -> Result<Option<Key>, SqlError> {
        let codec = table.codec();
        let failed = |e| codec_error(&e, table);
        let mut keys = Vec::with_capacity(self.arbiters.len());
        let row = with_computed(table, row)?;
        for id in &self.arbiters {
            let index = codec.index(*id).expect("an arbiter is an index of the table");
            let values: Vec<Datum> = index.positions().map(|p| row[p].clone()).collect();
            let distinct = values.iter().any(Datum::is_null) && !index.nulls_not_distinct();
            if distinct || !index.covers(&row) {
                continue;
            }
            keys.push((index, index.key_prefix(&values).map_err(failed)?));
        }
        let wanted: Vec<Key> = keys.iter().map(|(_, key)| key.clone()).collect();
        let locked = cx.txn.lock(&wanted, Strength::Update, WaitPolicy::Block).await?;
        for ((index, key), locked) in keys.into_iter().zip(locked) {
            let Some(value) = locked.value else { continue };
            if index.id == codec.primary().id {
                return Ok(Some(key));
            }
            return codec.row_key(index, &key, &value).map(Some).map_err(failed);
        }
        Ok(None)
    }
}

impl Update {
    fn new(
        cx: &DmlContext,
        table: &Arc<Table>,
        update: &ir::ConflictUpdate,
        target: &[ColId],
        defaults: &dyn Defaults,
    ) -> Result<Update, SqlError> {
        let mut layout = target.to_vec();
        layout.extend(update.excluded.iter().map(|c| c.id));
        let over = |scalar: &Scalar| match scalar.has_subquery() {
            true => Ok(scalar.clone()),
            false => scalar.over(&layout),
        };
        let mut assignments = Vec::new();
        for assignment in &update.assignments {
            let value = match &assignment.value {
                Some(value) => over(value)?,
                None => defaults.default_of(table, assignment.column)?,
            };
            assignments.push((assignment.column, value));
        }
        let filter = update.filter.as_ref().map(over).transpose()?;
        let mut all = assignments.iter().map(|(_, value)| value).chain(&filter);
        let before = all.any(Scalar::has_subquery).then(|| cx.before());
        Ok(Update { assignments, filter, before, layout })
    }

    /// The row after the update; `None` if the filter says no.
    async fn row(
        &self,
        cx: &DmlContext,
        old: &[Datum],
        proposed: &[Datum],
    ) -> Result<Option<Vec<Datum>>, SqlError> {
        let slots: Vec<Datum> = old.iter().chain(proposed).cloned().collect();
        if let Some(filter) = &self.filter {
            let holds = match &self.before {
                Some(before) if filter.has_subquery() => {
                    before.eval(filter, &self.layout, &slots).await?
                }
                _ => ir::eval(filter, &cx.env, &slots, &cx.params)?,
            };
            if holds != Datum::Bool(true) {
                return Ok(None);
            }
        }
        let mut new = old.to_vec();
        for (position, value) in &self.assignments {
            if let Some(before) = &self.before
                && value.has_subquery()
            {
                new[*position] = before.eval(value, &self.layout, &slots).await?;
                continue;
            }
            let sequences = cx.sequence_calls();
            new[*position] = sequences.eval(value, &cx.env, &slots, &cx.params).await?;
        }
        Ok(Some(new))
    }
}
