//! The rows of advisory locks: how they are named, read and written, and whose they are.

use std::time::Duration;

use base::{Key, KeyRange, NodeId, TxnId, keyspace};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use proto::kv;
use proto::kv::Strength;
use proto::kv::inspect::What;

use super::AdvisoryLocks;
use crate::db::Db;
use crate::error::{KvError, Remedy};
use crate::runtime::detach;
use crate::txn::{ScanOptions, Txn, TxnOptions};

/// How long a holder's node may take to say whether it still holds.
const REASSERT_WITHIN: Duration = Duration::from_secs(1);
/// Runs of one small transaction before its conflict is reported.
const ATTEMPTS: usize = 50;

/// Names an advisory lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdvisoryKey {
    /// By one bigint.
    One(u32, i64),
    /// By two integers.
    Two(u32, i32, i32),
}

/// A holder, as its row tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    row: Key,
    txn: TxnId,
    exclusive: bool,
    node: NodeId,
    incarnation: u64,
}

impl AdvisoryKey {
    /// Where the lock is in the key space. Its rows are behind.
    #[must_use]
    pub fn to_key(self) -> Key {
        let mut key = BytesMut::with_capacity(14);
        key.put_u8(keyspace::ADVISORY);
        match self {
            AdvisoryKey::One(database, number) => {
                key.put_u32(database);
                key.put_u8(1);
                key.put_i64(number);
            }
            AdvisoryKey::Two(database, a, b) => {
                key.put_u32(database);
                key.put_u8(2);
                key.put_i32(a);
                key.put_i32(b);
            }
        }
        Key(key.freeze())
    }

    /// Which lock a key of the key space is, if it is one.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<AdvisoryKey> {
        let mut rest = key;
        if key.len() != 14 || rest.get_u8() != keyspace::ADVISORY {
            return None;
        }
        let database = rest.get_u32();
        match rest.get_u8() {
            1 => Some(AdvisoryKey::One(database, rest.get_i64())),
            2 => Some(AdvisoryKey::Two(database, rest.get_i32(), rest.get_i32())),
            _ => None,
        }
    }

    /// The database it is of.
    #[must_use]
    pub fn database(self) -> u32 {
        match self {
            AdvisoryKey::One(database, _) | AdvisoryKey::Two(database, ..) => database,
        }
    }

    fn row(self, holder: TxnId) -> Key {
        let mut key = BytesMut::from(self.to_key().as_bytes());
        key.put_u64(holder.0);
        Key(key.freeze())
    }
}

impl Holder {
    fn read(row: &Key, value: &[u8]) -> Option<Holder> {
        let txn = row.as_bytes().get(14..22)?.try_into().ok()?;
        let mut rest = value;
        (value.len() == 17).then(|| Holder {
            row: row.clone(),
            txn: TxnId(u64::from_be_bytes(txn)),
            exclusive: rest.get_u8() != 0,
            node: NodeId(rest.get_u64()),
            incarnation: rest.get_u64(),
        })
    }
}

impl Holder {
    pub(super) fn is_in_the_way(
        &self,
        key: AdvisoryKey,
        wish: Strength,
        waited: Duration,
    ) -> KvError {
        KvError::LockNotAvailable {
            key: key.to_key(),
            holder: self.txn,
            wish,
            held: if self.exclusive { Strength::Update } else { Strength::Share },
            waited,
            timed_out: true,
        }
    }
}

impl AdvisoryLocks {
    /// Whether a holder still is one; it then is on its way into the lock table. Else its row goes.
    pub(super) async fn is_alive(
        &self,
        key: AdvisoryKey,
        holder: &Holder,
    ) -> Result<bool, KvError> {
        let inspect =
            kv::Inspect { what: What::Reassert as i32, txn_id: holder.txn.0, key: key.to_key().0 };
        let alive = match self.db.ask(holder.node, inspect, REASSERT_WITHIN).await {
            Some(answer) => answer.held && answer.incarnation == holder.incarnation,
            None => !self.db.is_gone(holder.node).await,
        };
        if !alive {
            self.write(key, holder.txn, None).await?;
        }
        Ok(alive)
    }

