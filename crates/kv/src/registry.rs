//! Transactions of this node that may hold locks, by id. A lock held by one that is not in here is
//! nobody's.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use base::TxnId;
use parking_lot::Mutex;

use crate::txn::Inner;

#[derive(Debug, Default)]
pub(crate) struct Registry {
    running: Mutex<BTreeMap<TxnId, Weak<Inner>>>,
}

impl Registry {
    pub(crate) fn insert(&self, id: TxnId, txn: &Arc<Inner>) {
        self.running.lock().insert(id, Arc::downgrade(txn));
    }

    pub(crate) fn remove(&self, id: TxnId) {
        self.running.lock().remove(&id);
    }

    pub(crate) fn contains(&self, id: TxnId) -> bool {
        self.running.lock().contains_key(&id)
    }

    pub(crate) fn get(&self, id: TxnId) -> Option<Arc<Inner>> {
        self.running.lock().get(&id)?.upgrade()
    }

    pub(crate) fn len(&self) -> usize {
        self.running.lock().len()
    }
}
