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

pub mod datetime;
pub mod datum;
pub mod env;
pub mod error;
pub mod numeric;
pub mod ty;
pub mod typmod;

pub use datum::{ArrayValue, Datum, Dim, Interval, Str};
pub use env::EvalEnv;
pub use error::{Result, TypeError, sqlstate};
pub use numeric::Numeric;
pub use ty::{Category, PgType, TypeId};
