//! How does a person talk to the database? The shell behind `conclave sql`.
//!
//! A line of input goes through three steps, each in its own module, and never back:
//!
//! ```text
//!   input ──line──▶ splitter ──statement──▶ statement ──events──▶ render ──▶ stdout
//!  (editor,            │                        │
//!   file, -e)          └──\command──▶ meta      └──errors, notices──▶ report ──▶ stderr
//! ```
//!
//! The rule: what is shown is the server's own text. Statements travel by the simple query protocol
//! and no value is interpreted here; column types are looked at only to align numbers to the right.
//!
//! The connection is our own thin loop over `postgres-protocol` (`wire`) instead of
//! `tokio_postgres::Client`, because a shell shows what that client keeps to itself: the command
//! tag, the transaction status of each answer, the types of columns, notices in their order. The
//! connection string is parsed by `tokio_postgres::Config`.
//!
//! Tests: `tests/script.rs` against a scripted server, and the unit tests of `splitter`, `report`,
//! `render` and others.

mod describe;
mod editor;
mod error;
mod input;
mod interpreter;
mod meta;
mod names;
mod options;
mod password;
mod render;
mod report;
mod splitter;
mod startup;
mod statement;
mod tls;
mod transfer;
mod wire;

use std::io::Write;
use std::process::ExitCode;

pub use error::ShellError;
pub use options::Options;

/// Connects and works through what the options ask for: the `-e` statements, the `-f` files, or
/// else standard input, with line editing when it is a terminal.
///
/// The exit code is 0 when everything succeeded, 1 when a statement failed and 130 when Ctrl-C
/// ended the run. Errors of the connection are returned.
pub async fn run(options: Options) -> Result<ExitCode, ShellError> {
    interpreter::Shell::connect(options).await?.run().await
}

/// As [`run`], with output and errors to where the caller says.
pub async fn run_with(
    options: Options,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
) -> Result<ExitCode, ShellError> {
    interpreter::Shell::connect_to(options, out, err).await?.run().await
}
