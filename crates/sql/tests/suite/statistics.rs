//! ANALYZE sees what is there, all nodes learn of it, and plans of large tables follow it.

use std::sync::Arc;

use crate::support::{connect, run};
use kv::testing::FakeCluster;
use sql::Keeper;
use sql::session::{Engine, EngineConfig, Session};

/// 10,000 rows: `kind` is nearly always the same, `n` never, `many` NULL in a tenth.
const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, kind text, n int, few int, many int);
    INSERT INTO t SELECT g, CASE WHEN g % 100 = 0 THEN 'rare' ELSE 'usual' END, 10000 - g, g % 10,
                         CASE WHEN g % 10 > 0 THEN g % 1000 END
                  FROM generate_series(1, 10000) g;
    CREATE INDEX by_kind ON t (kind);
    CREATE INDEX by_n ON t (n);
    CREATE INDEX by_few ON t (few) INCLUDE (n)";

fn engines() -> (Arc<Engine>, Arc<Engine>) {
    let cluster = FakeCluster::new();
    let engine = || Engine::new(cluster.db(), EngineConfig::default());
    (engine(), engine())
}

/// The first line of a plan that reads a table.
async fn scan_of(session: &mut Session, query: &str) -> String {
    let plan = run(session, &format!("EXPLAIN (COSTS OFF) {query}")).await;
    let line = plan.lines().find(|line| line.contains("Scan"));
    line.unwrap_or_else(|| panic!("no scan: {plan}")).trim_start_matches([' ', '-', '>']).to_owned()
}

#[tokio::test]
async fn analyze_sees_what_is_there() {
    let (engine, _) = engines();
    let mut session = connect(&engine).await;
    run(&mut session, TABLE).await;
    let rows = "SELECT reltuples FROM pg_class WHERE relname = 't'";
    assert_eq!(run(&mut session, rows).await, "-1\n-- SELECT 1");
    assert_eq!(run(&mut session, "ANALYZE t").await, "-- ANALYZE");
    assert_eq!(run(&mut session, rows).await, "10000\n-- SELECT 1");
    let columns = "SELECT attname, null_frac, avg_width > 0, n_distinct, most_common_vals,
                          round(correlation::numeric, 2)
                   FROM pg_stats WHERE tablename = 't' AND attname <> 'many' ORDER BY attname";
    assert_eq!(
        run(&mut session, columns).await,
        "few|0|t|10|{1,0,2,3,4,5,6,7,8,9}|0.10\n\
         id|0|t|-1|NULL|1.00\n\
         kind|0|t|2|{usual,rare}|0.98\n\
         n|0|t|-1|NULL|-1.00\n\
         -- SELECT 4"
            .replace("{1,0,2,3,4,5,6,7,8,9}|0.10", &few(&mut session).await)
            .replace("{usual,rare}|0.98", &kind(&mut session).await)
    );
    let nulls = "SELECT null_frac, n_distinct, most_common_vals IS NULL FROM pg_stats
                 WHERE attname = 'many'";
    let nulls = run(&mut session, nulls).await;
    assert!(nulls.starts_with("0.1|900|"), "{nulls}");
    let bounds = "SELECT histogram_bounds LIKE '{0,99,%,9999}' FROM pg_stats WHERE attname = 'n'";
    assert_eq!(run(&mut session, bounds).await, "t\n-- SELECT 1");
    let analyzed = "SELECT n_live_tup, last_analyze IS NOT NULL, last_autoanalyze IS NULL
                    FROM pg_stat_user_tables WHERE relname = 't'";
    assert_eq!(run(&mut session, analyzed).await, "10000|t|t\n-- SELECT 1");
}

/// What can't be told beforehand: the order of values that are as common, and the correlation of few values.
async fn few(session: &mut Session) -> String {
    let row = run(
        session,
        "SELECT most_common_vals, round(correlation::numeric, 2) FROM pg_stats WHERE attname = 'few'",
    );
    row.await.lines().next().expect("a row").to_owned()
}

async fn kind(session: &mut Session) -> String {
    let row = run(
        session,
        "SELECT most_common_vals, round(correlation::numeric, 2) FROM pg_stats WHERE attname = 'kind'",
    );
    let row = row.await.lines().next().expect("a row").to_owned();
    assert!(row.starts_with("{usual,rare}|"), "{row}");
    row
}

