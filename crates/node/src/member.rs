//! A node's membership: waiting for a cluster, making one, joining one, serving as part of it.
//!
//! ```text
//!   Core      from the start: folder, engines, what HTTP and RPC answer
//!   Running   from the moment the node has an id: store, peers, kv
//!   sql       from the moment the catalog can be read
//! ```

mod bootstrap;
mod inbound;
mod rpc;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::NodeId;
use parking_lot::Mutex;
use proto::meta::system_command::Command;
use proto::meta::system_query::Query;
use proto::meta::{NodeDescriptor, RegisterNode};
use rocks::{RocksEngine, RocksLogStore};
use tokio::sync::watch;

use crate::config::NodeConfig;
use crate::error::StartError;
use crate::http::Observed;
use crate::identity::{DataDir, Identity};
use crate::metrics::Metrics;
use crate::process::Addresses;
use crate::store::{NodeTransport, Store, StoreConfig};
use crate::tls::NodeTls;
use crate::transport::{Dialer, Inbound, Peers};

pub(crate) use rpc::serve_rpc;

/// How often the registry is read for new nodes and addresses.
const REGISTRY_INTERVAL: Duration = Duration::from_secs(2);
/// Pause before a step of coming up is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// What a node is from its start on.
pub(crate) struct Core {
    pub(crate) config: NodeConfig,
    pub(crate) addresses: Addresses,
    /// Of a secure node.
    pub(crate) tls: Option<NodeTls>,
    dir: DataDir,
    identity: Mutex<Identity>,
    fresh: bool,
    engine: Arc<RocksEngine>,
    logs: Arc<RocksLogStore>,
    metrics: Arc<Metrics>,
    running: watch::Sender<Option<Arc<Running>>>,
    sql: watch::Sender<Option<Arc<sql::session::Engine>>>,
    ready: watch::Sender<bool>,
    draining: AtomicBool,
    /// Held while the node gets its identity: `init` and joining exclude each other.
    becoming: tokio::sync::Mutex<()>,
    failed: watch::Sender<Option<String>>,
}

/// What a member of a cluster runs.
pub(crate) struct Running {
    pub(crate) cluster_id: String,
    pub(crate) store: Arc<Store>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) db: kv::Db,
    inbound: Arc<dyn Inbound>,
    tasks: Mutex<Vec<tokio::task::AbortHandle>>,
}

impl Core {
    /// Opens the folder and what is in it.
    pub(crate) fn open(
        config: NodeConfig,
        addresses: Addresses,
        tls: Option<NodeTls>,
    ) -> Result<Arc<Self>, StartError> {
        let dir = DataDir::open(&config.data)?;
        let fail = |source| StartError::Storage { path: config.data.clone(), source };
        let engine_config = rocks::RocksConfig {
            // Unflushed writes count inside the cache.
            cache_bytes: config.cache_bytes,
            write_buffer_bytes: config.cache_bytes / 4,
            ..rocks::RocksConfig::default()
        };
        let engine = Arc::new(RocksEngine::open(&dir.data(), engine_config).map_err(fail)?);
        let logs = RocksLogStore::open(&dir.raft(), rocks::LogConfig::default()).map_err(fail)?;
        let identity = dir.begin_incarnation()?;
        let metrics = Arc::new(Metrics::new());
        Ok(Arc::new(Core {
            fresh: identity.incarnation == 1,
            identity: Mutex::new(identity),
            config,
            addresses,
            tls,
            dir,
            engine,
            logs: Arc::new(logs),
            metrics,
            running: watch::Sender::new(None),
            sql: watch::Sender::new(None),
            ready: watch::Sender::new(false),
            draining: AtomicBool::new(false),
            becoming: tokio::sync::Mutex::new(()),
            failed: watch::Sender::new(None),
        }))
    }

    pub(crate) fn running(&self) -> Option<Arc<Running>> {
        self.running.borrow().clone()
    }

