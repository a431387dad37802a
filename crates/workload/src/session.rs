//! One client: a connection, and transactions over it that are recorded as they go.
//!
//! ```text
//!   Session::begin ─▶ Open ─┬─ rows(sql), send(sql, action), saw(action) …
//!                           ├─ commit            Ok, Failed or Unknown (W1)
//!                           └─ dropped half-way  Failed: COMMIT was never sent
//! ```
//!
//! Every second client speaks the extended protocol, because prepared statements take other paths through
//! the server than simple ones do.

use std::sync::Arc;
use std::time::Duration;

use checker::{Action, Level, Op, Outcome, Snapshot, Txn};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::connect::Connector;
use crate::recorder::Recorder;
use crate::timeline::Timeline;

/// How long a statement may take before its client gives up and connects elsewhere.
const STATEMENT_PATIENCE: Duration = Duration::from_secs(8);
/// How long a connection may take to come up.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// The transaction is over, and recorded. The connection is good for another one if it says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended;

/// A row as text.
pub(crate) type Row = Vec<Option<String>>;

/// A client's connection.
pub(crate) struct Session {
    client: Client,
    recorder: Arc<Recorder>,
    timeline: Timeline,
    process: u32,
    node: usize,
    extended: bool,
    /// A statement was given up: what it did is not known, and what the connection would say neither.
    broken: bool,
}

/// Whether an error says that the transaction has not committed.
fn rolled_back(code: &str) -> bool {
    // Serialization failure, deadlock, unique violation, transaction aborted, lock not available: each is
    // raised before anything is decided. Others might be raised by whoever lost the answer.
    matches!(code, "40001" | "40P01" | "23505" | "25P02" | "55P03")
}

fn code_of(error: &tokio_postgres::Error) -> String {
    match error.code() {
        Some(code) => code.code().to_owned(),
        None => "connection".to_owned(),
    }
}

impl Session {
    pub(crate) async fn connect(
        (connector, url): (&Connector, &str),
        (process, node): (u32, usize),
        recorder: Arc<Recorder>,
        timeline: Timeline,
    ) -> Option<Session> {
        let connecting = connector.connect(url);
        let client = tokio::time::timeout(CONNECT_PATIENCE, connecting).await.ok()?.ok()?;
        let extended = process % 2 == 1;
        Some(Session { client, recorder, timeline, process, node, extended, broken: false })
    }

    /// Whether another transaction can be begun.
    pub(crate) fn usable(&self) -> bool {
        !self.broken && !self.client.is_closed()
    }

