//! How long a statement and its transaction may take, and what ends them early.
//!
//! ```text
//!   statement_timeout     from the client's message on, repetitions included    57014
//!   transaction_timeout   from the transaction's beginning on                   25P04, ends the session
//!   lock_timeout          each wait for a lock: the key-value layer's business   55P03
//!   a cancel request      while a statement runs                                57014
//! ```

use std::future::Future;
use std::time::Duration;

use kv::Db;
use pgtypes::env::UNIX_EPOCH_MICROS;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use super::Session;
use super::api::CancelHandle;
use crate::{SqlError, SqlState};

/// Runs without a pause in between.
const ATTEMPTS_AT_ONCE: u32 = 3;

/// The wall clock in microseconds since 2000-01-01 UTC, for people to read.
pub(crate) fn wall_micros(db: &Db) -> i64 {
    i64::try_from(db.unix_micros()).unwrap_or(i64::MAX) - UNIX_EPOCH_MICROS
}

/// When a statement has to be done, its repetitions included.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Deadline {
    /// By `statement_timeout`.
    pub(super) statement: Option<Instant>,
    /// By `transaction_timeout`: the session ends with it.
    pub(super) transaction: Option<Instant>,
}

impl Deadline {
    /// Waits for the earlier of both.
    pub(super) async fn passed(self) -> SqlError {
        let (at, error) = match (self.statement, self.transaction) {
            (Some(statement), Some(transaction)) if statement < transaction => {
                (statement, statement_timeout())
            }
            (_, Some(transaction)) => (transaction, transaction_timeout()),
            (Some(statement), None) => (statement, statement_timeout()),
            (None, None) => return std::future::pending().await,
        };
        tokio::time::sleep_until(at).await;
        error
    }
}

fn statement_timeout() -> SqlError {
    SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
}

/// 25P04: the session ends with it.
fn transaction_timeout() -> SqlError {
    SqlError::new(
        SqlState::TRANSACTION_TIMEOUT,
        "terminating connection due to transaction timeout",
    )
}

/// A pause that grows, so that a crowd of losers thins out.
pub(super) async fn pause(db: &Db, attempt: u32) {
    if attempt > ATTEMPTS_AT_ONCE {
        let millis = u64::from((attempt - ATTEMPTS_AT_ONCE).min(20));
        db.sleep(Duration::from_millis(millis)).await;
    }
}

/// Runs until done, cancelled or out of time.
pub(super) async fn guard<T>(
    cancel: &CancelHandle,
    deadline: Deadline,
    work: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    let mut work = std::pin::pin!(work);
    // Most statements never wait: no timer and no registration for those.
    if let std::task::Poll::Ready(result) = futures::poll!(&mut work) {
        return result;
    }
    tokio::select! {
        biased;
        result = work => result,
        // Work that stops only for want of tokio's budget leaves none for these two: constrained,
        // they would wait for ever.
        () = unconstrained(cancel.requested()) => Err(cancel.error()),
        error = unconstrained(deadline.passed()) => Err(error),
    }
}

impl Session {
    /// A statement of the client begins: its time runs, repetitions included.
    pub(super) fn start_clock(&mut self) {
        let now = Instant::now();
        let began = self.tx.began.unwrap_or(now);
        self.deadline = Deadline {
            statement: self.hot.statement_timeout.map(|timeout| now + timeout),
            transaction: self.hot.transaction_timeout.map(|timeout| began + timeout),
        };
    }
}
