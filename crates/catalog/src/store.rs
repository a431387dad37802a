//! Where descriptors are kept, and how a node caches them without ever serving a wrong one.
//!
//! ```text
//!   08 | v             -> version u64: raised by every transaction that changes a descriptor
//!   08 | d s r t e w a y | id  -> descriptor, JSON
//!   08 | q | id        -> where a sequence is ([`SequenceState`]); no descriptor, not transactional
//!   08 | x | span      -> a dropped span ([`crate::garbage`])
//!   08 | z | table     -> a temporary table ([`crate::temporary`])
//!   08 | n | table     -> what ANALYZE found ([`crate::statistics`])
//! ```
//!
//! # The rule
//!
//! A transaction uses the cached snapshot only after reading the version key *itself, at its own
//! snapshot* ([`Catalog::snapshot`]). The version is its premise ([`kv::Txn::rely_on`]): its commit
//! verifies, at every level, that there is no newer one, or that what has changed since does not
//! concern it ([`crate::succession`]). Otherwise it runs again, and nothing is ever written under a
//! schema that is gone. Who does without a judge has read a key like any other.
//!
//! Cost: one point get per transaction, sent together with the first row wanted. An insert wants no
//! row: if what it writes lies in the version key's range, its commit verifies there that the version
//! has not changed since this node saw it ([`Catalog::seen_at`]), which costs nothing.

use std::sync::Arc;

use base::{Key, KeyRange, Timestamp, keyspace};
use bytes::{BufMut, Bytes, BytesMut};
use kv::{ScanOptions, Strength, Txn, WaitPolicy};
use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::garbage::GARBAGE;
use crate::statistics::STATISTICS;
use crate::temporary::TEMPORARY;
use crate::{CatalogError, CatalogSnapshot, Change, PUBLIC_SCHEMA_ID};

const VERSION: u8 = b'v';
const DATABASE: u8 = b'd';
const SCHEMA: u8 = b's';
const ROLE: u8 = b'r';
const TABLE: u8 = b't';
const SEQUENCE: u8 = b'e';
const VIEW: u8 = b'w';
const DEFAULT_ACL: u8 = b'a';
const TYPE: u8 = b'y';
const SEQUENCE_VALUES: u8 = b'q';

/// Older snapshots kept.
const OLDER_MAX: usize = 8;

/// Rows of the catalog fetched at a time.
const PAGE_BYTES: u64 = 1 << 20;

/// The key whose value changes with every change of a descriptor.
#[must_use]
pub fn version_key() -> Key {
    const KEY: &[u8] = &[keyspace::CATALOG, VERSION];
    Key(Bytes::from_static(KEY))
}

/// The version that a value of the version key says.
pub fn decode_version(value: Option<&Bytes>) -> Result<u64, CatalogError> {
    let Some(value) = value else { return Ok(0) };
    let bytes: &[u8; 8] = value.as_ref().try_into().map_err(|_| CatalogError::Corrupt {
        key: version_key(),
        detail: format!("{} bytes where 8 belong", value.len()),
    })?;
    Ok(u64::from_be_bytes(*bytes))
}

/// Where a sequence's state is kept; `values` is [`crate::Sequence::values`].
#[must_use]
pub fn sequence_key(values: u32) -> Key {
    descriptor_key(SEQUENCE_VALUES, values)
}

/// How far a sequence has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceState {
    /// The last value given, or the one to be given first.
    pub last: i64,
    /// Whether `last` has been given.
    pub called: bool,
}

impl SequenceState {
    /// As it is stored: the value, and a byte that says whether it was given.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(9);
        out.put_i64(self.last);
        out.put_u8(u8::from(self.called));
        out.freeze()
    }

    /// What is stored; a value without the byte is the next one, as SERIAL columns once kept it.
    pub fn decode(values: u32, stored: &Bytes) -> Result<SequenceState, CatalogError> {
        let (last, called) = match stored.len() {
            8 | 9 => stored.split_at(8),
            len => {
                return Err(CatalogError::Corrupt {
                    key: sequence_key(values),
                    detail: format!("{len} bytes where 9 belong"),
                });
            }
        };
        let last = i64::from_be_bytes(last.try_into().expect("eight bytes"));
        Ok(SequenceState { last, called: called == [1] })
    }
}

