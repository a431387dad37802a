//! The certificates of a cluster: made, read from their folder, and spoken TLS with.
//!
//! ```text
//!   DIR/ca.crt            everybody: whom to believe
//!   DIR/ca.key            whoever makes certificates; no node needs it
//!   DIR/node.crt, .key    a node: CN=node, its names and addresses; serves and connects
//!   DIR/client.U.crt, .key   a user: CN=U; connects only
//! ```
//!
//! One authority per cluster, elliptic keys (P-256), TLS 1.2 and 1.3, the cryptography of `ring`.
//!
//! # Rules
//!
//! - **C1** A key is readable by its owner only: one that others may read is not used.
//! - **C2** A client's certificate does not serve: it lacks the usage, and every client checks that.
//! - **C3** Nothing is overwritten unless that was asked for.

mod der;
mod error;
mod folder;
mod make;
mod names;
mod tls;

pub use error::CertError;
pub use folder::{Folder, Identity, read_certificates, read_identity};
pub use make::{Lifetime, make_ca, make_client, make_node};
pub use names::{NODE, common_name, end_point_hash};
pub use tls::{client_config, node_server_config, server_config, server_name};

/// What TLS is spoken with.
pub use rustls;
