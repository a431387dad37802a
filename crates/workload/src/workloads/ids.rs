//! Ids that must differ: from a row that everybody counts up, and from a SERIAL column.

use checker::invariants::values;
use checker::{Action, History, Key};
use rand::Rng;
use rand::rngs::StdRng;

use super::{Findings, Shared, number};
use crate::session::{Ended, Row, Session};

/// Ids of the counter row, and of the SERIAL column: two sorts, each unique for itself.
const COUNTER: Key = Key(0);
const SERIAL: Key = Key(1);

pub(crate) struct Ids {
    shared: Shared,
}

impl Ids {
    pub(crate) fn new(shared: Shared) -> Self {
        Ids { shared }
    }

    pub(crate) fn schema(&self) -> Vec<String> {
        vec![
            "DROP TABLE IF EXISTS check_counter".to_owned(),
            "DROP TABLE IF EXISTS check_serial".to_owned(),
            "CREATE TABLE check_counter (k bigint PRIMARY KEY, n bigint NOT NULL)".to_owned(),
            "INSERT INTO check_counter VALUES (0, 0)".to_owned(),
            "CREATE TABLE check_serial (id bigserial PRIMARY KEY, v bigint)".to_owned(),
        ]
    }

    pub(crate) async fn step(&self, session: &mut Session, rng: &mut StdRng) -> Result<(), Ended> {
        let level = self.shared.level;
        let (kind, sql) = if rng.random_ratio(1, 2) {
            (COUNTER, "UPDATE check_counter SET n = n + 1 WHERE k = 0 RETURNING n")
        } else {
            (SERIAL, "INSERT INTO check_serial (v) VALUES (1) RETURNING id")
        };
        let id = |rows: &[Row]| Action::Read(kind, rows.first().map(|row| number(row, 0)));
        if rng.random_ratio(2, 3) {
            return session.alone(level, sql, None, |rows| vec![id(rows)]).await;
        }
        let mut txn = session.begin(level).await?;
        let rows = txn.rows(sql).await?;
        txn.saw(id(&rows), sql);
        txn.commit().await
    }

    pub(crate) fn verdict(&self, history: &History) -> Findings {
        Findings::of("no id twice", values::duplicate_ids(history))
    }
}
