//! Small queries run row by row give what plans give.

use crate::support::{TextSink, connect, engine};
use sql::session::Session;

const TABLES: &str = "
    CREATE TABLE a (id int PRIMARY KEY, k int, b text, n numeric, d date);
    CREATE INDEX a_k ON a (k);
    CREATE TABLE c (x int, y bigint, z text, PRIMARY KEY (x, y));
    CREATE UNIQUE INDEX c_z ON c (z);
    CREATE TABLE large (id bigint PRIMARY KEY, k int, t text);
    CREATE INDEX large_k ON large (k);
    INSERT INTO a SELECT i, i % 7, 'b' || (i % 3), i / 4.0, date '2024-01-01' + i FROM generate_series(1, 60) i;
    INSERT INTO a VALUES (100, NULL, NULL, NULL, NULL), (101, 3, '', 'NaN', NULL);
    INSERT INTO c SELECT i % 10, i, 'z' || i FROM generate_series(1, 90) i;
    INSERT INTO c VALUES (200, 1, NULL), (201, 1, NULL);
    INSERT INTO large SELECT i, i % 100, 't' || i FROM generate_series(1, 5000) i;
";

/// Each of these has one answer, up to the order of rows that have none.
const QUERIES: &[&str] = &[
    "SELECT * FROM a WHERE id BETWEEN 5 AND 25",
    "SELECT sum(k), count(*), count(k), min(b), max(d), avg(n) FROM a WHERE id BETWEEN 5 AND 25",
    "SELECT sum(k), count(*), min(n), max(n) FROM a WHERE id < 0",
    "SELECT k, sum(n), count(DISTINCT b) FROM a GROUP BY k ORDER BY k NULLS FIRST",
    "SELECT b, k, count(*) FILTER (WHERE id > 30) FROM a GROUP BY b, k HAVING count(*) > 2",
    "SELECT DISTINCT b FROM a",
    "SELECT DISTINCT n FROM (VALUES (1.0), (1.00), (NULL), (NULL)) v (n)",
    "SELECT b FROM a WHERE id BETWEEN 1 AND 9 ORDER BY b DESC, id",
    "SELECT id FROM a ORDER BY n DESC NULLS LAST, id LIMIT 5 OFFSET 2",
    "SELECT id FROM a ORDER BY n, id LIMIT 3",
    "SELECT id FROM a WHERE k = 3",
    "SELECT id FROM a WHERE k IN (1, 2, NULL) AND b = 'b1'",
    "SELECT id FROM a WHERE k = ANY (ARRAY[5, 6, 6])",
    "SELECT id FROM a WHERE k = NULL",
    "SELECT id FROM a WHERE k IS NULL",
    "SELECT id FROM a WHERE k > 4 AND k <= 6 AND id < 40",
    "SELECT id FROM a WHERE 10 > id AND id <> 4 OR b IS NULL",
    "SELECT a.id, c.y FROM a JOIN c ON c.x = a.k WHERE a.id < 12",
    "SELECT a.id, c.y FROM a, c WHERE c.x = a.k AND c.y = a.id AND a.b = 'b2'",
    "SELECT a.id, c.z FROM a JOIN c ON c.z = 'z' || a.id WHERE a.k = 2",
    "SELECT a.id, c.y FROM a LEFT JOIN c ON c.x = a.k AND c.y < 20 AND a.b = 'b1' WHERE a.id < 20",
    "SELECT a.id, c.y FROM a LEFT JOIN c ON c.x = a.k + 1000 WHERE a.id < 4",
    "SELECT a.id, c.y FROM a LEFT JOIN c ON false WHERE a.id < 4",
    "SELECT a.id, s.m FROM a LEFT JOIN (SELECT x, max(y) AS m FROM c GROUP BY x) s ON s.x = a.k WHERE a.id < 9",
    "SELECT count(*) FROM a CROSS JOIN c",
    "SELECT count(*) FROM a a1, a a2, c WHERE a1.id = a2.k AND c.x = a2.k AND a1.b = 'b1'",
    "SELECT l.id, a.b FROM large l JOIN a ON a.id = l.k WHERE l.id IN (17, 1017, 4001)",
    "SELECT l.t FROM a JOIN large l ON l.id = a.id * 10 WHERE a.k = 1",
    "SELECT l.id FROM a JOIN large l ON l.k = a.id WHERE a.id < 3 AND l.id < 450",
    "SELECT count(*), sum(id) FROM large",
    "SELECT count(*), sum(id) FROM large WHERE k = 7",
    "SELECT count(*) FROM large WHERE id BETWEEN 1 AND 2500",
    "SELECT count(*) FROM large WHERE k IN (1, 2, 3) OR id = 9",
    "SELECT id FROM large ORDER BY id LIMIT 3",
    "SELECT id FROM large ORDER BY t LIMIT 3",
    "SELECT count(*) FROM (SELECT id FROM large LIMIT 300) s",
    "SELECT count(*) FROM (SELECT id FROM large WHERE t LIKE 't1%' LIMIT 300) s",
    "SELECT count(*) FROM large l JOIN large m ON m.id = l.k",
    "SELECT count(*), sum(m.k) FROM large l JOIN large m ON m.id = l.id + 1 WHERE l.id BETWEEN 10 AND 900",
    "SELECT l.id, m.t FROM large l LEFT JOIN large m ON m.id = l.id * 9 WHERE l.id BETWEEN 300 AND 700",
    "SELECT a.id FROM a WHERE EXISTS (SELECT 1 FROM c WHERE c.x = a.k) AND a.id < 9",
    "SELECT a.id FROM a WHERE a.k = (SELECT min(x) FROM c WHERE x > 2)",
    "SELECT id FROM a WHERE k = 1 UNION SELECT x FROM c WHERE y < 5",
    "SELECT k FROM a WHERE id < 9 UNION ALL SELECT x FROM c WHERE y < 5",
    "SELECT string_agg(b, ',' ORDER BY id) FROM a WHERE id < 6",
    "SELECT array_agg(id) FROM (SELECT id FROM a WHERE id < 6 ORDER BY id DESC) s",
    "SELECT array_agg(k) FROM (SELECT k + 0 AS k FROM large ORDER BY t DESC LIMIT 400) s WHERE k < 9",
    "SELECT k, string_agg(t, ',') FROM (SELECT k, t FROM large WHERE id < 3000 ORDER BY id % 7, id) s GROUP BY k ORDER BY k LIMIT 3",
    "SELECT c.x, count(a.id) FROM c LEFT JOIN a ON a.id = c.y GROUP BY c.x ORDER BY 1",
    "WITH t AS (SELECT * FROM a WHERE k = 2) SELECT t.id, c.z FROM t JOIN c ON c.x = t.k AND c.y = t.id",
    "SELECT 1 / (id - 5) FROM a WHERE id BETWEEN 4 AND 6",
    "SELECT id FROM a LIMIT -1",
    "SELECT id FROM a WHERE id = 3 OFFSET -1",
    "SELECT n, count(*) FROM (VALUES (1.5), (1.50), ('NaN'), ('NaN')) v (n) GROUP BY n",
];

