//! Is the client who it says?
//!
//! ```text
//!   TLS?  no ──▶ 28000
//!    └ a certificate for this very role ──▶ yes
//!    └ else SCRAM-SHA-256: the right password, while it is valid ──▶ yes, otherwise 28P01
//! ```
//!
//! A role that does not exist, has no password or an expired one is asked all the same, and fails as a
//! wrong password does: who exists is not told before.

use std::sync::Arc;

use pgwire::messages::PgWireFrontendMessage as Frontend;
use pgwire::messages::startup::{Authentication, PasswordMessageFamily};
use rand::RngCore;
use sql::session::Engine;
use sql::{SqlError, SqlState};
use tokio_rustls::TlsAcceptor;

use crate::scram::{self, Exchange, Failure, Verifier};
use crate::socket::Socket;
use crate::wire::{Received, Wire, WireError};

/// Random bytes of the server's part of a nonce.
const NONCE_BYTES: usize = 18;

/// What a secure gateway has.
#[derive(Clone)]
pub struct Security {
    pub(crate) acceptor: TlsAcceptor,
    /// What clients may bind their passwords to: the hash of the node's certificate.
    pub(crate) channel: Option<Arc<[u8]>>,
    /// What verifiers of roles that do not exist are made up from.
    pub(crate) secret: Arc<[u8]>,
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Security")
    }
}

impl Security {
    /// Serves TLS with a node's certificate. `secret` is something that only the node knows, and the
    /// same after a restart.
    #[must_use]
    pub fn new(
        config: Arc<certs::rustls::ServerConfig>,
        node: &certs::Identity,
        secret: &[u8],
    ) -> Security {
        let channel = node.chain.first().and_then(certs::end_point_hash);
        Security {
            acceptor: TlsAcceptor::from(config),
            channel: channel.map(Into::into),
            secret: secret.into(),
        }
    }
}

/// Why a client is not let in.
pub(crate) enum Refusal {
    Wire(WireError),
    Error(SqlError),
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Refusal::Wire(error)
    }
}

impl From<SqlError> for Refusal {
    fn from(error: SqlError) -> Self {
        Refusal::Error(error)
    }
}

/// Lets the client prove who it is.
pub(crate) async fn authenticate(
    wire: &mut Wire<Socket>,
    security: &Security,
    engine: &Engine,
    user: &str,
) -> Result<(), Refusal> {
    if !wire.socket().is_encrypted() {
        return Err(unencrypted(user).into());
    }
    if wire.socket().certified_name().as_deref() == Some(user) {
        return Ok(());
    }
    let known = engine.password_of(user).await?;
    let verifier = known.as_deref().and_then(Verifier::parse);
    let verifier = verifier.unwrap_or_else(|| Verifier::made_up(user, &security.secret));
    let mut mechanisms = vec![scram::PLAIN.to_owned()];
    if security.channel.is_some() {
        mechanisms.insert(0, scram::PLUS.to_owned());
    }
    wire.reply(&Authentication::SASL(mechanisms.clone()));
    wire.send().await?;
    let first = answer(wire).await?;
    let (mechanism, message) = initial(&first).ok_or_else(|| malformed("SASL response"))?;
    if !mechanisms.iter().any(|known| known == mechanism) {
        return Err(SqlError::new(
            SqlState::PROTOCOL_VIOLATION,
            "client selected an invalid SASL authentication mechanism",
        )
        .into());
    }
    let failed = |failure| refused(user, failure);
    let channel = security.channel.as_deref();
    let begun = Exchange::begin(mechanism, message, verifier, &nonce(), channel);
    let (exchange, server_first) = begun.map_err(failed)?;
    wire.reply(&Authentication::SASLContinue(server_first.into_bytes().into()));
    wire.send().await?;
    let last = answer(wire).await?;
    let server_final = exchange.end(&last).map_err(failed)?;
    wire.reply(&Authentication::SASLFinal(server_final.into_bytes().into()));
    Ok(())
}

/// The body of the client's next message, which has to be one of authentication.
async fn answer(wire: &mut Wire<Socket>) -> Result<bytes::BytesMut, Refusal> {
    match wire.receive().await? {
        Received::Message(Frontend::PasswordMessageFamily(PasswordMessageFamily::Raw(body))) => {
            Ok(body)
        }
        Received::Message(Frontend::Terminate(_)) => Err(WireError::Closed.into()),
        Received::Message(_) => Err(malformed("expected SASL response").into()),
        Received::Refused { error, .. } => Err(error.into()),
    }
}

/// Mechanism and message of a SASLInitialResponse.
fn initial(body: &[u8]) -> Option<(&str, &[u8])> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let mechanism = std::str::from_utf8(&body[..end]).ok()?;
    let (length, message) = body[end + 1..].split_first_chunk::<4>()?;
    let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
    (length == message.len()).then_some((mechanism, message))
}

fn nonce() -> String {
    use base64::Engine;
    let mut bytes = [0; NONCE_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn malformed(what: &str) -> SqlError {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, format!("malformed SCRAM message: {what}"))
}

fn refused(user: &str, failure: Failure) -> SqlError {
    match failure {
        Failure::Password => SqlError::new(
            SqlState::INVALID_PASSWORD,
            format!("password authentication failed for user \"{user}\""),
        ),
        Failure::Malformed(what) => malformed(what),
        Failure::Binding(what) => SqlError::new(
            SqlState::INVALID_AUTHORIZATION,
            format!("SCRAM channel binding check failed: {what}"),
        ),
    }
}

fn unencrypted(user: &str) -> SqlError {
    SqlError::new(
        SqlState::INVALID_AUTHORIZATION,
        format!("no encryption: connection of user \"{user}\" is refused"),
    )
    .detail("This node serves clients over TLS only.")
    .hint("Connect with sslmode=verify-full and sslrootcert=…/ca.crt.")
}
