//! Which databases, schemas, tables, columns and indexes exist, and how a row becomes keys and
//! values.
//!
//! ```text
//!   Catalog (one per node)  --snapshot(txn)-->  CatalogSnapshot  -->  Arc<Table>  -->  RowCodec
//!        cache, by version                      names and ids          descriptor      bytes
//! ```
//!
//! Never here: SQL, privileges, statistics. Descriptors are rows like any other, read and written
//! through [`kv::Txn`]; [`store`] says why a cached one is never wrong.

mod binary;
mod cell;
mod constraint;
mod descriptor;
mod entry;
mod error;
pub mod garbage;
mod key;
mod relation;
mod row;
mod snapshot;
pub mod store;
pub mod temporary;
mod type_serde;

pub use constraint::{Action, Constraint, ConstraintKind, ForeignKey};
pub use descriptor::{
    Column, ColumnId, Database, DatabaseId, Identity, Index, IndexColumn, IndexId, IndexState,
    Role, Schema, SchemaId, Table, TableId,
};
pub use entry::EntryDecoder;
pub use error::{CatalogError, CodecError};
pub use key::is_indexable;
pub use relation::{EnumLabel, EnumType, Sequence, View, ViewColumn};
pub use row::{
    Entry, IndexCodec, MAX_KEY_BYTES, MAX_ROW_BYTES, RowCodec, RowDecoder, decode_single,
    encode_single,
};
pub use snapshot::{
    BOOTSTRAP_DATABASE, BOOTSTRAP_DATABASE_ID, BOOTSTRAP_ROLE, BOOTSTRAP_ROLE_ID,
    CONCLAVE_SCHEMA_ID, CatalogSnapshot, Change, FIRST_USER_ID, INFORMATION_SCHEMA_ID,
    PG_CATALOG_ID, PUBLIC_SCHEMA_ID,
};
pub use store::Catalog;
