//! Whatever indexes there are, queries find the same rows: random conditions over a table with partial,
//! covering, descending and expression indexes, and over one without any. And temporary tables leave
//! nothing behind.

use std::sync::Arc;

use crate::support::{connect, engine, run};
use sql::Reclaimer;
use sql::session::{Engine, Session};

const ROUNDS: u64 = 12;
const QUERIES: usize = 40;

/// The same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        let nth = self.below(all.len() as u64);
        all[usize::try_from(nth).expect("few")]
    }
}

fn atom(random: &mut Random) -> String {
    let column = random.one_of(&["a", "b"]);
    let constant = random.below(8);
    match random.below(8) {
        0 => format!("{column} IS NULL"),
        1 => format!("{column} IS NOT NULL"),
        2 => format!("{column} IN ({constant}, {})", random.below(8)),
        3 => random
            .one_of(&["flag", "NOT flag", "flag = true", "flag IS TRUE", "flag IS FALSE"])
            .into(),
        4 => format!("lower(s) {} 'x{constant}'", random.one_of(&["=", "<", ">="])),
        5 => format!("a + b {} {}", random.one_of(&["=", "<", ">"]), random.below(14)),
        _ => format!("{column} {} {constant}", random.one_of(&["=", "<>", "<", "<=", ">", ">="])),
    }
}

fn condition(random: &mut Random) -> String {
    match random.below(5) {
        0 => format!("({} OR {})", atom(random), atom(random)),
        1 => format!("({} OR ({} AND {}))", atom(random), atom(random), atom(random)),
        _ => atom(random),
    }
}

fn conjunction(random: &mut Random) -> String {
    let parts: Vec<String> = (0..=random.below(3)).map(|_| condition(random)).collect();
    parts.join(" AND ")
}

