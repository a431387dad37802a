//! COPY's CSV format.

use super::options::Options;
use super::text::{Field, bad_encoding};
use crate::{SqlError, SqlState};

/// Finds ends of records in data that arrives in pieces: a newline within quotes ends nothing.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    quoted: bool,
    /// The byte before was an escape within quotes.
    escaping: bool,
}

impl Scanner {
    /// Length of the first record, given that `data[..from]` has been scanned already; `None` if it
    /// is not whole yet.
    pub(super) fn record(&mut self, data: &[u8], from: usize, options: &Options) -> Option<usize> {
        for (at, &byte) in data.iter().enumerate().skip(from) {
            if self.escaping {
                self.escaping = false;
                continue;
            }
            if byte == options.quote {
                self.quoted = !self.quoted;
            } else if self.quoted && byte == options.escape && options.escape != options.quote {
                self.escaping = true;
            } else if byte == b'\n' && !self.quoted {
                return Some(at + 1);
            }
        }
        None
    }

    pub(super) fn in_quotes(&self) -> bool {
        self.quoted
    }
}

pub(super) fn unterminated() -> SqlError {
    SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, "unterminated CSV quoted field")
}

/// Splits a record into its fields; tells which were quoted, since only unquoted ones can be NULL.
pub(super) fn fields(
    line: &[u8],
    options: &Options,
    out: &mut Vec<Field>,
    quoted: &mut Vec<bool>,
) -> Result<(), SqlError> {
    out.clear();
    quoted.clear();
    let mut at = 0;
    loop {
        let mut value = Vec::new();
        let mut was_quoted = false;
        let mut inside = false;
        while let Some(&byte) = line.get(at) {
            if inside {
                let next = line.get(at + 1).copied();
                let escapes = byte == options.escape
                    && (next == Some(options.quote) || next == Some(options.escape));
                if escapes {
                    value.extend(next);
                    at += 2;
                    continue;
                }
                if byte == options.quote {
                    inside = false;
                } else {
                    value.push(byte);
                }
            } else if byte == options.quote {
                inside = true;
                was_quoted = true;
            } else if byte == options.delimiter {
                break;
            } else {
                value.push(byte);
            }
            at += 1;
        }
        if inside {
            return Err(unterminated());
        }
        let text = String::from_utf8(value).map_err(|_| bad_encoding())?;
        out.push((was_quoted || text != options.null).then_some(text));
        quoted.push(was_quoted);
        if at >= line.len() {
            return Ok(());
        }
        at += 1;
    }
}

/// Appends a field's text, quoted where it has to be.
pub(super) fn quote(text: &str, force: bool, single: bool, options: &Options, out: &mut Vec<u8>) {
    let special =
        |b: &u8| *b == options.delimiter || *b == options.quote || matches!(*b, b'\n' | b'\r');
    let needed = force
        || text == options.null
        || (single && text == "\\.")
        || text.as_bytes().iter().any(special);
    if !needed {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(options.quote);
    for &byte in text.as_bytes() {
        if byte == options.quote || byte == options.escape {
            out.push(options.escape);
        }
        out.push(byte);
    }
    out.push(options.quote);
}
