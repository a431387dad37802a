//! Transactions of this node that wait for a lock right now, by id.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use base::TxnId;
use parking_lot::Mutex;

use crate::txn::Inner;

#[derive(Debug, Default)]
pub(crate) struct Registry {
    waiting: Mutex<BTreeMap<TxnId, Weak<Inner>>>,
}

impl Registry {
    pub(crate) fn insert(&self, id: TxnId, txn: &Arc<Inner>) {
        self.waiting.lock().insert(id, Arc::downgrade(txn));
    }

    pub(crate) fn remove(&self, id: TxnId) {
        self.waiting.lock().remove(&id);
    }

    pub(crate) fn get(&self, id: TxnId) -> Option<Arc<Inner>> {
        self.waiting.lock().get(&id)?.upgrade()
    }
}
