//! Statements end to end, from text to rows, over a cluster in memory.

use crate::support::{connect, engine, extended, run, run_with};
use pgtypes::Datum;
use sql::session::TxStatus;

macro_rules! check {
    ($session:expr, $sql:expr, $expected:expr) => {
        assert_eq!(run(&mut $session, $sql).await, $expected, "{}", $sql)
    };
}

#[tokio::test]
async fn a_table_is_made_filled_read_and_dropped() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(
        s,
        "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL DEFAULT 'x', n bigint)",
        "-- CREATE TABLE"
    );
    check!(s, "INSERT INTO t VALUES (1, 'one', 10), (2, 'two', NULL)", "-- INSERT 0 2");
    check!(s, "INSERT INTO t (id) VALUES (3)", "-- INSERT 0 1");
    check!(s, "SELECT * FROM t WHERE id = 2", "2|two|NULL\n-- SELECT 1");
    check!(s, "SELECT v, id FROM t WHERE id = 9", "-- SELECT 0");
    check!(s, "SELECT id FROM t WHERE id > 1 ORDER BY id", "2\n3\n-- SELECT 2");
    check!(s, "SELECT id FROM t ORDER BY id DESC LIMIT 2", "3\n2\n-- SELECT 2");
    check!(s, "UPDATE t SET n = n + 1 WHERE id = 1", "-- UPDATE 1");
    check!(s, "SELECT n FROM t WHERE id = 1", "11\n-- SELECT 1");
    check!(s, "DELETE FROM t WHERE id = 1", "-- DELETE 1");
    check!(s, "SELECT count(*) FROM t", "2\n-- SELECT 1");
    check!(s, "DROP TABLE t", "-- DROP TABLE");
    check!(s, "SELECT 1 FROM t", "ERROR 42P01: relation \"t\" does not exist");
}

#[tokio::test]
async fn the_data_of_what_was_dropped_goes_when_nobody_can_read_it_any_more() {
    let engine = engine();
    let mut s = connect(&engine).await;
    let rows = |engine: &std::sync::Arc<sql::session::Engine>| {
        let txn = engine.db().begin(kv::TxnOptions::default());
        async move {
            txn.begin_statement().await.expect("begins");
            let tables = base::Key(vec![base::keyspace::TABLES].into()).prefix_range();
            txn.scan(tables, kv::ScanOptions::default()).await.expect("scans").rows.len()
        }
    };
    let table = "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE INDEX ON t (v);
                 INSERT INTO t SELECT g, 'x' FROM generate_series(1, 50) g";
    check!(s, table, "-- CREATE TABLE\n-- CREATE INDEX\n-- INSERT 0 50");
    check!(s, "BEGIN; DROP TABLE t; ROLLBACK", "-- BEGIN\n-- DROP TABLE\n-- ROLLBACK");
    let taken_back = "BEGIN; SAVEPOINT s; DROP TABLE t; ROLLBACK TO s; COMMIT";
    let tags = "-- BEGIN\n-- SAVEPOINT\n-- DROP TABLE\n-- ROLLBACK\n-- COMMIT";
    check!(s, taken_back, tags);
    let mut patient = sql::Reclaimer::new(engine.clone(), || Some(base::Timestamp(1)));
    let mut hasty = sql::Reclaimer::new(engine.clone(), || Some(base::Timestamp::MAX.prev()));
    assert_eq!(hasty.sweep().await, Ok(0), "nothing was dropped");
    check!(s, "DROP TABLE t", "-- DROP TABLE");
    assert_eq!(patient.sweep().await, Ok(0), "somebody may still read it");
    assert_eq!(rows(&engine).await, 100);
    assert_eq!(hasty.sweep().await, Ok(2));
    assert_eq!(rows(&engine).await, 0);
    assert_eq!(hasty.sweep().await, Ok(0), "the notes are gone");
}

