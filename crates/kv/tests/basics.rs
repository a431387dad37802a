//! One transaction at a time: reads, writes, scans, savepoints, routing.

#![allow(clippy::unwrap_used, reason = "a test that fails there has failed")]

mod common;

use base::KeyRange;
use common::*;
use kv::testing::FakeCluster;
use kv::{KvError, ScanOptions, Strength, TxnOptions, WaitPolicy};

#[tokio::test]
async fn what_is_committed_is_read_by_the_next() {
    let cluster = FakeCluster::new();
    let db = cluster.db();
    let txn = begin(&db).await;
    txn.put(key("a"), val("1")).unwrap();
    txn.put(key("b"), val("2")).unwrap();
    assert_eq!(txn.get(&key("a")).await.unwrap(), Some(val("1")), "own write");
    let ts = txn.commit().await.unwrap().expect("something was written");
    assert_eq!(db.metrics().commits_one_phase.get(), 1);

    let txn = begin(&db).await;
    assert!(txn.read_ts() >= ts);
    let keys = [key("b"), key("nothing"), key("a")];
    let values = txn.get_many(&keys).await.unwrap();
    assert_eq!(values, [Some(val("2")), None, Some(val("1"))]);
    assert_eq!(txn.commit().await.unwrap(), None);
    assert_eq!(cluster.lock_counts(), (0, 0));
}

