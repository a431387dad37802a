//! Inserting rows of values.

use pgtypes::Datum;

use super::{Insert, Outcome, PointContext, return_row};
use crate::SqlError;
use crate::dml::{Event, Names, Writes};
use crate::session::api::Sink;

/// Rows handed to the transaction at a time.
const BATCH_ROWS: usize = 1_024;

impl Insert {
    pub(super) async fn run(
        &self,
        cx: &PointContext<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, SqlError> {
        let start = base::keyspace::index_prefix(self.table.id, self.table.primary.id);
        if !cx.defer_version_check(&start) {
            if !cx.check_version().await? {
                return Ok(Outcome::Stale);
            }
            return self.insert(cx, sink).await;
        }
        let mark = cx.txn.savepoint();
        let result = self.insert(cx, sink).await;
        // What went wrong may be due to a plan that is out of date.
        if result.is_err() && !cx.check_version().await? {
            cx.txn.rollback_to(mark);
            return Ok(Outcome::Stale);
        }
        result
    }

    async fn insert(
        &self,
        cx: &PointContext<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, SqlError> {
        let names = Names { catalog: cx.catalog, env: cx.env };
        let mut next_id = if self.table.has_hidden_row_id() {
            Some(row_ids(cx.db, self.rows.len() as u64).await?)
        } else {
            None
        };
        if let Some(returning) = &self.returning {
            sink.columns(&returning.columns)?;
        }
        let sequences = cx.sequence_calls();
        if self.asks_sequences {
            sequences.reserve(self.rows.iter().flatten()).await?;
        }
        let mut events = Vec::new();
        for batch in self.rows.chunks(BATCH_ROWS) {
            let mut writes = Writes::default();
            for scalars in batch {
                let mut row: Vec<Datum> = Vec::with_capacity(scalars.len());
                for scalar in scalars {
                    row.push(match self.asks_sequences {
                        true => sequences.eval(scalar, cx.env, &[], cx.params).await?,
                        false => cx.value(scalar)?,
                    });
                }
                self.rules.complete(&mut row, cx.env)?;
                let key = writes.insert(&self.table, &row, next_id)?;
                next_id = next_id.map(|id| id + 1);
                if let Some(returning) = &self.returning {
                    return_row(returning, cx, &row, sink)?;
                }
                if self.rules.has_references() {
                    events.push(Event {
                        table: self.table.clone(),
                        key,
                        old: None,
                        new: Some(row),
                    });
                }
            }
            writes.apply(cx.txn, !cx.lone, &names).await?;
        }
        if !events.is_empty() {
            cx.follow(events).await?;
        }
        Ok(Outcome::Done(self.rows.len() as u64))
    }
}

/// The first of `count` ids for rows without a primary key.
pub(crate) async fn row_ids(db: &kv::Db, count: u64) -> Result<u64, SqlError> {
    Ok(db.allocate_ids(kv::IdKind::Row, count).await?)
}
