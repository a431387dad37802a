//! A table gets indexes and constraints, and other rows, while others write to it: nobody is told to try again, no row
//! is missing, and the gateway that carries the change out may die.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{Cluster, eventually};
use tokio_postgres::Client;

const ROWS: i64 = 6_000;
const WRITERS: i64 = 4;
/// Statements that each writer gets through before an index is begun.
const PROGRESS: u64 = 20;

/// Inserts, changes and deletes rows of its own, one statement at a time, until told to stop. Some of them are
/// transactions that change a row besides which others want, too.
async fn write(client: Client, writer: i64, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    for n in (0i64..).take_while(|_| !stop.load(Ordering::Relaxed)) {
        let (old, new) = ((n * WRITERS + writer) % ROWS, ROWS + n * WRITERS + writer);
        let hot = format!("UPDATE hot SET n = n + 1 WHERE id = {}", n % 3);
        let statement = match n % 6 {
            0 => format!("UPDATE t SET v = v + 7 WHERE id = {old}"),
            1 => format!("DELETE FROM t WHERE id = {old}"),
            2 => format!("INSERT INTO t VALUES ({new}, {new} % 100, 'new')"),
            3 => format!("BEGIN; UPDATE t SET v = -v, w = 'x' WHERE id = {old}; COMMIT"),
            4 => format!("BEGIN; UPDATE t SET v = v + 1 WHERE id = {old}; {hot}; COMMIT"),
            _ => format!("BEGIN; {hot}; UPDATE t SET v = v + 1 WHERE id = {old}; COMMIT"),
        };
        let result = client.batch_execute(&statement).await;
        result.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        done.fetch_add(1, Ordering::Relaxed);
    }
}

async fn fill(client: &Client) {
    let table = format!(
        "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL, w text);
         INSERT INTO t SELECT g, g % 100, 'old' FROM generate_series(0, {ROWS} - 1) g;
         CREATE TABLE hot (id int PRIMARY KEY, n int NOT NULL);
         INSERT INTO hot VALUES (0, 0), (1, 0), (2, 0)"
    );
    client.batch_execute(&table).await.expect("a table");
    let split = format!("ALTER TABLE t SPLIT AT VALUES ({}), ({})", ROWS / 3, 2 * ROWS / 3);
    client.batch_execute(&split).await.expect("a split");
}

