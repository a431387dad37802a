//! The database as the node's upper layers see it: begins transactions, and administers ranges.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use base::{Key, KeyRange, NodeId, Timestamp};
use parking_lot::Mutex;
use proto::kv::range_request::Request;
use proto::kv::range_response::Response;
use proto::{kv, meta};
use txn::deadlock::{Config as DetectorConfig, Detector};

use crate::config::Config;
use crate::directory::Directory;
use crate::error::KvError;
use crate::inspect::Contention;
use crate::memory::MemoryBudget;
use crate::metrics::Metrics;
use crate::oracle::Oracle;
use crate::registry::Registry;
use crate::router::{Refusal, Replay, Router, refused_outside_txn, unexpected};
use crate::runtime::{Runtime, TokioRuntime};
use crate::snapshots::Snapshots;
use crate::transport::Transport;
use crate::txn::{Txn, TxnOptions};
use crate::xact::Xacts;

/// What all transactions of a node share.
pub(crate) struct Shared {
    pub(crate) router: Router,
    pub(crate) oracle: Oracle,
    pub(crate) registry: Registry,
    pub(crate) snapshots: Snapshots,
    pub(crate) xacts: Xacts,
    pub(crate) detector: Mutex<Detector>,
    pub(crate) contention: Contention,
    /// Commits whose locks are being settled in the background.
    pub(crate) resolving: Arc<AtomicUsize>,
    row_ids: Mutex<std::ops::Range<u64>>,
}

/// The cluster's key-value store, seen from one node. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    pub(crate) shared: Arc<Shared>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("node", &self.shared.router.transport.local_node()).finish()
    }
}

