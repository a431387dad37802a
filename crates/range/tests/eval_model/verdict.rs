//! What must be true of every run, looked up in the versions that the range holds in the end.

use std::cell::RefCell;

use base::{Key, Timestamp};
use bytes::Bytes;
use proto::kv::{self, range_request::Request, range_response::Response};
use storage::mvcc;

use super::client::{Client, Fate};
use super::world::{KEYS, World, key};

thread_local! {
    /// Snapshots read by nobody in particular: when, and what they showed.
    static SNAPSHOTS: RefCell<Vec<(Timestamp, Vec<Option<Bytes>>)>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the answer of a snapshot read over all keys.
pub(crate) fn remember(_world: &World, request: &kv::RangeRequest, response: &kv::RangeResponse) {
    if let (Some(Request::Get(get)), None, Some(Response::Get(result))) =
        (&request.request, &request.txn, &response.response)
        && get.keys.len() as u64 == KEYS
    {
        let values = result.values.iter().map(|v| v.present.then(|| v.value.clone())).collect();
        SNAPSHOTS.with_borrow_mut(|kept| kept.push((Timestamp(get.read_ts), values)));
    }
}

/// Checks everything.
pub(crate) fn check(world: &World) {
    for (ts, values) in SNAPSHOTS.take() {
        for (n, value) in values.iter().enumerate() {
            let now = value_at(world, &key(n as u64), ts);
            assert_eq!(&now, value, "a snapshot at {ts} of {} did not last", key(n as u64));
        }
    }
    for n in 0..KEYS {
        let left = mvcc::get_lock(&world.engine, key(n).as_bytes()).expect("memory");
        assert_eq!(left, None, "a lock is left on {}", key(n));
    }
    for client in &world.clients {
        check_client(world, client);
    }
}

fn check_client(world: &World, client: &Client) {
    let txn = client.owner().txn;
    let mut at: Option<Timestamp> = None;
    for (n, (key, value)) in client.writes.iter().enumerate() {
        let written =
            mvcc::version_by(&world.engine, key.as_bytes(), txn, Timestamp::ZERO).expect("memory");
        if n == 0 {
            at = written;
        }
        assert_eq!(written, at, "{txn} is there in part: {key} of {client:#?}");
        if let Some(at) = written {
            assert_eq!(value_at(world, key, at).as_ref(), Some(value), "{txn} wrote {key}");
        }
    }
    match client.fate.as_ref().expect("over") {
        Fate::Committed(told) => {
            assert_eq!(*told, at, "{txn} was told another commit timestamp: {client:#?}");
        }
        Fate::RolledBack => assert_eq!(at, None, "{txn} was told that it was rolled back"),
        Fate::Dead => {}
    }
    if let Some(at) = at {
        assert!(at.0 <= world.issued + 1 && at >= Timestamp(txn.0), "{txn} at {at}");
    }
    let as_of = match (at, &client.fate) {
        (Some(at), _) => at,
        (None, Some(Fate::Committed(None))) => client.read_ts,
        _ => return,
    };
    for (key, value) in &client.seen {
        let own = at.is_some() && client.writes.contains_key(key);
        let then = value_at(world, key, if own { as_of.prev() } else { as_of });
        assert_eq!(&then, value, "{txn} at {as_of} saw another {key}: {client:#?}");
    }
}

fn value_at(world: &World, key: &Key, ts: Timestamp) -> Option<Bytes> {
    mvcc::get_at(&world.engine, key.as_bytes(), ts).expect("memory").map(|version| version.value)
}
