//! Locks of users over real processes: an advisory lock outlives its range's leader, and ends with its
//! gateway; eight workers over three nodes share a queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::support::{Cluster, eventually};
use tokio_postgres::{Client, Error};

/// Index of the node that leads the range of the advisory locks, as the cluster says.
async fn leader_of_advisory_locks(cluster: &Cluster, client: &Client) -> Result<usize, Error> {
    let ranges = client.query("SELECT range_id, leader FROM conclave.ranges", &[]).await?;
    // Range 2 is the first of the user's key space; nothing has split it before the tables.
    let of_locks = ranges.iter().find(|row| row.get::<_, i64>(0) == 2).expect("range 2");
    let leader: Option<i64> = of_locks.get(1);
    let nodes = client.query("SELECT node_id, sql_address FROM conclave.nodes", &[]).await?;
    let by_id: BTreeMap<i64, String> = nodes.iter().map(|n| (n.get(0), n.get(1))).collect();
    let address = by_id.get(&leader.unwrap_or_default()).cloned().unwrap_or_default();
    let at = cluster.nodes.iter().position(|n| address.ends_with(&format!(":{}", n.ports.sql)));
    Ok(at.unwrap_or(usize::MAX))
}

async fn tries(client: &Client, sql: &str) -> Result<bool, Error> {
    Ok(client.query_one(sql, &[]).await?.get(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_advisory_lock_outlives_its_leader_and_ends_with_its_gateway() {
    let mut cluster = Cluster::start(3, &[]).await;
    let clients = [
        cluster.nodes[0].connect().await,
        cluster.nodes[1].connect().await,
        cluster.nodes[2].connect().await,
    ];
    let leader = eventually("a leader", || async {
        match leader_of_advisory_locks(&cluster, &clients[0]).await {
            Ok(usize::MAX) => Err("not known".to_owned()),
            Ok(leader) => Ok(leader),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    let (gateway, other) = ((leader + 1) % 3, (leader + 2) % 3);
    clients[gateway].batch_execute("SELECT pg_advisory_lock(42)").await.expect("locks");
    cluster.nodes[leader].kill();
    let try_it = "SELECT pg_try_advisory_lock(42)";
    let started = Instant::now();
    let mut asked = 0;
    while started.elapsed() < Duration::from_secs(12) {
        // Errors until a new leader is there; never the lock.
        if let Ok(got) = tries(&clients[other], try_it).await {
            assert!(!got, "granted after {:?}, though it is held", started.elapsed());
            asked += 1;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(asked > 0, "the range has a leader again");
    // The holder still has it, and shares it with nobody until it lets go.
    eventually("unlocked", || async {
        match tries(&clients[gateway], "SELECT pg_advisory_unlock(42)").await {
            Ok(true) => Ok(()),
            Ok(false) => panic!("the holder has lost its lock"),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    eventually("taken by the other", || async {
        tries(&clients[other], try_it)
            .await
            .map_err(|e| e.to_string())?
            .then_some(())
            .ok_or("no".to_owned())
    })
    .await;
    // Its gateway dies; nobody is left to unlock it.
    cluster.nodes[leader].spawn();
    cluster.nodes[leader].wait_ready();
    cluster.nodes[other].kill();
    let heir = cluster.nodes[gateway].connect().await;
    eventually("free after the gateway's death", || async {
        tries(&heir, try_it).await.map_err(|e| e.to_string())?.then_some(()).ok_or("no".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_workers_share_a_queue_and_none_waits() {
    const JOBS: i32 = 200;
    let cluster = Cluster::start(3, &[]).await;
    let client = cluster.nodes[0].connect().await;
    client
        .batch_execute(
            "CREATE TABLE jobs (id int PRIMARY KEY, worker int);
             INSERT INTO jobs SELECT g, NULL FROM generate_series(1, 200) g",
        )
        .await
        .expect("a queue");
    let split = "ALTER TABLE jobs SPLIT AT VALUES (50), (100), (150)";
    client.batch_execute(split).await.expect("splits");
    let mut workers = Vec::new();
    for worker in 0..8usize {
        let client = cluster.nodes[worker % 3].connect().await;
        workers.push(tokio::spawn(async move {
            // A wait of that length would be for somebody's lock.
            client.batch_execute("SET lock_timeout = '3s'").await?;
            let mut mine = Vec::new();
            loop {
                client.batch_execute("BEGIN").await?;
                let job = client
                    .query_opt(
                        "SELECT id FROM jobs WHERE worker IS NULL ORDER BY id LIMIT 1 \
                         FOR UPDATE SKIP LOCKED",
                        &[],
                    )
                    .await?;
                let Some(job) = job else {
                    client.batch_execute("ROLLBACK").await?;
                    return Ok::<Vec<i32>, Error>(mine);
                };
                let id: i32 = job.get(0);
                let work = format!("UPDATE jobs SET worker = {worker} WHERE id = {id}; COMMIT");
                client.batch_execute(&work).await?;
                mine.push(id);
            }
        }));
    }
    let mut all = BTreeSet::new();
    let mut total = 0;
    for worker in workers {
        let mine = worker.await.expect("no panic").expect("no error reaches a worker");
        total += mine.len();
        all.extend(mine);
    }
    // A worker leaves when all that is left is in the hands of others, who finish it.
    assert_eq!((total, all.len()), (JOBS as usize, JOBS as usize), "each job once");
    let left = client.query_one("SELECT count(*) FROM jobs WHERE worker IS NULL", &[]).await;
    assert_eq!(left.expect("counts").get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_lock_table_refuses_and_serves_on() {
    let cluster = Cluster::single(&["--range-locks", "50"]);
    let client = cluster.nodes[0].connect().await;
    let table = "CREATE TABLE t (id int PRIMARY KEY);
                 INSERT INTO t SELECT g FROM generate_series(1, 40) g";
    client.batch_execute(table).await.expect("40 rows take 40 locks");
    let more = "INSERT INTO t SELECT g FROM generate_series(41, 80) g";
    client.batch_execute(more).await.expect("and are gone with the commit");
    let full = client.batch_execute("SELECT * FROM t FOR UPDATE").await.expect_err("80 rows");
    let full = full.as_db_error().expect("the server's");
    assert_eq!(full.code().code(), "53200", "{full:?}");
    assert!(full.hint().is_some_and(|hint| hint.contains("--range-locks")), "{full:?}");
    let some = client.query("SELECT * FROM t WHERE id <= 20 FOR UPDATE", &[]).await;
    assert_eq!(some.expect("they fit").len(), 20);
}
