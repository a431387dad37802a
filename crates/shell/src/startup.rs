//! How does a connection begin?
//!
//! With TLS, if there are certificates to verify the server by ([`crate::tls`]); then it has to speak
//! it. Over TLS, SCRAM-SHA-256 is bound to the server's certificate. Passwords in the clear and MD5 are
//! understood as well.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use certs::rustls::ClientConfig;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_rustls::TlsConnector;

use crate::error::ShellError;
use crate::report::ServerMessage;
use crate::tls::Target;
use crate::wire::{Connection, Status, Stream};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Address {
    pub(crate) async fn open(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }
}

/// The addresses of a connection string, in their order.
fn addresses(config: &Config) -> Vec<Address> {
    let ports = config.get_ports();
    let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(15432);
    let found: Vec<Address> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(at, host)| match host {
            Host::Tcp(name) => Address::Tcp(name.clone(), port(at)),
            Host::Unix(folder) => Address::Unix(folder.join(format!(".s.PGSQL.{}", port(at)))),
        })
        .collect();
    if found.is_empty() { vec![Address::Tcp("127.0.0.1".to_owned(), port(0))] } else { found }
}

/// Connects to the first of the addresses that answers.
pub(crate) async fn connect(target: &Target) -> Result<Connection, ShellError> {
    let config = &target.config;
    let tls = target.tls()?;
    let timeout = config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
    let mut failure = None;
    for address in addresses(config) {
        let opened = tokio::time::timeout(timeout, address.open()).await;
        match opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let begun = async {
                    let (stream, channel) = encrypted(stream, &address, tls).await?;
                    begin(config, address, stream, channel).await
                };
                let begun = tokio::time::timeout(timeout, begun).await;
                return begun.unwrap_or(Err(ShellError::Lost(io::ErrorKind::TimedOut.into())));
            }
            Err(source) => {
                failure = Some(ShellError::Connect { address: address.to_string(), source });
            }
        }
    }
    Err(failure.expect("there is at least one address"))
}

/// Speaks TLS on a stream, if there is something to speak it with; also answers what passwords are
/// bound to.
async fn encrypted(
    mut stream: Box<dyn Stream>,
    address: &Address,
    tls: Option<Arc<ClientConfig>>,
) -> Result<(Box<dyn Stream>, Option<Vec<u8>>), ShellError> {
    // A socket of this machine is nobody else's.
    let (Some(tls), Address::Tcp(host, _)) = (tls, address) else { return Ok((stream, None)) };
    let lost = ShellError::Lost;
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await.map_err(lost)?;
    if stream.read_u8().await.map_err(lost)? != b'S' {
        return Err(ShellError::NoTls);
    }
    let name = certs::server_name(host)?;
    let connecting = TlsConnector::from(tls).connect(name, stream).await;
    let stream = connecting
        .map_err(|source| ShellError::Connect { address: address.to_string(), source })?;
    let shown = stream.get_ref().1.peer_certificates();
    let channel = shown.and_then(|chain| chain.first()).and_then(certs::end_point_hash);
    Ok((Box::new(stream), channel))
}

async fn begin(
    config: &Config,
    address: Address,
    stream: Box<dyn Stream>,
    channel: Option<Vec<u8>>,
) -> Result<Connection, ShellError> {
    let mut connection = Connection {
        stream,
        address,
        input: BytesMut::new(),
        output: BytesMut::new(),
        status: Status::Idle,
        parameters: BTreeMap::new(),
        key: None,
    };
    let user = config.get_user().unwrap_or("conclave");
    let mut parameters = vec![
        ("user", user),
        ("database", config.get_dbname().unwrap_or(user)),
        ("application_name", config.get_application_name().unwrap_or("conclave sql")),
        ("client_encoding", "UTF8"),
    ];
    if let Some(options) = config.get_options() {
        parameters.push(("options", options));
    }
    let refused = |message| ShellError::Refused(Box::new(message));
    frontend::startup_message(parameters, &mut connection.output).map_err(ShellError::Lost)?;
    loop {
        match connection.message().await.map_err(ShellError::Lost)? {
            Message::ErrorResponse(body) => {
                let parsed = ServerMessage::parse(&mut body.fields()).map_err(ShellError::Lost)?;
                return Err(refused(parsed));
            }
            Message::BackendKeyData(body) => {
                connection.key = Some((body.process_id(), body.secret_key()));
            }
            Message::ParameterStatus(body) => {
                let (Ok(name), Ok(value)) = (body.name(), body.value()) else { continue };
                connection.parameters.insert(name.to_owned(), value.to_owned());
            }
            Message::ReadyForQuery(_) => return Ok(connection),
            Message::NoticeResponse(_) | Message::AuthenticationOk => {}
            message => {
                authenticate(&mut connection, config, user, message, channel.as_deref()).await?;
            }
        }
    }
}

async fn authenticate(
    connection: &mut Connection,
    config: &Config,
    user: &str,
    request: Message,
    channel: Option<&[u8]>,
) -> Result<(), ShellError> {
    let password =
        config.get_password().ok_or_else(|| ShellError::PasswordNeeded(user.to_owned()))?;
    let sent = match request {
        Message::AuthenticationCleartextPassword => {
            frontend::password_message(password, &mut connection.output)
        }
        Message::AuthenticationMd5Password(body) => {
            let hash = md5_hash(user.as_bytes(), password, body.salt());
            frontend::password_message(hash.as_bytes(), &mut connection.output)
        }
        Message::AuthenticationSasl(body) => {
            let mechanisms: Vec<&str> = body.mechanisms().collect().map_err(ShellError::Lost)?;
            let channel = channel.filter(|_| mechanisms.contains(&sasl::SCRAM_SHA_256_PLUS));
            if channel.is_none() && !mechanisms.contains(&sasl::SCRAM_SHA_256) {
                return Err(ShellError::Unsupported("the server's way to authenticate"));
            }
            return scram_sha_256(connection, password, channel).await;
        }
        _ => return Err(ShellError::Unsupported("the server's way to authenticate")),
    };
    sent.map_err(ShellError::Lost)
}

/// Both rounds of the exchange, bound to the channel if there is something to bind to.
async fn scram_sha_256(
    connection: &mut Connection,
    password: &[u8],
    channel: Option<&[u8]>,
) -> Result<(), ShellError> {
    let lost = ShellError::Lost;
    let (mechanism, binding) = match channel {
        Some(hash) => {
            let binding = sasl::ChannelBinding::tls_server_end_point(hash.to_vec());
            (sasl::SCRAM_SHA_256_PLUS, binding)
        }
        None => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
    };
    let mut scram = sasl::ScramSha256::new(password, binding);
    let output = &mut connection.output;
    frontend::sasl_initial_response(mechanism, scram.message(), output).map_err(lost)?;
    loop {
        match connection.message().await.map_err(lost)? {
            Message::AuthenticationSaslContinue(body) => {
                scram.update(body.data()).map_err(lost)?;
                let output = &mut connection.output;
                frontend::sasl_response(scram.message(), output).map_err(lost)?;
            }
            Message::AuthenticationSaslFinal(body) => {
                return scram.finish(body.data()).map_err(lost);
            }
            Message::ErrorResponse(body) => {
                let refused = ServerMessage::parse(&mut body.fields()).map_err(lost)?;
                return Err(ShellError::Refused(Box::new(refused)));
            }
            _ => return Err(lost(io::Error::other("unexpected message during authentication"))),
        }
    }
}
