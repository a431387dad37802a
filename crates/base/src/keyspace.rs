//! Which first byte of a key belongs to whom.
//!
//! ```text
//!   00..08   system range (range 1): not MVCC data, see `meta`; no user key lies here
//!   08..0E   catalog: descriptors of databases, schemas, tables, sequences, roles
//!   0E       outcomes of transactions that clients may ask about: 0E | start u64 (kv::xact)
//!   0F       advisory locks: 0F | database u32 | kind | number | holder u64 (kv::advisory)
//!   10..     tables: 10 | table id u32 | index id u32 | key columns (order-preserving)
//! ```

use bytes::{BufMut, BytesMut};

use crate::{Key, KeyRange};

/// First byte of the catalog.
pub const CATALOG: u8 = 0x08;
/// First byte of the outcomes of transactions.
pub const XACTS: u8 = 0x0E;
/// First byte of advisory locks.
pub const ADVISORY: u8 = 0x0F;
/// First byte of tables and indexes.
pub const TABLES: u8 = 0x10;

/// The span of the system range at the birth of a cluster.
#[must_use]
pub fn system() -> KeyRange {
    KeyRange { start: Key::MIN, end: Key(vec![CATALOG].into()) }
}

/// The span of the first range for everything else at the birth of a cluster.
#[must_use]
pub fn user() -> KeyRange {
    KeyRange { start: Key(vec![CATALOG].into()), end: Key::MIN }
}

/// The prefix of every key of a table, all of its indexes included.
#[must_use]
pub fn table_prefix(table: u32) -> Key {
    let mut key = BytesMut::with_capacity(5);
    key.put_u8(TABLES);
    key.put_u32(table);
    Key(key.freeze())
}

/// The prefix of every key of one index. Index 1 is the primary one: the rows themselves.
#[must_use]
pub fn index_prefix(table: u32, index: u32) -> Key {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(TABLES);
    key.put_u32(table);
    key.put_u32(index);
    Key(key.freeze())
}
