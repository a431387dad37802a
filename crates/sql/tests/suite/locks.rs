//! Row locks, advisory locks, and errors that say who was in the way: several sessions over a cluster in
//! memory.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{TextSink, connect, engine, run};
use sql::SqlError;
use sql::session::{Engine, Session};

macro_rules! check {
    ($session:expr, $sql:expr, $expected:expr) => {
        assert_eq!(run(&mut $session, $sql).await, $expected, "{}", $sql)
    };
}

/// The error that a script ends with.
async fn error(session: &mut Session, sql: &str) -> SqlError {
    let mut sink = TextSink::default();
    session.simple(sql, &mut sink).await.expect_err(sql)
}

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

async fn accounts(engine: &Arc<Engine>) -> Session {
    let mut s = connect(engine).await;
    let made = "CREATE TABLE accounts (id int PRIMARY KEY, balance int, owner text UNIQUE);
                INSERT INTO accounts VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c')";
    check!(s, made, "-- CREATE TABLE\n-- INSERT 0 3");
    s
}

#[tokio::test]
async fn strengths_go_together_as_in_postgresql() {
    let engine = engine();
    let (mut a, mut b) = (accounts(&engine).await, connect(&engine).await);
    let clauses = ["KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE"];
    for (i, held) in clauses.iter().enumerate() {
        for (j, wish) in clauses.iter().enumerate() {
            let lock = format!("BEGIN; SELECT id FROM accounts WHERE id = 1 FOR {held}");
            check!(a, &lock, "-- BEGIN\n1\n-- SELECT 1");
            let ask = format!("SELECT id FROM accounts WHERE id = 1 FOR {wish} NOWAIT");
            let seen = run(&mut b, &ask).await;
            assert_eq!(seen.starts_with("ERROR 55P03"), i + j >= 3, "{held} and {wish}: {seen}");
            // Through a plan, not by key.
            let ask = format!("SELECT id FROM accounts WHERE balance = 10 FOR {wish} SKIP LOCKED");
            let seen = run(&mut b, &ask).await;
            let expected = if i + j >= 3 { "-- SELECT 0" } else { "1\n-- SELECT 1" };
            assert_eq!(seen, expected, "{held} and {wish}");
            check!(a, "ROLLBACK", "-- ROLLBACK");
        }
    }
}

#[tokio::test]
async fn an_update_of_other_columns_lets_key_share_pass() {
    let engine = engine();
    let (mut a, mut b) = (accounts(&engine).await, connect(&engine).await);
    check!(a, "BEGIN; UPDATE accounts SET balance = 11 WHERE id = 1", "-- BEGIN\n-- UPDATE 1");
    let key_share = "SELECT id FROM accounts WHERE id = 1 FOR KEY SHARE NOWAIT";
    check!(b, key_share, "1\n-- SELECT 1");
    let share = error(&mut b, "SELECT id FROM accounts WHERE id = 1 FOR SHARE NOWAIT").await;
    assert_eq!(share.code().as_str(), "55P03");
    assert_eq!(share.message(), "could not obtain lock on row in relation \"accounts\"");
    check!(a, "UPDATE accounts SET owner = 'x' WHERE id = 1", "-- UPDATE 1");
    let held = error(&mut b, key_share).await;
    assert_eq!(held.code().as_str(), "55P03", "a unique key changes");
    check!(a, "COMMIT", "-- COMMIT");
    // A holder of KEY SHARE does not mind the change either, at its own commit.
    check!(
        b,
        "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT id FROM accounts WHERE id = 2 FOR KEY SHARE",
        "-- BEGIN\n2\n-- SELECT 1"
    );
    check!(a, "UPDATE accounts SET balance = 21 WHERE id = 2", "-- UPDATE 1");
    check!(b, "INSERT INTO accounts VALUES (9, 0, 'i'); COMMIT", "-- INSERT 0 1\n-- COMMIT");
}

