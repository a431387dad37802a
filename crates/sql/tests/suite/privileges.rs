//! Who may do what, in PostgreSQL's words; and that what was planned for one is not run for another.

use std::sync::Arc;

use crate::support::{connect, engine, run};
use sql::session::{Engine, Session, SessionOptions};

macro_rules! check {
    ($session:expr, $sql:expr, $expected:expr) => {
        assert_eq!(run(&mut $session, $sql).await, $expected, "{}", $sql)
    };
}

async fn connect_as(engine: &Arc<Engine>, user: &str) -> Result<Session, sql::SqlError> {
    let options = SessionOptions {
        user: user.to_owned(),
        database: "conclave".to_owned(),
        ..SessionOptions::default()
    };
    Session::new(engine.clone(), options).await
}

async fn prepared(engine: &Arc<Engine>) -> Session {
    let mut admin = connect(engine).await;
    let tags = run(
        &mut admin,
        "CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE TABLE t (id int PRIMARY KEY, a int);
         CREATE VIEW v AS SELECT a FROM t; CREATE SEQUENCE s; INSERT INTO t VALUES (1, 10)",
    )
    .await;
    assert!(!tags.contains("ERROR"), "{tags}");
    admin
}

#[tokio::test]
async fn what_is_not_allowed_is_said_as_postgresql_says_it() {
    let engine = engine();
    let mut admin = prepared(&engine).await;
    let mut alice = connect_as(&engine, "alice").await.expect("may connect");
    let denied = |what: &str| format!("ERROR 42501: permission denied for {what}");
    for (sql, what) in [
        ("SELECT * FROM t", "table t"),
        ("SELECT a FROM t WHERE id = 1", "table t"),
        ("SELECT * FROM v", "view v"),
        ("SELECT nextval('s')", "sequence s"),
        ("SELECT last_value FROM s", "sequence s"),
        ("INSERT INTO t VALUES (2, 2)", "table t"),
        ("UPDATE t SET a = 1", "table t"),
        ("DELETE FROM t WHERE id = 1", "table t"),
        ("TRUNCATE t", "table t"),
        ("EXPLAIN SELECT * FROM t", "table t"),
        ("CREATE TABLE u AS SELECT * FROM t", "schema public"),
        ("CREATE TABLE u (a int)", "schema public"),
        ("SELECT * FROM pg_authid", "table pg_authid"),
        ("GRANT SELECT ON t TO bob", "table t"),
        ("CREATE SCHEMA mine", "database conclave"),
        ("WITH x AS (SELECT * FROM t) SELECT count(*) FROM x", "table t"),
        ("SELECT (SELECT max(a) FROM t)", "table t"),
    ] {
        check!(alice, sql, denied(what));
    }
    let owner = |what: &str| format!("ERROR 42501: must be owner of {what}");
    for (sql, what) in [
        ("ALTER TABLE t ADD COLUMN b int", "table t"),
        ("DROP TABLE t", "table t"),
        ("DROP VIEW v", "view v"),
        ("DROP SEQUENCE s", "sequence s"),
        ("CREATE INDEX ON t (a)", "table t"),
        ("COMMENT ON TABLE t IS 'x'", "table t"),
        ("ALTER SEQUENCE s INCREMENT 2", "sequence s"),
        ("DROP SCHEMA public", "schema public"),
    ] {
        check!(alice, sql, owner(what));
    }
    check!(alice, "CREATE DATABASE d", "ERROR 42501: permission denied to create database");
    check!(alice, "CREATE ROLE r", "ERROR 42501: permission denied to create role");
    check!(alice, "SET ROLE bob", "ERROR 42501: permission denied to set role \"bob\"");
    let session = "ERROR 42501: permission denied to set session authorization";
    check!(alice, "SET SESSION AUTHORIZATION bob", session);
    let settings = "ERROR 42501: must be superuser to change settings of the cluster";
    check!(alice, "SET CLUSTER SETTING gc.ttl = '1h'", settings);
    check!(admin, "GRANT SELECT ON v TO alice", "-- GRANT");
    check!(alice, "SELECT * FROM v", "10\n-- SELECT 1");
}

