//! Transactions of this node that may hold locks, by id, and those that did lately. A lock held by one
//! that is not running is nobody's.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use base::TxnId;
use parking_lot::Mutex;
use proto::kv;

use crate::activity::{Activity, Client};
use crate::txn::Inner;

/// Transactions that are over and still known by name: who fails because of one asks within moments.
const ENDED_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Registry {
    running: Mutex<BTreeMap<TxnId, Weak<Inner>>>,
    ended: Mutex<VecDeque<Ended>>,
    sessions: Mutex<Vec<Weak<Activity>>>,
    sessions_begun: AtomicU64,
}

/// What is left of a transaction.
#[derive(Debug, Clone)]
struct Ended {
    txn: TxnId,
    activity: Arc<Activity>,
    statement: Arc<str>,
}

impl Registry {
    pub(crate) fn insert(&self, id: TxnId, txn: &Arc<Inner>) {
        self.running.lock().insert(id, Arc::downgrade(txn));
    }

    pub(crate) fn remove(&self, id: TxnId) {
        let known = self.running.lock().remove(&id);
        let Some(inner) = known.and_then(|known| known.upgrade()) else { return };
        let Some((activity, statement)) = inner.activity() else { return };
        activity.leaves(id);
        let mut ended = self.ended.lock();
        if ended.len() >= ENDED_MAX {
            ended.pop_front();
        }
        ended.push_back(Ended { txn: id, activity, statement });
    }

    pub(crate) fn get(&self, id: TxnId) -> Option<Arc<Inner>> {
        self.running.lock().get(&id)?.upgrade()
    }

    pub(crate) fn len(&self) -> usize {
        self.running.lock().len()
    }

    /// A transaction and the others of its session; none if it is over.
    pub(crate) fn family(&self, id: TxnId) -> Vec<TxnId> {
        let known = self.running.lock().get(&id).cloned();
        let Some(known) = known else { return Vec::new() };
        let members = known
            .upgrade()
            .and_then(|inner| inner.activity())
            .map(|(activity, _)| activity.txns())
            .unwrap_or_default();
        if members.contains(&id) { members } else { vec![id] }
    }

    /// All that run.
    pub(crate) fn running(&self) -> Vec<Arc<Inner>> {
        self.running.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// What is known of one that is over.
    pub(crate) fn ended(&self, id: TxnId) -> Option<kv::TxnInfo> {
        let ended = self.ended.lock();
        let found = ended.iter().rev().find(|ended| ended.txn == id)?;
        let mut activity = found.activity.snapshot();
        activity.statement = found.statement.to_string();
        let txn = kv::TxnMeta { id: id.0, start_ts: id.0, ..kv::TxnMeta::default() };
        Some(kv::TxnInfo {
            txn: Some(txn),
            activity: Some(activity),
            phase: "ended".to_owned(),
            ..kv::TxnInfo::default()
        })
    }

    pub(crate) fn open_session(&self, client: Client, now_us: u64) -> Arc<Activity> {
        const SWEEP_EVERY: usize = 64;
        let id = self.sessions_begun.fetch_add(1, Ordering::Relaxed) + 1;
        let activity = Activity::new(id, client, now_us);
        let mut sessions = self.sessions.lock();
        if sessions.len() % SWEEP_EVERY == SWEEP_EVERY - 1 {
            sessions.retain(|session| session.upgrade().is_some_and(|s| !s.is_closed()));
        }
        sessions.push(Arc::downgrade(&activity));
        activity
    }

    pub(crate) fn sessions_of(&self, user: &str) -> usize {
        let sessions = self.sessions.lock();
        sessions.iter().filter_map(Weak::upgrade).filter(|session| session.is_of(user)).count()
    }

    pub(crate) fn sessions(&self) -> Vec<kv::Activity> {
        let sessions = self.sessions.lock();
        let open = sessions.iter().filter_map(Weak::upgrade).filter(|session| !session.is_closed());
        open.map(|session| session.snapshot()).collect()
    }
}
