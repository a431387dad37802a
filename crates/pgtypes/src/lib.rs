//! PostgreSQL's types: what values are, how they are written, cast, combined and stored in Arrow.
//!
//! ```text
//!   text / binary wire format  <->  Datum  <->  Arrow arrays (arrow_bridge)
//!                                     |
//!                 casts, operators, functions, aggregates (registry)
//! ```
//!
//! A [`Datum`] is one value, a [`PgType`] its type. The binder asks [`registry`] which operator or
//! function a name means for given argument types, by PostgreSQL's rules, and gets a kernel that
//! runs row by row on datums or, wrapped by [`arrow_bridge`], on arrays. PostgreSQL 15 is the
//! reference for every result, every digit of output and every error message.
//!
//! Tests: `tests/golden/*` holds pairs taken from a PostgreSQL 15 server.

pub mod aggregate;
pub mod arrow_bridge;
pub mod binary;
pub mod cast;
pub mod compare;
pub mod datetime;
pub mod datum;
pub mod enums;
pub mod env;
pub mod error;
mod format;
pub mod json;
pub mod numeric;
mod pgtype;
pub mod record;
mod regex;
pub mod registry;
pub mod sortkey;
pub mod text;
pub mod ty;
pub mod typmod;
pub mod xid8;

pub use binary::{parse_binary, put_field, to_binary};
pub use compare::{compare, compare_as, equal, hash_datum};
pub use datum::{ArrayValue, Datum, Dim, Interval, Str};
pub use env::{EvalEnv, TransactionModes};
pub use error::{Result, TypeError, sqlstate};
pub use numeric::Numeric;
pub use text::{parse_text, text_of, to_text};
pub use ty::{Category, PgType, TypeId};