    /// Begins a transaction of statements that follow.
    pub(crate) async fn begin(&mut self, level: Level) -> Result<Open<'_>, Ended> {
        self.open(level, None, &format!("BEGIN ISOLATION LEVEL {level}")).await
    }

    /// Begins a read-only transaction of one snapshot, which is as old as that, but not from before the run:
    /// there were tables without rows then.
    pub(crate) async fn snapshot(&mut self, age: Option<Duration>) -> Result<Open<'_>, Ended> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        match age {
            None => self.open(Level::RepeatableRead, Some(Snapshot::Now), begin).await,
            // How the server's clock stands to ours is not known, so nothing is said of its age.
            Some(age) => {
                let age =
                    age.min(self.recorder.elapsed()).max(Duration::from_millis(1)).as_secs_f64();
                let begin = format!("{begin} AS OF SYSTEM TIME '-{age:.3}s'");
                self.open(Level::RepeatableRead, Some(Snapshot::AsOf(None)), &begin).await
            }
        }
    }

    async fn open(
        &mut self,
        level: Level,
        snapshot: Option<Snapshot>,
        begin: &str,
    ) -> Result<Open<'_>, Ended> {
        let txn = self.recorder.begin(self.process, level, snapshot);
        let mut open = Open { session: self, txn: Some(txn), explicit: true };
        open.rows(begin).await?;
        Ok(open)
    }

    /// A single statement that is a transaction of its own: nothing, or all that `Open::commit` would do.
    /// `saw` makes operations of its rows.
    pub(crate) async fn alone(
        &mut self,
        level: Level,
        sql: &str,
        writes: Option<Action>,
        saw: impl FnOnce(&[Row]) -> Vec<Action>,
    ) -> Result<(), Ended> {
        let mut txn = self.recorder.begin(self.process, level, None);
        let op = |action| Op { action, sql: Some(sql.to_owned()) };
        txn.ops.extend(writes.map(op));
        let (txn, rows) = {
            let mut open = Open { session: self, txn: Some(txn), explicit: false };
            let rows = open.rows(sql).await?;
            (open.txn.take(), rows)
        };
        let mut txn = txn.expect("a statement that succeeds ends nothing");
        txn.ops.extend(saw(&rows).into_iter().map(op));
        self.recorder.end(txn, Outcome::Ok, self.node);
        Ok(())
    }

    /// Runs a statement and answers its rows as text; `Err` holds the SQLSTATE, or none.
    pub(crate) async fn ask(&mut self, sql: &str) -> Result<Vec<Row>, Option<String>> {
        let asking = async {
            if self.extended && !sql.starts_with("BEGIN") {
                self.prepared(sql).await
            } else {
                self.simple(sql).await
            }
        };
        match tokio::time::timeout(STATEMENT_PATIENCE, asking).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => {
                let code = code_of(&error);
                let text =
                    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
                self.timeline.error(&code, &format!("{text} ({sql})"));
                Err(error.code().map(|code| code.code().to_owned()))
            }
            Err(_) => {
                self.broken = true;
                self.timeline
                    .error("timeout", &format!("no answer in {STATEMENT_PATIENCE:?} ({sql})"));
                Err(None)
            }
        }
    }

    async fn simple(&self, sql: &str) -> Result<Vec<Row>, tokio_postgres::Error> {
        let messages = self.client.simple_query(sql).await?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|n| row.get(n).map(ToOwned::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    async fn prepared(&self, sql: &str) -> Result<Vec<Row>, tokio_postgres::Error> {
        let rows = self.client.query(sql, &[]).await?;
        let text = |row: &tokio_postgres::Row, n: usize| -> Option<String> {
            match *row.columns()[n].type_() {
                Type::INT8 => row.get::<_, Option<i64>>(n).map(|v| v.to_string()),
                Type::INT4 => row.get::<_, Option<i32>>(n).map(|v| v.to_string()),
                _ => row.get::<_, Option<String>>(n),
            }
        };
        Ok(rows.iter().map(|row| (0..row.len()).map(|n| text(row, n)).collect()).collect())
    }
}

/// A transaction under way.
pub(crate) struct Open<'s> {
    session: &'s mut Session,
    txn: Option<Txn>,
    /// BEGIN was sent, so nothing is decided before COMMIT is.
    explicit: bool,
}

impl Open<'_> {
    /// Runs a statement; whatever goes wrong ends the transaction.
    pub(crate) async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, Ended> {
        match self.session.ask(sql).await {
            Ok(rows) => Ok(rows),
            Err(code) => {
                let certain = self.explicit || code.as_deref().is_some_and(rolled_back);
                self.end(if certain { Outcome::Failed } else { Outcome::Unknown });
                if self.explicit && self.session.usable() {
                    // Its answer changes nothing: a connection that cannot say ROLLBACK is closed.
                    self.session.broken |= self.session.ask("ROLLBACK").await.is_err();
                }
                Err(Ended)
            }
        }
    }

    /// Runs a statement that writes, and records what it writes before it is sent.
    pub(crate) async fn send(&mut self, sql: &str, action: Action) -> Result<Vec<Row>, Ended> {
        self.saw(action, sql);
        self.rows(sql).await
    }

    /// Records what an answer showed.
    pub(crate) fn saw(&mut self, action: Action, sql: &str) {
        let txn = self.txn.as_mut().expect("the transaction is open");
        txn.ops.push(Op { action, sql: Some(sql.to_owned()) });
    }

    /// Commits.
    pub(crate) async fn commit(mut self) -> Result<(), Ended> {
        match self.session.ask("COMMIT").await {
            Ok(_) => {
                self.end(Outcome::Ok);
                Ok(())
            }
            Err(code) => {
                let certain = code.as_deref().is_some_and(rolled_back);
                self.end(if certain { Outcome::Failed } else { Outcome::Unknown });
                Err(Ended)
            }
        }
    }

    /// Rolls back because the client wants to.
    pub(crate) async fn roll_back(mut self) -> Result<(), Ended> {
        self.end(Outcome::Failed);
        self.session.broken |= self.session.ask("ROLLBACK").await.is_err();
        Ok(())
    }

    /// Whether it may write and lock rows.
    pub(crate) fn writable(&self) -> bool {
        self.txn.as_ref().is_some_and(|txn| txn.snapshot.is_none())
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(txn) = self.txn.take() {
            self.session.recorder.end(txn, outcome, self.session.node);
        }
    }
}

impl Drop for Open<'_> {
    /// Given up half-way, by a bug or a cancelled task: the connection must not be used again.
    fn drop(&mut self) {
        if self.txn.is_some() {
            self.session.broken = true;
            self.end(if self.explicit { Outcome::Failed } else { Outcome::Unknown });
        }
    }
}