/// Rows by value, found by whatever `condition` makes the planner use.
async fn found(client: &Client, condition: &str) -> Vec<(i32, i64)> {
    let sql = format!("SELECT v, count(*) FROM t WHERE {condition} GROUP BY v ORDER BY v");
    let rows = client.query(&sql, &[]).await.expect("rows");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_altered_beside_writers() {
    let cluster = Cluster::start(3, &[]).await;
    let client = cluster.nodes[0].connect().await;
    fill(&client).await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let node = usize::try_from(writer).expect("small") % cluster.nodes.len();
        let connected = cluster.nodes[node].connect().await;
        writers.push(tokio::spawn(write(connected, writer, stop.clone(), done.clone())));
    }
    let count = || done.load(Ordering::Relaxed);
    let progress = |from: u64, what: &'static str| async move {
        eventually(what, || async {
            let now = count();
            if now >= from + PROGRESS { Ok(()) } else { Err(format!("{now} of {from}")) }
        })
        .await;
    };
    progress(0, "some writes").await;
    for create in [
        "CREATE INDEX by_v ON t (v)",
        "CREATE UNIQUE INDEX by_w ON t (w, id)",
        "CREATE INDEX CONCURRENTLY negative ON t (v) WHERE v < 0",
        "ALTER TABLE t ADD CONSTRAINT large CHECK (v > -1000000)",
        "ALTER TABLE t ADD CONSTRAINT once UNIQUE (v, id)",
        "ALTER TABLE t ALTER w SET NOT NULL",
        "ALTER TABLE t ALTER v TYPE bigint",
        "ALTER TABLE t ALTER v TYPE int",
        "ALTER TABLE t ADD COLUMN u uuid DEFAULT gen_random_uuid()",
        "DROP INDEX negative",
    ] {
        client.batch_execute(create).await.unwrap_or_else(|error| panic!("{create}: {error:?}"));
        progress(count(), "writes after the change").await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("no write fails");
    }
    let left = client.query("SELECT * FROM conclave.schema_changes", &[]).await.expect("rows");
    assert!(left.is_empty(), "{left:?}");
    let plan = client.query("EXPLAIN SELECT id FROM t WHERE v = 7", &[]).await.expect("a plan");
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("by_v")), "{plan:?}");
    for value in [-50, 7, 42, 107] {
        let (by_index, by_rows) = (format!("v = {value}"), format!("v + 0 = {value}"));
        assert_eq!(found(&client, &by_index).await, found(&client, &by_rows).await, "{by_index}");
    }
    assert_eq!(found(&client, "v < 0").await, found(&client, "v + 0 < 0").await);
    let counted = "SELECT (SELECT count(*) FROM t WHERE w = 'new'), (SELECT count(*) FROM t WHERE w || '' = 'new')";
    let row = client.query_one(counted, &[]).await.expect("a row");
    assert_eq!(row.get::<_, i64>(0), row.get::<_, i64>(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_whose_builder_dies_goes_with_it() {
    let mut cluster = Cluster::start(3, &[]).await;
    let client = cluster.nodes[0].connect().await;
    fill(&client).await;
    cluster.wait_replicated(3).await;
    let unfinished = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    let builder = cluster.nodes[1].connect().await;
    let building = tokio::spawn(async move {
        for n in 0.. {
            let create = format!("CREATE INDEX CONCURRENTLY again_{n} ON t (v, w)");
            if builder.batch_execute(&create).await.is_err() {
                return;
            }
        }
    });
    eventually("an index that is being built", || async {
        let row = client.query_one(unfinished, &[]).await.map_err(|error| error.to_string())?;
        let many: i64 = row.get(0);
        if many > 0 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
    cluster.nodes[1].kill();
    building.await.expect("it ended");
    cluster.nodes[1].spawn();
    cluster.nodes[1].wait_ready();
    tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let row = client.query_one(unfinished, &[]).await;
            if row.is_ok_and(|row| row.get::<_, i64>(0) == 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await
    .expect("what a dead process was building goes");
    client.batch_execute("INSERT INTO t VALUES (-1, 1, 'after')").await.expect("all is well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_opens_when_who_closed_it_dies() {
    let mut cluster = Cluster::start(3, &[]).await;
    let client = cluster.nodes[0].connect().await;
    fill(&client).await;
    cluster.wait_replicated(3).await;
    client.batch_execute("BEGIN; INSERT INTO t VALUES (-1, 1, 'early')").await.expect("a write");
    let closer = cluster.nodes[1].connect().await;
    let closing = tokio::spawn(async move {
        closer.batch_execute("ALTER TABLE t ALTER v TYPE text").await.expect_err("its node dies");
    });
    let other = cluster.nodes[2].connect().await;
    eventually("a closed table", || async {
        let closed = "SELECT count(*) FROM conclave.schema_changes WHERE state = 'closed'";
        let row = other.query_one(closed, &[]).await.map_err(|error| error.to_string())?;
        if row.get::<_, i64>(0) == 1 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
    let writing = tokio::spawn(async move {
        other.batch_execute("UPDATE t SET w = 'late' WHERE id = 5").await.expect("it goes on");
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!writing.is_finished(), "the table is closed");
    cluster.nodes[1].kill();
    closing.await.expect("it ended");
    let written = tokio::time::timeout(Duration::from_secs(60), writing).await;
    written.expect("the table opens").expect("it goes on");
    client.batch_execute("COMMIT").await.expect("whoever has written goes on");
}
