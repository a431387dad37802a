//! What was acknowledged is there, whatever is killed; and the others go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Cluster, eventually};
use tokio_postgres::Client;

const ACCOUNTS: i64 = 64;
const BALANCE: i64 = 1000;

/// A table of accounts in eight ranges.
async fn make_accounts(client: &Client) {
    client
        .batch_execute("CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL)")
        .await
        .expect("creates");
    let rows: Vec<String> = (0..ACCOUNTS).map(|id| format!("({id}, {BALANCE})")).collect();
    let insert = format!("INSERT INTO accounts VALUES {}", rows.join(", "));
    client.batch_execute(&insert).await.expect("fills");
    client
        .batch_execute(
            "ALTER TABLE accounts SPLIT AT VALUES (8), (16), (24), (32), (40), (48), (56)",
        )
        .await
        .expect("splits");
}

async fn total(client: &Client) -> Result<i64, tokio_postgres::Error> {
    let row = client.query_one("SELECT sum(balance)::bigint FROM accounts", &[]).await?;
    Ok(row.get(0))
}

/// Moves money between random accounts, most often of different ranges, until told to stop.
struct Transfers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Transfers {
    /// Each client works over one node, and goes to the next one when its connection breaks.
    fn start(configs: Vec<String>, clients: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let tasks = (0..clients)
            .map(|n| {
                let (stop, done, configs) = (Arc::clone(&stop), Arc::clone(&done), configs.clone());
                tokio::spawn(async move { transfer_until(n, &configs, &stop, &done).await })
            })
            .collect();
        Transfers { stop, done, tasks }
    }

    fn count(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    async fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a client does not panic");
        }
        self.done.load(Ordering::Relaxed)
    }
}

async fn transfer_until(n: u64, configs: &[String], stop: &AtomicBool, done: &AtomicU64) {
    // A sequence of its own per client; what it picks need not be random, only spread.
    let mut state = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut pick = move |below: i64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        i64::try_from(state % u64::try_from(below).expect("positive")).expect("small")
    };
    let mut node = usize::try_from(n).expect("small");
    while !stop.load(Ordering::Relaxed) {
        node += 1;
        let Ok((mut client, connection)) =
            tokio_postgres::connect(&configs[node % configs.len()], tokio_postgres::NoTls).await
        else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        tokio::spawn(async move { drop(connection.await) });
        while !stop.load(Ordering::Relaxed) {
            let (from, to, amount) = (pick(ACCOUNTS), pick(ACCOUNTS), 1 + pick(9));
            let attempt = transfer(&mut client, from, to, amount);
            match tokio::time::timeout(Duration::from_secs(20), attempt).await {
                Ok(Ok(())) => {
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Err(error)) if client.is_closed() || error.is_closed() => break,
                Ok(Err(_)) => {}
                Err(_) => break,
            }
        }
    }
}

async fn transfer(
    client: &mut Client,
    from: i64,
    to: i64,
    amount: i64,
) -> Result<(), tokio_postgres::Error> {
    let txn = client.transaction().await?;
    let sql = "UPDATE accounts SET balance = balance + $1 WHERE id = $2";
    txn.execute(sql, &[&-amount, &from]).await?;
    txn.execute(sql, &[&amount, &to]).await?;
    txn.commit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_between_ranges_keep_the_total_while_leaders_are_killed() {
    let mut cluster = Cluster::start(3, &[]).await;
    make_accounts(&cluster.nodes[0].connect().await).await;
    cluster.wait_replicated(3).await;
    let transfers =
        Transfers::start(cluster.nodes.iter().map(crate::support::Node::url).collect(), 6);

    for round in 0..3 {
        let before = transfers.count();
        eventually("some transfers", || async {
            if transfers.count() > before + 20 { Ok(()) } else { Err("none".to_owned()) }
        })
        .await;
        let victim = cluster.busiest_leader().unwrap_or(round % 3);
        cluster.nodes[victim].kill();
        let killed = Instant::now();
        let at_kill = transfers.count();
        eventually("transfers over the other nodes", || async {
            if transfers.count() > at_kill + 20 { Ok(()) } else { Err("none".to_owned()) }
        })
        .await;
        let pause = killed.elapsed();
        assert!(pause < Duration::from_secs(15), "nothing went on for {pause:?}");
        cluster.nodes[victim].spawn();
        cluster.nodes[victim].wait_ready();
        let client = cluster.nodes[victim].connect().await;
        let sum = eventually("the total", || total(&client)).await;
        assert_eq!(sum, ACCOUNTS * BALANCE, "after killing node {}", victim + 1);
    }

    assert!(transfers.finish().await > 0);
    for node in &cluster.nodes {
        let client = node.connect().await;
        let sum = eventually("the total", || total(&client)).await;
        assert_eq!(sum, ACCOUNTS * BALANCE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_all_nodes_at_once_loses_nothing_acknowledged() {
    let mut cluster = Cluster::start(3, &[]).await;
    let client = cluster.nodes[0].connect().await;
    client.batch_execute("CREATE TABLE log (n bigint PRIMARY KEY)").await.expect("creates");
    let mut acknowledged = BTreeSet::new();
    for round in 0..2i64 {
        let client = cluster.nodes[usize::try_from(round).expect("small")].connect().await;
        let insert =
            eventually("a statement", || client.prepare("INSERT INTO log VALUES ($1)")).await;
        let start = Instant::now();
        for n in round * 1_000_000.. {
            if start.elapsed() > Duration::from_secs(2) {
                break;
            }
            if client.execute(&insert, &[&n]).await.is_ok() {
                acknowledged.insert(n);
            }
        }
        for node in &mut cluster.nodes {
            node.kill();
        }
        for node in &mut cluster.nodes {
            node.spawn();
        }
        for node in &mut cluster.nodes {
            node.wait_ready();
        }
        let client = cluster.nodes[2].connect().await;
        let rows = eventually("the rows", || client.query("SELECT n FROM log", &[])).await;
        let found: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
        let lost: Vec<_> = acknowledged.difference(&found).collect();
        assert!(lost.is_empty(), "lost {} of {}: {lost:?}", lost.len(), acknowledged.len());
    }
    assert!(!acknowledged.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_killed_again_and_again_keeps_what_it_acknowledged() {
    let mut cluster = Cluster::single(&[]);
    let client = cluster.nodes[0].connect().await;
    client.batch_execute("CREATE TABLE log (n bigint PRIMARY KEY, t text)").await.expect("creates");
    let mut expected = 0i64;
    for _ in 0..3 {
        let client = cluster.nodes[0].connect().await;
        let insert = client.prepare("INSERT INTO log VALUES ($1, $2)").await.expect("prepares");
        for _ in 0..200 {
            let text = "x".repeat(100);
            client.execute(&insert, &[&expected, &text]).await.expect("inserts");
            expected += 1;
        }
        cluster.nodes[0].kill();
        cluster.nodes[0].spawn();
        cluster.nodes[0].wait_ready();
        let client = cluster.nodes[0].connect().await;
        let row = eventually("a count", || client.query_one("SELECT count(*) FROM log", &[])).await;
        assert_eq!(row.get::<_, i64>(0), expected);
    }
    assert!(cluster.nodes[0].terminate(), "SIGTERM ends it cleanly");
}
