//! Transactions as one session and its neighbours see them: modes, savepoints, timeouts, and what is
//! repeated so that nobody is told to try again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{TextSink, connect, extended, run};
use futures::future::join_all;
use kv::Config;
use kv::testing::{FakeCluster, Faults};
use sql::session::{Engine, EngineConfig, Session, TxStatus};

async fn start() -> (FakeCluster, Arc<Engine>, Session) {
    let cluster = FakeCluster::new();
    let engine = Engine::new(cluster.db(), EngineConfig::default());
    let mut session = connect(&engine).await;
    let setup = "CREATE TABLE t (id int PRIMARY KEY, n int);
                 INSERT INTO t SELECT g, g * 10 FROM generate_series(1, 9) g";
    assert_eq!(run(&mut session, setup).await, "-- CREATE TABLE\n-- INSERT 0 9");
    (cluster, engine, session)
}

macro_rules! check {
    ($session:expr, $sql:expr, $expected:expr) => {
        assert_eq!(run(&mut $session, $sql).await, $expected, "{}", $sql)
    };
}

/// Sends a statement that has to wait, and returns when it does.
async fn waits(cluster: &FakeCluster, mut session: Session, sql: &str) -> Waiting {
    let before = cluster.waiting();
    let sql = sql.to_owned();
    let task = tokio::spawn(async move {
        let answer = run(&mut session, &sql).await;
        (session, answer)
    });
    while cluster.waiting() == before {
        assert!(!task.is_finished(), "it does not wait");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    task
}

type Waiting = tokio::task::JoinHandle<(Session, String)>;

#[tokio::test]
async fn statements_about_transactions_answer_as_in_postgresql() {
    let engine = crate::support::engine();
    let mut session = connect(&engine).await;
    let text = std::fs::read_to_string("scripts/transaction_modes").expect("the script");
    let blocks: Vec<&str> = text.split("\n> ").skip(1).collect();
    assert!(blocks.len() > 100);
    let mut transcript = String::new();
    let mut expected = String::new();
    for block in blocks {
        let (sql, answer) = block.trim_end().split_once('\n').unwrap_or((block.trim_end(), ""));
        let mut sink = TextSink::default();
        if let Err(error) = session.simple(sql, &mut sink).await {
            sink.lines.push(format!("ERROR {}: {}", error.code(), error.message()));
            sink.lines.extend(error.fields().hint.as_ref().map(|hint| format!("HINT: {hint}")));
        }
        let rows = ["SELECT", "SHOW"].iter().any(|word| sql.starts_with(word));
        let told = sink.lines.iter().filter(|line| !(rows && line.starts_with("-- ")));
        let told: Vec<&str> = told.map(|line| line.trim_start_matches("-- ")).collect();
        transcript += &format!("> {sql}\n{}\n", told.join("\n"));
        // The sink does not keep codes of warnings.
        let answer =
            answer.replace("WARNING 25001:", "WARNING:").replace("WARNING 25P01:", "WARNING:");
        expected += &format!("> {sql}\n{answer}\n");
    }
    assert_eq!(transcript, expected);
}

#[tokio::test]
async fn explain_of_a_write_is_no_write() {
    let (_, _, mut s) = start().await;
    let plan =
        run(&mut s, "BEGIN READ ONLY; EXPLAIN UPDATE t SET n = 1 WHERE id = 1; COMMIT").await;
    assert!(!plan.contains("ERROR"), "{plan}");
}

#[tokio::test]
async fn rolling_back_to_a_savepoint_lets_go_of_rows_locked_behind_it() {
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let (cluster, engine, mut s) = start().await;
        let other = connect(&engine).await;
        let begin = format!("BEGIN ISOLATION LEVEL {level}; UPDATE t SET n = 0 WHERE id = 1");
        check!(s, &begin, "-- BEGIN\n-- UPDATE 1");
        check!(s, "SAVEPOINT a; UPDATE t SET n = 0 WHERE id = 2", "-- SAVEPOINT\n-- UPDATE 1");
        let waiting = waits(&cluster, other, "UPDATE t SET n = n + 1 WHERE id = 2").await;
        check!(s, "ROLLBACK TO a", "-- ROLLBACK");
        let (other, answer) = waiting.await.expect("it goes on");
        assert_eq!(answer, "-- UPDATE 1", "{level}");
        // What was locked before the savepoint stays locked.
        let waiting = waits(&cluster, other, "UPDATE t SET n = n + 1 WHERE id = 1").await;
        check!(s, "COMMIT", "-- COMMIT");
        assert_eq!(waiting.await.expect("it goes on").1, "-- UPDATE 1");
        check!(s, "SELECT n FROM t WHERE id < 3 ORDER BY id", "1\n21\n-- SELECT 2");
    }
}

