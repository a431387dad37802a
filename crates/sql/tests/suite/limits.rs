//! Statements that are too much: they work or fail with 54xxx, and the session goes on.

use crate::support::{connect, engine, run};

/// The first line of the answer, shortened.
async fn answer(sql: &str) -> String {
    let engine = engine();
    let mut session = connect(&engine).await;
    let text = run(&mut session, sql).await;
    assert_eq!(run(&mut session, "SELECT 1").await, "1\n-- SELECT 1", "the session goes on");
    text.chars().take(60).collect()
}

const DEEP: &str = "ERROR 54001: stack depth limit exceeded";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nesting_is_bounded() {
    let nested = |n: usize| format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n));
    assert!(answer(&nested(40)).await.starts_with("1\n"));
    assert!(answer(&nested(100_000)).await.starts_with(DEEP));
    let queries = |n: usize| format!("SELECT {}1{}", "(SELECT ".repeat(n), ")".repeat(n));
    assert!(answer(&queries(20)).await.starts_with("1\n"));
    assert!(answer(&queries(5_000)).await.starts_with(DEEP));
    let not = format!("SELECT {} true", "NOT ".repeat(50_000));
    assert!(answer(&not).await.starts_with(DEEP));
    let case = format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(3_000), " END".repeat(3_000));
    assert!(answer(&case).await.starts_with(DEEP));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn chains_are_bounded() {
    let sum = |n: usize| format!("SELECT 0{}", " + 1".repeat(n));
    assert!(answer(&sum(200)).await.starts_with("200\n"));
    assert!(answer(&sum(200_000)).await.starts_with(DEEP));
    let and = |n: usize| format!("SELECT 1 WHERE true{}", " AND true".repeat(n));
    assert!(answer(&and(2_000)).await.starts_with("1\n"));
    assert!(answer(&and(200_000)).await.starts_with(DEEP));
    let from =
        |n: usize| format!("SELECT g FROM generate_series(1, 2) g WHERE 0{} = g", " + 1".repeat(n));
    assert!(answer(&from(200)).await.starts_with("-- SELECT 0"));
    let or = |n: usize| {
        format!("SELECT g FROM generate_series(1, 2) g WHERE g = 0{}", " OR g + 1 = 2".repeat(n))
    };
    assert!(answer(&or(1_000)).await.starts_with("1\n"));
    let union = |n: usize| format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(n));
    assert!(answer(&union(100)).await.starts_with("1\n"));
    assert!(answer(&union(50_000)).await.starts_with(DEEP));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn long_lists_work() {
    let engine = engine();
    let mut session = connect(&engine).await;
    run(&mut session, "CREATE TABLE t (id int PRIMARY KEY, a int)").await;
    run(&mut session, "INSERT INTO t SELECT g, g FROM generate_series(1, 200) g").await;
    let items: Vec<String> = (0..100_000).map(|n| (n * 2).to_string()).collect();
    let items = items.join(", ");
    for column in ["id", "a"] {
        let sql = format!("SELECT count(*) FROM t WHERE {column} IN ({items})");
        assert_eq!(run(&mut session, &sql).await, "100\n-- SELECT 1");
        let sql = format!("SELECT count(*) FROM t WHERE {column} NOT IN ({items})");
        assert_eq!(run(&mut session, &sql).await, "100\n-- SELECT 1");
    }
    let columns: Vec<String> = (0..1_665).map(|n| format!("{n} AS c{n}")).collect();
    let text = run(&mut session, &format!("SELECT {}", columns.join(", "))).await;
    assert_eq!(text, "ERROR 54011: target lists can have at most 1664 entries");
    let text = run(&mut session, &format!("SELECT {}", columns[..1_600].join(", "))).await;
    assert!(text.ends_with("-- SELECT 1"));
    let text = run(&mut session, &format!("SELECT length('{}')", "x".repeat(10 << 20))).await;
    assert_eq!(text, "10485760\n-- SELECT 1");
}

