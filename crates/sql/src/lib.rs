//! PostgreSQL's SQL: parse, bind, plan, execute.
//!
//! ```text
//!   text --bind--> ir::Statement --+-- point     few rows by key, no DataFusion     (session's)
//!                                  +-- dml, ddl  writes                             (session's)
//!                                  `-- lower --> DataFusion plan --exec--> rows
//! ```
//!
//! *Invariant:* types are decided in `bind` and nowhere else. `sql` does not know the wire
//! protocol (`gateway`) nor how a transaction commits (`kv`).

pub mod bind;
pub mod compat;
mod copy;
mod ddl;
mod dml;
mod error;
pub mod exec;
pub mod explain;
mod fragment;
mod indexed;
pub mod ir;
mod lower;
mod point;
mod privilege;
pub mod session;
pub mod settings;
mod statistics;
mod sysviews;

pub use ddl::Reclaimer;
pub use error::{Fields, SqlError, SqlState};
pub use fragment::Fragments;
pub use statistics::Keeper;
