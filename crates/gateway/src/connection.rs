//! What happens between the start and the end of a session?
//!
//! One message after the other: read, dispatched, answered. Nothing runs beside it, so the order of
//! replies is the order of requests, as the protocol demands.

use std::collections::HashMap;
use std::future::pending;

use pgtypes::EvalEnv;
use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::response::{ReadyForQuery, TransactionStatus};
use sql::session::{Portal, Session, TxStatus};
use sql::{SqlError, SqlState};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::description::Descriptions;
use crate::formats::Formats;
use crate::reply::{Reply, Shape, Shapes};
use crate::sqlstate::{self, Ends};
use crate::wire::{Received, Wire, WireError};

/// How far the shutdown of the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// Statements and transactions that run may end.
    Draining,
    /// Nothing may go on.
    Closing,
}

/// A portal with what the protocol knows about it.
#[derive(Debug)]
pub(crate) struct OpenPortal {
    pub(crate) portal: Portal,
    pub(crate) formats: Formats,
}

/// An open session and its client.
pub(crate) struct Connection<S> {
    pub(crate) wire: Wire<S>,
    pub(crate) session: Session,
    pub(crate) unnamed_portal: Option<OpenPortal>,
    pub(crate) portals: HashMap<String, OpenPortal>,
    pub(crate) descriptions: Descriptions,
    /// What the Executes since the last Sync return.
    pub(crate) executed: Shapes,
    /// The settings that text depends on.
    pub(crate) env: EvalEnv,
    /// An error in the extended protocol: everything up to Sync is discarded.
    skip_to_sync: bool,
    /// The client has been told that the session ends.
    ended: bool,
    phases: watch::Receiver<Phase>,
}

/// What the wait for the client ended with.
enum Next {
    Received(Received),
    Shutdown,
    IdleTooLong,
    TransactionTooLong,
    Terminated,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    pub(crate) fn new(wire: Wire<S>, session: Session, phases: watch::Receiver<Phase>) -> Self {
        Self {
            wire,
            env: EvalEnv::clone(session.env()),
            session,
            unnamed_portal: None,
            portals: HashMap::new(),
            descriptions: Descriptions::default(),
            executed: Shapes::new(Shape::Known(None, Formats::Text)),
            skip_to_sync: false,
            ended: false,
            phases,
        }
    }

    /// Serves the client until one of both leaves.
    pub(crate) async fn run(mut self) {
        let end = self.serve().await;
        let Self { wire, session, .. } = self;
        // Before the client hears of the end: what it locked is free then.
        session.close().await;
        if let Some(error) = end {
            wire.farewell(&error).await;
        }
    }

    /// The error that ended the session, if the client is to know one.
    async fn serve(&mut self) -> Option<SqlError> {
        loop {
            let received = match self.next().await {
                Ok(Next::Received(received)) => received,
                Ok(Next::Shutdown) => return Some(sqlstate::shutting_down()),
                Ok(Next::IdleTooLong) => return Some(sqlstate::idle_in_transaction()),
                Ok(Next::TransactionTooLong) => return Some(sqlstate::transaction_timeout()),
                Ok(Next::Terminated) => return Some(SqlError::terminated()),
                Err(WireError::Closed) => return None,
                Err(WireError::Violation(violation)) => {
                    return Some(sqlstate::violation(&violation));
                }
            };
            let handled = match received {
                Received::Message(Message::Terminate(_)) => return None,
                Received::Message(message) => self.handle(message).await,
                Received::Refused { tag, error } => self.refuse(tag, &error).await,
            };
            match handled {
                Ok(()) if self.wire.is_broken() => return None,
                // The error has gone out already.
                Ok(()) if self.ended => return None,
                Ok(()) => {}
                Err(WireError::Closed) => return None,
                Err(WireError::Violation(violation)) => {
                    return Some(sqlstate::violation(&violation));
                }
            }
        }
    }

