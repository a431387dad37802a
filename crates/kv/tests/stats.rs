//! What is counted of a transaction, and what its commit is foretold to cost.

#![allow(clippy::unwrap_used, reason = "a test that fails there has failed")]

use std::sync::Arc;

use base::{Key, KeyRange};
use kv::testing::FakeCluster;
use kv::{
    CommitWay, Db, Footprint, Isolation, ScanOptions, Stats, Strength, Trips, Txn, TxnOptions,
    WaitPolicy,
};

fn key(n: u8) -> Key {
    Key(vec![0x10, n].into())
}

/// Two ranges, cut at 5, with a row in each.
async fn two_ranges() -> Db {
    let cluster = FakeCluster::new();
    cluster.split_at(&[key(5)]);
    let db = cluster.db();
    let txn = begin(&db, Isolation::Serializable).await;
    txn.put(key(1), "one".into()).unwrap();
    txn.put(key(7), "seven".into()).unwrap();
    txn.commit().await.unwrap();
    db
}

async fn begin(db: &Db, isolation: Isolation) -> Arc<Txn> {
    let txn = db.begin(TxnOptions { isolation, ..TxnOptions::default() });
    txn.begin_statement().await.unwrap();
    txn
}

#[tokio::test]
async fn requests_are_counted_where_they_are_made() {
    let db = two_ranges().await;
    let txn = begin(&db, Isolation::Serializable).await;
    let (statement, other) = (Stats::new(), Stats::new());
    let operator = Stats::under(&statement);
    let span = KeyRange { start: key(0), end: key(9) };
    let scan = operator.count(txn.scan(span, ScanOptions::default()));
    let page = statement.count(scan).await.unwrap();
    assert_eq!(page.rows.len(), 2);
    let seen = operator.cost();
    assert_eq!(seen.trips, Trips { local: 2, remote: 0 });
    assert_eq!((seen.ranges, seen.bytes_read), (2, 2 + 3 + 2 + 5));
    assert_eq!(statement.cost(), seen);
    // Nobody counts this.
    txn.get(&key(1)).await.unwrap();
    let keys = [key(1)];
    let lock = txn.lock(&keys, Strength::Update, WaitPolicy::Block);
    other.count(lock).await.unwrap();
    assert_eq!(other.cost().trips.total(), 1);
    assert_eq!(other.cost().lock_waits, 0);
    assert_eq!(statement.cost(), seen);
}

#[tokio::test]
async fn a_commit_costs_what_is_foretold() {
    let db = two_ranges().await;
    // Locks that the last commit left behind go in the background.
    db.begin(TxnOptions::default()).begin_statement().await.unwrap();
    for level in [Isolation::Serializable, Isolation::RepeatableRead, Isolation::ReadCommitted] {
        for (locked, written, way) in [
            (&[][..], &[][..], CommitWay::Nothing),
            (&[1][..], &[][..], CommitWay::Verification),
            (&[1][..], &[1][..], CommitWay::OnePhase),
            (&[1, 7][..], &[7][..], CommitWay::OnePhase),
            (&[1, 7][..], &[1, 7][..], CommitWay::Parallel),
        ] {
            let txn = begin(&db, level).await;
            let points = |keys: &[u8]| keys.iter().map(|&n| KeyRange::point(key(n))).collect();
            let more = Footprint { writes: points(written), locks: points(locked), reads: vec![] };
            let foretold = txn.forecast_commit(&more).await.unwrap();
            assert_eq!(foretold.way, way, "{level:?} {locked:?} {written:?}");
            let keys: Vec<Key> = locked.iter().map(|&n| key(n)).collect();
            txn.lock(&keys, Strength::Update, WaitPolicy::Block).await.unwrap();
            for &n in written {
                txn.put(key(n), "new".into()).unwrap();
            }
            // As foretold before, so foretold now.
            let again = txn.forecast_commit(&Footprint::default()).await.unwrap();
            assert_eq!(again, foretold);
            let stats = Stats::new();
            stats.count(txn.commit()).await.unwrap();
            let cost = stats.cost();
            assert_eq!(cost.trips, foretold.trips, "{level:?} {locked:?} {written:?}");
            assert_eq!(cost.consensus_rounds, foretold.consensus_rounds);
        }
    }
}
