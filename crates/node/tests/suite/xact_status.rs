//! A gateway is killed while its clients commit. They ask other nodes what has become of their
//! transactions, and hear what everybody can see.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Cluster, eventually};
use tokio_postgres::{Client, Error};

const CLIENTS: i64 = 6;

/// What the clients know: by id, whether COMMIT was acknowledged.
type Known = Arc<Mutex<BTreeMap<i64, bool>>>;

/// Commits transactions over two ranges, one after the other, until the connection breaks.
async fn commit_until_broken(client: Client, number: i64, known: Known) -> Result<(), Error> {
    loop {
        client.batch_execute("BEGIN").await?;
        let id: i64 = client.query_one("SELECT txid_current()", &[]).await?.get(0);
        known.lock().expect("no panic").insert(id, false);
        let writes = format!(
            "INSERT INTO marks VALUES ({id});
             UPDATE counters SET n = n + 1 WHERE id = {number};
             UPDATE counters SET n = n + 1 WHERE id = 100 + {number}"
        );
        client.batch_execute(&writes).await?;
        client.batch_execute("COMMIT").await?;
        known.lock().expect("no panic").insert(id, true);
    }
}

async fn status(client: &Client, id: i64) -> Result<Option<String>, Error> {
    Ok(client.query_one("SELECT txid_status($1)", &[&id]).await?.get(0))
}

/// Asks until the answer is final.
async fn fate(client: &Client, id: i64) -> String {
    eventually("an end", || async {
        match status(client, id).await {
            Ok(Some(status)) if status == "in progress" => Err(status),
            Ok(Some(status)) => Ok(status),
            Ok(None) => panic!("{id} is not known"),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_killed_gateway_hear_what_has_become_of_their_commits() {
    let mut cluster = Cluster::start(3, &[]).await;
    let admin = cluster.nodes[0].connect().await;
    admin
        .batch_execute(
            "CREATE TABLE marks (id bigint PRIMARY KEY);
             CREATE TABLE counters (id bigint PRIMARY KEY, n bigint);
             INSERT INTO counters SELECT g, 0 FROM generate_series(0, 199) g",
        )
        .await
        .expect("tables");
    admin.batch_execute("ALTER TABLE counters SPLIT AT VALUES (0), (100)").await.expect("splits");
    let (mut committed, mut aborted, mut in_doubt) = (0, 0, 0);
    for round in 0..4usize {
        let gateway = 1 + round % 2;
        let known = Known::default();
        let mut tasks = Vec::new();
        for number in 0..CLIENTS {
            let client = cluster.nodes[gateway].connect().await;
            tasks.push(tokio::spawn(commit_until_broken(client, number, Arc::clone(&known))));
        }
        let busy = 20 * (round + 1);
        eventually("transactions", || async {
            let count = known.lock().expect("no panic").len();
            if count > busy { Ok(()) } else { Err(count.to_string()) }
        })
        .await;
        cluster.nodes[gateway].kill();
        for task in tasks {
            let ended = tokio::time::timeout(Duration::from_secs(20), task).await;
            ended.expect("hears of the death").expect("no panic").expect_err("its node is dead");
        }
        let known = known.lock().expect("no panic").clone();
        let others = [cluster.nodes[0].connect().await, cluster.nodes[3 - gateway].connect().await];
        for (id, acknowledged) in known {
            let answers = [fate(&others[0], id).await, fate(&others[1], id).await];
            let sql = format!("SELECT 1 FROM marks WHERE id = {id}");
            let row = eventually("the row", || others[0].query_opt(&sql, &[]));
            let right = if row.await.is_some() { "committed" } else { "aborted" };
            assert_eq!(answers, [right, right], "{id}, acknowledged: {acknowledged}");
            match (acknowledged, right) {
                (true, _) => assert_eq!(right, "committed", "{id} was acknowledged"),
                (false, "committed") => in_doubt += 1,
                (false, _) => aborted += 1,
            }
            committed += usize::from(right == "committed");
        }
        cluster.nodes[gateway].spawn();
        cluster.nodes[gateway].wait_ready();
    }
    let counted = eventually("the counters", || {
        admin
            .query_one("SELECT sum(n)::bigint / 2, (SELECT count(*) FROM marks) FROM counters", &[])
    });
    let counted = counted.await;
    let expected = i64::try_from(committed).expect("small");
    assert_eq!((counted.get::<_, i64>(0), counted.get::<_, i64>(1)), (expected, expected));
    assert!(aborted > 0, "{committed} committed, {in_doubt} of them unacknowledged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_nobody_knows() {
    let cluster = Cluster::single(&[]);
    let client = cluster.nodes[0].connect().await;
    let id: i64 = client.query_one("SELECT txid_current()", &[]).await.expect("an id").get(0);
    assert_eq!(status(&client, id).await.expect("asks").as_deref(), Some("committed"));
    assert_eq!(status(&client, id - (3 << 50)).await.expect("asks"), None);
    let future = client.query_one("SELECT txid_status($1)", &[&(id + (1 << 50))]).await;
    let error = future.expect_err("in the future");
    assert_eq!(error.code().map(|code| code.code()), Some("22023"));
}
