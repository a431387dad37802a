//! The anomalies of Hermitage's matrix, and the waits around them, at every level, over a cluster in
//! memory: on one range, and with every row in a range of its own.

mod script;

use std::sync::Arc;

use crate::support::TextSink;
use futures::future::BoxFuture;
use kv::testing::FakeCluster;
use script::{Answer, Client, Level, Script, Server};
use sql::session::{Engine, EngineConfig, Session};

struct Fake {
    cluster: FakeCluster,
    engine: Arc<Engine>,
}

struct InMemory(Session);

impl Client for InMemory {
    fn run(&mut self, sql: String) -> BoxFuture<'_, Result<Answer, String>> {
        Box::pin(async move {
            let mut sink = TextSink::default();
            if let Err(error) = self.0.simple(&sql, &mut sink).await {
                return Err(format!("{} {}", error.code(), error.message()));
            }
            let tag = sink.lines.pop().expect("a tag");
            let count = tag.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            Ok(Answer { rows: sink.lines, count })
        })
    }
}

impl Server for Fake {
    fn connect(&self) -> BoxFuture<'_, Box<dyn Client>> {
        Box::pin(async {
            Box::new(InMemory(crate::support::connect(&self.engine).await)) as Box<dyn Client>
        })
    }

    fn waiting(&self) -> BoxFuture<'_, usize> {
        Box::pin(async { self.cluster.waiting() })
    }
}

async fn matrix(split: bool) {
    for script in Script::all("scripts/isolation") {
        for level in Level::ALL {
            let cluster = FakeCluster::with_nodes(if split { 3 } else { 1 });
            let engine = Engine::new(cluster.db(), EngineConfig::default());
            let mut session = crate::support::connect(&engine).await;
            let setup = "CREATE TABLE test (id int PRIMARY KEY, value int);
                         INSERT INTO test VALUES (1, 10), (2, 20)";
            let done = crate::support::run(&mut session, setup).await;
            assert_eq!(done, "-- CREATE TABLE\n-- INSERT 0 2");
            if split {
                let at = "ALTER TABLE test SPLIT AT VALUES (2), (3), (4)";
                assert_eq!(crate::support::run(&mut session, at).await, "-- ALTER TABLE");
                cluster.spread_leaders();
            }
            script.play(&Fake { cluster, engine }, level).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anomalies_are_prevented_as_the_level_says_on_one_range() {
    matrix(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anomalies_are_prevented_as_the_level_says_over_several_ranges() {
    matrix(true).await;
}