#[tokio::test]
async fn duplicate_keys_name_the_key_and_the_constraint() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(s, "CREATE TABLE t (id int PRIMARY KEY, u text UNIQUE)", "-- CREATE TABLE");
    check!(s, "INSERT INTO t VALUES (1, 'a')", "-- INSERT 0 1");
    let pkey = "ERROR 23505: duplicate key value violates unique constraint \"t_pkey\" [Key (id)=(1) already exists.]";
    check!(s, "INSERT INTO t VALUES (1, 'b')", pkey);
    let unique = "ERROR 23505: duplicate key value violates unique constraint \"t_u_key\" [Key (u)=(a) already exists.]";
    check!(s, "INSERT INTO t VALUES (2, 'a')", unique);
    check!(s, "BEGIN; INSERT INTO t VALUES (1, 'b')", format!("-- BEGIN\n{pkey}"));
    assert_eq!(s.transaction_status(), TxStatus::Failed);
    check!(
        s,
        "SELECT 1",
        "ERROR 25P02: current transaction is aborted, commands ignored until end of transaction block"
    );
    check!(s, "COMMIT", "-- ROLLBACK");
    check!(s, "INSERT INTO t VALUES (3, NULL), (4, NULL)", "-- INSERT 0 2");
    check!(s, "SELECT id FROM t WHERE u = 'a'", "1\n-- SELECT 1");
    check!(s, "INSERT INTO t VALUES (5, 'a') ON CONFLICT DO NOTHING", "-- INSERT 0 0");
    check!(
        s,
        "INSERT INTO t VALUES (1, 'z') ON CONFLICT (id) DO UPDATE SET u = excluded.u RETURNING *",
        "1|z\n-- INSERT 0 1"
    );
}

#[tokio::test]
async fn not_null_is_kept() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(s, "CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL)", "-- CREATE TABLE");
    check!(
        s,
        "INSERT INTO t VALUES (1, NULL)",
        "ERROR 23502: null value in column \"v\" of relation \"t\" violates not-null constraint [Failing row contains (1, null).]"
    );
}

#[tokio::test]
async fn transactions_commit_roll_back_and_return_to_savepoints() {
    let engine = engine();
    let mut s = connect(&engine).await;
    let mut other = connect(&engine).await;
    check!(s, "CREATE TABLE t (id int PRIMARY KEY)", "-- CREATE TABLE");
    check!(s, "BEGIN; INSERT INTO t VALUES (1)", "-- BEGIN\n-- INSERT 0 1");
    check!(other, "SELECT count(*) FROM t", "0\n-- SELECT 1");
    check!(
        s,
        "SAVEPOINT a; INSERT INTO t VALUES (2); ROLLBACK TO a; INSERT INTO t VALUES (3)",
        "-- SAVEPOINT\n-- INSERT 0 1\n-- ROLLBACK\n-- INSERT 0 1"
    );
    check!(s, "SELECT id FROM t ORDER BY 1", "1\n3\n-- SELECT 2");
    check!(s, "COMMIT", "-- COMMIT");
    check!(other, "SELECT count(*) FROM t", "2\n-- SELECT 1");
    check!(s, "BEGIN; DELETE FROM t; ROLLBACK", "-- BEGIN\n-- DELETE 2\n-- ROLLBACK");
    check!(s, "SELECT count(*) FROM t", "2\n-- SELECT 1");
    check!(
        s,
        "INSERT INTO t VALUES (7); SELECT 1/0",
        "-- INSERT 0 1\nERROR 22012: division by zero"
    );
    check!(s, "SELECT count(*) FROM t", "2\n-- SELECT 1");
}

#[tokio::test]
async fn ddl_rolls_back() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(
        s,
        "BEGIN; CREATE TABLE t (id int); INSERT INTO t VALUES (1); SELECT * FROM t; ROLLBACK",
        "-- BEGIN\n-- CREATE TABLE\n-- INSERT 0 1\n1\n-- SELECT 1\n-- ROLLBACK"
    );
    check!(s, "SELECT * FROM t", "ERROR 42P01: relation \"t\" does not exist");
    check!(s, "CREATE TABLE t (id int)", "-- CREATE TABLE");
    check!(s, "CREATE TABLE t (id int)", "ERROR 42P07: relation \"t\" already exists");
    check!(
        s,
        "CREATE TABLE IF NOT EXISTS t (id int)",
        "NOTICE: relation \"t\" already exists, skipping\n-- CREATE TABLE"
    );
}

