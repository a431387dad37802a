//! Which session of this node is meant by a process id: `pg_cancel_backend`, `pg_terminate_backend`.

use std::collections::BTreeMap;
use std::sync::Arc;

use kv::Activity;
use parking_lot::Mutex;

use super::Engine;
use super::api::CancelHandle;
use crate::SqlError;

/// The open sessions of a node.
#[derive(Debug, Default)]
pub(crate) struct Signals(Mutex<BTreeMap<i32, Vec<Listener>>>);

/// A session that can be signalled.
type Listener = (CancelHandle, Arc<Activity>);

/// A session's place among them, given back when dropped.
#[derive(Debug)]
pub(super) struct Listens {
    engine: Arc<Engine>,
    pid: i32,
    cancel: CancelHandle,
    activity: Arc<Activity>,
}

impl Signals {
    /// Stops what a session runs, or the session, if that may be done to its role; false: there is none
    /// of that process id.
    pub(crate) fn signal(
        &self,
        pid: i32,
        terminate: bool,
        may: &dyn Fn(&str) -> Result<(), SqlError>,
    ) -> Result<bool, SqlError> {
        let sessions = self.0.lock();
        let Some(handles) = sessions.get(&pid) else { return Ok(false) };
        for (handle, activity) in handles {
            may(activity.user())?;
            if terminate { handle.terminate() } else { handle.cancel() }
        }
        Ok(true)
    }
}

impl Listens {
    pub(super) fn new(
        engine: &Arc<Engine>,
        pid: i32,
        cancel: &CancelHandle,
        activity: &Arc<Activity>,
    ) -> Listens {
        let session = (cancel.clone(), activity.clone());
        engine.signals.0.lock().entry(pid).or_default().push(session);
        let (engine, cancel, activity) = (engine.clone(), cancel.clone(), activity.clone());
        Listens { engine, pid, cancel, activity }
    }
}

impl Drop for Listens {
    fn drop(&mut self) {
        self.activity.close();
        let mut sessions = self.engine.signals.0.lock();
        if let Some(handles) = sessions.get_mut(&self.pid) {
            handles.retain(|(handle, _)| !handle.is(&self.cancel));
            if handles.is_empty() {
                sessions.remove(&self.pid);
            }
        }
    }
}