#[tokio::test]
async fn clauses_name_tables_and_are_refused_where_they_mean_nothing() {
    let engine = engine();
    let (mut a, mut b) = (accounts(&engine).await, connect(&engine).await);
    check!(
        a,
        "CREATE TABLE t (id int PRIMARY KEY, account int); INSERT INTO t VALUES (1, 1)",
        "-- CREATE TABLE\n-- INSERT 0 1"
    );
    let refused = [
        ("SELECT DISTINCT id FROM t FOR SHARE", "FOR SHARE is not allowed with DISTINCT clause"),
        (
            "SELECT id FROM t GROUP BY id FOR KEY SHARE",
            "FOR KEY SHARE is not allowed with GROUP BY clause",
        ),
        (
            "SELECT count(*) FROM t FOR NO KEY UPDATE",
            "FOR NO KEY UPDATE is not allowed with aggregate functions",
        ),
        (
            "SELECT id FROM t UNION SELECT id FROM t FOR UPDATE",
            "FOR UPDATE is not allowed with UNION/INTERSECT/EXCEPT",
        ),
        (
            "SELECT rank() OVER (ORDER BY id) FROM t FOR UPDATE",
            "FOR UPDATE is not allowed with window functions",
        ),
        (
            "SELECT * FROM accounts a LEFT JOIN t ON t.account = a.id FOR UPDATE",
            "FOR UPDATE cannot be applied to the nullable side of an outer join",
        ),
        (
            "SELECT * FROM t FOR NO KEY UPDATE OF x",
            "relation \"x\" in FOR NO KEY UPDATE clause not found in FROM clause",
        ),
        (
            "WITH w AS (SELECT * FROM t) SELECT * FROM w FOR UPDATE OF w",
            "FOR UPDATE cannot be applied to a WITH query",
        ),
        (
            "SELECT * FROM (SELECT DISTINCT id FROM t) s FOR UPDATE",
            "FOR UPDATE is not allowed with DISTINCT clause",
        ),
    ];
    for (sql, message) in refused {
        assert_eq!(error(&mut a, sql).await.message(), message, "{sql}");
    }
    let join = "BEGIN; SELECT a.id FROM accounts a JOIN t ON t.account = a.id \
                FOR NO KEY UPDATE OF a FOR KEY SHARE OF t";
    check!(a, join, "-- BEGIN\n1\n-- SELECT 1");
    check!(b, "SELECT id FROM t WHERE id = 1 FOR SHARE NOWAIT", "1\n-- SELECT 1");
    let held = error(&mut b, "SELECT id FROM accounts WHERE id = 1 FOR SHARE NOWAIT").await;
    assert_eq!(held.code().as_str(), "55P03");
    check!(a, "ROLLBACK", "-- ROLLBACK");
    let derived = "BEGIN; SELECT s.id FROM (SELECT * FROM accounts WHERE id < 3) s, t \
                   WHERE s.id = t.account FOR SHARE OF s, t";
    check!(a, derived, "-- BEGIN\n1\n-- SELECT 1");
    let two = "SELECT id FROM accounts ORDER BY id FOR UPDATE SKIP LOCKED";
    check!(b, two, "2\n3\n-- SELECT 2");
    check!(a, "COMMIT", "-- COMMIT");
    // LIMIT locks no more than it returns.
    check!(
        a,
        "BEGIN; SELECT id FROM accounts ORDER BY id DESC LIMIT 1 FOR UPDATE",
        "-- BEGIN\n3\n-- SELECT 1"
    );
    check!(b, two, "1\n2\n-- SELECT 2");
    check!(a, "ROLLBACK", "-- ROLLBACK");
}

/// Eight workers take the jobs of a queue: each job once, nobody waits, nobody is told to retry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_share_a_queue() {
    for level in ["SERIALIZABLE", "READ COMMITTED"] {
        let engine = engine();
        let mut s = connect(&engine).await;
        let queue = "CREATE TABLE jobs (id int PRIMARY KEY, state text, worker int);
                     INSERT INTO jobs SELECT g, 'new', 0 FROM generate_series(1, 64) g;
                     CREATE TABLE done (id int PRIMARY KEY, worker int)";
        run(&mut s, queue).await;
        let mut workers = Vec::new();
        for worker in 1..=8 {
            let mut s = connect(&engine).await;
            workers.push(tokio::spawn(async move {
                let mut mine = 0;
                loop {
                    let begin = format!(
                        "BEGIN ISOLATION LEVEL {level}; SELECT id FROM jobs WHERE state = 'new' \
                         ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
                    );
                    let seen = run(&mut s, &begin).await;
                    let Some(id) = seen.lines().nth(1).and_then(|l| l.parse::<i32>().ok()) else {
                        assert_eq!(seen, "-- BEGIN\n-- SELECT 0", "worker {worker}");
                        run(&mut s, "ROLLBACK").await;
                        return mine;
                    };
                    let work = format!(
                        "UPDATE jobs SET state = 'done', worker = {worker} WHERE id = {id};
                         INSERT INTO done VALUES ({id}, {worker}); COMMIT"
                    );
                    let seen = run(&mut s, &work).await;
                    assert_eq!(seen, "-- UPDATE 1\n-- INSERT 0 1\n-- COMMIT", "worker {worker}");
                    mine += 1;
                }
            }));
        }
        let mut total = 0;
        for worker in workers {
            total += worker.await.expect("no worker fails");
        }
        assert_eq!(total, 64, "{level}");
        check!(s, "SELECT count(*), count(DISTINCT id) FROM done", "64|64\n-- SELECT 1");
    }
}

