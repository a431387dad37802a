//! Which databases, schemas, tables, columns and indexes exist, and how a row becomes keys and
//! values.
//!
//! ```text
//!   Catalog (one per node)  --snapshot(txn)-->  CatalogSnapshot  -->  Arc<Table>  -->  RowCodec
//!        cache, by version                      names and ids          descriptor      bytes
//! ```
//!
//! Never here: SQL, statistics, whether a statement may run ([`acl`] says who may do what, `sql`
//! asks). Descriptors are rows like any other, read and written through [`kv::Txn`]; [`store`] says
//! why a cached one is never wrong.

pub mod acl;
mod binary;
mod cell;
mod constraint;
mod descriptor;
mod entry;
mod error;
mod excerpt;
pub mod garbage;
mod key;
mod privileges;
mod relation;
pub mod role;
mod row;
mod snapshot;
pub mod statistics;
pub mod store;
pub mod succession;
pub mod temporary;
mod type_serde;

pub use acl::{Acl, AclItem, RoleId};
pub use cell::Stored;
pub use constraint::{Action, Constraint, ConstraintKind, Demand, ForeignKey, Validation};
pub use descriptor::{
    Closing, Column, ColumnId, Database, DatabaseId, Identity, Index, IndexColumn, IndexId,
    IndexState, Schema, SchemaId, Table, TableId,
};
pub use entry::EntryDecoder;
pub use error::{CatalogError, CodecError};
pub use excerpt::RowCut;
pub use key::is_indexable;
pub use privileges::{ObjectKind, Privileges};
pub use relation::{EnumLabel, EnumType, Sequence, View, ViewColumn};
pub use role::{DefaultAcl, Membership, Role};
pub use row::{
    Entry, IndexCodec, MAX_KEY_BYTES, MAX_ROW_BYTES, RowCodec, RowDecoder, decode_single,
    encode_single,
};
pub use snapshot::{
    BOOTSTRAP_DATABASE, BOOTSTRAP_DATABASE_ID, BOOTSTRAP_ROLE, BOOTSTRAP_ROLE_ID,
    CONCLAVE_SCHEMA_ID, CatalogSnapshot, Change, FIRST_USER_ID, INFORMATION_SCHEMA_ID,
    PG_CATALOG_ID, PUBLIC_SCHEMA_ID, public_schema,
};
pub use store::Catalog;
