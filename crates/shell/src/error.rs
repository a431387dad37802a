//! Why did the shell stop, other than by a statement that failed?

use std::io;
use std::path::PathBuf;

use crate::report::ServerMessage;

/// What ends a run of the shell. A failed statement is not here: it is shown and counted.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// The connection string cannot be understood.
    #[error("invalid connection string: {0}")]
    Url(#[source] tokio_postgres::Error),
    /// The connection string asks for something this shell does not have.
    #[error("{0} is not supported by this shell")]
    Unsupported(&'static str),
    /// The certificates cannot be used.
    #[error("certificates")]
    Certificates(#[from] certs::CertError),
    /// The server does not speak TLS.
    #[error("the server does not encrypt connections; --certs-dir is for secure clusters")]
    NoTls,
    /// The server wants a password, and none was given.
    #[error("the server asks for a password of user \"{0}\"; set PGPASSWORD, or use a certificate")]
    PasswordNeeded(String),
    /// Nobody answers at the address.
    #[error("could not connect to {address}")]
    Connect {
        /// Host and port, or the path of a Unix socket.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server answered the connection attempt with an error.
    #[error("{0}")]
    Refused(Box<ServerMessage>),
    /// The connection broke while it was in use.
    #[error("connection to the server was lost")]
    Lost(#[source] io::Error),
    /// A file named by the user cannot be used.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The terminal or the output is gone.
    #[error("terminal")]
    Terminal(#[source] io::Error),
}
