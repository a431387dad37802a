//! Why a check could not be made. An anomaly is no error: it is what a check is for.

use std::path::PathBuf;

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Flags that cannot be carried out together.
    #[error("{0}")]
    Refused(String),
    /// No node answers.
    #[error("no node of the cluster answers at {0}")]
    NoNode(String),
    /// The certificates cannot be used.
    #[error("certificates")]
    Certificates(#[from] certs::CertError),
    /// A table could not be made.
    #[error("cannot prepare the tables: {statement}: {reason}")]
    Setup {
        /// What was tried.
        statement: String,
        /// What the server said last.
        reason: String,
    },
    /// A program could not be started.
    #[error("cannot run {program}")]
    Spawn {
        /// Which.
        program: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Our own cluster does not come up.
    #[error("the cluster did not become ready: {0}")]
    NotReady(String),
    /// A file could not be written or read.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A history says nothing.
    #[error("history")]
    History(#[from] checker::HistoryError),
}

impl CheckError {
    /// A connection that was refused, in the words of whoever refused it.
    pub(crate) fn no_node(url: &str, error: &tokio_postgres::Error) -> Self {
        let said = match (error.as_db_error(), std::error::Error::source(error)) {
            (Some(refused), _) => refused.to_string(),
            (None, Some(cause)) => format!("{error}: {cause}"),
            (None, None) => error.to_string(),
        };
        CheckError::NoNode(format!("{url}: {said}"))
    }
}
