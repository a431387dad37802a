//! What happens while a statement runs?
//!
//! Its events are shown as they come; only the aligned format holds rows back until it knows their
//! widths. Ctrl-C asks the server to cancel; a second one gives the connection up.

use std::io::{self, Write};
use std::time::Instant;

use crate::error::ShellError;
use crate::input::Input;
use crate::interpreter::{Flow, Shell};
use crate::report::ServerMessage;
use crate::startup;
use crate::wire::{Column, Event, Row};

/// The result that is coming in.
#[derive(Default)]
struct Incoming {
    columns: Option<Vec<Column>>,
    /// Rows held back for the aligned format.
    rows: Vec<Row>,
    count: usize,
}

/// The end of the wait for an event.
pub(crate) enum Awaited {
    Event(Event),
    /// The second Ctrl-C, or the connection broke.
    Gone(io::Error),
}

impl Shell {
    /// Runs a statement and shows what comes of it.
    pub(crate) async fn statement(
        &mut self,
        sql: &str,
        input: &mut Input,
    ) -> Result<Flow, ShellError> {
        if self.connection.is_none() && !self.reconnect().await? {
            return Ok(Flow::Failed);
        }
        self.forget_interrupts();
        let started = Instant::now();
        let connection = self.connection.as_mut().expect("checked above");
        if let Err(error) = connection.query(sql) {
            return self.complain(&format!("the statement cannot be sent: {error}"));
        }
        let (mut incoming, mut failed, mut cancelled) = (Incoming::default(), false, 0);
        loop {
            let event = match self.event(&mut cancelled).await {
                Awaited::Event(event) => event,
                Awaited::Gone(error) => return self.lost(error).await,
            };
            match event {
                Event::Ready => break,
                Event::Error(message) => {
                    failed = true;
                    self.show_message(&message, sql, input)?;
                    if message.is_fatal() {
                        return self.lost(io::ErrorKind::ConnectionAborted.into()).await;
                    }
                }
                Event::Notice(message) => self.show_message(&message, sql, input)?,
                Event::CopyIn => {
                    if let Err(error) = self.copy_in(input).await? {
                        return self.lost(error).await;
                    }
                }
                event => self.show(event, &mut incoming).map_err(ShellError::Terminal)?,
            }
        }
        self.show_timing(started).map_err(ShellError::Terminal)?;
        Ok(match (failed, cancelled > 0 && !self.interactive) {
            (_, true) => Flow::Interrupted,
            (true, false) => Flow::Failed,
            (false, false) => Flow::Continue,
        })
    }

    /// Runs a query whose rows are for us. The inner error is the server's.
    pub(crate) async fn rows(
        &mut self,
        sql: &str,
    ) -> Result<Result<Vec<Row>, ServerMessage>, ShellError> {
        Ok(self.result(sql).await?.map(|(_, rows)| rows))
    }

    /// As [`Shell::rows`], with the columns.
    pub(crate) async fn result(
        &mut self,
        sql: &str,
    ) -> Result<Result<(Vec<Column>, Vec<Row>), ServerMessage>, ShellError> {
        if self.connection.is_none() && !self.reconnect().await? {
            return Err(ShellError::Lost(io::ErrorKind::NotConnected.into()));
        }
        let connection = self.connection.as_mut().expect("checked above");
        connection.query(sql).map_err(ShellError::Lost)?;
        let (mut columns, mut rows, mut refused, mut cancelled) = (Vec::new(), Vec::new(), None, 0);
        loop {
            match self.event(&mut cancelled).await {
                Awaited::Event(Event::Ready) => break,
                Awaited::Event(Event::Columns(found)) => columns = found,
                Awaited::Event(Event::Row(row)) => rows.push(row),
                Awaited::Event(Event::Error(message)) => refused = Some(message),
                Awaited::Event(_) => {}
                Awaited::Gone(error) => {
                    self.connection = None;
                    return Err(ShellError::Lost(error));
                }
            }
        }
        Ok(match refused {
            Some(message) => Err(message),
            None => Ok((columns, rows)),
        })
    }

