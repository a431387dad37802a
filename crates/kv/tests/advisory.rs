//! Advisory locks exclude each other cluster-wide, and outlive leaders and the answers that get lost.

#![allow(clippy::unwrap_used, reason = "a test that fails there has failed")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use base::NodeId;
use kv::testing::FakeCluster;
use kv::{AdvisoryKey, AdvisoryLocks, Client, Config, Db, KvError, Scope};

const LOCK: AdvisoryKey = AdvisoryKey::One(1, 42);

fn session(db: &Db) -> Arc<AdvisoryLocks> {
    let activity = db.open_session(Client::default(), 0);
    Arc::new(AdvisoryLocks::new(db.clone(), activity))
}

async fn try_lock(locks: &AdvisoryLocks, exclusive: bool) -> bool {
    locks.lock(LOCK, exclusive, Scope::Session, false, None).await.unwrap()
}

async fn lock(locks: &AdvisoryLocks, key: AdvisoryKey) -> Result<bool, KvError> {
    locks.lock(key, true, Scope::Session, true, Some(Duration::from_secs(10))).await
}

/// Moves every range's leadership, so that no lock in memory is left.
fn forget_memory(cluster: &FakeCluster) {
    for (range, leader) in cluster.ranges() {
        cluster.move_leader(range, NodeId(leader.0 % 3 + 1));
    }
}

#[tokio::test]
async fn a_new_leader_grants_nothing_that_somebody_has() {
    let cluster = FakeCluster::with_nodes(3);
    let dbs: Vec<Db> = (1..=3).map(|n| cluster.db_on(NodeId(n), Config::default())).collect();
    let (a, b) = (session(&dbs[0]), session(&dbs[1]));
    assert!(try_lock(&a, true).await);
    for _ in 0..5 {
        forget_memory(&cluster);
        assert!(!try_lock(&b, true).await, "the lock is held");
        assert!(!try_lock(&b, false).await, "the lock is held");
    }
    forget_memory(&cluster);
    let waits = tokio::spawn({
        let b = b.clone();
        async move { lock(&b, LOCK).await }
    });
    // It finds the holder's row, not its lock in memory; then it queues like any other.
    for _ in 0..500 {
        if cluster.describe_locks().contains("waiting [") && cluster.lock_counts().1 > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!waits.is_finished(), "granted while it is held");
    assert!(a.unlock(LOCK, true).await);
    assert!(waits.await.unwrap().unwrap());
    assert!(!try_lock(&a, true).await);
}

#[tokio::test]
async fn shared_holders_go_together_and_a_lock_is_given_back_as_often_as_taken() {
    let cluster = FakeCluster::with_nodes(3);
    let (one, two) = (cluster.db(), cluster.db_on(NodeId(2), Config::default()));
    let (a, b) = (session(&one), session(&two));
    assert!(try_lock(&a, false).await);
    assert!(try_lock(&b, false).await);
    assert!(!try_lock(&a, true).await, "b has it, too");
    assert!(b.unlock(LOCK, false).await);
    assert!(!b.unlock(LOCK, false).await, "only once");
    assert!(try_lock(&a, true).await, "alone now");
    forget_memory(&cluster);
    assert!(!try_lock(&b, false).await);
    // The shared one is left, on whichever leader.
    assert!(a.unlock(LOCK, true).await);
    assert!(try_lock(&b, false).await);
    forget_memory(&cluster);
    assert!(!try_lock(&b, true).await, "a has it shared");
    a.unlock_all().await;
    assert!(try_lock(&b, true).await);
    b.release_all().await;
    common::settled(&cluster).await;
}

