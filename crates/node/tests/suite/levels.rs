//! Isolation levels over the wire, on real nodes: the anomalies' matrix, loads in which nobody may be told
//! to try again, and a transaction that is large.
//!
//! `CONCLAVE_TPCB_SECONDS` says how long each of the loads runs; the suite does 3 s of each.

#[path = "../../../sql/tests/suite/isolation/script.rs"]
mod script;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Cluster, Node};
use futures::future::{BoxFuture, join_all};
use script::{Answer, Client, Level, Script, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::SimpleQueryMessage;

struct Wire(tokio_postgres::Client);

impl Client for Wire {
    fn run(&mut self, sql: String) -> BoxFuture<'_, Result<Answer, String>> {
        Box::pin(async move {
            let messages = self.0.simple_query(&sql).await.map_err(|error| {
                let error = error.as_db_error().expect("the connection stays");
                format!("{} {}", error.code().code(), error.message())
            })?;
            let mut answer = Answer::default();
            for message in messages {
                match message {
                    SimpleQueryMessage::Row(row) => {
                        let values = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL"));
                        answer.rows.push(values.collect::<Vec<_>>().join("|"));
                    }
                    SimpleQueryMessage::CommandComplete(count) => answer.count = count,
                    _ => {}
                }
            }
            Ok(answer)
        })
    }
}

impl Server for Node {
    fn connect(&self) -> BoxFuture<'_, Box<dyn Client>> {
        Box::pin(async { Box::new(Wire(Node::connect(self).await)) as Box<dyn Client> })
    }

    fn waiting(&self) -> BoxFuture<'_, usize> {
        Box::pin(async {
            let text = metrics(self.ports.http).await;
            let line =
                text.lines().find_map(|line| line.strip_prefix("conclave_requests_waiting "));
            line.and_then(|number| number.parse().ok()).unwrap_or(0)
        })
    }
}

async fn metrics(port: u16) -> String {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("HTTP");
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("it answers");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anomalies_are_prevented_as_the_level_says() {
    let cluster = Cluster::single(&[]);
    let node = &cluster.nodes[0];
    let client = Node::connect(node).await;
    let scripts = Script::all("../sql/scripts/isolation");
    for split in [false, true] {
        let table = "DROP TABLE IF EXISTS test; CREATE TABLE test (id int PRIMARY KEY, value int)";
        client.batch_execute(table).await.expect("a table");
        if split {
            let at = "ALTER TABLE test SPLIT AT VALUES (2), (3), (4)";
            client.batch_execute(at).await.expect("ranges");
        }
        for script in &scripts {
            for level in Level::ALL {
                let rows = "DROP TABLE IF EXISTS rate; DELETE FROM test;
                            INSERT INTO test VALUES (1, 10), (2, 20)";
                client.batch_execute(rows).await.expect("two rows");
                script.play(node, level).await;
            }
        }
    }
}

const BRANCHES: i64 = 10;
const CLIENTS: u64 = 32;

async fn fill(client: &tokio_postgres::Client) {
    let schema = format!(
        "DROP TABLE IF EXISTS branches, tellers, accounts, history;
         CREATE TABLE branches (bid int PRIMARY KEY, bbalance bigint NOT NULL, filler char(88));
         CREATE TABLE tellers (tid int PRIMARY KEY, bid int, tbalance bigint NOT NULL);
         CREATE TABLE accounts (aid int PRIMARY KEY, bid int, abalance bigint NOT NULL);
         CREATE TABLE history (tid int, bid int, aid int, delta int, mtime timestamp);
         INSERT INTO branches SELECT g, 0, '' FROM generate_series(1, {BRANCHES}) g;
         INSERT INTO tellers SELECT g, 0, 0 FROM generate_series(1, {BRANCHES} * 10) g;
         INSERT INTO accounts SELECT g, 0, 0 FROM generate_series(1, {BRANCHES} * 1000) g"
    );
    client.batch_execute(&schema).await.expect("a schema");
}

/// pgbench's transaction, statement by statement.
fn transaction(pick: &mut impl FnMut(i64) -> i64) -> [String; 5] {
    let (aid, tid, bid) = (1 + pick(BRANCHES * 1000), 1 + pick(BRANCHES * 10), 1 + pick(BRANCHES));
    let delta = pick(10_000) - 5_000;
    [
        format!("UPDATE accounts SET abalance = abalance + {delta} WHERE aid = {aid}"),
        format!("SELECT abalance FROM accounts WHERE aid = {aid}"),
        format!("UPDATE tellers SET tbalance = tbalance + {delta} WHERE tid = {tid}"),
        format!("UPDATE branches SET bbalance = bbalance + {delta} WHERE bid = {bid}"),
        format!("INSERT INTO history VALUES ({tid}, {bid}, {aid}, {delta}, CURRENT_TIMESTAMP)"),
    ]
}

fn random(seed: u64) -> impl FnMut(i64) -> i64 {
    let mut state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        i64::try_from(state % u64::try_from(below).expect("positive")).expect("small")
    }
}