#[tokio::test]
async fn plans_of_large_tables_follow_statistics() {
    let (engine, _) = engines();
    let mut session = connect(&engine).await;
    run(&mut session, TABLE).await;
    let usual = "SELECT id, n FROM t WHERE kind = 'usual'";
    let beyond = "SELECT id, kind FROM t WHERE n > 9990";
    // Without knowledge: any equality is worth an index, no open range is.
    assert_eq!(scan_of(&mut session, usual).await, "Index Scan using by_kind on t");
    assert_eq!(scan_of(&mut session, beyond).await, "Seq Scan on t");
    let (all, few) = (run(&mut session, usual).await, run(&mut session, beyond).await);
    run(&mut session, "ANALYZE").await;
    assert_eq!(scan_of(&mut session, usual).await, "Seq Scan on t");
    assert_eq!(scan_of(&mut session, beyond).await, "Index Scan using by_n on t");
    for (query, scan) in [
        ("SELECT id, n FROM t WHERE kind = 'rare'", "Index Scan using by_kind on t"),
        ("SELECT id, n FROM t WHERE kind = 'none'", "Index Scan using by_kind on t"),
        ("SELECT id, kind FROM t WHERE n > 10", "Seq Scan on t"),
        ("SELECT id, kind FROM t WHERE n BETWEEN 5 AND 9000", "Seq Scan on t"),
        ("SELECT id, kind FROM t WHERE n BETWEEN 5 AND 90", "Index Scan using by_n on t"),
        ("SELECT kind FROM t WHERE few = 3", "Seq Scan on t"),
        ("SELECT n FROM t WHERE few = 3", "Index Only Scan using by_few on t"),
        ("SELECT kind FROM t WHERE few = 3 AND n = 77", "Index Scan using by_n on t"),
        ("SELECT kind FROM t WHERE id = 3 AND few = 3", "Index Scan using t_pkey on t"),
        ("SELECT kind FROM t WHERE id < 1000 AND few IN (1, 2)", "Index Scan using t_pkey on t"),
    ] {
        assert_eq!(scan_of(&mut session, query).await, scan, "{query}");
    }
    assert_eq!(run(&mut session, usual).await, all);
    let sorted = |rows: &str| {
        let mut rows: Vec<String> = rows.lines().map(str::to_owned).collect();
        rows.sort();
        rows
    };
    assert_eq!(sorted(&run(&mut session, beyond).await), sorted(&few));
}

