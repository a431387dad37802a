//! What the gateway and a session say to each other.
//!
//! A session pushes everything a client shall see into a [`Sink`], in the order of the protocol:
//! `columns row* complete` per statement. It never waits for the client except in
//! [`Sink::flush`] and while it reads COPY data ([`Sink::copy_in`]).
//!
//! # Taking back
//!
//! A statement that meets a conflict is run again by the server as long as nothing of it has been
//! sent. So the session takes a [`Sink::mark`] first and asks to [`Sink::rewind`] to it; a sink
//! that has sent some of it meanwhile says no, and the error goes to the client. A sink should hold
//! back what it can bear (`results_buffer_size`) before a flush really sends.
//!
//! A batch of the extended protocol has output of several statements, with the connection's own
//! replies in between. To write such output anew: [`Sink::reopen`] sets it aside, [`Sink::resume`]
//! puts the replies before the n-th Execute back, [`Sink::close_reopened`] those behind the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use pgtypes::{Datum, EvalEnv, PgType};

use crate::SqlError;

/// A column of a result as RowDescription tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultColumn {
    /// Name.
    pub name: Arc<str>,
    /// Type and modifier.
    pub ty: PgType,
    /// Oid of the table it is a plain column of; 0 otherwise.
    pub table: u32,
    /// Its attribute number in that table; 0 otherwise.
    pub column: i16,
}

/// How COPY data looks, as CopyInResponse and CopyOutResponse tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyShape {
    /// Number of columns.
    pub columns: usize,
    /// Binary format.
    pub binary: bool,
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// WARNING
    Warning,
    /// NOTICE
    Notice,
    /// INFO
    Info,
}

impl Severity {
    /// As the protocol spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Warning => "WARNING",
            Severity::Notice => "NOTICE",
            Severity::Info => "INFO",
        }
    }
}

/// Where results go.
pub trait Sink: Send {
    /// Settings that the text of the following rows depends on; told before the rows of a statement.
    fn environment(&mut self, env: &EvalEnv);
    /// The columns of the rows that follow (RowDescription in the simple protocol; in the extended
    /// one Describe has told them already).
    fn columns(&mut self, columns: &[ResultColumn]) -> Result<(), SqlError>;
    /// One row.
    fn row(&mut self, row: &[Datum]) -> Result<(), SqlError>;
    /// The statement is done: CommandComplete with this tag.
    fn complete(&mut self, tag: &str);
    /// The statement was empty: EmptyQueryResponse.
    fn empty(&mut self);
    /// A notice.
    fn notice(&mut self, severity: Severity, notice: &SqlError);
    /// A setting the client is told of has changed: ParameterStatus.
    fn parameter_status(&mut self, name: &str, value: &str);
    /// The current position of the output.
    fn mark(&self) -> u64;
    /// Takes everything behind `mark` back; false, and nothing is done, if some of it was sent.
    fn rewind(&mut self, mark: u64) -> bool;
    /// How many Executes of this batch have begun.
    fn executions(&self) -> usize {
        0
    }
    /// Sets everything behind `mark` aside; false, and nothing is done, if some of it was sent. Called
    /// again, it drops what was written since instead.
    fn reopen(&mut self, _mark: u64) -> bool {
        false
    }
    /// Puts back what stood between two marks of what was set aside; the output of the `nth` Execute
    /// follows.
    fn resume(&mut self, _from: u64, _to: u64, _nth: usize) {}
    /// Puts back what stood behind a mark, or nothing; the output of the last Execute may follow.
    fn close_reopened(&mut self, _from: Option<u64>) {}
    /// Sends if there is much to send, and waits while the client does not read. Called every few
    /// hundred rows.
    fn flush(&mut self) -> BoxFuture<'_, Result<(), SqlError>>;
    /// CopyInResponse, sent at once.
    fn copy_in_start(&mut self, shape: CopyShape) -> BoxFuture<'_, Result<(), SqlError>>;
    /// The next CopyData; `None` at CopyDone; CopyFail and a closed connection are errors.
    fn copy_in(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, SqlError>>;
    /// Nobody will run the COPY again: what came need not be kept.
    fn forget_copied(&mut self) {}
    /// CopyOutResponse.
    fn copy_out_start(&mut self, shape: CopyShape);
    /// One CopyData message.
    fn copy_out(&mut self, data: &[u8]);
    /// CopyDone.
    fn copy_out_done(&mut self);
}

/// How an Execute ended. The tag has gone to the sink already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// CommandComplete or EmptyQueryResponse was written.
    Complete,
    /// The row limit was reached: PortalSuspended is to be written.
    Suspended,
}

/// What ReadyForQuery says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxStatus {
    /// `I`: in no transaction block.
    Idle,
    /// `T`: in a transaction block.
    InTransaction,
    /// `E`: in a failed transaction block.
    Failed,
}

/// Cancels whatever its session runs. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct CancelHandle(Arc<CancelState>);

#[derive(Debug, Default)]
struct CancelState {
    requested: AtomicBool,
    /// The session is to end; it stays so.
    ended: AtomicBool,
    wake: tokio::sync::Notify,
}

impl CancelHandle {
    /// Cancels the running statement; without one, nothing happens.
    pub fn cancel(&self) {
        self.0.requested.store(true, Ordering::SeqCst);
        self.0.wake.notify_waiters();
    }

    /// Cancels the running statement and ends the session.
    pub fn terminate(&self) {
        self.0.ended.store(true, Ordering::SeqCst);
        self.cancel();
    }

    /// Whether the session is to end.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        self.0.ended.load(Ordering::SeqCst)
    }

    /// Returns when the session is to end.
    pub async fn terminated(&self) {
        loop {
            let woken = self.0.wake.notified();
            if self.is_terminated() {
                return;
            }
            woken.await;
        }
    }

    /// Whether both are of one session.
    pub(crate) fn is(&self, other: &CancelHandle) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What the running statement fails with.
    pub(crate) fn error(&self) -> SqlError {
        if self.is_terminated() { SqlError::terminated() } else { SqlError::cancelled() }
    }

    /// Forgets a request that came when nothing ran.
    pub(crate) fn clear(&self) {
        self.0.requested.store(false, Ordering::SeqCst);
    }

    /// Whether the running statement should stop: for loops that do not wait.
    pub(crate) fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst) || self.is_terminated()
    }

    /// Returns when a cancel is requested.
    pub(crate) async fn requested(&self) {
        loop {
            let woken = self.0.wake.notified();
            if self.is_requested() {
                return;
            }
            woken.await;
        }
    }
}
