//! One node from start to end.
//!
//! ```text
//!   bind ports ─▶ open folder ─▶ open engines ─▶ HTTP, RPC ─┬─ member already ────────────┐
//!                                                           ├─ single: bootstrap ─────────┤
//!                                                           └─ join, or wait for `init` ──┤
//!                                        ready ◀─ SQL ◀─ registered ◀─ store, peers, kv ◀─┘
//! ```
//!
//! A process may run several nodes (the demo does): nothing here is global but the signals.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use crate::config::{DRAIN, Membership, NodeConfig};
use crate::error::StartError;
use crate::http;
use crate::member::Core;
use crate::tls::NodeTls;

/// A multi-threaded runtime with a worker per core.
pub(crate) fn runtime(name: &str) -> Result<tokio::runtime::Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name(name)
        // What plans statements recurses over deeply nested ones; memory is taken as it is touched.
        .thread_stack_size(32 << 20)
        .build()
        .map_err(StartError::Runtime)
}

/// SIGTERM or Ctrl-C.
pub(crate) struct Termination {
    terminate: tokio::signal::unix::Signal,
}

/// Starts to listen for SIGTERM and Ctrl-C.
pub(crate) fn termination() -> Result<Termination, StartError> {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = signal(SignalKind::terminate()).map_err(StartError::Runtime)?;
    Ok(Termination { terminate })
}

impl Termination {
    /// Completes at the first of them.
    pub(crate) async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }
}

/// A running node.
pub(crate) struct Node {
    pub(crate) core: Arc<Core>,
    pub(crate) addresses: Addresses,
    stop: watch::Sender<bool>,
    gateway: JoinHandle<()>,
    tasks: Vec<AbortHandle>,
}

/// Where a node really listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) sql: SocketAddr,
    pub(crate) rpc: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Node {
    /// Starts a node. It serves when it is part of a cluster: see [`Node::ready`].
    pub(crate) async fn start(config: NodeConfig) -> Result<Self, StartError> {
        let sql = bind("SQL", config.sql).await?;
        let rpc = bind("RPC", config.rpc).await?;
        let http = bind("HTTP", config.http).await?;
        let addresses = Addresses { sql: local(&sql)?, rpc: local(&rpc)?, http: local(&http)? };
        let (stop, stopped) = watch::channel(false);
        let tls = config.certs_dir.as_deref().map(NodeTls::load).transpose()?;
        let http_tls = tls.as_ref().map(|tls| Arc::clone(&tls.http));
        let core = Core::open(config.clone(), addresses, tls)?;

        let mut tasks = Vec::new();
        let mut spawn = |task: JoinHandle<()>| tasks.push(task.abort_handle());
        let observed: Arc<dyn http::Observed> = Arc::clone(&core) as _;
        let until = wait_for(stopped.clone());
        spawn(tokio::spawn(async move {
            if let Err(error) = http::serve(http, http_tls, observed, until).await {
                tracing::error!(%error, "HTTP");
            }
        }));
        spawn(tokio::spawn(crate::member::serve_rpc(Arc::clone(&core), rpc, stopped.clone())));
        if let Membership::Join(seeds) = config.membership {
            spawn(tokio::spawn(crate::member::join_cluster(Arc::clone(&core), seeds)));
        } else {
            core.start_single().await?;
        }
        let gateway = tokio::spawn(serve_sql(Arc::clone(&core), sql, stopped));
        Ok(Node { core, addresses, stop, gateway, tasks })
    }

    /// Completes when the node serves SQL.
    pub(crate) async fn ready(&self) {
        self.core.ready().await;
    }

    /// Prints `ready …` when the node serves SQL.
    #[expect(clippy::print_stdout, reason = "the line that scripts wait for")]
    pub(crate) fn announce_when_ready(&self) -> AbortHandle {
        let core = Arc::clone(&self.core);
        let Addresses { sql, rpc, http } = self.addresses;
        let task = tokio::spawn(async move {
            core.ready().await;
            println!("ready sql={sql} rpc={rpc} http={http}");
        });
        task.abort_handle()
    }

    /// Completes with the reason if the node cannot go on.
    pub(crate) async fn failed(&self) -> Result<(), StartError> {
        Err(self.core.failed().await)
    }

    /// Hands leaders over, lets statements finish for up to ten seconds, flushes, ends.
    pub(crate) async fn drain(mut self) {
        self.core.set_draining();
        self.stop.send_replace(true);
        let statements = tokio::time::timeout(DRAIN, &mut self.gateway).await;
        if statements.is_err() {
            tracing::warn!("statements were still running after {DRAIN:?}");
        }
        self.core.hand_over_leaders().await;
        self.core.stop(true);
        self.abort();
    }

    /// Ends at once, as a kill would: nothing is flushed, nobody is told.
    pub(crate) fn kill(self) {
        self.core.stop(false);
        self.abort();
    }

    fn abort(self) {
        self.gateway.abort();
        for task in self.tasks {
            task.abort();
        }
    }
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { what, address, source })
}

fn local(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(StartError::Runtime)
}

/// Completes when the node is told to stop.
pub(crate) async fn wait_for(mut stop: watch::Receiver<bool>) {
    // An error means that the node is gone.
    drop(stop.wait_for(|stop| *stop).await);
}

async fn serve_sql(core: Arc<Core>, listener: TcpListener, stop: watch::Receiver<bool>) {
    let sql = tokio::select! {
        sql = core.sql_engine() => sql,
        () = wait_for(stop.clone()) => return,
    };
    let config = gateway::GatewayConfig {
        node_id: core.node_id(),
        connections_max: core.config.max_connections,
        drain_timeout: DRAIN,
        security: core.tls.as_ref().map(|tls| tls.gateway.clone()),
        ..gateway::GatewayConfig::default()
    };
    core.set_ready();
    if let Err(error) = gateway::serve(listener, sql, config, wait_for(stop)).await {
        tracing::error!(%error, "SQL");
    }
}