fn index(random: &mut Random) -> String {
    let key = |random: &mut Random| {
        let key = random.one_of(&["a", "b", "lower(s)", "(a + b)", "flag"]);
        let order = random.one_of(&["", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
        format!("{key}{order}")
    };
    let keys: Vec<String> = (0..=random.below(2)).map(|_| key(random)).collect();
    let include = random.one_of(&["", "", " INCLUDE (s)", " INCLUDE (b, flag)"]);
    let partial = match random.below(3) {
        0 => String::new(),
        _ => format!(" WHERE {}", conjunction(random)),
    };
    format!("CREATE INDEX ON t ({}){include}{partial}", keys.join(", "))
}

async fn ok(session: &mut Session, sql: &str) -> String {
    let seen = run(session, sql).await;
    assert!(!seen.contains("ERROR"), "{sql}: {seen}");
    seen
}

#[tokio::test]
async fn indexes_change_no_answer() {
    for seed in 0..ROUNDS {
        let random = &mut Random(seed);
        let mut s = connect(&engine()).await;
        let columns = "(id int PRIMARY KEY, a int, b int, s text, flag boolean)";
        ok(&mut s, &format!("CREATE TABLE t {columns}; CREATE TABLE u {columns}")).await;
        for _ in 0..3 {
            ok(&mut s, &index(random)).await;
        }
        for id in 0..60 {
            let mut value =
                |sql: String| if random.below(5) == 0 { "NULL".to_owned() } else { sql };
            let (a, b) = (value(format!("{}", id % 8)), value(format!("{}", id / 3 % 8)));
            let (text, flag) = (value(format!("'X{}'", id % 8)), value(format!("{}", id % 2 == 0)));
            let row = format!("({id}, {a}, {b}, {text}, {flag})");
            ok(&mut s, &format!("INSERT INTO t VALUES {row}; INSERT INTO u VALUES {row}")).await;
        }
        for _ in 0..2 {
            ok(&mut s, &index(random)).await;
        }
        for n in 0..QUERIES {
            let (wanted, r) = (conjunction(random), random.one_of(&["on", "off"]));
            let change = match random.below(6) {
                0 => format!("UPDATE t SET a = b, s = 'X1' WHERE {wanted}"),
                1 => format!("UPDATE t SET flag = NOT flag, b = {} WHERE {wanted}", n % 8),
                2 => format!("DELETE FROM t WHERE id = {n} AND {wanted}"),
                _ => String::new(),
            };
            let both = change.replace(" t ", " u ");
            ok(&mut s, &format!("SET row_execution = {r}")).await;
            assert_eq!(ok(&mut s, &change).await, ok(&mut s, &both).await, "{seed}: {change}");
            let columns = random.one_of(&["id", "id, a", "id, s", "*", "id, b, flag"]);
            let query = |table| format!("SELECT {columns} FROM {table} WHERE {wanted} ORDER BY id");
            let (found, all) = (ok(&mut s, &query("t")).await, ok(&mut s, &query("u")).await);
            assert_eq!(found, all, "seed {seed}, row_execution {r}: {}", query("t"));
        }
    }
}

async fn rows(engine: &Arc<Engine>) -> usize {
    let txn = engine.db().begin(kv::TxnOptions::default());
    txn.begin_statement().await.expect("begins");
    let tables = base::Key(vec![base::keyspace::TABLES].into()).prefix_range();
    txn.scan(tables, kv::ScanOptions::default()).await.expect("scans").rows.len()
}

fn hasty(engine: &Arc<Engine>) -> Reclaimer {
    Reclaimer::new(engine.clone(), || Some(base::Timestamp::MAX.prev()))
}

const TEMPORARY: &str = "CREATE TEMP TABLE t (id int PRIMARY KEY, v int UNIQUE);
                         INSERT INTO t VALUES (1, 1), (2, 2)";

#[tokio::test]
async fn rows_of_temporary_tables_go_with_the_session() {
    let engine = engine();
    let mut s = connect(&engine).await;
    ok(&mut s, TEMPORARY).await;
    hasty(&engine).sweep().await.expect("sweeps");
    assert_eq!(rows(&engine).await, 4, "the session goes on");
    s.close().await;
    hasty(&engine).sweep().await.expect("sweeps");
    assert_eq!(rows(&engine).await, 0);
}

#[tokio::test]
async fn a_process_that_ends_without_a_word_leaves_no_temporary_rows() {
    let engine = engine();
    let mut s = connect(&engine).await;
    ok(&mut s, TEMPORARY).await;
    // As if an earlier process of the node had made it.
    let txn = engine.db().begin(kv::TxnOptions::default());
    txn.begin_statement().await.expect("begins");
    let noted = catalog::temporary::list(&txn).await.expect("reads");
    let [(table, (node, incarnation))] = noted[..] else { panic!("one table: {noted:?}") };
    let earlier = (node, incarnation.wrapping_add(1));
    catalog::temporary::note(&txn, table, earlier).expect("notes");
    txn.commit().await.expect("commits");
    hasty(&engine).sweep().await.expect("sweeps");
    assert_eq!(rows(&engine).await, 0);
}

/// More rows than one transaction indexes.
const MANY: &str = "CREATE TABLE many (id int PRIMARY KEY, v int, w text);
                    INSERT INTO many SELECT g, g % 1500, 'w' || g FROM generate_series(1, 3000) g";

#[tokio::test]
async fn an_index_of_many_rows_is_built_beside_writers() {
    let engine = engine();
    let mut session = connect(&engine).await;
    run(&mut session, MANY).await;
    for (create, query) in [
        ("CREATE INDEX by_v ON many (v)", "SELECT id FROM many WHERE v = 7 ORDER BY id"),
        ("CREATE UNIQUE INDEX by_w ON many (w) INCLUDE (v)", "SELECT v FROM many WHERE w = 'w7'"),
        (
            "CREATE INDEX by_upper ON many (upper(w)) WHERE v < 10",
            "SELECT id FROM many WHERE upper(w) = 'W7' AND v < 10",
        ),
    ] {
        let before = run(&mut session, query).await;
        assert_eq!(run(&mut session, create).await, "-- CREATE INDEX");
        assert_eq!(run(&mut session, query).await, before, "{create}");
        let plan = run(&mut session, &format!("EXPLAIN {query}")).await;
        assert!(plan.contains("Index"), "{create}: {plan}");
    }
    let valid = "SELECT count(*) FROM pg_index WHERE indisvalid AND indrelid = 'many'::regclass";
    assert_eq!(run(&mut session, valid).await, "4\n-- SELECT 1");
}

#[tokio::test]
async fn an_index_that_fails_leaves_nothing() {
    let engine = engine();
    let mut session = connect(&engine).await;
    run(&mut session, MANY).await;
    let made = run(&mut session, "CREATE UNIQUE INDEX CONCURRENTLY by_v ON many (v)").await;
    assert!(
        made.starts_with("ERROR 23505: could not create unique index \"by_v\" [Key (v)=("),
        "{made}"
    );
    assert!(made.ends_with(") is duplicated.]"), "{made}");
    let left = "SELECT count(*) FROM pg_class WHERE relname = 'by_v'";
    assert_eq!(run(&mut session, left).await, "0\n-- SELECT 1");
    // Nobody is kept from a duplicate by what is not there.
    run(&mut session, "INSERT INTO many VALUES (3001, 1, 'x')").await;
    assert_eq!(
        run(&mut session, "CREATE INDEX CONCURRENTLY by_v ON many (v)").await,
        "-- CREATE INDEX"
    );
    assert_eq!(
        run(&mut session, "CREATE INDEX CONCURRENTLY IF NOT EXISTS by_v ON many (w)").await,
        "NOTICE: relation \"by_v\" already exists, skipping\n-- CREATE INDEX"
    );
}

#[tokio::test]
async fn an_index_in_a_block_goes_with_it() {
    let engine = engine();
    let mut session = connect(&engine).await;
    run(&mut session, MANY).await;
    let script = "BEGIN; CREATE INDEX by_v ON many (v); ROLLBACK";
    run(&mut session, script).await;
    // Of a script, too.
    let script = "CREATE INDEX by_v ON many (v); SELECT 1 / 0";
    assert!(run(&mut session, script).await.contains("22012"));
    let left = "SELECT count(*) FROM pg_class WHERE relname = 'by_v'";
    assert_eq!(run(&mut session, left).await, "0\n-- SELECT 1");
    let refused = run(&mut session, "BEGIN; CREATE INDEX CONCURRENTLY by_v ON many (v)").await;
    assert!(refused.contains("25001"), "{refused}");
}
