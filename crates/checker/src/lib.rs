//! Did the database keep its promise? Histories of concurrent transactions, and the search for orders
//! that their isolation levels forbid.
//!
//! Pure: a history in, a report out; no clock, no network, no knowledge of who made the history. The
//! simulator and the workloads over the wire record the same [`History`], and read the same [`Report`].
//!
//! ```text
//!   History ─▶ trace     what each read saw; who committed; reads of nobody's or aborted values
//!                │
//!                ├─▶ lists      append(k, v), list(k): the longest list is the version order
//!                ├─▶ registers  write(k, v), read(k): write-follows-read, real time, timestamps
//!                ▼
//!              edges    ww, wr, rw between transactions, each with what proves it
//!                │
//!                ├─▶ order      begin and commit of each transaction as points, per isolation level
//!                ├─▶ cycles     strongly connected points, the smallest cycle of the worst class
//!                ▼
//!              Report   verdict; each anomaly told edge by edge
//! ```
//!
//! The method is Elle's (Kingsbury, Alvaro: "Elle: Inferring Isolation Anomalies from Experimental
//! Observations", VLDB 2020): values are unique per key, so that a value read names its writer, and a
//! list names its whole past. The classes are Adya's ("Weak Consistency", 1999).
//!
//! What a graph cannot see, [`invariants`] checks: totals, sets, forks, unique ids.
//!
//! # Invariants
//!
//! - **C1** Sound: each edge says what must hold if the level is kept, so a cycle is never a false alarm.
//! - **C2** A transaction whose outcome is unknown counts only once somebody saw a write of it.
//! - **C3** Reports are a function of the history alone: same history, same bytes.
//!
//! Scripts: `scripts/`, one per anomaly. Property test: `tests/serial.rs`.

mod anomaly;
mod check;
mod cycles;
mod edge;
mod explain;
mod history;
pub mod invariants;
mod lists;
mod order;
mod registers;
mod trace;

pub use anomaly::{Anomaly, Class, Report};
pub use check::{Options, check};
pub use edge::Kind;
pub use history::{
    Action, History, HistoryError, Key, Level, Op, Outcome, Row, Scan, Snapshot, Txn, Value,
};