#[tokio::test]
async fn pgbench_initialises_and_runs() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(
        s,
        "drop table if exists pgbench_accounts, pgbench_branches",
        "NOTICE: table \"pgbench_accounts\" does not exist, skipping\nNOTICE: table \"pgbench_branches\" does not exist, skipping\n-- DROP TABLE"
    );
    check!(
        s,
        "create table pgbench_history(tid int,bid int,aid    int,delta int,mtime timestamp,filler char(22))",
        "-- CREATE TABLE"
    );
    check!(
        s,
        "create table pgbench_tellers(tid int not null,bid int,tbalance int,filler char(84)) with (fillfactor=100)",
        "-- CREATE TABLE"
    );
    check!(
        s,
        "create table pgbench_accounts(aid    int not null,bid int,abalance int,filler char(84)) with (fillfactor=100)",
        "-- CREATE TABLE"
    );
    check!(
        s,
        "create table pgbench_branches(bid int not null,bbalance int,filler char(88)) with (fillfactor=100)",
        "-- CREATE TABLE"
    );
    check!(s, "begin", "-- BEGIN");
    check!(
        s,
        "truncate table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
        "-- TRUNCATE TABLE"
    );
    check!(s, "insert into pgbench_branches(bid,bbalance) values(1,0)", "-- INSERT 0 1");
    check!(s, "insert into pgbench_tellers(tid,bid,tbalance) values (1,1,0)", "-- INSERT 0 1");
    let rows: String = (1..=1000).map(|n| format!("{n}\t1\t0\t\n")).collect();
    let copied =
        run_with(&mut s, "copy pgbench_accounts from stdin with (freeze on)", &[&rows]).await;
    assert_eq!(copied, "-- COPY 1000");
    check!(s, "select count(*) from pgbench_accounts", "1000\n-- SELECT 1");
    check!(s, "commit", "-- COMMIT");
    check!(s, "vacuum analyze pgbench_branches", "-- VACUUM");
    check!(s, "alter table pgbench_branches add primary key (bid)", "-- ALTER TABLE");
    check!(s, "alter table pgbench_tellers add primary key (tid)", "-- ALTER TABLE");
    check!(s, "alter table pgbench_accounts add primary key (aid)", "-- ALTER TABLE");
    check!(s, "select count(*), max(aid) from pgbench_accounts", "1000|1000\n-- SELECT 1");
    check!(s, "select abalance from pgbench_accounts where aid = 77", "0\n-- SELECT 1");

    let int = |v: i32| Datum::Int4(v);
    let x = |sql: &'static str, params: Vec<Datum>| (sql, params);
    for (sql, params) in [
        x("BEGIN;", vec![]),
        x(
            "UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2;",
            vec![int(5), int(77)],
        ),
        x("SELECT abalance FROM pgbench_accounts WHERE aid = $1;", vec![int(77)]),
        x(
            "UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2;",
            vec![int(5), int(1)],
        ),
        x(
            "UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2;",
            vec![int(5), int(1)],
        ),
        x(
            "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP);",
            vec![int(1), int(1), int(77), int(5)],
        ),
        x("END;", vec![]),
    ] {
        let out = extended(&mut s, sql, &[], params).await;
        assert!(!out.contains("ERROR"), "{sql}: {out}");
    }
    check!(s, "SELECT abalance FROM pgbench_accounts WHERE aid = 77", "5\n-- SELECT 1");
    check!(s, "SELECT count(*) FROM pgbench_history", "1\n-- SELECT 1");
}

