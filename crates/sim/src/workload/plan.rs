//! Transactions as lists of statements, run as an interactive session would, and what the client saw
//! of them in the format of the checker.
//!
//! A statement that must run again is run again; a transaction that must be run again is, as old as it
//! was. Only its last run is recorded: of the earlier ones the client was told that nothing happened,
//! and if something did, the values written twice show it.

use std::sync::Arc;

use base::{KeyRange, Timestamp};
use bytes::Bytes;
use checker::{Action, Key, Level, Op, Outcome, Row, Scan, Snapshot, Value};
use kv::{
    Db, IdKind, Isolation, KvError, Remedy, ScanOptions, SpanLock, Strength, Txn, TxnOptions,
    WaitPolicy,
};
use parking_lot::Mutex;

use super::row;
use crate::{Client, Micros};

/// A statement.
#[derive(Debug, Clone)]
pub enum Statement {
    /// Adds to a list.
    Append {
        /// The list.
        key: u64,
        /// What is added.
        value: i64,
        /// Locks the row and reads it by that; else it is read from the snapshot.
        locks: bool,
    },
    /// Reads a list.
    List(u64),
    /// Sets a register, without looking at it.
    Write {
        /// The register.
        key: u64,
        /// To what.
        value: i64,
        /// Locks the row first.
        locks: bool,
    },
    /// Reads a register.
    Read(u64),
    /// Reads all rows of a span.
    Scan {
        /// The first row.
        from: u64,
        /// The first row behind it.
        to: u64,
    },
    /// Reads all rows of a span; if their sum is at least `floor`, sets a register.
    WriteIf {
        /// The first row.
        from: u64,
        /// The first row behind it.
        to: u64,
        /// What the sum must be.
        floor: i64,
        /// The register.
        key: u64,
        /// To what.
        value: i64,
    },
    /// Takes an id.
    TakeId(IdKind),
    /// The client thinks.
    Rest(Micros),
}

/// A transaction to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its level.
    pub level: Isolation,
    /// A read-only one, of now or of then: the snapshot, and an instant before it was drawn.
    pub snapshot: Option<Option<(Timestamp, Micros)>>,
    /// What it does.
    pub statements: Vec<Statement>,
}

/// How a run of a plan ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// What the client was told.
    pub outcome: Outcome,
    /// At which timestamp it is committed.
    pub commit_ts: Option<u64>,
    /// The first snapshot that it read; of a read-only one, the only one.
    pub read_ts: Timestamp,
}

/// What a transaction has done so far: read by the client if its node dies.
pub type Seen = Arc<Mutex<Vec<Op>>>;

/// Times that a transaction, and a statement, is run again.
const ATTEMPTS: usize = 4;

impl Plan {
    /// The level as the checker knows it.
    #[must_use]
    pub fn checked_level(&self) -> Level {
        match self.level {
            Isolation::Serializable => Level::Serializable,
            Isolation::RepeatableRead => Level::RepeatableRead,
            Isolation::ReadCommitted => Level::ReadCommitted,
        }
    }

    /// The snapshot as the checker knows it.
    #[must_use]
    pub fn checked_snapshot(&self) -> Option<Snapshot> {
        let snapshot = self.snapshot?;
        Some(snapshot.map_or(Snapshot::Now, |(_, since)| Snapshot::AsOf(Some(since))))
    }

