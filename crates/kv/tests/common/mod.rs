//! Shorthand for the tests of `kv`.
#![allow(dead_code, reason = "each test uses some of it")]

use std::sync::Arc;
use std::time::Duration;

use base::Key;
use bytes::Bytes;
use kv::testing::FakeCluster;
use kv::{Db, Isolation, ScanPage, Txn, TxnOptions};

/// A key of the user's part of the key space.
pub(crate) fn key(name: &str) -> Key {
    let mut bytes = vec![base::keyspace::TABLES];
    bytes.extend_from_slice(name.as_bytes());
    Key(bytes.into())
}

pub(crate) fn val(value: &str) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}

pub(crate) async fn begin(db: &Db) -> Arc<Txn> {
    begin_at(db, Isolation::Serializable).await
}

pub(crate) async fn begin_at(db: &Db, isolation: Isolation) -> Arc<Txn> {
    let txn = db.begin(TxnOptions { isolation, ..TxnOptions::default() });
    txn.begin_statement().await.unwrap();
    txn
}

pub(crate) async fn put(db: &Db, name: &str, value: &str) {
    let txn = begin(db).await;
    txn.put(key(name), val(value)).unwrap();
    txn.commit().await.unwrap();
}

pub(crate) async fn get(db: &Db, name: &str) -> Option<String> {
    let value = begin(db).await.get(&key(name)).await.unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

pub(crate) fn names(page: &ScanPage) -> Vec<String> {
    page.rows.iter().map(|(k, _)| String::from_utf8(k.0[1..].to_vec()).unwrap()).collect()
}

/// Waits until no lock is left.
pub(crate) async fn settled(cluster: &FakeCluster) {
    for _ in 0..500 {
        if cluster.lock_counts() == (0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("locks are left: {:?}", cluster.lock_counts());
}