#[tokio::test]
async fn a_cached_plan_is_for_whom_it_was_made_and_while_it_holds() {
    let engine = engine();
    let mut admin = prepared(&engine).await;
    let mut alice = connect_as(&engine, "alice").await.expect("may connect");
    let get = "SELECT a FROM t WHERE id = 1";
    for _ in 0..3 {
        check!(admin, get, "10\n-- SELECT 1");
        check!(alice, get, "ERROR 42501: permission denied for table t");
    }
    check!(admin, "GRANT SELECT ON t TO alice", "-- GRANT");
    check!(alice, get, "10\n-- SELECT 1");
    check!(alice, "PREPARE p AS SELECT a FROM t WHERE id = 1", "-- PREPARE");
    check!(alice, "EXECUTE p", "10\n-- SELECT 1");
    check!(admin, "REVOKE SELECT ON t FROM alice", "-- REVOKE");
    check!(alice, "EXECUTE p", "ERROR 42501: permission denied for table t");
    check!(alice, get, "ERROR 42501: permission denied for table t");
    // Not even when it was planned before the role was another.
    check!(admin, "SET ROLE alice", "is_superuser = off\n-- SET");
    check!(admin, get, "ERROR 42501: permission denied for table t");
    check!(admin, "RESET ROLE", "is_superuser = on\n-- RESET");
    check!(admin, get, "10\n-- SELECT 1");
}

#[tokio::test]
async fn who_may_connect() {
    let engine = engine();
    let mut admin = prepared(&engine).await;
    let refused = async |user: &str| {
        let Err(error) = connect_as(&engine, user).await else { panic!("{user} got in") };
        format!("{} {}", error.code().as_str(), error.message())
    };
    assert_eq!(refused("nobody").await, "28000 role \"nobody\" does not exist");
    check!(admin, "ALTER ROLE alice NOLOGIN", "-- ALTER ROLE");
    assert_eq!(refused("alice").await, "28000 role \"alice\" is not permitted to log in");
    check!(admin, "ALTER ROLE alice LOGIN CONNECTION LIMIT 1", "-- ALTER ROLE");
    let first = connect_as(&engine, "alice").await.expect("the first");
    assert_eq!(refused("alice").await, "53300 too many connections for role \"alice\"");
    first.close().await;
    connect_as(&engine, "alice").await.expect("again").close().await;
    check!(admin, "REVOKE CONNECT ON DATABASE conclave FROM PUBLIC", "-- REVOKE");
    assert_eq!(refused("bob").await, "42501 permission denied for database \"conclave\"");
    check!(admin, "GRANT CONNECT ON DATABASE conclave TO bob", "-- GRANT");
    connect_as(&engine, "bob").await.expect("bob may again");
    // Settings of the role are those of its sessions.
    check!(admin, "ALTER ROLE bob SET timezone = 'Europe/Rome'", "-- ALTER ROLE");
    let mut bob = connect_as(&engine, "bob").await.expect("bob may");
    check!(bob, "SHOW timezone", "Europe/Rome\n-- SHOW");
}

#[tokio::test]
async fn a_schema_of_ones_own_comes_first() {
    let engine = engine();
    let mut admin = prepared(&engine).await;
    check!(admin, "CREATE SCHEMA AUTHORIZATION alice", "-- CREATE SCHEMA");
    let mut alice = connect_as(&engine, "alice").await.expect("may connect");
    check!(alice, "CREATE TABLE own (a int)", "-- CREATE TABLE");
    check!(
        alice,
        "SELECT current_schema, 'own'::regclass::oid = 'alice.own'::regclass::oid",
        "alice|t\n-- SELECT 1"
    );
    check!(admin, "SELECT * FROM own", "ERROR 42P01: relation \"own\" does not exist");
    check!(admin, "SELECT current_schema", "public\n-- SELECT 1");
}

