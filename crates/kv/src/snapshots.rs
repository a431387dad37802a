//! Snapshots that transactions of this node may still read, so that garbage collection keeps what they
//! need.
//!
//! A writing transaction holds its start, not only what it reads: ranges refuse the writes of whoever is
//! older than what they have collected.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Timestamp;
use parking_lot::Mutex;

#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshots {
    open: Arc<Mutex<BTreeMap<Timestamp, usize>>>,
}

/// A snapshot is in use until this is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    ts: Timestamp,
    of: Snapshots,
}

impl Snapshots {
    pub(crate) fn hold(&self, ts: Timestamp) -> Hold {
        *self.open.lock().entry(ts).or_default() += 1;
        Hold { ts, of: self.clone() }
    }

    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.open.lock().first_key_value().map(|(ts, _)| *ts)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut open = self.of.open.lock();
        let count = open.get_mut(&self.ts).expect("it is held");
        *count -= 1;
        if *count == 0 {
            open.remove(&self.ts);
        }
    }
}
