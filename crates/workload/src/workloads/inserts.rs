//! Rows that are inserted once and never change: long fork, causal reverse, set.
//!
//! The checker's keys are 0, 1, 2 …; neighbours lie in different ranges of the table:
//!
//! ```text
//!   key n      row (n % SLOTS) * SLOT + n / SLOTS
//! ```
//!
//! A group is a few neighbours, read by one statement.

use std::sync::atomic::{AtomicI64, Ordering};

use checker::invariants::{forks, growing};
use checker::{Action, History, HistoryError, Key, Row as ScanRow, Scan, Value};
use rand::Rng;
use rand::rngs::StdRng;

use super::{Findings, Shared, Workload, cycles, linger, number};
use crate::session::{Ended, Open, Row, Session};

const SLOTS: i64 = 4;
const SLOT: i64 = 1_000_000;

pub(crate) struct Inserts {
    shared: Shared,
    workload: Workload,
    table: &'static str,
    /// Keys that are read together.
    group: i64,
    next: AtomicI64,
}

fn row_of(key: i64) -> i64 {
    key % SLOTS * SLOT + key / SLOTS
}

fn key_of(row: i64) -> Key {
    Key(row % SLOT * SLOTS + row / SLOT)
}

impl Inserts {
    pub(crate) fn new(shared: Shared, workload: Workload) -> Self {
        let (table, group) = match workload {
            Workload::LongFork => ("check_forks", SLOTS),
            Workload::CausalReverse => ("check_causes", 8 * SLOTS),
            _ => ("check_set", 64 * SLOTS),
        };
        Inserts { shared, workload, table, group, next: AtomicI64::new(0) }
    }

    pub(crate) fn schema(&self) -> Vec<String> {
        let table = self.table;
        let splits: Vec<String> = (1..SLOTS).map(|slot| format!("({})", slot * SLOT)).collect();
        vec![
            format!("DROP TABLE IF EXISTS {table}"),
            format!("CREATE TABLE {table} (k bigint PRIMARY KEY, v bigint NOT NULL)"),
            format!("ALTER TABLE {table} SPLIT AT VALUES {}", splits.join(", ")),
        ]
    }

    pub(crate) async fn step(&self, session: &mut Session, rng: &mut StdRng) -> Result<(), Ended> {
        let level = self.shared.level;
        match rng.random_range(0..100) {
            0..55 => {
                let key = self.next.fetch_add(1, Ordering::Relaxed);
                let sql = format!("INSERT INTO {} VALUES ({}, 1)", self.table, row_of(key));
                session.alone(level, &sql, Some(Action::Write(Key(key), 1)), |_| vec![]).await
            }
            55..65 => {
                let mut txn = session.begin(level).await?;
                for _ in 0..2 {
                    let key = self.next.fetch_add(1, Ordering::Relaxed);
                    let sql = format!("INSERT INTO {} VALUES ({}, 1)", self.table, row_of(key));
                    txn.send(&sql, Action::Write(Key(key), 1)).await?;
                }
                if rng.random_ratio(1, 10) { txn.roll_back().await } else { txn.commit().await }
            }
            65..92 => {
                let from = self.group(rng);
                let sql = self.select(from);
                let saw = |rows: &[Row]| vec![self.scanned(from, rows)];
                session.alone(level, &sql, None, saw).await
            }
            _ => {
                let age = self.shared.age(rng);
                let from = self.group(rng);
                let mut txn = session.snapshot(age).await?;
                for _ in 0..3 {
                    self.scan(&mut txn, from).await?;
                    linger(rng).await;
                }
                txn.commit().await
            }
        }
    }

    /// The group that is being filled, or the one before.
    fn group(&self, rng: &mut StdRng) -> i64 {
        let newest = self.next.load(Ordering::Relaxed) / self.group;
        (newest - i64::from(newest > 0 && rng.random_ratio(1, 3))) * self.group
    }

    fn select(&self, from: i64) -> String {
        let per_slot = self.group / SLOTS;
        let spans: Vec<String> = (0..SLOTS)
            .map(|slot| {
                let first = slot * SLOT + from / SLOTS;
                format!("k >= {first} AND k < {}", first + per_slot)
            })
            .collect();
        format!("SELECT k, v FROM {} WHERE {}", self.table, spans.join(" OR "))
    }

    async fn scan(&self, txn: &mut Open<'_>, from: i64) -> Result<(), Ended> {
        let sql = self.select(from);
        let rows = txn.rows(&sql).await?;
        txn.saw(self.scanned(from, &rows), &sql);
        Ok(())
    }

    fn scanned(&self, from: i64, rows: &[Row]) -> Action {
        let mut rows: Vec<ScanRow> = rows
            .iter()
            .map(|row| ScanRow(key_of(number(row, 0)), Value::Number(number(row, 1))))
            .collect();
        rows.sort_by_key(|row| row.0);
        Action::Scan(Scan { from: Key(from), to: Key(from + self.group), rows })
    }

    pub(crate) async fn last(&self, session: &mut Session) -> Result<(), Ended> {
        let mut txn = session.snapshot(None).await?;
        for group in 0..=self.next.load(Ordering::Relaxed) / self.group {
            self.scan(&mut txn, group * self.group).await?;
        }
        txn.commit().await
    }

    pub(crate) fn verdict(&self, history: &History) -> Result<Findings, HistoryError> {
        let own = match self.workload {
            Workload::LongFork => {
                Findings::of("snapshots are comparable", forks::long_forks(history))
            }
            Workload::CausalReverse => {
                Findings::of("no effect without its cause", forks::causal_reverses(history))
            }
            _ => Findings::of("nothing lost, made up or gone", growing::check(history)),
        };
        Ok(own.and(cycles(history)?))
    }
}
