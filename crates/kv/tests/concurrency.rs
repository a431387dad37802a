//! Many transactions at a time: what the isolation levels promise, and what is retried for the user.

#![allow(clippy::unwrap_used, reason = "a test that fails there has failed")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use base::{Key, NodeId};
use common::*;
use futures::future::join_all;
use kv::testing::{FakeCluster, Faults};
use kv::{Config, Db, Isolation, KvError, Remedy, Strength, Txn, WaitPolicy};

/// Runs a transaction until it commits, as the SQL layer does while the client has seen nothing.
async fn until_committed<F>(txn: &Arc<Txn>, body: impl Fn(Arc<Txn>) -> F) -> Result<(), KvError>
where
    F: Future<Output = Result<(), KvError>>,
{
    loop {
        let savepoint = txn.savepoint();
        let result = async {
            txn.begin_statement().await?;
            body(txn.clone()).await?;
            txn.commit().await
        };
        match result.await {
            Ok(_) => return Ok(()),
            Err(error) => match error.remedy() {
                Remedy::RerunStatement => txn.rollback_to(savepoint),
                Remedy::RestartTransaction => txn.restart(),
                Remedy::Report | Remedy::ReportUnknown => return Err(error),
            },
        }
    }
}

fn number(value: Option<bytes::Bytes>) -> i64 {
    String::from_utf8(value.expect("the row exists").to_vec()).unwrap().parse().unwrap()
}

fn account(n: usize) -> Key {
    key(&format!("acct/{}{n}", (b'a' + (n % 8) as u8) as char))
}

async fn bank(cluster: &FakeCluster, db: &Db) {
    let borders: Vec<_> = ('b'..='h').map(|c| key(&format!("acct/{c}"))).collect();
    cluster.split_at(&borders);
    let txn = begin(db).await;
    for n in 0..32 {
        txn.put(account(n), val("100")).unwrap();
    }
    txn.commit().await.unwrap();
}

async fn transfer(txn: Arc<Txn>, from: usize, to: usize) -> Result<(), KvError> {
    let keys = [account(from), account(to)];
    let rows = txn.lock(&keys, Strength::Update, WaitPolicy::Block).await?;
    for (row, change) in rows.into_iter().zip([-1, 1]) {
        let balance = number(row.value) + change;
        txn.put(row.key, val(&balance.to_string()))?;
    }
    Ok(())
}

async fn total(db: &Db) -> i64 {
    let txn = begin(db).await;
    let span = key("acct/").prefix_range();
    let page = txn.scan(span, kv::ScanOptions::default()).await.unwrap();
    assert_eq!(page.rows.len(), 32);
    page.rows.into_iter().map(|(_, v)| number(Some(v))).sum()
}