/// The load, each transaction as one string without BEGIN, or message by message. No error at all may
/// come.
async fn tpcb(node: &Node, level: Level, interactive: bool) {
    let control = Node::connect(node).await;
    fill(&control).await;
    let seconds = std::env::var("CONCLAVE_TPCB_SECONDS").map_or(3, |s| s.parse().expect("seconds"));
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut tasks = Vec::new();
    for n in 0..CLIENTS {
        let client = Node::connect(node).await;
        let done = Arc::clone(&done);
        tasks.push(tokio::spawn(async move {
            let set = format!("SET default_transaction_isolation = '{}'", level.name());
            client.batch_execute(&set).await?;
            let mut pick = random(n);
            while start.elapsed() < Duration::from_secs(seconds) {
                let statements = transaction(&mut pick);
                if interactive {
                    client.batch_execute("BEGIN").await?;
                    for statement in &statements {
                        client.batch_execute(statement).await?;
                    }
                    client.batch_execute("COMMIT").await?;
                } else {
                    client.batch_execute(&statements.join("; ")).await?;
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), tokio_postgres::Error>(())
        }));
    }
    for task in join_all(tasks).await {
        let result = task.expect("no panic");
        result.unwrap_or_else(|error| panic!("{}: {error:?}", level.name()));
    }
    let done = done.load(Ordering::Relaxed);
    eprintln!("{}, interactive {interactive}: {} per second", level.name(), done / seconds);
    let sums = "SELECT (SELECT sum(abalance) FROM accounts) = (SELECT sum(bbalance) FROM branches)
                   AND (SELECT sum(tbalance) FROM tellers) = (SELECT sum(delta) FROM history)
                   AND (SELECT sum(tbalance) FROM tellers) = (SELECT sum(bbalance) FROM branches),
                   (SELECT count(*) FROM history)";
    let row = control.query_one(sums, &[]).await.expect("sums");
    assert_eq!((row.get(0), row.get(1)), (Some(true), i64::try_from(done).expect("few")));
    assert!(done >= CLIENTS, "nobody starved: {done}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tpcb_of_32_clients_on_10_branches_is_never_told_to_try_again() {
    let cluster = Cluster::single(&[]);
    let node = &cluster.nodes[0];
    tpcb(node, Level::ReadCommitted, false).await;
    tpcb(node, Level::Serializable, false).await;
    tpcb(node, Level::ReadCommitted, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_rows_are_one_transaction() {
    let cluster = Cluster::single(&[]);
    let client = Node::connect(&cluster.nodes[0]).await;
    let table = "CREATE TABLE big (id int PRIMARY KEY, v int)";
    client.batch_execute(table).await.expect("a table");
    let start = Instant::now();
    let insert = "INSERT INTO big SELECT g, g % 10 FROM generate_series(1, 1000000) g";
    match client.execute(insert, &[]).await {
        Ok(count) => assert_eq!(count, 1_000_000),
        Err(error) => {
            let error = error.as_db_error().expect("the connection stays").clone();
            assert_eq!(error.code().code(), "53200", "{error:?}");
            assert!(error.hint().is_some(), "{error:?}");
        }
    }
    eprintln!("a million rows: {:?}", start.elapsed());
    // Far beyond the memory of one transaction: an error that says what to do, and the node serves on.
    let insert = "INSERT INTO big SELECT g, g FROM generate_series(2000000, 6000000) g";
    let error = client.execute(insert, &[]).await.expect_err("it is too large");
    let error = error.as_db_error().expect("the connection stays");
    assert_eq!(error.code().code(), "53200", "{error:?}");
    assert!(error.hint().is_some(), "{error:?}");
    client.batch_execute("INSERT INTO big VALUES (0, 0)").await.expect("the node serves on");
}
