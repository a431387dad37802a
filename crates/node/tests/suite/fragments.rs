//! What leaders make of rows for gateways on other nodes: the same answers as from a local leader, of far
//! fewer bytes; own writes and conflicts included.

use serde_json::Value;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{Cluster, eventually};

const ROWS: u64 = 8_000;

const QUERIES: [&str; 8] = [
    "SELECT id, v, pad FROM t WHERE v = 17 ORDER BY id",
    "SELECT id FROM t WHERE pad LIKE '%77x%' AND v % 2 = 1 ORDER BY id",
    "SELECT count(*) FROM t",
    "SELECT g, count(*), sum(v), avg(n), min(pad), max(d) FROM t GROUP BY g ORDER BY g",
    "SELECT n, count(*) FROM t WHERE id > 100 GROUP BY n ORDER BY n",
    "SELECT v + 1 AS w, bool_or(v > 5), sum(n) FILTER (WHERE g = 1) FROM t GROUP BY 1 ORDER BY 1",
    "SELECT g, count(*) FROM t WHERE v > 10 GROUP BY g HAVING count(*) > 5 ORDER BY g DESC LIMIT 3",
    "SELECT sum(v) FROM t WHERE id > 1000000",
];

async fn rows(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).map(ToOwned::to_owned)).collect())
        }
        _ => None,
    });
    rows.collect()
}

async fn one(client: &Client, sql: &str) -> String {
    rows(client, sql).await[0][0].clone().expect("a value")
}

async fn run(client: &Client, sql: &str) {
    client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
}

/// What EXPLAIN ANALYZE counts: bytes read, and round trips to other nodes.
async fn counted(client: &Client, sql: &str) -> (u64, u64) {
    let text = one(client, &format!("EXPLAIN (ANALYZE, FORMAT JSON) {sql}")).await;
    let plan: Value = serde_json::from_str(&text).expect("JSON");
    let number = |name: &str| plan[0][name].as_u64().unwrap_or_else(|| panic!("{name}: {plan}"));
    (number("Bytes Read"), number("Round Trips Remote"))
}

async fn plan(client: &Client, sql: &str) -> String {
    let lines = rows(client, &format!("EXPLAIN {sql}")).await;
    lines.into_iter().filter_map(|mut row| row.remove(0)).collect::<Vec<_>>().join("\n")
}

async fn start() -> (Cluster, Vec<Client>) {
    let cluster = Cluster::start(3, &[]).await;
    let mut clients = Vec::new();
    for node in &cluster.nodes {
        clients.push(node.connect().await);
    }
    run(
        &clients[0],
        "CREATE TABLE t (id int PRIMARY KEY, g int, v int, n numeric(8,2), d date, pad text)",
    )
    .await;
    run(
        &clients[0],
        &format!(
            "INSERT INTO t SELECT i, i % 5, i % 1000, (i % 7) / 4.0, date '2026-01-01' + i % 30,
                repeat('x', 150) || i || 'x' FROM generate_series(1, {ROWS}) i"
        ),
    )
    .await;
    cluster.wait_replicated(3).await;
    (cluster, clients)
}