#[tokio::test]
async fn what_a_dead_node_held_is_free() {
    let cluster = FakeCluster::with_nodes(3);
    let (one, two) = (cluster.db(), cluster.db_on(NodeId(2), Config::default()));
    let (a, b) = (session(&two), session(&one));
    assert!(try_lock(&a, true).await);
    cluster.set_down(NodeId(2), true);
    // Its locks in memory go when the leaders hear of its end.
    forget_memory(&cluster);
    for (range, leader) in cluster.ranges() {
        if leader == NodeId(2) {
            cluster.move_leader(range, NodeId(3));
        }
    }
    assert!(lock(&b, LOCK).await.unwrap(), "nobody hears of the holder's node");
}

#[tokio::test]
async fn a_release_that_was_lost_is_made_up_for() {
    let cluster = FakeCluster::with_nodes(3);
    let (one, two) = (cluster.db(), cluster.db_on(NodeId(2), Config::default()));
    let (a, b) = (session(&two), session(&one));
    assert!(try_lock(&a, true).await);
    // The session ends; its node lives on and knows nothing of the lock, whose row may be left.
    drop(a);
    assert!(lock(&b, LOCK).await.unwrap());
}

#[tokio::test]
async fn two_advisory_locks_make_a_deadlock() {
    let cluster = FakeCluster::with_nodes(3);
    let (one, two) = (cluster.db(), cluster.db_on(NodeId(2), Config::default()));
    let (a, b) = (session(&one), session(&two));
    let other = AdvisoryKey::Two(1, 4, 2);
    assert!(lock(&a, LOCK).await.unwrap());
    assert!(lock(&b, other).await.unwrap());
    // Whoever dies keeps what its session has, as in PostgreSQL, until it lets go.
    let ask = |locks: Arc<AdvisoryLocks>, key| async move {
        let result = lock(&locks, key).await;
        locks.unlock_all().await;
        result
    };
    let started = std::time::Instant::now();
    let (first, second) = tokio::join!(ask(a, other), ask(b, LOCK));
    assert!(started.elapsed() < Duration::from_secs(3), "found by probes, not by age");
    let died =
        [&first, &second].iter().filter(|r| matches!(r, Err(KvError::Deadlock { .. }))).count();
    assert_eq!(died, 1, "{first:?} {second:?}");
}

#[tokio::test]
async fn a_session_has_only_so_many() {
    let cluster = FakeCluster::new();
    let config = Config { advisory_locks: 3, ..Config::default() };
    let a = session(&cluster.db_on(NodeId(1), config));
    for n in 0..3 {
        assert!(lock(&a, AdvisoryKey::One(1, n)).await.unwrap());
    }
    let refused = lock(&a, AdvisoryKey::One(1, 9)).await;
    assert!(matches!(refused, Err(KvError::LocksExhausted { .. })), "{refused:?}");
    assert!(lock(&a, AdvisoryKey::One(1, 2)).await.unwrap(), "one that it has");
    a.unlock_all().await;
    assert!(a.lock(LOCK, true, Scope::Transaction, true, None).await.unwrap());
    assert!(!a.unlock(LOCK, true).await, "it is the transaction's");
    a.release_to(0).await;
    common::settled(&cluster).await;
}

/// One of many holds the lock at a time, while leaders come and go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutual_exclusion_under_leader_changes() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let cluster = FakeCluster::with_nodes(3);
    let dbs: Vec<Db> = (1..=3).map(|n| cluster.db_on(NodeId(n), Config::default())).collect();
    let inside = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for n in 0..6 {
        let db = dbs[n % 3].clone();
        let inside = inside.clone();
        tasks.push(tokio::spawn(async move {
            let locks = session(&db);
            for _ in 0..8 {
                assert!(lock(&locks, LOCK).await.unwrap());
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
                tokio::time::sleep(Duration::from_millis(3)).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                assert!(locks.unlock(LOCK, true).await);
            }
        }));
    }
    let moves = tokio::spawn({
        let cluster = cluster.clone();
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(7)).await;
                forget_memory(&cluster);
            }
        }
    });
    for task in tasks {
        task.await.unwrap();
    }
    moves.abort();
}
