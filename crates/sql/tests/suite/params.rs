//! Types of parameters that the client did not declare, and of results.

use crate::support::{connect, engine, extended, run};
use pgtypes::{Datum, PgType};

/// `$1 type, $2 type -> column type, …`, or the error.
async fn described(session: &mut sql::session::Session, text: &str) -> String {
    match session.parse(text, &[]).await {
        Err(error) => format!("ERROR {}: {}", error.code(), error.message()),
        Ok(prepared) => {
            let params: Vec<String> = prepared.params().iter().map(PgType::to_string).collect();
            let columns: Vec<String> = prepared
                .columns()
                .map(|columns| columns.iter().map(|c| format!("{} {}", c.name, c.ty)).collect())
                .unwrap_or_default();
            format!("({}) -> ({})", params.join(", "), columns.join(", "))
        }
    }
}

#[tokio::test]
async fn parameter_types_are_inferred_from_their_context() {
    let engine = engine();
    let mut s = connect(&engine).await;
    let columns = "aid int PRIMARY KEY, abalance int, f char(84), n numeric(10,2), \
                   t timestamptz, b bigint";
    run(&mut s, &format!("CREATE TABLE a ({columns})")).await;
    for (text, expected) in [
        // What pgbench prepares.
        ("UPDATE a SET abalance = abalance + $1 WHERE aid = $2", "(integer, integer) -> ()"),
        ("SELECT abalance FROM a WHERE aid = $1", "(integer) -> (abalance integer)"),
        ("INSERT INTO a (aid, f, t) VALUES ($1, $2, CURRENT_TIMESTAMP)", "(integer, bpchar) -> ()"),
        ("INSERT INTO a (aid, n) VALUES ($1 + 1, $2)", "(integer, numeric) -> ()"),
        ("SELECT $1", "(text) -> (?column? text)"),
        ("SELECT $1::int, $1 + 1", "(integer) -> (int4 integer, ?column? integer)"),
        ("SELECT $2::text, $1::int8", "(bigint, text) -> (text text, int8 bigint)"),
        ("SELECT aid FROM a LIMIT $1 OFFSET $2", "(bigint, bigint) -> (aid integer)"),
        (
            "SELECT aid FROM a WHERE f = $1 AND n > $2 AND b IN ($3, $4)",
            "(character, numeric, bigint, bigint) -> (aid integer)",
        ),
        ("SELECT aid FROM a WHERE aid BETWEEN $1 AND $2", "(integer, integer) -> (aid integer)"),
        ("SELECT aid FROM a WHERE aid = ANY ($1)", "(integer[]) -> (aid integer)"),
        (
            "SELECT coalesce($1, 5), CASE WHEN $2 THEN 1 ELSE $3 END",
            "(integer, boolean, integer) -> (coalesce integer, case integer)",
        ),
        ("SELECT 1 UNION SELECT $1", "(integer) -> (?column? integer)"),
        ("INSERT INTO a (aid, b) SELECT $1, $2", "(integer, bigint) -> ()"),
        ("SELECT length($1), $2 || 'x'", "(text, text) -> (length integer, ?column? text)"),
        ("DELETE FROM a WHERE aid = $1 RETURNING abalance", "(integer) -> (abalance integer)"),
        ("SELECT $1 IS NULL", "(text) -> (?column? boolean)"),
        ("SELECT $2", "ERROR 42P18: could not determine data type of parameter $1"),
        (
            "SELECT $1::int, $1::text || 'x', $1 || 'y'",
            "(integer) -> (int4 integer, ?column? text, ?column? text)",
        ),
        ("SELECT $1 + $2", "ERROR 42725: operator is not unique: unknown + unknown"),
    ] {
        let got = described(&mut s, text).await;
        let same = got == expected || got == expected.replace("(character,", "(bpchar,");
        assert!(same, "{text}\n  expected {expected}\n  got      {got}");
    }
}

#[tokio::test]
async fn declared_types_are_kept() {
    let engine = engine();
    let mut s = connect(&engine).await;
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY, c char(5))").await;
    run(&mut s, "INSERT INTO t VALUES (1, 'x'), (2, 'y')").await;
    let int8 = [Some(PgType::INT8)];
    let by_id = "SELECT id, c FROM t WHERE id = $1";
    assert_eq!(extended(&mut s, by_id, &int8, vec![Datum::Int8(2)]).await, "2|y    \n-- SELECT 1");
    let varchar = [Some(PgType::new(pgtypes::TypeId::Varchar))];
    let by_c = "SELECT id FROM t WHERE c = $1";
    assert_eq!(extended(&mut s, by_c, &varchar, vec![Datum::text("x")]).await, "1\n-- SELECT 1");
    let insert = "INSERT INTO t SELECT $1, 'z'";
    assert_eq!(extended(&mut s, insert, &int8, vec![Datum::Int8(7)]).await, "-- INSERT 0 1");
    assert_eq!(run(&mut s, "SELECT count(*) FROM t").await, "3\n-- SELECT 1");
}