#[tokio::test]
async fn writes_over_several_ranges_commit_in_parallel() {
    let cluster = FakeCluster::with_nodes(3);
    cluster.split_at(&[key("b"), key("c"), key("d")]);
    cluster.spread_leaders();
    let db = cluster.db();
    let txn = begin(&db).await;
    for k in ["a", "b", "c", "d"] {
        txn.put(key(k), val(k)).unwrap();
    }
    txn.commit().await.unwrap();
    assert_eq!(db.metrics().commits_parallel.get(), 1);
    settled(&cluster).await;
    let txn = begin(&db).await;
    let page = txn.scan(KeyRange::new(key("a"), key("z")), ScanOptions::default()).await.unwrap();
    assert_eq!(names(&page), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn scans_see_own_writes_in_both_directions_and_within_limits() {
    let cluster = FakeCluster::new();
    cluster.split_at(&[key("c"), key("e"), key("g")]);
    let db = cluster.db();
    let txn = begin(&db).await;
    for k in ["a", "c", "e", "g"] {
        txn.put(key(k), val(k)).unwrap();
    }
    txn.commit().await.unwrap();

    let txn = begin(&db).await;
    txn.delete(key("c")).unwrap();
    txn.put(key("b"), val("b")).unwrap();
    txn.put(key("f"), val("f")).unwrap();
    txn.put(key("h"), val("h")).unwrap();
    let want = ["a", "b", "e", "f", "g", "h"];
    let span = KeyRange::new(key("a"), key("z"));
    for max_rows in 0..8 {
        for reverse in [false, true] {
            let options = ScanOptions { reverse, max_rows, ..ScanOptions::default() };
            let mut seen = Vec::new();
            let mut left = Some(span.clone());
            while let Some(span) = left {
                let page = txn.scan(span, options).await.unwrap();
                assert!(max_rows == 0 || page.rows.len() as u64 <= max_rows);
                seen.extend(names(&page));
                left = page.resume;
            }
            let mut want: Vec<_> = want.to_vec();
            if reverse {
                want.reverse();
            }
            assert_eq!(seen, want, "max_rows={max_rows} reverse={reverse}");
        }
    }
}

#[tokio::test]
async fn a_savepoint_undoes_what_came_after_it() {
    let db = FakeCluster::new().db();
    let txn = begin(&db).await;
    txn.put(key("a"), val("1")).unwrap();
    let first = txn.savepoint();
    txn.put(key("a"), val("2")).unwrap();
    txn.put(key("b"), val("2")).unwrap();
    let second = txn.savepoint();
    txn.delete(key("a")).unwrap();
    txn.rollback_to(second);
    assert_eq!(txn.get(&key("a")).await.unwrap(), Some(val("2")));
    txn.rollback_to(first);
    assert_eq!(txn.get(&key("a")).await.unwrap(), Some(val("1")));
    assert_eq!(txn.get(&key("b")).await.unwrap(), None);
    txn.rollback_to(first);
    txn.commit().await.unwrap();
    let txn = begin(&db).await;
    assert_eq!(txn.get(&key("a")).await.unwrap(), Some(val("1")));
}

#[tokio::test]
async fn an_insert_of_an_existing_key_is_refused() {
    let db = FakeCluster::new().db();
    let txn = begin(&db).await;
    txn.insert(key("a"), val("1")).unwrap();
    let again = txn.insert(key("a"), val("2"));
    assert_eq!(again, Err(KvError::DuplicateKey { key: key("a") }));
    txn.commit().await.unwrap();

    let txn = begin(&db).await;
    txn.insert(key("a"), val("2")).unwrap();
    assert_eq!(txn.commit().await, Err(KvError::DuplicateKey { key: key("a") }));

    // Deleted and inserted anew: the key is not new to the store, and need not be.
    let txn = begin(&db).await;
    txn.delete(key("a")).unwrap();
    txn.insert(key("a"), val("3")).unwrap();
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn a_transaction_beyond_its_memory_is_refused() {
    let cluster = FakeCluster::new();
    let config = kv::Config { txn_memory: 1000, ..kv::Config::default() };
    let db = cluster.db_on(base::NodeId(1), config);
    let txn = begin(&db).await;
    let result = txn.put(key("a"), vec![0; 2000].into());
    assert!(matches!(result, Err(KvError::TooLarge { limit: 1000, .. })), "{result:?}");
}

#[tokio::test]
async fn routing_is_repaired_after_splits_and_moves() {
    let cluster = FakeCluster::with_nodes(3);
    let db = cluster.db();
    put(&db, "m", "1").await;
    cluster.split_at(&[key("c"), key("m"), key("t")]);
    cluster.spread_leaders();
    for k in ["a", "d", "m", "z"] {
        put(&db, k, k).await;
    }
    let txn = begin(&db).await;
    let page = txn.scan(KeyRange::ALL, ScanOptions::default()).await.unwrap();
    assert_eq!(names(&page), ["a", "d", "m", "z"]);
    assert!(db.metrics().stale_ranges.get() > 0);
    assert!(db.metrics().stale_leaders.get() > 0);

    db.split(&[key("d"), key("m"), key("x")]).await.unwrap();
    assert_eq!(cluster.ranges().len(), 2 + 3 + 2, "m is a border already");
}

#[tokio::test]
async fn locks_return_the_newest_row_and_own_writes() {
    let cluster = FakeCluster::new();
    let db = cluster.db();
    put(&db, "a", "1").await;
    let txn = begin(&db).await;
    put(&db, "a", "2").await;
    let keys = [key("a"), key("b")];
    let locked = txn.lock(&keys, Strength::Update, WaitPolicy::Block).await.unwrap();
    assert_eq!(locked[0].value, Some(val("2")), "nothing was read, so the snapshot moves");
    assert_eq!(locked[1].value, None);
    txn.put(key("a"), val("3")).unwrap();
    let locked = txn.lock(&keys[..1], Strength::Update, WaitPolicy::Block).await.unwrap();
    assert_eq!(locked[0].value, Some(val("3")));

    let other = begin(&db).await;
    let nowait = other.lock(&keys, Strength::Share, WaitPolicy::Nowait).await;
    assert!(matches!(nowait, Err(KvError::LockNotAvailable { timed_out: false, .. })));
    let skipped = other.lock(&keys, Strength::Share, WaitPolicy::SkipLocked).await.unwrap();
    assert!(skipped.iter().all(|l| l.skipped));
    other.set_lock_timeout(Some(std::time::Duration::from_millis(30)));
    let late = other.lock(&keys, Strength::Share, WaitPolicy::Block).await;
    assert!(matches!(late, Err(KvError::LockNotAvailable { timed_out: true, .. })), "{late:?}");
    txn.commit().await.unwrap();
    other.rollback().await;
    assert_eq!(cluster.lock_counts(), (0, 0));
}

#[tokio::test]
async fn a_dropped_transaction_lets_its_locks_go() {
    let cluster = FakeCluster::new();
    let db = cluster.db();
    let txn = begin(&db).await;
    txn.lock(&[key("a")], Strength::Update, WaitPolicy::Block).await.unwrap();
    assert_eq!(cluster.lock_counts(), (0, 1));
    drop(txn);
    tokio::task::yield_now().await;
    assert_eq!(cluster.lock_counts(), (0, 0));
}

#[tokio::test]
async fn read_only_and_historic_transactions_write_nothing() {
    let db = FakeCluster::new().db();
    put(&db, "a", "1").await;
    let before = db.now().await.unwrap();
    put(&db, "a", "2").await;
    let txn = db.begin(TxnOptions { as_of: Some(before), ..TxnOptions::default() });
    assert_eq!(txn.begin_statement().await.unwrap(), before);
    assert_eq!(txn.get(&key("a")).await.unwrap(), Some(val("1")));
    assert!(matches!(txn.put(key("a"), val("3")), Err(KvError::NotUsable(_))));
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn row_ids_never_repeat() {
    let cluster = FakeCluster::with_nodes(2);
    let (a, b) = (cluster.db(), cluster.db_on(base::NodeId(2), kv::Config::default()));
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..3000 {
        let db = if i % 2 == 0 { &a } else { &b };
        assert!(seen.insert(db.allocate_ids(kv::IdKind::Row, 1).await.unwrap()));
    }
}