#[tokio::test]
async fn what_was_read_behind_a_savepoint_stays_read() {
    let (_, engine, mut s) = start().await;
    let mut other = connect(&engine).await;
    // The snapshot is the transaction's, though it was taken behind the savepoint.
    check!(
        s,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SAVEPOINT a; SELECT n FROM t WHERE id = 1",
        "-- BEGIN\n-- SAVEPOINT\n10\n-- SELECT 1"
    );
    check!(other, "UPDATE t SET n = 11 WHERE id = 1", "-- UPDATE 1");
    check!(s, "ROLLBACK TO a; SELECT n FROM t WHERE id = 1", "-- ROLLBACK\n10\n-- SELECT 1");
    check!(s, "ROLLBACK", "-- ROLLBACK");
    // The client knows what it read: the commit has to answer for it.
    check!(s, "BEGIN; SAVEPOINT a", "-- BEGIN\n-- SAVEPOINT");
    check!(s, "SELECT n FROM t WHERE id = 1", "11\n-- SELECT 1");
    check!(s, "ROLLBACK TO a; UPDATE t SET n = 0 WHERE id = 2", "-- ROLLBACK\n-- UPDATE 1");
    check!(other, "UPDATE t SET n = 12 WHERE id = 1", "-- UPDATE 1");
    check!(other, "SELECT n FROM t WHERE id = 2", "20\n-- SELECT 1");
    let answer = run(&mut s, "COMMIT").await;
    assert!(answer.starts_with("ERROR 40001"), "{answer}");
    assert_eq!(s.transaction_status(), TxStatus::Idle);
}

#[tokio::test]
async fn a_row_seen_by_a_lock_that_was_let_go_is_seen_the_same_again() {
    let (_, engine, mut s) = start().await;
    let mut other = connect(&engine).await;
    check!(
        s,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; SAVEPOINT a",
        "-- BEGIN\n1\n-- SELECT 1\n-- SAVEPOINT"
    );
    check!(s, "SELECT n FROM t WHERE id = 5 FOR UPDATE", "50\n-- SELECT 1");
    check!(s, "ROLLBACK TO a", "-- ROLLBACK");
    check!(other, "UPDATE t SET n = 51 WHERE id = 5", "-- UPDATE 1");
    check!(s, "SELECT n FROM t WHERE id = 5", "50\n-- SELECT 1");
    check!(s, "COMMIT", "-- COMMIT");
}

#[tokio::test]
async fn savepoints_bring_a_failed_block_back_to_life() {
    let (cluster, engine, mut s) = start().await;
    let mut other = connect(&engine).await;
    check!(other, "BEGIN; UPDATE t SET n = 0 WHERE id = 9", "-- BEGIN\n-- UPDATE 1");
    check!(s, "SET lock_timeout = '20ms'", "-- SET");
    check!(
        s,
        "BEGIN; INSERT INTO t VALUES (10, 1); SAVEPOINT a",
        "-- BEGIN\n-- INSERT 0 1\n-- SAVEPOINT"
    );
    let answer = run(&mut s, "UPDATE t SET n = 1 WHERE id = 9").await;
    assert!(answer.starts_with("ERROR 55P03: canceling statement due to lock timeout"), "{answer}");
    let answer = run(&mut s, "ROLLBACK TO a; INSERT INTO t VALUES (1, 1)").await;
    assert!(answer.starts_with("-- ROLLBACK\nERROR 23505"), "{answer}");
    check!(
        s,
        "ROLLBACK TO a; INSERT INTO t VALUES (11, 1); COMMIT",
        "-- ROLLBACK\n-- INSERT 0 1\n-- COMMIT"
    );
    check!(s, "SELECT id FROM t WHERE id > 9 ORDER BY id", "10\n11\n-- SELECT 2");
    // Without a limit again, in the same session.
    check!(s, "SET lock_timeout = 0", "-- SET");
    let waiting = waits(&cluster, s, "UPDATE t SET n = 1 WHERE id = 9").await;
    check!(other, "COMMIT", "-- COMMIT");
    assert_eq!(waiting.await.expect("it goes on").1, "-- UPDATE 1");
}