    /// Writes the row, unless others are in the way, who are returned.
    pub(super) async fn claim(
        &self,
        key: AdvisoryKey,
        own: TxnId,
        exclusive: bool,
    ) -> Result<Vec<Holder>, KvError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let txn = self.db.begin(TxnOptions::default());
            let tried = async {
                txn.begin_statement().await?;
                let holders = holders(&txn, key).await?;
                let excludes = |h: &Holder| h.txn != own && (exclusive || h.exclusive);
                let in_the_way: Vec<Holder> = holders.into_iter().filter(excludes).collect();
                if in_the_way.is_empty() {
                    txn.put(key.row(own), self.value(exclusive))?;
                    txn.commit().await?;
                }
                Ok(in_the_way)
            };
            match tried.await {
                Err(error) if is_transient(&error) && attempt < ATTEMPTS => {}
                done => return done,
            }
        }
    }

    /// Writes or deletes a row, whoever is in the way.
    pub(super) async fn write(
        &self,
        key: AdvisoryKey,
        holder: TxnId,
        exclusive: Option<bool>,
    ) -> Result<(), KvError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let txn = self.db.begin(TxnOptions::default());
            let tried = async {
                txn.begin_statement().await?;
                match exclusive {
                    Some(exclusive) => txn.put(key.row(holder), self.value(exclusive))?,
                    None => txn.delete(key.row(holder))?,
                }
                txn.commit().await.map(drop)
            };
            match tried.await {
                Err(error) if is_transient(&error) && attempt < ATTEMPTS => {}
                done => return done,
            }
        }
    }

    fn value(&self, exclusive: bool) -> Bytes {
        let (node, incarnation) = self.db.shared.router.transport.local_node();
        let mut value = BytesMut::with_capacity(17);
        value.put_u8(u8::from(exclusive));
        value.put_u64(node.0);
        value.put_u64(incarnation);
        value.freeze()
    }
}

fn is_transient(error: &KvError) -> bool {
    matches!(error.remedy(), Remedy::RerunStatement | Remedy::RestartTransaction)
}

async fn holders(txn: &Txn, key: AdvisoryKey) -> Result<Vec<Holder>, KvError> {
    let mut left: Option<KeyRange> = Some(key.to_key().prefix_range());
    let mut holders = Vec::new();
    while let Some(span) = left {
        let page = txn.scan(span, ScanOptions::default()).await?;
        holders.extend(page.rows.iter().filter_map(|(row, value)| Holder::read(row, value)));
        left = page.resume;
    }
    Ok(holders)
}

impl Db {
    /// A new leader asks whether a session here still has a lock. If so, it queues for it again, in the
    /// background: at the head, as old as it is.
    pub(crate) fn reassert(&self, txn: TxnId, key: &Key) -> bool {
        let Some(inner) = self.shared.registry.get(txn) else { return false };
        if !inner.is_session_lock() {
            return false;
        }
        // Without one it is between two modes, and takes its place by itself.
        let Some(strength) = inner.granted(key) else { return true };
        let key = key.clone();
        detach(&*self.shared.router.runtime, async move {
            // If it fails, who asked will ask again.
            drop(inner.lock_again(&key, strength).await);
        });
        true
    }

    /// The process that this is: its node, and a number that the node's next process has not.
    #[must_use]
    pub fn process(&self) -> (NodeId, u64) {
        self.shared.router.transport.local_node()
    }

    /// Whether a process has ended, and its sessions with it: another one of its node answers, or no node
    /// of the cluster hears of that one.
    pub async fn is_over(&self, process: (NodeId, u64)) -> bool {
        let (node, incarnation) = process;
        if node == self.process().0 {
            return process != self.process();
        }
        let inspect = kv::Inspect { what: What::Alive as i32, txn_id: node.0, key: Bytes::new() };
        match self.ask(node, inspect, REASSERT_WITHIN).await {
            Some(answer) => answer.incarnation != incarnation,
            None => self.is_gone(node).await,
        }
    }

    /// Whether no node of the cluster has heard of a node for so long that its transactions are over.
    pub(crate) async fn is_gone(&self, node: NodeId) -> bool {
        let transport = &self.shared.router.transport;
        if transport.hears_of(node) {
            return false;
        }
        let others = transport.nodes().into_iter().filter(|other| *other != node);
        let asked = others.map(|other| {
            let inspect =
                kv::Inspect { what: What::Alive as i32, txn_id: node.0, key: Bytes::new() };
            self.ask(other, inspect, REASSERT_WITHIN)
        });
        let answers = futures::future::join_all(asked).await;
        !answers.into_iter().flatten().any(|answer| answer.held)
    }
}
