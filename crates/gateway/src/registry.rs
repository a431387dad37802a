//! Which session does a cancel request mean?

use std::collections::HashMap;
use std::collections::hash_map::Entry::Vacant;
use std::sync::Arc;

use parking_lot::Mutex;
use sql::session::CancelHandle;

/// The sessions of this gateway by the process id and key they were told.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    by_process: HashMap<i32, Entry>,
    /// What all process ids begin with: the node.
    node: i32,
    last: i32,
}

/// Bits of a process id that count the sessions of a node.
const SESSION_BITS: u32 = 20;
/// The number of a session, without its node.
const SESSION_MAX: i32 = (1 << SESSION_BITS) - 1;
/// Nodes that process ids tell apart.
const NODES: u64 = 1 << (31 - SESSION_BITS);

#[derive(Debug)]
struct Entry {
    key: i32,
    /// None until the session is open.
    cancel: Option<CancelHandle>,
}

/// A place in the registry, given back when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    registry: Arc<Registry>,
    pub(crate) process: i32,
    pub(crate) key: i32,
}

impl Registry {
    /// The sessions of a node.
    pub(crate) fn of_node(node_id: u64) -> Arc<Registry> {
        let node = i32::try_from(node_id % NODES).expect("a few bits") << SESSION_BITS;
        Arc::new(Registry { sessions: Mutex::new(Sessions { node, ..Sessions::default() }) })
    }

    /// Takes a process id that no other session has, and a key that nobody can guess.
    pub(crate) fn register(self: &Arc<Self>) -> Registered {
        let key = rand::random();
        let mut sessions = self.sessions.lock();
        loop {
            sessions.last = if sessions.last == SESSION_MAX { 1 } else { sessions.last + 1 };
            let process = sessions.node | sessions.last;
            if let Vacant(place) = sessions.by_process.entry(process) {
                place.insert(Entry { key, cancel: None });
                return Registered { registry: self.clone(), process, key };
            }
        }
    }

    /// Cancels what the session runs, if there is one and the key is its own.
    pub(crate) fn cancel(&self, process: i32, key: i32) {
        let sessions = self.sessions.lock();
        if let Some(entry) = sessions.by_process.get(&process)
            && entry.key == key
            && let Some(cancel) = &entry.cancel
        {
            cancel.cancel();
        }
    }

    /// Cancels what all sessions run.
    pub(crate) fn cancel_all(&self) {
        for entry in self.sessions.lock().by_process.values() {
            if let Some(cancel) = &entry.cancel {
                cancel.cancel();
            }
        }
    }
}

impl Registered {
    /// From now on the session can be cancelled.
    pub(crate) fn open(&self, cancel: CancelHandle) {
        if let Some(entry) = self.registry.sessions.lock().by_process.get_mut(&self.process) {
            entry.cancel = Some(cancel);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.sessions.lock().by_process.remove(&self.process);
    }
}
