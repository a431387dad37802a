//! Columns are added with a default while rows are inserted and read: old rows have the default, and no
//! row ever shows NULL or the value of another column.
//!
//! The first client alone changes the table. Column `cN` has the default N, so the checker is told the
//! difference of each value from its column's number, which must be 0.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use checker::invariants::{growing, values};
use checker::{Action, History, Key, Row as ScanRow, Scan, Value};
use rand::Rng;
use rand::rngs::StdRng;

use super::{Findings, Shared, number};
use crate::run::PROCESSES;
use crate::session::{Ended, Row, Session};

/// Columns that exist at a time, besides the key.
const COLUMNS: i64 = 4;
/// Rows that a scan reads, from the newest down.
const WINDOW: i64 = 200;
/// Between two changes of the table.
const PAUSE: Duration = Duration::from_millis(700);

pub(crate) struct Defaults {
    shared: Shared,
    next: AtomicI64,
    /// The newest column that is there for certain.
    column: AtomicI64,
}

impl Defaults {
    pub(crate) fn new(shared: Shared) -> Self {
        Defaults { shared, next: AtomicI64::new(0), column: AtomicI64::new(0) }
    }

    pub(crate) fn schema(&self) -> Vec<String> {
        vec![
            "DROP TABLE IF EXISTS check_defaults".to_owned(),
            "CREATE TABLE check_defaults (k bigint PRIMARY KEY, c0 bigint NOT NULL DEFAULT 0)"
                .to_owned(),
        ]
    }

    pub(crate) async fn step(
        &self,
        session: &mut Session,
        rng: &mut StdRng,
        process: u32,
    ) -> Result<(), Ended> {
        let column = self.column.load(Ordering::SeqCst);
        if process.is_multiple_of(PROCESSES) {
            return self.alter(session, column + 1).await;
        }
        let level = self.shared.level;
        if rng.random_ratio(1, 2) {
            let key = self.next.fetch_add(1, Ordering::SeqCst);
            let sql = if rng.random_ratio(1, 2) {
                format!("INSERT INTO check_defaults (k) VALUES ({key})")
            } else {
                format!("INSERT INTO check_defaults (k, c{column}) VALUES ({key}, {column})")
            };
            return session.alone(level, &sql, Some(Action::Write(Key(key), 0)), |_| vec![]).await;
        }
        self.read(session, column).await
    }

    async fn read(&self, session: &mut Session, column: i64) -> Result<(), Ended> {
        let to = self.next.load(Ordering::SeqCst) + 1;
        let from = (to - WINDOW).max(0);
        let sql = format!(
            "SELECT k, c{column} FROM check_defaults WHERE k >= {from} AND k < {to} ORDER BY k"
        );
        let saw = |rows: &[Row]| {
            let row = |row: &Row| {
                ScanRow(Key(number(row, 0)), Value::Number(number(row, 1).wrapping_sub(column)))
            };
            let rows = rows.iter().map(row).collect();
            vec![Action::Scan(Scan { from: Key(from), to: Key(to), rows })]
        };
        session.alone(self.shared.level, &sql, None, saw).await
    }

    async fn alter(&self, session: &mut Session, column: i64) -> Result<(), Ended> {
        tokio::time::sleep(PAUSE).await;
        // An ALTER whose answer was lost may have been carried out; then this one is refused, and the next
        // one goes on behind it.
        let add = format!(
            "ALTER TABLE check_defaults ADD COLUMN c{column} bigint NOT NULL DEFAULT {column}"
        );
        let added = match session.ask(&add).await {
            Ok(_) => true,
            // Duplicate column: an earlier attempt.
            Err(code) => code.as_deref() == Some("42701"),
        };
        if added {
            self.column.store(column, Ordering::SeqCst);
            if column >= COLUMNS {
                let old = column - COLUMNS;
                let drop_old = format!("ALTER TABLE check_defaults DROP COLUMN IF EXISTS c{old}");
                // If it fails the column stays, which nobody minds.
                drop(session.ask(&drop_old).await);
            }
        }
        Ok(())
    }

    pub(crate) async fn last(&self, session: &mut Session) -> Result<(), Ended> {
        self.read(session, self.column.load(Ordering::SeqCst)).await
    }

    pub(crate) fn verdict(&self, history: &History) -> Findings {
        let wrong = values::outside(history, |difference| difference == 0);
        Findings::of("each value is its column's", wrong)
            .and(Findings::of("nothing lost, made up or gone", growing::check(history)))
    }
}
