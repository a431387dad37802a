//! How RPC ports are reached: in the clear on loopback, or over TLS.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use certs::rustls::ClientConfig;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Error, Uri};

const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Opens channels to RPC ports.
#[derive(Clone, Default)]
pub(crate) struct Dialer {
    tls: Option<Arc<ClientConfig>>,
    from: Option<IpAddr>,
}

impl Dialer {
    /// Over TLS, if there is something to speak it with.
    pub(crate) fn new(tls: Option<Arc<ClientConfig>>) -> Dialer {
        Dialer { tls, from: None }
    }

    /// From this address of the machine: whoever stands between two nodes can tell which two.
    pub(crate) fn from(self, from: Option<IpAddr>) -> Dialer {
        Dialer { from, ..self }
    }

    /// A channel that is connected.
    pub(crate) async fn connect(&self, address: &str) -> Result<Channel, Error> {
        let endpoint = self.endpoint(address)?;
        match &self.tls {
            None => endpoint.connect().await,
            Some(tls) => endpoint.connect_with_connector(connector(tls, self.from)).await,
        }
    }

    /// A channel that connects when it is first used.
    pub(crate) fn connect_lazy(&self, address: &str) -> Result<Channel, Error> {
        let endpoint = self.endpoint(address)?;
        Ok(match &self.tls {
            None => endpoint.connect_lazy(),
            Some(tls) => endpoint.connect_with_connector_lazy(connector(tls, self.from)),
        })
    }

    /// With the settings all of ours share. TLS is the connector's business, so the scheme is HTTP's.
    fn endpoint(&self, address: &str) -> Result<Endpoint, Error> {
        Ok(Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(DIAL_TIMEOUT)
            .local_address(self.from)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(4))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20))
    }
}

type Dialled = Pin<Box<dyn Future<Output = io::Result<TokioIo<TlsStream<TcpStream>>>> + Send>>;

fn connector(
    tls: &Arc<ClientConfig>,
    from: Option<IpAddr>,
) -> impl tower::Service<
    Uri,
    Response = TokioIo<TlsStream<TcpStream>>,
    Error = io::Error,
    Future = Dialled,
> + Clone
+ Send
+ 'static {
    let tls = TlsConnector::from(Arc::clone(tls));
    tower::service_fn(move |uri: Uri| -> Dialled {
        let tls = tls.clone();
        Box::pin(async move {
            let dialled = tokio::time::timeout(DIAL_TIMEOUT, dial(&tls, &uri, from));
            dialled.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(TokioIo::new)
        })
    })
}

async fn dial(
    tls: &TlsConnector,
    uri: &Uri,
    from: Option<IpAddr>,
) -> io::Result<TlsStream<TcpStream>> {
    let host = uri.host().unwrap_or_default();
    let name = certs::server_name(host).map_err(io::Error::other)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or_default();
    let mut found = tokio::net::lookup_host((bare, port)).await?;
    let address = found.next().ok_or(io::ErrorKind::NotFound)?;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from.filter(|from| from.is_ipv4() == address.is_ipv4()) {
        socket.bind((from, 0).into())?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    tls.connect(name, stream).await
}
