//! EXPLAIN ANALYZE: that it counts waits and repetitions, and what it commits.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{connect, engine, run};
use sql::session::{Engine, Session};

async fn accounts(engine: &Arc<Engine>) -> Session {
    let mut s = connect(engine).await;
    let made = "CREATE TABLE accounts (id int PRIMARY KEY, balance int);
                INSERT INTO accounts SELECT g, 10 FROM generate_series(1, 9) g";
    assert_eq!(run(&mut s, made).await, "-- CREATE TABLE\n-- INSERT 0 9");
    s
}

/// The value of a line.
fn line<'t>(told: &'t str, key: &str) -> &'t str {
    let found = told.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no {key} in\n{told}"))
}

/// Runs a statement that has to wait for `holder`, who ends when it does.
async fn while_held(engine: &Arc<Engine>, holder: &mut Session, end: &str, sql: &str) -> String {
    let mut waiter = connect(engine).await;
    let sql = sql.to_owned();
    let waiting = tokio::spawn(async move { run(&mut waiter, &sql).await });
    let mut observer = connect(engine).await;
    for _ in 0..500 {
        let seen = run(&mut observer, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted").await;
        if seen.starts_with('t') {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    run(holder, end).await;
    waiting.await.expect("it does not panic")
}

#[tokio::test]
async fn a_wait_for_a_lock_is_counted() {
    let engine = engine();
    let mut s = accounts(&engine).await;
    run(&mut s, "BEGIN; UPDATE accounts SET balance = 11 WHERE id = 1").await;
    let sql = "EXPLAIN ANALYZE UPDATE accounts SET balance = balance + 1 WHERE id = 1";
    let told = while_held(&engine, &mut s, "ROLLBACK", sql).await;
    let wait = line(&told, "Lock Wait");
    assert!(wait.ends_with(" ms (1)") && !wait.starts_with("0.000"), "{told}");
    assert_eq!(line(&told, "Retries"), "0", "{told}");
    assert_eq!(line(&told, "Consensus Rounds"), "1", "{told}");
}

#[tokio::test]
async fn a_repetition_is_counted() {
    let engine = engine();
    let mut s = accounts(&engine).await;
    run(&mut s, "BEGIN; UPDATE accounts SET balance = 11 WHERE id = 1").await;
    // By a scan, so that it reads before it waits.
    let sql = "EXPLAIN ANALYZE UPDATE accounts SET balance = balance + 1 WHERE balance > 0";
    let told = while_held(&engine, &mut s, "COMMIT", sql).await;
    assert_eq!(line(&told, "Retries"), "1", "{told}");
    let seen = run(&mut s, "SELECT balance FROM accounts WHERE id = 1").await;
    assert_eq!(seen, "12\n-- SELECT 1");
}

#[tokio::test]
async fn analyze_commits_what_stands_alone_and_nothing_else() {
    let engine = engine();
    let mut s = accounts(&engine).await;
    let alone = run(&mut s, "EXPLAIN ANALYZE DELETE FROM accounts WHERE id = 1").await;
    assert!(alone.contains("Commit Round Trips: 1 (local 1, remote 0)"), "{alone}");
    assert_eq!(line(&alone, "Consensus Rounds"), "1", "{alone}");
    let script = "EXPLAIN ANALYZE DELETE FROM accounts WHERE id = 2; SELECT 1 / 0";
    let told = run(&mut s, script).await;
    assert!(!told.contains("Commit Round Trips"), "{told}");
    assert_eq!(run(&mut s, "SELECT count(*) FROM accounts").await, "8\n-- SELECT 1");
    let told = run(&mut s, "BEGIN READ ONLY; EXPLAIN ANALYZE DELETE FROM accounts").await;
    assert!(
        told.contains("ERROR 25006: cannot execute DELETE in a read-only transaction"),
        "{told}"
    );
}

#[tokio::test]
async fn a_duplicate_is_an_error_of_the_explain() {
    let engine = engine();
    let mut s = accounts(&engine).await;
    let told = run(&mut s, "EXPLAIN ANALYZE INSERT INTO accounts VALUES (3, 1)").await;
    assert!(told.contains("ERROR 23505"), "{told}");
    assert_eq!(run(&mut s, "SELECT count(*) FROM accounts").await, "9\n-- SELECT 1");
}
