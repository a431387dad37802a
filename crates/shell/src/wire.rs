//! What does the server say, message by message?
//!
//! One connection, used by one statement at a time. [`Connection::next`] may be dropped while it
//! waits and called again: what was read stays in the buffer, what was not written stays in its
//! own.

use std::collections::BTreeMap;
use std::io;

use bytes::{Bytes, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, Message, RowDescriptionBody};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::report::ServerMessage;
use crate::startup::Address;

/// A column of a result.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) type_oid: u32,
}

/// The values of a row, as the server's text. `None` is NULL.
pub(crate) type Row = Vec<Option<Bytes>>;

/// What can happen while a statement runs.
#[derive(Debug)]
pub(crate) enum Event {
    Columns(Vec<Column>),
    Row(Row),
    Complete(String),
    Empty,
    CopyIn,
    CopyOut,
    CopyData(Bytes),
    CopyDone,
    Notice(ServerMessage),
    Error(ServerMessage),
    /// The statement is over.
    Ready,
}

/// The transaction status the server told with its last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Idle,
    InTransaction,
    Failed,
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A session with the server, past its start.
pub(crate) struct Connection {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) address: Address,
    pub(crate) input: BytesMut,
    pub(crate) output: BytesMut,
    pub(crate) status: Status,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) key: Option<(i32, i32)>,
}

/// Asks the server to stop what another connection is doing.
#[derive(Clone, Debug)]
pub(crate) struct Canceller {
    address: Address,
    key: Option<(i32, i32)>,
}

impl Canceller {
    /// Sends the request. The server does not answer it: the statement does, by failing.
    pub(crate) async fn cancel(&self) -> io::Result<()> {
        let Some((process, secret)) = self.key else { return Ok(()) };
        let mut stream = self.address.open().await?;
        let mut request = BytesMut::new();
        frontend::cancel_request(process, secret, &mut request);
        stream.write_all(&request).await?;
        stream.shutdown().await
    }
}

impl Connection {
    /// Begins a simple query. Its events end with [`Event::Ready`].
    pub(crate) fn query(&mut self, sql: &str) -> io::Result<()> {
        frontend::query(sql, &mut self.output)
    }

    pub(crate) fn canceller(&self) -> Canceller {
        Canceller { address: self.address.clone(), key: self.key }
    }

    /// What happens next, sending what is still to be sent first.
    pub(crate) async fn next(&mut self) -> io::Result<Event> {
        loop {
            let event = match self.message().await? {
                Message::RowDescription(body) => Event::Columns(columns(&body)?),
                Message::DataRow(body) => Event::Row(row(&body)?),
                Message::CommandComplete(body) => Event::Complete(body.tag()?.to_owned()),
                Message::EmptyQueryResponse => Event::Empty,
                Message::CopyInResponse(_) => Event::CopyIn,
                Message::CopyOutResponse(_) => Event::CopyOut,
                Message::CopyData(body) => Event::CopyData(body.into_bytes()),
                Message::CopyDone => Event::CopyDone,
                Message::NoticeResponse(body) => {
                    Event::Notice(ServerMessage::parse(&mut body.fields())?)
                }
                Message::ErrorResponse(body) => {
                    Event::Error(ServerMessage::parse(&mut body.fields())?)
                }
                Message::ParameterStatus(body) => {
                    self.parameters.insert(body.name()?.to_owned(), body.value()?.to_owned());
                    continue;
                }
                Message::ReadyForQuery(body) => {
                    self.status = match body.status() {
                        b'T' => Status::InTransaction,
                        b'E' => Status::Failed,
                        _ => Status::Idle,
                    };
                    Event::Ready
                }
                Message::NotificationResponse(_) => continue,
                _ => return Err(io::Error::other("unexpected message from the server")),
            };
            return Ok(event);
        }
    }

    /// The next message of any kind.
    pub(crate) async fn message(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = Message::parse(&mut self.input)? {
                return Ok(message);
            }
            self.flush().await?;
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Hands a piece of COPY data over; it is sent when enough has come together.
    pub(crate) async fn copy_data(&mut self, data: &[u8]) -> io::Result<()> {
        frontend::CopyData::new(data)?.write(&mut self.output);
        if self.output.len() >= 64 * 1024 {
            self.flush().await?;
        }
        Ok(())
    }

    pub(crate) fn copy_done(&mut self) {
        frontend::copy_done(&mut self.output);
    }

    pub(crate) fn copy_fail(&mut self, reason: &str) -> io::Result<()> {
        frontend::copy_fail(reason, &mut self.output)
    }

    /// Says goodbye. The answer to it is the end of the connection, which nobody waits for.
    pub(crate) async fn terminate(mut self) -> io::Result<()> {
        frontend::terminate(&mut self.output);
        self.flush().await
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            self.stream.write_buf(&mut self.output).await?;
        }
        self.stream.flush().await
    }
}

fn columns(body: &RowDescriptionBody) -> io::Result<Vec<Column>> {
    body.fields()
        .map(|field| Ok(Column { name: field.name().to_owned(), type_oid: field.type_oid() }))
        .collect()
}

fn row(body: &DataRowBody) -> io::Result<Row> {
    let buffer = body.buffer_bytes();
    body.ranges().map(|range| Ok(range.map(|range| buffer.slice(range)))).collect()
}
