//! Why a measurement could not be made.

use std::path::PathBuf;

/// Why a measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A program could not be started.
    #[error("cannot run {program}")]
    Spawn {
        program: String,
        #[source]
        source: std::io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed:\n{output}")]
    Failed { program: String, output: String },
    /// A server did not come up.
    #[error("{0} did not become ready")]
    NotReady(String),
    /// A file could not be written or read.
    #[error("{path}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The chart could not be drawn.
    #[error("chart: {0}")]
    Chart(String),
}
