//! What a client is told on the wire when others are in its way, and what the views tell of it.

use std::time::{Duration, Instant};

use crate::support::{Cluster, eventually};
use tokio_postgres::Client;
use tokio_postgres::error::DbError;

async fn named(cluster: &Cluster, node: usize, name: &str) -> Client {
    let client = cluster.nodes[node].connect().await;
    let set = format!("SET application_name = '{name}'");
    client.batch_execute(&set).await.expect("a name");
    client
}

async fn refused(client: &Client, sql: &str) -> DbError {
    let error = client.batch_execute(sql).await.expect_err(sql);
    error.as_db_error().expect("the server's").clone()
}

/// Detail and hint are there, and the detail has all of this.
fn tells(error: &DbError, code: &str, parts: &[&str]) {
    assert_eq!(error.code().code(), code, "{error:?}");
    let detail = error.detail().expect("a detail");
    for part in parts {
        assert!(detail.contains(part), "{part} in {detail}");
    }
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{error:?}");
}

async fn somebody_waits(client: &Client) {
    eventually("a wait", || async {
        let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        let row = client.query_one(sql, &[]).await.map_err(|e| e.to_string())?;
        if row.get::<_, i64>(0) > 0 { Ok(()) } else { Err("nobody".to_owned()) }
    })
    .await;
}

