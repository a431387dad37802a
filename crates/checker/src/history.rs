//! What clients did and saw: the record that every check starts from.
//!
//! A history is a sequence of transactions, each with the instants at which its client began it and
//! learnt its outcome. Instants are numbers of the recorder's own clock, of whatever unit; only their
//! order counts, and all recorders of one history share that clock.
//!
//! ```text
//!   {"id":7,"process":2,"invoked":10,"completed":25,"outcome":"ok","level":"serializable",
//!    "ops":[{"append":[5,3]},{"list":[5,[1,2,3]]},{"write":[1,7]},{"read":[1,null]},
//!           {"scan":{"from":0,"to":10,"rows":[[1,7]]}}]}
//! ```
//!
//! # Invariants
//!
//! - **H1** A read stands here only when its answer arrived; a write as soon as it was sent.
//! - **H2** Operations are in the order in which the client issued them, one after another.
//! - **H3** Values are unique per key among all appends and writes, also of failed transactions. (Not so
//!   for histories that only [`crate::invariants`] look at.)
//! - **H4** `Failed` means that the client was told so, and not merely that it gave up.

use std::fmt;
use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

/// One row, list or register of the database under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub i64);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.0)
    }
}

/// What became of a transaction, as its client knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Committed, acknowledged.
    Ok,
    /// Rolled back for certain: by the client, or by an error that says so.
    Failed,
    /// The answer to COMMIT, or the connection, was lost.
    Unknown,
}

/// The isolation level that a transaction asked for; the later, the stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Each statement has a snapshot that holds all that was acknowledged before it.
    ReadCommitted,
    /// One snapshot, which holds all that was acknowledged before; the first committer wins.
    RepeatableRead,
    /// Strict: as if each transaction ran alone at one instant between its begin and its end.
    Serializable,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::ReadCommitted => "READ COMMITTED",
            Level::RepeatableRead => "REPEATABLE READ",
            Level::Serializable => "SERIALIZABLE",
        })
    }
}

/// A read-only transaction of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Snapshot {
    /// Taken when the transaction began.
    Now,
    /// Of the past (`AS OF SYSTEM TIME`). What was acknowledged before this instant of the recorder's
    /// clock must be in it; `None`: nothing is known of how old it is.
    AsOf(Option<u64>),
}

/// What a scan found under a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A register, or any number.
    Number(i64),
    /// A list of appended values.
    List(Vec<i64>),
}

/// A row of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row(pub Key, pub Value);

/// A predicate read: all rows with `from <= key < to`, in the order of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// The first key that counts.
    pub from: Key,
    /// The first key that counts no more.
    pub to: Key,
    /// What was found.
    pub rows: Vec<Row>,
}

impl Scan {
    /// The number under each key, lists left out.
    pub fn numbers(&self) -> impl Iterator<Item = (Key, i64)> + '_ {
        self.rows.iter().filter_map(|Row(key, value)| match value {
            Value::Number(number) => Some((*key, *number)),
            Value::List(_) => None,
        })
    }
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Adds a value to the end of a list; a missing list is an empty one.
    Append(Key, i64),
    /// Reads a whole list.
    List(Key, Vec<i64>),
    /// Sets a register.
    Write(Key, i64),
    /// Reads a register; `None`: it is not there.
    Read(Key, Option<i64>),
    /// Reads all rows of a span in one statement.
    Scan(Scan),
}

/// An operation, with the statement that carried it when the recorder kept it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// What was done and seen.
    #[serde(flatten)]
    pub action: Action,
    /// As sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
}

impl From<Action> for Op {
    fn from(action: Action) -> Self {
        Op { action, sql: None }
    }
}

/// One transaction as its client saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// A name for people, unique in the history: `T7`.
    pub id: u64,
    /// The client. It has one transaction at a time.
    pub process: u32,
    /// When the client sent its first statement, or a little before.
    pub invoked: u64,
    /// When the client learnt the outcome, or a little later.
    pub completed: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// What it asked for.
    pub level: Level,
    /// Set for read-only transactions of one snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// The commit timestamp, where the database tells it. Believed only when asked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_ts: Option<u64>,
    /// What it did.
    pub ops: Vec<Op>,
}

impl Txn {
    /// When it was acknowledged; `None` for all that never was.
    #[must_use]
    pub fn acknowledged(&self) -> Option<u64> {
        (self.outcome == Outcome::Ok).then_some(self.completed)
    }

    /// What was acknowledged before this instant must be visible to it. `None`: it reads a past of
    /// unknown age.
    #[must_use]
    pub fn sees_since(&self) -> Option<u64> {
        match self.snapshot {
            Some(Snapshot::AsOf(at)) => at,
            Some(Snapshot::Now) | None => Some(self.invoked),
        }
    }

    /// The scans that it made.
    pub fn scans(&self) -> impl Iterator<Item = &Scan> {
        self.ops.iter().filter_map(|op| match &op.action {
            Action::Scan(scan) => Some(scan),
            Action::Append(..) | Action::List(..) | Action::Write(..) | Action::Read(..) => None,
        })
    }
}

/// Why a history says nothing.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// H3 is broken by whoever made the workload.
    #[error("T{first} and T{second} both write {value} to {key}; values must be unique per key")]
    NotUnique {
        /// A writer of the value.
        first: u64,
        /// Another.
        second: u64,
        /// The key.
        key: Key,
        /// The value.
        value: i64,
    },
    /// A key is used as a list and as a register.
    #[error("T{txn} uses {key} as a list and others as a register, or the other way round")]
    TwoKinds {
        /// Who.
        txn: u64,
        /// Which key.
        key: Key,
    },
    /// A line is no transaction.
    #[error("line {line} is no transaction")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The lines cannot be read or written.
    #[error("history file")]
    File(#[from] std::io::Error),
}

/// Transactions, in no particular order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// All of them, the failed ones too.
    pub txns: Vec<Txn>,
}

impl History {
    /// Writes one JSON object per transaction and line.
    pub fn write_lines(&self, mut to: impl Write) -> Result<(), HistoryError> {
        for txn in &self.txns {
            serde_json::to_writer(&mut to, txn).map_err(std::io::Error::from)?;
            to.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Reads what [`Self::write_lines`] wrote; empty lines are skipped.
    pub fn read_lines(from: impl BufRead) -> Result<Self, HistoryError> {
        let mut txns = Vec::new();
        for (n, line) in from.lines().enumerate() {
            let line = line?;
            if !line.trim().is_empty() {
                let txn = serde_json::from_str(&line)
                    .map_err(|source| HistoryError::Line { line: n + 1, source })?;
                txns.push(txn);
            }
        }
        Ok(History { txns })
    }

    /// How many transactions ended so.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.txns.iter().filter(|txn| txn.outcome == outcome).count()
    }
}
