//! The gateway as its clients see it: byte by byte, through tokio-postgres, through JDBC.
//!
//! Behind it are the real SQL layer and a cluster in memory.

mod client;
mod jdbc;
mod protocol;
mod support;
