//! `pg_current_xact_id()`, `pg_xact_status()` and their older kin, as in PostgreSQL 15.

use crate::support::{connect, engine, extended, run, run_with};
use pgtypes::{Datum, PgType, TypeId, xid8};

macro_rules! check {
    ($session:expr, $sql:expr, $expected:expr) => {
        assert_eq!(run(&mut $session, $sql).await, $expected, "{}", $sql)
    };
}

/// The first line of what a script shows.
async fn id_of(session: &mut sql::session::Session, sql: &str) -> String {
    let seen = run(session, sql).await;
    seen.lines().find(|line| line.parse::<u64>().is_ok()).expect(&seen).to_owned()
}

#[tokio::test]
async fn a_transaction_is_in_progress_and_then_committed_or_aborted() {
    let engine = engine();
    let (mut a, mut b) = (connect(&engine).await, connect(&engine).await);
    run(&mut a, "CREATE TABLE t (id int PRIMARY KEY, x xid8)").await;
    for (end, fate) in [("COMMIT", "committed"), ("ROLLBACK", "aborted")] {
        let id = id_of(&mut a, "BEGIN; SELECT pg_current_xact_id()").await;
        let status = format!("SELECT pg_xact_status('{id}'), txid_status({id})");
        check!(a, &status, "in progress|in progress\n-- SELECT 1");
        check!(b, &status, "in progress|in progress\n-- SELECT 1");
        check!(
            a,
            "SELECT txid_current()::text = pg_current_xact_id()::text, \
             pg_current_xact_id_if_assigned() = pg_current_xact_id()",
            "t|t\n-- SELECT 1"
        );
        check!(a, "INSERT INTO t VALUES (1, pg_current_xact_id())", "-- INSERT 0 1");
        check!(a, end, format!("-- {end}"));
        check!(b, &status, format!("{fate}|{fate}\n-- SELECT 1"));
        let rows = if fate == "committed" { format!("{id}\n-- SELECT 1") } else { String::new() };
        if fate == "committed" {
            check!(b, "SELECT x FROM t", rows);
            check!(
                b,
                "SELECT pg_xact_status(x) FROM t WHERE pg_xact_status(x) = 'committed'",
                "committed\n-- SELECT 1"
            );
            check!(
                b,
                "SELECT pg_xact_status(x), count(*) FROM t GROUP BY 1",
                "committed|1\n-- SELECT 1"
            );
            check!(b, "DELETE FROM t", "-- DELETE 1");
        } else {
            check!(b, "SELECT x FROM t", "-- SELECT 0");
        }
    }
    // A failed statement ends the transaction.
    let id = id_of(&mut a, "BEGIN; SELECT pg_current_xact_id()").await;
    run(&mut a, "SELECT 1/0").await;
    check!(b, &format!("SELECT pg_xact_status('{id}')"), "aborted\n-- SELECT 1");
    check!(a, "ROLLBACK", "-- ROLLBACK");
}

#[tokio::test]
async fn each_autocommit_statement_has_an_id_of_its_own() {
    let engine = engine();
    let mut a = connect(&engine).await;
    run(&mut a, "CREATE TABLE log (id int PRIMARY KEY, x bigint DEFAULT txid_current(), y int)")
        .await;
    let (first, second) = (
        id_of(&mut a, "SELECT txid_current()").await,
        id_of(&mut a, "SELECT txid_current()").await,
    );
    assert!(first.parse::<u64>().expect("an id") < second.parse().expect("an id"));
    check!(
        a,
        &format!("SELECT txid_status({first}), txid_status({second})"),
        "committed|committed\n-- SELECT 1"
    );
    // In defaults: by every kind of plan.
    check!(a, "INSERT INTO log (id) VALUES (1)", "-- INSERT 0 1");
    check!(a, "INSERT INTO log (id) SELECT 2", "-- INSERT 0 1");
    assert_eq!(run_with(&mut a, "COPY log (id) FROM STDIN", &["3\n4\n"]).await, "-- COPY 2");
    check!(a, "UPDATE log SET x = DEFAULT WHERE id = 1", "-- UPDATE 1");
    check!(
        a,
        "SELECT count(*), count(DISTINCT x), min(txid_status(x)), max(txid_status(x)) FROM log",
        "4|3|committed|committed\n-- SELECT 1"
    );
    check!(a, "UPDATE log SET y = 1 WHERE txid_status(x) = 'committed' AND id < 3", "-- UPDATE 2");
    check!(a, "DELETE FROM log WHERE txid_status(x) = 'aborted' OR id = 4", "-- DELETE 1");
    check!(
        a,
        "COPY (SELECT txid_current() > 0, id FROM log WHERE id = 1) TO STDOUT",
        "t\t1\n-- COPY 1"
    );
    let seen =
        extended(&mut a, "SELECT pg_current_xact_id() > $1", &[None], vec![xid8::datum(5)]).await;
    assert_eq!(seen, "t\n-- SELECT 1");
    let one = vec![Some(PgType::new(TypeId::Int8))];
    let seen = extended(
        &mut a,
        "SELECT txid_status($1)",
        &one,
        vec![Datum::Int8(first.parse().expect("an id"))],
    )
    .await;
    assert_eq!(seen, "committed\n-- SELECT 1");
}

