//! What a session does, as others may see it: in `pg_stat_activity`, in the errors of who met its locks.
//!
//! The session writes it down as it goes, under a mutex that nobody holds for long. Its transactions
//! point to it, so that a transaction id is enough to find the statement behind it; and it knows them,
//! so that a probe for one of them finds what another one waits for ([`txn::deadlock`]).
//!
//! Times are of the wall clock, told by the session, and for people only.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::TxnId;
use parking_lot::Mutex;
use proto::kv;

/// Bytes of a statement that others get to see.
const STATEMENT_MAX: usize = 1024;

/// Who a session is.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// What `pg_backend_pid()` tells.
    pub pid: i32,
    /// The role.
    pub user: String,
    /// The database.
    pub database: String,
    /// Where the client is.
    pub address: String,
}

/// What a session is doing.
#[derive(Debug)]
pub struct Activity {
    id: u64,
    client: Client,
    began_us: u64,
    closed: AtomicBool,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    application: Arc<str>,
    statement: Arc<str>,
    state: &'static str,
    statement_us: u64,
    changed_us: u64,
    xact_us: u64,
    txns: BTreeSet<TxnId>,
}

impl Activity {
    /// A session that begins, the `id`th of its node.
    pub(crate) fn new(id: u64, client: Client, now_us: u64) -> Arc<Activity> {
        Arc::new(Activity {
            id,
            client,
            began_us: now_us,
            closed: AtomicBool::new(false),
            now: Mutex::new(Now {
                application: "".into(),
                statement: "".into(),
                state: "idle",
                statement_us: 0,
                changed_us: now_us,
                xact_us: 0,
                txns: BTreeSet::new(),
            }),
        })
    }

    /// The role that connected.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.client.user
    }

    pub(crate) fn is_of(&self, user: &str) -> bool {
        self.client.user == user
    }

    /// The session has ended. Its transactions may be asked about for a while.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// `application_name` has this value from now on.
    pub fn set_application(&self, name: &str) {
        let mut now = self.now.lock();
        if *now.application != *name {
            now.application = name.into();
        }
    }

    /// A statement begins.
    pub fn begins(&self, statement: &str, now_us: u64) {
        let mut end = statement.len().min(STATEMENT_MAX);
        while !statement.is_char_boundary(end) {
            end -= 1;
        }
        let mut now = self.now.lock();
        if *now.statement != statement[..end] {
            now.statement = statement[..end].into();
        }
        now.state = "active";
        (now.statement_us, now.changed_us) = (now_us, now_us);
        if now.xact_us == 0 {
            now.xact_us = now_us;
        }
    }

    /// The session waits for its client: `idle`, `idle in transaction` or `idle in transaction (aborted)`.
    pub fn rests(&self, state: &'static str, now_us: u64) {
        let mut now = self.now.lock();
        if now.state != state {
            (now.state, now.changed_us) = (state, now_us);
        }
        if state == "idle" {
            now.xact_us = 0;
        }
    }

    /// The last statement, cut if it is long.
    pub(crate) fn statement(&self) -> Arc<str> {
        self.now.lock().statement.clone()
    }

    pub(crate) fn joins(&self, txn: TxnId) {
        self.now.lock().txns.insert(txn);
    }

    pub(crate) fn leaves(&self, txn: TxnId) {
        self.now.lock().txns.remove(&txn);
    }

    /// The session's transactions that may hold locks or wait.
    pub(crate) fn txns(&self) -> Vec<TxnId> {
        self.now.lock().txns.iter().copied().collect()
    }

    /// As a message.
    #[must_use]
    pub fn snapshot(&self) -> kv::Activity {
        let now = self.now.lock();
        kv::Activity {
            session: self.id,
            pid: self.client.pid,
            user: self.client.user.clone(),
            database: self.client.database.clone(),
            application_name: now.application.to_string(),
            client: self.client.address.clone(),
            statement: now.statement.to_string(),
            began_us: self.began_us,
            xact_us: now.xact_us,
            statement_us: now.statement_us,
            changed_us: now.changed_us,
            state: now.state.to_owned(),
            txn_id: now.txns.last().map_or(0, |txn| txn.0),
        }
    }
}
