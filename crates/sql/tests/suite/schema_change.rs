//! Changes of the schema while transactions are under way: whom they concern, and whom not.

mod closing;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::{TextSink, connect, engine, run};
use kv::testing::FakeCluster;
use sql::session::{Engine, EngineConfig, Session};

const LEVELS: [&str; 3] = ["SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"];

/// More rows than one transaction changes.
const MANY: &str = "CREATE TABLE many (id int PRIMARY KEY, v int, w text);
                    INSERT INTO many SELECT g, g, 'w' || g FROM generate_series(1, 3000) g";

async fn ok(session: &mut Session, sql: &str) -> String {
    let answer = run(session, sql).await;
    assert!(!answer.contains("ERROR"), "{sql}: {answer}");
    answer
}

async fn one(session: &mut Session, sql: &str) -> String {
    ok(session, sql).await.lines().next().expect("a row").to_owned()
}

/// How often something was run again.
fn retries(engine: &Arc<Engine>) -> u64 {
    engine.metrics().retries.load(Ordering::Relaxed)
}

/// An engine whose changes wait for nobody for long.
fn impatient() -> Arc<Engine> {
    let schema_change_patience = Duration::from_millis(20);
    let config = EngineConfig { schema_change_patience, ..EngineConfig::default() };
    Engine::new(FakeCluster::new().db(), config)
}

async fn start() -> (Arc<Engine>, Session, Session) {
    let engine = impatient();
    let (mut a, b) = (connect(&engine).await, connect(&engine).await);
    ok(&mut a, "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2)")
        .await;
    ok(&mut a, "CREATE TABLE u (id int PRIMARY KEY, v int); INSERT INTO u VALUES (1, 1), (2, 2)")
        .await;
    (engine, a, b)
}

#[tokio::test]
async fn a_change_of_what_was_not_used_disturbs_nobody() {
    for level in LEVELS {
        let (engine, mut a, mut b) = start().await;
        ok(&mut a, &format!("BEGIN ISOLATION LEVEL {level}")).await;
        ok(&mut a, "SELECT * FROM t ORDER BY id; INSERT INTO t VALUES (3, 3)").await;
        ok(&mut b, "CREATE TABLE other (id int); GRANT SELECT ON t TO PUBLIC; DROP TABLE u").await;
        // What was changed elsewhere moves the snapshot over it.
        ok(&mut b, "INSERT INTO t VALUES (4, 4); UPDATE t SET v = 20 WHERE id = 2").await;
        let before = retries(&engine);
        ok(&mut a, "INSERT INTO t VALUES (5, 5)").await;
        ok(&mut a, "COMMIT").await;
        if level == "READ COMMITTED" {
            assert_eq!(retries(&engine), before, "{level}");
        }
        assert_eq!(one(&mut b, "SELECT count(*), sum(v) FROM t").await, "5|33");
    }
}

#[tokio::test]
async fn who_only_writes_goes_on_beside_a_change_of_another_table() {
    for level in LEVELS {
        let (engine, mut a, mut b) = start().await;
        ok(&mut a, &format!("BEGIN ISOLATION LEVEL {level}")).await;
        ok(&mut a, "INSERT INTO t VALUES (3, 3)").await;
        ok(&mut b, "ALTER TABLE u ADD COLUMN w text DEFAULT 'x'; CREATE INDEX ON u (v)").await;
        ok(&mut a, "UPDATE t SET v = v + 1 WHERE id = 3").await;
        ok(&mut b, "SELECT count(*) FROM t").await;
        ok(&mut a, "COMMIT").await;
        assert_eq!(retries(&engine), 0, "{level}");
        assert_eq!(one(&mut b, "SELECT v FROM t WHERE id = 3").await, "4");
    }
}

#[tokio::test]
async fn a_table_met_after_a_change_is_as_the_change_made_it() {
    for level in LEVELS {
        let (_, mut a, mut b) = start().await;
        ok(&mut a, &format!("BEGIN ISOLATION LEVEL {level}")).await;
        ok(&mut a, "SELECT * FROM t WHERE id = 1; INSERT INTO t VALUES (3, 3)").await;
        ok(&mut b, "ALTER TABLE u ADD CONSTRAINT small CHECK (v < 100)").await;
        ok(&mut b, "UPDATE t SET v = 5 WHERE id = 2").await;
        // Whatever moves the snapshot in between, the constraint is kept.
        run(&mut a, "UPDATE t SET v = v + 1 WHERE id = 2").await;
        run(&mut a, "INSERT INTO u VALUES (3, 1000)").await;
        run(&mut a, "COMMIT").await;
        assert_eq!(one(&mut b, "SELECT count(*) FROM u WHERE v >= 100").await, "0", "{level}");
    }
}

