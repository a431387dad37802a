//! What has become of a transaction can be asked by its id, on any node, whatever got lost.

#![allow(clippy::unwrap_used, reason = "a test that fails there has failed")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use base::{NodeId, Timestamp};
use common::{begin, begin_at, get, key, put, settled, val};
use kv::testing::{FakeCluster, Faults};
use kv::{Config, Db, Isolation, KvError, Remedy, Txn, TxnOptions, XactStatus};

async fn status(db: &Db, id: Timestamp) -> XactStatus {
    db.xact_status(id).await.unwrap()
}

fn three() -> (FakeCluster, [Db; 3]) {
    let cluster = FakeCluster::with_nodes(3);
    cluster.split_at(&[key("b"), key("c")]);
    let dbs = [1, 2, 3].map(|node| cluster.db_on(NodeId(node), Config::default()));
    (cluster, dbs)
}

async fn final_status(db: &Db, id: Timestamp) -> XactStatus {
    for _ in 0..100 {
        match status(db, id).await {
            XactStatus::InProgress => tokio::time::sleep(Duration::from_millis(20)).await,
            status => return status,
        }
    }
    panic!("{id} is in progress for ever");
}

#[tokio::test]
async fn every_node_says_the_same() {
    let (_cluster, dbs) = three();
    for level in [Isolation::Serializable, Isolation::RepeatableRead, Isolation::ReadCommitted] {
        for keys in [vec![], vec!["a"], vec!["a", "b", "c"]] {
            let txn = begin_at(&dbs[0], level).await;
            assert_eq!(txn.assigned_xact_id(), None);
            let id = txn.xact_id().await.unwrap();
            assert_eq!(txn.xact_id().await.unwrap(), id, "once and for all");
            assert_eq!(txn.assigned_xact_id(), Some(id));
            for name in keys {
                txn.put(key(name), val("1")).unwrap();
            }
            for db in &dbs {
                assert_eq!(status(db, id).await, XactStatus::InProgress);
            }
            txn.commit().await.unwrap();
            for db in &dbs {
                assert_eq!(status(db, id).await, XactStatus::Committed);
            }
        }
    }
    let txn = begin(&dbs[0]).await;
    let id = txn.xact_id().await.unwrap();
    txn.rollback().await;
    for db in &dbs {
        assert_eq!(status(db, id).await, XactStatus::Aborted);
    }
    let dropped = begin(&dbs[1]).await;
    let id = dropped.xact_id().await.unwrap();
    drop(dropped);
    assert_eq!(status(&dbs[2], id).await, XactStatus::Aborted);
}

#[tokio::test]
async fn ids_that_nobody_was_told() {
    let (cluster, dbs) = three();
    let nobody = begin(&dbs[0]).await;
    let start = Timestamp(nobody.id().unwrap().0);
    assert_eq!(status(&dbs[1], start).await, XactStatus::Unknown);
    assert_eq!(status(&dbs[1], Timestamp(0)).await, XactStatus::Unknown);
    let future = Timestamp(cluster.newest_timestamp().0 + (1 << 30));
    assert_eq!(status(&dbs[1], future).await, XactStatus::InFuture);
    // To be asked about is not to be told.
    let id = nobody.xact_id().await.unwrap();
    assert_eq!(id, start);
    nobody.commit().await.unwrap();
    assert_eq!(status(&dbs[1], id).await, XactStatus::Committed);
}

#[tokio::test]
async fn transactions_that_only_read_have_an_end_too() {
    let (cluster, dbs) = three();
    put(&dbs[0], "a", "1").await;
    let past = dbs[0].now().await.unwrap();
    cluster.close(past);
    let only = TxnOptions { read_only: true, ..TxnOptions::default() };
    let old = TxnOptions { as_of: Some(past), ..TxnOptions::default() };
    for options in [only, old] {
        for commits in [true, false] {
            let txn = dbs[0].begin(options);
            txn.begin_statement().await.unwrap();
            let id = txn.xact_id().await.unwrap();
            assert!(txn.get(&key("a")).await.unwrap().is_some());
            assert_eq!(status(&dbs[1], id).await, XactStatus::InProgress);
            let right = match commits {
                true => {
                    assert_eq!(txn.commit().await.unwrap(), None);
                    XactStatus::Committed
                }
                false => {
                    txn.rollback().await;
                    XactStatus::Aborted
                }
            };
            assert_eq!(status(&dbs[1], id).await, right);
        }
    }
}

/// The id is the client's name for what it asked for, however often that is run.
#[tokio::test]
async fn a_repetition_and_a_savepoint_keep_the_id() {
    let (_cluster, dbs) = three();
    let txn = begin(&dbs[0]).await;
    let before = txn.savepoint();
    let id = txn.xact_id().await.unwrap();
    txn.rollback_to_and_release(Some(before)).await.unwrap();
    assert_eq!(txn.assigned_xact_id(), Some(id));
    // Overtaken in what it has read: it must run again.
    txn.get(&key("a")).await.unwrap();
    put(&dbs[1], "a", "theirs").await;
    txn.put(key("b"), val("ours")).unwrap();
    txn.put(key("c"), val("ours")).unwrap();
    let error = txn.commit().await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::RestartTransaction, "{error}");
    assert_eq!(status(&dbs[2], id).await, XactStatus::InProgress, "it may run again");
    txn.restart();
    txn.begin_statement().await.unwrap();
    assert_eq!(txn.xact_id().await.unwrap(), id);
    txn.get(&key("a")).await.unwrap();
    txn.put(key("b"), val("ours")).unwrap();
    txn.commit().await.unwrap();
    assert_eq!(status(&dbs[2], id).await, XactStatus::Committed);
}

