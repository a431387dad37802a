//! Changes that keep writers out of a table: who waits for whom, and who does not.

use std::sync::Arc;
use std::time::Duration;

use catalog::{Change, Closing, Table, store};
use kv::TxnOptions;
use sql::session::{Engine, Session};
use tokio::task::JoinHandle;

use super::{LEVELS, MANY, begun, impatient, ok, one, retries, start};
use crate::support::{TextSink, connect, engine, run};

/// Tables that are closed.
const CLOSED: &str = "SELECT count(*) FROM conclave.schema_changes WHERE state = 'closed'";
const ONE_CLOSED: (&str, &str) = (CLOSED, "1");
const TO_TEXT: &str = "ALTER TABLE many ALTER v TYPE text USING 'v' || v";

/// Statements that close the table.
const CHANGES: [&str; 7] = [
    TO_TEXT,
    "ALTER TABLE many ADD COLUMN u uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE many DROP COLUMN v",
    "ALTER TABLE many DROP CONSTRAINT many_pkey",
    "TRUNCATE many",
    "DROP INDEX many_w",
    "DROP TABLE many",
];

/// Two sessions that write, one that changes the table, one that looks on.
async fn four(engine: &Arc<Engine>) -> (Session, Session, Session, Session) {
    let mut a = connect(engine).await;
    ok(&mut a, MANY).await;
    ok(&mut a, "CREATE INDEX many_w ON many (w); CREATE TABLE hot (id int PRIMARY KEY, n int); INSERT INTO hot VALUES (1, 0), (2, 0)").await;
    (a, connect(engine).await, connect(engine).await, connect(engine).await)
}

/// Runs a statement in a task of its own.
fn spawn(mut session: Session, sql: &str) -> JoinHandle<(Session, String)> {
    let sql = sql.to_owned();
    tokio::spawn(async move {
        let answer = run(&mut session, &sql).await;
        (session, answer)
    })
}

/// Asserts that a task waits for something.
async fn waits<T>(task: &JoinHandle<T>) {
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!task.is_finished(), "it does not wait");
}

async fn done(task: JoinHandle<(Session, String)>) -> (Session, String) {
    let ended = tokio::time::timeout(Duration::from_secs(30), task).await;
    ended.expect("it does not wait for ever").expect("it does not panic")
}