#[tokio::test]
async fn indexes_are_filled_and_kept() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(s, "CREATE TABLE t (a int, b text)", "-- CREATE TABLE");
    check!(s, "INSERT INTO t VALUES (1, 'x'), (2, 'y'), (2, 'z')", "-- INSERT 0 3");
    check!(
        s,
        "CREATE UNIQUE INDEX ON t (a)",
        "ERROR 23505: could not create unique index \"t_a_idx\" [Key (a)=(2) is duplicated.]"
    );
    check!(s, "CREATE UNIQUE INDEX tb ON t (b)", "-- CREATE INDEX");
    check!(
        s,
        "INSERT INTO t VALUES (9, 'x')",
        "ERROR 23505: duplicate key value violates unique constraint \"tb\" [Key (b)=(x) already exists.]"
    );
    check!(s, "SELECT a FROM t WHERE b = 'y'", "2\n-- SELECT 1");
    check!(s, "UPDATE t SET b = 'w' WHERE b = 'y'", "-- UPDATE 1");
    check!(s, "SELECT a FROM t WHERE b = 'y'", "-- SELECT 0");
    check!(s, "SELECT a FROM t WHERE b = 'w'", "2\n-- SELECT 1");
    check!(s, "DROP INDEX tb", "-- DROP INDEX");
    check!(s, "INSERT INTO t VALUES (9, 'x')", "-- INSERT 0 1");
    check!(s, "UPDATE t SET a = a + 1 WHERE a >= 2", "-- UPDATE 3");
    check!(s, "SELECT a, b FROM t ORDER BY a, b", "1|x\n3|w\n3|z\n10|x\n-- SELECT 4");
    check!(s, "DELETE FROM t WHERE a = 3 RETURNING b", "w\nz\n-- DELETE 2");
}

#[tokio::test]
async fn tables_are_altered() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(s, "CREATE TABLE t (a int PRIMARY KEY)", "-- CREATE TABLE");
    check!(s, "INSERT INTO t VALUES (1)", "-- INSERT 0 1");
    check!(s, "ALTER TABLE t ADD COLUMN b text DEFAULT 'old', ADD COLUMN c int", "-- ALTER TABLE");
    check!(s, "INSERT INTO t (a, b) VALUES (2, NULL)", "-- INSERT 0 1");
    check!(s, "SELECT * FROM t ORDER BY a", "1|old|NULL\n2|NULL|NULL\n-- SELECT 2");
    check!(s, "ALTER TABLE t DROP COLUMN c", "-- ALTER TABLE");
    check!(s, "ALTER TABLE t RENAME COLUMN b TO d", "-- ALTER TABLE");
    check!(
        s,
        "ALTER TABLE t ALTER COLUMN d TYPE varchar(2)",
        "ERROR 22001: value too long for type character varying(2)"
    );
    check!(s, "ALTER TABLE t ADD CONSTRAINT u UNIQUE (d)", "-- ALTER TABLE");
    check!(
        s,
        "INSERT INTO t VALUES (3, 'old')",
        "ERROR 23505: duplicate key value violates unique constraint \"u\" [Key (d)=(old) already exists.]"
    );
    check!(
        s,
        "ALTER TABLE t RENAME TO t2; SELECT a FROM t2 WHERE d = 'old'",
        "-- ALTER TABLE\n1\n-- SELECT 1"
    );
    check!(s, "TRUNCATE t2; SELECT count(*) FROM t2", "-- TRUNCATE TABLE\n0\n-- SELECT 1");
}

#[tokio::test]
async fn settings_follow_transactions() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(s, "SHOW transaction_isolation", "serializable\n-- SHOW");
    check!(s, "SET application_name = 'me'", "application_name = me\n-- SET");
    check!(
        s,
        "BEGIN; SET LOCAL statement_timeout = '5s'; SHOW statement_timeout; COMMIT",
        "-- BEGIN\n-- SET\n5s\n-- SHOW\n-- COMMIT"
    );
    check!(s, "SHOW statement_timeout", "0\n-- SHOW");
    check!(
        s,
        "BEGIN; SET extra_float_digits = 3; ROLLBACK; SHOW extra_float_digits",
        "-- BEGIN\n-- SET\n-- ROLLBACK\n1\n-- SHOW"
    );
    check!(s, "SET nonsense = 1", "ERROR 42704: unrecognized configuration parameter \"nonsense\"");
    check!(
        s,
        "BEGIN ISOLATION LEVEL READ COMMITTED; SHOW transaction_isolation; END",
        "-- BEGIN\nread committed\n-- SHOW\n-- COMMIT"
    );
    // A transaction's own level, whatever the session's is, and the session's where it has none of its own.
    let own = "SELECT current_setting('transaction_isolation'), \
               current_setting('transaction_read_only')";
    check!(
        s,
        &format!("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; {own}; END"),
        "-- BEGIN\nrepeatable read|on\n-- SELECT 1\n-- COMMIT"
    );
    check!(s, own, "serializable|off\n-- SELECT 1");
    check!(
        s,
        &format!(
            "SET default_transaction_isolation = 'read committed'; {own}; RESET default_transaction_isolation"
        ),
        "-- SET\nread committed|off\n-- SELECT 1\n-- RESET"
    );
    let listed = "SELECT setting FROM pg_settings WHERE name = 'transaction_isolation'";
    check!(
        s,
        &format!("BEGIN ISOLATION LEVEL READ COMMITTED; {listed}; END"),
        "-- BEGIN\nread committed\n-- SELECT 1\n-- COMMIT"
    );
}