fn descriptor_key(kind: u8, id: u32) -> Key {
    let mut key = BytesMut::with_capacity(6);
    key.put_slice(&[keyspace::CATALOG, kind]);
    key.put_u32(id);
    Key(key.freeze())
}

/// A node's cache of the catalog.
#[derive(Debug)]
pub struct Catalog {
    cached: RwLock<Arc<CatalogSnapshot>>,
    /// Some older ones, for those who read the past; the last used last.
    older: RwLock<Vec<Arc<CatalogSnapshot>>>,
    /// The newest version that a transaction has read, and the snapshot at which one first did.
    seen: RwLock<(u64, Timestamp)>,
}

impl Default for Catalog {
    fn default() -> Self {
        Catalog {
            cached: RwLock::new(Arc::new(CatalogSnapshot::bootstrap())),
            older: RwLock::default(),
            seen: RwLock::default(),
        }
    }
}

impl Catalog {
    /// The newest snapshot this node has seen. May be out of date: good for a plan that is checked
    /// against the version before it runs, and for nothing else.
    #[must_use]
    pub fn cached(&self) -> Arc<CatalogSnapshot> {
        self.cached.read().clone()
    }

    /// The snapshot that the transaction sees: from the cache if the version it reads is the cached
    /// one, from its own reads otherwise.
    pub async fn snapshot(&self, txn: &Txn) -> Result<Arc<CatalogSnapshot>, CatalogError> {
        let version = decode_version(txn.get(&version_key()).await?.as_ref())?;
        if self.seen.read().0 < version {
            let mut seen = self.seen.write();
            *seen = (*seen).max((version, txn.read_ts()));
        }
        self.at_version(txn, version).await
    }

    /// A timestamp at which the catalog had this version, if one is known: from there on, whoever uses
    /// the version may leave the check to the commit ([`Txn::relies_since`]).
    #[must_use]
    pub fn seen_at(&self, version: u64) -> Option<Timestamp> {
        let seen = *self.seen.read();
        (seen.0 == version && version > 0).then_some(seen.1)
    }

    /// The same, when the transaction has read the version already.
    pub async fn at_version(
        &self,
        txn: &Txn,
        version: u64,
    ) -> Result<Arc<CatalogSnapshot>, CatalogError> {
        let cached = self.cached();
        if cached.version() == version {
            return Ok(cached);
        }
        let kept = self.older.read().iter().find(|old| old.version() == version).cloned();
        if let Some(old) = kept {
            return Ok(old);
        }
        let loaded = Arc::new(load(txn, version).await?);
        self.publish(&loaded);
        // A transaction's own changes may make a version that never comes to be, or another one.
        if version < cached.version() && !txn.has_writes() {
            let mut older = self.older.write();
            if older.len() >= OLDER_MAX {
                older.remove(0);
            }
            older.push(loaded.clone());
        }
        Ok(loaded)
    }

    /// Keeps a snapshot that is committed, unless a newer one is kept already.
    pub fn publish(&self, snapshot: &Arc<CatalogSnapshot>) {
        let mut newest = self.cached.write();
        if newest.version() < snapshot.version() {
            *newest = snapshot.clone();
        }
    }
}

async fn load(txn: &Txn, version: u64) -> Result<CatalogSnapshot, CatalogError> {
    let mut snapshot = CatalogSnapshot::bootstrap();
    let mut changes = Vec::new();
    let mut span = Some(KeyRange::new(vec![keyspace::CATALOG], vec![keyspace::CATALOG + 1]));
    while let Some(rest) = span {
        // Whoever goes by a version of the catalog answers for that, not for each descriptor.
        let options =
            ScanOptions { max_bytes: PAGE_BYTES, unchecked: true, ..ScanOptions::default() };
        let page = txn.scan(rest, options).await?;
        for (key, value) in &page.rows {
            changes.extend(decode(key, value)?);
        }
        span = page.resume;
    }
    snapshot = snapshot.with(version, changes);
    snapshot.adopt_serials();
    Ok(snapshot)
}