/// The queue in one statement, as most people write it.
#[tokio::test]
async fn a_job_is_taken_in_one_statement() {
    let engine = engine();
    let (mut a, mut b) = (connect(&engine).await, connect(&engine).await);
    run(&mut a, "CREATE TABLE jobs (id int PRIMARY KEY, taken bool)").await;
    run(&mut a, "INSERT INTO jobs VALUES (1, false), (2, false)").await;
    let take = "UPDATE jobs SET taken = true WHERE id = (SELECT id FROM jobs WHERE NOT taken \
                ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id";
    check!(a, &format!("BEGIN; {take}"), "-- BEGIN\n1\n-- UPDATE 1");
    check!(b, take, "2\n-- UPDATE 1");
    check!(b, take, "-- UPDATE 0");
    check!(a, "ROLLBACK", "-- ROLLBACK");
    let with = "WITH next AS (SELECT id FROM jobs WHERE NOT taken LIMIT 1 FOR UPDATE SKIP LOCKED) \
                UPDATE jobs SET taken = true FROM next WHERE jobs.id = next.id RETURNING jobs.id";
    let seen = run(&mut b, with).await;
    assert!(seen == "1\n-- UPDATE 1" || seen.contains("not supported"), "{seen}");
}

#[tokio::test]
async fn nowait_and_timeout_tell_who_holds_what() {
    let engine = engine();
    let (mut a, mut b) = (accounts(&engine).await, connect(&engine).await);
    check!(
        a,
        "SET application_name = 'billing'; BEGIN; UPDATE accounts SET balance = 0 WHERE id = 2",
        "application_name = billing\n-- SET\n-- BEGIN\n-- UPDATE 1"
    );
    let nowait = error(&mut b, "SELECT * FROM accounts WHERE id = 2 FOR SHARE NOWAIT").await;
    let detail = nowait.fields().detail.clone().expect("told");
    for part in [
        "application \"billing\"",
        "statement: UPDATE accounts SET balance = 0 WHERE id = 2",
        "FOR NO KEY UPDATE on accounts(id)=(2), index \"accounts_pkey\"",
        "asked for FOR SHARE",
    ] {
        assert!(detail.contains(part), "{part} in {detail}");
    }
    let late = error(&mut b, "SET lock_timeout = 50; DELETE FROM accounts WHERE id = 2").await;
    assert_eq!(late.code().as_str(), "55P03");
    assert_eq!(late.message(), "canceling statement due to lock timeout");
    let detail = late.fields().detail.clone().expect("told");
    assert!(detail.contains("asked for FOR UPDATE and waited"), "{detail}");
    assert!(late.fields().hint.is_some());
    check!(
        b,
        "SELECT sqlstate, place, wish, held, other_application FROM conclave.contention_events",
        "55P03|accounts(id)=(2), index \"accounts_pkey\"|FOR SHARE|FOR NO KEY UPDATE|billing\n\
         55P03|accounts(id)=(2), index \"accounts_pkey\"|FOR UPDATE|FOR NO KEY UPDATE|billing\n\
         -- SELECT 2"
    );
}

#[tokio::test]
async fn a_conflict_names_who_changed_the_row() {
    let engine = engine();
    let (mut a, mut b) = (accounts(&engine).await, connect(&engine).await);
    check!(
        a,
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT balance FROM accounts WHERE id = 1",
        "-- BEGIN\n10\n-- SELECT 1"
    );
    run(&mut b, "SET application_name = 'other'").await;
    check!(b, "UPDATE accounts SET balance = 99 WHERE id = 1", "-- UPDATE 1");
    let conflict = error(&mut a, "UPDATE accounts SET balance = 1 WHERE id = 1").await;
    assert_eq!(conflict.code().as_str(), "40001");
    assert_eq!(conflict.message(), "could not serialize access due to concurrent update");
    let detail = conflict.fields().detail.clone().expect("told");
    for part in ["Accounts(id)=(1)", "application \"other\"", "SET balance = 99 WHERE id = 1"] {
        assert!(detail.contains(part), "{part} in {detail}");
    }
    check!(a, "ROLLBACK", "-- ROLLBACK");
    // Write skew, found at the commit.
    let begin = "BEGIN; SELECT sum(balance) FROM accounts WHERE id > 1";
    check!(a, begin, "-- BEGIN\n50\n-- SELECT 1");
    check!(
        b,
        "BEGIN; SELECT balance FROM accounts WHERE id = 1; \
         UPDATE accounts SET balance = 0 WHERE id = 3; COMMIT",
        "-- BEGIN\n99\n-- SELECT 1\n-- UPDATE 1\n-- COMMIT"
    );
    let skew = error(&mut a, "UPDATE accounts SET balance = 50 WHERE id = 1; COMMIT").await;
    assert_eq!(skew.code().as_str(), "40001");
    assert_eq!(
        skew.message(),
        "could not serialize access due to read/write dependencies among transactions"
    );
    let detail = skew.fields().detail.clone().expect("told");
    assert!(detail.contains("Accounts(id)=(3)") && detail.contains("\"other\""), "{detail}");
}

