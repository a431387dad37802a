//! Reading the past: from replicas that do not lead, and down to what garbage collection has kept.

#![allow(clippy::unwrap_used, reason = "a test that fails there has failed")]

mod common;

use base::{NodeId, Timestamp};
use common::{key, put, val};
use kv::testing::FakeCluster;
use kv::{Config, Db, Isolation, KvError, ScanOptions, Strength, TxnOptions, WaitPolicy};
use std::time::Duration;

fn impatient() -> Config {
    Config { unavailable_after: Duration::from_millis(50), ..Config::default() }
}

fn as_of(ts: Timestamp) -> TxnOptions {
    TxnOptions { as_of: Some(ts), ..TxnOptions::default() }
}

async fn get(db: &Db, name: &str, ts: Timestamp) -> Result<Option<bytes::Bytes>, KvError> {
    let txn = db.begin(as_of(ts));
    txn.begin_statement().await?;
    txn.get(&key(name)).await
}

async fn names(db: &Db, ts: Timestamp) -> Result<usize, KvError> {
    let txn = db.begin(as_of(ts));
    txn.begin_statement().await?;
    let span = base::keyspace::user();
    Ok(txn.scan(span, ScanOptions::default()).await?.rows.len())
}

#[tokio::test]
async fn a_replica_that_does_not_lead_answers_what_is_closed() {
    let cluster = FakeCluster::with_nodes(3);
    let leader = cluster.db();
    let follower = cluster.db_on(NodeId(2), impatient());
    put(&leader, "a", "1").await;
    put(&leader, "b", "1").await;
    let then = leader.now().await.unwrap();
    put(&leader, "a", "2").await;
    let now = leader.now().await.unwrap();
    // It knows its way, and what was issued.
    assert_eq!(get(&follower, "a", now).await.unwrap(), Some(val("2")));
    cluster.close(then);
    cluster.set_down(NodeId(1), true);

    assert_eq!(get(&follower, "a", then).await.unwrap(), Some(val("1")));
    assert_eq!(names(&follower, then).await.unwrap(), 2);
    assert!(follower.metrics().follower_reads.get() >= 2);
    let above = get(&follower, "a", now).await;
    assert!(matches!(above, Err(KvError::Unavailable { .. })), "{above:?}");

    // Who has no replica asks those who do, when the leader does not answer.
    let third = cluster.db_on(NodeId(3), impatient());
    for range in follower.partitions(&base::keyspace::user()) {
        assert_eq!(range.1, Some(NodeId(1)), "an answer of a follower makes it no leader");
    }
    drop(third);
    cluster.set_down(NodeId(1), false);
    assert_eq!(get(&follower, "a", now).await.unwrap(), Some(val("2")));
}

#[tokio::test]
async fn a_lock_in_the_way_is_the_leaders_business() {
    let cluster = FakeCluster::with_nodes(2);
    let _leader = cluster.db();
    let follower = cluster.db_on(NodeId(2), Config::default());
    cluster.abandon_commit(&[(key("a"), val("1")), (key("b"), val("2"))], true);
    let after = follower.now().await.unwrap();
    cluster.close(after);
    // The locks are the decision: whoever reads above them has them settled first.
    assert_eq!(get(&follower, "b", after).await.unwrap(), Some(val("2")));
    assert_eq!(cluster.lock_counts().0, 0);
}

#[tokio::test]
async fn old_transactions_commit_above_what_is_closed() {
    for isolation in [Isolation::Serializable, Isolation::RepeatableRead, Isolation::ReadCommitted]
    {
        let cluster = FakeCluster::new();
        let db = cluster.db();
        put(&db, "a", "1").await;
        cluster.split_at(&[key("m")]);
        for names in [vec!["b"], vec!["b", "x"]] {
            let txn = db.begin(TxnOptions { isolation, ..TxnOptions::default() });
            txn.begin_statement().await.unwrap();
            assert_eq!(txn.get(&key("a")).await.unwrap(), Some(val("1")));
            for name in &names {
                txn.put(key(name), val("2")).unwrap();
            }
            let closed = db.now().await.unwrap();
            cluster.close(closed);
            let at = txn.commit().await.unwrap().expect("it wrote");
            assert!(at > closed, "{isolation:?}: committed at {at}, {closed} is closed");
        }
    }
}

#[tokio::test]
async fn below_the_collection_point_there_is_a_clear_error() {
    let cluster = FakeCluster::new();
    let db = cluster.db();
    put(&db, "a", "1").await;
    let then = db.now().await.unwrap();
    put(&db, "a", "2").await;
    let now = db.now().await.unwrap();
    cluster.collect(now);
    assert_eq!(cluster.versions(), 1);
    let read = get(&db, "a", then).await;
    assert_eq!(read, Err(KvError::SnapshotTooOld { read_ts: then, safe_point: now }));
    assert_eq!(get(&db, "a", now).await.unwrap(), Some(val("2")));
}

#[tokio::test]
async fn open_snapshots_are_known_until_they_end() {
    let cluster = FakeCluster::new();
    let db = cluster.db();
    put(&db, "a", "1").await;
    assert_eq!(db.oldest_snapshot(), None);
    let past = db.now().await.unwrap();

    let old = db.begin(as_of(past));
    old.begin_statement().await.unwrap();
    let writer = db.begin(TxnOptions::default());
    let began = writer.begin_statement().await.unwrap();
    assert_eq!(db.oldest_snapshot(), Some(past));
    old.rollback().await;
    assert_eq!(db.oldest_snapshot(), Some(began));

    // A reader at READ COMMITTED needs its newest snapshot only; a writer its id.
    let committed =
        TxnOptions { isolation: Isolation::ReadCommitted, read_only: true, ..Default::default() };
    let reader = db.begin(committed);
    reader.begin_statement().await.unwrap();
    writer.lock(&[key("b")], Strength::Update, WaitPolicy::Block).await.unwrap();
    writer.put(key("b"), val("1")).unwrap();
    writer.commit().await.unwrap();
    let second = reader.begin_statement().await.unwrap();
    assert_eq!(db.oldest_snapshot(), Some(second));
    drop(reader);
    assert_eq!(db.oldest_snapshot(), None);
}

#[tokio::test]
async fn settings_of_the_cluster_are_kept() {
    let db = FakeCluster::new().db();
    assert!(db.cluster_settings().await.unwrap().is_empty());
    db.set_cluster_setting("gc.ttl", "10s").await.unwrap();
    let set = db.cluster_settings().await.unwrap();
    assert_eq!(set.get("gc.ttl").map(String::as_str), Some("10s"));
    db.set_cluster_setting("gc.ttl", "").await.unwrap();
    assert!(db.cluster_settings().await.unwrap().is_empty());
}
