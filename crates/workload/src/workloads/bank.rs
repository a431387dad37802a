//! Transfers between accounts in several ranges. Money is moved, never made.

use checker::invariants::sums::{self, Total};
use checker::{Action, History, Key, Level, Row as ScanRow, Scan, Value};
use rand::Rng;
use rand::rngs::StdRng;

use super::{Findings, Shared, linger, number};
use crate::session::{Ended, Open, Row, Session};

const ACCOUNTS: i64 = 40;
const BALANCE: i64 = 100;
const ALL: &str = "SELECT id, balance FROM check_accounts ORDER BY id";

pub(crate) struct Bank {
    shared: Shared,
}

impl Bank {
    pub(crate) fn new(shared: Shared) -> Self {
        Bank { shared }
    }

    pub(crate) fn schema(&self) -> Vec<String> {
        let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {BALANCE})")).collect();
        vec![
            "DROP TABLE IF EXISTS check_accounts".to_owned(),
            "CREATE TABLE check_accounts (id bigint PRIMARY KEY, balance bigint NOT NULL)"
                .to_owned(),
            format!("INSERT INTO check_accounts VALUES {}", rows.join(", ")),
            "ALTER TABLE check_accounts SPLIT AT VALUES (10), (20), (30)".to_owned(),
        ]
    }

    pub(crate) async fn step(&self, session: &mut Session, rng: &mut StdRng) -> Result<(), Ended> {
        match rng.random_range(0..100) {
            0..8 => self.long_snapshot(session, rng).await,
            8..20 => session.alone(self.shared.level, ALL, None, |rows| vec![scanned(rows)]).await,
            20..30 => self.statement(session, rng).await,
            _ => self.transfer(session, rng).await,
        }
    }

    /// The accounts, from lower to higher or not, and the amount.
    fn pick(rng: &mut StdRng) -> (i64, i64, i64) {
        let from = rng.random_range(0..ACCOUNTS);
        let to = (from + rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        (from, to, rng.random_range(1..10))
    }

    /// Both accounts by one statement of its own.
    async fn statement(&self, session: &mut Session, rng: &mut StdRng) -> Result<(), Ended> {
        let (from, to, amount) = Self::pick(rng);
        let sql = format!(
            "UPDATE check_accounts SET balance = balance + \
             CASE WHEN id = {from} THEN -{amount} ELSE {amount} END WHERE id IN ({from}, {to})"
        );
        session
            .alone(self.shared.level, &sql, Some(Action::Write(Key(from), -amount)), |_| vec![])
            .await
    }

    async fn transfer(&self, session: &mut Session, rng: &mut StdRng) -> Result<(), Ended> {
        let (from, to, amount) = Self::pick(rng);
        let mut txn = session.begin(self.shared.level).await?;
        // What was read may be written back only where reads hold until the commit.
        if self.shared.level >= Level::RepeatableRead && rng.random_ratio(1, 2) {
            for (id, change) in [(from, -amount), (to, amount)] {
                let sql = format!("SELECT balance FROM check_accounts WHERE id = {id}");
                let rows = txn.rows(&sql).await?;
                let balance = rows.first().map_or(i64::MIN, |row| number(row, 0)) + change;
                let sql = format!("UPDATE check_accounts SET balance = {balance} WHERE id = {id}");
                txn.send(&sql, Action::Write(Key(id), balance)).await?;
            }
        } else {
            for (id, change) in [(from, -amount), (to, amount)] {
                let sql = format!(
                    "UPDATE check_accounts SET balance = balance + {change} WHERE id = {id}"
                );
                txn.send(&sql, Action::Write(Key(id), change)).await?;
            }
        }
        txn.commit().await
    }

    async fn long_snapshot(&self, session: &mut Session, rng: &mut StdRng) -> Result<(), Ended> {
        let age = self.shared.age(rng);
        let mut txn = session.snapshot(age).await?;
        for _ in 0..rng.random_range(2..=4) {
            all(&mut txn).await?;
            linger(rng).await;
        }
        txn.commit().await
    }

    pub(crate) async fn last(&self, session: &mut Session) -> Result<(), Ended> {
        let mut txn = session.snapshot(None).await?;
        all(&mut txn).await?;
        txn.commit().await
    }

    pub(crate) fn verdict(&self, history: &History) -> Findings {
        let total = sums::check(history, Total::Exactly(ACCOUNTS * BALANCE));
        Findings::of("the total of every snapshot", total)
    }
}

async fn all(txn: &mut Open<'_>) -> Result<(), Ended> {
    let rows = txn.rows(ALL).await?;
    txn.saw(scanned(&rows), ALL);
    Ok(())
}

fn scanned(rows: &[Row]) -> Action {
    let rows = rows.iter().map(|row| ScanRow(Key(number(row, 0)), Value::Number(number(row, 1))));
    Action::Scan(Scan { from: Key(0), to: Key(ACCOUNTS), rows: rows.collect() })
}
