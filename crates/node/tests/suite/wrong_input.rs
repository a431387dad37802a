//! Whatever a client sends, it hears what was wrong as PostgreSQL says it, and the node serves on.
//!
//! After every case an earlier connection still works: it was opened before all of them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::support::Cluster;
use tokio_postgres::Client;
use tokio_postgres::error::{DbError, ErrorPosition};

/// The gateway reads no larger message into memory.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// One node for the cases of one test, and the connection that must survive them.
struct Node {
    cluster: Cluster,
    earlier: Client,
}

impl Node {
    async fn start() -> Node {
        let cluster = Cluster::single(&[]);
        let earlier = cluster.nodes[0].connect().await;
        Node { cluster, earlier }
    }

    async fn connect(&self) -> Client {
        self.cluster.nodes[0].connect().await
    }

    async fn serves(&self, after: &str) {
        works(&self.earlier, after).await;
        let another = tokio::time::timeout(crate::support::PATIENCE, self.connect()).await;
        works(&another.unwrap_or_else(|_| panic!("no connection after {after}")), after).await;
    }
}

async fn works(client: &Client, after: &str) {
    let asked = client.query_one("SELECT 40 + 2", &[]);
    match tokio::time::timeout(crate::support::PATIENCE, asked).await {
        Ok(Ok(row)) => assert_eq!(row.get::<_, i32>(0), 42, "after {after}"),
        Ok(Err(error)) => panic!("after {after}: {error:?}"),
        Err(_) => panic!("no answer after {after}"),
    }
}

/// What the server says against a statement.
async fn error_of(client: &Client, sql: &str) -> DbError {
    let shown: String = sql.chars().take(200).collect();
    let asked = tokio::time::timeout(crate::support::PATIENCE, client.simple_query(sql)).await;
    match asked.unwrap_or_else(|_| panic!("no answer to {shown}")) {
        Ok(answer) => panic!("{shown} is accepted: {answer:?}"),
        Err(error) => error.as_db_error().cloned().unwrap_or_else(|| panic!("{shown}: {error:?}")),
    }
}

/// Where it points to, in characters from one.
fn position(error: &DbError) -> Option<u32> {
    match error.position() {
        Some(ErrorPosition::Original(at)) => Some(*at),
        _ => None,
    }
}

