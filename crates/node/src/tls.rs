//! A secure node: what it shows to whom, and connections that have shown what they had to.
//!
//! ```text
//!   SQL    TLS; a certificate is one way to say who one is (gateway::Security)
//!   RPC    TLS; a node's certificate from nodes, the superuser's for `init` and `status`
//!   HTTP   TLS
//! ```
//!
//! Handshakes run beside each other, each for a bounded time: a client that is slow or silent keeps
//! nobody else waiting.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use certs::rustls::{ClientConfig, ServerConfig};
use certs::{CertError, Folder};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// The superuser that every cluster is born with: may ask nodes for what `init` and `status` need.
pub(crate) const SUPERUSER: &str = "conclave";

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKES_MAX: usize = 256;
/// A listener that cannot accept (out of descriptors) is asked again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a secure node speaks TLS with.
#[derive(Clone)]
pub(crate) struct NodeTls {
    pub(crate) gateway: gateway::Security,
    pub(crate) rpc: Arc<ServerConfig>,
    pub(crate) http: Arc<ServerConfig>,
    /// To other nodes.
    pub(crate) peers: Arc<ClientConfig>,
}

impl NodeTls {
    /// Reads a node's certificates.
    pub(crate) fn load(path: &Path) -> Result<NodeTls, CertError> {
        let folder = Folder::new(path);
        let authorities = folder.authorities()?;
        let node = folder.node()?;
        let clients = certs::server_config(&authorities, &node)?;
        let mut http = ServerConfig::clone(&clients);
        http.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(NodeTls {
            gateway: gateway::Security::new(clients, &node, node.key.secret_der()),
            rpc: certs::node_server_config(&authorities, &node)?,
            http: Arc::new(http),
            peers: to_nodes(certs::client_config(&authorities, Some(&node))?),
        })
    }
}

/// What a command of the superuser, or of a node, connects to RPC ports with.
pub(crate) fn admin(path: &Path) -> Result<Arc<ClientConfig>, CertError> {
    let folder = Folder::new(path);
    let authorities = folder.authorities()?;
    let identity = match folder.client(SUPERUSER)? {
        Some(identity) => identity,
        None => folder.node()?,
    };
    certs::client_config(&authorities, Some(&identity)).map(to_nodes)
}

fn to_nodes(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// The name in the certificate that the other side has shown.
#[derive(Debug, Clone)]
pub(crate) struct PeerName(pub(crate) Option<String>);

/// A connection past its handshake.
pub(crate) struct Secured {
    stream: TlsStream<TcpStream>,
    name: PeerName,
    pub(crate) address: SocketAddr,
}

/// Accepts connections and hands them on as their handshakes succeed; ends when nobody takes them.
pub(crate) fn accept(listener: TcpListener, config: Arc<ServerConfig>) -> mpsc::Receiver<Secured> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(config);
        let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let accepted = tokio::select! {
                () = sender.closed() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // What cannot be bounded is not begun.
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                let shaken = shake(&acceptor, stream, address).await;
                drop(place);
                match shaken {
                    // Nobody takes it: the node stops.
                    Ok(secured) => drop(sender.send(secured).await),
                    Err(error) => tracing::warn!(%address, %error, "refused a connection"),
                }
            });
        }
    });
    receiver
}

async fn shake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
) -> io::Result<Secured> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    let shown = stream.get_ref().1.peer_certificates();
    let name = shown.and_then(|chain| chain.first()).and_then(certs::common_name);
    Ok(Secured { stream, name: PeerName(name), address })
}

impl Connected for Secured {
    type ConnectInfo = PeerName;

    fn connect_info(&self) -> PeerName {
        self.name.clone()
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Connections over TLS for axum.
pub(crate) struct SecureListener {
    accepted: mpsc::Receiver<Secured>,
    local: SocketAddr,
}

impl SecureListener {
    pub(crate) fn new(listener: TcpListener, config: Arc<ServerConfig>) -> io::Result<Self> {
        let local = listener.local_addr()?;
        Ok(SecureListener { accepted: accept(listener, config), local })
    }
}

impl axum::serve::Listener for SecureListener {
    type Io = Secured;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Secured, SocketAddr) {
        match self.accepted.recv().await {
            Some(secured) => {
                let address = secured.address;
                (secured, address)
            }
            // The task that accepts lives as long as this end.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}
