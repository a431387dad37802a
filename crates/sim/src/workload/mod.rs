//! What clients do, and what must be true of it.
//!
//! A client lives outside of all nodes. For each transaction it connects to some node, which runs it to
//! its end; when the node dies, nobody knows what has become of the transaction. The invariants are
//! checked on what clients saw.

pub mod bank;
pub mod mixed;
pub mod plan;
mod snapshots;

use std::sync::Arc;

use base::{Key, keyspace};
use kv::{Db, Isolation, KvError, Remedy, Strength, Txn, TxnOptions, WaitPolicy};

use crate::{Network, World};

/// The table that workloads use.
const TABLE: u32 = 100;

/// A row of the workloads' table.
#[must_use]
pub fn row(number: u64) -> Key {
    let mut key = keyspace::index_prefix(TABLE, 1).0.to_vec();
    key.extend_from_slice(&number.to_be_bytes());
    Key(key.into())
}

/// The number of a row.
#[must_use]
pub fn number(key: &Key) -> u64 {
    let bytes = key.as_bytes();
    let tail = bytes.last_chunk::<8>().expect("a row of ours");
    u64::from_be_bytes(*tail)
}

/// A number as a value.
#[must_use]
pub fn value(number: u64) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&number.to_be_bytes())
}

/// A value as a number.
#[must_use]
pub fn value_of(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// How a transaction ended, as its client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told that it is committed.
    Committed,
    /// It was told that nothing has happened.
    Failed,
    /// It was not told.
    Unknown,
}

/// What the body of a transaction is: run again from its start when the error's remedy says so.
pub trait Body: Send + Sync + 'static {
    /// What it finds out.
    type Found: Send + 'static;

    /// Runs the statements.
    fn run(&self, txn: Arc<Txn>) -> impl Future<Output = Result<Self::Found, KvError>> + Send;
}

/// Times that a transaction is run again.
const ATTEMPTS: usize = 5;

/// Runs a transaction on a node, as a session would: statements, commit, and again while that helps.
pub async fn transact<B: Body>(
    db: Db,
    options: TxnOptions,
    body: Arc<B>,
) -> (Ended, Option<B::Found>) {
    let txn = db.begin(options);
    for _ in 0..ATTEMPTS {
        let error = match body.run(Arc::clone(&txn)).await {
            Ok(found) => match txn.commit().await {
                Ok(_) => return (Ended::Committed, Some(found)),
                Err(error) if error.remedy() == Remedy::ReportUnknown => {
                    return (Ended::Unknown, Some(found));
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        match error.remedy() {
            Remedy::RerunStatement | Remedy::RestartTransaction => txn.restart(),
            Remedy::Report => break,
            Remedy::ReportUnknown => return (Ended::Unknown, None),
        }
    }
    txn.rollback().await;
    (Ended::Failed, None)
}

/// Meets every lock that is left on the rows, so that it is settled: takes them all, and lets go.
pub fn sweep(world: &mut World, rows: u64) -> bool {
    world.set_network(Network::CALM);
    let client = world.client();
    let swept = world.block_on(60_000_000, async move {
        client.until_done(0, move |db| Box::pin(sweep_once(db, rows))).await;
    });
    swept.is_some() && world.run_until(10_000_000, |world| world.locks() == (0, 0))
}

async fn sweep_once(db: Db, rows: u64) -> Result<(), KvError> {
    let options = TxnOptions { isolation: Isolation::ReadCommitted, ..TxnOptions::default() };
    let txn = db.begin(options);
    txn.begin_statement().await?;
    let keys: Vec<Key> = (0..rows).map(row).collect();
    for keys in keys.chunks(256) {
        txn.lock(keys, Strength::Update, WaitPolicy::Block).await?;
    }
    txn.rollback().await;
    Ok(())
}

/// A name for a level in messages.
#[must_use]
pub fn name_of(level: Isolation) -> &'static str {
    match level {
        Isolation::Serializable => "serializable",
        Isolation::RepeatableRead => "repeatable read",
        Isolation::ReadCommitted => "read committed",
    }
}
