//! Joins of plans that look rows up answer as those that read all of them, and are chosen where they pay.

use std::sync::Arc;

use crate::support::{connect, engine, run};
use sql::session::{Engine, Session};

const TABLES: &str = "
    SET row_execution = off;
    CREATE TABLE parts (id int PRIMARY KEY, kind text, size int);
    CREATE TABLE lines (o int, n int, part int, kind text, price numeric, PRIMARY KEY (o, n));
    CREATE INDEX lines_part ON lines (part, n DESC);
    CREATE INDEX lines_kind ON lines (kind) INCLUDE (n);
    CREATE UNIQUE INDEX lines_whole ON lines (n, part, o);
    CREATE INDEX lines_few ON lines (o) WHERE n = 1;
    INSERT INTO parts SELECT i, 'k' || i % 40, nullif(i % 7, 3) FROM generate_series(1, 400) i;
    INSERT INTO lines
        SELECT i / 5, i % 5, nullif(i % 500, 17), 'k' || i % 60, i / 4.0 FROM generate_series(1, 6000) i;
";

async fn tables(engine: &Arc<Engine>) -> Session {
    let mut s = connect(engine).await;
    let made = run(&mut s, TABLES).await;
    assert!(made.ends_with("-- INSERT 0 6000"), "{made}");
    assert_eq!(run(&mut s, "ANALYZE").await, "-- ANALYZE");
    s
}

/// Each with one answer, up to the order of rows.
const QUERIES: &[&str] = &[
    "SELECT p.id, l.o, l.n, l.price FROM parts p JOIN lines l ON l.part = p.id WHERE p.size = 2 AND p.id < 60",
    "SELECT p.id, l.o, l.n FROM lines l JOIN parts p ON p.id = l.part WHERE p.kind = 'k7'",
    "SELECT p.id, l.o, l.n FROM parts p LEFT JOIN lines l ON l.part = p.id AND l.n > 3 WHERE p.id IN (3, 17, 90)",
    "SELECT p.id, l.o FROM lines l RIGHT JOIN parts p ON l.part = p.id AND l.price > 1000 WHERE p.id < 30",
    "SELECT p.id FROM parts p WHERE p.id < 30 AND EXISTS (SELECT 1 FROM lines l WHERE l.part = p.id AND l.o > 1000)",
    "SELECT p.id FROM parts p WHERE p.id < 30 AND NOT EXISTS (SELECT 1 FROM lines l WHERE l.part = p.id)",
    "SELECT p.id FROM parts p WHERE p.id < 30 AND p.id NOT IN (SELECT l.part FROM lines l WHERE l.part > 9)",
    "SELECT p.id FROM parts p WHERE p.id < 30 AND p.id NOT IN (SELECT l.part FROM lines l WHERE l.part < 9 OR l.n < 0)",
    "SELECT p.id, p.id IN (SELECT l.part FROM lines l WHERE l.n = 4) FROM parts p WHERE p.id BETWEEN 10 AND 30",
    "SELECT p.id, l.o, l.n FROM parts p FULL JOIN lines l ON l.part = p.id WHERE p.id < 3 OR l.o < 3",
    "SELECT p.kind, count(*), sum(l.n) FROM parts p JOIN lines l ON l.kind = p.kind WHERE p.id < 4 GROUP BY p.kind",
    "SELECT p.id, l.price FROM parts p JOIN lines l ON l.o = p.id AND l.n = p.size WHERE p.id < 50",
    "SELECT p.id, l.price FROM parts p JOIN lines l ON l.o = p.id AND l.n = 2 WHERE p.id < 50",
    "SELECT p.id, l.o FROM parts p JOIN lines l ON l.part = p.id AND l.n = 1 AND l.kind <> p.kind WHERE p.id < 40",
    "SELECT q.id, l.o FROM (SELECT size AS id FROM parts WHERE id < 20) q JOIN lines l ON l.part = q.id",
    "SELECT p.id, l.n, m.n FROM parts p JOIN lines l ON l.part = p.id JOIN lines m ON m.o = l.o WHERE p.id = 33",
    "SELECT p.id, l.w FROM parts p JOIN (SELECT part + 0 AS part, o AS w, n FROM lines WHERE n < 3) l
         ON l.part = p.id WHERE p.id < 9",
    "SELECT p.id, l.w FROM parts p JOIN (SELECT o AS w, part AS x, n FROM lines WHERE n < 3) l ON l.x = p.id
         WHERE p.id < 9 AND l.w + p.id > 100",
    "SELECT p.id, l.o FROM parts p JOIN lines l ON l.part = p.id WHERE p.id < 9 ORDER BY l.o, l.n LIMIT 7",
    "SELECT l.o, l.n, p.kind FROM lines l JOIN parts p ON p.id = l.part WHERE l.o < 5 ORDER BY l.o, l.n",
    "SELECT count(*) FROM lines a JOIN lines b ON b.o = a.part AND b.n = a.n WHERE a.o BETWEEN 100 AND 110",
    "SELECT count(*), sum(b.price) FROM lines a JOIN lines b ON b.part = a.part WHERE a.kind = 'k3' AND b.o < 50",
];