#[tokio::test]
async fn the_victim_of_a_deadlock_is_run_again_unnoticed() {
    for level in ["READ COMMITTED", "SERIALIZABLE"] {
        let (cluster, engine, mut old) = start().await;
        let mut young = connect(&engine).await;
        let begin = format!("BEGIN ISOLATION LEVEL {level}");
        check!(
            old,
            &format!("{begin}; UPDATE t SET n = n + 1 WHERE id = 1"),
            "-- BEGIN\n-- UPDATE 1"
        );
        check!(young, &begin, "-- BEGIN");
        check!(
            young,
            "SAVEPOINT a; UPDATE t SET n = n + 1 WHERE id = 2",
            "-- SAVEPOINT\n-- UPDATE 1"
        );
        let waiting = waits(&cluster, young, "UPDATE t SET n = n + 1 WHERE id = 1").await;
        check!(old, "UPDATE t SET n = n + 1 WHERE id = 2", "-- UPDATE 1");
        check!(old, "COMMIT", "-- COMMIT");
        let (mut young, answer) = waiting.await.expect("it ends");
        assert_eq!(answer, "-- UPDATE 1", "{level}");
        check!(young, "COMMIT", "-- COMMIT");
        check!(young, "SELECT n FROM t WHERE id < 3 ORDER BY id", "12\n22\n-- SELECT 2");
    }
}

#[tokio::test]
async fn a_victim_whose_client_knows_too_much_is_told() {
    let (cluster, engine, mut old) = start().await;
    let mut young = connect(&engine).await;
    check!(old, "BEGIN; UPDATE t SET n = n + 1 WHERE id = 1", "-- BEGIN\n-- UPDATE 1");
    check!(young, "BEGIN; SELECT n FROM t WHERE id = 1", "-- BEGIN\n10\n-- SELECT 1");
    check!(young, "UPDATE t SET n = n + 1 WHERE id = 2; SAVEPOINT a", "-- UPDATE 1\n-- SAVEPOINT");
    let waiting = waits(&cluster, young, "UPDATE t SET n = n + 1 WHERE id = 1").await;
    check!(old, "UPDATE t SET n = n + 1 WHERE id = 2; COMMIT", "-- UPDATE 1\n-- COMMIT");
    let (mut young, answer) = waiting.await.expect("it ends");
    assert!(answer.starts_with("ERROR 40"), "{answer}");
    assert_eq!(young.transaction_status(), TxStatus::Failed);
    // There is nothing left that the savepoint could bring back.
    let answer = run(&mut young, "ROLLBACK TO a").await;
    assert!(answer.starts_with("ERROR 40001"), "{answer}");
    check!(young, "ROLLBACK; SELECT n FROM t WHERE id = 1", "-- ROLLBACK\n11\n-- SELECT 1");
}

#[tokio::test]
async fn a_commit_that_conflicts_is_repeated_if_the_client_would_not_notice() {
    let (_, engine, mut s) = start().await;
    let mut other = connect(&engine).await;
    for (changed, ok) in [("n = n", true), ("n = n + 1", false)] {
        check!(s, "BEGIN", "-- BEGIN");
        let seen = run(&mut s, "SELECT n FROM t WHERE id = 1").await;
        check!(s, "UPDATE t SET n = n + 1 WHERE id = 2", "-- UPDATE 1");
        check!(other, &format!("UPDATE t SET {changed} WHERE id = 1"), "-- UPDATE 1");
        // Its commit has to lie above this read, hence above the change.
        run(&mut other, "SELECT n FROM t WHERE id = 2").await;
        let answer = run(&mut s, "COMMIT").await;
        assert_eq!(answer == "-- COMMIT", ok, "{seen}: {answer}");
        assert_eq!(answer.starts_with("ERROR 40001"), !ok, "{answer}");
        assert_eq!(s.transaction_status(), TxStatus::Idle);
    }
    check!(s, "SELECT n FROM t WHERE id = 2", "21\n-- SELECT 1");
}

#[tokio::test]
async fn results_that_were_sent_beyond_the_buffer_end_the_silence() {
    let (_, engine, mut s) = start().await;
    let mut other = connect(&engine).await;
    check!(s, "SET results_buffer_size = '1kB'", "-- SET");
    check!(s, "SHOW results_buffer_size", "1kB\n-- SHOW");
    check!(s, "BEGIN", "-- BEGIN");
    // The value of the row does not change, but the whole result is more than is compared.
    run(&mut s, "SELECT n, repeat('x', 2000) FROM t WHERE id = 1").await;
    check!(s, "UPDATE t SET n = n + 1 WHERE id = 2", "-- UPDATE 1");
    check!(other, "UPDATE t SET n = n WHERE id = 1", "-- UPDATE 1");
    run(&mut other, "SELECT n FROM t WHERE id = 2").await;
    let answer = run(&mut s, "COMMIT").await;
    assert!(answer.starts_with("ERROR 40001"), "{answer}");
}

