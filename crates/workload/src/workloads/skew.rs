//! Withdrawals that are covered by the sum of an account's entries. The sum is in no row: two withdrawals
//! that do not see each other's entry write nothing in common, and only SERIALIZABLE keeps them apart.

use std::sync::atomic::{AtomicI64, Ordering};

use checker::invariants::sums::{self, Total};
use checker::{Action, History, HistoryError, Key, Level, Row as ScanRow, Scan, Value};
use rand::Rng;
use rand::rngs::StdRng;

use super::{Findings, Shared, cycles, linger, number};
use crate::session::{Ended, Open, Row, Session};

/// Ids of an account's entries: account * ENTRIES and up.
const ENTRIES: i64 = 1_000_000;
/// An account is left for a new one after this many entries.
const ENTRIES_MAX: i64 = 25;
/// Accounts in use at a time.
const ACCOUNTS: i64 = 4;

pub(crate) struct Skew {
    shared: Shared,
    entries: AtomicI64,
}

impl Skew {
    pub(crate) fn new(shared: Shared) -> Self {
        Skew { shared, entries: AtomicI64::new(0) }
    }

    pub(crate) fn schema(&self) -> Vec<String> {
        vec![
            "DROP TABLE IF EXISTS check_entries".to_owned(),
            "CREATE TABLE check_entries (id bigint PRIMARY KEY, account bigint NOT NULL, \
             amount bigint NOT NULL)"
                .to_owned(),
            "CREATE INDEX check_entries_account ON check_entries (account)".to_owned(),
            format!("ALTER TABLE check_entries SPLIT AT VALUES ({ENTRIES}), ({})", 2 * ENTRIES),
        ]
    }

    fn account(&self, rng: &mut StdRng) -> i64 {
        let round = self.entries.load(Ordering::Relaxed) / (ENTRIES_MAX * ACCOUNTS);
        round * ACCOUNTS + rng.random_range(0..ACCOUNTS)
    }

    pub(crate) async fn step(&self, session: &mut Session, rng: &mut StdRng) -> Result<(), Ended> {
        if rng.random_ratio(1, 10) {
            return self.long_snapshot(session, rng).await;
        }
        let account = self.account(rng);
        if rng.random_ratio(1, 5) {
            let sql = select(account);
            let saw = |rows: &[Row]| vec![scanned(account, rows)];
            return session.alone(self.shared.level, &sql, None, saw).await;
        }
        let mut txn = session.begin(self.shared.level).await?;
        let sum = scan(&mut txn, account).await?;
        let id = account * ENTRIES + self.entries.fetch_add(1, Ordering::Relaxed);
        let amount = if sum >= 10 { -rng.random_range(1..=sum) } else { rng.random_range(1..20) };
        let sql = format!("INSERT INTO check_entries VALUES ({id}, {account}, {amount})");
        txn.send(&sql, Action::Write(Key(id), amount)).await?;
        txn.commit().await
    }

    async fn long_snapshot(&self, session: &mut Session, rng: &mut StdRng) -> Result<(), Ended> {
        let age = self.shared.age(rng);
        let account = self.account(rng);
        let mut txn = session.snapshot(age).await?;
        for other in [0, 1, 0] {
            scan(&mut txn, account ^ other).await?;
            linger(rng).await;
        }
        txn.commit().await
    }

    pub(crate) async fn last(&self, session: &mut Session) -> Result<(), Ended> {
        let round = self.entries.load(Ordering::Relaxed) / (ENTRIES_MAX * ACCOUNTS);
        let mut txn = session.snapshot(None).await?;
        for account in 0..(round + 1) * ACCOUNTS {
            scan(&mut txn, account).await?;
        }
        txn.commit().await
    }

    pub(crate) fn verdict(&self, history: &History) -> Result<Findings, HistoryError> {
        let graph = cycles(history)?;
        if self.shared.level < Level::Serializable {
            return Ok(graph);
        }
        Ok(Findings::of("no sum below zero", sums::check(history, Total::AtLeast(0))).and(graph))
    }
}

fn select(account: i64) -> String {
    format!("SELECT id, amount FROM check_entries WHERE account = {account} ORDER BY id")
}

async fn scan(txn: &mut Open<'_>, account: i64) -> Result<i64, Ended> {
    let sql = select(account);
    let rows = txn.rows(&sql).await?;
    txn.saw(scanned(account, &rows), &sql);
    Ok(rows.iter().map(|row| number(row, 1)).sum())
}

fn scanned(account: i64, rows: &[Row]) -> Action {
    let (from, to) = (Key(account * ENTRIES), Key((account + 1) * ENTRIES));
    let rows = rows.iter().map(|row| ScanRow(Key(number(row, 0)), Value::Number(number(row, 1))));
    Action::Scan(Scan { from, to, rows: rows.collect() })
}
