//! Replicated locks: placed by prewrite, gone when their transaction is settled.
//!
//! ```text
//!   form u8 | flags u8
//!   | txn | start ts | min commit ts | ttl ms | coordinator | incarnation     varints
//!   | primary | value | count and secondaries                                 length first
//! ```

use base::{Key, KeyRange, NodeId, Timestamp, TxnId};
use bytes::Bytes;

use super::encoding::{encode_user_key, encoded_span, malformed_key, user_key};
use crate::{EngineError, EngineRead, Family, IterOptions, WriteBatch, varint};

const FORM: u8 = 1;
const KIND_BITS: u8 = 0b011;
const PARALLEL: u8 = 0b100;

/// What the transaction will do to the key if it commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Set it to the lock's value.
    Put,
    /// Delete it.
    Delete,
    /// Nothing: the key is only kept from others.
    LockOnly,
}

/// A replicated lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Whose it is.
    pub txn: TxnId,
    /// The age of the transaction.
    pub start_ts: Timestamp,
    /// The key whose range decides.
    pub primary: Key,
    /// What becomes of the key.
    pub kind: LockKind,
    /// The value to be, empty unless `kind` is put.
    pub value: Bytes,
    /// How long the coordinator may be silent.
    pub ttl_ms: u64,
    /// The transaction commits here or above.
    pub min_commit_ts: Timestamp,
    /// Part of a parallel commit: `min_commit_ts` must not be pushed.
    pub parallel: bool,
    /// On the primary of a parallel commit, all other keys.
    pub secondaries: Vec<Key>,
    /// The node that coordinates.
    pub coordinator: NodeId,
    /// Which life of that node's process.
    pub incarnation: u64,
}

impl Lock {
    /// Whether a snapshot read at `ts` must wait for the outcome.
    #[must_use]
    pub fn blocks_read_at(&self, ts: Timestamp) -> bool {
        self.kind != LockKind::LockOnly && self.min_commit_ts <= ts
    }

    fn encode(&self) -> Vec<u8> {
        let secondaries: usize = self.secondaries.iter().map(|key| key.0.len() + 5).sum();
        let len = 72 + self.primary.0.len() + self.value.len() + secondaries;
        let mut out = Vec::with_capacity(len);
        let kind = match self.kind {
            LockKind::Put => 0,
            LockKind::Delete => 1,
            LockKind::LockOnly => 2,
        };
        out.extend_from_slice(&[FORM, kind | if self.parallel { PARALLEL } else { 0 }]);
        let numbers = [
            self.txn.0,
            self.start_ts.0,
            self.min_commit_ts.0,
            self.ttl_ms,
            self.coordinator.0,
            self.incarnation,
        ];
        for number in numbers {
            varint::put_u64(&mut out, number);
        }
        varint::put_bytes(&mut out, self.primary.as_bytes());
        varint::put_bytes(&mut out, &self.value);
        varint::put_u64(&mut out, self.secondaries.len() as u64);
        for key in &self.secondaries {
            varint::put_bytes(&mut out, key.as_bytes());
        }
        out
    }

    fn decode(stored: &Bytes) -> Result<Self, &'static str> {
        let mut rest: &[u8] = stored;
        let (head, tail) = rest.split_first_chunk::<2>().ok_or("lock cut short")?;
        rest = tail;
        let [form, flags] = *head;
        if form != FORM {
            return Err("unknown form of lock");
        }
        let kind = match flags & KIND_BITS {
            0 => LockKind::Put,
            1 => LockKind::Delete,
            2 => LockKind::LockOnly,
            _ => return Err("unknown kind of lock"),
        };
        let mut numbers = [0; 6];
        for number in &mut numbers {
            *number = varint::take_u64(&mut rest)?;
        }
        let [txn, start_ts, min_commit_ts, ttl_ms, coordinator, incarnation] = numbers;
        let mut part = || varint::take_bytes(&mut rest).map(|part| stored.slice_ref(part));
        let (primary, value) = (Key(part()?), part()?);
        let count = varint::take_u64(&mut rest)?;
        let mut secondaries = Vec::new();
        for _ in 0..count {
            let key = varint::take_bytes(&mut rest)?;
            secondaries.push(Key(stored.slice_ref(key)));
        }
        if !rest.is_empty() {
            return Err("bytes after a lock");
        }
        Ok(Lock {
            txn: TxnId(txn),
            start_ts: Timestamp(start_ts),
            primary,
            kind,
            value,
            ttl_ms,
            min_commit_ts: Timestamp(min_commit_ts),
            parallel: flags & PARALLEL != 0,
            secondaries,
            coordinator: NodeId(coordinator),
            incarnation,
        })
    }
}

/// The lock of a key.
pub fn get_lock(engine: &dyn EngineRead, key: &[u8]) -> Result<Option<Lock>, EngineError> {
    let encoded = encode_user_key(key);
    let stored = engine.get(Family::Lock, &encoded)?;
    stored.map(|stored| decode(&encoded, &stored)).transpose()
}

/// Places or replaces the lock of a key. The caller vouches that no other transaction holds it
/// (V2).
pub fn put_lock(batch: &mut WriteBatch, key: &[u8], lock: &Lock) {
    batch.put(Family::Lock, &encode_user_key(key), &lock.encode());
}

/// Removes the lock of a key.
pub fn delete_lock(batch: &mut WriteBatch, key: &[u8]) {
    batch.delete(Family::Lock, &encode_user_key(key));
}

/// The locks of a span that `wanted` accepts, at most `max` (zero for no limit), in key order.
pub fn locks_in_span(
    engine: &dyn EngineRead,
    span: &KeyRange,
    max: usize,
    wanted: impl Fn(&Lock) -> bool,
) -> Result<Vec<(Key, Lock)>, EngineError> {
    let mut locks = Vec::new();
    if span.is_empty() {
        return Ok(locks);
    }
    let mut iter = engine.iter(Family::Lock, &encoded_span(span), IterOptions::default())?;
    let mut found = iter.seek_to_first()?;
    while found {
        let lock = decode(iter.key(), &iter.value().to_bytes(0))?;
        if wanted(&lock) {
            locks.push((user_key(Family::Lock, iter.key())?, lock));
            if locks.len() == max {
                break;
            }
        }
        found = iter.next()?;
    }
    Ok(locks)
}

fn decode(encoded_key: &[u8], stored: &Bytes) -> Result<Lock, EngineError> {
    Lock::decode(stored).map_err(|why| malformed_key(Family::Lock, encoded_key, why))
}
