//! Lists and registers: a few slots of keys, each in a range of its own; in each slot one key after the
//! other is written some dozens of times.
//!
//! ```text
//!   slot 0 │ 0 1 2 3 …          key = slot * SLOT + how many writes the slot has had / WRITES_PER_KEY
//!   slot 1 │ 1000000 1000001 …
//! ```

use std::sync::atomic::{AtomicI64, Ordering};

use checker::{Action, Key, Row as ScanRow, Scan, Value};
use rand::Rng;
use rand::rngs::StdRng;

use super::{Shared, linger, number};
use crate::session::{Ended, Open, Row, Session};

const SLOTS: i64 = 6;
const SLOT: i64 = 1_000_000;
const WRITES_PER_KEY: i64 = 60;

pub(crate) struct Items {
    shared: Shared,
    list: bool,
    writes: [AtomicI64; SLOTS as usize],
    values: AtomicI64,
}

impl Items {
    pub(crate) fn new(shared: Shared, list: bool) -> Self {
        Items { shared, list, writes: Default::default(), values: AtomicI64::new(1) }
    }

    fn table(&self) -> &'static str {
        if self.list { "check_lists" } else { "check_registers" }
    }

    pub(crate) fn schema(&self) -> Vec<String> {
        let table = self.table();
        let splits: Vec<String> = (1..SLOTS).map(|slot| format!("({})", slot * SLOT)).collect();
        let kind = if self.list { "text" } else { "bigint" };
        vec![
            format!("DROP TABLE IF EXISTS {table}"),
            format!("CREATE TABLE {table} (k bigint PRIMARY KEY, v {kind} NOT NULL)"),
            format!("ALTER TABLE {table} SPLIT AT VALUES {}", splits.join(", ")),
        ]
    }

    /// A key in use now, or a little while ago.
    fn key(&self, rng: &mut StdRng, write: bool) -> Key {
        let slot = rng.random_range(0..SLOTS);
        let writes = &self.writes[usize::try_from(slot).expect("in range")];
        let nth = if write {
            writes.fetch_add(1, Ordering::Relaxed)
        } else {
            writes.load(Ordering::Relaxed)
        };
        let newest = nth / WRITES_PER_KEY;
        let back = i64::from(newest > 0 && rng.random_ratio(1, 5));
        Key(slot * SLOT + newest - back)
    }

    fn write(&self, rng: &mut StdRng) -> (String, Action) {
        let (key, table) = (self.key(rng, true), self.table());
        let value = self.values.fetch_add(1, Ordering::Relaxed);
        let k = key.0;
        if self.list {
            let sql = format!(
                "INSERT INTO {table} VALUES ({k}, '{value}') \
                 ON CONFLICT (k) DO UPDATE SET v = {table}.v || ',{value}'"
            );
            (sql, Action::Append(key, value))
        } else {
            let sql = format!(
                "INSERT INTO {table} VALUES ({k}, {value}) \
                 ON CONFLICT (k) DO UPDATE SET v = excluded.v"
            );
            (sql, Action::Write(key, value))
        }
    }

    pub(crate) async fn step(&self, session: &mut Session, rng: &mut StdRng) -> Result<(), Ended> {
        match rng.random_range(0..100) {
            0..8 => self.long_snapshot(session, rng).await,
            8..16 => {
                let (sql, action) = self.write(rng);
                let Action::Append(key, _) = action else {
                    return session.alone(self.shared.level, &sql, Some(action), |_| vec![]).await;
                };
                let sql = format!("{sql} RETURNING v");
                let saw = |rows: &[Row]| vec![Action::List(key, list_of(rows.first(), 0))];
                session.alone(self.shared.level, &sql, Some(action), saw).await
            }
            16..22 => {
                let (sql, from, to) = self.span(rng);
                let saw = |rows: &[Row]| vec![self.scanned(from, to, rows)];
                session.alone(self.shared.level, &sql, None, saw).await
            }
            _ => self.transaction(session, rng).await,
        }
    }

    async fn transaction(&self, session: &mut Session, rng: &mut StdRng) -> Result<(), Ended> {
        let mut txn = session.begin(self.shared.level).await?;
        for _ in 0..rng.random_range(1..=5) {
            match rng.random_range(0..100) {
                0..45 => {
                    let (sql, action) = self.write(rng);
                    txn.send(&sql, action).await?;
                }
                45..90 => self.read(&mut txn, rng).await?,
                _ => self.scan(&mut txn, rng).await?,
            }
        }
        // Now and then somebody changes their mind: nobody must ever see it.
        if rng.random_ratio(1, 30) { txn.roll_back().await } else { txn.commit().await }
    }

    async fn long_snapshot(&self, session: &mut Session, rng: &mut StdRng) -> Result<(), Ended> {
        let age = self.shared.age(rng);
        let mut txn = session.snapshot(age).await?;
        for _ in 0..rng.random_range(2..=6) {
            if rng.random_ratio(1, 3) {
                self.scan(&mut txn, rng).await?;
            } else {
                self.read(&mut txn, rng).await?;
            }
            linger(rng).await;
        }
        txn.commit().await
    }

    async fn read(&self, txn: &mut Open<'_>, rng: &mut StdRng) -> Result<(), Ended> {
        let key = self.key(rng, false);
        let lock = txn.writable() && rng.random_ratio(1, 10);
        let lock = if lock { " FOR UPDATE" } else { "" };
        let sql = format!("SELECT v FROM {} WHERE k = {}{lock}", self.table(), key.0);
        let rows = txn.rows(&sql).await?;
        let action = if self.list {
            Action::List(key, list_of(rows.first(), 0))
        } else {
            Action::Read(key, rows.first().map(|row| number(row, 0)))
        };
        txn.saw(action, &sql);
        Ok(())
    }

    fn span(&self, rng: &mut StdRng) -> (String, Key, Key) {
        let from = self.key(rng, false);
        let to = Key(from.0 + rng.random_range(1..4));
        (self.select(from, to), from, to)
    }

    fn select(&self, from: Key, to: Key) -> String {
        let table = self.table();
        format!("SELECT k, v FROM {table} WHERE k >= {} AND k < {} ORDER BY k", from.0, to.0)
    }

    async fn scan(&self, txn: &mut Open<'_>, rng: &mut StdRng) -> Result<(), Ended> {
        let (sql, from, to) = self.span(rng);
        let rows = txn.rows(&sql).await?;
        txn.saw(self.scanned(from, to, &rows), &sql);
        Ok(())
    }

    fn scanned(&self, from: Key, to: Key, rows: &[Row]) -> Action {
        let value = |row: &Row| match self.list {
            true => Value::List(list_of(Some(row), 1)),
            false => Value::Number(number(row, 1)),
        };
        let rows = rows.iter().map(|row| ScanRow(Key(number(row, 0)), value(row))).collect();
        Action::Scan(Scan { from, to, rows })
    }

    /// Every slot, in one snapshot.
    pub(crate) async fn last(&self, session: &mut Session) -> Result<(), Ended> {
        let mut txn = session.snapshot(None).await?;
        for slot in 0..SLOTS {
            let (from, to) = (Key(slot * SLOT), Key((slot + 1) * SLOT));
            let sql = self.select(from, to);
            let rows = txn.rows(&sql).await?;
            txn.saw(self.scanned(from, to, &rows), &sql);
        }
        txn.commit().await
    }
}

/// A list as it is stored: values with commas between them.
fn list_of(row: Option<&Row>, column: usize) -> Vec<i64> {
    let text = row.and_then(|row| row.get(column).cloned().flatten()).unwrap_or_default();
    text.split(',').filter(|part| !part.is_empty()).map(|v| v.parse().unwrap_or(i64::MIN)).collect()
}