/// Where the table's range is led: a client of that node, and one of another.
async fn local_and_remote(clients: &[Client]) -> (&Client, &Client) {
    let (mut local, mut remote) = (None, None);
    for client in clients {
        match counted(client, "SELECT sum(v) FROM t WHERE id < 10").await.1 {
            0 => local = Some(client),
            _ => remote = Some(client),
        }
    }
    (local.expect("it is led by some node"), remote.expect("one node leads it"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn far_fewer_bytes_travel_and_the_rows_are_the_same() {
    let (_cluster, clients) = start().await;
    eventually("figures while the leader stays", || async {
        let (local, remote) = local_and_remote(&clients).await;
        for sql in QUERIES {
            let (here, none) = counted(local, sql).await;
            let (travelled, trips) = counted(remote, sql).await;
            if none > 0 || trips == 0 {
                return Err("the leader moved".to_owned());
            }
            assert!(travelled * 20 <= here, "{sql}: {travelled} of {here} bytes");
            assert_eq!(rows(local, sql).await, rows(remote, sql).await, "{sql}");
            let shown = plan(remote, sql).await;
            assert!(shown.contains("the Leaders"), "{shown}");
            assert!(!plan(local, sql).await.contains("the Leaders"), "{sql}");
        }
        // Columns that nobody asks for stay where they are.
        let sql = "SELECT id, v FROM t";
        let (here, _) = counted(local, sql).await;
        let (travelled, _) = counted(remote, sql).await;
        assert!(travelled * 4 < here, "{travelled} of {here} bytes");
        assert_eq!(rows(local, sql).await, rows(remote, sql).await);
        // As many groups as rows are not worth it.
        let sql = "SELECT id + 0, count(*) FROM t GROUP BY 1 ORDER BY 1 LIMIT 5";
        assert_eq!(rows(local, sql).await, rows(remote, sql).await);
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_writes_are_seen_by_what_leaders_compute() {
    let (_cluster, clients) = start().await;
    let (_, remote) = local_and_remote(&clients).await;
    for level in ["SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"] {
        run(remote, &format!("BEGIN ISOLATION LEVEL {level}")).await;
        let filter = "SELECT count(*) FROM (SELECT id FROM t WHERE v = 17 OFFSET 0) s";
        let total = "SELECT count(*) FROM t WHERE v = 17";
        assert_eq!(one(remote, filter).await, "8");
        assert_eq!(one(remote, total).await, "8");
        run(remote, "INSERT INTO t (id, v) VALUES (100001, 17), (100002, 18)").await;
        run(remote, "UPDATE t SET v = 18 WHERE id = 17").await;
        run(remote, "UPDATE t SET v = 17 WHERE id IN (1, 2, 3)").await;
        run(remote, "DELETE FROM t WHERE id = 1017").await;
        assert_eq!(one(remote, filter).await, "10", "{level}");
        assert_eq!(one(remote, total).await, "10", "{level}");
        let shown = one(remote, "SELECT sum(v) FROM t WHERE id > 100000 AND v % 2 = 0").await;
        assert_eq!(shown, "18", "{level}");
        run(remote, "ROLLBACK").await;
    }
}

/// Each reads what the other is going to insert: no order of the two explains that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_inserted_meanwhile_are_a_conflict_as_the_level_says() {
    let (_cluster, clients) = start().await;
    let (other, remote) = local_and_remote(&clients).await;
    let mut next = 200_000;
    for (level, seen, commits) in [
        ("SERIALIZABLE", "0", false),
        ("REPEATABLE READ", "0", true),
        ("READ COMMITTED", "1", true),
    ] {
        for counts in
            ["count(*) FROM t WHERE v", "count(*) FROM (SELECT v FROM t OFFSET 0) s WHERE v"]
        {
            let count = |v: u64| format!("SELECT {counts} = {v}");
            let insert = |v: u64, id: u64| format!("INSERT INTO t (id, v) VALUES ({id}, {v})");
            for client in [remote, other] {
                run(client, &format!("BEGIN ISOLATION LEVEL {level}")).await;
            }
            assert_eq!(one(remote, &count(4711)).await, "0");
            assert_eq!(one(other, &count(4712)).await, "0");
            run(other, &insert(4711, next)).await;
            run(other, "COMMIT").await;
            assert_eq!(one(remote, &count(4711)).await, seen, "{level}: {counts}");
            let written = match remote.simple_query(&insert(4712, next + 1)).await {
                Ok(_) => remote.simple_query("COMMIT").await.map(drop),
                Err(error) => Err(error),
            };
            assert_eq!(written.is_ok(), commits, "{level}: {counts}: {written:?}");
            if let Err(error) = written {
                let code = error.code().map(|code| code.code().to_owned());
                assert_eq!(code.as_deref(), Some("40001"), "{level}: {counts}: {error:?}");
                run(remote, "ROLLBACK").await;
            }
            run(other, "DELETE FROM t WHERE v > 4000").await;
            next += 2;
        }
    }
}
