//! A gateway in this process over the SQL layer and a cluster in memory, and a client that speaks
//! the protocol byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gateway::GatewayConfig;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) mod raw;

/// A running gateway. It drains when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) cluster: kv::testing::FakeCluster,
    shutdown: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a gateway with the default limits.
    pub(crate) async fn start() -> Self {
        Self::start_with(GatewayConfig::default()).await
    }

    /// Starts a gateway.
    pub(crate) async fn start_with(config: GatewayConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (shutdown, asked) = oneshot::channel();
        let (cluster, engine) = engine();
        let serving = tokio::spawn(async move {
            let asked = async move { drop(asked.await) };
            gateway::serve(listener, engine, config, asked).await.expect("the listener works");
        });
        Self { address, cluster, shutdown: Some(shutdown), serving: Some(serving) }
    }

    /// Asks for the shutdown; the answer tells when it is over.
    pub(crate) fn shut_down(&mut self) -> JoinHandle<()> {
        drop(self.shutdown.take());
        self.serving.take().expect("it is shut down once")
    }

    /// A client of the library that applications use.
    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        self.client_with("").await
    }

    /// The same, with more in its connection string.
    pub(crate) async fn client_with(&self, more: &str) -> tokio_postgres::Client {
        let port = self.address.port();
        let config = format!("host=127.0.0.1 port={port} user=conclave dbname=conclave {more}");
        let connecting = tokio_postgres::connect(&config, tokio_postgres::NoTls);
        let (client, connection) = connecting.await.expect("the gateway accepts the role");
        tokio::spawn(connection);
        client
    }
}

fn engine() -> (kv::testing::FakeCluster, Arc<sql::session::Engine>) {
    let cluster = kv::testing::FakeCluster::new();
    let config = sql::session::EngineConfig::default();
    let engine = sql::session::Engine::new(cluster.db(), config);
    (cluster, engine)
}

/// Waits for something that must come soon.
pub(crate) async fn soon<T>(what: &str, waited: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), waited).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come"),
    }
}
