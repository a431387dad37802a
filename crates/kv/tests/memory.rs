//! What transactions cost in memory, and what happens at the bounds.

#![allow(clippy::unwrap_used, reason = "a test that fails there has failed")]

mod common;

use base::NodeId;
use common::*;
use kv::testing::FakeCluster;
use kv::{Config, Isolation, KvError, ScanOptions, Strength, WaitPolicy};

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn ten_thousand_idle_transactions_cost_little() {
    let cluster = FakeCluster::new();
    let db = cluster.db();
    put(&db, "a", "1").await;
    let before = resident();
    let mut idle = Vec::new();
    for n in 0..10_000 {
        let txn = begin(&db).await;
        assert!(txn.get(&key("a")).await.unwrap().is_some());
        txn.put(key(&format!("row/{n}")), val("x")).unwrap();
        idle.push(txn);
    }
    let bytes = resident().saturating_sub(before);
    eprintln!("{} bytes each", bytes / idle.len());
    assert!(bytes < 100 << 20, "{bytes} bytes");
}

/// Beyond its bound the read set becomes coarser. Then a change in between what was read counts as one of
/// what was read: a conflict too many, never one too few.
#[tokio::test]
async fn a_read_set_beyond_its_bound_is_coarser_and_never_blind() {
    let cluster = FakeCluster::new();
    let config = Config { max_read_spans: 4, ..Config::default() };
    let db = cluster.db_on(NodeId(1), config);
    for n in 0..40 {
        put(&db, &format!("row/{n:02}"), "1").await;
    }
    for (reads, changed, fails) in [
        // Few reads are kept apart: a change between them is none of our business.
        (2, "row/01", false),
        (2, "row/02", true),
        // Many are merged: the same kind of change is taken for a conflict.
        (20, "row/05", true),
        (20, "row/38", true),
        (20, "row/39x", false),
    ] {
        let txn = begin(&db).await;
        for n in 0..reads {
            txn.get(&key(&format!("row/{:02}", 2 * n))).await.unwrap();
        }
        txn.put(key("written"), val("x")).unwrap();
        put(&db, changed, "2").await;
        // The commit has to lie above this read, hence above the change.
        get(&db, "written").await;
        let result = txn.commit().await;
        assert_eq!(result.is_err(), fails, "{reads} reads, {changed} changed: {result:?}");
    }
}

#[tokio::test]
async fn writes_beyond_the_memory_of_a_transaction_are_refused() {
    let cluster = FakeCluster::new();
    let db = cluster.db_on(NodeId(1), Config { txn_memory: 10_000, ..Config::default() });
    let txn = begin(&db).await;
    let error = (0..1000).find_map(|n| txn.put(key(&format!("row/{n}")), val("x")).err());
    assert!(matches!(error, Some(KvError::TooLarge { limit: 10_000, .. })), "{error:?}");
    txn.rollback().await;
    // Undoing costs memory only while there is a mark to return to.
    let txn = begin(&db).await;
    for n in 0..40 {
        let _mark = txn.savepoint();
        txn.put(key("row"), val(&"x".repeat(100 + n))).unwrap();
        txn.forget_savepoints();
    }
    assert!(txn.buffered_bytes() < 700, "{}", txn.buffered_bytes());
}

#[tokio::test]
async fn locks_younger_than_a_savepoint_go_with_it() {
    let cluster = FakeCluster::with_nodes(2);
    cluster.split_at(&[key("m")]);
    cluster.spread_leaders();
    let db = cluster.db();
    for row in ["a", "b", "y", "z"] {
        put(&db, row, "1").await;
    }
    settled(&cluster).await;
    for isolation in [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable]
    {
        let txn = begin_at(&db, isolation).await;
        let lock = |names: &[&str]| {
            let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
            let txn = txn.clone();
            async move { txn.lock(&keys, Strength::Update, WaitPolicy::Nowait).await }
        };
        lock(&["a"]).await.unwrap();
        let mark = txn.savepoint();
        lock(&["a", "b", "y", "z"]).await.unwrap();
        txn.put(key("z"), val("2")).unwrap();
        assert_eq!(cluster.lock_counts(), (0, 4));
        txn.rollback_to_and_release(Some(mark)).await.unwrap();
        assert_eq!(cluster.lock_counts(), (0, 1), "{isolation:?}");
        // Somebody else may write the rows now, and not below what this transaction has seen.
        put(&db, "b", "3").await;
        txn.begin_statement().await.unwrap();
        let seen = txn.get(&key("b")).await.unwrap();
        let want = if isolation == Isolation::ReadCommitted { "3" } else { "1" };
        assert_eq!(seen, Some(val(want)), "{isolation:?}");
        lock(&["y"]).await.unwrap();
        txn.put(key("y"), val("4")).unwrap();
        let page = txn.scan(key("").prefix_range(), ScanOptions::default()).await.unwrap();
        assert_eq!(page.rows.len(), 4);
        // A commit at its own snapshot is before the other's write.
        txn.commit().await.unwrap();
        settled(&cluster).await;
        put(&db, "b", "1").await;
        settled(&cluster).await;
    }
}