    /// Completes when the node serves SQL.
    pub(crate) async fn ready(&self) {
        wait(&self.ready, |ready| *ready).await;
    }

    pub(crate) fn set_ready(&self) {
        self.ready.send_replace(true);
    }

    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// The SQL layer, when the cluster is there to read the catalog from.
    pub(crate) async fn sql_engine(&self) -> Arc<sql::session::Engine> {
        let sql = wait(&self.sql, Option::is_some).await;
        sql.expect("just seen")
    }

    /// Completes with the reason if the node cannot go on.
    pub(crate) async fn failed(&self) -> StartError {
        let reason = wait(&self.failed, Option::is_some).await;
        StartError::Cluster(reason.unwrap_or_default())
    }

    /// The id that the cluster gave this node.
    pub(crate) fn node_id(&self) -> u64 {
        self.identity.lock().node_id
    }

    /// This node as the registry knows it.
    fn descriptor(&self) -> NodeDescriptor {
        let identity = self.identity.lock();
        NodeDescriptor {
            node_id: identity.node_id,
            rpc_address: self.config.rpc_advertised.unwrap_or(self.addresses.rpc).to_string(),
            sql_address: self.addresses.sql.to_string(),
            http_address: self.addresses.http.to_string(),
            incarnation: identity.incarnation,
        }
    }

    /// How other nodes are reached.
    pub(crate) fn dialer(&self) -> Dialer {
        let home = self.addresses.rpc.ip();
        let tls = self.tls.as_ref().map(|tls| Arc::clone(&tls.peers));
        Dialer::new(tls).from(Some(home).filter(|home| !home.is_unspecified()))
    }

    /// Takes on an identity, durably.
    fn become_member(&self, cluster_id: &str, node: NodeId) -> Result<(), StartError> {
        let mut identity = self.identity.lock();
        identity.cluster_id = cluster_id.to_owned();
        identity.node_id = node.0;
        self.dir.write(&identity)
    }

    /// Starts what a member runs, and goes on to SQL in the background.
    fn run(self: &Arc<Self>, nodes: &[NodeDescriptor]) -> Result<Arc<Running>, StartError> {
        let (me, incarnation, cluster_id, known) = {
            let identity = self.identity.lock();
            let me = identity.joined().expect("a member has an id");
            (me, identity.incarnation, identity.cluster_id.clone(), identity.peers.clone())
        };
        let peers = Peers::new(me, incarnation, self.dialer(), self.config.rpc_delay);
        let store_config = StoreConfig {
            range_max_bytes: self.config.range_max_bytes,
            range_locks_max: self.config.range_locks_max,
            copies: 3,
            clock_offset_file: self.config.clock_offset_file.clone(),
        };
        let store = Store::open(
            Arc::clone(&peers),
            store_config,
            Arc::clone(&self.engine),
            Arc::clone(&self.logs),
            Arc::clone(&self.metrics),
            Arc::new(sql::Fragments),
            self.fresh,
        )
        .map_err(|source| StartError::Storage { path: self.config.data.clone(), source })?;
        let transport = Arc::new(NodeTransport(Arc::clone(&store)));
        let kv_config = kv::Config {
            txn_memory: self.config.txn_memory_bytes,
            memory: kv::MemoryBudget::new(self.config.sql_memory_bytes),
            contention_events: self.config.contention_events,
            ..kv::Config::default()
        };
        let db = kv::Db::new(transport, kv_config);
        store.set_db(db.clone());
        let inbound = inbound::NodeInbound::shared(Arc::clone(&store), db.clone());
        for (id, rpc_address) in known {
            let node = NodeDescriptor { node_id: id, rpc_address, ..Default::default() };
            peers.learn(&node, &inbound);
        }
        let running =
            Arc::new(Running { cluster_id, store, peers, db, inbound, tasks: Mutex::default() });
        running.learn(nodes);
        running.store.start_loop().map_err(StartError::Runtime)?;
        let tasks = vec![
            tokio::spawn(crate::store::maintain(Arc::clone(&running.store))).abort_handle(),
            tokio::spawn(crate::store::keep_closed(Arc::clone(&running.store))).abort_handle(),
            tokio::spawn(crate::store::collect_garbage(Arc::clone(&running.store))).abort_handle(),
            tokio::spawn(Arc::clone(self).keep_registered(Arc::clone(&running))).abort_handle(),
            tokio::spawn(Arc::clone(self).start_sql(Arc::clone(&running))).abort_handle(),
            tokio::spawn(Arc::clone(self).watch_store(Arc::clone(&running))).abort_handle(),
        ];
        *running.tasks.lock() = tasks;
        self.running.send_replace(Some(Arc::clone(&running)));
        Ok(running)
    }

