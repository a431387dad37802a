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
    last: i32,
}

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
    /// Takes a process id that no other session has, and a key that nobody can guess.
    pub(crate) fn register(self: &Arc<Self>) -> Registered {
        let key = rand::random();
        let mut sessions = self.sessions.lock();
        loop {
            sessions.last = sessions.last.checked_add(1).unwrap_or(1);
            let process = sessions.last;
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
