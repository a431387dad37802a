//! A table gets indexes and constraints while others write to it: nobody is told to try again, no row is missing, and
//! the gateway that carries the change out may die.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{Cluster, eventually};
use tokio_postgres::Client;

const ROWS: i64 = 6_000;
const WRITERS: i64 = 4;
/// Statements that each writer gets through before an index is begun.
const PROGRESS: u64 = 20;

/// Inserts, changes and deletes rows of its own, one statement at a time, until told to stop.
async fn write(client: Client, writer: i64, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    for n in (0i64..).take_while(|_| !stop.load(Ordering::Relaxed)) {
        let (old, new) = ((n * WRITERS + writer) % ROWS, ROWS + n * WRITERS + writer);
        let statement = match n % 4 {
            0 => format!("UPDATE t SET v = v + 7 WHERE id = {old}"),
            1 => format!("DELETE FROM t WHERE id = {old}"),
            2 => format!("INSERT INTO t VALUES ({new}, {new} % 100, 'new')"),
            _ => format!("BEGIN; UPDATE t SET v = -v, w = 'x' WHERE id = {old}; COMMIT"),
        };
        let result = client.batch_execute(&statement).await;
        result.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        done.fetch_add(1, Ordering::Relaxed);
    }
}

async fn fill(client: &Client) {
    let table = format!(
        "CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL, w text);
         INSERT INTO t SELECT g, g % 100, 'old' FROM generate_series(0, {ROWS} - 1) g"
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
    ] {
        client.batch_execute(create).await.unwrap_or_else(|error| panic!("{create}: {error:?}"));
        progress(count(), "writes after the change").await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("no write fails");
    }
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