#[tokio::test]
async fn a_deadlock_is_told_edge_by_edge() {
    let engine = engine();
    let (mut a, mut b) = (accounts(&engine).await, connect(&engine).await);
    check!(a, "BEGIN; UPDATE accounts SET balance = 1 WHERE id = 1", "-- BEGIN\n-- UPDATE 1");
    // Its client knows the row that the other changes: it cannot be run again unnoticed.
    check!(
        b,
        "BEGIN; SELECT balance FROM accounts WHERE id = 1; UPDATE accounts SET balance = 1 WHERE id = 2",
        "-- BEGIN\n10\n-- SELECT 1\n-- UPDATE 1"
    );
    let waits = spawn(a, "UPDATE accounts SET balance = 1 WHERE id = 2; COMMIT");
    somebody_waits(&engine).await;
    let deadlock = error(&mut b, "UPDATE accounts SET balance = 1 WHERE id = 1").await;
    assert_eq!(deadlock.code().as_str(), "40P01");
    let detail = deadlock.fields().detail.clone().expect("told");
    assert_eq!(detail.lines().count(), 2, "{detail}");
    for part in ["on accounts(id)=(1)", "on accounts(id)=(2)", "his transaction"] {
        assert!(detail.contains(part), "{part} in {detail}");
    }
    assert!(deadlock.fields().hint.is_some());
    let (_, seen) = waits.await.expect("goes on");
    assert_eq!(seen, "-- UPDATE 1\n-- COMMIT");
    let events = "SELECT sqlstate, cycle LIKE '%waits for%;%waits for%' \
                  FROM conclave.contention_events";
    run(&mut b, "ROLLBACK").await;
    check!(b, events, "40P01|t\n-- SELECT 1");
}

#[tokio::test]
async fn views_show_the_present() {
    let engine = engine();
    let (mut a, b, mut s) =
        (accounts(&engine).await, connect(&engine).await, connect(&engine).await);
    run(&mut a, "SET application_name = 'holder'").await;
    run(&mut a, "BEGIN; SELECT * FROM accounts WHERE id = 3 FOR SHARE").await;
    let waits = spawn(b, "UPDATE accounts SET balance = 31 WHERE id = 3");
    somebody_waits(&engine).await;
    check!(
        s,
        "SELECT locktype, relation::regclass, mode, granted FROM pg_locks \
         WHERE relation = 'accounts'::regclass ORDER BY granted DESC",
        "tuple|accounts|RowShareLock|t\ntuple|accounts|ExclusiveLock|f\n-- SELECT 2"
    );
    check!(
        s,
        "SELECT place, wish, held, holder_application, waiter_statement \
         FROM conclave.lock_waits",
        "accounts(id)=(3), index \"accounts_pkey\"|FOR NO KEY UPDATE|FOR SHARE|holder|\
         UPDATE accounts SET balance = 31 WHERE id = 3\n-- SELECT 1"
    );
    check!(
        s,
        "SELECT application_name, state, wait_event_type, query FROM pg_stat_activity \
         WHERE application_name = 'holder' OR wait_event_type = 'Lock' ORDER BY 1",
        "|active|Lock|UPDATE accounts SET balance = 31 WHERE id = 3\n\
         holder|idle in transaction|Client|SELECT * FROM accounts WHERE id = 3 FOR SHARE\n\
         -- SELECT 2"
    );
    let open = "SELECT count(*) FROM conclave.transactions WHERE statement LIKE '%accounts%' \
                AND pid IS NOT NULL AND kind = 'transaction' AND node = 1";
    check!(s, open, "3\n-- SELECT 1");
    check!(a, "COMMIT", "-- COMMIT");
    let (_, seen) = waits.await.expect("goes on");
    assert_eq!(seen, "-- UPDATE 1");
}