#[tokio::test]
async fn statistics_are_kept_up_and_reach_other_nodes() {
    let (here, there) = engines();
    let mut session = connect(&here).await;
    let (keeper, other) = (Keeper::new(here.clone()), Keeper::new(there.clone()));
    run(&mut session, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let known = "SELECT n_live_tup, last_autoanalyze IS NOT NULL, n_mod_since_analyze
                 FROM pg_stat_user_tables WHERE relname = 't'";
    run(&mut session, "INSERT INTO t SELECT generate_series(1, 900)").await;
    keeper.look().await.expect("looks");
    assert_eq!(run(&mut session, known).await, "NULL|f|900\n-- SELECT 1");
    run(&mut session, "INSERT INTO t SELECT generate_series(901, 5000)").await;
    keeper.look().await.expect("looks");
    assert_eq!(run(&mut session, known).await, "5000|t|0\n-- SELECT 1");
    // A tenth of the table, at least.
    run(&mut session, "DELETE FROM t WHERE id > 4600").await;
    keeper.look().await.expect("looks");
    assert_eq!(run(&mut session, known).await, "5000|t|400\n-- SELECT 1");
    other.look().await.expect("looks");
    let mut elsewhere = connect(&there).await;
    assert_eq!(run(&mut elsewhere, known).await, "5000|t|0\n-- SELECT 1");
    run(&mut session, "DROP TABLE t; CREATE TABLE u (id int PRIMARY KEY); ANALYZE").await;
    other.look().await.expect("looks");
    let left = "SELECT count(*) FROM pg_stat_user_tables WHERE n_live_tup IS NOT NULL";
    assert_eq!(run(&mut elsewhere, left).await, "1\n-- SELECT 1");
}

#[tokio::test]
async fn analyze_asks_who_owns() {
    let (engine, _) = engines();
    let mut session = connect(&engine).await;
    run(&mut session, "CREATE TABLE t (id int PRIMARY KEY); CREATE ROLE r").await;
    run(&mut session, "SET ROLE r").await;
    let refused = run(&mut session, "ANALYZE t").await;
    assert!(refused.contains("42501"), "{refused}");
    assert_eq!(run(&mut session, "ANALYZE").await, "-- ANALYZE");
    run(&mut session, "RESET ROLE").await;
    assert!(run(&mut session, "ANALYZE missing").await.contains("42P01"));
    let rows = "SELECT reltuples FROM pg_class WHERE relname = 't'";
    assert_eq!(run(&mut session, rows).await, "-1\n-- SELECT 1");
}

/// Tables of a shop: customers of few countries, their orders, and the lines of those.
const SHOP: &str = "
    CREATE TABLE country (id int PRIMARY KEY, name text);
    CREATE TABLE customer (id int PRIMARY KEY, country int, name text);
    CREATE TABLE orders (id int PRIMARY KEY, customer int, day int);
    CREATE TABLE line (id int PRIMARY KEY, ordered int, price int);
    INSERT INTO country SELECT g, 'c' || g FROM generate_series(1, 20) g;
    INSERT INTO customer SELECT g, g % 20 + 1, 'n' || g FROM generate_series(1, 500) g;
    INSERT INTO orders SELECT g, g % 500 + 1, g % 100 FROM generate_series(1, 3000) g;
    INSERT INTO line SELECT g, g % 3000 + 1, g % 50 FROM generate_series(1, 9000) g";

/// The tables of a plan of hash joins, in the order in which they are read: the side below `Hash` first.
async fn tables_of(session: &mut Session, query: &str) -> Vec<String> {
    let plan = run(session, &format!("EXPLAIN (COSTS OFF) {query}")).await;
    let scans = plan.lines().filter_map(|line| line.split_once("Scan")?.1.split_once(" on "));
    let table = |(_, table): (&str, &str)| table.split_whitespace().next().map(str::to_owned);
    let mut tables: Vec<String> = scans.filter_map(table).collect();
    tables.reverse();
    tables
}

#[tokio::test]
async fn joins_begin_where_rows_are_few() {
    let (engine, _) = engines();
    let mut session = connect(&engine).await;
    run(&mut session, SHOP).await;
    let query = "SELECT count(*), sum(price), min(c.name), max(k.name)
                 FROM line l JOIN orders o ON l.ordered = o.id JOIN customer c ON o.customer = c.id
                 JOIN country k ON c.country = k.id
                 WHERE k.name = 'c3' AND l.price > 10";
    let listed = "SELECT k.name, c.*, o.day, l.price FROM line l, orders o, customer c, country k
                  WHERE l.ordered = o.id AND o.customer = c.id AND c.country = k.id AND o.day < 2
                    AND c.id + k.id > 30 AND l.price <> k.id
                  ORDER BY 1, 2, 5, 6";
    let outer = "SELECT c.id, x.n FROM customer c LEFT JOIN
                   (SELECT o.customer, count(*) AS n FROM line l, orders o, customer i
                    WHERE l.ordered = o.id AND i.id = o.customer AND i.country = 3 GROUP BY 1) x
                 ON x.customer = c.id WHERE c.id < 30 ORDER BY 1";
    let exists = "SELECT count(*) FROM line l, orders o, customer c WHERE l.ordered = o.id
                    AND o.customer = c.id AND c.id < 9 AND EXISTS
                    (SELECT FROM country k WHERE k.id = c.country AND k.id > l.price)";
    let mut before = Vec::new();
    for query in [query, listed, outer, exists] {
        before.push(run(&mut session, query).await);
    }
    run(&mut session, "ANALYZE").await;
    assert_eq!(tables_of(&mut session, query).await, ["country", "customer", "orders", "line"]);
    // Two rows of a hundred: from there on.
    let tables = tables_of(&mut session, listed).await;
    assert_eq!(tables.len(), 4, "{tables:?}");
    assert_ne!(tables[0], "line", "{tables:?}");
    for (query, before) in [query, listed, outer, exists].into_iter().zip(before) {
        assert_eq!(run(&mut session, query).await, before, "{query}");
    }
}
