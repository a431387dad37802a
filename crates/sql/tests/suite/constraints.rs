//! Foreign keys and sequences with several sessions about: over a cluster in memory, at every level.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{connect, engine, run};
use kv::testing::FakeCluster;
use sql::session::{Engine, EngineConfig, Session};

const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// Runs a script in the background.
fn spawn(mut session: Session, sql: &str) -> tokio::task::JoinHandle<(Session, String)> {
    let sql = sql.to_owned();
    tokio::spawn(async move {
        let seen = run(&mut session, &sql).await;
        (session, seen)
    })
}

/// Waits until somebody waits for a lock.
async fn somebody_waits(engine: &Arc<Engine>) {
    let mut s = connect(engine).await;
    for _ in 0..500 {
        let seen = run(&mut s, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted").await;
        if seen.starts_with('t') {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody waits");
}

/// Parents 1 to 3, by primary key and by unique column, and two tables of children.
async fn family() -> (Arc<Engine>, Session) {
    let engine = engine();
    let mut s = connect(&engine).await;
    let made = run(
        &mut s,
        "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE, v int);
         INSERT INTO p VALUES (1, 'a', 0), (2, 'b', 0), (3, 'c', 0);
         CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p);
         CREATE TABLE d (id int PRIMARY KEY, code text REFERENCES p (code) ON DELETE CASCADE);
         CREATE TABLE other (x int)",
    )
    .await;
    assert!(!made.contains("ERROR"), "{made}");
    (engine, s)
}

fn is_violation(seen: &str) -> bool {
    seen.contains("ERROR 23503") || seen.contains("ERROR 40001")
}

#[tokio::test]
async fn a_child_under_way_keeps_its_parent() {
    for level in LEVELS {
        let (engine, mut a) = family().await;
        let mut b = connect(&engine).await;
        let begin = format!("BEGIN ISOLATION LEVEL {level}");
        run(&mut a, &format!("{begin}; INSERT INTO c VALUES (1, 1)")).await;
        // Its other columns may change meanwhile.
        assert_eq!(run(&mut b, "UPDATE p SET v = 1 WHERE id = 1").await, "-- UPDATE 1", "{level}");
        let delete = spawn(b, &format!("{begin}; DELETE FROM p WHERE id = 1; COMMIT"));
        somebody_waits(&engine).await;
        assert_eq!(run(&mut a, "COMMIT").await, "-- COMMIT", "{level}");
        let (mut b, seen) = delete.await.expect("it runs");
        assert!(is_violation(&seen), "{level}: {seen}");
        run(&mut b, "ROLLBACK").await;
        let orphans = "SELECT count(*) FROM c LEFT JOIN p ON p.id = c.p WHERE p.id IS NULL";
        assert_eq!(run(&mut a, orphans).await, "0\n-- SELECT 1", "{level}");
    }
}

#[tokio::test]
async fn a_parent_under_way_out_takes_no_children() {
    for level in LEVELS {
        for (end, table, row) in [
            ("COMMIT", "c", "(1, 1)"),
            ("ROLLBACK", "c", "(1, 1)"),
            ("COMMIT", "d", "(1, 'a')"),
            ("ROLLBACK", "d", "(1, 'a')"),
        ] {
            let (engine, mut a) = family().await;
            let b = connect(&engine).await;
            let begin = format!("BEGIN ISOLATION LEVEL {level}");
            run(&mut a, &format!("{begin}; DELETE FROM p WHERE id = 1")).await;
            let insert = spawn(b, &format!("{begin}; INSERT INTO {table} VALUES {row}; COMMIT"));
            somebody_waits(&engine).await;
            run(&mut a, end).await;
            let (_, seen) = insert.await.expect("it runs");
            assert_eq!(is_violation(&seen), end == "COMMIT", "{level} {end} {table}: {seen}");
        }
    }
}

#[tokio::test]
async fn a_snapshot_of_before_does_not_hide_a_child() {
    for level in LEVELS {
        let (engine, mut a) = family().await;
        let mut b = connect(&engine).await;
        let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM other");
        run(&mut a, &begin).await;
        run(&mut b, "INSERT INTO c VALUES (1, 1); INSERT INTO d VALUES (1, 'b')").await;
        // SERIALIZABLE may leave it to the commit.
        let seen = run(&mut a, "DELETE FROM p WHERE id = 1").await;
        let seen = format!("{seen}\n{}", run(&mut a, "COMMIT").await);
        assert!(is_violation(&seen), "{level}: {seen}");
        run(&mut a, &begin).await;
        run(&mut b, "INSERT INTO d VALUES (2, 'b')").await;
        let seen = run(&mut a, "DELETE FROM p WHERE id = 2; COMMIT").await;
        if !seen.contains("ERROR") {
            let left = run(&mut b, "SELECT count(*) FROM d").await;
            assert_eq!(left, "0\n-- SELECT 1", "{level}: the cascade takes all");
        } else {
            assert!(seen.contains("40001"), "{level}: {seen}");
        }
    }
}

#[tokio::test]
async fn a_parent_of_after_the_snapshot_is_found() {
    for level in LEVELS {
        let (engine, mut a) = family().await;
        let mut b = connect(&engine).await;
        run(&mut a, &format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM other")).await;
        run(&mut b, "INSERT INTO p VALUES (7, 'g', 0)").await;
        let seen = run(&mut a, "INSERT INTO c VALUES (7, 7); INSERT INTO d VALUES (7, 'g')").await;
        assert!(!seen.contains("23503"), "{level}: {seen}");
        let seen = run(&mut a, "COMMIT").await;
        assert!(seen == "-- COMMIT" || seen == "-- ROLLBACK", "{level}: {seen}");
    }
}

#[tokio::test]
async fn deletes_and_inserts_leave_no_orphan() {
    for level in LEVELS {
        let (engine, mut s) = family().await;
        let mut tasks = Vec::new();
        for n in 0..6 {
            let session = connect(&engine).await;
            let statements: Vec<String> = (0..15)
                .map(|i| {
                    let key = (n * 7 + i * 5) % 3 + 1;
                    let id = 100 * n + i;
                    let sql = match (n + i) % 3 {
                        0 => format!("DELETE FROM p WHERE id = {key}"),
                        1 => format!("INSERT INTO p VALUES ({key}, 'k{key}', 0)"),
                        _ => format!("INSERT INTO c VALUES ({id}, {key})"),
                    };
                    format!("BEGIN ISOLATION LEVEL {level}; {sql}; COMMIT; ")
                })
                .collect();
            tasks.push(tokio::spawn(async move {
                let mut session = session;
                for sql in statements {
                    run(&mut session, &sql).await;
                    run(&mut session, "ROLLBACK").await;
                }
            }));
        }
        for task in tasks {
            task.await.expect("it runs");
        }
        let orphans = "SELECT count(*) FROM c LEFT JOIN p ON p.id = c.p WHERE p.id IS NULL";
        assert_eq!(run(&mut s, orphans).await, "0\n-- SELECT 1", "{level}");
    }
}

#[tokio::test]
async fn a_sequence_gives_no_value_twice() {
    let cluster = FakeCluster::new();
    // Two nodes: they share nothing but what is stored.
    let engines = [(); 2].map(|()| Engine::new(cluster.db(), EngineConfig::default()));
    let mut s = connect(&engines[0]).await;
    run(
        &mut s,
        "CREATE SEQUENCE s; CREATE SEQUENCE ahead CACHE 7; CREATE TABLE t (id serial, v int)",
    )
    .await;
    for (sql, expect_all) in [
        ("SELECT nextval('s')", true),
        ("SELECT nextval('ahead')", false),
        ("INSERT INTO t (v) VALUES (1), (2) RETURNING id", true),
    ] {
        let mut tasks = Vec::new();
        for n in 0..8 {
            let mut session = connect(&engines[n % 2]).await;
            tasks.push(tokio::spawn(async move {
                let mut seen = Vec::new();
                for _ in 0..20 {
                    let answer = run(&mut session, sql).await;
                    assert!(!answer.contains("ERROR"), "{answer}");
                    seen.extend(answer.lines().filter_map(|l| l.parse::<i64>().ok()));
                }
                seen
            }));
        }
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.expect("it runs"));
        }
        let distinct: BTreeSet<i64> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len(), "{sql}");
        if expect_all {
            assert_eq!(distinct.last().copied(), i64::try_from(all.len()).ok(), "{sql}: no gaps");
        }
    }
}