    /// Runs it on a node.
    pub async fn run(self, db: Db, client: Client, seen: Seen) -> Ran {
        let options = TxnOptions {
            isolation: self.level,
            read_only: self.snapshot.is_some(),
            as_of: self.snapshot.flatten().map(|(ts, _)| ts),
            ..TxnOptions::default()
        };
        let txn = db.begin(options);
        let mut read_ts = Timestamp::ZERO;
        for _ in 0..ATTEMPTS {
            seen.lock().clear();
            read_ts = Timestamp::ZERO;
            let error = match self.attempt(&db, &txn, &client, &seen, &mut read_ts).await {
                Ok(()) => match txn.commit().await {
                    Ok(ts) => {
                        let commit_ts = ts.map(|ts| ts.0);
                        return Ran { outcome: Outcome::Ok, commit_ts, read_ts };
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            client.say(|| format!("{:?}: {error}", txn.id()));
            match error.remedy() {
                Remedy::RerunStatement | Remedy::RestartTransaction => txn.restart(),
                Remedy::Report => break,
                Remedy::ReportUnknown => {
                    return Ran { outcome: Outcome::Unknown, commit_ts: None, read_ts };
                }
            }
        }
        txn.rollback().await;
        Ran { outcome: Outcome::Failed, commit_ts: None, read_ts }
    }

    async fn attempt(
        &self,
        db: &Db,
        txn: &Txn,
        client: &Client,
        seen: &Seen,
        read_ts: &mut Timestamp,
    ) -> Result<(), KvError> {
        for statement in &self.statements {
            if let Statement::Rest(micros) = statement {
                client.sleep(*micros).await;
                continue;
            }
            let mut tries = 0;
            loop {
                let ts = txn.begin_statement().await?;
                if *read_ts == Timestamp::ZERO {
                    *read_ts = ts;
                }
                let (mark, before) = (txn.savepoint(), seen.lock().len());
                match execute(statement, db, txn, seen).await {
                    Err(KvError::Restatement) if tries < ATTEMPTS => {
                        txn.rollback_to(mark);
                        seen.lock().truncate(before);
                        tries += 1;
                    }
                    done => break done?,
                }
            }
            txn.results_returned();
        }
        Ok(())
    }
}

async fn execute(statement: &Statement, db: &Db, txn: &Txn, seen: &Seen) -> Result<(), KvError> {
    let note = |action: Action| seen.lock().push(action.into());
    match *statement {
        Statement::Append { key, value, locks } => {
            let old = if locks {
                let keys = [row(key)];
                let mut rows = txn.lock(&keys, Strength::Update, WaitPolicy::Block).await?;
                rows.pop().and_then(|row| row.value)
            } else {
                txn.get(&row(key)).await?
            };
            let mut list = old.map_or_else(Vec::new, |old| list_of(&old));
            list.push(value);
            note(Action::Append(checked(key), value));
            txn.put(row(key), list_value(&list))?;
        }
        Statement::List(key) => {
            let list = txn.get(&row(key)).await?.map_or_else(Vec::new, |list| list_of(&list));
            note(Action::List(checked(key), list));
        }
        Statement::Write { key, value, locks } => {
            if locks {
                txn.lock(&[row(key)], Strength::Update, WaitPolicy::Block).await?;
            }
            note(Action::Write(checked(key), value));
            txn.put(row(key), number_value(value))?;
        }
        Statement::Read(key) => {
            let found = txn.get(&row(key)).await?.map(|number| number_of(&number));
            note(Action::Read(checked(key), found));
        }
        Statement::Scan { from, to } => {
            let scan = scan(txn, from, to).await?;
            note(Action::Scan(scan));
        }
        Statement::WriteIf { from, to, floor, key, value } => {
            let scan = scan(txn, from, to).await?;
            let sum: i64 = scan.numbers().map(|(_, number)| number).sum();
            note(Action::Scan(scan));
            if sum >= floor {
                note(Action::Write(checked(key), value));
                txn.put(row(key), number_value(value))?;
            }
        }
        Statement::TakeId(kind) => {
            let id = db.allocate_ids(kind, 1).await?;
            note(Action::Read(Key(kind as i64), Some(id as i64)));
        }
        Statement::Rest(_) => unreachable!("the client's, not the transaction's"),
    }
    Ok(())
}

async fn scan(txn: &Txn, from: u64, to: u64) -> Result<Scan, KvError> {
    let mut rows = Vec::new();
    // At SERIALIZABLE every other one keeps others from inserting, which is to change nothing but who waits.
    let locks = txn.id().is_some_and(|id| id.0 % 2 == 0);
    let lock = SpanLock { strength: Strength::Update, wait: WaitPolicy::Block };
    let options = ScanOptions { lock: locks.then_some(lock), ..ScanOptions::default() };
    let mut left = Some(KeyRange { start: row(from), end: row(to) });
    while let Some(span) = left {
        let page = txn.scan(span, options).await?;
        rows.extend(page.rows.iter().map(|(key, value)| {
            let value = match value.first() {
                Some(&LIST) => Value::List(list_of(value)),
                _ => Value::Number(number_of(value)),
            };
            Row(checked(super::number(key)), value)
        }));
        left = page.resume;
    }
    Ok(Scan { from: checked(from), to: checked(to), rows })
}

/// The checker's name of a row.
#[must_use]
pub fn checked(key: u64) -> Key {
    Key(i64::try_from(key).expect("small"))
}

const LIST: u8 = b'L';
const NUMBER: u8 = b'N';

fn list_value(list: &[i64]) -> Bytes {
    let mut bytes = vec![LIST];
    list.iter().for_each(|value| bytes.extend_from_slice(&value.to_be_bytes()));
    bytes.into()
}

fn list_of(bytes: &[u8]) -> Vec<i64> {
    let values = bytes.get(1..).unwrap_or_default().chunks_exact(8);
    values.map(|value| i64::from_be_bytes(value.try_into().expect("eight bytes"))).collect()
}

pub(crate) fn number_value(number: i64) -> Bytes {
    let mut bytes = vec![NUMBER];
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.into()
}

fn number_of(bytes: &[u8]) -> i64 {
    bytes.get(1..).and_then(|number| number.try_into().ok()).map_or(0, i64::from_be_bytes)
}
