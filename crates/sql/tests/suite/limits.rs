//! Statements that are too much: they work or fail with 54xxx, and the session goes on.

use crate::support::{connect, engine, run};

/// The first line of the answer, shortened.
async fn answer(sql: &str) -> String {
    let engine = engine();
    let mut session = connect(&engine).await;
    let text = run(&mut session, sql).await;
    assert_eq!(run(&mut session, "SELECT 1").await, "1\n-- SELECT 1", "the session goes on");
    text.chars().take(60).collect()
}

const DEEP: &str = "ERROR 54001: stack depth limit exceeded";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nesting_is_bounded() {
    let nested = |n: usize| format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n));
    assert!(answer(&nested(40)).await.starts_with("1\n"));
    assert!(answer(&nested(100_000)).await.starts_with(DEEP));
    let queries = |n: usize| format!("SELECT {}1{}", "(SELECT ".repeat(n), ")".repeat(n));
    assert!(answer(&queries(20)).await.starts_with("1\n"));
    assert!(answer(&queries(5_000)).await.starts_with(DEEP));
    let not = format!("SELECT {} true", "NOT ".repeat(50_000));
    assert!(answer(&not).await.starts_with(DEEP));
    let case = format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(3_000), " END".repeat(3_000));
    assert!(answer(&case).await.starts_with(DEEP));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn chains_are_bounded() {
    let sum = |n: usize| format!("SELECT 0{}", " + 1".repeat(n));
    assert!(answer(&sum(200)).await.starts_with("200\n"));
    assert!(answer(&sum(200_000)).await.starts_with(DEEP));
    let and = |n: usize| format!("SELECT 1 WHERE true{}", " AND true".repeat(n));
    assert!(answer(&and(2_000)).await.starts_with("1\n"));
    assert!(answer(&and(200_000)).await.starts_with(DEEP));
    let from =
        |n: usize| format!("SELECT g FROM generate_series(1, 2) g WHERE 0{} = g", " + 1".repeat(n));
    assert!(answer(&from(200)).await.starts_with("-- SELECT 0"));
    let or = |n: usize| {
        format!("SELECT g FROM generate_series(1, 2) g WHERE g = 0{}", " OR g + 1 = 2".repeat(n))
    };
    assert!(answer(&or(1_000)).await.starts_with("1\n"));
    let union = |n: usize| format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(n));
    assert!(answer(&union(100)).await.starts_with("1\n"));
    assert!(answer(&union(50_000)).await.starts_with(DEEP));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn long_lists_work() {
    let engine = engine();
    let mut session = connect(&engine).await;
    run(&mut session, "CREATE TABLE t (id int PRIMARY KEY, a int)").await;
    run(&mut session, "INSERT INTO t SELECT g, g FROM generate_series(1, 200) g").await;
    let items: Vec<String> = (0..100_000).map(|n| (n * 2).to_string()).collect();
    let items = items.join(", ");
    for column in ["id", "a"] {
        let sql = format!("SELECT count(*) FROM t WHERE {column} IN ({items})");
        assert_eq!(run(&mut session, &sql).await, "100\n-- SELECT 1");
        let sql = format!("SELECT count(*) FROM t WHERE {column} NOT IN ({items})");
        assert_eq!(run(&mut session, &sql).await, "100\n-- SELECT 1");
    }
    let columns: Vec<String> = (0..1_665).map(|n| format!("{n} AS c{n}")).collect();
    let text = run(&mut session, &format!("SELECT {}", columns.join(", "))).await;
    assert_eq!(text, "ERROR 54011: target lists can have at most 1664 entries");
    let text = run(&mut session, &format!("SELECT {}", columns[..1_600].join(", "))).await;
    assert!(text.ends_with("-- SELECT 1"));
    let text = run(&mut session, &format!("SELECT length('{}')", "x".repeat(10 << 20))).await;
    assert_eq!(text, "10485760\n-- SELECT 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn mentions_multiply_only_so_far() {
    let doubled = |n: usize| {
        let steps: Vec<String> =
            (1..=n).map(|i| format!("c{i} AS (SELECT a.x FROM c{0} a, c{0} b)", i - 1)).collect();
        format!("WITH c0 AS (SELECT 1 AS x), {} SELECT x FROM c{n}", steps.join(", "))
    };
    assert!(answer(&doubled(6)).await.starts_with("1\n"));
    assert!(answer(&doubled(40)).await.starts_with("ERROR 54000"));
    let unused = "WITH c AS (SELECT nope) SELECT 1";
    assert!(answer(unused).await.starts_with("ERROR 42703"));
}

/// 8 MiB for all statements and transactions.
fn small_engine() -> std::sync::Arc<sql::session::Engine> {
    let config = kv::Config { memory: kv::MemoryBudget::new(8 << 20), ..kv::Config::default() };
    let db = kv::testing::FakeCluster::new().db_on(base::NodeId(1), config);
    sql::session::Engine::new(db, sql::session::EngineConfig::default())
}

/// What transactions have written, statements cannot have, and the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn transactions_and_statements_share_memory() {
    let engine = small_engine();
    let (mut writer, mut other) = (connect(&engine).await, connect(&engine).await);
    run(&mut writer, "CREATE TABLE t (a int PRIMARY KEY, b text)").await;
    run(&mut other, "CREATE TABLE u (a int PRIMARY KEY, b text)").await;
    let fill = |table: &str, from: usize, to: usize| {
        format!(
            "INSERT INTO {table} SELECT g, repeat('x', 100) FROM generate_series({from}, {to}) g"
        )
    };
    run(&mut writer, "BEGIN").await;
    assert_eq!(run(&mut writer, &fill("t", 1, 10_000)).await, "-- INSERT 0 10000");
    // Others have too little left, and what they tried leaves nothing behind.
    let refused = run(&mut other, &fill("u", 1, 10_000)).await;
    assert!(refused.starts_with("ERROR 53200: out of memory"), "{refused}");
    assert!(refused.contains("statements of this node"), "{refused}");
    assert_eq!(run(&mut other, &fill("u", 1, 100)).await, "-- INSERT 0 100");
    assert_eq!(run(&mut other, "SELECT count(*) FROM u").await, "100\n-- SELECT 1");
    assert_eq!(run(&mut writer, "COMMIT").await, "-- COMMIT");
    assert_eq!(run(&mut other, &fill("u", 101, 10_000)).await, "-- INSERT 0 9900");
    assert_eq!(engine.db().memory().used(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn memory_is_bounded() {
    let engine = small_engine();
    let mut session = connect(&engine).await;
    // A long series is made as it is read.
    let sum = "SELECT sum(g), count(*) FROM generate_series(1, 3000000) AS g";
    assert_eq!(run(&mut session, sum).await, "4500001500000|3000000\n-- SELECT 1");
    // A sort spills.
    let sort = "SELECT count(*) FROM (SELECT g, repeat('x', 50) FROM generate_series(1, 200000) g \
                ORDER BY g % 1000, g DESC OFFSET 1) q";
    assert_eq!(run(&mut session, sort).await, "199999\n-- SELECT 1");
    // What cannot spill says so.
    let agg = "SELECT length(string_agg(repeat('x', 1000), '')) FROM generate_series(1, 100000) g \
               GROUP BY g % 1000";
    let answer = run(&mut session, agg).await;
    assert!(
        answer.starts_with("ERROR 53200: out of memory"),
        "{}",
        &answer[..60.min(answer.len())]
    );
    assert_eq!(run(&mut session, "SELECT 1").await, "1\n-- SELECT 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn recursion_is_bounded() {
    let engine = small_engine();
    let mut session = connect(&engine).await;
    // Only so many rounds run as rows are asked for.
    let endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t)";
    assert_eq!(
        run(&mut session, &format!("{endless} SELECT n FROM t OFFSET 2 LIMIT 2")).await,
        "3\n4\n-- SELECT 2"
    );
    // A timeout is heard inside of the loop, and memory of earlier rounds is given back.
    run(&mut session, "SET statement_timeout = '300ms'").await;
    assert_eq!(
        run(
            &mut session,
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n FROM t) SELECT max(n) FROM t"
        )
        .await,
        "ERROR 57014: canceling statement due to statement timeout"
    );
    run(&mut session, "RESET statement_timeout").await;
    // What is remembered of rows made before is accounted for.
    let growing = "WITH RECURSIVE t(s) AS (SELECT repeat('x', 1000) || g FROM generate_series(1, 1000) g \
                   UNION SELECT s || 'y' FROM t) SELECT count(*) FROM t";
    let answer = run(&mut session, growing).await;
    assert!(answer.starts_with("ERROR 53200: out of memory"), "{answer}");
    assert_eq!(run(&mut session, "SELECT 1").await, "1\n-- SELECT 1");
}
