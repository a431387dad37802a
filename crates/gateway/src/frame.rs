//! Where does a message end, and is its inside what it claims to be?
//!
//! pgwire's decoders trust the counts and lengths inside a message and panic when they point behind
//! its end, so a message reaches them only alone in its buffer and after [`check`] has walked it.
//!
//! ```text
//!   tag u8 │ length i32, itself included │ body: cstring* counts* …
//! ```

use bytes::BytesMut;
use pgwire::messages::{DecodeContext, PgWireFrontendMessage, ProtocolVersion};
use sql::SqlError;

use crate::sqlstate;

/// Tag and length.
const HEADER_BYTES: usize = 5;
/// No message of these kinds is longer: they carry a name.
const SMALL_MESSAGE_BYTES: usize = 10_000;

/// What the bytes received so far begin with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// At least so many bytes are missing.
    Incomplete { missing: usize },
    /// A message of so many bytes.
    Complete { total: usize },
    /// A message that will not be read into memory.
    TooLarge { tag: u8, total: usize },
}

/// Bytes that are no message. There is no way to find the next one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("invalid frontend message type {0}")]
    Type(u8),
    #[error("invalid message length {0}")]
    Length(i32),
    #[error("invalid startup packet")]
    Startup,
    #[error("unsupported frontend protocol {0}.{1}: server supports 3.0 to 3.0")]
    Version(u16, u16),
}

/// Looks at the next message without taking it.
pub(crate) fn find(input: &[u8], bytes_max: usize) -> Result<Found, Violation> {
    let Some(&tag) = input.first() else {
        return Ok(Found::Incomplete { missing: HEADER_BYTES });
    };
    // An unknown tag is refused before its length is waited for: the length is garbage as well.
    let limit = match tag {
        b'Q' | b'P' | b'B' | b'd' | b'F' => bytes_max,
        b'C' | b'D' | b'E' | b'f' | b'p' | b'H' | b'S' | b'X' | b'c' => {
            SMALL_MESSAGE_BYTES.min(bytes_max)
        }
        _ => return Err(Violation::Type(tag)),
    };
    let Some(length) = input.get(1..HEADER_BYTES) else {
        return Ok(Found::Incomplete { missing: HEADER_BYTES - input.len() });
    };
    let length = i32::from_be_bytes(length.try_into().expect("four bytes were taken"));
    let total = match usize::try_from(length) {
        Ok(bytes) if bytes >= 4 => bytes + 1,
        _ => return Err(Violation::Length(length)),
    };
    if total > limit {
        return if limit == bytes_max {
            Ok(Found::TooLarge { tag, total })
        } else {
            Err(Violation::Length(length))
        };
    }
    Ok(match total.saturating_sub(input.len()) {
        0 => Found::Complete { total },
        missing => Found::Incomplete { missing },
    })
}

/// The message in a frame that was found complete.
pub(crate) fn decode(mut frame: BytesMut) -> Result<PgWireFrontendMessage, SqlError> {
    let tag = frame[0];
    check(tag, &frame[HEADER_BYTES..])?;
    let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
    context.awaiting_frontend_ssl = false;
    context.awaiting_frontend_startup = false;
    match PgWireFrontendMessage::decode(&mut frame, &context) {
        Ok(Some(message)) => Ok(message),
        Ok(None) | Err(_) => Err(sqlstate::invalid_message()),
    }
}

/// Takes bytes as what a client sends in a session: how many messages they are, the refused ones included,
/// up to the first violation. For fuzzing: there is no socket and nothing is carried out.
pub fn decode_all(bytes: &[u8], bytes_max: usize) -> usize {
    let mut input = BytesMut::from(bytes);
    let mut messages = 0;
    while let Ok(found) = find(&input, bytes_max) {
        let total = match found {
            Found::Complete { total } => total,
            Found::Incomplete { missing } => {
                assert!(missing > 0, "an incomplete message waits for something");
                break;
            }
            Found::TooLarge { total, .. } => {
                assert!(total > bytes_max, "a message of {total} bytes is refused");
                break;
            }
        };
        drop(decode(input.split_to(total)));
        messages += 1;
    }
    messages
}

/// Walks the body. `None` from the walker means that something points behind the end.
fn check(tag: u8, body: &[u8]) -> Result<(), SqlError> {
    let mut rest = Walker(body);
    let text = match walk(tag, &mut rest) {
        Some(text) if rest.0.is_empty() => text,
        _ => return Err(sqlstate::invalid_message()),
    };
    match std::str::from_utf8(text) {
        Ok(_) => Ok(()),
        Err(error) => {
            let from = error.valid_up_to();
            let length = error.error_len().unwrap_or(text.len() - from).min(4);
            Err(sqlstate::invalid_utf8(&text[from..from + length]))
        }
    }
}

