//! Reading the past through SQL, over a cluster in memory.

use crate::support::{connect, extended, run};
use base::Timestamp;
use kv::testing::FakeCluster;
use sql::session::{Engine, EngineConfig, Sink, TxStatus};

macro_rules! check {
    ($session:expr, $sql:expr, $expected:expr) => {
        assert_eq!(run(&mut $session, $sql).await, $expected, "{}", $sql)
    };
}

/// The time of a statement that begins now, as a decimal.
async fn time(session: &mut sql::session::Session) -> String {
    let text = run(session, "SELECT cluster_logical_timestamp()").await;
    text.split('\n').next().expect("a row").to_owned()
}

fn cluster() -> (FakeCluster, std::sync::Arc<Engine>) {
    let cluster = FakeCluster::new();
    let engine = Engine::new(cluster.db(), EngineConfig::default());
    (cluster, engine)
}

#[tokio::test]
async fn a_query_shows_the_rows_of_its_time() {
    let (_cluster, engine) = cluster();
    let mut s = connect(&engine).await;
    let made =
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')";
    check!(s, made, "-- CREATE TABLE\n-- INSERT 0 2");
    let then = time(&mut s).await;
    check!(s, "UPDATE t SET v = 'c' WHERE id = 1", "-- UPDATE 1");
    check!(s, "DELETE FROM t WHERE id = 2", "-- DELETE 1");

    let by_key = format!("SELECT v FROM t AS OF SYSTEM TIME {then} WHERE id = 1");
    check!(s, &by_key, "a\n-- SELECT 1");
    check!(s, "SELECT v FROM t WHERE id = 1", "c\n-- SELECT 1");
    let all = format!("SELECT id, v FROM t AS OF SYSTEM TIME '{then}' ORDER BY id");
    check!(s, &all, "1|a\n2|b\n-- SELECT 2");
    let joined = format!(
        "SELECT count(*) FROM t JOIN (SELECT id FROM t AS OF SYSTEM TIME {then}) u USING (id)
         AS OF SYSTEM TIME {then}"
    );
    check!(s, &joined, "2\n-- SELECT 1");
    check!(s, "SELECT count(*) FROM t", "1\n-- SELECT 1");
    let now = format!("SELECT cluster_logical_timestamp() FROM t AS OF SYSTEM TIME {then} LIMIT 1");
    check!(s, &now, format!("{then}\n-- SELECT 1"));
    assert_eq!(s.transaction_status(), TxStatus::Idle);
}

#[tokio::test]
async fn statements_of_the_past_and_of_now_stand_side_by_side() {
    let (_cluster, engine) = cluster();
    let mut s = connect(&engine).await;
    check!(s, "CREATE TABLE t (id int PRIMARY KEY)", "-- CREATE TABLE");
    let then = time(&mut s).await;
    // One implicit transaction; the read in the middle is not part of it.
    let script = format!(
        "INSERT INTO t VALUES (1); SELECT count(*) FROM t AS OF SYSTEM TIME {then};
         INSERT INTO t VALUES (2); SELECT count(*) FROM t"
    );
    check!(s, &script, "-- INSERT 0 1\n0\n-- SELECT 1\n-- INSERT 0 1\n2\n-- SELECT 1");
    let fails =
        format!("INSERT INTO t VALUES (3); SELECT 1 / count(*) FROM t AS OF SYSTEM TIME {then}");
    check!(s, &fails, "-- INSERT 0 1\nERROR 22012: division by zero");
    check!(s, "SELECT count(*) FROM t", "2\n-- SELECT 1");
}

#[tokio::test]
async fn a_block_in_the_past_reads_one_snapshot_and_writes_nothing() {
    let (_cluster, engine) = cluster();
    let mut s = connect(&engine).await;
    check!(s, "CREATE TABLE t (id int PRIMARY KEY)", "-- CREATE TABLE");
    check!(s, "INSERT INTO t VALUES (1)", "-- INSERT 0 1");
    let then = time(&mut s).await;
    check!(s, "INSERT INTO t VALUES (2)", "-- INSERT 0 1");
    for begin in [
        format!("BEGIN AS OF SYSTEM TIME {then}"),
        format!("START TRANSACTION ISOLATION LEVEL READ COMMITTED, AS OF SYSTEM TIME {then}"),
        format!("BEGIN; SET TRANSACTION AS OF SYSTEM TIME {then}"),
    ] {
        let tags = run(&mut s, &begin).await;
        assert!(!tags.contains("ERROR"), "{begin}: {tags}");
        check!(s, "SELECT id FROM t", "1\n-- SELECT 1");
        let same = format!("SELECT id FROM t AS OF SYSTEM TIME {then} WHERE id = 1");
        check!(s, &same, "1\n-- SELECT 1");
        check!(s, "SELECT id FROM t WHERE id = 2", "-- SELECT 0");
        check!(s, "COMMIT", "-- COMMIT");
        check!(s, "SELECT id FROM t WHERE id = 2", "2\n-- SELECT 1");
    }
    check!(s, &format!("BEGIN AS OF SYSTEM TIME {then}"), "-- BEGIN");
    let refused = "ERROR 25006: cannot execute INSERT in a read-only transaction";
    check!(s, "INSERT INTO t VALUES (3)", refused);
    check!(s, "ROLLBACK", "-- ROLLBACK");
    check!(s, &format!("BEGIN AS OF SYSTEM TIME {then}"), "-- BEGIN");
    let refused = "ERROR 25006: cannot execute CREATE TABLE in a read-only transaction";
    check!(s, "CREATE TABLE u (id int)", refused);
    check!(s, "ROLLBACK", "-- ROLLBACK");
}