#[tokio::test]
async fn statements_are_prepared_by_name() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(
        s,
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')",
        "-- CREATE TABLE\n-- INSERT 0 1"
    );
    check!(s, "PREPARE p(int) AS SELECT v FROM t WHERE id = $1", "-- PREPARE");
    check!(s, "EXECUTE p(1)", "a\n-- SELECT 1");
    check!(s, "DEALLOCATE p", "-- DEALLOCATE");
    check!(s, "EXECUTE p(1)", "ERROR 26000: prepared statement \"p\" does not exist");
}

#[tokio::test]
async fn copy_goes_out_and_in() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(s, "CREATE TABLE t (id int PRIMARY KEY, v text)", "-- CREATE TABLE");
    assert_eq!(
        run_with(&mut s, "COPY t FROM STDIN", &["1\ta\\tb\n2", "\t\\N\n"]).await,
        "-- COPY 2"
    );
    check!(s, "COPY t TO STDOUT", "1\ta\\tb\n2\t\\N\n-- COPY 2");
    check!(s, "COPY t TO STDOUT WITH (FORMAT csv, HEADER)", "id,v\n1,a\tb\n2,\n-- COPY 2");
    assert_eq!(
        run_with(&mut s, "COPY t (v, id) FROM STDIN CSV", &["\"x,\"\"y\",3\n"]).await,
        "-- COPY 1"
    );
    check!(s, "SELECT v FROM t WHERE id = 3", "x,\"y\n-- SELECT 1");
    let bad = run_with(&mut s, "COPY t FROM STDIN", &["4\n"]).await;
    assert_eq!(bad, "ERROR 22P04: missing data for column \"v\" [COPY t, line 1]");
}

#[tokio::test]
async fn concurrent_increments_are_all_there() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(
        s,
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0)",
        "-- CREATE TABLE\n-- INSERT 0 1"
    );
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let engine = engine.clone();
        tasks.push(tokio::spawn(async move {
            let mut s = connect(&engine).await;
            for _ in 0..20 {
                let out = run(&mut s, "UPDATE t SET n = n + 1 WHERE id = 1").await;
                assert_eq!(out, "-- UPDATE 1");
                let out = run(&mut s, "UPDATE t SET n = n + 1 WHERE n >= 0").await;
                assert_eq!(out, "-- UPDATE 1");
            }
        }));
    }
    for task in tasks {
        task.await.expect("no task panics");
    }
    check!(s, "SELECT n FROM t WHERE id = 1", "320\n-- SELECT 1");
}

#[tokio::test]
async fn the_catalog_can_be_queried() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(s, "CREATE TABLE t (id int PRIMARY KEY, v varchar(10))", "-- CREATE TABLE");
    check!(
        s,
        "SELECT relname, relkind FROM pg_class WHERE relname LIKE 't%' AND relkind <> 'v' ORDER BY 1",
        "t|r\nt_pkey|i\n-- SELECT 2"
    );
    check!(
        s,
        "SELECT column_name, data_type, character_maximum_length FROM information_schema.columns WHERE table_name = 't' ORDER BY ordinal_position",
        "id|integer|NULL\nv|character varying|10\n-- SELECT 2"
    );
    check!(s, "SELECT table_name FROM conclave.ranges WHERE range_id = 1", "NULL\n-- SELECT 1");
}

#[tokio::test]
async fn tables_split_at_values() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(
        s,
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (50), (99)",
        "-- CREATE TABLE\n-- INSERT 0 3"
    );
    check!(s, "ALTER TABLE t SPLIT AT VALUES (10), (60)", "-- ALTER TABLE");
    check!(s, "SELECT count(*) FROM conclave.ranges WHERE table_name = 't'", "2\n-- SELECT 1");
    check!(s, "BEGIN; UPDATE t SET id = id + 1; COMMIT", "-- BEGIN\n-- UPDATE 3\n-- COMMIT");
    check!(s, "SELECT id FROM t ORDER BY id", "2\n51\n100\n-- SELECT 3");
}

