//! How does a session get the data of `COPY … FROM STDIN`?
//!
//! libpq sends a message per line. What has arrived together is handed on together, so that a load
//! costs one call per read and not per row.

use bytes::{Bytes, BytesMut};
use pgwire::messages::PgWireFrontendMessage;
use sql::SqlError;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::sqlstate;
use crate::wire::{Received, Wire, WireError};

/// Tag and length of a message.
const HEADER_BYTES: usize = 5;
/// The most that is handed on at once from messages that are smaller.
const TOGETHER_BYTES_MAX: usize = 256 << 10;

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// The next data, or `None` when the client says it is done.
    pub(crate) async fn copy_in(&mut self) -> Result<Option<Bytes>, SqlError> {
        loop {
            if let Some(data) = self.data_here() {
                return Ok(Some(data));
            }
            let received = match self.receive().await {
                Ok(received) => received,
                Err(WireError::Closed) => return Err(sqlstate::connection_lost()),
                Err(WireError::Violation(violation)) => {
                    return Err(sqlstate::violation(&violation));
                }
            };
            let message = match received {
                Received::Message(message) => message,
                Received::Refused { error, .. } => return Err(error),
            };
            return match message {
                PgWireFrontendMessage::CopyData(data) => Ok(Some(data.data)),
                PgWireFrontendMessage::CopyDone(_) => Ok(None),
                PgWireFrontendMessage::CopyFail(fail) => Err(sqlstate::copy_failed(&fail.message)),
                // Clients that do not wait for CopyInResponse have sent these already.
                PgWireFrontendMessage::Flush(_) | PgWireFrontendMessage::Sync(_) => continue,
                other => Err(sqlstate::unexpected_in_copy(tag(&other))),
            };
        }
    }

    /// The data of all CopyData messages that are here, if there is more than one.
    fn data_here(&mut self) -> Option<Bytes> {
        let mut end = 0;
        let mut messages = 0;
        let mut together = BytesMut::new();
        while let Some(total) = data_message(&self.input[end..])
            && end + total <= TOGETHER_BYTES_MAX
        {
            if messages == 0 {
                together.reserve(self.input.len().min(TOGETHER_BYTES_MAX));
            }
            together.extend_from_slice(&self.input[end + HEADER_BYTES..end + total]);
            end += total;
            messages += 1;
        }
        if messages == 0 {
            return None;
        }
        bytes::Buf::advance(&mut self.input, end);
        Some(together.freeze())
    }
}

/// The size of the CopyData message at the start, if a whole one is there.
fn data_message(input: &[u8]) -> Option<usize> {
    let header = input.get(..HEADER_BYTES)?;
    let length = u32::from_be_bytes(header[1..].try_into().expect("four bytes remain"));
    let total = usize::try_from(length).ok()?.checked_add(1)?;
    (header[0] == b'd' && length >= 4 && total <= input.len()).then_some(total)
}

fn tag(message: &PgWireFrontendMessage) -> u8 {
    match message {
        PgWireFrontendMessage::Query(_) => b'Q',
        PgWireFrontendMessage::Parse(_) => b'P',
        PgWireFrontendMessage::Bind(_) => b'B',
        PgWireFrontendMessage::Close(_) => b'C',
        PgWireFrontendMessage::Describe(_) => b'D',
        PgWireFrontendMessage::Execute(_) => b'E',
        PgWireFrontendMessage::Terminate(_) => b'X',
        _ => b'?',
    }
}

#[cfg(test)]
mod tests {
    use super::data_message;

    #[test]
    fn only_a_whole_data_message_is_taken() {
        assert_eq!(data_message(b"d\0\0\0\x06ab"), Some(7));
        assert_eq!(data_message(b"d\0\0\0\x06a"), None);
        assert_eq!(data_message(b"c\0\0\0\x04"), None);
        assert_eq!(data_message(b"d\0\0\0\x03"), None);
        assert_eq!(data_message(b"d\xff\xff\xff\xff"), None);
    }
}