#[tokio::test]
async fn names_are_those_of_the_time() {
    let (_cluster, engine) = cluster();
    let mut s = connect(&engine).await;
    let before = time(&mut s).await;
    check!(s, "CREATE TABLE t (id int PRIMARY KEY)", "-- CREATE TABLE");
    check!(s, "INSERT INTO t VALUES (7)", "-- INSERT 0 1");
    let narrow = time(&mut s).await;
    check!(s, "ALTER TABLE t ADD COLUMN v text DEFAULT 'new'", "-- ALTER TABLE");
    let wide = time(&mut s).await;
    check!(s, "DROP TABLE t", "-- DROP TABLE");

    let at = |time: &str| format!("SELECT * FROM t AS OF SYSTEM TIME {time}");
    let missing = "ERROR 42P01: relation \"t\" does not exist";
    check!(s, &at(&before), missing);
    check!(s, &at(&narrow), "7\n-- SELECT 1");
    check!(s, &at(&wide), "7|new\n-- SELECT 1");
    check!(s, "SELECT * FROM t", missing);
    // Again, from what is kept of the old catalogs; and in a block.
    check!(s, &at(&narrow), "7\n-- SELECT 1");
    let block = format!("BEGIN AS OF SYSTEM TIME {wide}; SELECT v FROM t; COMMIT");
    check!(s, &block, "-- BEGIN\nnew\n-- SELECT 1\n-- COMMIT");
    check!(s, "SELECT * FROM t", missing);
}

#[tokio::test]
async fn the_extended_protocol_reads_the_past() {
    let (_cluster, engine) = cluster();
    let mut s = connect(&engine).await;
    check!(s, "CREATE TABLE t (id int PRIMARY KEY, v text)", "-- CREATE TABLE");
    check!(s, "INSERT INTO t SELECT g, 'a' FROM generate_series(1, 5) g", "-- INSERT 0 5");
    let then = time(&mut s).await;
    check!(s, "UPDATE t SET v = 'b'", "-- UPDATE 5");
    check!(s, "ALTER TABLE t ADD COLUMN n int", "-- ALTER TABLE");
    let sql = format!("SELECT * FROM t AS OF SYSTEM TIME {then} WHERE id = $1");
    let prepared = s.parse(&sql, &[]).await.expect("parses");
    assert_eq!(prepared.columns().map(|c| c.len()), Some(2), "as of then");
    for id in 1..=3 {
        let rows = extended(&mut s, &sql, &[None], vec![pgtypes::Datum::Int4(id)]).await;
        assert_eq!(rows, format!("{id}|a\n-- SELECT 1"));
    }
    // A cursor outlives the statement that opened it.
    let sql = format!("SELECT id FROM t AS OF SYSTEM TIME {then} ORDER BY id");
    let prepared = s.parse(&sql, &[]).await.expect("parses");
    let columns = prepared.columns().map(|c| c.to_vec()).unwrap_or_default();
    let mut sink = crate::support::TextSink::default();
    sink.columns(&columns).expect("kept");
    let mut portal = s.bind(prepared, Vec::new()).expect("binds");
    for _ in 0..2 {
        s.execute(&mut portal, 2, &mut sink).await.expect("runs");
    }
    s.execute(&mut portal, 0, &mut sink).await.expect("runs");
    s.sync(&mut sink).await.expect("commits");
    assert_eq!(sink.lines.join(" "), "1 2 3 4 5 -- SELECT 1");
}