    /// Waits for the next event, passing Ctrl-C on meanwhile.
    pub(crate) async fn event(&mut self, cancelled: &mut u32) -> Awaited {
        loop {
            let Some(connection) = &mut self.connection else {
                return Awaited::Gone(io::ErrorKind::NotConnected.into());
            };
            tokio::select! {
                biased;
                event = connection.next() => {
                    return event.map_or_else(Awaited::Gone, Awaited::Event);
                }
                _ = self.interrupts.recv() => {
                    *cancelled += 1;
                    if *cancelled > 1 {
                        return Awaited::Gone(io::ErrorKind::Interrupted.into());
                    }
                    let canceller = connection.canceller();
                    if let Err(error) = canceller.cancel().await {
                        return Awaited::Gone(error);
                    }
                }
            }
        }
    }

    fn show(&mut self, event: Event, incoming: &mut Incoming) -> io::Result<()> {
        match event {
            Event::Columns(columns) => {
                self.style.begin(&mut *self.out, &columns)?;
                *incoming = Incoming { columns: Some(columns), ..Incoming::default() };
            }
            Event::Row(row) => {
                incoming.count += 1;
                if self.style.streams() {
                    let columns = incoming.columns.as_deref().unwrap_or_default();
                    self.style.row(&mut *self.out, columns, &row, incoming.count)?;
                } else {
                    incoming.rows.push(row);
                }
            }
            Event::Complete(tag) => self.complete(&tag, std::mem::take(incoming))?,
            Event::CopyData(data) => self.out.write_all(&data)?,
            Event::CopyOut => self.out.flush()?,
            Event::Empty | Event::CopyDone | Event::CopyIn => {}
            Event::Notice(_) | Event::Error(_) | Event::Ready => {
                unreachable!("handled where the statement is known")
            }
        }
        Ok(())
    }

    fn complete(&mut self, tag: &str, incoming: Incoming) -> io::Result<()> {
        let verb = tag.split(' ').next().unwrap_or_default();
        self.names_stale |= matches!(verb, "CREATE" | "DROP" | "ALTER" | "ROLLBACK");
        if let Some(columns) = &incoming.columns {
            if self.style.streams() {
                self.style.end(&mut *self.out, incoming.count)?;
            } else {
                self.style.table(&mut *self.out, columns, &incoming.rows)?;
            }
        }
        // The row count under a result says what the tag would repeat.
        let repeated =
            incoming.columns.is_some() && !matches!(verb, "INSERT" | "UPDATE" | "DELETE");
        if !self.quiet && !repeated {
            writeln!(self.out, "{tag}")?;
        }
        Ok(())
    }

    fn show_timing(&mut self, started: Instant) -> io::Result<()> {
        if self.timing {
            writeln!(self.out, "Time: {:.3} ms", started.elapsed().as_secs_f64() * 1000.0)?;
        }
        self.out.flush()
    }

    /// Shows an error or a notice, with the place in the file that caused it.
    pub(crate) fn show_message(
        &mut self,
        message: &ServerMessage,
        sql: &str,
        input: &Input,
    ) -> Result<(), ShellError> {
        self.out.flush().map_err(ShellError::Terminal)?;
        if let Some(name) = &input.name {
            write!(self.err, "{name}:{}: ", input.number).map_err(ShellError::Terminal)?;
        }
        write!(self.err, "{}", message.render(sql)).map_err(ShellError::Terminal)
    }

    /// The connection broke under a statement. A person gets a new one, a script ends.
    pub(crate) async fn lost(&mut self, error: io::Error) -> Result<Flow, ShellError> {
        self.connection = None;
        if !self.interactive {
            return match error.kind() {
                io::ErrorKind::Interrupted => Ok(Flow::Interrupted),
                _ => Err(ShellError::Lost(error)),
            };
        }
        self.complain(&format!("the connection to the server was lost: {error}"))?;
        self.reconnect().await?;
        Ok(Flow::Failed)
    }

    /// Tries to connect again; says how it went.
    pub(crate) async fn reconnect(&mut self) -> Result<bool, ShellError> {
        match startup::connect(&self.target).await {
            Ok(connection) => {
                self.connection = Some(connection);
                self.complain("connected again; settings and the transaction of before are gone")?;
                Ok(true)
            }
            Err(error) if self.interactive => {
                let cause = std::error::Error::source(&error).map(|e| format!(": {e}"));
                self.complain(&format!("{error}{}", cause.unwrap_or_default()))?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