#[tokio::test]
async fn statements_that_wait_too_long_are_cancelled() {
    let (_, engine, mut holder) = start().await;
    let mut s = connect(&engine).await;
    check!(holder, "BEGIN; UPDATE t SET n = 0 WHERE id = 1", "-- BEGIN\n-- UPDATE 1");
    let update = "UPDATE t SET n = 1 WHERE id = 1";
    let cases = [
        ("statement_timeout", "ERROR 57014: canceling statement due to statement timeout"),
        ("lock_timeout", "ERROR 55P03: canceling statement due to lock timeout"),
        ("transaction_timeout", "ERROR 25P04: terminating connection due to transaction timeout"),
    ];
    for (setting, error) in cases {
        check!(s, &format!("SET {setting} = '80ms'"), "-- SET");
        let before = Instant::now();
        let answer = run(&mut s, update).await;
        assert!(answer.starts_with(error), "{answer}");
        assert!(before.elapsed() >= Duration::from_millis(79), "{setting}: {:?}", before.elapsed());
        check!(s, &format!("SET {setting} = 0"), "-- SET");
    }
    // An INSERT that waits in its commit leaves nothing behind.
    let insert = "ROLLBACK; BEGIN; INSERT INTO t VALUES (20, 0)";
    check!(holder, insert, "-- ROLLBACK\n-- BEGIN\n-- INSERT 0 1");
    check!(s, "SET statement_timeout = '50ms'", "-- SET");
    let answer = run(&mut s, "INSERT INTO t VALUES (20, 1)").await;
    assert!(answer.starts_with("ERROR 57014"), "{answer}");
    check!(holder, "ROLLBACK", "-- ROLLBACK");
    check!(s, "SELECT count(*) FROM t WHERE id = 20", "0\n-- SELECT 1");
    // The limit is the transaction's: two statements that are each short enough.
    check!(holder, "BEGIN; UPDATE t SET n = 0 WHERE id = 1", "-- BEGIN\n-- UPDATE 1");
    check!(s, "SET lock_timeout = '60ms'; SET statement_timeout = 0", "-- SET\n-- SET");
    check!(s, "SET transaction_timeout = '100ms'", "-- SET");
    let before = Instant::now();
    check!(s, "BEGIN; SAVEPOINT a", "-- BEGIN\n-- SAVEPOINT");
    let answer = run(&mut s, update).await;
    assert!(answer.starts_with("ERROR 55P03"), "{answer}");
    let answer = run(&mut s, &format!("ROLLBACK TO a; {update}")).await;
    assert!(answer.starts_with("-- ROLLBACK\nERROR 25P04"), "{answer}");
    assert!(before.elapsed() >= Duration::from_millis(99), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_duplicate_that_only_an_old_snapshot_makes_is_no_error() {
    let cluster = FakeCluster::new();
    let engine = Engine::new(cluster.db(), EngineConfig::default());
    let mut s = connect(&engine).await;
    check!(
        s,
        "CREATE TABLE q (id int PRIMARY KEY); INSERT INTO q VALUES (0)",
        "-- CREATE TABLE\n-- INSERT 0 1"
    );
    let tasks = (0..8).map(|_| {
        let engine = engine.clone();
        tokio::spawn(async move {
            let mut s = connect(&engine).await;
            for _ in 0..6 {
                check!(s, "INSERT INTO q SELECT max(id) + 1 FROM q", "-- INSERT 0 1");
            }
        })
    });
    for task in join_all(tasks).await {
        task.expect("no statement fails");
    }
    check!(s, "SELECT count(*), max(id) FROM q", "49|48\n-- SELECT 1");
}

/// Single statements and batches on few rows, in opposite orders, from many sessions of several nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_single_statement_and_no_batch_is_told_to_try_again() {
    for level in ["read committed", "repeatable read", "serializable"] {
        let cluster = FakeCluster::with_nodes(2);
        let dbs = [cluster.db(), cluster.db_on(base::NodeId(2), Config::default())];
        let engines = dbs.map(|db| Engine::new(db, EngineConfig::default()));
        let mut s = connect(&engines[0]).await;
        let setup = "CREATE TABLE t (id int PRIMARY KEY, n int);
                     INSERT INTO t SELECT g, 0 FROM generate_series(0, 3) g;
                     CREATE TABLE u (id int PRIMARY KEY, who int)";
        assert!(!run(&mut s, setup).await.contains("ERROR"));
        check!(s, "ALTER TABLE t SPLIT AT VALUES (1), (2), (3)", "-- ALTER TABLE");
        cluster.spread_leaders();
        cluster.set_faults(Faults { latency: Duration::from_micros(300), ..Faults::default() });
        let tasks = (0..16_usize).map(|task| {
            let engine = engines[task % 2].clone();
            tokio::spawn(async move {
                let mut s = connect(&engine).await;
                check!(s, &format!("SET default_transaction_isolation = '{level}'"), "-- SET");
                for i in 0..12_usize {
                    let (a, b) = ((task + i) % 4, (task * 3 + i + 1) % 4);
                    let update = |id| format!("UPDATE t SET n = n + 1 WHERE id = {id}");
                    match i % 4 {
                        0 => check!(s, &update(a), "-- UPDATE 1"),
                        1 => {
                            let both = format!("{}; {}", update(a), update(b));
                            check!(s, &both, "-- UPDATE 1\n-- UPDATE 1");
                        }
                        2 => {
                            let all = "UPDATE t SET n = n + 1";
                            assert_eq!(extended(&mut s, all, &[], vec![]).await, "-- UPDATE 4");
                        }
                        _ => {
                            let insert =
                                format!("INSERT INTO u VALUES ({}, {task})", task * 100 + i);
                            check!(s, &insert, "-- INSERT 0 1");
                        }
                    }
                }
            })
        });
        let all = tokio::time::timeout(Duration::from_secs(120), join_all(tasks)).await;
        let Ok(all) = all else { panic!("stuck:\n{}", cluster.describe_locks()) };
        for task in all {
            task.expect("no statement fails");
        }
        check!(s, "SELECT sum(n) FROM t", format!("{}\n-- SELECT 1", 16 * 3 * (1 + 2 + 4)));
        check!(s, "SELECT count(*) FROM u", "48\n-- SELECT 1");
    }
}

/// A row lock is lost with its leader, and the row changes: COMMIT says so, at every level. It must not find
/// its transaction given up and commit nothing.
#[tokio::test]
async fn a_commit_that_cannot_be_repeated_fails() {
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let cluster = FakeCluster::with_nodes(2);
        let engine = Engine::new(cluster.db(), EngineConfig::default());
        let (mut a, mut b) = (connect(&engine).await, connect(&engine).await);
        let setup =
            "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 10), (2, 20)";
        check!(a, setup, "-- CREATE TABLE\n-- INSERT 0 2");
        check!(a, &format!("BEGIN ISOLATION LEVEL {level}"), "-- BEGIN");
        check!(a, "SELECT n FROM t WHERE id = 1 FOR UPDATE", "10\n-- SELECT 1");
        check!(a, "UPDATE t SET n = 0 WHERE id = 2", "-- UPDATE 1");
        for (range, leader) in cluster.ranges() {
            cluster.move_leader(range, base::NodeId(3 - leader.0));
        }
        // Both rows: had it changed the first alone, the other one might still commit before it.
        check!(b, "UPDATE t SET n = n + 1", "-- UPDATE 2");
        let told = run(&mut a, "COMMIT").await;
        assert!(told.starts_with("ERROR 40001"), "{level}: {told}");
        check!(b, "SELECT n FROM t ORDER BY id", "11\n21\n-- SELECT 2");
    }
}

