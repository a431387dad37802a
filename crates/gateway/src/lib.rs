//! How does a PostgreSQL client get its answers from the SQL layer?
//!
//! ```text
//!   socket ──bytes──▶ frame ──message──▶ connection ──▶ sql::Session
//!     ▲               (sizes,            (simple,            │
//!     │                shapes)            extended)          │ columns, rows, tags, notices
//!     └──one write── wire::output ◀── reply (encodes) ◀──────┘
//! ```
//!
//! pgwire decodes and encodes the messages; the loop that reads, dispatches and writes is ours.
//! pgwire's own loop flushes per message and hands results over as boxed streams; ours reads a
//! whole Parse/Bind/Describe/Execute/Sync run with one read, answers it with one write, and encodes
//! rows straight from [`pgtypes::Datum`] into the buffer that is sent.
//!
//! # Rules
//!
//! - **W1** Nothing of a message is believed before its size is bounded and its inner counts fit:
//!   `frame` checks both, so that no decoder panics and no allocation exceeds what has arrived.
//! - **W2** Output leaves at Sync, Flush, the end of a simple query, before waiting for COPY data,
//!   and when more than a bounded amount has come together. Until then the session may take it
//!   back.
//! - **W3** After an error in the extended protocol everything up to Sync is discarded.
//! - **W4** A connection that breaks the protocol ends with one FATAL error; others do not notice.
//!
//! *Invariant:* the gateway knows nothing of SQL text, plans or storage.

mod auth;
mod config;
mod connection;
mod copy;
mod description;
mod extended;
mod formats;
mod frame;
mod parameters;
mod registry;
mod reply;
mod scram;
mod server;
mod socket;
mod sqlstate;
mod startup;
mod wire;

pub use auth::Security;
pub use config::{GatewayConfig, GatewayMetrics};
pub use frame::decode_all;
pub use server::serve;