#[tokio::test]
async fn advisory_locks_exclude_each_other_and_are_counted() {
    let engine = engine();
    let (mut a, mut b) = (connect(&engine).await, connect(&engine).await);
    check!(a, "SELECT pg_advisory_lock(42)", "\n-- SELECT 1");
    check!(a, "SELECT pg_try_advisory_lock(42)", "t\n-- SELECT 1");
    check!(b, "SELECT pg_try_advisory_lock(42)", "f\n-- SELECT 1");
    check!(b, "SELECT pg_try_advisory_lock_shared(42)", "f\n-- SELECT 1");
    check!(b, "SELECT pg_try_advisory_lock(0, 42)", "t\n-- SELECT 1");
    check!(
        a,
        "SELECT pg_advisory_unlock(42), pg_advisory_unlock_shared(42)",
        "t|f\nWARNING: you don't own a lock of type ShareLock\n-- SELECT 1"
    );
    check!(b, "SELECT pg_try_advisory_lock(42)", "f\n-- SELECT 1");
    check!(a, "SELECT pg_advisory_unlock(42)", "t\n-- SELECT 1");
    check!(b, "SELECT pg_try_advisory_lock_shared(42)", "t\n-- SELECT 1");
    check!(a, "SELECT pg_try_advisory_lock_shared(42)", "t\n-- SELECT 1");
    check!(a, "SELECT pg_try_advisory_lock(42)", "f\n-- SELECT 1");
    check!(
        a,
        "SELECT locktype, classid, objid, objsubid, mode, granted FROM pg_locks \
         ORDER BY objsubid, objid",
        "advisory|0|42|1|ShareLock|t\nadvisory|0|42|1|ShareLock|t\n\
         advisory|0|42|2|ExclusiveLock|t\n-- SELECT 3"
    );
    check!(b, "SELECT pg_advisory_unlock_all()", "\n-- SELECT 1");
    check!(a, "SELECT pg_try_advisory_lock(42), pg_try_advisory_lock(0, 42)", "t|t\n-- SELECT 1");
    a.close().await;
    check!(b, "SELECT pg_try_advisory_lock(42)", "t\n-- SELECT 1");
    // A session that is just dropped, as when its connection breaks.
    drop(b);
    let mut c = connect(&engine).await;
    check!(c, "SET lock_timeout = '5s'; SELECT pg_advisory_lock(42)", "-- SET\n\n-- SELECT 1");
}

#[tokio::test]
async fn advisory_locks_of_a_transaction_end_with_it() {
    let engine = engine();
    let (mut a, mut b) = (connect(&engine).await, connect(&engine).await);
    let free = |n: u32| format!("SELECT pg_try_advisory_xact_lock({n})");
    check!(a, "BEGIN; SELECT pg_advisory_xact_lock(1)", "-- BEGIN\n\n-- SELECT 1");
    check!(a, "SAVEPOINT s; SELECT pg_advisory_xact_lock(2)", "-- SAVEPOINT\n\n-- SELECT 1");
    check!(b, &free(1), "f\n-- SELECT 1");
    check!(b, &free(2), "f\n-- SELECT 1");
    check!(a, "ROLLBACK TO s", "-- ROLLBACK");
    check!(b, &free(1), "f\n-- SELECT 1");
    check!(b, &free(2), "t\n-- SELECT 1");
    check!(a, "COMMIT", "-- COMMIT");
    check!(b, &free(1), "t\n-- SELECT 1");
    // Not unlocked by hand; and a session's lock outlives the transaction, even a failed one.
    check!(
        a,
        "BEGIN; SELECT pg_advisory_xact_lock(3), pg_advisory_lock(4), pg_advisory_unlock(3)",
        "-- BEGIN\n||f\nWARNING: you don't own a lock of type ExclusiveLock\n-- SELECT 1"
    );
    assert_eq!(error(&mut a, "SELECT 1/0").await.code().as_str(), "22012");
    check!(b, "SET lock_timeout = '5s'; SELECT pg_advisory_lock(3)", "-- SET\n\n-- SELECT 1");
    check!(a, "ROLLBACK", "-- ROLLBACK");
    check!(b, "SELECT pg_try_advisory_lock(4)", "f\n-- SELECT 1");
}

#[tokio::test]
async fn advisory_locks_are_taken_row_by_row() {
    let engine = engine();
    let (mut a, mut b) = (accounts(&engine).await, connect(&engine).await);
    check!(
        a,
        "SELECT id FROM accounts WHERE balance > 10 AND pg_try_advisory_lock(id) ORDER BY id",
        "2\n3\n-- SELECT 2"
    );
    check!(
        b,
        "SELECT id, pg_try_advisory_lock(id) FROM accounts ORDER BY id",
        "1|t\n2|f\n3|f\n-- SELECT 3"
    );
    run(&mut a, "SELECT pg_advisory_unlock_all()").await;
    run(&mut b, "SELECT pg_advisory_unlock_all()").await;
    check!(a, "SELECT id FROM accounts WHERE pg_try_advisory_lock(id) LIMIT 1", "1\n-- SELECT 1");
    check!(b, "SELECT pg_try_advisory_lock(2)", "t\n-- SELECT 1");
    check!(a, "SELECT pg_try_advisory_lock(NULL)", "NULL\n-- SELECT 1");
}