#[tokio::test]
async fn read_only_transactions_may_have_one() {
    let engine = engine();
    let (mut a, mut b) = (connect(&engine).await, connect(&engine).await);
    for end in ["COMMIT", "ROLLBACK"] {
        let id = id_of(&mut a, "BEGIN READ ONLY; SELECT pg_current_xact_id()").await;
        let status = format!("SELECT pg_xact_status('{id}')");
        check!(b, &status, "in progress\n-- SELECT 1");
        run(&mut a, end).await;
        let fate = if end == "COMMIT" { "committed" } else { "aborted" };
        check!(b, &status, format!("{fate}\n-- SELECT 1"));
    }
}

#[tokio::test]
async fn one_is_assigned_when_something_is_written_or_locked() {
    let engine = engine();
    let mut a = connect(&engine).await;
    run(&mut a, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await;
    check!(
        a,
        "SELECT pg_current_xact_id_if_assigned(), txid_current_if_assigned()",
        "NULL|NULL\n-- SELECT 1"
    );
    for writes in ["INSERT INTO t VALUES (2)", "SELECT id FROM t WHERE id = 1 FOR UPDATE"] {
        let script = format!(
            "BEGIN; SELECT txid_current_if_assigned() IS NULL; {writes};
            SELECT txid_current_if_assigned() = txid_current(); ROLLBACK"
        );
        let seen = run(&mut a, &script).await;
        assert_eq!(seen.matches("t\n-- SELECT 1").count(), 2, "{seen}");
    }
    let script = "BEGIN; SAVEPOINT s; SELECT txid_current()";
    let id = id_of(&mut a, script).await;
    check!(
        a,
        "ROLLBACK TO s; SELECT txid_current(); COMMIT",
        format!("-- ROLLBACK\n{id}\n-- SELECT 1\n-- COMMIT")
    );
    check!(a, &format!("SELECT txid_status({id})"), "committed\n-- SELECT 1");
}

#[tokio::test]
async fn strange_ids() {
    let engine = engine();
    let mut a = connect(&engine).await;
    check!(
        a,
        "SELECT pg_xact_status('0'), pg_xact_status('77'), pg_xact_status(NULL), txid_status(0)",
        "NULL|NULL|NULL|NULL\n-- SELECT 1"
    );
    check!(
        a,
        "SELECT pg_xact_status('18446744073709551615')",
        "ERROR 22023: transaction ID 18446744073709551615 is in the future"
    );
    check!(
        a,
        "SELECT txid_status(-5)",
        "ERROR 22023: transaction ID 18446744073709551611 is in the future"
    );
    let seen = run(&mut a, "SELECT pg_xact_status(5)").await;
    assert!(
        seen.contains("ERROR 42883: function pg_xact_status(integer) does not exist"),
        "{seen}"
    );
}

#[tokio::test]
async fn the_type_of_an_id() {
    let engine = engine();
    let mut a = connect(&engine).await;
    check!(
        a,
        "SELECT '18446744073709551615'::xid8, '18446744073709551616'::xid8, '-1'::xid8, \
        ' 12 '::xid8, '0x10'::xid8, '010'::xid8, 'x'::xid8, ''::xid8, '12x'::xid8",
        "18446744073709551615|18446744073709551615|18446744073709551615|12|16|8|0|0|12\n-- SELECT 1"
    );
    check!(
        a,
        "SELECT '5'::xid8::xid, '5'::xid8::text, '5'::xid8 < '6'::xid8, '5'::xid8 = '5', \
        '4294967301'::xid8::xid, '9223372036854775808'::xid8 > '9223372036854775807'::xid8",
        "5|5|t|t|5|t\n-- SELECT 1"
    );
    for (cast, error) in [
        ("5::xid8", "cannot cast type integer to xid8"),
        ("5::int8::xid8", "cannot cast type bigint to xid8"),
        ("'5'::xid8::int8", "cannot cast type xid8 to bigint"),
    ] {
        check!(a, &format!("SELECT {cast}"), format!("ERROR 42846: {error}"));
    }
    check!(
        a,
        "SELECT pg_typeof(pg_current_xact_id()), pg_typeof(txid_current())",
        "xid8|bigint\n-- SELECT 1"
    );
    check!(
        a,
        "SELECT oid, typarray, typlen, typcategory FROM pg_type WHERE typname = 'xid8'",
        "5069|271|8|U\n-- SELECT 1"
    );
    run(&mut a, "CREATE TABLE x (id xid8 PRIMARY KEY, also xid8[])").await;
    check!(
        a,
        "INSERT INTO x VALUES ('18446744073709551615', '{7,18446744073709551615}'), ('9', NULL)",
        "-- INSERT 0 2"
    );
    check!(
        a,
        "SELECT * FROM x ORDER BY id DESC",
        "18446744073709551615|{7,18446744073709551615}\n9|NULL\n-- SELECT 2"
    );
    check!(a, "SELECT id FROM x WHERE id > '10'", "18446744073709551615\n-- SELECT 1");
    check!(
        a,
        "SELECT max(id), min(id), count(DISTINCT id) FROM x",
        "18446744073709551615|9|2\n-- SELECT 1"
    );
}
