//! Keeping statistics up to date: those of others are read when they have changed, and tables that this
//! node has written much to are looked at anew.

use std::sync::Arc;
use std::time::Duration;

use catalog::{CatalogSnapshot, Table, statistics};
use kv::TxnOptions;

use super::analyze;
use crate::SqlError;
use crate::session::{Engine, catalog_error};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A table is analyzed when so many rows were written, and this share of it. PostgreSQL begins with 50 rows;
/// plans of tables that small do not depend on statistics here.
const WRITTEN_MIN: u64 = 1_000;
const WRITTEN_SHARE: f64 = 0.1;

/// Keeps the statistics of a node.
#[derive(Debug)]
pub struct Keeper {
    engine: Arc<Engine>,
}

impl Keeper {
    /// Of a node's SQL layer.
    #[must_use]
    pub fn new(engine: Arc<Engine>) -> Self {
        Keeper { engine }
    }

    /// Looks for as long as it is polled.
    pub async fn run(self) {
        loop {
            self.engine.db().sleep(LOOK_EVERY).await;
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "statistics are left as they are");
            }
        }
    }

    /// Learns what is new, and collects what is due.
    pub async fn look(&self) -> Result<(), SqlError> {
        let (engine, db) = (&self.engine, self.engine.db());
        let txn = db.begin(TxnOptions { read_only: true, ..TxnOptions::default() });
        txn.begin_statement().await?;
        let version = statistics::version(&txn).await?;
        let catalog = engine.catalog.snapshot(&txn).await.map_err(catalog_error)?;
        if *engine.statistics.version.lock() != version {
            for (id, known) in statistics::list(&txn).await? {
                match catalog.table_by_id(id) {
                    Some(table) => engine.statistics.adopt(table, known),
                    None => self.forget(id).await?,
                }
            }
            *engine.statistics.version.lock() = version;
        }
        drop(txn);
        for table in due(&engine.statistics, &catalog) {
            analyze(engine, &table, true).await?;
        }
        Ok(())
    }

    async fn forget(&self, table: catalog::TableId) -> Result<(), SqlError> {
        let txn = self.engine.db().begin(TxnOptions::default());
        let stamp = txn.begin_statement().await?;
        statistics::forget(&txn, table, stamp)?;
        txn.commit().await?;
        Ok(())
    }
}

/// Tables of which this node has written more than their statistics bear.
fn due(statistics: &super::Statistics, catalog: &CatalogSnapshot) -> Vec<Arc<Table>> {
    let is_due = |table: &Table, written: u64| {
        let rows = statistics.of(table.id).map_or(0.0, |known| known.rows());
        written >= WRITTEN_MIN && written as f64 >= WRITTEN_SHARE * rows
    };
    let all = statistics.all_written(catalog).into_iter();
    all.filter(|(table, written)| is_due(table, *written)).map(|(table, _)| table).collect()
}

impl super::Statistics {
    /// Takes in what another node has found out; what this one has written since stays counted.
    fn adopt(&self, table: &Table, known: statistics::TableStatistics) {
        if self.of(table.id).is_none_or(|own| own.known != known) {
            self.keep(table.id, super::TableEstimates::new(table, known));
        }
    }
}