/// Transfers from all nodes at once, while somebody adds the balances up.
async fn transfers(cluster: &FakeCluster, isolation: Isolation, faults: Faults) {
    let dbs: Vec<Db> = (1..=3).map(|n| cluster.db_on(NodeId(n), Config::default())).collect();
    bank(cluster, &dbs[0]).await;
    cluster.spread_leaders();
    cluster.set_faults(faults);
    let tasks = (0..12_usize).map(|task| {
        let db = dbs[task % dbs.len()].clone();
        tokio::spawn(async move {
            let mut unknown = 0;
            for i in 0..40_usize {
                let (from, to) = ((task * 7 + i * 5) % 32, (task * 11 + i * 3 + 1) % 32);
                if from == to {
                    continue;
                }
                let options = kv::TxnOptions { isolation, ..kv::TxnOptions::default() };
                let txn = db.begin(options);
                match until_committed(&txn, |txn| transfer(txn, from, to)).await {
                    Ok(()) => {}
                    Err(KvError::Ambiguous { .. }) => unknown += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            unknown
        })
    });
    let reader = dbs[1].clone();
    let reading = tokio::spawn(async move {
        for _ in 0..30 {
            assert_eq!(total(&reader).await, 3200);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let all = tokio::time::timeout(Duration::from_secs(30), join_all(tasks)).await;
    let Ok(all) = all else { panic!("stuck:\n{}", cluster.describe_locks()) };
    let unknown: i32 = all.into_iter().map(|t| t.expect("no panic")).sum();
    reading.await.unwrap();
    cluster.set_faults(Faults::default());
    assert_eq!(unknown, 0, "the cluster was there all the time");
    assert_eq!(total(&dbs[2]).await, 3200);
    settled(cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_keep_the_total() {
    for isolation in [Isolation::Serializable, Isolation::RepeatableRead, Isolation::ReadCommitted]
    {
        transfers(&FakeCluster::with_nodes(3), isolation, Faults::default()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_keep_the_total_when_messages_are_lost() {
    let faults = Faults { requests_lost: 30, replies_lost: 30, seed: 7, ..Faults::default() };
    transfers(&FakeCluster::with_nodes(3), Isolation::Serializable, faults).await;
}

/// TPC-B in small: three updates and an insert, all through the same few rows. The locks queue the
/// transactions up; the snapshot moves on; nobody is told to try again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_rows_are_queued_for_and_never_fail() {
    let cluster = FakeCluster::with_nodes(2);
    cluster.split_at(&[key("branch"), key("history"), key("teller")]);
    cluster.spread_leaders();
    let dbs = [cluster.db(), cluster.db_on(NodeId(2), Config::default())];
    for row in ["account/1", "account/2", "teller/1", "branch/1"] {
        put(&dbs[0], row, "0").await;
    }
    // Long enough for transactions to meet.
    cluster.set_faults(Faults { latency: Duration::from_millis(1), ..Faults::default() });
    let tasks = (0..8).map(|task| {
        let db = dbs[task % 2].clone();
        tokio::spawn(async move {
            for i in 0..25 {
                let txn = begin(&db).await;
                let account = format!("account/{}", 1 + task % 2);
                for (at, row) in [&*account, "teller/1", "branch/1"].iter().enumerate() {
                    txn.begin_statement().await?;
                    let keys = [key(row)];
                    let rows = txn.lock(&keys, Strength::Update, WaitPolicy::Block).await?;
                    let balance = number(rows[0].value.clone()) + 1;
                    txn.put(key(row), val(&balance.to_string()))?;
                    txn.results_returned();
                    if at == 0 {
                        txn.begin_statement().await?;
                        let read = number(txn.get(&key(row)).await?);
                        assert_eq!(read, balance, "own write");
                        txn.results_returned();
                    }
                }
                txn.begin_statement().await?;
                txn.insert(key(&format!("history/{task}/{i}")), val("x"))?;
                txn.commit().await?;
            }
            Ok::<_, KvError>(())
        })
    });
    for task in join_all(tasks).await {
        task.expect("no panic").expect("no transaction fails");
    }
    assert_eq!(get(&dbs[0], "branch/1").await.as_deref(), Some("200"));
    assert_eq!(get(&dbs[0], "teller/1").await.as_deref(), Some("200"));
    let moves: u64 = dbs.iter().map(|db| db.metrics().snapshot_moves.get()).sum();
    assert!(moves > 0);
}

/// Two doctors on call, each leaves if the other stays.
async fn write_skew(isolation: Isolation) -> [Result<Option<base::Timestamp>, KvError>; 2] {
    let cluster = FakeCluster::new();
    let db = cluster.db();
    put(&db, "a", "on").await;
    put(&db, "b", "on").await;
    let (one, two) = (begin_at(&db, isolation).await, begin_at(&db, isolation).await);
    for txn in [&one, &two] {
        for k in ["a", "b"] {
            assert_eq!(txn.get(&key(k)).await.unwrap(), Some(val("on")));
        }
    }
    one.put(key("a"), val("off")).unwrap();
    two.put(key("b"), val("off")).unwrap();
    [one.commit().await, two.commit().await]
}

#[tokio::test]
async fn write_skew_is_allowed_at_repeatable_read_only() {
    let [one, two] = write_skew(Isolation::RepeatableRead).await;
    assert!(one.is_ok() && two.is_ok());
    let [one, two] = write_skew(Isolation::Serializable).await;
    assert!(one.is_ok());
    let error = two.expect_err("the other's read is out of date");
    assert!(matches!(error, KvError::Serialization { .. }), "{error}");
    assert_eq!(error.remedy(), Remedy::RestartTransaction);
}

#[tokio::test]
async fn a_lost_update_is_refused_at_repeatable_read_and_rerun_at_read_committed() {
    let db = FakeCluster::new().db();
    for (isolation, want_rerun) in
        [(Isolation::RepeatableRead, false), (Isolation::ReadCommitted, true)]
    {
        put(&db, "a", "1").await;
        put(&db, "b", "1").await;
        let txn = begin_at(&db, isolation).await;
        txn.get(&key("b")).await.unwrap();
        txn.begin_statement().await.unwrap();
        txn.get(&key("a")).await.unwrap();
        put(&db, "a", "2").await;
        let result = txn.lock(&[key("a")], Strength::Update, WaitPolicy::Block).await;
        if want_rerun {
            assert_eq!(result, Err(KvError::Restatement));
            txn.begin_statement().await.unwrap();
            assert_eq!(txn.get(&key("a")).await.unwrap(), Some(val("2")));
            txn.lock(&[key("a")], Strength::Update, WaitPolicy::Block).await.unwrap();
            txn.put(key("a"), val("3")).unwrap();
            txn.commit().await.unwrap();
        } else {
            assert!(matches!(result, Err(KvError::Serialization { .. })), "{result:?}");
        }
    }
}

#[tokio::test]
async fn serializable_reruns_a_statement_whose_own_reads_changed() {
    let db = FakeCluster::new().db();
    put(&db, "a", "1").await;
    put(&db, "b", "1").await;
    // An earlier statement read b, this one reads a: only the latter changes.
    let txn = begin(&db).await;
    txn.get(&key("b")).await.unwrap();
    txn.results_returned();
    txn.begin_statement().await.unwrap();
    txn.get(&key("a")).await.unwrap();
    put(&db, "a", "2").await;
    let result = txn.lock(&[key("a")], Strength::Update, WaitPolicy::Block).await;
    assert_eq!(result, Err(KvError::Restatement));
    txn.begin_statement().await.unwrap();
    assert_eq!(txn.get(&key("a")).await.unwrap(), Some(val("2")));
    txn.lock(&[key("a")], Strength::Update, WaitPolicy::Block).await.unwrap();
    txn.put(key("a"), val("3")).unwrap();
    // And now b changes, and somebody reads a as it was: the commit lies after both, which no retry
    // of a statement can mend.
    put(&db, "b", "2").await;
    assert_eq!(get(&db, "a").await.as_deref(), Some("2"));
    let result = txn.commit().await;
    assert!(matches!(result, Err(KvError::Serialization { .. })), "{result:?}");
}

#[tokio::test]
async fn a_row_locked_and_not_written_is_verified_when_its_leader_moved() {
    let cluster = FakeCluster::with_nodes(2);
    cluster.split_at(&[key("m")]);
    let db = cluster.db();
    put(&db, "a", "1").await;
    put(&db, "z", "1").await;
    for changed in [false, true] {
        let txn = begin_at(&db, Isolation::ReadCommitted).await;
        txn.lock(&[key("a")], Strength::Share, WaitPolicy::Block).await.unwrap();
        txn.put(key("z"), val("2")).unwrap();
        // The lock is lost with its leader.
        let range = cluster.ranges()[1].0;
        cluster.move_leader(range, NodeId(if changed { 2 } else { 1 }));
        if changed {
            put(&db, "a", "2").await;
        }
        let result = txn.commit().await;
        assert_eq!(result.is_err(), changed, "{result:?}");
    }
}

/// A reader that locks and writes nothing is ordered by what it saw, like any other:
///
/// 1. `early` reads x. Then x is changed, and that is acknowledged.
/// 2. `locker` begins, reads a under a lock, and ends.
/// 3. `early` writes a. At its own snapshot that would put it before the change of x, and so before
///    `locker`, which has not seen it.
#[tokio::test]
async fn nobody_commits_below_what_was_read_under_a_lock_that_is_gone() {
    let cluster = FakeCluster::new();
    cluster.split_at(&[key("m")]);
    let db = cluster.db();
    put(&db, "a", "0").await;
    put(&db, "x", "0").await;
    let early = begin_at(&db, Isolation::Serializable).await;
    assert_eq!(early.get(&key("x")).await.unwrap(), Some(val("0")));
    put(&db, "x", "1").await;

    let locker = begin_at(&db, Isolation::Serializable).await;
    let rows = locker.lock(&[key("a")], Strength::Update, WaitPolicy::Block).await.unwrap();
    assert_eq!(rows[0].value, Some(val("0")));
    locker.commit().await.unwrap();

    early.put(key("a"), val("1")).unwrap();
    let result = early.commit().await;
    assert!(matches!(result, Err(KvError::Serialization { .. })), "{result:?}");
}

#[tokio::test]
async fn a_large_transaction_commits_in_two_phases() {
    let cluster = FakeCluster::with_nodes(2);
    cluster.split_at(&[key("row/3"), key("row/6")]);
    cluster.spread_leaders();
    let config = Config { request_bytes: 2000, ..Config::default() };
    let db = cluster.db_on(NodeId(1), config);
    let txn = begin(&db).await;
    for n in 0..900 {
        txn.put(key(&format!("row/{n:03}")), val("x")).unwrap();
    }
    txn.commit().await.unwrap();
    assert_eq!(db.metrics().commits_two_phase.get(), 1);
    settled(&cluster).await;
    let txn = begin(&db).await;
    let page = txn.scan(key("row/").prefix_range(), kv::ScanOptions::default()).await.unwrap();
    assert_eq!(page.rows.len(), 900);
}

#[tokio::test]
async fn a_commit_goes_on_when_its_future_is_dropped() {
    let cluster = FakeCluster::with_nodes(2);
    cluster.split_at(&[key("m")]);
    cluster.spread_leaders();
    cluster.set_faults(Faults { latency: Duration::from_millis(10), ..Faults::default() });
    let db = cluster.db();
    let txn = begin(&db).await;
    txn.put(key("a"), val("1")).unwrap();
    txn.put(key("z"), val("1")).unwrap();
    let dropped = tokio::time::timeout(Duration::from_millis(2), txn.commit()).await;
    assert!(dropped.is_err());
    drop(txn);
    for _ in 0..100 {
        if get(&db, "z").await.is_some() {
            settled(&cluster).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never committed");
}

#[tokio::test]
async fn an_unavailable_range_is_waited_for_and_then_reported() {
    let cluster = FakeCluster::with_nodes(2);
    let config = Config { unavailable_after: Duration::from_millis(200), ..Config::default() };
    let db = cluster.db_on(NodeId(2), config);
    put(&db, "a", "1").await;
    cluster.set_down(NodeId(1), true);
    let txn = db.begin(kv::TxnOptions::default());
    let result = txn.begin_statement().await;
    assert!(matches!(result, Err(KvError::Unavailable { .. })), "{result:?}");
    let back = cluster.clone();
    let returns = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(80)).await;
        back.set_down(NodeId(1), false);
    });
    assert_eq!(get(&db, "a").await.as_deref(), Some("1"));
    returns.await.unwrap();
}

/// A queue for one row, and readers in between, push commits above what the oracle has issued. No
/// commit is told to its client before every later transaction begins above it.
#[tokio::test]
async fn an_acknowledged_commit_is_seen_by_whoever_begins_after_it() {
    let cluster = FakeCluster::with_nodes(2);
    let (writers, others) = (cluster.db(), cluster.db_on(NodeId(2), Config::default()));
    put(&writers, "row", "0").await;
    cluster.freeze_clock();
    let mut queue = Vec::new();
    for _ in 0..8 {
        queue.push(begin_at(&writers, Isolation::ReadCommitted).await);
    }
    assert_eq!(get(&others, "row").await.as_deref(), Some("0"));
    for (place, txn) in queue.into_iter().enumerate() {
        txn.lock(&[key("row")], Strength::Update, WaitPolicy::Block).await.unwrap();
        txn.put(key("row"), val(&(place + 1).to_string())).unwrap();
        txn.commit().await.unwrap();
    }
    assert_eq!(get(&others, "row").await.as_deref(), Some("8"));
}

/// A scan that locks, over two ranges.
async fn scan_for_update(txn: &Txn, from: &str, to: &str) -> Result<Vec<Key>, KvError> {
    let lock = Some(kv::SpanLock { strength: Strength::Update, wait: WaitPolicy::Block });
    let span = base::KeyRange::new(key(from), key(to));
    let page = txn.scan(span, kv::ScanOptions { lock, ..kv::ScanOptions::default() }).await?;
    Ok(page.rows.into_iter().map(|(key, _)| key).collect())
}

/// Inserts a row in the background; the handle ends with the commit.
fn insert(db: &Db, name: &str) -> tokio::task::JoinHandle<Result<(), KvError>> {
    let (db, key) = (db.clone(), key(name));
    tokio::spawn(async move {
        let txn = begin(&db).await;
        txn.insert(key, val("new"))?;
        txn.commit().await.map(drop)
    })
}

async fn until_waiting(cluster: &FakeCluster, count: usize) {
    for _ in 0..1_000 {
        if cluster.waiting() == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{} wait: {}", cluster.waiting(), cluster.describe_locks());
}

#[tokio::test]
async fn a_scan_for_update_keeps_inserts_out_of_all_its_ranges() {
    let cluster = FakeCluster::with_nodes(2);
    cluster.split_at(&[key("m")]);
    cluster.spread_leaders();
    let db = cluster.db();
    put(&db, "f", "1").await;
    let txn = begin(&db).await;
    assert_eq!(scan_for_update(&txn, "d", "t").await.unwrap(), [key("f")]);
    let inside = [insert(&db, "e"), insert(&db, "s")];
    insert(&db, "a").await.unwrap().unwrap();
    insert(&db, "t").await.unwrap().unwrap();
    until_waiting(&cluster, 2).await;
    // A split in the middle takes a part of the claim along.
    cluster.split_at(&[key("h")]);
    let moved = insert(&db, "k");
    until_waiting(&cluster, 3).await;
    txn.put(key("g"), val("own")).unwrap();
    txn.commit().await.unwrap();
    for insert in inside.into_iter().chain([moved]) {
        insert.await.unwrap().unwrap();
    }
    for level in [Isolation::RepeatableRead, Isolation::ReadCommitted] {
        let txn = begin_at(&db, level).await;
        scan_for_update(&txn, "d", "t").await.unwrap();
        insert(&db, &format!("p{level:?}")).await.unwrap().unwrap();
        txn.rollback().await;
    }
}

/// What was claimed behind a savepoint is let go with it, and only that.
#[tokio::test]
async fn a_savepoint_lets_go_of_spans_claimed_behind_it() {
    let cluster = FakeCluster::new();
    let db = cluster.db();
    let txn = begin(&db).await;
    scan_for_update(&txn, "d", "h").await.unwrap();
    let mark = txn.savepoint();
    scan_for_update(&txn, "f", "p").await.unwrap();
    let (old, both, young) = (insert(&db, "e"), insert(&db, "g"), insert(&db, "k"));
    until_waiting(&cluster, 3).await;
    txn.rollback_to_and_release(Some(mark)).await.unwrap();
    young.await.unwrap().unwrap();
    until_waiting(&cluster, 2).await;
    txn.rollback().await;
    old.await.unwrap().unwrap();
    both.await.unwrap().unwrap();
}

/// Who was faster is seen: the claim waits for it, and the statement runs again.
#[tokio::test]
async fn a_claim_behind_an_insert_runs_the_statement_again() {
    let cluster = FakeCluster::new();
    let db = cluster.db();
    let first = begin(&db).await;
    first.lock(&[key("f")], Strength::Update, WaitPolicy::Block).await.unwrap();
    first.insert(key("f"), val("new")).unwrap();
    let other = db.clone();
    let second = tokio::spawn(async move {
        let txn = begin(&other).await;
        let again = scan_for_update(&txn, "d", "h").await.unwrap_err();
        assert_eq!(again, KvError::Restatement);
        assert_eq!(scan_for_update(&txn, "d", "h").await.unwrap(), [key("f")]);
        txn.put(key("g"), val("too")).unwrap();
        txn.commit().await
    });
    until_waiting(&cluster, 1).await;
    first.commit().await.unwrap();
    second.await.unwrap().unwrap();
    for _ in 0..500 {
        if cluster.lock_counts() == (0, 0) && cluster.waiting() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("left behind: {}", cluster.describe_locks());
}

/// Two that look for a row to insert it take turns.
#[tokio::test]
async fn two_that_look_for_a_gap_to_fill_take_turns() {
    let cluster = FakeCluster::new();
    let db = cluster.db();
    let fill = |name: &'static str| {
        let db = db.clone();
        tokio::spawn(async move {
            let txn = db.begin(kv::TxnOptions::default());
            until_committed(&txn, |txn| async move {
                if scan_for_update(&txn, "d", "h").await?.is_empty() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    txn.insert(key(name), val("mine"))?;
                }
                Ok(())
            })
            .await
        })
    };
    for task in [fill("e"), fill("f"), fill("g")] {
        task.await.unwrap().unwrap();
    }
    let txn = begin(&db).await;
    let page = txn.scan(key("").prefix_range(), kv::ScanOptions::default()).await.unwrap();
    assert_eq!(page.rows.len(), 1, "{:?}", page.rows);
}
