//! The gateway as its clients see it: byte by byte, and through tokio-postgres.
//!
//! Behind it are the real SQL layer and a cluster in memory.

mod client;
mod fuzzed;
mod protocol;
mod repeat;
mod support;