/// Locks were lost, and somebody changed a row that was locked only. The transaction may still come before
/// that change; it is as the client is told.
#[tokio::test]
async fn a_commit_after_lost_locks_is_what_it_says() {
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"].repeat(10) {
        let cluster = FakeCluster::with_nodes(2);
        let engine = Engine::new(cluster.db(), EngineConfig::default());
        let (mut a, mut b) = (connect(&engine).await, connect(&engine).await);
        let setup =
            "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 10), (2, 20)";
        check!(a, setup, "-- CREATE TABLE\n-- INSERT 0 2");
        check!(a, &format!("BEGIN ISOLATION LEVEL {level}"), "-- BEGIN");
        check!(a, "SELECT n FROM t WHERE id = 1 FOR UPDATE", "10\n-- SELECT 1");
        check!(a, "UPDATE t SET n = 0 WHERE id = 2", "-- UPDATE 1");
        for (range, leader) in cluster.ranges() {
            cluster.move_leader(range, base::NodeId(3 - leader.0));
        }
        check!(b, "UPDATE t SET n = 11 WHERE id = 1", "-- UPDATE 1");
        let told = run(&mut a, "COMMIT").await;
        let expected = if told == "-- COMMIT" { "11\n0" } else { "11\n20" };
        check!(b, "SELECT n FROM t ORDER BY id", format!("{expected}\n-- SELECT 2"));
    }
}