/// What need not be evaluated is not: no lock is taken by it.
#[tokio::test]
async fn advisory_locks_are_taken_only_where_they_are_reached() {
    let engine = engine();
    let (mut a, mut b) = (accounts(&engine).await, connect(&engine).await);
    let held = "SELECT string_agg(objid::text, ',' ORDER BY objid::int) FROM pg_locks \
                WHERE locktype = 'advisory'";
    for (expression, seen, locked) in [
        ("CASE WHEN id > 1 THEN pg_try_advisory_lock(id) END", "NULL t t", "2,3"),
        ("CASE WHEN pg_try_advisory_lock(id) AND id = 2 THEN 'x' ELSE 'y' END", "y x y", "1,2,3"),
        ("id = 1 OR pg_try_advisory_lock(id)", "t t t", "2,3"),
        ("id = 1 AND pg_try_advisory_lock(id)", "t f f", "1"),
        ("coalesce(nullif(id, 2), pg_try_advisory_lock(id)::int)", "1 1 3", "2"),
        ("(NOT pg_try_advisory_lock(id))::text || id", "false1 false2 false3", "1,2,3"),
        ("pg_try_advisory_lock((SELECT min(id) FROM accounts) + id)", "t t t", "2,3,4"),
    ] {
        let sql = format!("SELECT {expression} FROM accounts ORDER BY id");
        check!(a, &sql, format!("{}\n-- SELECT 3", seen.replace(' ', "\n")));
        check!(b, held, format!("{locked}\n-- SELECT 1"));
        check!(a, "SELECT pg_advisory_unlock_all()", "\n-- SELECT 1");
    }
    let wheres = "SELECT id FROM accounts WHERE id = 1 OR pg_try_advisory_lock(id) ORDER BY id";
    check!(a, wheres, "1\n2\n3\n-- SELECT 3");
    check!(b, held, "2,3\n-- SELECT 1");
    check!(b, wheres, "1\n-- SELECT 1");
    check!(a, "SELECT * FROM pg_try_advisory_lock(9)", "t\n-- SELECT 1");
    check!(a, "SELECT count(*) FROM accounts GROUP BY pg_try_advisory_lock(id)", "3\n-- SELECT 1");
    let refused = error(&mut a, "SELECT nullif(pg_try_advisory_lock(1), true)").await;
    assert_eq!(refused.code().as_str(), "0A000");
}

#[tokio::test]
async fn advisory_locks_in_statements_that_write() {
    let engine = engine();
    let (mut a, mut b) = (accounts(&engine).await, connect(&engine).await);
    check!(b, "SELECT pg_advisory_lock(2)", "\n-- SELECT 1");
    check!(a, "CREATE TABLE got (id int, ok bool)", "-- CREATE TABLE");
    check!(
        a,
        "INSERT INTO got SELECT id, pg_try_advisory_lock(id) FROM accounts ORDER BY id",
        "-- INSERT 0 3"
    );
    check!(a, "SELECT * FROM got ORDER BY id", "1|t\n2|f\n3|t\n-- SELECT 3");
    check!(a, "INSERT INTO got VALUES (4, pg_try_advisory_lock(2)), (5, true)", "-- INSERT 0 2");
    check!(a, "SELECT ok FROM got WHERE id = 4", "f\n-- SELECT 1");
    check!(a, "BEGIN", "-- BEGIN");
    let update = "UPDATE accounts SET balance = 0 WHERE pg_try_advisory_xact_lock(10 + id) \
                  AND id < 3 RETURNING id";
    check!(a, update, "1\n2\n-- UPDATE 2");
    check!(b, "SELECT pg_try_advisory_lock(11), pg_try_advisory_lock(13)", "f|t\n-- SELECT 1");
    check!(a, "COMMIT", "-- COMMIT");
    check!(b, "SELECT pg_try_advisory_lock(11)", "t\n-- SELECT 1");
    check!(
        a,
        "UPDATE accounts SET owner = CASE WHEN pg_try_advisory_lock(id) THEN 'mine' || id END",
        "-- UPDATE 3"
    );
    check!(
        a,
        "SELECT id, owner FROM accounts ORDER BY id",
        "1|mine1\n2|NULL\n3|mine3\n-- SELECT 3"
    );
    check!(
        a,
        "DELETE FROM accounts WHERE id = 2 OR pg_try_advisory_lock(11) RETURNING id",
        "2\n-- DELETE 1"
    );
}