/// The node is alive and cut off; the others take it for dead, and what they say stands.
#[tokio::test]
async fn a_transaction_that_was_declared_aborted_never_commits() {
    for keys in [vec![], vec!["a"], vec!["a", "b", "c"]] {
        for level in [Isolation::Serializable, Isolation::ReadCommitted] {
            let (cluster, dbs) = three();
            let txn = begin_at(&dbs[1], level).await;
            let id = txn.xact_id().await.unwrap();
            let write = |txn: &Arc<Txn>| {
                for name in &keys {
                    txn.put(key(name), val("late")).unwrap();
                }
            };
            write(&txn);
            assert_eq!(status(&dbs[0], id).await, XactStatus::InProgress);
            cluster.set_down(NodeId(2), true);
            assert_eq!(status(&dbs[0], id).await, XactStatus::Aborted);
            let error = txn.commit().await.unwrap_err();
            assert_eq!(error, KvError::DeclaredAborted { xact: id });
            assert_eq!(error.remedy(), Remedy::Report);
            txn.restart();
            txn.begin_statement().await.unwrap();
            write(&txn);
            let error = txn.commit().await.unwrap_err();
            assert_eq!(error, KvError::DeclaredAborted { xact: id }, "nor in another run");
            cluster.set_down(NodeId(2), false);
            for db in &dbs {
                assert_eq!(status(db, id).await, XactStatus::Aborted);
            }
            settled(&cluster).await;
            assert_eq!(get(&dbs[0], "a").await, None);
        }
    }
}

#[tokio::test]
async fn one_that_only_reads_can_be_declared_aborted() {
    let (cluster, dbs) = three();
    let txn = dbs[1].begin(TxnOptions { read_only: true, ..TxnOptions::default() });
    txn.begin_statement().await.unwrap();
    let id = txn.xact_id().await.unwrap();
    cluster.set_down(NodeId(2), true);
    assert_eq!(status(&dbs[0], id).await, XactStatus::Aborted);
    assert_eq!(txn.commit().await.unwrap_err(), KvError::DeclaredAborted { xact: id });
}

/// Commits, and those who ask in the middle of them, while messages get lost and leaders move.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_hold_while_messages_get_lost() {
    for seed in 0..40 {
        let (cluster, dbs) = three();
        cluster.spread_leaders();
        let faults = Faults { requests_lost: 60, replies_lost: 120, latency: Duration::ZERO, seed };
        cluster.set_faults(faults);
        let txn = begin(&dbs[0]).await;
        let Ok(id) = txn.xact_id().await else { continue };
        for name in ["a", "b", "c"] {
            txn.put(key(name), val("1")).unwrap();
        }
        let asked = tokio::spawn({
            let db = dbs[1].clone();
            async move {
                let mut answers = Vec::new();
                for _ in 0..20 {
                    answers.extend(db.xact_status(id).await);
                    tokio::task::yield_now().await;
                }
                answers
            }
        });
        let told = txn.commit().await;
        drop(txn);
        let answers = asked.await.unwrap();
        cluster.set_faults(Faults::default());
        let last = final_status(&dbs[2], id).await;
        let there = get(&dbs[0], "a").await.is_some();
        let name = format!("seed {seed}: told {told:?}, asked {answers:?}, {last:?}");
        assert_eq!(there, last == XactStatus::Committed, "{name}");
        match told {
            Ok(_) => assert!(there, "{name}"),
            Err(KvError::Ambiguous { .. }) => {}
            Err(_) => assert!(!there, "{name}"),
        }
        for answer in answers {
            assert!(answer == XactStatus::InProgress || answer == last, "{name}");
        }
    }
}

#[tokio::test]
async fn outcomes_are_forgotten_when_they_are_old() {
    let (cluster, dbs) = three();
    let txn = begin(&dbs[0]).await;
    let old = txn.xact_id().await.unwrap();
    txn.commit().await.unwrap();
    let open = begin(&dbs[0]).await;
    let late = open.xact_id().await.unwrap();
    cluster.advance_clock(Duration::from_secs(60));
    let txn = begin(&dbs[0]).await;
    let young = txn.xact_id().await.unwrap();
    txn.commit().await.unwrap();
    dbs[1].forget_xacts(dbs[1].now().await.unwrap()).await.unwrap();
    assert_eq!(status(&dbs[2], old).await, XactStatus::Committed, "it is not that old");
    cluster.advance_clock(Duration::from_secs(2 * 3600 - 30));
    let point = dbs[1].now().await.unwrap();
    dbs[1].forget_xacts(point).await.unwrap();
    assert_eq!(status(&dbs[2], old).await, XactStatus::Unknown);
    assert_eq!(status(&dbs[2], young).await, XactStatus::Committed);
    // Whoever is that old can't write any more, so that it stays so.
    open.commit().await.unwrap_err();
    open.restart();
    open.begin_statement().await.unwrap();
    let error = open.commit().await.unwrap_err();
    assert_eq!(error, KvError::DeclaredAborted { xact: late }, "nor in a run that begins now");
    assert_eq!(status(&dbs[2], late).await, XactStatus::Unknown);
    dbs[1].forget_xacts(point).await.unwrap();
}