#[tokio::test]
async fn what_others_do_is_their_business() {
    let engine = engine();
    let mut admin = prepared(&engine).await;
    let mut alice = connect_as(&engine, "alice").await.expect("may connect");
    let others = "SELECT count(*) FROM pg_stat_activity WHERE usename <> 'alice' AND query <> '<insufficient privilege>'";
    check!(alice, others, "0\n-- SELECT 1");
    let denied = "ERROR 42501: permission denied for view transactions";
    check!(alice, "SELECT count(*) FROM conclave.transactions", denied);
    check!(admin, "GRANT pg_monitor TO alice", "-- GRANT ROLE");
    check!(alice, others, "1\n-- SELECT 1");
}

#[tokio::test]
async fn the_past_is_read_by_who_may_read_it_now() {
    let engine = engine();
    let mut admin = prepared(&engine).await;
    check!(admin, "GRANT SELECT ON t TO alice", "-- GRANT");
    let now = run(&mut admin, "SELECT cluster_logical_timestamp()").await;
    let now = now.lines().next().expect("a row").to_owned();
    let past = format!("SELECT a FROM t AS OF SYSTEM TIME {now}");
    let mut alice = connect_as(&engine, "alice").await.expect("may connect");
    check!(alice, &past, "10\n-- SELECT 1");
    check!(admin, "REVOKE SELECT ON t FROM alice", "-- REVOKE");
    check!(admin, "SELECT a FROM t WHERE id = 1", "10\n-- SELECT 1");
    check!(alice, &past, "ERROR 42501: permission denied for table t");
}

#[tokio::test]
async fn nobody_becomes_another_by_a_setting() {
    let engine = engine();
    let mut admin = prepared(&engine).await;
    check!(admin, "GRANT bob TO alice", "-- GRANT ROLE");
    let mut alice = connect_as(&engine, "alice").await.expect("may connect");
    let role = "ERROR 42501: permission denied to set role \"conclave\"";
    for sql in [
        "SET role = conclave",
        "SET \"ROLE\" = 'conclave'",
        "SELECT set_config('Role', 'conclave', false)",
    ] {
        let said = run(&mut alice, sql).await;
        assert!(said.ends_with(role), "{sql}: {said}");
    }
    let session = "ERROR 42501: permission denied to set session authorization";
    for sql in [
        "SET session_authorization = conclave",
        "SET \"Session_Authorization\" = 'conclave'",
        "SELECT set_config('session_authorization', 'conclave', false)",
    ] {
        let said = run(&mut alice, sql).await;
        assert!(said.ends_with(session), "{sql}: {said}");
    }
    check!(alice, "SELECT current_user, session_user", "alice|alice\n-- SELECT 1");
    let said = run(&mut alice, "SELECT set_config('role', 'bob', false)").await;
    assert!(said.ends_with("-- SELECT 1"), "{said}");
    check!(alice, "SELECT current_user, session_user", "bob|alice\n-- SELECT 1");
}

#[tokio::test]
async fn temporary_tables_are_a_privilege_of_the_database() {
    let engine = engine();
    let mut admin = prepared(&engine).await;
    let mut alice = connect_as(&engine, "alice").await.expect("may connect");
    check!(alice, "CREATE TEMP TABLE own (a int)", "-- CREATE TABLE");
    check!(alice, "INSERT INTO own VALUES (1)", "-- INSERT 0 1");
    check!(admin, "REVOKE TEMPORARY ON DATABASE conclave FROM PUBLIC", "-- REVOKE");
    let mut bob = connect_as(&engine, "bob").await.expect("may connect");
    let denied =
        "ERROR 42501: permission denied to create temporary tables in database \"conclave\"";
    check!(bob, "CREATE TEMP TABLE own (a int)", denied);
}