    async fn watch_store(self: Arc<Self>, running: Arc<Running>) {
        let reason = running.store.failed().await;
        self.failed.send_replace(Some(reason));
    }

    /// Enters this node into the registry, and learns of others from it, for as long as it runs.
    async fn keep_registered(self: Arc<Self>, running: Arc<Running>) {
        let mut registered = false;
        loop {
            if !registered {
                let command = RegisterNode { node: Some(self.descriptor()) };
                registered = running.db.system(Command::RegisterNode(command)).await.is_ok();
            }
            if let Ok(answer) = running.db.query(Query::AllNodes(true)).await {
                running.learn(&answer.nodes);
                self.remember(&answer.nodes);
            }
            tokio::time::sleep(if registered { REGISTRY_INTERVAL } else { RETRY }).await;
        }
    }

    /// Keeps the members' addresses for the next start.
    fn remember(&self, nodes: &[NodeDescriptor]) {
        let mut identity = self.identity.lock();
        let peers: Vec<(u64, String)> = nodes
            .iter()
            .filter(|node| node.node_id != identity.node_id)
            .map(|node| (node.node_id, node.rpc_address.clone()))
            .collect();
        if !peers.is_empty() && peers != identity.peers {
            identity.peers = peers;
            if let Err(error) = self.dir.write(&identity) {
                tracing::warn!(%error, "the members' addresses are not stored");
            }
        }
    }

    /// Opens the SQL layer when the cluster answers.
    async fn start_sql(self: Arc<Self>, running: Arc<Running>) {
        let config = sql::session::EngineConfig::default();
        // A node serves when it can reach the cluster's catalog.
        while let Err(error) = running.db.now().await {
            tracing::debug!(%error, "the cluster does not answer yet");
            tokio::time::sleep(RETRY).await;
        }
        let engine = sql::session::Engine::new(running.db.clone(), config);
        self.sql.send_replace(Some(Arc::clone(&engine)));
        let store = Arc::clone(&running.store);
        let keeper = sql::Keeper::new(Arc::clone(&engine));
        let reclaimer = sql::Reclaimer::new(engine, move || store.safe_point());
        futures::future::join(reclaimer.run(), keeper.run()).await;
    }

    /// Hands the leadership of every range to a peer that is up.
    pub(crate) async fn hand_over_leaders(&self) {
        if let Some(running) = self.running() {
            running.store.hand_over_leaders().await;
        }
    }

    /// Stops everything but what HTTP and RPC answer.
    pub(crate) fn stop(&self, orderly: bool) {
        if let Some(running) = self.running.send_replace(None) {
            for task in running.tasks.lock().drain(..) {
                task.abort();
            }
            running.store.stop(orderly);
            running.peers.close();
        }
    }
}

impl Running {
    /// Learns of nodes and their addresses.
    pub(crate) fn learn(&self, nodes: &[NodeDescriptor]) {
        for node in nodes {
            self.peers.learn(node, &self.inbound);
        }
        let ids = self.peers.all().into_iter().map(|peer| peer.id);
        self.store.liveness.write().set_peers(ids);
    }

    pub(crate) fn inbound(&self) -> Arc<dyn Inbound> {
        Arc::clone(&self.inbound)
    }
}

