//! A key that transactions go by: its changes end them, unless somebody says that they may go on.

#![allow(clippy::unwrap_used, reason = "a test that fails there has failed")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base::Timestamp;
use common::*;
use futures::future::BoxFuture;
use kv::testing::FakeCluster;
use kv::{Db, Isolation, Judge, KvError, Strength, Txn, WaitPolicy};

const LEVELS: [Isolation; 3] =
    [Isolation::Serializable, Isolation::RepeatableRead, Isolation::ReadCommitted];

/// Always of the same opinion.
#[derive(Debug)]
struct Says {
    yes: AtomicBool,
    asked: AtomicUsize,
}

impl Judge for Says {
    fn stands(&self, _: Timestamp) -> BoxFuture<'_, bool> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let yes = self.yes.load(Ordering::Relaxed);
        Box::pin(async move { yes })
    }

    fn uses(&self) -> Vec<proto::kv::SchemaUse> {
        Vec::new()
    }
}

fn judge(yes: bool) -> Arc<Says> {
    Arc::new(Says { yes: AtomicBool::new(yes), asked: AtomicUsize::new(0) })
}

async fn relying(db: &Db, level: Isolation, judge: &Arc<Says>) -> Arc<Txn> {
    let txn = begin_at(db, level).await;
    txn.rely_on(key("premise"), judge.clone());
    assert_eq!(txn.get(&key("premise")).await.unwrap(), Some(val("1")));
    txn
}

/// In one range, and in several.
fn clusters() -> [FakeCluster; 2] {
    let split = FakeCluster::new();
    split.split_at(&[key("b"), key("c"), key("p")]);
    [FakeCluster::new(), split]
}

#[tokio::test]
async fn a_change_that_does_no_harm_stops_no_commit() {
    for level in LEVELS {
        for cluster in clusters() {
            let db = cluster.db();
            put(&db, "premise", "1").await;
            put(&db, "b", "0").await;
            let judge = judge(true);
            let txn = relying(&db, level, &judge).await;
            txn.get(&key("b")).await.unwrap();
            txn.put(key("a"), val("1")).unwrap();
            txn.put(key("c"), val("1")).unwrap();
            put(&db, "premise", "2").await;
            put(&db, "premise", "3").await;
            // Whoever reads a row of ours later pushes the commit above the change.
            get(&db, "a").await;
            txn.commit().await.unwrap();
            assert_eq!(get(&db, "a").await.as_deref(), Some("1"));
            assert_eq!(judge.asked.load(Ordering::Relaxed), 1, "{level:?}: of the last one");
        }
    }
}

#[tokio::test]
async fn a_change_that_does_harm_stops_it_at_every_level() {
    for level in LEVELS {
        for cluster in clusters() {
            let db = cluster.db();
            put(&db, "premise", "1").await;
            let judge = judge(false);
            let txn = relying(&db, level, &judge).await;
            txn.put(key("a"), val("1")).unwrap();
            txn.put(key("c"), val("1")).unwrap();
            put(&db, "premise", "2").await;
            // Whoever reads a row of ours later pushes the commit above the change.
            get(&db, "a").await;
            let error = txn.commit().await.unwrap_err();
            assert!(matches!(error, KvError::Serialization { .. }), "{level:?}: {error:?}");
            assert_eq!(get(&db, "a").await, None);
        }
    }
}

#[tokio::test]
async fn a_snapshot_that_moves_takes_the_premise_along() {
    for yes in [true, false] {
        let cluster = FakeCluster::new();
        let db = cluster.db();
        put(&db, "premise", "1").await;
        put(&db, "a", "old").await;
        let judge = judge(yes);
        let txn = relying(&db, Isolation::Serializable, &judge).await;
        txn.results_returned();
        txn.begin_statement().await.unwrap();
        put(&db, "premise", "2").await;
        put(&db, "a", "new").await;
        let locked = txn.lock(&[key("a")], Strength::Update, WaitPolicy::Block).await;
        assert_eq!(locked.is_ok(), yes);
        if yes {
            assert_eq!(txn.get(&key("premise")).await.unwrap(), Some(val("2")));
            // From here on the premise is what it is now.
            judge.yes.store(false, Ordering::Relaxed);
            txn.put(key("a"), val("newer")).unwrap();
            txn.commit().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_restart_forgets_what_the_premise_was() {
    let cluster = FakeCluster::new();
    let db = cluster.db();
    put(&db, "premise", "1").await;
    let judge = judge(false);
    let txn = relying(&db, Isolation::Serializable, &judge).await;
    put(&db, "premise", "2").await;
    txn.restart();
    txn.begin_statement().await.unwrap();
    assert_eq!(txn.get(&key("premise")).await.unwrap(), Some(val("2")));
    txn.put(key("a"), val("1")).unwrap();
    get(&db, "a").await;
    txn.commit().await.unwrap();
    assert_eq!(judge.asked.load(Ordering::Relaxed), 0);
}
