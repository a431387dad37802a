//! Writes: INSERT, UPDATE and DELETE of any shape.
//!
//! ```text
//!   rows to write <-- exec (any WHERE, FROM, subquery), point (by key), copy (STDIN)
//!        |
//!      Rules: generated columns, NOT NULL, CHECK
//!        |
//!      Writes: index entries, claims on unique keys  -->  kv::Txn
//!        |
//!      References: foreign keys, referential actions
//! ```
//!
//! Rows found by a query are locked before they are changed. Where the isolation level lets the
//! snapshot move, what the lock returns is what the query saw, or the statement runs again (see
//! [`kv::Txn::lock`]), or the row is judged again (`recheck`, READ COMMITTED): a row found is therefore
//! never changed on the strength of an old version. All rows are locked before the first is written, so
//! that running again is possible whatever a statement returns.

mod conflict;
mod insert;
mod modify;
mod recheck;
mod references;
mod rules;
mod write;

pub(crate) use insert::run_insert;
pub(crate) use modify::{run_delete, run_update};
pub(crate) use references::{Deferrals, Event, References, concerns, is_comparable};
pub(crate) use rules::Rules;
pub(crate) use write::{Names, Writes, codec_error, print, update_strength};