fn decode(key: &Key, value: &Bytes) -> Result<Option<Change>, CatalogError> {
    fn json<T: DeserializeOwned>(key: &Key, value: &Bytes) -> Result<T, CatalogError> {
        serde_json::from_slice(value)
            .map_err(|e| CatalogError::Corrupt { key: key.clone(), detail: e.to_string() })
    }
    Ok(Some(match key.as_bytes().get(1) {
        Some(&VERSION | &SEQUENCE_VALUES | &GARBAGE | &TEMPORARY | &STATISTICS) => {
            return Ok(None);
        }
        Some(&DATABASE) => Change::PutDatabase(json(key, value)?),
        Some(&SCHEMA) if value.is_empty() => Change::DropSchema(PUBLIC_SCHEMA_ID),
        Some(&SCHEMA) => Change::PutSchema(json(key, value)?),
        Some(&ROLE) => Change::PutRole(json(key, value)?),
        Some(&TABLE) => Change::PutTable(Box::new(json(key, value)?)),
        Some(&SEQUENCE) => Change::PutSequence(Box::new(json(key, value)?)),
        Some(&VIEW) => Change::PutView(Box::new(json(key, value)?)),
        Some(&DEFAULT_ACL) => Change::PutDefaultAcl(json(key, value)?),
        Some(&TYPE) => Change::PutType(Box::new(json(key, value)?)),
        _ => {
            return Err(CatalogError::Corrupt {
                key: key.clone(),
                detail: "unknown kind of descriptor".to_owned(),
            });
        }
    }))
}

/// Writes changes into a transaction and returns the snapshot that it sees from here on. `current`
/// is the snapshot it saw so far; others see the change when the transaction commits.
pub async fn write(
    txn: &Txn,
    current: &CatalogSnapshot,
    changes: Vec<Change>,
) -> Result<Arc<CatalogSnapshot>, CatalogError> {
    let key = version_key();
    // Locked, so that two DDL statements queue up rather than abort each other.
    txn.lock(std::slice::from_ref(&key), Strength::Update, WaitPolicy::Block).await?;
    let version = decode_version(txn.get(&key).await?.as_ref())? + 1;
    txn.put(key, Bytes::copy_from_slice(&version.to_be_bytes()))?;
    for change in &changes {
        write_one(txn, change)?;
    }
    Ok(Arc::new(current.with(version, changes)))
}

fn write_one(txn: &Txn, change: &Change) -> Result<(), kv::KvError> {
    fn json<T: Serialize>(descriptor: &T) -> Bytes {
        serde_json::to_vec(descriptor).expect("descriptors are plain data").into()
    }
    match change {
        Change::PutDatabase(d) => txn.put(descriptor_key(DATABASE, d.id), json(d)),
        Change::PutSchema(s) => txn.put(descriptor_key(SCHEMA, s.id), json(s)),
        Change::PutRole(r) => txn.put(descriptor_key(ROLE, r.id), json(r)),
        Change::PutTable(t) => txn.put(descriptor_key(TABLE, t.id), json(t)),
        Change::PutSequence(s) => txn.put(descriptor_key(SEQUENCE, s.id), json(s)),
        Change::PutView(v) => txn.put(descriptor_key(VIEW, v.id), json(v)),
        Change::PutDefaultAcl(d) => txn.put(descriptor_key(DEFAULT_ACL, d.id), json(d)),
        Change::PutType(t) => txn.put(descriptor_key(TYPE, t.id), json(t)),
        Change::DropDatabase(id) => txn.delete(descriptor_key(DATABASE, *id)),
        // It is there from birth: what is stored says that it is gone.
        Change::DropSchema(PUBLIC_SCHEMA_ID) => {
            txn.put(descriptor_key(SCHEMA, PUBLIC_SCHEMA_ID), Bytes::new())
        }
        Change::DropSchema(id) => txn.delete(descriptor_key(SCHEMA, *id)),
        Change::DropRole(id) => txn.delete(descriptor_key(ROLE, *id)),
        Change::DropTable(id) => txn.delete(descriptor_key(TABLE, *id)),
        Change::DropSequence(id) => txn.delete(descriptor_key(SEQUENCE, *id)),
        Change::DropView(id) => txn.delete(descriptor_key(VIEW, *id)),
        Change::DropDefaultAcl(id) => txn.delete(descriptor_key(DEFAULT_ACL, *id)),
        Change::DropType(id) => txn.delete(descriptor_key(TYPE, *id)),
    }
}
