//! Why a row or a descriptor could not be read or written.

use kv::KvError;

/// Why a row could not be encoded or decoded. The caller can do three different things: refuse the
/// value (`KeyTooLarge`, `RowTooLarge`, `NullInKey`, `NotIndexable`, `Value`), or stop (`Corrupt`).
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CodecError {
    /// Stored bytes are not what an encoder wrote.
    #[error("stored row is malformed: {0}")]
    Corrupt(&'static str),
    /// An index key is too long.
    #[error("index row size {bytes} exceeds the maximum of {limit} bytes")]
    KeyTooLarge {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A row is too long.
    #[error("row is too big: size {bytes}, maximum size {limit}")]
    RowTooLarge {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// NULL in a column of the primary key.
    #[error("null in a column of the primary key")]
    NullInKey,
    /// The type has no order-preserving encoding.
    #[error("values of this type cannot be part of an index")]
    NotIndexable,
    /// The value's own type could not write or read it.
    #[error("{0}")]
    Value(String),
}

impl From<base::codec::DecodeError> for CodecError {
    fn from(error: base::codec::DecodeError) -> Self {
        CodecError::Corrupt(error.0)
    }
}

/// Why the catalog could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The transaction failed.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A stored descriptor cannot be read.
    #[error("catalog entry {key} is malformed: {detail}")]
    Corrupt {
        /// Its key.
        key: base::Key,
        /// What is wrong with it.
        detail: String,
    },
}