/// READ COMMITTED: the row was changed meanwhile, so the condition is looked at again; a lock taken in
/// vain is given back.
#[tokio::test]
async fn an_advisory_lock_is_asked_for_again_with_its_row() {
    let engine = engine();
    let (mut a, mut b) = (accounts(&engine).await, connect(&engine).await);
    check!(a, "BEGIN; UPDATE accounts SET balance = 11 WHERE id = 1", "-- BEGIN\n-- UPDATE 1");
    let sql = "BEGIN ISOLATION LEVEL READ COMMITTED; UPDATE accounts SET owner = 'z' \
               WHERE id = 1 AND pg_try_advisory_lock(balance); COMMIT";
    run(&mut b, "SELECT 1").await;
    let waits = spawn(b, sql);
    somebody_waits(&engine).await;
    check!(a, "COMMIT", "-- COMMIT");
    let (_b, seen) = waits.await.expect("goes on");
    assert_eq!(seen, "-- BEGIN\n-- UPDATE 1\n-- COMMIT");
    check!(a, "SELECT objid FROM pg_locks WHERE locktype = 'advisory'", "11\n-- SELECT 1");
}

/// Waits for an advisory lock and for a row close one cycle.
#[tokio::test]
async fn a_deadlock_over_an_advisory_lock_is_found() {
    let engine = engine();
    let (mut a, mut b) = (accounts(&engine).await, connect(&engine).await);
    check!(b, "SELECT pg_advisory_lock(7)", "\n-- SELECT 1");
    check!(a, "BEGIN; SELECT id FROM accounts WHERE id = 1 FOR UPDATE", "-- BEGIN\n1\n-- SELECT 1");
    let waits = spawn(b, "BEGIN; UPDATE accounts SET balance = 0 WHERE id = 1; COMMIT");
    somebody_waits(&engine).await;
    let waiter = spawn(a, "SELECT pg_advisory_lock(7)");
    let (mut a, seen) = tokio::time::timeout(Duration::from_secs(4), waiter)
        .await
        .expect("found by probes, not by age")
        .expect("ends");
    let (_, other) = tokio::time::timeout(Duration::from_secs(4), async {
        run(&mut a, "ROLLBACK").await;
        waits.await.expect("ends")
    })
    .await
    .expect("goes on");
    let died = [&seen, &other].iter().filter(|s| s.contains("ERROR 40P01")).count();
    assert_eq!(died, 1, "one of the two: {seen} / {other}");
    let told = if seen.contains("40P01") { &seen } else { &other };
    assert!(told.contains("advisory lock 7") && told.contains("accounts(id)=(1)"), "{told}");
}

#[tokio::test]
async fn an_advisory_lock_times_out_and_tells() {
    let engine = engine();
    let (mut a, mut b) = (connect(&engine).await, connect(&engine).await);
    check!(a, "SELECT pg_advisory_lock(1, 2)", "\n-- SELECT 1");
    let late = error(&mut b, "SET lock_timeout = 50; SELECT pg_advisory_lock_shared(1, 2)").await;
    assert_eq!(late.code().as_str(), "55P03");
    let detail = late.fields().detail.clone().expect("told");
    assert!(detail.contains("ExclusiveLock on advisory lock (1, 2)"), "{detail}");
    assert!(detail.contains("asked for ShareLock"), "{detail}");
}

/// Waits until a background statement has ended, or until somebody waits.
async fn waits(engine: &Arc<Engine>, task: &tokio::task::JoinHandle<(Session, String)>) {
    somebody_waits(engine).await;
    assert!(!task.is_finished());
}

