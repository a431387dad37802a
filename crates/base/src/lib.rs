//! The words every other crate speaks: keys, timestamps, identities, and the order-preserving codec.
//!
//! Nothing here knows what a transaction, a range or a table *does*; a newcomer reads this crate to
//! learn the vocabulary. Names follow the literature (see `docs/architecture.md`, "Words").

pub mod codec;
mod id;
mod key;
pub mod keyspace;
mod timestamp;

pub use id::{NodeId, RangeId, TxnId};
pub use key::{Key, KeyRange};
pub use timestamp::Timestamp;