/// Passes over the body of a message; answers with the text in it that must be UTF-8.
fn walk<'a>(tag: u8, body: &mut Walker<'a>) -> Option<&'a [u8]> {
    match tag {
        b'Q' | b'f' => body.cstring(),
        b'P' => {
            let name = body.cstring()?;
            let query = body.cstring()?;
            let count = body.count()?;
            body.skip(count * 4)?;
            // Names are compared as bytes; a bad one only fails to be found.
            std::str::from_utf8(name).map_or(Some(name), |_| Some(query))
        }
        b'B' => {
            body.cstring()?;
            body.cstring()?;
            let formats = body.count()?;
            body.skip(formats * 2)?;
            for _ in 0..body.count()? {
                match body.int()? {
                    -1 => {}
                    length => body.skip(usize::try_from(length).ok()?)?,
                }
            }
            let formats = body.count()?;
            body.skip(formats * 2)?;
            Some(&[])
        }
        b'C' | b'D' => {
            let kind = *body.0.first()?;
            body.skip(1)?;
            matches!(kind, b'S' | b'P').then(|| body.cstring()).flatten()
        }
        b'E' => {
            let name = body.cstring()?;
            body.skip(4)?;
            Some(name)
        }
        b'H' | b'S' | b'X' | b'c' => Some(&[]),
        _ => {
            body.skip(body.0.len())?;
            Some(&[])
        }
    }
}

struct Walker<'a>(&'a [u8]);

impl<'a> Walker<'a> {
    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    fn cstring(&mut self) -> Option<&'a [u8]> {
        let length = self.0.iter().position(|&byte| byte == 0)?;
        let text = &self.0[..length];
        self.skip(length + 1)?;
        Some(text)
    }

    fn count(&mut self) -> Option<usize> {
        let bytes = self.0.get(..2)?.try_into().expect("two bytes were taken");
        self.skip(2)?;
        Some(usize::from(u16::from_be_bytes(bytes)))
    }

    fn int(&mut self) -> Option<i32> {
        let bytes = self.0.get(..4)?.try_into().expect("four bytes were taken");
        self.skip(4)?;
        Some(i32::from_be_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u8, body: &[u8]) -> BytesMut {
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&[tag]);
        let length = i32::try_from(body.len() + 4).expect("bodies of tests are short");
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(body);
        frame
    }

    #[test]
    fn a_message_is_found_when_it_is_whole() {
        let whole = frame(b'Q', b"select 1\0");
        for length in 0..whole.len() {
            let found = find(&whole[..length], 1 << 20).expect("it is the start of a message");
            assert!(matches!(found, Found::Incomplete { .. }), "{length}: {found:?}");
        }
        assert_eq!(find(&whole, 1 << 20), Ok(Found::Complete { total: whole.len() }));
    }

    #[test]
    fn a_large_message_is_refused_by_its_header() {
        let header = [b'Q', 0x40, 0, 0, 0];
        assert_eq!(
            find(&header, 64 << 20),
            Ok(Found::TooLarge { tag: b'Q', total: (1 << 30) + 1 })
        );
        // A Sync of a gigabyte is not a large statement but garbage.
        assert_eq!(find(&[b'S', 0x40, 0, 0, 0], 64 << 20), Err(Violation::Length(1 << 30)));
        assert_eq!(find(&[b'Q', 0xff, 0, 0, 0], 64 << 20), Err(Violation::Length(-16_777_216)));
        assert_eq!(find(b"GET / HTTP/1.1", 64 << 20), Err(Violation::Type(b'G')));
    }

    #[test]
    fn bodies_that_lie_are_errors_and_never_panics() {
        let lies: &[(u8, &[u8])] = &[
            (b'Q', b"no end"),
            (b'Q', b""),
            (b'Q', b"one\0two\0"),
            (b'P', b"\0select 1\0\0\x09"),
            (b'P', b"\0select 1\0\xff\xff"),
            (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
            (b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
            (b'B', b"\0\0\xff\xff"),
            (b'E', b"\0\0"),
            (b'D', b"X\0"),
            (b'C', b""),
            (b'S', b"more"),
        ];
        for (tag, body) in lies {
            let error = decode(frame(*tag, body)).expect_err("the body is invalid");
            assert_eq!(error.code().as_str(), "08P01", "{} {body:?}", char::from(*tag));
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_named() {
        let error = decode(frame(b'Q', b"select '\xff'\0")).expect_err("0xff is not UTF-8");
        assert_eq!(error.code().as_str(), "22021");
        assert_eq!(error.message(), "invalid byte sequence for encoding \"UTF8\": 0xff");
    }

    #[test]
    fn a_bind_keeps_its_values_and_nulls() {
        let body = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x01\0\x01";
        let message = decode(frame(b'B', body)).expect("it is valid");
        let PgWireFrontendMessage::Bind(bind) = message else { panic!("{message:?}") };
        assert_eq!(bind.parameters, [Some(bytes::Bytes::from_static(b"ab")), None]);
        assert_eq!(bind.result_column_format_codes, [1]);
    }
}
