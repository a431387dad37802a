//! Who connects, and what for?
//!
//! ```text
//!   SSLRequest                ──▶ 'S' and TLS, or 'N'; and again
//!   GSSENCRequest             ──▶ 'N', and again
//!   CancelRequest             ──▶ carried out, closed without an answer
//!   StartupMessage            ──▶ `auth`; role and database checked by the session; then
//!                                 AuthenticationOk ParameterStatus* BackendKeyData ReadyForQuery
//! ```
//!
//! In the insecure mode a role that exists may connect. Requests to cancel may come in the clear: what
//! they know is a secret of the session, and libpq sends them so.

use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::response::{ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, GssEncRequest, NegotiateProtocolVersion, ParameterStatus,
    SecretKey, SslRequest, Startup,
};
use pgwire::messages::{DecodeContext, Message, ProtocolVersion};
use sql::SqlError;
use sql::session::{Session, SessionOptions};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::auth::Security;
use crate::frame::Violation;
use crate::registry::Registered;
use crate::socket::Socket;
use crate::sqlstate;
use crate::wire::{Wire, WireError};

const PACKET_BYTES_MIN: usize = 8;
const PACKET_BYTES_MAX: usize = 10_000;
/// More than one of each kind of encryption to ask for is no client.
const REQUESTS_MAX: usize = 4;

/// What a new connection is for.
#[derive(Debug)]
pub(crate) enum Opening {
    Session(Box<Startup>),
    Cancel { process: i32, key: i32 },
}

/// Reads until it is known what the client wants.
pub(crate) async fn open(
    wire: &mut Wire<Socket>,
    security: Option<&Security>,
) -> Result<Opening, WireError> {
    let context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
    for _ in 0..REQUESTS_MAX {
        let mut packet = packet(wire).await?;
        let encrypts = security.filter(|_| !wire.socket().is_encrypted());
        if let Some(security) = encrypts
            && SslRequest::is_ssl_request_packet(&packet)
        {
            // What came with the request was not encrypted: somebody has put it in.
            if !wire.input.is_empty() {
                return Err(Violation::Startup.into());
            }
            wire.reply_bytes(b"S");
            wire.send().await?;
            wire.encrypt(&security.acceptor).await?;
            continue;
        }
        if SslRequest::is_ssl_request_packet(&packet)
            || GssEncRequest::is_gss_enc_request_packet(&packet)
        {
            wire.reply_bytes(b"N");
            wire.send().await?;
            continue;
        }
        if CancelRequest::is_cancel_request_packet(&packet) {
            return match CancelRequest::decode(&mut packet, &context) {
                Ok(Some(request)) => Ok(Opening::Cancel {
                    process: request.pid,
                    key: request.secret_key.as_i32().unwrap_or_default(),
                }),
                _ => Err(Violation::Startup.into()),
            };
        }
        let major = u16::from_be_bytes([packet[4], packet[5]]);
        if major != 3 {
            let minor = u16::from_be_bytes([packet[6], packet[7]]);
            return Err(Violation::Version(major, minor).into());
        }
        return match Startup::decode(&mut packet, &context) {
            Ok(Some(startup)) => Ok(Opening::Session(Box::new(startup))),
            _ => Err(Violation::Startup.into()),
        };
    }
    Err(Violation::Startup.into())
}

/// One packet of the start, its length included.
async fn packet<S>(wire: &mut Wire<S>) -> Result<bytes::BytesMut, WireError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while wire.input.len() < PACKET_BYTES_MIN {
        wire.fill(PACKET_BYTES_MIN - wire.input.len()).await?;
    }
    let length: [u8; 4] = wire.input[..4].try_into().expect("four bytes were taken");
    let length = match usize::try_from(i32::from_be_bytes(length)) {
        Ok(bytes) if (PACKET_BYTES_MIN..=PACKET_BYTES_MAX).contains(&bytes) => bytes,
        _ => return Err(Violation::Startup.into()),
    };
    if wire.input.len() < length {
        wire.fill(length - wire.input.len()).await?;
    }
    Ok(wire.input.split_to(length))
}

fn value<'a>(startup: &'a Startup, name: &str) -> Option<&'a String> {
    startup.parameters.get(name).filter(|value| !value.is_empty())
}

/// The role that the client wants to be.
pub(crate) fn user(startup: &Startup) -> Result<&str, SqlError> {
    value(startup, "user").map(String::as_str).ok_or_else(sqlstate::no_user)
}

/// What the session is opened with.
pub(crate) fn session_options(
    startup: &Startup,
    process: i32,
    client_address: String,
) -> Result<SessionOptions, SqlError> {
    let value = |name: &str| value(startup, name);
    let user = user(startup)?.to_owned();
    if value("replication").is_some_and(|mode| !matches!(mode.as_str(), "false" | "off" | "0")) {
        return Err(sqlstate::unsupported("the replication protocol"));
    }
    let known = |name: &str| matches!(name, "user" | "database" | "replication");
    let others = startup.parameters.iter().filter(|(name, _)| !known(name));
    Ok(SessionOptions {
        database: value("database").unwrap_or(&user).clone(),
        user,
        startup: others.map(|(name, value)| (name.clone(), value.clone())).collect(),
        backend_pid: process,
        client_address: Some(client_address),
    })
}

/// Tells a client that its session is open.
pub(crate) fn welcome<S>(
    wire: &mut Wire<S>,
    startup: &Startup,
    session: &Session,
    registered: &Registered,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let extensions = startup.parameters.keys().filter(|name| name.starts_with("_pq_."));
    let extensions: Vec<String> = extensions.cloned().collect();
    if startup.protocol_number_minor > 0 || !extensions.is_empty() {
        let newest = ProtocolVersion::PROTOCOL3_0.into();
        wire.reply(&NegotiateProtocolVersion::new(newest, extensions));
    }
    wire.reply(&Authentication::Ok);
    for (name, value) in session.parameter_status() {
        wire.reply(&ParameterStatus::new(name.to_owned(), value));
    }
    let key = SecretKey::I32(registered.key);
    wire.reply(&BackendKeyData::new(registered.process, key));
    wire.reply(&ReadyForQuery::new(TransactionStatus::Idle));
}