#[tokio::test]
async fn serial_columns_count() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(
        s,
        "CREATE TABLE t (id SERIAL, v int DEFAULT '0' NOT NULL, PRIMARY KEY (id))",
        "-- CREATE TABLE"
    );
    check!(s, "INSERT INTO t (v) VALUES (10), (20)", "-- INSERT 0 2");
    check!(
        s,
        "INSERT INTO t (v) SELECT v + 1 FROM t ORDER BY v RETURNING id, v",
        "3|11\n4|21\n-- INSERT 0 2"
    );
    check!(s, "INSERT INTO t (id) VALUES (-7)", "-- INSERT 0 1");
    check!(s, "INSERT INTO t VALUES (DEFAULT, 5) RETURNING id", "5\n-- INSERT 0 1");
    assert_eq!(run_with(&mut s, "COPY t (v) FROM STDIN", &["1\n2\n"]).await, "-- COPY 2");
    check!(s, "SELECT id FROM t ORDER BY id", "-7\n1\n2\n3\n4\n5\n6\n7\n-- SELECT 8");
}

#[tokio::test]
async fn rows_are_written_by_any_condition() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(
        s,
        "CREATE TABLE a (id int PRIMARY KEY, n numeric(10,2)); CREATE TABLE b (id int PRIMARY KEY, x text)",
        "-- CREATE TABLE\n-- CREATE TABLE"
    );
    check!(s, "INSERT INTO a SELECT g, g * 1.5 FROM generate_series(1, 5) g", "-- INSERT 0 5");
    check!(s, "INSERT INTO b VALUES (2, 'two'), (4, 'four')", "-- INSERT 0 2");
    check!(
        s,
        "UPDATE a SET n = n + 100 FROM b WHERE a.id = b.id RETURNING a.id, a.n, b.x",
        "2|103.00|two\n4|106.00|four\n-- UPDATE 2"
    );
    check!(s, "DELETE FROM a USING b WHERE a.id = b.id AND b.x = 'two'", "-- DELETE 1");
    check!(s, "UPDATE a SET n = (SELECT max(n) FROM a) WHERE id = 1", "-- UPDATE 1");
    check!(s, "SELECT * FROM a ORDER BY id", "1|106.00\n3|4.50\n4|106.00\n5|7.50\n-- SELECT 4");
    check!(s, "DELETE FROM a WHERE id IN (SELECT id FROM b)", "-- DELETE 1");
    check!(
        s,
        "BEGIN; SELECT id FROM a ORDER BY id LIMIT 1 FOR UPDATE; COMMIT",
        "-- BEGIN\n1\n-- SELECT 1\n-- COMMIT"
    );
    check!(s, "SELECT id FROM a WHERE id = 1 FOR UPDATE NOWAIT", "1\n-- SELECT 1");
    check!(s, "UPDATE a SET id = id + 1", "-- UPDATE 3");
    check!(s, "SELECT id FROM a ORDER BY id", "2\n4\n6\n-- SELECT 3");
}

#[tokio::test]
async fn weaker_levels_see_what_they_promise() {
    let engine = engine();
    let mut s = connect(&engine).await;
    let mut other = connect(&engine).await;
    check!(
        s,
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0)",
        "-- CREATE TABLE\n-- INSERT 0 1"
    );
    check!(s, "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT n FROM t", "-- BEGIN\n0\n-- SELECT 1");
    check!(other, "UPDATE t SET n = 5 WHERE id = 1", "-- UPDATE 1");
    check!(s, "SELECT n FROM t", "5\n-- SELECT 1");
    check!(s, "UPDATE t SET n = n + 1 WHERE n = 5; COMMIT", "-- UPDATE 1\n-- COMMIT");
    check!(s, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT n FROM t", "-- BEGIN\n6\n-- SELECT 1");
    check!(other, "UPDATE t SET n = 7 WHERE id = 1", "-- UPDATE 1");
    check!(s, "SELECT n FROM t", "6\n-- SELECT 1");
    let out = run(&mut s, "UPDATE t SET n = n + 1 WHERE id = 1").await;
    assert!(out.starts_with("ERROR 40001"), "{out}");
    check!(s, "ROLLBACK", "-- ROLLBACK");
    check!(
        s,
        "BEGIN READ ONLY; SELECT n FROM t; UPDATE t SET n = 1",
        "-- BEGIN\n7\n-- SELECT 1\nERROR 25006: cannot execute UPDATE in a read-only transaction"
    );
}

