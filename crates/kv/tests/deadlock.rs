//! Cycles of waits are broken, by the youngest, and only cycles; dead coordinators stop nobody.

#![allow(clippy::unwrap_used, reason = "a test that fails there has failed")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Key, NodeId};
use common::*;
use futures::future::join_all;
use kv::testing::FakeCluster;
use kv::{Config, Db, KvError, Remedy, Strength, Txn, WaitPolicy};

async fn lock(txn: &Arc<Txn>, name: &str) -> Result<(), KvError> {
    txn.lock(&[key(name)], Strength::Update, WaitPolicy::Block).await.map(|_| ())
}

/// Each of `n` transactions, on nodes in turn, locks its own row and then the next one's.
async fn circle(n: usize) -> Vec<Result<(), KvError>> {
    let cluster = FakeCluster::with_nodes(3);
    let rows: Vec<String> = (0..n).map(|i| format!("row/{i}")).collect();
    cluster.split_at(&rows.iter().map(|r| key(r)).collect::<Vec<Key>>());
    cluster.spread_leaders();
    let dbs: Vec<Db> = (1..=3).map(|n| cluster.db_on(NodeId(n), Config::default())).collect();
    let mut txns = Vec::new();
    for i in 0..n {
        let txn = begin(&dbs[i % 3]).await;
        lock(&txn, &rows[i]).await.unwrap();
        txns.push(txn);
    }
    let waits = txns.iter().enumerate().map(|(i, txn)| {
        let (txn, next) = (txn.clone(), rows[(i + 1) % n].clone());
        tokio::spawn(async move {
            lock(&txn, &next).await?;
            txn.put(key(&next), val("x"))?;
            txn.commit().await.map(|_| ())
        })
    });
    let results: Vec<_> = join_all(waits).await.into_iter().map(|r| r.unwrap()).collect();
    drop(txns);
    settled(&cluster).await;
    results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_youngest_of_a_cycle_goes() {
    for n in [2, 3, 5] {
        let started = Instant::now();
        let results = circle(n).await;
        assert!(started.elapsed() < Duration::from_secs(2), "found by probes, not by age");
        for (i, result) in results.iter().enumerate() {
            match result {
                Ok(()) => assert!(i < n - 1, "the youngest of {n} went on"),
                Err(error @ KvError::Deadlock { cycle, .. }) => {
                    assert_eq!(i, n - 1, "{i} of {n} had to go: {error}");
                    assert_eq!(cycle.len(), n, "{cycle:?}");
                    assert_eq!(error.remedy(), Remedy::RestartTransaction);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_victim_may_run_again_and_keeps_its_age() {
    let cluster = FakeCluster::new();
    let db = cluster.db();
    let (old, young) = (begin(&db).await, begin(&db).await);
    lock(&old, "a").await.unwrap();
    lock(&young, "b").await.unwrap();
    let waiting = tokio::spawn({
        let old = old.clone();
        async move { lock(&old, "b").await }
    });
    let error = lock(&young, "a").await.expect_err("it is the youngest");
    assert!(matches!(error, KvError::Deadlock { .. }), "{error}");
    waiting.await.unwrap().expect("the other goes on");
    let refused = young.get(&key("a")).await;
    assert!(matches!(refused, Err(KvError::Deadlock { .. })), "{refused:?}");
    young.restart();
    young.begin_statement().await.unwrap();
    let again = tokio::spawn({
        let young = young.clone();
        async move { lock(&young, "a").await }
    });
    tokio::time::sleep(Duration::from_millis(60)).await;
    old.commit().await.unwrap();
    again.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_long_wait_is_no_deadlock() {
    let cluster = FakeCluster::new();
    let db = cluster.db();
    let holder = begin(&db).await;
    lock(&holder, "a").await.unwrap();
    let waiter = begin(&db).await;
    let waiting = tokio::spawn({
        let waiter = waiter.clone();
        async move { lock(&waiter, "a").await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    holder.rollback().await;
    waiting.await.unwrap().unwrap();
    assert_eq!(db.metrics().deadlocks.get(), 0);
}

#[tokio::test]
async fn a_lock_request_that_is_given_up_leaves_nothing_behind() {
    let cluster = FakeCluster::new();
    let db = cluster.db();
    let holder = begin(&db).await;
    lock(&holder, "a").await.unwrap();
    let waiter = begin(&db).await;
    let given_up = tokio::time::timeout(Duration::from_millis(30), lock(&waiter, "a")).await;
    assert!(given_up.is_err());
    holder.rollback().await;
    waiter.rollback().await;
    assert_eq!(cluster.lock_counts(), (0, 0));
    assert_eq!(db.open_transactions(), 0);
}

/// The coordinator dies between prewrite and answer: whoever meets its locks finds out whether all of
/// them are there, which is the commit.
#[tokio::test]
async fn locks_of_a_dead_coordinator_are_settled() {
    for complete in [true, false] {
        let cluster = FakeCluster::with_nodes(2);
        cluster.split_at(&[key("m")]);
        cluster.spread_leaders();
        let config = Config { lock_ttl: Duration::from_millis(100), ..Config::default() };
        let db = cluster.db_on(NodeId(1), config);
        put(&db, "a", "old").await;
        put(&db, "z", "old").await;
        cluster.abandon_commit(&[(key("a"), val("new")), (key("z"), val("new"))], complete);
        assert_eq!(cluster.lock_counts().0, if complete { 2 } else { 1 });
        tokio::time::sleep(Duration::from_millis(150)).await;
        let want = if complete { "new" } else { "old" };
        assert_eq!(get(&db, "z").await.as_deref(), Some(want));
        assert_eq!(get(&db, "a").await.as_deref(), Some(want));
        settled(&cluster).await;
    }
}