impl Db {
    /// A client over a transport. Needs a tokio runtime when transactions run, not before.
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, config: Config) -> Db {
        Db::with_runtime(transport, config, Arc::new(TokioRuntime))
    }

    /// A client over a transport with tasks and time of its own (a simulator's).
    #[must_use]
    pub fn with_runtime(
        transport: Arc<dyn Transport>,
        config: Config,
        runtime: Arc<dyn Runtime>,
    ) -> Db {
        let (node, incarnation) = transport.local_node();
        let detector = Mutex::new(Detector::new(node, incarnation, DetectorConfig::default()));
        let router = Router {
            transport,
            runtime,
            config,
            metrics: Metrics::default(),
            directory: Directory::new(),
        };
        Db {
            shared: Arc::new(Shared {
                router,
                oracle: Oracle::default(),
                registry: Registry::default(),
                snapshots: Snapshots::default(),
                xacts: Xacts::default(),
                detector,
                contention: Contention::default(),
                resolving: Arc::default(),
                row_ids: Mutex::new(0..0),
            }),
        }
    }

    /// Begins a transaction. Nothing is sent until its first statement.
    #[must_use]
    pub fn begin(&self, options: TxnOptions) -> Arc<Txn> {
        Txn::new(self.shared.clone(), options)
    }

    /// A fresh timestamp: above every commit that was acknowledged before the call.
    pub async fn now(&self) -> Result<Timestamp, KvError> {
        self.shared.oracle.draw(&self.shared.router).await
    }

    /// Time since some moment in the past, by the clock that everything here goes by.
    #[must_use]
    pub fn clock(&self) -> Duration {
        self.shared.router.runtime.now()
    }

    /// A pause, by the same clock.
    pub async fn sleep(&self, duration: Duration) {
        self.shared.router.runtime.sleep(duration).await;
    }

    /// Runs a task to its end, in the background.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.router.runtime.spawn(Box::pin(task));
    }

    /// The wall clock in microseconds since 1970, for people to read: nothing is decided by it.
    #[must_use]
    pub fn unix_micros(&self) -> u64 {
        self.shared.router.runtime.unix_micros()
    }

    /// Bytes that one transaction may write.
    #[must_use]
    pub fn txn_memory(&self) -> usize {
        self.shared.router.config.txn_memory
    }

    /// What all transactions and statements of this node may use together.
    #[must_use]
    pub fn memory(&self) -> &Arc<MemoryBudget> {
        &self.shared.router.config.memory
    }

    /// The newest timestamp that this node has drawn; zero before the first. Asks nobody.
    #[must_use]
    pub fn newest_known(&self) -> Timestamp {
        self.shared.oracle.newest_known()
    }

    /// The oldest snapshot that a transaction of this node may still read, if any is open.
    #[must_use]
    pub fn oldest_snapshot(&self) -> Option<Timestamp> {
        self.shared.snapshots.oldest()
    }

    /// The settings of the cluster that were ever set, by name.
    pub async fn cluster_settings(&self) -> Result<BTreeMap<String, String>, KvError> {
        let all = self.query(meta::system_query::Query::AllSettings(true)).await?.settings;
        let set = all.into_iter().filter(|setting| !setting.value.is_empty());
        Ok(set.map(|setting| (setting.name, setting.value)).collect())
    }

    /// Sets a setting of the cluster; the empty value is that of one that was never set.
    pub async fn set_cluster_setting(&self, name: &str, value: &str) -> Result<(), KvError> {
        let put = meta::PutSetting { name: name.to_owned(), value: value.to_owned() };
        self.system(meta::system_command::Command::PutSetting(put)).await.map(drop)
    }

    /// Whether two keys lie in one range, as far as this node remembers. Asks nobody.
    #[must_use]
    pub fn in_one_range(&self, a: &Key, b: &Key) -> bool {
        let route = self.shared.router.directory.lookup(a.as_bytes());
        route.is_some_and(|route| route.span.contains(b.as_bytes()))
    }

    /// Splits the ranges that hold `keys` at these keys. A key at which a range already begins is
    /// left alone, so that a repeated request does no harm.
    pub async fn split(&self, keys: &[Key]) -> Result<(), KvError> {
        let router = &self.shared.router;
        let mut keys: Vec<Key> = keys.to_vec();
        keys.sort();
        keys.dedup();
        let mut patience = router.patience();
        while let Some(first) = keys.first().cloned() {
            let route = router.route(first.as_bytes()).await?;
            let inside = keys.partition_point(|key| route.span.contains(key.as_bytes()));
            let group: Vec<_> = keys[..inside]
                .iter()
                .filter(|k| **k != route.span.start)
                .map(|k| k.0.clone())
                .collect();
            if group.is_empty() {
                keys.drain(..inside);
                continue;
            }
            let build = || (None, Request::Split(kv::Split { keys: group.clone() }));
            match router.call(&route, Replay::Safe, build).await {
                Ok(Response::Split(result)) => {
                    for descriptor in result.ranges {
                        router.directory.insert(descriptor);
                    }
                    keys.drain(..inside);
                }
                Ok(other) => return Err(unexpected("a split", &other)),
                // Unless the split was carried out by an earlier attempt, the keys go to the ranges
                // that hold them now.
                Err(Refusal::Moved) => {
                    router.pause(&mut patience, first.as_bytes(), "the range keeps moving").await?;
                }
                Err(Refusal::Range(error)) => return Err(refused_outside_txn(error)),
                Err(Refusal::Unavailable(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Carries out a command on the replicated state of the system range.
    pub async fn system(
        &self,
        command: meta::system_command::Command,
    ) -> Result<meta::system_result::Result, KvError> {
        let command = meta::SystemCommand { command: Some(command) };
        match self.shared.router.call_system(Request::SystemCommand(command)).await? {
            Response::SystemResult(meta::SystemResult {
                result: Some(meta::system_result::Result::Error(error)),
            }) => Err(KvError::Invalid(error)),
            Response::SystemResult(meta::SystemResult { result: Some(result) }) => Ok(result),
            other => Err(unexpected("a system command", &other)),
        }
    }

    /// Reads the replicated state of the system range.
    pub async fn query(
        &self,
        query: meta::system_query::Query,
    ) -> Result<meta::SystemAnswer, KvError> {
        self.shared.router.query(query).await
    }

    /// Gives out `count` consecutive ids that nobody else in the cluster ever gets, and returns the
    /// first. Row ids come from a block kept by this node; ids of one node rise, with gaps.
    pub async fn allocate_ids(
        &self,
        kind: meta::allocate_ids::Kind,
        count: u64,
    ) -> Result<u64, KvError> {
        if kind != meta::allocate_ids::Kind::Row {
            return self.fetch_ids(kind, count).await;
        }
        loop {
            {
                let mut block = self.shared.row_ids.lock();
                if block.end - block.start >= count {
                    let first = block.start;
                    block.start += count;
                    return Ok(first);
                }
            }
            let size = self.shared.router.config.id_block.max(count);
            let first = self.fetch_ids(kind, size).await?;
            let mut block = self.shared.row_ids.lock();
            // Several callers may fetch at once; all but one block are then lost, which is a gap.
            if block.end - block.start < count {
                *block = first..first + size;
            }
        }
    }

    async fn fetch_ids(&self, kind: meta::allocate_ids::Kind, count: u64) -> Result<u64, KvError> {
        let command = meta::AllocateIds { kind: kind as i32, count };
        match self.system(meta::system_command::Command::AllocateIds(command)).await? {
            meta::system_result::Result::FirstId(first) => Ok(first),
            other => Err(KvError::Invalid(format!("ids were answered by {other:?}"))),
        }
    }

    /// Every range of the cluster, as the directory knows them.
    pub async fn ranges(&self) -> Result<Vec<meta::RangeDescriptor>, KvError> {
        let answer = self.query(meta::system_query::Query::AllRanges(true)).await?;
        for range in &answer.ranges {
            self.shared.router.directory.insert(range.clone());
        }
        Ok(answer.ranges)
    }

    /// Asks the leader of the range that holds `key` how it is.
    pub async fn range_status(&self, key: &Key) -> Result<kv::RangeStatusResult, KvError> {
        let router = &self.shared.router;
        loop {
            let route = router.route(key.as_bytes()).await?;
            let build = || (None, Request::RangeStatus(kv::RangeStatus {}));
            match router.call(&route, Replay::Safe, build).await {
                Ok(Response::RangeStatus(status)) => return Ok(status),
                Ok(other) => return Err(unexpected("a range's status", &other)),
                Err(Refusal::Moved) => {}
                Err(Refusal::Range(error)) => return Err(refused_outside_txn(error)),
                Err(Refusal::Unavailable(error)) => return Err(error),
            }
        }
    }

    /// How a span lies over ranges, as far as this node has heard, for planning parallel scans: the
    /// parts of `span` in key order, each with the node that was last seen leading it.
    #[must_use]
    pub fn partitions(&self, span: &KeyRange) -> Vec<(KeyRange, Option<NodeId>)> {
        let routes = self.shared.router.directory.all();
        let parts = routes.iter().filter_map(|r| Some((r.span.intersect(span)?, r.leader())));
        parts.collect()
    }

    /// Takes in a descriptor that this node heard of otherwise (its own replicas, a join).
    pub fn learn_range(&self, descriptor: meta::RangeDescriptor) {
        self.shared.router.directory.insert(descriptor);
    }

    /// Takes in who leads a range, if the range is known.
    pub fn learn_leader(&self, range: base::RangeId, leader: NodeId) {
        if let Some(route) = self.shared.router.directory.all().iter().find(|r| r.id == range) {
            route.set_leader(Some(leader));
        }
    }

    /// Transactions of this node that have begun and not ended, those that can't write left out.
    #[must_use]
    pub fn open_transactions(&self) -> usize {
        self.shared.registry.len()
    }

    /// Counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.router.metrics
    }

    /// This node.
    #[must_use]
    pub fn local_node(&self) -> NodeId {
        self.shared.router.transport.local_node().0
    }
}