/// Whatever stands inside is read once, not twice at each level.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn nested_calls_are_read_in_linear_time() {
    let nested = |open: &str, inner: &str, close: &str, n: usize| {
        format!("SELECT {}{inner}{}", open.repeat(n), close.repeat(n))
    };
    assert!(answer(&nested("abs(", "1", ")", 40)).await.starts_with("1\n"));
    assert!(answer(&nested("floor(", "1", ")", 30)).await.starts_with("1\n"));
    assert!(answer(&nested("abs(", "1", ")", 50_000)).await.starts_with(DEEP));
    for (open, inner, close) in [
        ("floor(", "1 +", ")"),
        ("ARRAY[", "1", "]"),
        ("ARRAY[", "1 +", "]"),
        ("abs(", "1 +", ")"),
        ("CAST(", "1 +", " AS int)"),
        ("extract(year FROM ", "1 +", ")"),
        ("trim(", "1 +", ")"),
        ("substring(", "1 +", " FROM 1)"),
        ("position(", "1 +", " IN 'x')"),
        ("EXISTS (SELECT ", "1 +", ")"),
        ("coalesce(", "1 +", ", 1)"),
        ("(", "1 +", ")"),
        ("ROW(", "1 +", ")"),
        ("CASE WHEN ", "1 +", " THEN 1 END"),
        ("x IN (", "1 +", ")"),
        ("interval ", "1 +", ""),
        ("(SELECT * FROM (VALUES (", "1 +", ")) v)"),
    ] {
        for n in [60, 5_000] {
            let said = answer(&nested(open, inner, close, n)).await;
            let refused = said.starts_with("ERROR 42") || said.starts_with("ERROR 54");
            assert!(refused, "{open} {inner} {close} {n} times: {said}");
        }
    }
    let joins =
        |n: usize| format!("SELECT 1 FROM {}t{}", "(".repeat(n), " JOIN t ON true)".repeat(n));
    for n in [40, 5_000] {
        let said = answer(&joins(n)).await;
        assert!(said.starts_with("ERROR 42P01") || said.starts_with(DEEP), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn relations_are_bounded() {
    let list = |n: usize| {
        let tables: Vec<String> = (0..n).map(|n| format!("(SELECT 1) AS t{n}")).collect();
        format!("SELECT 1 FROM {} LIMIT 1", tables.join(", "))
    };
    assert!(answer(&list(60)).await.starts_with("1\n"));
    assert!(answer(&list(3_000)).await.starts_with(DEEP));
    let exists = |n: usize| format!("SELECT 1 WHERE true{}", " AND EXISTS (SELECT 1)".repeat(n));
    assert!(answer(&exists(50)).await.starts_with("1\n"));
    assert!(answer(&exists(3_000)).await.starts_with(DEEP));
    let scalars = |n: usize| format!("SELECT 1{}", ", (SELECT 1)".repeat(n));
    assert!(answer(&scalars(100)).await.starts_with("1|1|"));
    let within = |n: usize, joins: usize| {
        let joined = " JOIN (SELECT 1) u ON true".repeat(joins);
        format!("{}SELECT 1{}", "SELECT 1 FROM (".repeat(n), format!(") t{joined}").repeat(n))
    };
    let said = answer(&within(40, 240)).await;
    assert!(said.starts_with(DEEP) || said.starts_with("ERROR 42712"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn many_joins_come_to_an_end() {
    let engine = engine();
    let mut session = connect(&engine).await;
    run(&mut session, "CREATE TABLE t (id int PRIMARY KEY)").await;
    run(&mut session, "INSERT INTO t VALUES (1), (2), (3)").await;
    let on = |n: usize| format!(" ON t{n}.id = t{}.id", n - 1);
    for kind in ["JOIN", "LEFT JOIN"] {
        let beside: String = (1..=150).map(|n| format!(" {kind} t t{n}{}", on(n))).collect();
        let query = format!("SELECT count(*), sum(t150.id) FROM t t0{beside}");
        assert_eq!(run(&mut session, &query).await, "3|6\n-- SELECT 1", "{kind}");
        let inside: String = (1..=150).map(|n| format!(" {kind} t t{n}")).collect();
        let conditions: String = (1..=150).rev().map(on).collect();
        let query = format!("SELECT count(*), sum(t150.id) FROM t t0{inside}{conditions}");
        assert_eq!(run(&mut session, &query).await, "3|6\n-- SELECT 1", "{kind} inside");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn long_statements_work_or_are_refused() {
    let engine = engine();
    let mut session = connect(&engine).await;
    run(&mut session, "CREATE TABLE t (id int, a text)").await;
    let rows: Vec<String> = (0..170_000).map(|n| format!("({n}, '{}')", "y".repeat(55))).collect();
    let insert = format!("INSERT INTO t VALUES {}", rows.join(", "));
    assert!(insert.len() > 10 << 20);
    assert_eq!(run(&mut session, &insert).await, "-- INSERT 0 170000");
    let half = 256 << 10;
    for sql in [
        format!("SELECT {}1{}", "(".repeat(half), ")".repeat(half)),
        format!("SELECT {}", "(".repeat(2 * half)),
        format!("SELECT true{}", " AND true".repeat(half)),
        format!("SELECT 1{}", " + 1".repeat(half / 2)),
        format!("SELECT {}1", "- ".repeat(half)),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(50_000)),
        format!("SELECT 1 FROM t{}", ", t".repeat(20_000)),
        format!("SELECT {}1{}", "abs(".repeat(half / 3), ")".repeat(half / 3)),
        format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(50_000), " END".repeat(50_000)),
    ] {
        let said = run(&mut session, &sql).await;
        let said: String = said.chars().take(80).collect();
        let shown: String = sql.chars().take(40).collect();
        let refused = said.starts_with(DEEP) || said.starts_with("ERROR 42601");
        assert!(refused, "{shown}: {said}");
        assert_eq!(run(&mut session, "SELECT 1").await, "1\n-- SELECT 1", "after {shown}");
    }
    let half = 5 << 20;
    let quoted = format!("SELECT length($x${}$x$) /* {} */", "z".repeat(half), "c".repeat(half));
    assert_eq!(run(&mut session, &quoted).await, format!("{half}\n-- SELECT 1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn columns_are_bounded() {
    let engine = engine();
    let mut session = connect(&engine).await;
    let columns = |n: usize, of: &str| -> String {
        (0..n).map(|n| format!("c{n}{of}")).collect::<Vec<_>>().join(", ")
    };
    let numbers = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let most = "ERROR 54011: tables can have at most 1600 columns";
    assert_eq!(
        run(&mut session, &format!("CREATE TABLE w ({})", columns(1_601, " int"))).await,
        most
    );
    let made = run(&mut session, &format!("CREATE TABLE w ({})", columns(1_600, " int"))).await;
    assert_eq!(made, "-- CREATE TABLE");
    let inserted = run(&mut session, &format!("INSERT INTO w VALUES ({})", numbers(1_600))).await;
    assert_eq!(inserted, "-- INSERT 0 1");
    let insert = format!("INSERT INTO w ({}) VALUES ({})", columns(1_600, ""), numbers(1_600));
    assert_eq!(run(&mut session, &insert).await, "-- INSERT 0 1");
    assert_eq!(run(&mut session, "UPDATE w SET c1599 = c0 + 7").await, "-- UPDATE 2");
    let said = run(&mut session, "SELECT * FROM w WHERE c1599 = 7 AND c1598 = 1598").await;
    assert!(said.starts_with("0|1|2|3|"), "{}", &said[..40]);
    let said =
        run(&mut session, "SELECT count(*), max(c800) FROM (SELECT DISTINCT * FROM w) AS q").await;
    assert_eq!(said, "1|800\n-- SELECT 1");
    assert_eq!(run(&mut session, "ALTER TABLE w ADD COLUMN x int").await, most);
    let query: Vec<String> = (0..1_650).map(|n| format!("{n} AS c{n}")).collect();
    for what in ["TABLE", "VIEW"] {
        let made = format!("CREATE {what} v AS SELECT {}", query.join(", "));
        assert_eq!(run(&mut session, &made).await, most);
    }
    let both = run(&mut session, "SELECT * FROM w a, w b").await;
    assert_eq!(both, "ERROR 54011: target lists can have at most 1664 entries");
    let indexed = run(&mut session, &format!("CREATE INDEX ON w ({})", columns(33, ""))).await;
    assert!(indexed.starts_with("ERROR 54011"), "{indexed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn mentions_multiply_only_so_far() {
    let doubled = |n: usize| {
        let steps: Vec<String> =
            (1..=n).map(|i| format!("c{i} AS (SELECT a.x FROM c{0} a, c{0} b)", i - 1)).collect();
        format!("WITH c0 AS (SELECT 1 AS x), {} SELECT x FROM c{n}", steps.join(", "))
    };
    assert!(answer(&doubled(6)).await.starts_with("1\n"));
    assert!(answer(&doubled(40)).await.starts_with("ERROR 54000"));
    let unused = "WITH c AS (SELECT nope) SELECT 1";
    assert!(answer(unused).await.starts_with("ERROR 42703"));
}

/// 8 MiB for all statements and transactions.
fn small_engine() -> std::sync::Arc<sql::session::Engine> {
    let config = kv::Config { memory: kv::MemoryBudget::new(8 << 20), ..kv::Config::default() };
    let db = kv::testing::FakeCluster::new().db_on(base::NodeId(1), config);
    sql::session::Engine::new(db, sql::session::EngineConfig::default())
}

/// What transactions have written, statements cannot have, and the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn transactions_and_statements_share_memory() {
    let engine = small_engine();
    let (mut writer, mut other) = (connect(&engine).await, connect(&engine).await);
    run(&mut writer, "CREATE TABLE t (a int PRIMARY KEY, b text)").await;
    run(&mut other, "CREATE TABLE u (a int PRIMARY KEY, b text)").await;
    let fill = |table: &str, from: usize, to: usize| {
        format!(
            "INSERT INTO {table} SELECT g, repeat('x', 100) FROM generate_series({from}, {to}) g"
        )
    };
    run(&mut writer, "BEGIN").await;
    assert_eq!(run(&mut writer, &fill("t", 1, 10_000)).await, "-- INSERT 0 10000");
    // Others have too little left, and what they tried leaves nothing behind.
    let refused = run(&mut other, &fill("u", 1, 10_000)).await;
    assert!(refused.starts_with("ERROR 53200: out of memory"), "{refused}");
    assert!(refused.contains("statements of this node"), "{refused}");
    assert_eq!(run(&mut other, &fill("u", 1, 100)).await, "-- INSERT 0 100");
    assert_eq!(run(&mut other, "SELECT count(*) FROM u").await, "100\n-- SELECT 1");
    assert_eq!(run(&mut writer, "COMMIT").await, "-- COMMIT");
    assert_eq!(run(&mut other, &fill("u", 101, 10_000)).await, "-- INSERT 0 9900");
    assert_eq!(engine.db().memory().used(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn memory_is_bounded() {
    let engine = small_engine();
    let mut session = connect(&engine).await;
    // A long series is made as it is read.
    let sum = "SELECT sum(g), count(*) FROM generate_series(1, 3000000) AS g";
    assert_eq!(run(&mut session, sum).await, "4500001500000|3000000\n-- SELECT 1");
    // A sort spills.
    let sort = "SELECT count(*) FROM (SELECT g, repeat('x', 50) FROM generate_series(1, 200000) g \
                ORDER BY g % 1000, g DESC OFFSET 1) q";
    assert_eq!(run(&mut session, sort).await, "199999\n-- SELECT 1");
    // What cannot spill says so.
    let agg = "SELECT length(string_agg(repeat('x', 1000), '')) FROM generate_series(1, 100000) g \
               GROUP BY g % 1000";
    let answer = run(&mut session, agg).await;
    assert!(
        answer.starts_with("ERROR 53200: out of memory"),
        "{}",
        &answer[..60.min(answer.len())]
    );
    assert_eq!(run(&mut session, "SELECT 1").await, "1\n-- SELECT 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn recursion_is_bounded() {
    let engine = small_engine();
    let mut session = connect(&engine).await;
    // Only so many rounds run as rows are asked for.
    let endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t)";
    assert_eq!(
        run(&mut session, &format!("{endless} SELECT n FROM t OFFSET 2 LIMIT 2")).await,
        "3\n4\n-- SELECT 2"
    );
    // A timeout is heard inside of the loop, and memory of earlier rounds is given back.
    run(&mut session, "SET statement_timeout = '300ms'").await;
    assert_eq!(
        run(
            &mut session,
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n FROM t) SELECT max(n) FROM t"
        )
        .await,
        "ERROR 57014: canceling statement due to statement timeout"
    );
    run(&mut session, "RESET statement_timeout").await;
    // What is remembered of rows made before is accounted for.
    let growing = "WITH RECURSIVE t(s) AS (SELECT repeat('x', 1000) || g FROM generate_series(1, 1000) g \
                   UNION SELECT s || 'y' FROM t) SELECT count(*) FROM t";
    let answer = run(&mut session, growing).await;
    assert!(answer.starts_with("ERROR 53200: out of memory"), "{answer}");
    assert_eq!(run(&mut session, "SELECT 1").await, "1\n-- SELECT 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn texts_of_many_words_are_refused_soon() {
    let list =
        |open: &str, item: &str, n: usize| format!("SELECT {open}{}", vec![item; n].join(","));
    const MANY: &str = "ERROR 54001: statement too complex";
    for (open, item) in [("1 FROM ", "t"), ("", "1"), ("1 GROUP BY ", "1"), ("f(", "1")] {
        assert!(answer(&list(open, item, 2_600_000)).await.starts_with(MANY), "{open}");
    }
    assert!(answer(&list("1 FROM ", "t", 400_000)).await.starts_with(DEEP));
    assert!(answer(&list("1 GROUP BY ", "1", 400_000)).await.starts_with("1\n"));
    let keys: Vec<String> = (0..100_000).map(|n| format!("g + {n}")).collect();
    let keys = format!("SELECT 1 FROM generate_series(1, 2) g GROUP BY {}", keys.join(","));
    assert!(answer(&keys).await.starts_with("ERROR 54011"));
    let with: Vec<String> = (0..80_000).map(|n| format!("a{n} AS (SELECT 1)")).collect();
    assert!(answer(&format!("WITH {} SELECT 1", with.join(","))).await.starts_with(DEEP));
    // Words in quotes and comments are no words.
    let text =
        format!("SELECT length('{}') /* {} */", "a b ".repeat(600_000), "c ".repeat(600_000));
    assert!(answer(&text).await.starts_with("2400000\n"));
}
