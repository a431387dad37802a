//! How do clients connect: in the clear, or over TLS?

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use certs::rustls::ClientConfig;
use certs::{CertError, Folder};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, NoTls};
use tokio_rustls::TlsConnector;

/// Connects clients.
#[derive(Clone, Debug, Default)]
pub struct Connector(Option<Arc<ClientConfig>>);

impl Connector {
    /// Over TLS, with the certificates of a folder: the one of `user` is shown, if it is there.
    pub fn secure(folder: &Path, user: &str) -> Result<Connector, CertError> {
        let folder = Folder::new(folder);
        let identity = folder.client(user)?;
        let config = certs::client_config(&folder.authorities()?, identity.as_ref())?;
        Ok(Connector(Some(Arc::new(config))))
    }

    /// The same, for the user of a connection string.
    pub fn secure_for(folder: &Path, url: &str) -> Result<Connector, CertError> {
        let config: Result<Config, _> = url.parse();
        let user = config.ok().and_then(|config| config.get_user().map(str::to_owned));
        Connector::secure(folder, user.as_deref().unwrap_or("conclave"))
    }

    /// A client of the server at a connection string.
    pub async fn connect(&self, url: &str) -> Result<Client, tokio_postgres::Error> {
        self.connect_with(url.parse()?).await
    }

    /// A client of a server.
    pub async fn connect_with(&self, mut config: Config) -> Result<Client, tokio_postgres::Error> {
        let Some(tls) = &self.0 else {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(async move { drop(connection.await) });
            return Ok(client);
        };
        config.ssl_mode(tokio_postgres::config::SslMode::Require);
        let (client, connection) = config.connect(Tls(tls.clone())).await?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }
}

#[derive(Clone)]
struct Tls(Arc<ClientConfig>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Stream<S>;
    type TlsConnect = Handshake;
    type Error = CertError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, CertError> {
        let name = certs::server_name(host)?;
        Ok(Handshake { connector: TlsConnector::from(self.0.clone()), name })
    }
}

/// What one connection needs.
struct Handshake {
    connector: TlsConnector,
    name: certs::rustls::pki_types::ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let stream = self.connector.connect(self.name, stream).await?;
            Ok(Stream(Box::new(stream)))
        })
    }
}

/// A connection past its handshake.
struct Stream<S>(Box<tokio_rustls::client::TlsStream<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let shown = self.0.get_ref().1.peer_certificates();
        match shown.and_then(|chain| chain.first()).and_then(certs::end_point_hash) {
            Some(hash) => ChannelBinding::tls_server_end_point(hash),
            None => ChannelBinding::none(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}