async fn answer(session: &mut Session, sql: &str) -> Vec<String> {
    let mut sink = TextSink::default();
    if let Err(error) = session.simple(sql, &mut sink).await {
        sink.lines.push(format!("ERROR {}: {}", error.fields().code, error.fields().message));
    }
    let mut lines = sink.lines;
    if !sql.contains("ORDER BY") {
        lines.sort();
    }
    lines
}

#[tokio::test]
async fn small_queries_answer_as_plans_do() {
    let engine = engine();
    let mut session = connect(&engine).await;
    answer(&mut session, TABLES).await;
    let mut differing = Vec::new();
    for sql in QUERIES {
        answer(&mut session, "SET row_execution = off").await;
        let planned = answer(&mut session, sql).await;
        answer(&mut session, "SET enable_hashjoin = off").await;
        let looked_up = answer(&mut session, sql).await;
        answer(&mut session, "SET enable_hashjoin = on; SET row_execution = on").await;
        let by_row = answer(&mut session, sql).await;
        if planned != looked_up {
            differing.push(format!("{sql}\n  planned {planned:?}\n  by keys {looked_up:?}"));
        }
        if planned != by_row {
            differing.push(format!("{sql}\n  planned {planned:?}\n  by row  {by_row:?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[tokio::test]
async fn a_transaction_sees_its_own_writes_row_by_row() {
    let engine = engine();
    let mut session = connect(&engine).await;
    answer(&mut session, TABLES).await;
    answer(
        &mut session,
        "BEGIN; UPDATE a SET k = 50 WHERE id IN (1, 2); DELETE FROM a WHERE id = 3",
    )
    .await;
    answer(&mut session, "INSERT INTO a VALUES (500, 50, 'new', 1, NULL)").await;
    let found = answer(&mut session, "SELECT id FROM a WHERE k = 50 ORDER BY id").await;
    assert_eq!(found, ["1", "2", "500", "-- SELECT 3"]);
    let found =
        answer(&mut session, "SELECT count(*) FROM a WHERE id BETWEEN 1 AND 4 ORDER BY 1").await;
    assert_eq!(found, ["3", "-- SELECT 1"]);
    answer(&mut session, "ROLLBACK").await;
    let found = answer(&mut session, "SELECT count(*) FROM a WHERE k = 50 ORDER BY 1").await;
    assert_eq!(found, ["0", "-- SELECT 1"]);
}

/// A stretch of the primary key is not read where a secondary index leads to fewer rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_index_with_most_known_columns_is_read() {
    let engine = engine();
    let mut session = connect(&engine).await;
    let orders = "CREATE TABLE o (w int, d int, id int, c int, PRIMARY KEY (w, d, id));
                  CREATE INDEX o_c ON o (w, d, c, id);
                  INSERT INTO o SELECT 1, i % 3, i, i % 50 FROM generate_series(1, 300) i";
    answer(&mut session, orders).await;
    let last = "SELECT id FROM o WHERE w = 1 AND d = 2 AND c = 20 ORDER BY id DESC LIMIT 1";
    assert_eq!(answer(&mut session, last).await, ["170", "-- SELECT 1"]);
    let plan = answer(&mut session, &format!("EXPLAIN {last}")).await.join("\n");
    assert!(plan.contains("using o_c"), "{plan}");
    let range = "SELECT id FROM o WHERE w = 1 AND d = 2 AND id > 290 AND c = 41";
    assert_eq!(answer(&mut session, range).await, ["-- SELECT 0"]);
    let plan = answer(&mut session, &format!("EXPLAIN {range}")).await.join("\n");
    assert!(plan.contains("using o_pkey") || plan.contains("using o_c"), "{plan}");
}