#[tokio::test]
async fn psql_describes_a_table() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(s, "CREATE TABLE t (id int PRIMARY KEY, v varchar(10) DEFAULT 'x')", "-- CREATE TABLE");
    let list = "SELECT n.nspname as \"Schema\", c.relname as \"Name\", \
        CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'i' THEN 'index' END as \"Type\", \
        pg_catalog.pg_get_userbyid(c.relowner) as \"Owner\" FROM pg_catalog.pg_class c \
        LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam \
        WHERE c.relkind IN ('r','p','') AND n.nspname <> 'pg_catalog' \
        AND n.nspname !~ '^pg_toast' AND n.nspname <> 'information_schema' \
        AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2";
    check!(s, list, "public|t|table|conclave\n-- SELECT 1");
    let find = "SELECT c.relname FROM pg_catalog.pg_class c \
        LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relname OPERATOR(pg_catalog.~) '^(t)$' COLLATE pg_catalog.default \
        AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1";
    check!(s, find, "t\n-- SELECT 1");
    let columns = "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), \
        (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d \
        WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef), a.attnotnull, \
        (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t \
        WHERE c.oid = a.attcollation AND t.oid = a.atttypid AND a.attcollation <> t.typcollation) \
        AS attcollation, a.attidentity, a.attgenerated FROM pg_catalog.pg_attribute a \
        WHERE a.attrelid = 't'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    check!(
        s,
        columns,
        "id|integer|NULL|t|NULL||\nv|character varying(10)|'x'::character varying|f|NULL||\n-- SELECT 2"
    );
    let indexes = "SELECT c2.relname, i.indisprimary, i.indisunique, i.indisclustered, \
        i.indisvalid, pg_catalog.pg_get_indexdef(i.indexrelid, 0, true), \
        pg_catalog.pg_get_constraintdef(con.oid, true), contype, condeferrable, condeferred, \
        i.indisreplident, c2.reltablespace FROM pg_catalog.pg_class c, pg_catalog.pg_class c2, \
        pg_catalog.pg_index i LEFT JOIN pg_catalog.pg_constraint con ON (conrelid = i.indrelid \
        AND conindid = i.indexrelid AND contype IN ('p','u','x')) WHERE c.oid = 't'::regclass \
        AND c.oid = i.indrelid AND i.indexrelid = c2.oid ORDER BY i.indisprimary DESC, c2.relname";
    check!(
        s,
        indexes,
        "t_pkey|t|t|f|t|CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id)|PRIMARY KEY (id)|p|f|f|f|0\n-- SELECT 1"
    );
    check!(s, "SELECT 't'::regclass, 't'::regclass::text", "t|t\n-- SELECT 1");
}

#[tokio::test]
async fn pgbench_finds_its_tables() {
    let engine = engine();
    let mut s = connect(&engine).await;
    check!(s, "CREATE TABLE pgbench_accounts (aid int PRIMARY KEY)", "-- CREATE TABLE");
    let query = "select o.n, p.partstrat, pg_catalog.count(i.inhparent) \
        from pg_catalog.pg_class as c \
        join pg_catalog.pg_namespace as n on (n.oid = c.relnamespace) \
        cross join lateral (select pg_catalog.array_position(pg_catalog.current_schemas(true), n.nspname)) as o(n) \
        left join pg_catalog.pg_partitioned_table as p on (p.partrelid = c.oid) \
        left join pg_catalog.pg_inherits as i on (c.oid = i.inhparent) \
        where c.relname = 'pgbench_accounts' and o.n is not null group by 1, 2 order by 1 asc limit 1";
    check!(s, query, "2|NULL|0\n-- SELECT 1");
}