async fn answer(s: &mut Session, settings: &str, sql: &str) -> Vec<String> {
    let told = run(s, settings).await;
    assert!(!told.contains("ERROR"), "{told}");
    let mut lines: Vec<String> = run(s, sql).await.lines().map(str::to_owned).collect();
    if !sql.contains("ORDER BY") {
        lines.sort();
    }
    run(s, "RESET enable_hashjoin; RESET enable_nestloop").await;
    lines
}

#[tokio::test]
async fn looked_up_rows_are_those_of_a_hash_join() {
    let engine = engine();
    let mut s = tables(&engine).await;
    let mut looked_up = 0;
    for sql in QUERIES {
        let hashed = answer(&mut s, "SET enable_nestloop = off", sql).await;
        assert!(hashed.len() > 1, "{sql} finds nothing: {hashed:?}");
        assert_eq!(answer(&mut s, "SET enable_hashjoin = off", sql).await, hashed, "{sql}");
        assert_eq!(answer(&mut s, "SELECT 1", sql).await, hashed, "{sql}");
        let plan = run(&mut s, &format!("EXPLAIN ANALYZE {sql}")).await;
        looked_up += usize::from(plan.contains("Nested Loop"));
    }
    assert!(looked_up >= 10, "only {looked_up} of {} looked rows up", QUERIES.len());
}

#[tokio::test]
async fn rows_are_looked_up_for_few_keys_only() {
    let engine = engine();
    let mut s = tables(&engine).await;
    let explain = "EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off)
                   SELECT count(*) FROM parts p JOIN lines l ON l.part = p.id WHERE ";
    let few = run(&mut s, &format!("{explain} p.id + 0 < 5")).await;
    assert!(few.contains("Nested Loop (actual rows=48 "), "{few}");
    assert!(
        few.contains("Index Only Scan using lines_part on lines l (actual rows=48 loops=1)"),
        "{few}"
    );
    assert!(few.contains("Index Cond: (part = p.id)"), "{few}");
    let many = run(&mut s, &format!("{explain} p.id + 0 > 5")).await;
    assert!(many.contains("Hash Join"), "{many}");
    assert!(many.contains("Hash Cond: (l.part = p.id)"), "{many}");
    run(&mut s, "SET enable_nestloop = off").await;
    let off = run(&mut s, &format!("{explain} p.id + 0 < 5")).await;
    assert!(off.contains("Hash Join") && off.contains("Seq Scan on lines"), "{off}");
}

#[tokio::test]
async fn a_transaction_looks_its_own_writes_up() {
    let engine = engine();
    let mut s = tables(&engine).await;
    let sql = "SELECT l.o, l.n FROM parts p JOIN lines l ON l.part = p.id WHERE p.id = 3 ORDER BY 1, 2 LIMIT 2";
    run(
        &mut s,
        "BEGIN; UPDATE lines SET part = 3 WHERE o = 0; DELETE FROM lines WHERE o = 0 AND n = 1",
    )
    .await;
    for setting in ["SET enable_hashjoin = off", "SET enable_nestloop = off"] {
        assert_eq!(answer(&mut s, setting, sql).await, ["0|2", "0|3", "-- SELECT 2"]);
    }
    run(&mut s, "ROLLBACK").await;
    assert_eq!(answer(&mut s, "SET enable_hashjoin = off", sql).await[0], "0|3");
}
