//! Changing and deleting one row by key.

use base::Key;
use kv::{Strength, WaitPolicy};
use pgtypes::Datum;

use super::{Delete, Outcome, PointContext, Probe, Returning, Update, return_row};
use crate::SqlError;
use crate::dml::{Event, Names, Writes, codec_error, update_strength};
use crate::ir;
use crate::session::api::Sink;

/// The row of a probe, locked.
enum Target {
    Stale,
    Missing,
    Row(Key, Vec<Datum>),
}

impl Probe {
    async fn lock_row(
        &self,
        cx: &PointContext<'_>,
        strength: Strength,
    ) -> Result<Target, SqlError> {
        let Some(probe) = self.key(cx)? else {
            return Ok(if cx.check_version().await? { Target::Missing } else { Target::Stale });
        };
        let key = if self.is_primary {
            probe
        } else {
            if !cx.check_version().await? {
                return Ok(Target::Stale);
            }
            match self.row_key(cx, probe).await? {
                Some(key) => key,
                None => return Ok(Target::Missing),
            }
        };
        // Side by side: the version may be at another leader.
        let lock = cx.txn.lock(std::slice::from_ref(&key), strength, WaitPolicy::Block);
        let mut locked = if self.is_primary {
            let (current, locked) = futures::future::join(cx.check_version(), lock).await;
            if !current? {
                return Ok(Target::Stale);
            }
            locked?
        } else {
            lock.await?
        };
        let Some(value) = locked.pop().expect("one key, one answer").value else {
            return Ok(Target::Missing);
        };
        let row =
            self.table.codec().decode(&key, &value).map_err(|e| codec_error(&e, &self.table))?;
        if !cx.holds(self.residual.as_ref(), &row)? {
            return Ok(Target::Missing);
        }
        Ok(Target::Row(key, row))
    }
}

fn columns(returning: Option<&Returning>, sink: &mut dyn Sink) -> Result<(), SqlError> {
    match returning {
        Some(returning) => sink.columns(&returning.columns),
        None => Ok(()),
    }
}

impl Update {
    pub(super) async fn run(
        &self,
        cx: &PointContext<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, SqlError> {
        let assigned = self.assignments.iter().map(|(column, _)| *column);
        let strength = update_strength(&self.probe.table, assigned);
        let (key, old) = match self.probe.lock_row(cx, strength).await? {
            Target::Stale => return Ok(Outcome::Stale),
            Target::Missing => {
                columns(self.returning.as_ref(), sink)?;
                return Ok(Outcome::Done(0));
            }
            Target::Row(key, row) => (key, row),
        };
        let mut new = old.clone();
        for (position, value) in &self.assignments {
            new[*position] = ir::eval(value, cx.env, &old, cx.params)?;
        }
        let table = &self.probe.table;
        self.rules.complete(&mut new, cx.env)?;
        let mut writes = Writes::default();
        let key = writes.update(table, key, &old, &new)?;
        writes.apply(cx.txn, !cx.lone, &Names { catalog: cx.catalog, env: cx.env }).await?;
        if self.follows {
            let (old, new) = (Some(old), Some(new.clone()));
            cx.follow(vec![Event { table: table.clone(), key, old, new }]).await?;
        }
        columns(self.returning.as_ref(), sink)?;
        if let Some(returning) = &self.returning {
            return_row(returning, cx, &new, sink)?;
        }
        Ok(Outcome::Done(1))
    }
}

impl Delete {
    pub(super) async fn run(
        &self,
        cx: &PointContext<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, SqlError> {
        let (key, row) = match self.probe.lock_row(cx, Strength::Update).await? {
            Target::Stale => return Ok(Outcome::Stale),
            Target::Missing => {
                columns(self.returning.as_ref(), sink)?;
                return Ok(Outcome::Done(0));
            }
            Target::Row(key, row) => (key, row),
        };
        let mut writes = Writes::default();
        let table = &self.probe.table;
        writes.delete(table, key.clone(), &row)?;
        writes.apply(cx.txn, false, &Names { catalog: cx.catalog, env: cx.env }).await?;
        if self.follows {
            let old = Some(row.clone());
            cx.follow(vec![Event { table: table.clone(), key, old, new: None }]).await?;
        }
        columns(self.returning.as_ref(), sink)?;
        if let Some(returning) = &self.returning {
            return_row(returning, cx, &row, sink)?;
        }
        Ok(Outcome::Done(1))
    }
}
