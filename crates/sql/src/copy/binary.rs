//! COPY's binary format: a signature, tuples of fields with their lengths, a trailer.
//!
//! ```text
//!   PGCOPY\n\377\r\n\0  flags  extension  ( count  ( length bytes )* )*  -1
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use pgtypes::{Datum, PgType};

use crate::{SqlError, SqlState};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// The signature, flags and the length of the extension.
const HEADER_BYTES: usize = 19;
/// Flags that a reader has to know; there is none left in PostgreSQL.
const CRITICAL_FLAGS: u32 = 0xFFFF_0000;

/// The header.
pub(super) fn header(out: &mut BytesMut) {
    out.put_slice(SIGNATURE);
    out.put_u32(0);
    out.put_u32(0);
}

/// One row.
pub(super) fn row<'a>(
    values: impl ExactSizeIterator<Item = (&'a Datum, PgType)>,
    out: &mut BytesMut,
) {
    out.put_i16(i16::try_from(values.len()).expect("at most 1664 columns"));
    values.for_each(|(value, ty)| pgtypes::put_field(value, ty, out));
}

/// The end.
pub(super) fn trailer(out: &mut BytesMut) {
    out.put_i16(-1);
}

fn bad(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message)
}

/// What comes next in the input.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// More bytes are needed.
    Wanting,
    Row(Vec<Option<Bytes>>),
    End,
}

/// Takes input apart.
#[derive(Debug, Default)]
pub(super) struct Reader {
    began: bool,
    ended: bool,
}

impl Reader {
    /// Takes the next piece off the front of `data`.
    pub(super) fn next(&mut self, data: &mut BytesMut, width: usize) -> Result<Piece, SqlError> {
        if self.ended {
            return match data.is_empty() {
                true => Ok(Piece::Wanting),
                false => Err(bad("received copy data after EOF marker")),
            };
        }
        if !self.began {
            match header_end(data)? {
                None => return Ok(Piece::Wanting),
                Some(end) => data.advance(end),
            }
            self.began = true;
        }
        let Some(mut rest) = data.get(..) else { return Ok(Piece::Wanting) };
        if rest.len() < 2 {
            return Ok(Piece::Wanting);
        }
        let count = rest.get_i16();
        if count == -1 {
            data.advance(2);
            self.ended = true;
            return Ok(Piece::End);
        }
        if usize::try_from(count) != Ok(width) {
            return Err(bad(format!("row field count is {count}, expected {width}")));
        }
        let mut lengths = Vec::with_capacity(width);
        for _ in 0..width {
            if rest.len() < 4 {
                return Ok(Piece::Wanting);
            }
            let length = rest.get_i32();
            if length < -1 {
                return Err(bad("invalid field size"));
            }
            let length = usize::try_from(length).ok();
            if rest.len() < length.unwrap_or(0) {
                return Ok(Piece::Wanting);
            }
            rest.advance(length.unwrap_or(0));
            lengths.push(length);
        }
        data.advance(2);
        let field = |length: Option<usize>| {
            data.advance(4);
            length.map(|length| data.split_to(length).freeze())
        };
        Ok(Piece::Row(lengths.into_iter().map(field).collect()))
    }

    /// The client is done: so must the input be.
    pub(super) fn finish(&self, left: &[u8]) -> Result<(), SqlError> {
        if self.began {
            return match left.is_empty() {
                true => Ok(()),
                false => Err(bad("unexpected EOF in COPY data")),
            };
        }
        Err(bad(match left.len() {
            0..11 => "COPY file signature not recognized",
            11..15 => "invalid COPY file header (missing flags)",
            15..19 => "invalid COPY file header (missing length)",
            _ => "invalid COPY file header (wrong length)",
        }))
    }
}

/// Where the header ends, if it is whole.
fn header_end(data: &[u8]) -> Result<Option<usize>, SqlError> {
    let begin = data.len().min(SIGNATURE.len());
    if data[..begin] != SIGNATURE[..begin] {
        return Err(bad("COPY file signature not recognized"));
    }
    let Some(mut rest) = data.get(SIGNATURE.len()..HEADER_BYTES) else { return Ok(None) };
    let flags = rest.get_u32();
    if flags & CRITICAL_FLAGS != 0 {
        return Err(bad("unrecognized critical flags in COPY file header"));
    }
    let extension = usize::try_from(rest.get_i32())
        .map_err(|_| bad("invalid COPY file header (missing length)"))?;
    let end = HEADER_BYTES.saturating_add(extension);
    Ok((data.len() >= end).then_some(end))
}