    /// Waits for the client, for the end of the gateway, and for the patience of the session.
    async fn next(&mut self) -> Result<Next, WireError> {
        loop {
            let status = self.session.transaction_status();
            let phase = *self.phases.borrow_and_update();
            let open = status != TxStatus::Idle;
            if phase == Phase::Closing || (phase == Phase::Draining && !open) {
                return Ok(Next::Shutdown);
            }
            let cancel = self.session.cancel_handle();
            if cancel.is_terminated() {
                return Ok(Next::Terminated);
            }
            if let Some(received) = self.wire.received()? {
                return Ok(Next::Received(received));
            }
            let patience = self.session.idle_in_transaction_timeout().filter(|_| open);
            let too_long = async {
                match patience {
                    Some(patience) => tokio::time::sleep(patience).await,
                    None => pending().await,
                }
            };
            let deadline = self.session.transaction_deadline().filter(|_| open);
            let over = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                filled = self.wire.fill(1) => filled?,
                changed = self.phases.changed() => {
                    if changed.is_err() {
                        return Ok(Next::Shutdown);
                    }
                }
                () = too_long => return Ok(Next::IdleTooLong),
                () = over => return Ok(Next::TransactionTooLong),
                () = cancel.terminated() => return Ok(Next::Terminated),
            }
        }
    }

    async fn handle(&mut self, message: Message) -> Result<(), WireError> {
        match message {
            Message::Sync(_) => return self.sync().await,
            // After an error too: some clients wait for it, and say Sync only then.
            Message::Flush(_) => return self.wire.send().await,
            _ if self.skip_to_sync => return Ok(()),
            Message::Query(query) => return self.simple(&query.query).await,
            // A COPY that failed: the client had not heard of it yet.
            Message::CopyData(_) | Message::CopyDone(_) | Message::CopyFail(_) => return Ok(()),
            _ => {}
        }
        let done = match message {
            Message::Parse(parse) => self.parse(&parse).await,
            Message::Bind(bind) => self.bind(bind),
            Message::Describe(describe) => self.describe(&describe),
            Message::Execute(execute) => self.execute(&execute).await,
            Message::Close(close) => self.close(&close),
            // Password messages come only when asked for.
            _ => Err(sqlstate::invalid_message()),
        };
        if let Err(error) = done {
            self.tell(&error);
            self.skip_to_sync = true;
            if self.ended {
                return self.wire.send().await;
            }
        }
        Ok(())
    }

    /// Writes an error; one that ends the session ends the connection.
    fn tell(&mut self, error: &SqlError) {
        self.ended =
            matches!(error.code(), SqlState::TRANSACTION_TIMEOUT | SqlState::ADMIN_SHUTDOWN);
        self.wire.error(error, if self.ended { Ends::Connection } else { Ends::Statement });
    }

    /// A message that could not be used: too large, or not what it claims to be.
    async fn refuse(&mut self, tag: u8, error: &SqlError) -> Result<(), WireError> {
        match tag {
            _ if self.skip_to_sync && tag != b'S' => Ok(()),
            b'd' | b'c' | b'f' => Ok(()),
            b'Q' | b'F' => {
                self.session.fail_statement();
                self.wire.error(error, Ends::Statement);
                self.ready().await
            }
            _ => {
                self.session.fail_statement();
                self.wire.error(error, Ends::Statement);
                self.skip_to_sync = true;
                Ok(())
            }
        }
    }

    async fn simple(&mut self, sql: &str) -> Result<(), WireError> {
        self.unnamed_portal = None;
        let mut shapes = Shapes::new(Shape::Told(Vec::new()));
        let mut reply = Reply { wire: &mut self.wire, shapes: &mut shapes, env: &mut self.env };
        if let Err(error) = self.session.simple(sql, &mut reply).await {
            self.tell(&error);
        }
        self.ready().await
    }

    /// The end of a run of the extended protocol.
    async fn sync(&mut self) -> Result<(), WireError> {
        self.skip_to_sync = false;
        let shapes = &mut self.executed;
        let mut reply = Reply { wire: &mut self.wire, shapes, env: &mut self.env };
        if let Err(error) = self.session.sync(&mut reply).await {
            self.tell(&error);
        }
        self.executed.clear();
        self.ready().await
    }

    /// Says that the client may go on, and sends everything.
    async fn ready(&mut self) -> Result<(), WireError> {
        if self.ended {
            return self.wire.send().await;
        }
        // For the next message: this one may have set `results_buffer_size`.
        self.wire.held_bytes_max = self.session.results_buffer_size();
        let epoch = self.session.epoch();
        self.unnamed_portal.take_if(|open| open.portal.epoch() != epoch);
        if !self.portals.is_empty() {
            self.portals.retain(|_, open| open.portal.epoch() == epoch);
        }
        let status = match self.session.transaction_status() {
            TxStatus::Idle => TransactionStatus::Idle,
            TxStatus::InTransaction => TransactionStatus::Transaction,
            TxStatus::Failed => TransactionStatus::Error,
        };
        self.wire.reply(&ReadyForQuery::new(status));
        self.wire.send().await
    }
}