/// Over two nodes: who is in the way is asked of the other one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_name_the_other_transaction_its_statement_and_the_row() {
    let cluster = Cluster::start(3, &[]).await;
    let (a, b) = (named(&cluster, 0, "payroll").await, named(&cluster, 1, "reports").await);
    a.batch_execute(
        "CREATE TABLE accounts (id int PRIMARY KEY, balance int);
         INSERT INTO accounts VALUES (1, 10), (2, 20)",
    )
    .await
    .expect("accounts");

    // NOWAIT.
    a.batch_execute("BEGIN; UPDATE accounts SET balance = 11 WHERE id = 1").await.expect("a row");
    let told = refused(&b, "SELECT * FROM accounts WHERE id = 1 FOR UPDATE NOWAIT").await;
    let parts = ["\"payroll\"", "UPDATE accounts SET balance = 11", "accounts(id)=(1)", "node 1"];
    tells(&told, "55P03", &parts);
    assert!(told.message().contains("could not obtain lock on row in relation \"accounts\""));
    // After a while.
    let late = "SET lock_timeout = 100; SELECT * FROM accounts WHERE id = 1 FOR UPDATE";
    tells(&refused(&b, late).await, "55P03", &parts);
    b.batch_execute("SET lock_timeout = 0").await.expect("sets");

    // A conflict that can't be mended, because the client has seen what has changed.
    let snapshot =
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT balance FROM accounts WHERE id = 1";
    b.batch_execute(snapshot).await.expect("a snapshot");
    a.batch_execute("COMMIT").await.expect("commits");
    let told = refused(&b, "UPDATE accounts SET balance = 12 WHERE id = 1").await;
    tells(&told, "40001", &["\"payroll\"", "ccounts(id)=(1)", "was changed by transaction"]);
    b.batch_execute("ROLLBACK").await.expect("ends");

    // Write skew at SERIALIZABLE: each has read what the other writes.
    let skew =
        "BEGIN; SELECT sum(balance) FROM accounts; UPDATE accounts SET balance = 13 WHERE id = 1";
    b.batch_execute(skew).await.expect("the first");
    let other = "UPDATE accounts SET balance = (SELECT sum(balance) FROM accounts) WHERE id = 2";
    a.batch_execute(other).await.expect("the second");
    let told = refused(&b, "COMMIT").await;
    tells(&told, "40001", &["ccounts(id)=(2)", "\"payroll\"", other]);

    // A deadlock. The younger has seen something, so that it can't be repeated unnoticed.
    let seen = "BEGIN; SELECT balance FROM accounts WHERE id = 2; \
                UPDATE accounts SET balance = 31 WHERE id = 1";
    a.batch_execute(seen).await.expect("the first");
    let seen = "BEGIN; SELECT gen_random_uuid(); UPDATE accounts SET balance = 32 WHERE id = 2";
    b.batch_execute(seen).await.expect("the second");
    let sql = "UPDATE accounts SET balance = 33 WHERE id = 2";
    let waits = tokio::spawn(async move { (a.batch_execute(sql).await, a) });
    let watcher = cluster.nodes[2].connect().await;
    somebody_waits(&watcher).await;
    let told = refused(&b, "UPDATE accounts SET balance = 34 WHERE id = 1").await;
    tells(
        &told,
        "40P01",
        &["\"payroll\"", sql, "accounts(id)=(1)", "accounts(id)=(2)", "his transaction waits for"],
    );
    b.batch_execute("ROLLBACK").await.expect("ends");
    let (went_on, _a) = waits.await.expect("no panic");
    went_on.expect("the older goes on");

    // All of it is in the view, on whichever node one asks.
    let sql = "SELECT count(*) FROM conclave.contention_events \
               WHERE application_name = 'reports' AND other_application = 'payroll'";
    let events: i64 = watcher.query_one(sql, &[]).await.expect("events").get(0);
    assert!(events >= 4, "{events} events");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_conflicts_are_kept_and_a_silent_node_holds_nobody_up() {
    let mut cluster = Cluster::start(3, &["--contention-events", "5"]).await;
    let (a, b) = (named(&cluster, 0, "holder").await, named(&cluster, 1, "loser").await);
    a.batch_execute(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 9)",
    )
    .await
    .expect("rows");
    a.batch_execute("BEGIN; SELECT * FROM t FOR UPDATE").await.expect("locks");
    for id in 1..=9 {
        let sql = format!("SELECT * FROM t WHERE id = {id} FOR UPDATE NOWAIT");
        assert_eq!(refused(&b, &sql).await.code().code(), "55P03");
    }
    let events = "SELECT place FROM conclave.contention_events \
                  WHERE application_name = 'loser' ORDER BY happened_at";
    let kept = a.query(events, &[]).await.expect("events");
    let kept: Vec<String> = kept.iter().map(|row| row.get(0)).collect();
    let last: Vec<String> = (5..=9).map(|id| format!("t(id)=({id}), index \"t_pkey\"")).collect();
    assert_eq!(kept, last, "the last five");
    drop(b);

    // A node that stands still: within a second and a little, the others show what they know, and a row of
    // NULLs with its id.
    let port = cluster.nodes[1].ports.sql;
    let sql = format!("SELECT node_id FROM conclave.nodes WHERE sql_address LIKE '%:{port}'");
    let id: i64 = a.query_one(&sql, &[]).await.expect("it is registered").get(0);
    cluster.nodes[1].signal("STOP");
    let views =
        ["transactions", "lock_waits", "contention_events"].map(|v| format!("conclave.{v}"));
    let pg = ["pg_locks", "pg_stat_activity"].map(str::to_owned);
    for view in views.iter().chain(&pg) {
        let sql = format!("SELECT count(*) FROM {view} WHERE node = {id}");
        let asked = Instant::now();
        // Ranges that it led need another leader first.
        let silent = eventually("an answer", || async {
            let row = a.query_one(&sql, &[]).await.map_err(|e| e.to_string())?;
            Ok::<i64, String>(row.get(0))
        })
        .await;
        assert_eq!(silent, 1, "{view}");
        assert!(asked.elapsed() < Duration::from_secs(15), "{view}: {:?}", asked.elapsed());
    }
    let asked = Instant::now();
    let sql = "SELECT count(*) FROM conclave.transactions WHERE application_name = 'holder'";
    let known: i64 = a.query_one(sql, &[]).await.expect("asks").get(0);
    assert_eq!(known, 1, "the others' rows are there");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    cluster.nodes[1].signal("CONT");
    cluster.nodes[1].kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_may_write_as_much_as_the_node_was_told() {
    let cluster = Cluster::single(&["--txn-memory", "1MiB"]);
    let client = cluster.nodes[0].connect().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, x text)").await.expect("a table");
    let rows = |from: i32, to: i32| {
        format!("INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series({from}, {to}) g")
    };
    let told = refused(&client, &rows(1, 2000)).await;
    assert_eq!(told.code().code(), "53200", "{told:?}");
    assert!(told.hint().is_some_and(|hint| hint.contains("--txn-memory")), "{told:?}");
    client.batch_execute(&rows(1, 500)).await.expect("half a megabyte");
    client.batch_execute(&rows(501, 1000)).await.expect("and again: it is per transaction");
}
