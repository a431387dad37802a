//! What has been received and not yet read, written and not yet sent?
//!
//! ```text
//!   input    [ frame | frame | part of a fr…     grows with what arrives only
//!   output   sent … │ base [ messages … ] end    base counts the bytes sent before
//!                             ▲ pinned: replies of the connection itself; rewinding stops here
//! ```
//!
//! # Invariants
//!
//! - **O1** A rewind takes back neither what was sent nor a reply that the session did not write.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use pgwire::messages::{Message, PgWireFrontendMessage};
use sql::SqlError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::config::{GatewayConfig, GatewayMetrics, add};
use crate::frame::{self, Found, Violation};
use crate::socket::Socket;
use crate::sqlstate::{self, Ends};

const READ_BYTES_MIN: usize = 8 << 10;
const READ_BYTES_MAX: usize = 128 << 10;
/// A buffer that has grown beyond this is given back when it is empty.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// How long a farewell may take.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The client is gone.
    #[error("connection closed")]
    Closed,
    /// The client does not speak the protocol.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// What came in.
#[derive(Debug)]
pub(crate) enum Received {
    Message(PgWireFrontendMessage),
    /// A message that was skipped; the next one can be read.
    Refused {
        tag: u8,
        error: SqlError,
    },
}

/// One client's socket with its buffers.
pub(crate) struct Wire<S> {
    stream: S,
    pub(crate) input: BytesMut,
    pub(crate) output: BytesMut,
    base: u64,
    pinned: u64,
    /// Output that is being written anew, and the position at which it began.
    aside: Option<(u64, BytesMut)>,
    /// A message too large to read, its size, and how much of it is still to come.
    skipping: Option<(u8, usize, usize)>,
    read_bytes: usize,
    message_bytes_max: usize,
    pub(crate) held_bytes_max: usize,
    broken: bool,
    metrics: Arc<GatewayMetrics>,
}

impl Wire<Socket> {
    /// The client's socket.
    pub(crate) fn socket(&self) -> &Socket {
        &self.stream
    }