#[tokio::test]
async fn nextval_is_no_conflict_between_transactions() {
    for level in LEVELS {
        let engine = engine();
        let (mut a, mut b) = (connect(&engine).await, connect(&engine).await);
        run(&mut a, "CREATE TABLE t (id serial PRIMARY KEY, v text)").await;
        let begin = format!("BEGIN ISOLATION LEVEL {level}");
        let insert = format!("{begin}; INSERT INTO t (v) VALUES ('x') RETURNING id");
        assert_eq!(run(&mut a, &insert).await, "-- BEGIN\n1\n-- INSERT 0 1", "{level}");
        assert_eq!(run(&mut b, &insert).await, "-- BEGIN\n2\n-- INSERT 0 1", "{level}");
        assert_eq!(run(&mut b, "ROLLBACK").await, "-- ROLLBACK", "{level}");
        assert_eq!(run(&mut a, "COMMIT").await, "-- COMMIT", "{level}");
        let next = "INSERT INTO t (v) VALUES ('y') RETURNING id";
        assert_eq!(run(&mut b, next).await, "3\n-- INSERT 0 1", "{level}: nothing is given back");
    }
}

#[tokio::test]
async fn errors_name_constraint_and_table() {
    let (_, mut s) = family().await;
    run(&mut s, "ALTER TABLE c ADD CONSTRAINT small CHECK (id < 100)").await;
    for (sql, code, constraint, table, detail) in [
        (
            "INSERT INTO c VALUES (1, 9)",
            "23503",
            "c_p_fkey",
            "c",
            "Key (p)=(9) is not present in table \"p\".",
        ),
        ("INSERT INTO c VALUES (100, 1)", "23514", "small", "c", "Failing row contains (100, 1)."),
        (
            "INSERT INTO c VALUES (1, 1); DELETE FROM p WHERE id = 1",
            "23503",
            "c_p_fkey",
            "c",
            "Key (id)=(1) is still referenced from table \"c\".",
        ),
    ] {
        let mut sink = crate::support::TextSink::default();
        let error = s.simple(sql, &mut sink).await.expect_err(sql);
        let fields = error.fields();
        assert_eq!(fields.code.as_str(), code, "{sql}");
        assert_eq!(fields.constraint.as_deref(), Some(constraint), "{sql}");
        assert_eq!(fields.table.as_deref(), Some(table), "{sql}");
        assert_eq!(fields.schema.as_deref(), Some("public"), "{sql}");
        assert_eq!(fields.detail.as_deref(), Some(detail), "{sql}");
    }
}