#[tokio::test]
async fn a_change_of_what_was_used_makes_the_transaction_run_again() {
    for (level, change, left) in [
        (LEVELS[0], "ALTER TABLE t ADD COLUMN w int DEFAULT 7", "3|3|7"),
        (LEVELS[1], "ALTER TABLE t ADD COLUMN w int DEFAULT 7", "3|3|7"),
        (LEVELS[2], "ALTER TABLE t ADD COLUMN w int DEFAULT 7", "3|3|7"),
        (LEVELS[0], "CREATE INDEX by_v ON t (v)", "3|3"),
        (LEVELS[2], "CREATE INDEX by_v ON t (v)", "3|3"),
    ] {
        let (engine, mut a, mut b) = start().await;
        ok(&mut a, &format!("BEGIN ISOLATION LEVEL {level}")).await;
        ok(&mut a, "INSERT INTO t VALUES (3, 3)").await;
        ok(&mut b, change).await;
        // Who commits behind this read commits behind the change.
        ok(&mut b, "SELECT count(*) FROM t").await;
        ok(&mut a, "COMMIT").await;
        assert_eq!(retries(&engine), 1, "{level}: {change}");
        assert_eq!(one(&mut b, "SELECT * FROM t WHERE v = 3").await, left, "{level}: {change}");
    }
}

#[tokio::test]
async fn what_was_told_of_a_dropped_column_is_not_committed() {
    for level in LEVELS {
        let (_, mut a, mut b) = start().await;
        ok(&mut a, &format!("BEGIN ISOLATION LEVEL {level}")).await;
        ok(&mut a, "SELECT v FROM t WHERE id = 1; INSERT INTO u VALUES (3, 3)").await;
        ok(&mut b, "ALTER TABLE t DROP COLUMN v; SELECT count(*) FROM u").await;
        let answer = run(&mut a, "COMMIT").await;
        assert!(answer.contains("40001"), "{level}: {answer}");
        assert_eq!(one(&mut b, "SELECT count(*) FROM u").await, "2");
    }
}

#[tokio::test]
async fn a_new_reference_concerns_who_deletes_what_it_refers_to() {
    for level in LEVELS {
        let (_, mut a, mut b) = start().await;
        ok(&mut a, &format!("BEGIN ISOLATION LEVEL {level}")).await;
        ok(&mut a, "DELETE FROM t WHERE id = 2").await;
        ok(&mut b, "CREATE TABLE child (t int REFERENCES t); INSERT INTO child VALUES (1)").await;
        let b = tokio::spawn(async move {
            let answer = run(&mut b, "INSERT INTO child VALUES (2)").await;
            (b, answer)
        });
        run(&mut a, "COMMIT").await;
        let (mut b, _) = b.await.expect("it ends");
        let orphans = "SELECT count(*) FROM child WHERE t NOT IN (SELECT id FROM t)";
        assert_eq!(one(&mut b, orphans).await, "0", "{level}");
    }
}

#[tokio::test]
async fn what_a_change_has_read_holds_at_every_level() {
    for level in LEVELS {
        for (change, write, wrong) in [
            (
                "CREATE INDEX by_v ON t (v)",
                "INSERT INTO t VALUES (3, 7)",
                "SELECT (SELECT count(*) FROM t WHERE v = 7) - (SELECT count(*) FROM t WHERE v + 0 = 7)",
            ),
            (
                "ALTER TABLE t ADD CHECK (v < 100)",
                "INSERT INTO t VALUES (3, 700)",
                "SELECT count(*) FROM t WHERE v > 100 AND EXISTS (SELECT FROM pg_constraint WHERE contype = 'c')",
            ),
            (
                "ALTER TABLE t ADD FOREIGN KEY (v) REFERENCES u",
                "DELETE FROM u WHERE id = 2",
                "SELECT count(*) FROM t WHERE v NOT IN (SELECT id FROM u) AND EXISTS (SELECT FROM pg_constraint WHERE contype = 'f')",
            ),
        ] {
            let (_, mut a, mut b) = start().await;
            ok(&mut b, &format!("BEGIN ISOLATION LEVEL {level}; {change}")).await;
            ok(&mut a, write).await;
            run(&mut b, "COMMIT").await;
            assert_eq!(one(&mut a, wrong).await, "0", "{level}: {change}");
        }
    }
}