/// Waits until nothing is closed.
async fn opened(watcher: &mut Session) {
    while one(watcher, CLOSED).await != "0" {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_writer_waits_and_goes_on_with_the_table_as_it_is_then() {
    for level in LEVELS {
        let engine = engine();
        let (mut a, b, mut c, mut watcher) = four(&engine).await;
        ok(&mut a, "BEGIN; INSERT INTO many VALUES (5000, 7, 'early')").await;
        let altering = begun(b, TO_TEXT, &mut watcher, ONE_CLOSED).await;
        ok(&mut c, &format!("SET default_transaction_isolation = '{}'", level.to_lowercase()))
            .await;
        let writing = spawn(c, "INSERT INTO many VALUES (5001, 42, 'late')");
        waits(&writing).await;
        assert_eq!(one(&mut watcher, "SELECT v FROM many WHERE id = 1").await, "1");
        ok(&mut a, "UPDATE many SET v = 8 WHERE id = 5000").await;
        ok(&mut a, "COMMIT").await;
        assert_eq!(done(altering).await.1, "-- ALTER TABLE");
        assert_eq!(done(writing).await.1, "-- INSERT 0 1", "{level}");
        assert_eq!(retries(&engine), 0, "{level}: nobody had to run again");
        let found = "SELECT string_agg(v, ' ' ORDER BY id) FROM many WHERE id IN (1, 5000, 5001)";
        assert_eq!(one(&mut watcher, found).await, "v1 v8 42");
    }
}

#[tokio::test]
async fn who_has_written_is_waited_for_and_goes_on() {
    for change in CHANGES {
        let engine = engine();
        let (mut a, b, mut c, mut watcher) = four(&engine).await;
        ok(&mut a, "BEGIN; INSERT INTO many VALUES (5000, 7, 'early')").await;
        let changing = begun(b, change, &mut watcher, ONE_CLOSED).await;
        // Who reads is not disturbed, nor who writes elsewhere.
        ok(&mut c, "BEGIN; SELECT count(*) FROM many; UPDATE hot SET n = 1 WHERE id = 2; COMMIT")
            .await;
        ok(&mut a, "UPDATE many SET v = 8 WHERE id = 5000; DELETE FROM many WHERE id = 1").await;
        waits(&changing).await;
        ok(&mut a, "COMMIT").await;
        let (_, answer) = done(changing).await;
        assert!(!answer.contains("ERROR"), "{change}: {answer}");
        assert_eq!(retries(&engine), 0, "{change}: nobody had to run again");
        assert_eq!(one(&mut watcher, CLOSED).await, "0");
    }
}

#[tokio::test]
async fn a_block_that_comes_late_runs_again_unnoticed() {
    for level in LEVELS {
        let engine = engine();
        let (mut a, b, mut c, mut watcher) = four(&engine).await;
        ok(&mut a, "BEGIN; INSERT INTO many VALUES (5000, 7, 'early')").await;
        ok(&mut c, &format!("BEGIN ISOLATION LEVEL {level}")).await;
        ok(&mut c, "SELECT n FROM hot WHERE id = 2").await;
        let altering = begun(b, TO_TEXT, &mut watcher, ONE_CLOSED).await;
        let writing = spawn(c, "INSERT INTO many VALUES (5001, 42, 'late')");
        waits(&writing).await;
        ok(&mut a, "COMMIT").await;
        assert_eq!(done(altering).await.1, "-- ALTER TABLE");
        let (mut c, answer) = done(writing).await;
        assert_eq!(answer, "-- INSERT 0 1", "{level}");
        ok(&mut c, "COMMIT").await;
        assert_eq!(one(&mut c, "SELECT v FROM many WHERE id = 5001").await, "42");
    }
}

#[tokio::test]
async fn a_writer_has_only_so_much_patience() {
    let engine = engine();
    let (mut a, b, mut c, mut watcher) = four(&engine).await;
    ok(&mut a, "BEGIN; INSERT INTO many VALUES (5000, 7, 'early')").await;
    let altering = begun(b, TO_TEXT, &mut watcher, ONE_CLOSED).await;
    for (timeout, code) in [("lock_timeout", "55P03"), ("statement_timeout", "57014")] {
        ok(&mut c, &format!("SET {timeout} = '100ms'")).await;
        let answer = run(&mut c, "UPDATE many SET w = 'x' WHERE id = 5").await;
        assert!(answer.contains(code), "{timeout}: {answer}");
        ok(&mut c, &format!("RESET {timeout}")).await;
    }
    let handle = c.cancel_handle();
    let writing = spawn(c, "SELECT * FROM many WHERE id = 5 FOR UPDATE");
    waits(&writing).await;
    handle.cancel();
    let (_, answer) = done(writing).await;
    assert!(answer.contains("57014"), "{answer}");
    ok(&mut a, "COMMIT").await;
    assert_eq!(done(altering).await.1, "-- ALTER TABLE");
}

#[tokio::test]
async fn a_change_that_fails_opens_the_table() {
    let engine = engine();
    let (mut a, mut b, mut c, mut watcher) = four(&engine).await;
    let answer = run(&mut b, "ALTER TABLE many ALTER w TYPE int USING w::int").await;
    assert!(answer.contains("22P02"), "{answer}");
    ok(&mut c, "UPDATE many SET w = 'x' WHERE id = 5").await;
    ok(&mut a, "BEGIN; INSERT INTO many VALUES (5000, 7, 'early')").await;
    for (timeout, code) in [("lock_timeout", "55P03"), ("statement_timeout", "57014")] {
        ok(&mut b, &format!("SET {timeout} = '500ms'")).await;
        let altering = begun(b, TO_TEXT, &mut watcher, ONE_CLOSED).await;
        let writing = spawn(c, "UPDATE many SET w = 'y' WHERE id = 5");
        let (session, answer) = done(altering).await;
        assert!(answer.contains(code), "{answer}");
        b = session;
        ok(&mut b, &format!("RESET {timeout}")).await;
        let (session, answer) = done(writing).await;
        assert_eq!(answer, "-- UPDATE 1");
        c = session;
        opened(&mut watcher).await;
    }
    ok(&mut a, "COMMIT").await;
    assert_eq!(retries(&engine), 0, "nobody had to run again");
}

#[tokio::test]
async fn a_session_that_goes_leaves_no_table_closed() {
    let engine = engine();
    let (mut a, b, c, mut watcher) = four(&engine).await;
    ok(&mut a, "BEGIN; INSERT INTO many VALUES (5000, 7, 'early')").await;
    let altering = begun(b, TO_TEXT, &mut watcher, ONE_CLOSED).await;
    let writing = spawn(c, "UPDATE many SET w = 'y' WHERE id = 5");
    altering.abort();
    assert_eq!(done(writing).await.1, "-- UPDATE 1");
    opened(&mut watcher).await;
    ok(&mut a, "COMMIT").await;
}

#[tokio::test]
async fn a_change_does_not_wait_for_ever() {
    let engine = impatient();
    let (mut a, mut b, _, _) = four(&engine).await;
    ok(&mut a, "BEGIN; INSERT INTO many VALUES (5000, 7, 'early')").await;
    ok(&mut b, TO_TEXT).await;
    ok(&mut a, "COMMIT").await;
    assert_eq!(one(&mut b, "SELECT v FROM many WHERE id = 5000").await, "7");
}

fn copied(ids: std::ops::Range<u32>) -> TextSink {
    let rows = ids.map(|id| format!("{id}\t42\tcopied\n")).collect::<String>();
    TextSink::reading([rows.into()].into())
}

#[tokio::test]
async fn a_copy_is_told_nothing_of_a_change() {
    for level in LEVELS {
        let engine = engine();
        let (mut a, b, mut c, mut watcher) = four(&engine).await;
        ok(&mut a, &format!("BEGIN ISOLATION LEVEL {level}")).await;
        a.simple("COPY many FROM STDIN", &mut copied(6_000..6_100)).await.expect("copies");
        let altering = begun(b, TO_TEXT, &mut watcher, ONE_CLOSED).await;
        a.simple("COPY many FROM STDIN", &mut copied(7_000..7_100)).await.expect("copies");
        ok(&mut c, &format!("BEGIN ISOLATION LEVEL {level}")).await;
        let copying = tokio::spawn(async move {
            let mut sink = copied(8_000..8_100);
            c.simple("COPY many FROM STDIN", &mut sink).await.expect("copies");
            (c, sink.lines.join("\n"))
        });
        waits(&copying).await;
        ok(&mut a, "COMMIT").await;
        assert_eq!(done(altering).await.1, "-- ALTER TABLE");
        let (mut c, answer) = done(copying).await;
        assert_eq!(answer, "-- COPY 100", "{level}");
        ok(&mut c, "COMMIT").await;
        let found = "SELECT string_agg(v || ' ' || n, ', ') FROM (SELECT v, count(*) n FROM many WHERE id > 5000 GROUP BY v ORDER BY v) x";
        assert_eq!(one(&mut c, found).await, "42 100, v42 200", "{level}");
    }
}

#[tokio::test]
async fn who_holds_what_others_need_is_let_in() {
    for level in LEVELS {
        let engine = engine();
        let (mut a, b, mut c, mut watcher) = four(&engine).await;
        ok(
            &mut a,
            &format!("BEGIN ISOLATION LEVEL {level}; INSERT INTO many VALUES (5000, 7, 'a')"),
        )
        .await;
        ok(
            &mut c,
            &format!("BEGIN ISOLATION LEVEL {level}; UPDATE hot SET n = n + 1 WHERE id = 1"),
        )
        .await;
        let altering = begun(b, TO_TEXT, &mut watcher, ONE_CLOSED).await;
        let first = spawn(a, "UPDATE hot SET n = n + 10 WHERE id = 1");
        waits(&first).await;
        // It would wait for the change, which waits for the first, which waits for its lock.
        ok(&mut c, "INSERT INTO many VALUES (5001, 7, 'c')").await;
        ok(&mut c, "COMMIT").await;
        let (mut a, answer) = done(first).await;
        assert_eq!(answer, "-- UPDATE 1", "{level}");
        ok(&mut a, "COMMIT").await;
        assert_eq!(done(altering).await.1, "-- ALTER TABLE", "{level}");
        assert_eq!(one(&mut a, "SELECT n FROM hot WHERE id = 1").await, "11");
        let found = "SELECT string_agg(v || w, ' ' ORDER BY id) FROM many WHERE id >= 5000";
        assert_eq!(one(&mut a, found).await, "v7a v7c", "{level}");
    }
}

#[tokio::test]
async fn who_changes_the_catalog_besides_is_let_in() {
    let engine = engine();
    let (mut a, b, mut c, mut watcher) = four(&engine).await;
    ok(&mut a, "BEGIN; INSERT INTO many VALUES (5000, 7, 'a')").await;
    let altering = begun(b, TO_TEXT, &mut watcher, ONE_CLOSED).await;
    ok(&mut c, "BEGIN; CREATE TABLE another (id int)").await;
    ok(&mut c, "INSERT INTO many VALUES (5001, 7, 'c')").await;
    ok(&mut a, "COMMIT").await;
    ok(&mut c, "COMMIT").await;
    assert_eq!(done(altering).await.1, "-- ALTER TABLE");
    let found = "SELECT string_agg(v || w, ' ' ORDER BY id) FROM many WHERE id >= 5000";
    assert_eq!(one(&mut c, found).await, "v7a v7c");
}

#[tokio::test]
async fn foreign_keys_lead_to_a_closed_table_from_either_side() {
    for change in ["ALTER TABLE many ALTER w TYPE varchar(9)", "TRUNCATE child"] {
        let engine = engine();
        let (mut a, b, mut c, mut watcher) = four(&engine).await;
        ok(&mut a, "CREATE TABLE child (id int PRIMARY KEY, many int REFERENCES many)").await;
        ok(&mut a, "BEGIN; INSERT INTO child VALUES (1, 1)").await;
        let changing = begun(b, change, &mut watcher, ONE_CLOSED).await;
        let deleting = spawn(c, "DELETE FROM many WHERE id = 2");
        waits(&deleting).await;
        ok(&mut a, "COMMIT").await;
        let (_, answer) = done(changing).await;
        assert!(!answer.contains("ERROR"), "{change}: {answer}");
        let answer;
        (c, answer) = done(deleting).await;
        assert_eq!(answer, "-- DELETE 1", "{change}");
        assert_eq!(retries(&engine), 0, "{change}: nobody had to run again");
        ok(&mut c, "INSERT INTO child VALUES (2, 3)").await;
    }
}

#[tokio::test]
async fn changes_of_one_table_take_turns() {
    let engine = engine();
    let (mut a, b, c, mut watcher) = four(&engine).await;
    ok(&mut a, "BEGIN; INSERT INTO many VALUES (5000, 7, 'a')").await;
    let altering = begun(b, TO_TEXT, &mut watcher, ONE_CLOSED).await;
    let truncating = spawn(c, "TRUNCATE hot, many");
    waits(&truncating).await;
    ok(&mut a, "COMMIT").await;
    assert_eq!(done(altering).await.1, "-- ALTER TABLE");
    assert_eq!(done(truncating).await.1, "-- TRUNCATE TABLE");
    assert_eq!(one(&mut a, "SELECT count(*) FROM many").await, "0");
    assert_eq!(one(&mut a, CLOSED).await, "0");
    assert_eq!(retries(&engine), 0, "nobody had to run again");
}

/// Closes a table in the name of this process, which does not know.
async fn close_for_nobody(engine: &Arc<Engine>, name: &str) {
    let txn = engine.db().begin(TxnOptions::default());
    txn.begin_statement().await.expect("a snapshot");
    let catalog = catalog::Catalog::default().snapshot(&txn).await.expect("a catalog");
    let table = catalog.tables().find(|table| table.name == name).expect("the table");
    let (node, incarnation) = engine.db().process();
    let mut next = Table::clone(table);
    next.closed = Some(Closing { process: (node.0, incarnation), token: 1 });
    store::write(&txn, &catalog, vec![Change::PutTable(Box::new(next))]).await.expect("written");
    txn.commit().await.expect("committed");
}

#[tokio::test]
async fn a_table_that_nobody_closed_opens_when_somebody_waits() {
    let (engine, a, mut b) = start().await;
    close_for_nobody(&engine, "t").await;
    assert_eq!(one(&mut b, CLOSED).await, "1");
    assert_eq!(done(spawn(a, "INSERT INTO t VALUES (3, 3)")).await.1, "-- INSERT 0 1");
    assert_eq!(one(&mut b, CLOSED).await, "0");
    close_for_nobody(&engine, "t").await;
    assert_eq!(done(spawn(b, "ALTER TABLE t ALTER v TYPE text")).await.1, "-- ALTER TABLE");
}
