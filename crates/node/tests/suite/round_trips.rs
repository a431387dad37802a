//! What a statement costs in round trips, on nodes whose messages take 20 ms each way.
//!
//! Counted by the gateway's own figures: `commit_rounds` are consensus rounds that a client waited
//! for at COMMIT, one after another; `consensus_rounds` are all commands sent to any range's log.
//! The clock confirms it: a round more is 40 ms or more.

use std::time::{Duration, Instant};

use crate::support::Cluster;
use tokio_postgres::Client;

/// From the gateway to a leader elsewhere, from there to a follower, and back: four wires. One round
/// more would be two wires more.
const ONE_ROUND_MAX: Duration = Duration::from_millis(115);
/// The quickest of so many is taken: a busy machine makes others slower.
const TRIES: usize = 12;

/// What a run of statements has raised the gateway's figures by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    commit_rounds: u64,
    consensus_rounds: u64,
}

struct Gateway<'a> {
    cluster: &'a Cluster,
    client: Client,
}

impl Gateway<'_> {
    fn figures(&self) -> Cost {
        let node = &self.cluster.nodes[0];
        Cost {
            commit_rounds: node.metric("conclave_kv_commit_rounds"),
            consensus_rounds: node.metric("conclave_kv_consensus_rounds"),
        }
    }

    /// Runs the statements one by one: what they cost, and how long the last one took.
    async fn run(&self, statements: &[&str]) -> (Cost, Duration) {
        let before = self.figures();
        let mut took = Duration::ZERO;
        for statement in statements {
            let begun = Instant::now();
            self.client.simple_query(statement).await.expect(statement);
            took = begun.elapsed();
        }
        let after = self.figures();
        let cost = Cost {
            commit_rounds: after.commit_rounds - before.commit_rounds,
            consensus_rounds: after.consensus_rounds - before.consensus_rounds,
        };
        (cost, took)
    }

    /// Waits until nothing is under way in the background that would be counted.
    async fn quiet(&self) {
        crate::support::eventually("no command for a while", || async {
            let before = self.figures();
            tokio::time::sleep(Duration::from_millis(300)).await;
            if self.figures() == before { Ok(()) } else { Err("still busy") }
        })
        .await;
    }

    /// Runs the statements several times, which must cost the same each time: the rounds waited for,
    /// and how long the last statement took at best.
    async fn measure(&self, statements: &[&str]) -> (u64, Duration) {
        let mut costs = Vec::new();
        let mut quickest = Duration::MAX;
        for _ in 0..TRIES {
            let (cost, took) = self.run(statements).await;
            costs.push(cost.commit_rounds);
            quickest = quickest.min(took);
            if took < ONE_ROUND_MAX && costs.len() > 2 {
                break;
            }
        }
        let first = costs[0];
        assert!(costs.iter().all(|cost| *cost == first), "{statements:?}: {costs:?}");
        (first, quickest)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_consensus_round_to_commit_and_none_to_read() {
    let cluster = Cluster::start(3, &["--rpc-delay-ms", "20"]).await;
    let client = cluster.nodes[0].connect().await;
    let gateway = Gateway { cluster: &cluster, client };
    let setup = "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL);
        INSERT INTO t SELECT g, 0 FROM generate_series(0, 299) g;
        ALTER TABLE t SPLIT AT VALUES (100), (200)";
    for statement in setup.split(';') {
        gateway.client.simple_query(statement).await.expect(statement);
    }
    cluster.wait_replicated(3).await;
    // A leader that moves in the middle of a transaction costs a round more.
    cluster.wait_leaders_spread().await;

    let across = [
        "BEGIN",
        "UPDATE t SET v = v + 1 WHERE id = 7",
        "UPDATE t SET v = v + 1 WHERE id = 107",
        "UPDATE t SET v = v + 1 WHERE id = 207",
    ];
    let across_and = |end: &'static str| -> Vec<&str> { across.into_iter().chain([end]).collect() };
    for level in ["serializable", "repeatable read", "read committed"] {
        let set = format!("SET default_transaction_isolation = '{level}'");
        gateway.client.simple_query(&set).await.expect("a level");
        // Leaders, routes and plans are known after the first time.
        gateway.run(&across_and("COMMIT")).await;

        let (rounds, _) = gateway.measure(&["UPDATE t SET v = v + 1 WHERE id = 42"]).await;
        assert_eq!(rounds, 1, "{level}: an autocommit write in one range");

        let (rounds, took) = gateway.measure(&across_and("COMMIT")).await;
        assert_eq!(rounds, 1, "{level}: a transaction over three ranges");
        // The weaker levels verify the catalog's version by itself, before the commit and not along with it.
        if level == "serializable" {
            assert!(took < ONE_ROUND_MAX, "{level}: COMMIT over three ranges took {took:?}");
        }

        gateway.quiet().await;
        let none = Cost { commit_rounds: 0, consensus_rounds: 0 };
        let (cost, _) = gateway.run(&across_and("ROLLBACK")).await;
        assert_eq!(cost, none, "{level}: a rollback");
        let reads = ["SELECT * FROM t WHERE id = 7", "BEGIN", "SELECT sum(v) FROM t", "COMMIT"];
        let (cost, _) = gateway.run(&reads).await;
        assert_eq!(cost, none, "{level}: reads");
    }
}
