//! Who may connect, and how does serving end?
//!
//! ```text
//!   accept ─▶ start (bounded in number and time) ─▶ slot? ─▶ session ─▶ closed
//!                        │                            └ none: 53300
//!                        └ a cancel request needs no slot
//!
//!   shutdown ─▶ Draining: idle sessions end, running ones go on ─ deadline ─▶ Closing: cancelled
//! ```

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sql::session::{Engine, Session};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::auth::{self, Refusal};
use crate::config::{GatewayConfig, add};
use crate::connection::{Connection, Phase};
use crate::registry::Registry;
use crate::socket::Socket;
use crate::sqlstate;
use crate::startup::{self, Opening};
use crate::wire::{Wire, WireError};

/// How long sessions may take to end after they were cancelled.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(2);
/// A listener that cannot accept (out of descriptors) is asked again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A client that vanished without a word is noticed after a few of these.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// What all connections share.
struct Server {
    engine: Arc<Engine>,
    config: GatewayConfig,
    registry: Arc<Registry>,
    slots: Arc<Semaphore>,
    phases: watch::Receiver<Phase>,
}

/// Serves clients until `shutdown` is ready and the sessions have ended: each gets until the drain
/// timeout to end its statement and transaction, and is told 57P01.
///
/// # Errors
///
/// If the listener has no address. Errors of single connections end those only.
pub async fn serve(
    listener: TcpListener,
    engine: Arc<Engine>,
    config: GatewayConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let (phase, phases) = watch::channel(Phase::Serving);
    let startups = Arc::new(Semaphore::new(config.startups_max));
    let drain_timeout = config.drain_timeout;
    let server = Arc::new(Server {
        engine,
        slots: Arc::new(Semaphore::new(config.connections_max)),
        registry: Registry::of_node(config.node_id),
        config,
        phases,
    });
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    tracing::info!(%address, "serving PostgreSQL clients");
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => {
                log_panic(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                add(&server.config.metrics.accepted, 1);
                // Without a place the connection closes at once: what cannot be bounded is not
                // begun.
                if let Ok(place) = startups.clone().try_acquire_owned() {
                    let server = server.clone();
                    connections
                        .spawn(async move { server.connection(stream, client, place).await });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drain(&server.registry, &phase, connections, drain_timeout).await;
    Ok(())
}

async fn drain(
    registry: &Registry,
    phase: &watch::Sender<Phase>,
    mut connections: JoinSet<()>,
    timeout: Duration,
) {
    phase.send_replace(Phase::Draining);
    if tokio::time::timeout(timeout, all_ended(&mut connections)).await.is_ok() {
        return;
    }
    tracing::info!(sessions = connections.len(), "sessions are cancelled at the end of the drain");
    phase.send_replace(Phase::Closing);
    registry.cancel_all();
    if tokio::time::timeout(CLOSING_TIMEOUT, all_ended(&mut connections)).await.is_err() {
        connections.shutdown().await;
    }
}

async fn all_ended(connections: &mut JoinSet<()>) {
    while let Some(ended) = connections.join_next().await {
        log_panic(ended);
    }
}

/// A panic ends its connection only; it is a fault of ours all the same.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended in a panic");
    }
}

impl Server {
    /// One connection from its first byte to its last.
    async fn connection(&self, stream: TcpStream, client: SocketAddr, place: OwnedSemaphorePermit) {
        prepare(&stream);
        let mut wire = Wire::new(Socket::Plain(stream), &self.config);
        let opened = tokio::time::timeout(self.config.startup_timeout, self.open(&mut wire));
        let error = match opened.await {
            Ok(Ok(Opening::Session(startup))) => {
                return self.session(wire, &startup, client, place).await;
            }
            Ok(Ok(Opening::Cancel { process, key })) => {
                add(&self.config.metrics.cancels, 1);
                return self.registry.cancel(process, key);
            }
            Ok(Err(Refusal::Error(error))) => error,
            Ok(Err(Refusal::Wire(WireError::Closed))) => return,
            Ok(Err(Refusal::Wire(WireError::Violation(violation)))) => {
                add(&self.config.metrics.violations, 1);
                sqlstate::violation(&violation)
            }
            Err(_) => sqlstate::startup_timeout(),
        };
        wire.farewell(&error).await;
    }

    /// Learns what the client wants, and whether it is who it says.
    async fn open(&self, wire: &mut Wire<Socket>) -> Result<Opening, Refusal> {
        let security = self.config.security.as_ref();
        let opening = startup::open(wire, security).await?;
        if let (Opening::Session(startup), Some(security)) = (&opening, security) {
            let user = startup::user(startup)?;
            auth::authenticate(wire, security, &self.engine, user).await?;
        }
        Ok(opening)
    }

    async fn session(
        &self,
        mut wire: Wire<Socket>,
        startup: &pgwire::messages::startup::Startup,
        client: SocketAddr,
        place: OwnedSemaphorePermit,
    ) {
        if *self.phases.borrow() != Phase::Serving {
            return wire.farewell(&sqlstate::shutting_down()).await;
        }
        let Ok(_slot) = self.slots.clone().try_acquire_owned() else {
            add(&self.config.metrics.refused, 1);
            return wire.farewell(&sqlstate::too_many_connections()).await;
        };
        let registered = self.registry.register();
        let options = startup::session_options(startup, registered.process, client.to_string());
        let opened = match options {
            Ok(options) => Session::new(self.engine.clone(), options).await,
            Err(error) => Err(error),
        };
        let session = match opened {
            Ok(session) => session,
            Err(error) => return wire.farewell(&error).await,
        };
        registered.open(session.cancel_handle());
        startup::welcome(&mut wire, startup, &session, &registered);
        drop(place);
        let _counted = Counted::new(&self.config);
        if wire.send().await.is_err() {
            return session.close().await;
        }
        Connection::new(wire, session, self.phases.clone()).run().await;
    }
}

/// Counts a session for as long as it lives, however it ends.
struct Counted<'a>(&'a GatewayConfig);

impl<'a> Counted<'a> {
    fn new(config: &'a GatewayConfig) -> Self {
        add(&config.metrics.sessions, 1);
        Self(config)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.metrics.sessions.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// A socket that refuses these options still works.
fn prepare(stream: &TcpStream) {
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
    let socket = socket2::SockRef::from(stream);
    let prepared = stream.set_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&keepalive));
    if let Err(error) = prepared {
        tracing::debug!(%error, "options of a socket were not set");
    }
}