impl Observed for Core {
    fn not_ready(&self) -> Option<String> {
        if self.draining.load(Ordering::SeqCst) {
            Some("draining".to_owned())
        } else if *self.ready.borrow() {
            None
        } else if self.running().is_some() {
            Some("waiting for the cluster".to_owned())
        } else {
            Some("not part of a cluster yet: run `conclave init`".to_owned())
        }
    }

    fn metrics(&self) -> &Metrics {
        if let Some(running) = self.running() {
            running.store.observe(&running.db);
        }
        &self.metrics
    }
}

/// Asks the seeds for membership, unless the node is a member already.
pub(crate) async fn join_cluster(core: Arc<Core>, seeds: Vec<SocketAddr>) {
    if core.identity.lock().joined().is_some() {
        if let Err(error) = core.resume().await {
            core.failed.send_replace(Some(error.to_string()));
        }
        // Addresses may have changed while the node was away: those of the others, and its own.
        let (node, cluster) = (core.descriptor(), core.identity.lock().cluster_id.clone());
        let others: Vec<SocketAddr> =
            seeds.into_iter().filter(|seed| *seed != core.addresses.rpc).collect();
        if !others.is_empty() {
            let answer = crate::cluster::join(&core.dialer(), &others, &node, &cluster).await;
            if let Some(running) = core.running() {
                running.learn(&answer.nodes);
            }
        }
        return;
    }
    let others: Vec<SocketAddr> =
        seeds.into_iter().filter(|seed| *seed != core.addresses.rpc).collect();
    if others.is_empty() {
        return;
    }
    let node = core.descriptor();
    let dialer = core.dialer();
    let answer = tokio::select! {
        answer = crate::cluster::join(&dialer, &others, &node, "") => answer,
        // Initialised here: asking on would register this node a second time.
        _ = wait(&core.running, Option::is_some) => return,
    };
    let _becoming = core.becoming.lock().await;
    if core.running().is_some() {
        return;
    }
    let joined = core
        .become_member(&answer.cluster_id, NodeId(answer.node_id))
        .and_then(|()| core.run(&answer.nodes).map(drop));
    match joined {
        Ok(()) => tracing::info!(node = answer.node_id, cluster = answer.cluster_id, "joined"),
        Err(error) => {
            core.failed.send_replace(Some(error.to_string()));
        }
    }
}

/// Waits until what is watched is as wanted.
async fn wait<T: Clone>(watched: &watch::Sender<T>, wanted: impl FnMut(&T) -> bool) -> T {
    let mut receiver = watched.subscribe();
    // The sender is borrowed, so it is not gone.
    receiver.wait_for(wanted).await.map(|value| value.clone()).expect("the sender lives")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Membership;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_node_made_a_member_while_it_starts_runs_one_store() {
        let folder = tempfile::tempdir().expect("a folder");
        let local = SocketAddr::from(([127, 0, 0, 1], 1));
        let config = NodeConfig {
            data: folder.path().to_owned(),
            sql: local,
            rpc: local,
            rpc_advertised: None,
            clock_offset_file: None,
            http: local,
            certs_dir: None,
            membership: Membership::Join(vec![local]),
            cache_bytes: 16 << 20,
            sql_memory_bytes: 64 << 20,
            range_max_bytes: 128 << 20,
            txn_memory_bytes: 64 << 20,
            range_locks_max: 1_000,
            contention_events: 16,
            max_connections: 10,
            rpc_delay: Duration::ZERO,
        };
        let addresses = Addresses { sql: local, rpc: local, http: local };
        let core = Core::open(config, addresses, None).expect("opens");
        core.init_cluster().await.expect("a cluster");
        let running = core.running().expect("it is a member");
        // The task that looks for a cluster comes late.
        join_cluster(Arc::clone(&core), vec![local]).await;
        assert!(Arc::ptr_eq(&running, &core.running().expect("it still is")));
        core.stop(false);
    }
}
