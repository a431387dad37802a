//! READ COMMITTED: what becomes of a row that others changed while a statement waited for it.
//!
//! PostgreSQL's answer (EvalPlanQual): the newest version of the target row is put next to the rows of
//! FROM as the statement found them; if the condition still holds, the statement goes on with it, else
//! the row is left out. No other row is looked for. A statement with a subquery would have to run that
//! again for the new row; here the whole statement then runs again on a newer snapshot, which is as
//! READ COMMITTED as the other way.

use kv::{Isolation, Strength, WaitPolicy};
use pgtypes::Datum;

use super::codec_error;
use super::modify::Found;
use crate::SqlError;
use crate::exec::waiting_hoist::calls_one;
use crate::ir::{self, ColId, Rel, RelColumn, Scalar, Scan};
use crate::session::DmlContext;

/// How to judge a row again.
pub(super) struct Recheck {
    /// Over the target's columns, then those of FROM.
    filter: Option<Scalar>,
    /// What the query computed of the row, over the same.
    extra: Vec<Scalar>,
    /// Columns of FROM: the query delivers them behind `extra`.
    others: Vec<RelColumn>,
}

impl Recheck {
    /// None: the statement has to run again as a whole, at other levels or because of a subquery, or of a
    /// function that waits for others.
    pub(super) fn new(
        cx: &DmlContext,
        target: &Scan,
        from: Option<&Rel>,
        filter: Option<&Scalar>,
        extra: &[Scalar],
    ) -> Option<Recheck> {
        if cx.txn.options().isolation != Isolation::ReadCommitted {
            return None;
        }
        if filter.into_iter().chain(extra).any(|s| s.has_subquery() || calls_one(s)) {
            return None;
        }
        let others = from.map_or_else(Vec::new, |rel| rel.columns().to_vec());
        let mut layout: Vec<ColId> = target.columns.iter().map(|(c, _)| c.id).collect();
        layout.extend(others.iter().map(|c| c.id));
        let over = |scalar: &Scalar| scalar.over(&layout).ok();
        let filter = match filter {
            Some(filter) => Some(over(filter)?),
            None => None,
        };
        let extra = extra.iter().map(over).collect::<Option<Vec<Scalar>>>()?;
        Some(Recheck { filter, extra, others })
    }

    /// What the query has to deliver besides.
    pub(super) fn columns(&self) -> impl Iterator<Item = Scalar> + '_ {
        self.others.iter().map(|column| Scalar::Column(column.id, column.ty))
    }

    /// Locks rows; those that are gone, or do not match any more, drop out.
    pub(super) async fn lock(
        &self,
        cx: &DmlContext,
        target: &Scan,
        strength: Strength,
        batch: Vec<Found>,
    ) -> Result<Vec<Found>, SqlError> {
        let keys: Vec<base::Key> = batch.iter().map(|found| found.key.clone()).collect();
        let locked = cx.txn.lock_as_found(&keys, strength).await?;
        let mut kept = Vec::with_capacity(batch.len());
        for (mut found, (locked, newer)) in batch.into_iter().zip(locked) {
            let Some(value) = locked.value else { continue };
            if newer {
                let row = target.table.codec().decode(&found.key, &value);
                found.row = row.map_err(|e| codec_error(&e, &target.table))?;
                if !self.holds(cx, &mut found)? {
                    continue;
                }
            }
            found.extra.truncate(self.extra.len());
            kept.push(found);
        }
        Ok(kept)
    }

    fn holds(&self, cx: &DmlContext, found: &mut Found) -> Result<bool, SqlError> {
        let others = &found.extra[self.extra.len()..];
        let slots: Vec<Datum> = found.row.iter().chain(others).cloned().collect();
        let eval = |scalar: &Scalar| ir::eval(scalar, &cx.env, &slots, &cx.params);
        if let Some(filter) = &self.filter
            && eval(filter)? != Datum::Bool(true)
        {
            return Ok(false);
        }
        let extra: Result<Vec<Datum>, SqlError> = self.extra.iter().map(eval).collect();
        found.extra.splice(..self.extra.len(), extra?);
        Ok(true)
    }
}

/// Locks rows at the levels whose snapshot moves, or that fail; those that are gone drop out.
pub(super) async fn lock_in_snapshot(
    cx: &DmlContext,
    strength: Strength,
    batch: Vec<Found>,
) -> Result<Vec<Found>, SqlError> {
    let keys: Vec<base::Key> = batch.iter().map(|found| found.key.clone()).collect();
    let locked = cx.txn.lock(&keys, strength, WaitPolicy::Block).await?;
    Ok(batch.into_iter().zip(locked).filter(|(_, l)| l.value.is_some()).map(|(f, _)| f).collect())
}