    /// Goes on in TLS.
    pub(crate) async fn encrypt(&mut self, acceptor: &TlsAcceptor) -> Result<(), WireError> {
        self.stream.encrypt(acceptor).await.map_err(|error| {
            tracing::debug!(%error, "no TLS with a client");
            self.broken = true;
            WireError::Closed
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S, config: &GatewayConfig) -> Self {
        Self {
            stream,
            input: BytesMut::with_capacity(READ_BYTES_MIN),
            output: BytesMut::with_capacity(READ_BYTES_MIN),
            base: 0,
            pinned: 0,
            aside: None,
            skipping: None,
            read_bytes: READ_BYTES_MIN,
            message_bytes_max: config.message_bytes_max,
            held_bytes_max: config.held_bytes_max,
            broken: false,
            metrics: config.metrics.clone(),
        }
    }

    /// The next message. May be dropped while it waits and called again.
    pub(crate) async fn receive(&mut self) -> Result<Received, WireError> {
        loop {
            if let Some(received) = self.received()? {
                return Ok(received);
            }
            self.fill(1).await?;
        }
    }

    /// The next message if it is here already.
    pub(crate) fn received(&mut self) -> Result<Option<Received>, WireError> {
        if let Some((tag, total, remaining)) = self.skipping {
            let here = remaining.min(self.input.len());
            self.input.advance(here);
            if here < remaining {
                self.skipping = Some((tag, total, remaining - here));
                return Ok(None);
            }
            self.skipping = None;
            let error = sqlstate::message_too_large(total, self.message_bytes_max);
            return Ok(Some(Received::Refused { tag, error }));
        }
        match frame::find(&self.input, self.message_bytes_max)? {
            Found::Complete { total } => {
                let frame = self.input.split_to(total);
                let tag = frame[0];
                Ok(Some(match frame::decode(frame) {
                    Ok(message) => Received::Message(message),
                    Err(error) => Received::Refused { tag, error },
                }))
            }
            Found::Incomplete { .. } => Ok(None),
            Found::TooLarge { tag, total } => {
                self.skipping = Some((tag, total, total));
                self.received()
            }
        }
    }

    /// Reads until at least `wanted` more bytes are there.
    pub(crate) async fn fill(&mut self, wanted: usize) -> Result<(), WireError> {
        let before = self.input.len();
        while self.input.len() - before < wanted {
            if self.input.is_empty() && self.input.capacity() > KEPT_BYTES_MAX {
                self.input = BytesMut::new();
            }
            self.input.reserve(self.read_bytes);
            let read = self.stream.read_buf(&mut self.input).await;
            match read {
                Ok(bytes) if bytes > 0 => {
                    add(&self.metrics.received_bytes, bytes);
                    let full = bytes >= self.read_bytes && self.read_bytes < READ_BYTES_MAX;
                    self.read_bytes = if full { self.read_bytes * 2 } else { self.read_bytes };
                }
                Ok(_) | Err(_) => {
                    self.broken = true;
                    return Err(WireError::Closed);
                }
            }
        }
        Ok(())
    }

    /// Adds a message of the connection itself. It is not taken back with what the session wrote.
    pub(crate) fn reply<M: Message>(&mut self, message: &M) {
        self.put(message);
        self.pin();
    }

    /// Adds an encoded message of the connection itself.
    pub(crate) fn reply_bytes(&mut self, message: &[u8]) {
        self.output.put_slice(message);
        self.pin();
    }

    /// Adds an error.
    pub(crate) fn error(&mut self, error: &SqlError, ends: Ends) {
        self.reply(&sqlstate::error_response(error, ends));
    }

    /// Adds a message that may be taken back.
    pub(crate) fn put<M: Message>(&mut self, message: &M) {
        let before = self.output.len();
        if let Err(error) = message.encode(&mut self.output) {
            // Only a message above its kind's limit, such as a setting of 30 kB, is not encoded.
            self.output.truncate(before);
            tracing::warn!(%error, "a message to a client was left out");
        }
    }

    fn pin(&mut self) {
        self.pinned = self.mark();
    }

    /// The position behind everything written.
    pub(crate) fn mark(&self) -> u64 {
        self.base + self.output.len() as u64
    }

    /// Takes back what was written behind the mark, if that is still possible.
    pub(crate) fn rewind(&mut self, mark: u64) -> bool {
        let possible = mark >= self.base && mark >= self.pinned && mark <= self.mark();
        if possible {
            self.output.truncate(usize::try_from(mark - self.base).expect("it is in the buffer"));
        }
        possible
    }

    /// Sets everything behind the mark aside, replies of the connection included: they are to be put
    /// back. Again: drops what was written since. False if some of it was sent.
    pub(crate) fn reopen(&mut self, mark: u64) -> bool {
        if mark < self.base || mark > self.mark() {
            return false;
        }
        let at = usize::try_from(mark - self.base).expect("it is in the buffer");
        let behind = self.output.split_off(at);
        if self.aside.is_none() {
            self.aside = Some((mark, behind));
        }
        self.pinned = self.pinned.min(mark);
        true
    }

    /// Puts back what stood between two positions of what was set aside. It is not taken back again.
    pub(crate) fn put_back(&mut self, from: u64, to: Option<u64>) {
        let Some((began, aside)) = &self.aside else { return };
        let place = |at: u64| usize::try_from(at - began).expect("it is in the buffer");
        let piece = &aside[place(from)..to.map_or(aside.len(), place)];
        if !piece.is_empty() {
            self.output.extend_from_slice(piece);
            self.pin();
        }
    }

    /// Forgets what was set aside.
    pub(crate) fn close_reopened(&mut self) {
        self.aside = None;
    }

    /// True when a running statement should send what it has written.
    pub(crate) fn is_full(&self) -> bool {
        self.output.len() >= self.held_bytes_max
    }

    /// Sends everything written, with one write if the socket takes it.
    pub(crate) async fn send(&mut self) -> Result<(), WireError> {
        while !self.output.is_empty() {
            match self.stream.write_buf(&mut self.output).await {
                Ok(bytes) if bytes > 0 => {
                    add(&self.metrics.sent_bytes, bytes);
                    self.base += bytes as u64;
                }
                Ok(_) | Err(_) => {
                    self.broken = true;
                    return Err(WireError::Closed);
                }
            }
        }
        // TLS holds back what does not fill a record.
        if self.stream.flush().await.is_err() {
            self.broken = true;
            return Err(WireError::Closed);
        }
        if self.output.capacity() > KEPT_BYTES_MAX {
            self.output = BytesMut::with_capacity(READ_BYTES_MIN);
        } else {
            // Gives the space before the cursor back without an allocation.
            self.output.clear();
        }
        Ok(())
    }

    /// True after the socket failed: there is nobody to answer.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Ends the connection with an error the client may or may not read.
    pub(crate) async fn farewell(mut self, error: &SqlError) {
        self.error(error, Ends::Connection);
        let goodbye = async {
            self.send().await?;
            self.stream.shutdown().await.map_err(|_| WireError::Closed)
        };
        if tokio::time::timeout(FAREWELL_TIMEOUT, goodbye).await.is_err() {
            tracing::debug!("a client did not read its last message");
        }
    }
}
