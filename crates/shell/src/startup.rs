//! How does a connection begin?
//!
//! Passwords in the clear, MD5 and SCRAM-SHA-256 are understood. TLS is refused rather than
//! silently left out when the connection string requires it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::error::ShellError;
use crate::report::ServerMessage;
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
pub(crate) async fn connect(config: &Config) -> Result<Connection, ShellError> {
    if config.get_ssl_mode() == SslMode::Require {
        return Err(ShellError::Unsupported("TLS (sslmode=require)"));
    }
    let timeout = config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
    let mut failure = None;
    for address in addresses(config) {
        let opened = tokio::time::timeout(timeout, address.open()).await;
        match opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let begun = tokio::time::timeout(timeout, begin(config, address, stream)).await;
                return begun.unwrap_or(Err(ShellError::Lost(io::ErrorKind::TimedOut.into())));
            }
            Err(source) => {
                failure = Some(ShellError::Connect { address: address.to_string(), source });
            }
        }
    }
    Err(failure.expect("there is at least one address"))
}

async fn begin(
    config: &Config,
    address: Address,
    stream: Box<dyn Stream>,
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
            message => authenticate(&mut connection, config, user, message).await?,
        }
    }
}

async fn authenticate(
    connection: &mut Connection,
    config: &Config,
    user: &str,
    request: Message,
) -> Result<(), ShellError> {
    let password = config.get_password().unwrap_or_default();
    let sent = match request {
        Message::AuthenticationCleartextPassword => {
            frontend::password_message(password, &mut connection.output)
        }
        Message::AuthenticationMd5Password(body) => {
            let hash = md5_hash(user.as_bytes(), password, body.salt());
            frontend::password_message(hash.as_bytes(), &mut connection.output)
        }
        Message::AuthenticationSasl(body) => {
            let scram = body.mechanisms().any(|name| Ok(name == sasl::SCRAM_SHA_256));
            if !scram.map_err(ShellError::Lost)? {
                return Err(ShellError::Unsupported("the server's way to authenticate"));
            }
            return scram_sha_256(connection, password).await.map_err(ShellError::Lost);
        }
        _ => return Err(ShellError::Unsupported("the server's way to authenticate")),
    };
    sent.map_err(ShellError::Lost)
}

/// Both rounds of the exchange. An error of the server in between is left to the caller's loop.
async fn scram_sha_256(connection: &mut Connection, password: &[u8]) -> io::Result<()> {
    let mut scram = sasl::ScramSha256::new(password, sasl::ChannelBinding::unsupported());
    let output = &mut connection.output;
    frontend::sasl_initial_response(sasl::SCRAM_SHA_256, scram.message(), output)?;
    loop {
        match connection.message().await? {
            Message::AuthenticationSaslContinue(body) => {
                scram.update(body.data())?;
                frontend::sasl_response(scram.message(), &mut connection.output)?;
            }
            Message::AuthenticationSaslFinal(body) => return scram.finish(body.data()),
            Message::ErrorResponse(body) => {
                let refused = ServerMessage::parse(&mut body.fields())?;
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, refused.to_string()));
            }
            _ => return Err(io::Error::other("unexpected message during authentication")),
        }
    }
}