/// Begins a statement in a task of its own, and returns once a query about the catalog answers so.
async fn begun(
    mut session: Session,
    sql: &str,
    watcher: &mut Session,
    (query, answer): (&str, &str),
) -> tokio::task::JoinHandle<(Session, String)> {
    let sql = sql.to_owned();
    let task = tokio::spawn(async move {
        let answer = run(&mut session, &sql).await;
        (session, answer)
    });
    while one(watcher, query).await != answer {
        assert!(!task.is_finished(), "it does not wait for anybody");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    task
}

const BEING_BUILT: &str = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
const NOT_VALID: &str = "SELECT count(*) FROM pg_constraint WHERE NOT convalidated";

#[tokio::test]
async fn an_index_waits_for_those_who_write_without_it() {
    let engine = engine();
    let (mut a, b) = (connect(&engine).await, connect(&engine).await);
    let mut watcher = connect(&engine).await;
    ok(&mut a, MANY).await;
    ok(&mut a, "BEGIN; INSERT INTO many VALUES (5000, 42, 'late'); DELETE FROM many WHERE id = 42")
        .await;
    let create = "CREATE INDEX by_v ON many (v)";
    let creating = begun(b, create, &mut watcher, (BEING_BUILT, "1")).await;
    ok(&mut a, "INSERT INTO many VALUES (5001, 42, 'later')").await;
    ok(&mut a, "COMMIT").await;
    let (mut b, answer) = creating.await.expect("it ends");
    assert_eq!(answer, "-- CREATE INDEX");
    assert_eq!(retries(&engine), 0, "nobody had to run again");
    let found = "SELECT string_agg(w, ' ' ORDER BY w) FROM many WHERE v = 42";
    assert!(run(&mut b, &format!("EXPLAIN {found}")).await.contains("by_v"));
    assert_eq!(one(&mut b, found).await, "late later");
}

#[tokio::test]
async fn an_index_does_not_wait_for_ever() {
    let engine = impatient();
    let (mut a, mut b) = (connect(&engine).await, connect(&engine).await);
    ok(&mut a, MANY).await;
    ok(&mut a, "BEGIN; INSERT INTO many VALUES (5000, 42, 'late')").await;
    ok(&mut b, "CREATE INDEX by_v ON many (v)").await;
    ok(&mut a, "COMMIT").await;
    assert!(retries(&engine) > 0, "it had to run again, under the schema of now");
    let found = "SELECT string_agg(w, ' ' ORDER BY w) FROM many WHERE v = 42";
    assert!(run(&mut b, &format!("EXPLAIN {found}")).await.contains("by_v"));
    assert_eq!(one(&mut b, found).await, "late w42");
}

#[tokio::test]
async fn rows_loaded_while_an_index_comes_are_in_it() {
    let engine = engine();
    let (mut a, b) = (connect(&engine).await, connect(&engine).await);
    let mut watcher = connect(&engine).await;
    ok(&mut a, MANY).await;
    // What COPY has read can't be read again: it is never told to.
    ok(&mut a, "BEGIN").await;
    let rows = (0..100).map(|n| format!("{}\t42\tcopied\n", 10_000 + n)).collect::<String>();
    let mut sink = TextSink::reading([rows.into()].into());
    a.simple("COPY many FROM STDIN", &mut sink).await.expect("copies");
    let creating =
        begun(b, "CREATE INDEX by_v ON many (v)", &mut watcher, (BEING_BUILT, "1")).await;
    ok(&mut a, "COMMIT").await;
    let (mut b, answer) = creating.await.expect("it ends");
    assert_eq!(answer, "-- CREATE INDEX");
    assert_eq!(one(&mut b, "SELECT count(*) FROM many WHERE v = 42").await, "101");
}

#[tokio::test]
async fn a_constraint_waits_for_those_who_write_without_it() {
    for (change, breaking, code, kept) in [
        (
            "ADD CONSTRAINT c CHECK (v > 0)",
            "INSERT INTO many VALUES (5000, -1, 'x')",
            "23514",
            "-1",
        ),
        (
            "ADD CONSTRAINT c FOREIGN KEY (v) REFERENCES p",
            "INSERT INTO many VALUES (5000, 9999, 'x')",
            "23503",
            "9999",
        ),
        ("ALTER v SET NOT NULL", "INSERT INTO many VALUES (5000, NULL, 'x')", "23502", "NULL"),
        ("ADD CONSTRAINT c UNIQUE (v)", "INSERT INTO many VALUES (5000, 1, 'x')", "23505", "1"),
    ] {
        for breaks in [false, true] {
            let engine = engine();
            let (mut a, b) = (connect(&engine).await, connect(&engine).await);
            let mut watcher = connect(&engine).await;
            ok(&mut a, MANY).await;
            ok(&mut a, "CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p SELECT g FROM generate_series(1, 3001) g").await;
            let write = if breaks { breaking } else { "INSERT INTO many VALUES (5000, 3001, 'x')" };
            ok(&mut a, &format!("BEGIN; {write}")).await;
            let alter = format!("ALTER TABLE many {change}");
            let pending = match change {
                "ADD CONSTRAINT c UNIQUE (v)" => (BEING_BUILT, "1"),
                "ALTER v SET NOT NULL" => ("SELECT 1", "1"),
                _ => (NOT_VALID, "1"),
            };
            let altering = begun(b, &alter, &mut watcher, pending).await;
            if pending.0 == NOT_VALID {
                // Whoever comes now keeps to it.
                let answer = run(&mut watcher, &breaking.replace("5000", "5001")).await;
                assert!(answer.contains(code), "{change}: {answer}");
            }
            ok(&mut a, "COMMIT").await;
            let (mut b, answer) = altering.await.expect("it ends");
            if breaks {
                assert!(answer.contains(code), "{change}: {answer}");
                assert_eq!(one(&mut b, "SELECT v FROM many WHERE id = 5000").await, kept);
                // Nothing is left.
                let left = "SELECT (SELECT count(*) FROM pg_constraint WHERE conname = 'c')
                                 + (SELECT count(*) FROM pg_class WHERE relname = 'c')
                                 + (SELECT count(*) FROM pg_attribute WHERE attrelid = 'many'::regclass AND attname = 'v' AND attnotnull)";
                assert_eq!(one(&mut b, left).await, "0", "{change}");
                ok(&mut b, &breaking.replace("5000", "5001")).await;
            } else {
                assert_eq!(answer, "-- ALTER TABLE", "{change}");
                let answer = run(&mut b, &breaking.replace("5000", "5001")).await;
                assert!(answer.contains(code), "{change}: {answer}");
            }
            assert_eq!(retries(&engine), 0, "{change}: nobody had to run again");
        }
    }
}

#[tokio::test]
async fn a_constraint_that_is_not_valid_stays_so_if_a_row_breaks_it() {
    let engine = engine();
    let mut a = connect(&engine).await;
    ok(&mut a, MANY).await;
    ok(&mut a, "INSERT INTO many VALUES (0, 0, 'zero'); ALTER TABLE many ADD CONSTRAINT c CHECK (v > 0) NOT VALID").await;
    let answer = run(&mut a, "ALTER TABLE many VALIDATE CONSTRAINT c").await;
    assert!(
        answer.starts_with(
            "ERROR 23514: check constraint \"c\" of relation \"many\" is violated by some row"
        ),
        "{answer}"
    );
    assert_eq!(one(&mut a, NOT_VALID).await, "1");
    ok(&mut a, "DELETE FROM many WHERE id = 0; ALTER TABLE many VALIDATE CONSTRAINT c").await;
    assert_eq!(one(&mut a, NOT_VALID).await, "0");
}

#[tokio::test]
async fn a_change_that_is_cancelled_is_taken_back() {
    let engine = engine();
    let (mut a, mut b) = (connect(&engine).await, connect(&engine).await);
    let mut watcher = connect(&engine).await;
    ok(&mut a, MANY).await;
    ok(&mut a, "BEGIN; INSERT INTO many VALUES (5000, -1, 'late')").await;
    for (change, query) in [
        ("CREATE INDEX by_v ON many (v)", BEING_BUILT),
        ("ALTER TABLE many ADD CONSTRAINT c CHECK (v > 0)", NOT_VALID),
    ] {
        ok(&mut b, "SET statement_timeout = '1s'").await;
        let changing = begun(b, change, &mut watcher, (query, "1")).await;
        let (session, answer) = changing.await.expect("it ends");
        b = session;
        assert!(answer.contains("57014"), "{answer}");
        while one(&mut watcher, query).await != "0" {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    ok(&mut a, "COMMIT").await;
}
