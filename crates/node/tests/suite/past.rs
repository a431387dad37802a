//! The past of a cluster of real processes: replicas that answer while their leader is away, and versions
//! that go when nobody can read them any more.

use std::time::Duration;

use crate::support::{Cluster, eventually};
use tokio_postgres::Client;

async fn number(client: &Client, sql: &str) -> Result<i64, String> {
    let row = client.query_one(sql, &[]).await.map_err(|e| described(&e))?;
    row.try_get(0).map_err(|e| e.to_string())
}

fn described(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}", db.code().code(), db.message()),
        None => error.to_string(),
    }
}

/// The sum of a counter over all nodes that run.
async fn counted(cluster: &Cluster, name: &str) -> u64 {
    let mut sum = 0;
    for node in cluster.nodes.iter().filter(|node| node.is_running()) {
        let page = crate::support::http_get(node.ports.http, "/metrics").await;
        let lines = page.lines().filter_map(|line| line.strip_prefix(name));
        sum += lines.filter_map(|value| value.trim().parse::<u64>().ok()).sum::<u64>();
    }
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_answers_while_the_leader_is_stopped() {
    let cluster = Cluster::start(3, &[]).await;
    let leader = eventually("a leader", || async {
        cluster.busiest_leader().ok_or_else(|| "nobody leads".to_owned())
    })
    .await;
    let writer = cluster.nodes[leader].connect().await;
    let fill = "CREATE TABLE t (id int PRIMARY KEY, v int);
                INSERT INTO t SELECT g, 0 FROM generate_series(1, 100) g";
    writer.batch_execute(fill).await.expect("fills");
    let then = time(&writer).await;
    writer.batch_execute("UPDATE t SET v = v + 1").await.expect("updates");

    // A node whose replica knows by itself that nothing is written any more at that time. The table has
    // been quiet since, so it knows from messages between nodes, not from the log.
    let follower = (leader + 1) % 3;
    let reader = cluster.nodes[follower].connect().await;
    let at = format!("SELECT count(*) FROM t AS OF SYSTEM TIME {then} WHERE v = 0");
    let metric = "conclave_kv_follower_reads";
    eventually("a read that the follower answers itself", || async {
        let page = || crate::support::http_get(cluster.nodes[follower].ports.http, "/metrics");
        let count = |page: String| {
            let line = page.lines().find_map(|line| line.strip_prefix(metric).map(str::to_owned));
            line.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        let before = count(page().await);
        let found = number(&reader, &at).await?;
        assert_eq!(found, 100, "all rows as they were");
        if count(page().await) > before { Ok(()) } else { Err("the leader answered".to_owned()) }
    })
    .await;

    cluster.nodes[leader].signal("STOP");
    let answer = tokio::time::timeout(Duration::from_secs(5), number(&reader, &at)).await;
    cluster.nodes[leader].signal("CONT");
    assert_eq!(answer.expect("answered while the leader was stopped"), Ok(100));
    // And everything goes on.
    eventually("the present", || number(&reader, "SELECT count(*) FROM t WHERE v = 1")).await;
}

/// Waits until the collectors of all nodes together have looked for garbage so often again.
async fn turns(cluster: &Cluster, count: u64) {
    let name = "conclave_garbage_turns_total";
    let before = counted(cluster, name).await;
    eventually("turns of the collectors", || async {
        let turns = counted(cluster, name).await;
        if turns >= before + count { Ok(()) } else { Err(format!("{turns} after {before}")) }
    })
    .await;
}

/// The time of a statement that begins now.
async fn time(client: &Client) -> String {
    let row = client.query_one("SELECT cluster_logical_timestamp()::text", &[]).await;
    row.expect("a time").get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_versions_go_after_gc_ttl() {
    let cluster = Cluster::start(3, &[]).await;
    let client = cluster.nodes[0].connect().await;
    let make = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0);
                CREATE TABLE gone (id int PRIMARY KEY); INSERT INTO gone VALUES (1)";
    client.batch_execute(make).await.expect("makes");
    client.batch_execute("SET CLUSTER SETTING gc.ttl = '2s'").await.expect("sets");
    let then = time(&client).await;

    // Somebody reads the old rows, for as long as it takes.
    let open = cluster.nodes[1].connect().await;
    open.batch_execute(&format!("BEGIN AS OF SYSTEM TIME {then}")).await.expect("begins");
    assert_eq!(number(&open, "SELECT v::bigint FROM t").await, Ok(0));

    client.batch_execute("DROP TABLE gone").await.expect("drops");
    let update = client.prepare("UPDATE t SET v = v + 1 WHERE id = 1").await.expect("prepares");
    for _ in 0..1000 {
        client.execute(&update, &[]).await.expect("updates");
    }
    let dropped = "conclave_garbage_dropped_total";
    // Enough that they would have gone, were it not for that snapshot.
    turns(&cluster, 30).await;
    assert_eq!(number(&open, "SELECT v::bigint FROM t").await, Ok(0), "it is still read");
    assert_eq!(number(&open, "SELECT count(*) FROM gone").await, Ok(1), "so is what was dropped");
    let held = counted(&cluster, dropped).await;
    assert!(held < 500, "{held} were dropped although a snapshot needs them");
    open.batch_execute("COMMIT").await.expect("ends");

    eventually("old versions are dropped", || async {
        let dropped = counted(&cluster, dropped).await;
        if dropped >= 999 { Ok(()) } else { Err(format!("{dropped} of 999")) }
    })
    .await;
    let too_old = format!("SELECT v::bigint FROM t AS OF SYSTEM TIME {then}");
    assert_eq!(number(&client, &too_old).await, Err("72000 snapshot too old".to_owned()));
    assert_eq!(number(&client, "SELECT v::bigint FROM t").await, Ok(1000));
    // Quiet ranges are left alone.
    let before = counted(&cluster, "conclave_log_entries_total").await;
    turns(&cluster, 12).await;
    let after = counted(&cluster, "conclave_log_entries_total").await;
    assert!(
        after - before < 60,
        "{} log entries of a cluster where nothing happens",
        after - before
    );
}
