//! What EXPLAIN foretells of a statement on three nodes is what EXPLAIN ANALYZE then counts, and what the
//! gateway's own figures say.

use crate::support::{Cluster, Node, eventually};
use serde_json::Value;
use tokio_postgres::{Client, SimpleQueryMessage};

const SETUP: &str = "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL);
    INSERT INTO t SELECT g, 0 FROM generate_series(0, 299) g;
    ALTER TABLE t SPLIT AT VALUES (100), (200)";

/// The one value that a statement returns, as JSON.
async fn explained(client: &Client, sql: &str) -> Value {
    let messages = client.simple_query(sql).await.expect(sql);
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: Value = serde_json::from_str(row.expect("a row")).expect("JSON");
    plan[0].clone()
}

fn number(plan: &Value, name: &str) -> u64 {
    plan[name].as_u64().unwrap_or_else(|| panic!("no {name} in {plan}"))
}

fn trips(plan: &Value, name: &str) -> (u64, u64) {
    (number(plan, &format!("{name} Local")), number(plan, &format!("{name} Remote")))
}

/// Waits until the gateway has nothing under way that would be counted.
async fn quiet(node: &Node) {
    let figure = || node.metric("conclave_kv_consensus_rounds");
    eventually("no command for a while", || async {
        let before = figure();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        if figure() == before { Ok(()) } else { Err("still busy") }
    })
    .await;
}

/// A statement that is all of its transaction: foretold, run and counted, run and looked at from outside.
async fn as_foretold(cluster: &Cluster, client: &Client, sql: &str) -> Value {
    let gateway = &cluster.nodes[0];
    // Leaders move now and then; in between nothing does.
    eventually(sql, || async {
        let foretold = explained(client, &format!("EXPLAIN (RANGES, FORMAT JSON) {sql}")).await;
        let counted = explained(client, &format!("EXPLAIN (ANALYZE, FORMAT JSON) {sql}")).await;
        let before = gateway.metric("conclave_kv_commit_rounds");
        client.simple_query(sql).await.expect(sql);
        let rounds = gateway.metric("conclave_kv_commit_rounds") - before;
        let mut commit = (0, 0);
        if counted.get("Commit Round Trips").is_some() {
            commit = trips(&counted, "Commit Round Trips");
        }
        let same = number(&foretold, "Expected Ranges") == number(&counted, "Ranges")
            && trips(&foretold, "Expected Round Trips") == trips(&counted, "Round Trips")
            && trips(&foretold, "Expected Commit Round Trips") == commit
            && number(&foretold, "Expected Consensus Rounds")
                == number(&counted, "Consensus Rounds")
            && number(&counted, "Consensus Rounds") == rounds;
        match same {
            true => Ok(foretold),
            false => Err(format!("{rounds} rounds\nforetold {foretold}\ncounted {counted}")),
        }
    })
    .await
}

fn total(plan: &Value, name: &str) -> u64 {
    let (local, remote) = trips(plan, name);
    local + remote
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_foretold_is_what_is_counted() {
    let cluster = Cluster::start(3, &[]).await;
    let client = cluster.nodes[0].connect().await;
    for statement in SETUP.split(';') {
        client.simple_query(statement).await.expect(statement);
    }
    cluster.wait_replicated(3).await;
    cluster.wait_leaders_spread().await;

    let point = "UPDATE t SET v = v + 1 WHERE id = 42";
    let foretold = as_foretold(&cluster, &client, point).await;
    assert_eq!(number(&foretold, "Expected Consensus Rounds"), 1);
    assert_eq!(total(&foretold, "Expected Round Trips"), 1);
    assert_eq!(total(&foretold, "Expected Commit Round Trips"), 1);
    let commit = foretold["Expected Commit"].as_str().unwrap_or_default();
    assert!(commit.starts_with("one phase (1PC) in range "), "{commit}");

    let two = "UPDATE t SET v = v + 1 WHERE id IN (7, 107)";
    let foretold = as_foretold(&cluster, &client, two).await;
    assert_eq!(number(&foretold, "Expected Ranges"), 2);
    assert_eq!(number(&foretold, "Expected Consensus Rounds"), 1);
    // To read, to lock; and to commit.
    assert_eq!(total(&foretold, "Expected Round Trips"), 4);
    assert_eq!(total(&foretold, "Expected Commit Round Trips"), 2);
    let commit = foretold["Expected Commit"].as_str().unwrap_or_default();
    assert!(commit.starts_with("parallel over ranges "), "{commit}");

    let scan = "SELECT sum(v) FROM t WHERE id BETWEEN 50 AND 250";
    let foretold = as_foretold(&cluster, &client, scan).await;
    assert_eq!(number(&foretold, "Expected Ranges"), 3);
    assert_eq!(total(&foretold, "Expected Round Trips"), 3);
    assert_eq!(number(&foretold, "Expected Consensus Rounds"), 0);

    let locking = "SELECT * FROM t WHERE id = 142 FOR UPDATE";
    let foretold = as_foretold(&cluster, &client, locking).await;
    assert_eq!(number(&foretold, "Expected Consensus Rounds"), 0);
    assert_eq!(foretold["Expected Commit"], "verification of what is locked");

    as_foretold(&cluster, &client, "UPDATE t SET v = v + 1 WHERE id BETWEEN 90 AND 110").await;
    as_foretold(&cluster, &client, "SELECT * FROM t WHERE id = 299").await;
    client
        .simple_query("SET default_transaction_isolation = 'read committed'")
        .await
        .expect("a level");
    let foretold = as_foretold(&cluster, &client, point).await;
    assert_eq!(number(&foretold, "Expected Consensus Rounds"), 1);
    as_foretold(&cluster, &client, two).await;
    as_foretold(&cluster, &client, scan).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commit_of_a_block_is_foretold_with_what_it_has_done_so_far() {
    let cluster = Cluster::start(3, &[]).await;
    let client = cluster.nodes[0].connect().await;
    for statement in SETUP.split(';') {
        client.simple_query(statement).await.expect(statement);
    }
    cluster.wait_replicated(3).await;
    cluster.wait_leaders_spread().await;
    let gateway = &cluster.nodes[0];
    client.simple_query("BEGIN").await.expect("BEGIN");
    client.simple_query("UPDATE t SET v = 1 WHERE id = 7").await.expect("the first range");
    let second = "UPDATE t SET v = 2 WHERE id = 207";
    let foretold = explained(&client, &format!("EXPLAIN (RANGES, FORMAT JSON) {second}")).await;
    assert_eq!(number(&foretold, "Expected Ranges"), 1, "{foretold}");
    assert_eq!(total(&foretold, "Expected Commit Round Trips"), 2, "{foretold}");
    assert_eq!(number(&foretold, "Expected Consensus Rounds"), 1, "{foretold}");
    let commit = foretold["Expected Commit"].as_str().unwrap_or_default();
    assert!(commit.starts_with("parallel over ranges "), "{commit}");
    let counted = explained(&client, &format!("EXPLAIN (ANALYZE, FORMAT JSON) {second}")).await;
    assert!(counted.get("Commit Round Trips").is_none(), "the block goes on: {counted}");
    quiet(gateway).await;
    let before = gateway.metric("conclave_kv_commit_rounds");
    client.simple_query("COMMIT").await.expect("COMMIT");
    assert_eq!(gateway.metric("conclave_kv_commit_rounds") - before, 1);
    // ANALYZE has really done it.
    let rows =
        client.query("SELECT v FROM t WHERE id IN (7, 207) ORDER BY id", &[]).await.expect("rows");
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [1, 2]);
}