async fn make_table(client: &Client) {
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int, name varchar(3), n numeric(4,2), must int NOT NULL DEFAULT 0,
                 a int, b text, CONSTRAINT pair UNIQUE (a, b));
             INSERT INTO t (id, v, a, b) VALUES (1, 1, 7, 'x')",
        )
        .await
        .expect("the table is new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_statements_are_answered_as_postgresql_does() {
    let node = Node::start().await;
    let client = node.connect().await;
    make_table(&client).await;
    // Statement, code, and where the error points to: the first character of this text.
    let cases: &[(&str, &str, Option<&str>)] = &[
        ("selec 1", "42601", Some("selec")),
        ("SELECT 1 FROM t WHERE v = = 1", "42601", Some("= 1")),
        ("SELECT 'grün', 1 +\n  FROM t)", "42601", None),
        ("SELECT count(*) FROM t GROUP BY", "42601", None),
        ("SELECT 'no end", "42601", Some("'no end")),
        ("SELECT * FROM nowhere", "42P01", Some("nowhere")),
        ("INSERT INTO nowhere VALUES (1)", "42P01", Some("nowhere")),
        ("SELECT nothing FROM t", "42703", Some("nothing")),
        ("SELECT 'grün',\n nothing FROM t", "42703", Some("nothing")),
        ("INSERT INTO t (nothing) VALUES (1)", "42703", Some("nothing")),
        ("UPDATE t SET nothing = 1", "42703", Some("nothing")),
        ("SELECT 1 / 0", "22012", None),
        ("SELECT v / 0 FROM t", "22012", None),
        ("SELECT v % (v - v) FROM t", "22012", None),
        ("SELECT 1.5 / 0", "22012", None),
        ("SELECT 2147483647 + 1", "22003", None),
        ("SELECT v + 2147483647 FROM t", "22003", None),
        ("SELECT 9223372036854775807 * 2", "22003", None),
        ("SELECT v * 9223372036854775807 * 2 FROM t", "22003", None),
        ("SELECT 99999::smallint", "22003", None),
        ("INSERT INTO t (id) VALUES (3000000000)", "22003", None),
        ("INSERT INTO t (id) SELECT 3000000000::bigint + v FROM t", "22003", None),
        ("UPDATE t SET v = 2147483648", "22003", None),
        ("INSERT INTO t (id, n) VALUES (2, 100)", "22003", None),
        ("SELECT 'abc'::int", "22P02", Some("'abc'")),
        ("INSERT INTO t (id) VALUES ('abc')", "22P02", Some("'abc'")),
        ("SELECT * FROM t WHERE id = 'abc'", "22P02", Some("'abc'")),
        ("SELECT 'maybe'::boolean", "22P02", Some("'maybe'")),
        ("SELECT 'zz'::uuid", "22P02", Some("'zz'")),
        ("SELECT '{'::jsonb", "22P02", Some("'{'")),
        ("SELECT 'x'::date", "22007", Some("'x'")),
        ("SELECT '2024-02-30'::date", "22008", Some("'2024-02-30'")),
        ("INSERT INTO t (id, name) VALUES (2, 'four')", "22001", None),
        ("UPDATE t SET name = b || 'abc'", "22001", None),
        ("SELECT nofunc(1)", "42883", Some("nofunc")),
        ("SELECT length(1, 2)", "42883", Some("length")),
        ("SELECT 1 + true", "42883", None),
        ("SELECT v, count(*) FROM t", "42803", Some("v,")),
        ("SELECT id FROM t x, t y", "42702", Some("id")),
        ("CREATE TABLE t (a int)", "42P07", None),
        ("CREATE TABLE u (a nosuchtype)", "42704", None),
        ("DROP TABLE nowhere", "42P01", None),
        ("SELECT (SELECT i FROM generate_series(1, 2) i)", "21000", None),
        ("SELECT $1", "42P02", None),
        ("EXECUTE nothing", "26000", None),
        ("ROLLBACK TO nothing", "25P01", None),
        ("SET nothing = 1", "42704", None),
        ("SELECT Ä FROM (SELECT 1 AS \"Ä\", 2 AS ä) x WHERE ä = nothing", "42703", Some("nothing")),
    ];
    for (sql, code, at) in cases {
        let error = error_of(&client, sql).await;
        assert_eq!(error.code().code(), *code, "{sql}: {error:?}");
        if let Some(at) = at {
            let before = sql.find(at).unwrap_or_else(|| panic!("{at} is not in {sql}"));
            let expected = u32::try_from(sql[..before].chars().count() + 1).expect("small");
            assert_eq!(position(&error), Some(expected), "{sql}: {error:?}");
        }
        works(&client, sql).await;
    }
    let rows = client.query("SELECT id, v, name, n FROM t", &[]).await.expect("reads");
    assert_eq!(rows.len(), 1, "nothing of it was carried out");
    node.serves("wrong statements").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn violated_constraints_are_named_with_their_values() {
    let node = Node::start().await;
    let client = node.connect().await;
    make_table(&client).await;
    client
        .batch_execute(
            "CREATE TABLE \"Big\" (\"Id\" int PRIMARY KEY); INSERT INTO \"Big\" VALUES (1)",
        )
        .await
        .expect("creates");
    for (sql, constraint, detail) in [
        ("INSERT INTO t (id) VALUES (1)", "t_pkey", "Key (id)=(1) already exists."),
        ("INSERT INTO t (id) VALUES (8), (8)", "t_pkey", "Key (id)=(8) already exists."),
        (
            "INSERT INTO t (id, a, b) VALUES (2, 7, 'x')",
            "pair",
            "Key (a, b)=(7, x) already exists.",
        ),
        ("INSERT INTO \"Big\" VALUES (1)", "Big_pkey", "Key (\"Id\")=(1) already exists."),
    ] {
        let error = error_of(&client, sql).await;
        assert_eq!(error.code().code(), "23505", "{sql}: {error:?}");
        let message = format!("duplicate key value violates unique constraint \"{constraint}\"");
        assert_eq!(error.message(), message);
        assert_eq!(error.detail(), Some(detail), "{sql}");
        assert_eq!(error.constraint(), Some(constraint), "{sql}");
        assert_eq!(error.schema(), Some("public"), "{sql}");
        assert!(matches!(error.table(), Some("t" | "Big")), "{sql}: {error:?}");
    }
    for sql in ["INSERT INTO t (id, must) VALUES (2, NULL)", "UPDATE t SET must = NULL"] {
        let error = error_of(&client, sql).await;
        assert_eq!(error.code().code(), "23502", "{sql}: {error:?}");
        assert_eq!((error.table(), error.column()), (Some("t"), Some("must")), "{sql}");
        let detail = error.detail().expect("the row is shown");
        assert!(detail.starts_with("Failing row contains ("), "{detail}");
    }
    node.serves("violated constraints").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_transaction_ends_with_its_rollback() {
    let node = Node::start().await;
    let client = node.connect().await;
    make_table(&client).await;
    for fault in [
        "SELECT 1 / 0",
        "selec",
        "INSERT INTO t (id) VALUES (1)",
        "SELECT * FROM nowhere",
        "LISTEN a",
    ] {
        client.batch_execute("BEGIN; INSERT INTO t (id) VALUES (100)").await.expect("begins");
        error_of(&client, fault).await;
        for sql in
            ["SELECT 1", "INSERT INTO t (id) VALUES (101)", "SAVEPOINT s", "CREATE TABLE z (a int)"]
        {
            assert_eq!(error_of(&client, sql).await.code().code(), "25P02", "{sql} after {fault}");
        }
        let prepared = client.query("SELECT 1", &[]).await.expect_err("the transaction failed");
        assert_eq!(prepared.code().map(|c| c.code()), Some("25P02"), "{fault}");
        client.batch_execute("ROLLBACK").await.expect("ends");
        let row = client.query_one("SELECT count(*) FROM t", &[]).await.expect("all is well");
        assert_eq!(row.get::<_, i64>(0), 1, "{fault}");
    }
    // COMMIT of a failed transaction rolls back.
    client.batch_execute("BEGIN; DELETE FROM t").await.expect("begins");
    error_of(&client, "SELECT 1 / 0").await;
    client.batch_execute("COMMIT").await.expect("ends");
    let row = client.query_one("SELECT count(*) FROM t", &[]).await.expect("all is well");
    assert_eq!(row.get::<_, i64>(0), 1);
    node.serves("failed transactions").await;
}

/// Parts of PostgreSQL's language that are not here: each is refused by its name.
const REFUSED: &[(&str, &str)] = &[
    ("CREATE TABLE z (id int PRIMARY KEY, EXCLUDE USING gist (id WITH =))", "EXCLUDE"),
    ("CREATE TABLE z (id int PRIMARY KEY) INHERITS (t)", "inheritance"),
    ("CREATE TABLE z (id int PRIMARY KEY) PARTITION BY RANGE (id)", "partitioning"),
    ("CREATE TEMP VIEW z AS SELECT 1", "TEMPORARY VIEW"),
    ("CREATE TABLE z AS SELECT 1 AS a WITH NO DATA", "WITH NO DATA"),
    ("CREATE UNLOGGED TABLE z (id int PRIMARY KEY)", "UNLOGGED"),
    ("CREATE TABLE z (id int PRIMARY KEY) TABLESPACE x", "TABLESPACE"),
    ("CREATE TABLE z (id int, UNIQUE (id) DEFERRABLE INITIALLY DEFERRED)", "DEFERRABLE"),
    ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", "ROW LEVEL SECURITY"),
    ("ALTER TABLE t DISABLE TRIGGER ALL", "TRIGGER"),
    ("ALTER TABLE t SET UNLOGGED", "SET UNLOGGED"),
    ("ALTER TABLE t INHERIT u", "INHERIT"),
    ("CREATE INDEX i ON t USING gin (v)", "USING GIN"),
    ("CREATE INDEX i ON t USING hash (v)", "USING HASH"),
    ("CREATE INDEX i ON t (b reverse_ops)", "operator class"),
    ("CREATE MATERIALIZED VIEW z AS SELECT 1", "CREATE MATERIALIZED VIEW"),
    ("CREATE TYPE z AS (a int)", "CREATE TYPE"),
    ("CREATE DOMAIN z AS int", "CREATE DOMAIN"),
    ("CREATE EXTENSION z", "CREATE EXTENSION"),
    ("CREATE ROLE z REPLICATION", "REPLICATION"),
    ("CREATE ROLE z BYPASSRLS", "BYPASSRLS"),
    ("ALTER ROLE z IN DATABASE d RESET ALL", "IN DATABASE"),
    ("CREATE TRIGGER z BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()", "CREATE TRIGGER"),
    ("CREATE FUNCTION z() RETURNS int LANGUAGE sql AS 'SELECT 1'", "CREATE FUNCTION"),
    ("CREATE PROCEDURE z() LANGUAGE sql AS 'SELECT 1'", "CREATE PROCEDURE"),
    ("CREATE RULE z AS ON INSERT TO t DO NOTHING", "CREATE RULE"),
    ("CREATE AGGREGATE z (int) (SFUNC = f, STYPE = int)", "CREATE AGGREGATE"),
    ("CREATE STATISTICS z ON a, b FROM t", "CREATE STATISTICS"),
    ("CREATE PUBLICATION z", "CREATE PUBLICATION"),
    ("CREATE SUBSCRIPTION z CONNECTION '' PUBLICATION p", "CREATE SUBSCRIPTION"),
    ("CREATE FOREIGN TABLE z (a int) SERVER s", "CREATE FOREIGN TABLE"),
    ("CREATE POLICY z ON t", "CREATE POLICY"),
    ("GRANT SELECT (v) ON t TO PUBLIC", "columns"),
    ("GRANT USAGE ON TYPE int TO PUBLIC", "TYPE"),
    ("REVOKE USAGE ON LANGUAGE sql FROM PUBLIC", "LANGUAGE"),
    ("GRANT EXECUTE ON FUNCTION lower(text) TO PUBLIC", "built-in function"),
    ("CLUSTER t", "CLUSTER"),
    ("REINDEX TABLE t", "REINDEX"),
    ("DO $$ BEGIN END $$", "DO"),
    ("CALL f()", "CALL"),
    ("LISTEN a", "LISTEN"),
    ("NOTIFY a", "NOTIFY"),
    ("SECURITY LABEL ON TABLE t IS 'x'", "SECURITY LABEL"),
    ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION"),
    ("COMMIT PREPARED 'x'", "COMMIT PREPARED"),
    ("MERGE INTO t USING t s ON t.id = s.id WHEN MATCHED THEN DELETE", "MERGE"),
    ("SELECT * FROM t TABLESAMPLE SYSTEM (10)", "TABLESAMPLE"),
    ("SELECT * FROM ONLY t", "ONLY"),
    ("DELETE FROM ONLY t", "ONLY"),
    ("SELECT first_value(v) IGNORE NULLS OVER (ORDER BY id) FROM t", "IGNORE NULLS"),
    ("SELECT * FROM ROWS FROM (generate_series(1, 2))", "ROWS FROM"),
    ("SELECT B'101'", "bit string"),
    ("UPDATE t SET v = 1 WHERE CURRENT OF c", "WHERE CURRENT OF"),
    ("COPY t TO '/tmp/x'", "COPY"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_refused_by_name() {
    let node = Node::start().await;
    let client = node.connect().await;
    make_table(&client).await;
    let mut wrong = Vec::new();
    for (sql, name) in REFUSED {
        match client.simple_query(sql).await {
            Ok(_) => wrong.push(format!("{sql}: accepted")),
            Err(error) => match error.as_db_error() {
                Some(error) if error.code().code() != "0A000" => {
                    wrong.push(format!("{sql}: {error}"))
                }
                Some(error) if !error.message().contains(name) => {
                    wrong.push(format!("{sql}: does not name {name}: {error}"))
                }
                Some(_) => {}
                None => wrong.push(format!("{sql}: {error:?}")),
            },
        }
        works(&client, sql).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let row = client.query_one("SELECT count(*) FROM t", &[]).await.expect("reads");
    assert_eq!(row.get::<_, i64>(0), 1, "nothing of it was carried out");
    node.serves("what is missing").await;
}

/// A connection on which bytes are written and read as they are.
struct Raw(TcpStream);

impl Raw {
    fn open(port: u16) -> Raw {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the node listens");
        stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("a socket has timeouts");
        stream.set_write_timeout(Some(crate::support::PATIENCE)).expect("a socket has timeouts");
        Raw(stream)
    }

    /// A session that is ready.
    fn session(port: u16) -> Raw {
        let mut raw = Raw::open(port);
        raw.send(&startup());
        raw.until_ready();
        raw
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the node reads");
    }

    /// Tag and body of a message; `None` at the end of the connection.
    fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes"));
        let mut body = vec![0; usize::try_from(length).expect("it fits") - 4];
        self.0.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }

    /// The codes of the errors up to ReadyForQuery, which must come.
    fn until_ready(&mut self) -> Vec<String> {
        let mut codes = Vec::new();
        loop {
            let (tag, body) = self.message().expect("the connection stays open");
            match tag {
                b'Z' => return codes,
                b'E' => codes.push(code(&body)),
                _ => {}
            }
        }
    }

    /// What comes until the node closes the connection, which it must.
    fn until_closed(mut self, what: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{what}: not closed: {error}"),
        }
        bytes
    }
}

/// The SQLSTATE in an ErrorResponse.
fn code(body: &[u8]) -> String {
    let field = body.split(|&b| b == 0).find(|f| f.first() == Some(&b'C')).expect("a code");
    String::from_utf8_lossy(&field[1..]).into_owned()
}

fn startup() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0conclave\0database\0conclave\0\0";
    let mut bytes = u32::try_from(body.len() + 4).expect("small").to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

fn header(tag: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(u32::try_from(length).expect("a length is four bytes").to_be_bytes());
    bytes
}

fn query(sql: &[u8]) -> Vec<u8> {
    let mut bytes = header(b'Q', sql.len() + 5);
    bytes.extend(sql);
    bytes.push(0);
    bytes
}

/// Resident memory of the node, now and at its highest, in bytes.
fn memory(node: &Node) -> (usize, usize) {
    let pid = node.cluster.nodes[0].pid().expect("the node runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the node runs");
    let kilobytes = |name: &str| -> usize {
        let line = status.lines().find(|l| l.starts_with(name)).expect("Linux says so");
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
    };
    (kilobytes("VmRSS:") << 10, kilobytes("VmHWM:") << 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_statement_is_refused_without_being_kept() {
    let node = Node::start().await;
    let port = node.cluster.nodes[0].ports.sql;
    let (before, _) = memory(&node);

    // A gigabyte is announced and a part of it sent; the client then gives up.
    for tag in [b'Q', b'P', b'B'] {
        let mut raw = Raw::session(port);
        raw.send(&header(tag, 1 << 30));
        let part = vec![b'x'; 1 << 20];
        for _ in 0..32 {
            raw.send(&part);
        }
        raw.0.shutdown(Shutdown::Write).expect("it is open");
        raw.until_closed("a part of a gigabyte");
    }
    let (now, highest) = memory(&node);
    assert!(highest.max(now) - before < 64 << 20, "{before} bytes became {now}, at most {highest}");
    node.serves("a part of a gigabyte").await;

    // A literal over the limit, in full: refused, and the session goes on.
    let mut raw = Raw::session(port);
    let mut sql = b"SELECT '".to_vec();
    sql.resize(MESSAGE_BYTES_MAX + 1, b'x');
    sql.push(b'\'');
    raw.send(&query(&sql));
    assert_eq!(raw.until_ready(), ["54000"]);
    raw.send(&query(b"SELECT 1"));
    assert!(raw.until_ready().is_empty());
    let (now, highest) = memory(&node);
    assert!(highest.max(now) - before < 64 << 20, "{before} bytes became {now}, at most {highest}");

    // One below it is carried out.
    let mut sql = b"SELECT length('".to_vec();
    sql.resize(sql.len() + (8 << 20), b'x');
    sql.extend(b"')");
    raw.send(&query(&sql));
    assert!(raw.until_ready().is_empty());
    node.serves("a huge statement").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_over_the_limit_is_refused() {
    let node = Node::start().await;
    let client = node.connect().await;
    client.batch_execute("CREATE TABLE big (id int PRIMARY KEY, t text)").await.expect("creates");
    let huge = "x".repeat(48 << 20);
    let insert = "INSERT INTO big VALUES ($1, $2)";
    let error = client.execute(insert, &[&1i32, &huge]).await.expect_err("the row is too big");
    assert_eq!(error.code().map(|c| c.code()), Some("54000"), "{error:?}");
    let error = error_of(&client, "INSERT INTO big VALUES (1, repeat('x', 50000000))").await;
    assert_eq!(error.code().code(), "54000", "{error:?}");
    let error = error_of(&client, "SELECT repeat('x', 2000000000)").await;
    assert_eq!(error.code().code(), "54000", "{error:?}");
    client.batch_execute("CREATE TABLE keys (k text PRIMARY KEY)").await.expect("creates");
    let error = error_of(&client, "INSERT INTO keys VALUES (repeat('x', 1000000))").await;
    assert_eq!(error.code().code(), "54000", "{error:?}");
    for table in ["big", "keys"] {
        let count = client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await;
        assert_eq!(count.expect("reads").get::<_, i64>(0), 0);
    }
    node.serves("a row over the limit").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_is_not_utf8_is_refused() {
    let node = Node::start().await;
    let mut raw = Raw::session(node.cluster.nodes[0].ports.sql);
    for bad in
        [&b"SELECT '\xff'"[..], b"SELECT '\xc3'", b"SELECT '\xed\xa0\x80'", b"SELECT '\xc0\x80'"]
    {
        raw.send(&query(bad));
        assert_eq!(raw.until_ready(), ["22021"], "{}", bad.escape_ascii());
        raw.send(&query("SELECT 'grün'".as_bytes()));
        assert!(raw.until_ready().is_empty());
    }
    // A zero byte ends the string: what follows it is no part of the message.
    raw.send(&query(b"SELECT 'a\0b'"));
    assert_eq!(raw.until_ready(), ["08P01"]);
    raw.send(&query(b"SELECT 1"));
    assert!(raw.until_ready().is_empty());
    node.serves("text that is not UTF-8").await;
}

/// Bytes without a meaning, the same in every run.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

/// Sends, says that no more comes, and reads to the end. That the node closes early is fine.
fn throw(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the node listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket has timeouts");
    let mut answer = Vec::new();
    // The node may be gone at any of these: it owes garbage nothing.
    if stream.write_all(bytes).is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
        drop(stream.read_to_end(&mut answer));
    }
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_any_port_harms_nobody_else() {
    let node = Node::start().await;
    let ports = node.cluster.nodes[0].ports;
    let http = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // A frame of HTTP/2 that claims 16 MB, and headers that are none.
    let frame = [&http2[..], b"\xff\xff\xff\x01\x04\0\0\0\x01", &noise(3, 4_000)].concat();
    let call = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nabc".to_vec();
    let long = [&b"GET /"[..], &vec![b'a'; 1 << 20], b" HTTP/1.1\r\n\r\n"].concat();
    let mut cases = vec![
        ("nothing", Vec::new()),
        ("one byte", vec![0]),
        ("half a start", startup()[..20].to_vec()),
        ("a start", startup()),
        ("a start of 2 GB", b"\x7f\xff\xff\xff\0\x03\0\0user\0".to_vec()),
        ("a start of negative length", b"\xff\xff\xff\xff\0\x03\0\0".to_vec()),
        ("zeroes", vec![0; 100_000]),
        ("HTTP", http),
        ("TLS", tls),
        ("HTTP/2", http2),
        ("a frame", frame),
        ("a body that never comes", call),
        ("a long path", long),
        ("half a query", [&startup()[..], &query(b"SELECT 1")[..7]].concat()),
        ("a query of 2 GB", [&startup()[..], b"Q\x7f\xff\xff\xffSELECT 1"].concat()),
        ("a query of negative length", [&startup()[..], b"Q\x80\0\0\0SELECT 1"].concat()),
        ("noise behind a start", [&startup()[..], &noise(1, 50_000)].concat()),
    ];
    for seed in 10..30 {
        cases.push(("noise", noise(seed, usize::try_from(seed * 500).expect("small"))));
    }
    for (what, bytes) in &cases {
        for port in [ports.sql, ports.rpc, ports.http] {
            throw(port, bytes);
            works(&node.earlier, &format!("{what} on port {port} of {ports:?}")).await;
        }
    }
    node.serves("garbage").await;
    let status = crate::support::conclave(&["status", "--rpc", &node.cluster.nodes[0].rpc()]);
    assert!(status.success, "{}", status.text);
    // Not shut down: HTTP takes a client that says nothing more for gone.
    let mut raw = Raw::open(ports.http);
    raw.send(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = raw.until_closed("a request over HTTP");
    assert!(answer.starts_with(b"HTTP/1.1 "), "{}", answer.escape_ascii());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_on_the_sql_port_is_told_so() {
    let node = Node::start().await;
    let port = node.cluster.nodes[0].ports.sql;
    // An SSLRequest: "no", and then the same connection may go on without.
    let mut raw = Raw::open(port);
    raw.send(b"\0\0\0\x08\x04\xd2\x16\x2f");
    let mut answer = [0];
    raw.0.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"N");
    raw.send(&startup());
    assert!(raw.until_ready().is_empty());
    // Bytes behind an unknown tag have no known end: the session is over.
    raw.send(b"GET / HTTP/1.1\r\n\r\n");
    let said = raw.until_closed("HTTP in a session");
    assert_eq!((said[0], code(&said[5..]).as_str()), (b'E', "08P01"));

    for (what, bytes) in [
        ("HTTP", &b"GET / HTTP/1.1\r\n\r\n"[..]),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("a start of 2 GB", b"\x7f\xff\xff\xff\0\x03\0\0"),
    ] {
        let mut raw = Raw::open(port);
        raw.send(bytes);
        raw.until_closed(what);
        node.serves(what).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_without_end_lets_others_work_and_can_be_cancelled() {
    let node = Node::start().await;
    let client = node.connect().await;
    client
        .batch_execute("CREATE TABLE n (id int PRIMARY KEY); INSERT INTO n SELECT i FROM generate_series(1, 5000) i")
        .await
        .expect("fills");
    let cancel = client.cancel_token();
    let endless = "SELECT sum(sqrt(a.id) * b.id) FROM n a, n b, n c";
    let run = tokio::spawn(async move {
        let error = client.batch_execute(endless).await.expect_err("it is cancelled");
        (client, error)
    });
    // It runs: other statements on either connection are still answered.
    for _ in 0..5 {
        node.serves("a join without end").await;
    }
    assert!(!run.is_finished());
    cancel.cancel_query(tokio_postgres::NoTls).await.expect("the node listens");
    let ended =
        tokio::time::timeout(crate::support::PATIENCE, run).await.expect("a cancel is heard");
    let (client, error) = ended.expect("the task does not panic");
    assert_eq!(error.code().map(|c| c.code()), Some("57014"), "{error:?}");
    works(&client, "a cancel").await;
    client.batch_execute("SET statement_timeout = '500ms'").await.expect("a setting");
    assert_eq!(error_of(&client, endless).await.code().code(), "57014");
    works(&client, "a timeout").await;
}
