//! COPY's text format: tab-separated, backslash escapes, `\N` for NULL.

use super::options::Options;
use crate::{SqlError, SqlState};

/// One field of a record: `None` for NULL.
pub(super) type Field = Option<String>;

/// Length of the first record in `data`, its end of line included; `None` if it is not whole.
pub(super) fn record(data: &[u8], from: usize) -> Option<usize> {
    // A backslash before the newline makes it part of the value.
    let mut at = from;
    loop {
        let newline = at + memchr(b'\n', &data[at..])?;
        let backslashes = data[..newline].iter().rev().take_while(|&&b| b == b'\\').count();
        if backslashes % 2 == 0 {
            return Some(newline + 1);
        }
        at = newline + 1;
    }
}

fn memchr(byte: u8, data: &[u8]) -> Option<usize> {
    data.iter().position(|&b| b == byte)
}

/// A record without its end of line.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

pub(super) fn bad_encoding() -> SqlError {
    SqlError::new(
        SqlState::CHARACTER_NOT_IN_REPERTOIRE,
        "invalid byte sequence for encoding \"UTF8\"",
    )
}

/// Splits a record into its fields.
pub(super) fn fields(line: &[u8], options: &Options, out: &mut Vec<Field>) -> Result<(), SqlError> {
    out.clear();
    let null = options.null.as_bytes();
    let mut start = 0;
    loop {
        let mut at = start;
        let mut escaped = false;
        while at < line.len() && line[at] != options.delimiter {
            if line[at] == b'\\' && at + 1 < line.len() {
                escaped = true;
                at += 1;
            }
            at += 1;
        }
        let end = at.min(line.len());
        let raw = &line[start..end];
        out.push(if raw == null {
            None
        } else if escaped {
            Some(unescape(raw)?)
        } else {
            Some(std::str::from_utf8(raw).map_err(|_| bad_encoding())?.to_owned())
        });
        if end >= line.len() {
            return Ok(());
        }
        start = end + 1;
    }
}

fn unescape(raw: &[u8]) -> Result<String, SqlError> {
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        let byte = raw[at];
        at += 1;
        if byte != b'\\' || at == raw.len() {
            out.push(byte);
            continue;
        }
        let code = raw[at];
        at += 1;
        match code {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => {
                let mut value = u32::from(code - b'0');
                for _ in 0..2 {
                    match raw.get(at) {
                        Some(&digit @ b'0'..=b'7') => {
                            value = value * 8 + u32::from(digit - b'0');
                            at += 1;
                        }
                        _ => break,
                    }
                }
                out.push((value & 0xFF) as u8);
            }
            b'x' if raw.get(at).is_some_and(u8::is_ascii_hexdigit) => {
                let mut value = 0u8;
                for _ in 0..2 {
                    let digit = raw.get(at).and_then(|&b| char::from(b).to_digit(16));
                    let Some(digit) = digit else { break };
                    value = value * 16 + digit as u8;
                    at += 1;
                }
                out.push(value);
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).map_err(|_| bad_encoding())
}

/// Appends a field's text with escapes.
pub(super) fn escape(text: &str, options: &Options, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        let code = match byte {
            b'\\' => b'\\',
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            11 => b'v',
            b if b == options.delimiter => b,
            b => {
                out.push(b);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', code]);
    }
}