#[tokio::test]
async fn a_range_for_update_keeps_inserts_out_at_serializable() {
    let engine = engine();
    let mut a = connect(&engine).await;
    let made = "CREATE TABLE t (k int PRIMARY KEY, v int, n int);
                CREATE INDEX t_n ON t (n);
                INSERT INTO t VALUES (12, 1, 1), (18, 2, 2), (30, 3, 9)";
    check!(a, made, "-- CREATE TABLE\n-- CREATE INDEX\n-- INSERT 0 3");
    for clause in ["FOR UPDATE", "FOR NO KEY UPDATE", "FOR SHARE"] {
        let lock = format!("BEGIN; SELECT k FROM t WHERE k BETWEEN 10 AND 20 AND v = 1 {clause}");
        check!(a, &lock, "-- BEGIN\n12\n-- SELECT 1");
        let inside = spawn(connect(&engine).await, "INSERT INTO t VALUES (15, 0, 0)");
        waits(&engine, &inside).await;
        let mut b = connect(&engine).await;
        check!(b, "INSERT INTO t VALUES (25, 0, 0)", "-- INSERT 0 1");
        // Rows that are there have locks of their own.
        check!(b, "UPDATE t SET n = 3 WHERE k = 30", "-- UPDATE 1");
        check!(b, "SELECT k FROM t WHERE k = 18 FOR UPDATE NOWAIT", "18\n-- SELECT 1");
        check!(
            b,
            "SELECT locktype, mode, granted, key FROM pg_locks WHERE locktype = 'range'",
            format!(
                "range|{}|t|t from (k)=(10) to (k)=(20), index \"t_pkey\"\n-- SELECT 1",
                pg_mode_of(clause)
            )
        );
        let timeout = "SET lock_timeout = 50; INSERT INTO t VALUES (16, 0, 0); RESET lock_timeout";
        let late = run(&mut b, timeout).await;
        assert!(late.contains("ERROR 55P03"), "{late}");
        check!(b, "RESET lock_timeout", "-- RESET");
        check!(a, "UPDATE t SET v = 1 WHERE k = 12; COMMIT", "-- UPDATE 1\n-- COMMIT");
        let (_, seen) = inside.await.expect("the insert");
        assert_eq!(seen, "-- INSERT 0 1", "{clause}");
        check!(b, "DELETE FROM t WHERE k IN (15, 25)", "-- DELETE 2");
    }
    // Neither weaker levels, nor KEY SHARE, nor SKIP LOCKED, nor a scan of all of a table.
    let free = [
        "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT k FROM t WHERE k BETWEEN 10 AND 20 FOR UPDATE",
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT k FROM t WHERE k > 10 FOR UPDATE",
        "BEGIN; SELECT k FROM t WHERE k BETWEEN 10 AND 20 FOR KEY SHARE",
        "BEGIN; SELECT k FROM t WHERE k BETWEEN 10 AND 20 FOR UPDATE SKIP LOCKED",
        "BEGIN; SELECT k FROM t WHERE v = 1 FOR UPDATE",
        "BEGIN; SELECT k FROM t WHERE k BETWEEN 10 AND 20",
    ];
    let mut b = connect(&engine).await;
    for lock in free {
        let seen = run(&mut a, lock).await;
        assert!(seen.starts_with("-- BEGIN\n12\n"), "{lock}: {seen}");
        check!(
            b,
            "INSERT INTO t VALUES (15, 0, 0); DELETE FROM t WHERE k = 15",
            "-- INSERT 0 1\n-- DELETE 1"
        );
        check!(a, "ROLLBACK", "-- ROLLBACK");
    }
}

fn pg_mode_of(clause: &str) -> &'static str {
    match clause {
        "FOR UPDATE" => "AccessExclusiveLock",
        "FOR NO KEY UPDATE" => "ExclusiveLock",
        _ => "RowShareLock",
    }
}

/// Two sessions look for a free slot and take it, one after the other: nobody is told to try again.
#[tokio::test]
async fn a_gap_is_filled_once() {
    let engine = engine();
    let mut s = connect(&engine).await;
    let made = "CREATE TABLE bookings (room int, start int, PRIMARY KEY (room, start))";
    check!(s, made, "-- CREATE TABLE");
    let look =
        "BEGIN; SELECT start FROM bookings WHERE room = 1 AND start BETWEEN 10 AND 20 FOR UPDATE";
    let mut a = connect(&engine).await;
    check!(a, look, "-- BEGIN\n-- SELECT 0");
    let second = spawn(connect(&engine).await, look);
    waits(&engine, &second).await;
    check!(a, "INSERT INTO bookings VALUES (1, 12); COMMIT", "-- INSERT 0 1\n-- COMMIT");
    let (mut b, seen) = second.await.expect("the second");
    assert_eq!(seen, "-- BEGIN\n12\n-- SELECT 1");
    check!(b, "COMMIT", "-- COMMIT");
}

/// The same through an index: its entries are kept out.
#[tokio::test]
async fn a_range_of_an_index_is_kept_too() {
    let engine = engine();
    let mut a = connect(&engine).await;
    let made = "CREATE TABLE t (k int PRIMARY KEY, n int); CREATE INDEX t_n ON t (n);
                INSERT INTO t VALUES (1, 10), (2, 50)";
    check!(a, made, "-- CREATE TABLE\n-- CREATE INDEX\n-- INSERT 0 2");
    check!(a, "BEGIN; SELECT k FROM t WHERE n = 10 FOR UPDATE", "-- BEGIN\n1\n-- SELECT 1");
    let inside = spawn(connect(&engine).await, "INSERT INTO t VALUES (3, 10)");
    waits(&engine, &inside).await;
    let mut b = connect(&engine).await;
    check!(b, "INSERT INTO t VALUES (4, 11)", "-- INSERT 0 1");
    check!(
        b,
        "SELECT place, wish, held FROM conclave.lock_waits",
        "t(n)=(10), index \"t_n\"|FOR UPDATE|FOR UPDATE\n-- SELECT 1"
    );
    check!(a, "COMMIT", "-- COMMIT");
    assert_eq!(inside.await.expect("the insert").1, "-- INSERT 0 1");
}