#[tokio::test]
async fn what_is_collected_is_a_clear_error() {
    let (cluster, engine) = cluster();
    let mut s = connect(&engine).await;
    check!(s, "CREATE TABLE t (id int PRIMARY KEY, v int)", "-- CREATE TABLE");
    check!(s, "INSERT INTO t VALUES (1, 0)", "-- INSERT 0 1");
    let then = time(&mut s).await;
    for _ in 0..10 {
        check!(s, "UPDATE t SET v = v + 1 WHERE id = 1", "-- UPDATE 1");
    }
    let versions = cluster.versions();
    let point = engine.db().now().await.expect("a timestamp");
    cluster.collect(point);
    assert!(cluster.versions() <= versions - 10, "{} of {versions}", cluster.versions());
    let text = run(&mut s, &format!("SELECT v FROM t AS OF SYSTEM TIME {then}")).await;
    assert!(text.starts_with("ERROR 72000: snapshot too old"), "{text}");
    check!(s, "SELECT v FROM t", "10\n-- SELECT 1");
}

#[tokio::test]
async fn a_follower_serves_what_is_closed_while_the_leader_is_away() {
    let cluster = FakeCluster::with_nodes(3);
    let leader = Engine::new(cluster.db(), EngineConfig::default());
    let patience = kv::Config {
        unavailable_after: std::time::Duration::from_millis(100),
        ..kv::Config::default()
    };
    let follower = Engine::new(cluster.db_on(base::NodeId(2), patience), EngineConfig::default());
    let mut writer = connect(&leader).await;
    let mut reader = connect(&follower).await;
    check!(writer, "CREATE TABLE t (id int PRIMARY KEY)", "-- CREATE TABLE");
    check!(writer, "INSERT INTO t VALUES (1), (2)", "-- INSERT 0 2");
    let then = time(&mut writer).await;
    check!(reader, "SELECT count(*) FROM t", "2\n-- SELECT 1");
    cluster.close(cluster.newest_timestamp());
    cluster.set_down(base::NodeId(1), true);
    let at = format!("SELECT count(*) FROM t AS OF SYSTEM TIME {then}");
    check!(reader, &at, "2\n-- SELECT 1");
    let now = run(&mut reader, "SELECT count(*) FROM t").await;
    assert!(now.starts_with("ERROR 57P03"), "{now}");
}

#[tokio::test]
async fn rows_loaded_late_are_not_missing_in_what_was_closed_before() {
    let (cluster, engine) = cluster();
    let mut s = connect(&engine).await;
    check!(s, "CREATE TABLE t (id int PRIMARY KEY, v int)", "-- CREATE TABLE");
    check!(s, "INSERT INTO t VALUES (1, 1)", "-- INSERT 0 1");
    check!(s, "BEGIN", "-- BEGIN");
    check!(s, "SELECT count(*) FROM t", "1\n-- SELECT 1");
    // Promised before the index has its row, and above the transaction's snapshot.
    let closed = engine.db().now().await.expect("a timestamp");
    check!(s, "CREATE INDEX i ON t (v)", "-- CREATE INDEX");
    check!(s, "COMMIT", "-- COMMIT");
    let version = catalog_version_written_at(&engine, closed).await;
    assert!(version, "the index is known at {closed}, when its rows may be missing on a replica");
    drop(cluster);
}

/// Whether the catalog has changed since `ts`.
async fn catalog_version_written_at(engine: &Engine, ts: Timestamp) -> bool {
    let read = |as_of| async move {
        let txn = engine.db().begin(kv::TxnOptions { as_of: Some(as_of), ..Default::default() });
        txn.begin_statement().await.expect("begins");
        txn.get(&catalog::store::version_key()).await.expect("reads")
    };
    let now = engine.db().now().await.expect("a timestamp");
    read(ts).await != read(now).await
}

#[tokio::test]
async fn settings_of_the_cluster_are_set_and_shown() {
    let (_cluster, engine) = cluster();
    let mut s = connect(&engine).await;
    check!(s, "SHOW CLUSTER SETTING gc.ttl", "10min\n-- SHOW");
    check!(s, "SET CLUSTER SETTING gc.ttl = '90s'", "-- SET CLUSTER SETTING");
    let mut other = connect(&engine).await;
    check!(other, "SHOW CLUSTER SETTING gc.ttl", "90s\n-- SHOW");
    let all = run(&mut s, "SHOW CLUSTER SETTINGS").await;
    assert!(all.contains("gc.ttl|90s|10min|"), "{all}");
    check!(s, "SET CLUSTER SETTING gc.ttl TO DEFAULT", "-- SET CLUSTER SETTING");
    check!(s, "SHOW CLUSTER SETTING gc.ttl", "10min\n-- SHOW");
}
