//! What can be wrong with certificates.

use std::path::PathBuf;

/// Why certificates cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// A file cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The file exists.
    #[error("{} exists already; --overwrite replaces it", .0.display())]
    Exists(PathBuf),
    /// Others may read a key.
    #[error("{} can be read by others than its owner; chmod 600 makes it safe", .0.display())]
    Exposed(PathBuf),
    /// The file holds something else.
    #[error("{}: {what}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A name that no certificate can have.
    #[error("{0:?} is neither a host name nor an address")]
    Name(String),
    /// A certificate could not be made.
    #[error("cannot make the certificate: {0}")]
    Make(String),
    /// TLS cannot be spoken with these.
    #[error("the certificates do not fit: {0}")]
    Tls(String),
}
